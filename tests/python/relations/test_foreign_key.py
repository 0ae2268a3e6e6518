from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import django
import pytest

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.bookshop.models import Author, Book, Publisher
from tests.python.catalogue.models import Copy, Country, Curator, Ledger, Notice, Person, Scan, Series, Shelf, Volume
from tests.python.conftest import Bookshop
from tests.python.graph import assert_same_as_django
from tests.python.queries import no_queries, query_count


def volumes(**values: list[Any]) -> list[Volume]:
    """One volume per value of the one column given."""
    [(name, column)] = values.items()
    return Volume.objects.bulk_create([Volume(title=f"volume {i}", **{name: v}) for i, v in enumerate(column)])


def all_volumes() -> list[Volume]:
    return list(Volume.objects.order_by("pk"))


def books_in_chunks(size: int) -> Iterator[list[int]]:
    keys = list(Book.objects.order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


@pytest.mark.parametrize("as_config", [True, False])
def test_foreign_keys_are_those_of_django(bookshop: Bookshop, as_config: bool) -> None:
    prefetch = (
        MemoizedPrefetch(
            MemoizedPrefetchConfig(Author, ["author", "translator"]), MemoizedPrefetchConfig(Publisher, ["publisher"])
        )
        if as_config
        else MemoizedPrefetch("author", "translator", "publisher")
    )
    for _ in range(2):
        for keys in books_in_chunks(5):
            assert_same_as_django(
                lambda keys=keys: list(Book.objects.filter(pk__in=keys).order_by("pk")),
                ["author", "translator", "publisher"],
                prefetch,
                read=lambda book: (book.author.name, book.translator and book.translator.email),
            )


@pytest.mark.parametrize("size", [1, 2, 3, None])
def test_any_memo_size_gives_the_same_rows(bookshop: Bookshop, size: int | None) -> None:
    prefetch = MemoizedPrefetch("author", "translator", "publisher", lru_cache_size=size)
    for keys in books_in_chunks(7):
        assert_same_as_django(
            lambda keys=keys: list(Book.objects.filter(pk__in=keys).order_by("-pk")),
            ["author", "translator", "publisher"],
            prefetch,
        )
        if size is not None:
            assert len(prefetch.memoized_objects[Author]) <= size


def test_several_foreign_keys_to_one_table_are_one_query(bookshop: Bookshop) -> None:
    books = list(Book.objects.all())
    with query_count(1) as queries:
        MemoizedPrefetch("author", "translator").process_chunk(books)
    assert queries.of(Author) == 1


def test_remembered_rows_are_not_read_again(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author", "translator", "publisher")
    prefetch.process_chunk(list(Book.objects.all()))
    books = list(Book.objects.all())
    with no_queries():
        prefetch.process_chunk(books)
        assert [book.author.name for book in books]


def test_only_missing_rows_are_asked_for(bookshop: Bookshop) -> None:
    first, second = bookshop.authors[:2]
    prefetch = MemoizedPrefetch("author")
    prefetch.process_chunk(list(Book.objects.filter(author=first)))
    Author.objects.filter(pk=first.pk).update(name="renamed meanwhile")
    books = list(Book.objects.filter(author__in=[first, second]).order_by("pk"))
    with query_count(1) as queries:
        prefetch.process_chunk(books)
    assert f"{first.name}" in {book.author.name for book in books}, "the memo is a snapshot"
    assert not any("renamed" in sql for sql in queries.sql)
    stats = prefetch.stats().relations["author"]
    assert (stats.hits, stats.misses, stats.fetched) == (1, 2, 2)


def test_one_instance_is_shared_across_chunks(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author", "translator")
    [first] = prefetch.process_chunk([Book.objects.get(pk=bookshop.books[0].pk)])
    [again] = prefetch.process_chunk([Book.objects.get(pk=bookshop.books[0].pk)])
    assert first.author is again.author


def test_more_keys_than_django_allows_itself_are_one_query() -> None:
    Author.objects.bulk_create([Author(name=f"author {i}") for i in range(3000)])
    books = [Book(author_id=pk) for pk in Author.objects.values_list("pk", flat=True)]
    with query_count(1):
        MemoizedPrefetch("author").process_chunk(books)
    with no_queries():
        assert all(book.author.pk == book.author_id for book in books)


@pytest.mark.parametrize("key", ["se", "", "0"])
def test_text_key_under_its_own_name(key: str) -> None:
    Country.objects.create(code=key, name=f"country {key!r}")
    Country.objects.create(code="no", name="Norway")
    volumes(country_id=[key, "no", None, key])
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Country, ["country"]))
    for _ in range(2):
        [first, *_] = assert_same_as_django(all_volumes, "country", prefetch)
        assert first.country.name == f"country {key!r}"


@pytest.mark.parametrize("key", [0, 1, -1])
def test_integer_key_under_its_own_name(key: int) -> None:
    Shelf.objects.create(number=key, room="here")
    volumes(shelf_id=[key, None, 77])
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Shelf, ["shelf"]))
    for _ in range(2):
        [first, *_] = assert_same_as_django(all_volumes, "shelf", prefetch)
        assert first.shelf.room == "here"


def test_uuid_key() -> None:
    scans = Scan.objects.bulk_create([Scan(resolution=dpi) for dpi in (72, 300)])
    volumes(scan_id=[scans[0].pk, scans[1].pk, None, uuid.uuid4(), scans[0].pk])
    prefetch = MemoizedPrefetch("scan")
    for _ in range(2):
        [first, *_] = assert_same_as_django(all_volumes, "scan", prefetch)
        assert first.scan.resolution == 72


@pytest.fixture
def series() -> list[Series]:
    """The numbers are the ids of other rows."""
    return Series.objects.bulk_create(
        [Series(pk=pk, code=f"S{pk}", number=number, name=f"series {pk}") for pk, number in ((1, 2), (2, 3), (3, 1))]
    )


def test_to_field_text(series: list[Series]) -> None:
    volumes(series_id=["S1", "S2", None, "no such", "S1"])
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Series, ["series"]))
    for _ in range(2):
        [first, *_] = assert_same_as_django(all_volumes, "series", prefetch)
        assert first.series.name == "series 1"


def test_to_field_whose_values_are_other_rows_ids(series: list[Series]) -> None:
    volumes(numbered_series_id=[row.number for row in series])
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Series, ["numbered_series"]))
    for _ in range(2):
        rows = assert_same_as_django(all_volumes, "numbered_series", prefetch)
        assert [volume.numbered_series.pk for volume in rows] == [row.pk for row in series]


def test_three_target_fields_of_one_table_do_not_mix(series: list[Series]) -> None:
    for row in series:
        Volume.objects.create(title="v", series_id=row.code, numbered_series_id=row.pk, plain_series_id=row.pk)
    for prefetch in (
        MemoizedPrefetch(MemoizedPrefetchConfig(Series, ["series", "numbered_series", "plain_series"])),
        MemoizedPrefetch("series", "numbered_series", "plain_series"),
    ):
        for _ in range(2):
            rows = assert_same_as_django(all_volumes, ["series", "numbered_series", "plain_series"], prefetch)
            assert [volume.numbered_series.pk for volume in rows] != [volume.plain_series.pk for volume in rows]


def test_text_in_an_integer_column_finds_what_django_finds() -> None:
    author = Author.objects.create(name="author")

    def chunk() -> list[Book]:
        return [Book(pk=1, author_id=author.pk), Book(pk=2, author_id=str(author.pk))]

    prefetch = MemoizedPrefetch("author")
    for _ in range(2):
        assert_same_as_django(chunk, "author", prefetch)


def test_true_and_one_are_one_key() -> None:
    Author.objects.create(pk=1, name="author")
    prefetch = MemoizedPrefetch("author")
    for _ in range(2):
        assert_same_as_django(lambda: [Book(pk=1, author_id=True), Book(pk=2, author_id=1)], "author", prefetch)


def test_self_relation() -> None:
    people = [Person.objects.create(name="root")]
    for i in range(6):
        people.append(Person.objects.create(name=f"person {i}", mentor=people[i // 2]))
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Person, ["mentor"]), lru_cache_size=2)
    for _ in range(2):
        assert_same_as_django(lambda: list(Person.objects.order_by("-pk")), "mentor", prefetch)


def test_self_relation_two_levels() -> None:
    people = [Person.objects.create(name="root")]
    for i in range(6):
        people.append(Person.objects.create(name=f"person {i}", mentor=people[i // 2]))
    people[0].mentor = people[6]
    people[0].save()
    prefetch = MemoizedPrefetch("mentor__mentor")
    for keys in ([p.pk for p in people[4:]], [p.pk for p in people]):
        assert_same_as_django(
            lambda keys=keys: list(Person.objects.filter(pk__in=keys).order_by("pk")), "mentor__mentor", prefetch
        )


def test_missing_row_under_a_nullable_key_is_none() -> None:
    volumes(shelf_id=[5, 6, 5])
    Shelf.objects.create(number=6, room="here")
    prefetch = MemoizedPrefetch("shelf")
    for _ in range(2):
        [first, *_] = assert_same_as_django(all_volumes, "shelf", prefetch)
        assert first.shelf is None


def test_missing_row_under_a_required_key_raises_what_django_raises() -> None:
    volume = Volume.objects.create(title="here")
    Copy.objects.create(barcode="a", volume_id=volume.pk + 1)
    Copy.objects.create(barcode="b", volume=volume)
    prefetch = MemoizedPrefetch("volume")
    for _ in range(2):
        [dangling, found] = assert_same_as_django(lambda: list(Copy.objects.order_by("pk")), "volume", prefetch)
        with no_queries(), pytest.raises(Copy.volume.RelatedObjectDoesNotExist):
            _ = dangling.volume
        assert found.volume.title == "here"


def test_missing_rows_are_remembered_as_missing() -> None:
    volumes(shelf_id=[5, 6, 7])
    prefetch = MemoizedPrefetch("shelf")
    with query_count(1):
        prefetch.process_chunk([Volume(shelf_id=key) for key in (5, 6, 7)])
    with no_queries():
        prefetch.process_chunk([Volume(shelf_id=key) for key in (7, 6, 5)])
    stats = prefetch.stats().relations["shelf"]
    assert (stats.missing, stats.misses, stats.hits, stats.fetched) == (3, 3, 3, 0)
    assert dict(prefetch.memoized_objects[Shelf]) == {} if Shelf in prefetch.memoized_objects else True


def test_absences_count_against_the_size() -> None:
    prefetch = MemoizedPrefetch("shelf", lru_cache_size=2)
    prefetch.process_chunk([Volume(shelf_id=key) for key in range(10)])
    with query_count(1):
        prefetch.process_chunk([Volume(shelf_id=key) for key in range(10)])
    assert prefetch.stats().relations["shelf"].size <= 2


def test_absence_ends_with_clear() -> None:
    prefetch = MemoizedPrefetch("shelf")
    prefetch.process_chunk([Volume(shelf_id=5)])
    Shelf.objects.create(number=5, room="late")
    [volume] = prefetch.process_chunk([Volume(shelf_id=5)])
    assert volume.shelf is None
    prefetch.clear()
    [volume] = prefetch.process_chunk([Volume(shelf_id=5)])
    assert volume.shelf.room == "late"


@pytest.mark.parametrize("as_config", [True, False])
def test_rows_that_the_default_manager_hides_are_attached(as_config: bool) -> None:
    notices = [Notice.everything.create(text=f"notice {i}", withdrawn=bool(i % 2)) for i in range(4)]
    volumes(notice_id=[notice.pk for notice in notices] + [None])
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Notice, ["notice"]) if as_config else "notice")
    for _ in range(2):
        rows = assert_same_as_django(all_volumes, "notice", prefetch)
        assert rows[1].notice.withdrawn


@pytest.mark.parametrize("as_config", [True, False])
def test_rows_that_the_base_manager_hides_are_missing(as_config: bool) -> None:
    ledgers = [Ledger.objects.create(name=f"ledger {i}", closed=bool(i % 2)) for i in range(4)]
    volumes(ledger_id=[ledger.pk for ledger in ledgers])
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Ledger, ["ledger"]) if as_config else "ledger")
    for _ in range(2):
        rows = assert_same_as_django(all_volumes, "ledger", prefetch)
        assert rows[1].ledger is None


def test_model_without_a_manager_called_objects() -> None:
    curator = Curator.staff.create(name="curator")
    volumes(curator_id=[curator.pk, None])
    for prefetch in (MemoizedPrefetch("curator"), MemoizedPrefetch(MemoizedPrefetchConfig(Curator, ["curator"]))):
        assert_same_as_django(all_volumes, "curator", prefetch)


def test_a_cached_object_is_left_alone(bookshop: Bookshop) -> None:
    book = Book.objects.select_related("author").get(pk=bookshop.books[0].pk)
    author = book.author
    author.name = "changed here"
    plain = Book.objects.get(pk=bookshop.books[0].pk)
    MemoizedPrefetch("author").process_chunk([book, plain])
    assert book.author is author
    assert plain.author is not author
    assert plain.author.name != "changed here"


def test_a_partly_cached_chunk(bookshop: Bookshop) -> None:
    def chunk() -> list[Book]:
        books = list(Book.objects.order_by("pk"))
        for book in books[::2]:
            assert book.author
        return books

    prefetch = MemoizedPrefetch("author", "publisher")
    for _ in range(2):
        assert_same_as_django(chunk, ["author", "publisher"], prefetch)


def test_an_assigned_object_is_left_alone(bookshop: Bookshop) -> None:
    def chunk() -> list[Book]:
        books = list(Book.objects.order_by("pk"))
        books[0].author = Author(name="not yet saved")
        books[1].translator = None
        return books

    prefetch = MemoizedPrefetch("author", "translator")
    for _ in range(2):
        assert_same_as_django(chunk, ["author", "translator"], prefetch)


def test_unsaved_objects_get_their_foreign_keys(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author", "translator")
    for _ in range(2):
        assert_same_as_django(
            lambda: [Book(author_id=author.pk, translator_id=None) for author in bookshop.authors],
            ["author", "translator"],
            prefetch,
        )


if django.VERSION >= (5, 2):
    from tests.python.catalogue.models import Placement

    def test_composite_primary_key_of_the_streamed_rows() -> None:
        volume = Volume.objects.create(title="here")
        Placement.objects.create(room=1, position=1, volume=volume)
        Placement.objects.create(room=1, position=2, volume=None)
        prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Volume, ["volume"]))
        for _ in range(2):
            assert_same_as_django(lambda: list(Placement.objects.order_by("pk")), "volume", prefetch)


def test_writing_the_key_afterwards_drops_the_attached_object(bookshop: Bookshop) -> None:
    [book] = MemoizedPrefetch("author").process_chunk([Book.objects.get(pk=bookshop.books[0].pk)])
    book.author_id = bookshop.authors[5].pk
    with query_count(1):
        assert book.author == bookshop.authors[5]
