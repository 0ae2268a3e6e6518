from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.bookshop.models import Book, Category
from tests.python.catalogue.models import (
    Contribution,
    Country,
    Genre,
    Item,
    Label,
    Labelling,
    Map,
    Notice,
    Person,
    Scan,
    Series,
    SeriesMembership,
    Tag,
    Topic,
    Volume,
)
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.oracle import assert_same_as_django, captured_queries, django_prefetch, no_queries, query_count


def categories_config(**kwargs: Any) -> MemoizedPrefetchConfig:
    """All three explicit arguments, as the original wants them."""
    return MemoizedPrefetchConfig(
        Category,
        ["categories"],
        is_many_to_many=True,
        through_model=Book.categories.through,
        source_field="book_id",
        target_field="category_id",
        **kwargs,
    )


def all_books() -> list[Book]:
    return list(Book.objects.order_by("pk"))


def all_volumes() -> list[Volume]:
    return list(Volume.objects.order_by("pk"))


@pytest.fixture
def volumes() -> list[Volume]:
    return Volume.objects.bulk_create([Volume(title=f"volume {i}") for i in range(5)])


@pytest.mark.parametrize("ways", ["explicit", "config", "lookup"])
@pytest.mark.parametrize("size", [1, 3, 10_000, None])
def test_forward_is_that_of_django(bookshop: Bookshop, ways: str, size: int | None) -> None:
    prefetch = {
        "explicit": lambda: MemoizedPrefetch(categories_config(lru_cache_size=size)),
        "config": lambda: MemoizedPrefetch(MemoizedPrefetchConfig(Category, ["categories"], lru_cache_size=size)),
        "lookup": lambda: MemoizedPrefetch("categories", lru_cache_size=size),
    }[ways]()
    keys = [book.pk for book in bookshop.books]
    for chunk in (keys[:5], keys[3:9], keys, keys[:5]):
        assert_same_as_django(
            lambda chunk=chunk: list(Book.objects.filter(pk__in=chunk).order_by("pk")),
            "categories",
            prefetch,
            read=lambda book: sorted(category.name for category in book.categories.all()),
        )


@pytest.mark.parametrize("source", ["book_id", "book"])
def test_explicit_fields_may_be_columns_or_relations(bookshop: Bookshop, source: str) -> None:
    config = MemoizedPrefetchConfig(
        Category,
        ["categories"],
        None,
        False,
        100,
        True,
        Book.categories.through,
        source,
        source.replace("book", "category"),
    )
    assert_same_as_django(all_books, "categories", MemoizedPrefetch(config))


@pytest.mark.parametrize("as_config", [True, False])
def test_reverse_is_that_of_django(bookshop: Bookshop, as_config: bool) -> None:
    prefetch = (
        MemoizedPrefetch(
            MemoizedPrefetchConfig(
                Book,
                ["books"],
                is_many_to_many=True,
                through_model=Book.categories.through,
                source_field="category_id",
                target_field="book_id",
            )
        )
        if as_config
        else MemoizedPrefetch("books", model=Category)
    )
    for _ in range(2):
        assert_same_as_django(lambda: list(Category.objects.order_by("pk")), "books", prefetch)


def test_reverse_without_related_name(volumes: list[Volume]) -> None:
    tags = [Tag.objects.create(word=f"tag {i}") for i in range(3)]
    volumes[0].tags.add(*tags)
    volumes[1].tags.add(tags[0])
    prefetch = MemoizedPrefetch("volume_set")
    for _ in range(2):
        assert_same_as_django(lambda: list(Tag.objects.order_by("pk")), "volume_set", prefetch)


def test_reverse_with_related_query_name(volumes: list[Volume]) -> None:
    topics = [Topic.objects.create(word=f"topic {i}") for i in range(3)]
    volumes[0].topics.add(*topics[:2])
    prefetch = MemoizedPrefetch("volume_set")
    for _ in range(2):
        assert_same_as_django(lambda: list(Topic.objects.order_by("pk")), "volume_set", prefetch)


def test_links_and_targets_are_remembered(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("categories")
    with query_count(2):
        prefetch.process_chunk([Book(pk=book.pk) for book in bookshop.books])
    with no_queries():
        prefetch.process_chunk([Book(pk=book.pk) for book in bookshop.books])


def test_only_new_sources_ask_for_links(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("categories")
    prefetch.process_chunk(all_books()[:10])
    rest = all_books()[8:]
    with query_count(1):  # links of the two new ones; their categories are known
        prefetch.process_chunk(rest)


@pytest.mark.parametrize(
    "left_out", [[], [4], range(1, 12), range(1, 11)], ids=["none", "one", "all but one", "but two"]
)
def test_sources_that_are_neighbours_ask_for_a_range(bookshop: Bookshop, left_out: Sequence[int]) -> None:
    def chunk() -> list[Book]:
        return [book for number, book in enumerate(Book.objects.order_by("-pk")) if number not in left_out]

    assert_same_as_django(chunk, "categories", MemoizedPrefetch("categories"))
    books = chunk()
    with captured_queries() as queries:
        MemoizedPrefetch("categories").process_chunk(books)
    keys = {book.pk for book in books}
    assert ("BETWEEN" in queries.sql[0]) == (len(keys) == max(keys) - min(keys) + 1 > 1)


def test_a_link_from_between_two_neighbours_is_no_ones(bookshop: Bookshop) -> None:
    table, category = Book.categories.through._meta.db_table, bookshop.categories[0].pk
    with connection.cursor() as cursor, connection.constraint_checks_disabled():
        # SQLite stores it like that; elsewhere it becomes an integer.
        cursor.execute(f"INSERT INTO {table} (book_id, category_id) VALUES (%s, %s)", [FIRST_KEY + 1.5, category])
        assert_same_as_django(all_books, "categories", MemoizedPrefetch("categories"))
        cursor.execute(f"DELETE FROM {table} WHERE book_id = %s", [FIRST_KEY + 1.5])


def test_sources_without_links_are_remembered() -> None:
    books = [Book(pk=pk) for pk in (1, 2, 3)]
    prefetch = MemoizedPrefetch("categories")
    with query_count(1):  # nothing is linked, so nothing is fetched
        prefetch.process_chunk(books)
    again = [Book(pk=pk) for pk in (3, 2, 1)]
    with no_queries():
        prefetch.process_chunk(again)
        assert [list(book.categories.all()) for book in again] == [[], [], []]


def test_order_of_the_related_model(volumes: list[Volume]) -> None:
    genres = [Genre.objects.create(name=name, rank=rank) for name, rank in (("b", 1), ("a", 1), ("c", 0), ("d", 2))]
    for i, volume in enumerate(volumes):
        volume.genres.add(*genres[i % 2 :])
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Genre, ["genres"], lru_cache_size=2))
    for _ in range(2):
        [first, *_] = assert_same_as_django(all_volumes, "genres", prefetch)
        assert [genre.name for genre in first.genres.all()] == ["c", "b", "a", "d"]


def test_order_survives_targets_that_were_already_remembered(volumes: list[Volume]) -> None:
    genres = [Genre.objects.create(name=f"genre {i}", rank=-i) for i in range(4)]
    volumes[0].genres.add(genres[0], genres[3])
    volumes[1].genres.add(*genres)
    prefetch = MemoizedPrefetch("genres")
    for volume in volumes[:2]:
        assert_same_as_django(lambda volume=volume: [Volume.objects.get(pk=volume.pk)], "genres", prefetch)


def test_rows_that_the_default_manager_hides_are_absent(volumes: list[Volume]) -> None:
    notices = [Notice.everything.create(text=f"notice {9 - i}", withdrawn=bool(i % 2)) for i in range(5)]
    for volume in volumes:
        volume.notices.add(*notices)
    for prefetch in (MemoizedPrefetch("notices"), MemoizedPrefetch(MemoizedPrefetchConfig(Notice, ["notices"]))):
        for _ in range(2):
            [first, *_] = assert_same_as_django(all_volumes, "notices", prefetch)
            assert len(first.notices.all()) == 3


def test_a_hidden_row_reached_by_foreign_key_stays_hidden_in_the_many_to_many(volumes: list[Volume]) -> None:
    hidden = Notice.everything.create(text="hidden", withdrawn=True)
    volumes[0].notices.add(hidden)
    Volume.objects.filter(pk=volumes[0].pk).update(notice=hidden)
    prefetch = MemoizedPrefetch("notice", "notices")
    for _ in range(2):
        [first, *_] = assert_same_as_django(all_volumes, ["notice", "notices"], prefetch)
        assert first.notice == hidden
        assert not first.notices.all()


def contributions(volumes: list[Volume]) -> None:
    people = [Person.objects.create(name=f"person {i}") for i in range(3)]
    editor = Person.objects.create(name="enters things")
    for i, volume in enumerate(volumes[:3]):
        for j in range(3):
            Contribution.objects.create(
                volume=volume, person=people[(i * j) % 3], role=f"role {j}", entered_by=editor, credited=bool(j)
            )


@pytest.mark.parametrize("ways", ["explicit", "lookup"])
def test_duplicate_links_are_kept(volumes: list[Volume], ways: str) -> None:
    contributions(volumes)
    prefetch = (
        MemoizedPrefetch("contributors")
        if ways == "lookup"
        else MemoizedPrefetch(
            MemoizedPrefetchConfig(
                model=Person,
                attributes=["contributors"],
                is_many_to_many=True,
                through_model=Contribution,
                source_field="volume_id",
                target_field="person_id",
            )
        )
    )
    for _ in range(2):
        [first, *_] = assert_same_as_django(all_volumes, "contributors", prefetch)
        # The through model's own manager would hide one of the three links; Django does not ask it.
        assert len(first.contributors.all()) == 3
        assert len({person.pk for person in first.contributors.all()}) == 1


def test_reverse_of_a_custom_through_model(volumes: list[Volume]) -> None:
    contributions(volumes)
    prefetch = MemoizedPrefetch("volumes")
    for _ in range(2):
        assert_same_as_django(lambda: list(Person.objects.order_by("pk")), "volumes", prefetch)


def test_links_to_rows_that_are_gone(volumes: list[Volume]) -> None:
    person = Person.objects.create(name="here")
    Contribution.objects.create(volume=volumes[0], person_id=person.pk + 1)
    Contribution.objects.create(volume=volumes[0], person=person)
    Contribution.objects.create(volume=volumes[1], person_id=person.pk + 1)
    prefetch = MemoizedPrefetch("contributors")
    for _ in range(2):
        assert_same_as_django(all_volumes, "contributors", prefetch)


def test_text_keys_on_the_other_side(volumes: list[Volume]) -> None:
    countries = [Country.objects.create(code=code, name=f"country {code}") for code in ("", "no", "se")]
    volumes[0].countries.add(*countries)
    volumes[1].countries.add(countries[0])
    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(
            model=Country,
            attributes=["countries"],
            is_many_to_many=True,
            through_model=Volume.countries.through,
            source_field="volume_id",
            target_field="country_id",
        )
    )
    for _ in range(2):
        assert_same_as_django(all_volumes, "countries", prefetch)
    prefetch = MemoizedPrefetch("sold_volumes")
    for _ in range(2):
        assert_same_as_django(lambda: list(Country.objects.order_by("pk")), "sold_volumes", prefetch)


def test_uuid_keys(volumes: list[Volume]) -> None:
    scans = [Scan.objects.create(resolution=i) for i in range(3)]
    volumes[0].scans.add(*scans)
    volumes[1].scans.add(scans[0])
    for _ in range(2):
        assert_same_as_django(all_volumes, "scans", MemoizedPrefetch("scans"))
        assert_same_as_django(
            lambda: list(Scan.objects.order_by("pk")), "scanned_volumes", MemoizedPrefetch("scanned_volumes")
        )


@pytest.mark.parametrize("ways", ["explicit", "lookup"])
def test_links_by_to_field(volumes: list[Volume], ways: str) -> None:
    rows = [Series.objects.create(code=f"S{i}", number=i, name=f"series {i}") for i in range(3)]
    SeriesMembership.objects.create(volume=volumes[0], series=rows[2])
    SeriesMembership.objects.create(volume=volumes[0], series=rows[0])
    SeriesMembership.objects.create(volume=volumes[1], series=rows[0])
    prefetch = (
        MemoizedPrefetch("all_series")
        if ways == "lookup"
        else MemoizedPrefetch(
            MemoizedPrefetchConfig(
                Series,
                ["all_series"],
                is_many_to_many=True,
                through_model=SeriesMembership,
                source_field="volume_id",
                target_field="series_id",
            )
        )
    )
    for _ in range(2):
        assert_same_as_django(all_volumes, "all_series", prefetch)
    reverse = MemoizedPrefetch("member_volumes")
    for _ in range(2):
        assert_same_as_django(lambda: list(Series.objects.order_by("pk")), "member_volumes", reverse)


@pytest.mark.parametrize("path", ["colleagues", "substitutes", "substitute_for"])
def test_many_to_many_of_a_model_with_itself(path: str) -> None:
    people = [Person.objects.create(name=f"person {i}") for i in range(4)]
    people[0].colleagues.add(people[1], people[2])
    people[1].substitutes.add(people[0], people[3], people[1])
    people[2].substitutes.add(people[0])
    prefetch = MemoizedPrefetch(path)
    for _ in range(2):
        assert_same_as_django(lambda: list(Person.objects.order_by("pk")), path, prefetch)


def test_inherited_and_own_many_to_many_of_a_child_model() -> None:
    genres = [Genre.objects.create(name=f"genre {i}") for i in range(3)]
    country = Country.objects.create(code="se", name="Sweden")
    maps = [Map.objects.create(name=f"map {i}") for i in range(3)]
    maps[0].genres.add(*genres)
    maps[1].genres.add(genres[1])
    maps[1].regions.add(country)
    prefetch = MemoizedPrefetch("genres", "regions")
    for _ in range(2):
        assert_same_as_django(lambda: list(Map.objects.order_by("pk")), ["genres", "regions"], prefetch)
    for path, model in (("items", Genre), ("maps", Country)):
        prefetch = MemoizedPrefetch(path)
        for _ in range(2):
            assert_same_as_django(lambda model=model: list(model.objects.order_by("pk")), path, prefetch)


def test_chunk_of_parents_and_children_of_one_table() -> None:
    genres = [Genre.objects.create(name=f"genre {i}") for i in range(3)]
    first = Map.objects.create(name="map")
    second = Item.objects.create(name="item")
    first.genres.add(*genres)
    second.genres.add(genres[0])
    prefetch = MemoizedPrefetch("genres")
    for _ in range(2):
        assert_same_as_django(lambda: [*Item.objects.order_by("pk"), *Map.objects.order_by("pk")], "genres", prefetch)


def test_foreign_key_and_many_to_many_share_the_rows_of_one_table(volumes: list[Volume]) -> None:
    """One table, one memo: a row that came by one relation is not fetched for the other."""
    tags = [Tag.objects.create(word=f"tag {i}") for i in range(2)]
    volumes[0].tags.add(*tags)
    people = [Person.objects.create(name="a"), Person.objects.create(name="b")]
    people[0].colleagues.add(people[1])
    Person.objects.filter(pk=people[0].pk).update(mentor=people[1])
    prefetch = MemoizedPrefetch("mentor", "colleagues")
    with query_count(1 + 2):  # the chunk; persons once, links once
        prefetch.process_chunk(Person.objects.filter(pk=people[0].pk))


def test_existing_prefetch_is_left_alone(bookshop: Bookshop) -> None:
    def chunk() -> list[Book]:
        books = all_books()
        django_prefetch(books[:4], ["categories"])
        Book.categories.through.objects.all()
        return books

    prefetch = MemoizedPrefetch("categories")
    for _ in range(2):
        assert_same_as_django(chunk, "categories", prefetch)


def test_existing_prefetch_keeps_its_queryset(bookshop: Bookshop) -> None:
    [book, plain] = bookshop.books[4], bookshop.books[3]
    book = Book.objects.get(pk=book.pk)
    django_prefetch([book], ["categories"])
    queryset = book.categories.all()
    plain = Book.objects.get(pk=plain.pk)
    MemoizedPrefetch("categories").process_chunk([book, plain])
    assert book.categories.all() is queryset
    with no_queries():
        assert plain.categories.count() == 3


def test_the_result_is_a_queryset_of_the_managers_class(bookshop: Bookshop) -> None:
    [book] = MemoizedPrefetch("categories").process_chunk([Book.objects.get(pk=bookshop.books[4].pk)])
    with no_queries():
        result = book.categories.all()
        assert isinstance(result, QuerySet)
        assert result.model is Category
        assert result.db == "default"
        assert len(result) == result.count() == book.categories.count() == 4
        assert result.exists()
        assert result[0] in result
        assert [category.pk for category in result[1:3]] == [category.pk for category in list(result)[1:3]]


def test_changing_the_relation_of_a_processed_object_works(bookshop: Bookshop) -> None:
    [book] = MemoizedPrefetch("categories").process_chunk([Book.objects.get(pk=bookshop.books[4].pk)])
    extra = Category.objects.create(name="extra")
    before = {category.pk for category in book.categories.all()}
    book.categories.add(extra)
    assert {category.pk for category in book.categories.all()} == before | {extra.pk}
    book.categories.set([extra])
    assert list(book.categories.all()) == [extra]
    book.categories.clear()
    assert not book.categories.all()


def test_same_named_through_models_of_two_applications(volumes: list[Volume]) -> None:
    from tests.python.museum.models import Label as MuseumLabel
    from tests.python.museum.models import Labelling as MuseumLabelling

    labels = [Label.objects.create(text=f"library {i}") for i in range(3)]
    museum_labels = [MuseumLabel.objects.create(text=f"museum {i}") for i in range(3)]
    Labelling.objects.create(volume=volumes[0], label=labels[0])
    MuseumLabelling.objects.create(volume=volumes[0], label=museum_labels[2])
    prefetch = MemoizedPrefetch("labels", "museum_labels")
    for _ in range(2):
        assert_same_as_django(all_volumes, ["labels", "museum_labels"], prefetch)
