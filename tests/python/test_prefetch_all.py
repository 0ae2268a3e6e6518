from __future__ import annotations

from typing import Any

import pytest
from django.db.models import Prefetch, QuerySet

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.bookshop.models import Author, Book, Category, Publisher
from tests.python.catalogue.models import Country, Notice, Shelf, Volume
from tests.python.conftest import Bookshop
from tests.python.graph import assert_same_as_django
from tests.python.queries import captured_queries, no_queries, query_count


def all_books() -> list[Book]:
    return list(Book.objects.order_by("pk"))


def test_reads_everything_once_at_construction(bookshop: Bookshop) -> None:
    with query_count(1) as queries:
        prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Publisher, ["publisher"], prefetch_all=True))
    assert queries.of(Publisher) == 1
    assert dict(prefetch.memoized_objects[Publisher]) == {p.pk: p for p in bookshop.publishers}
    books = all_books()
    with no_queries():
        prefetch.process_chunk(books)
    assert_same_as_django(all_books, "publisher", prefetch)


def test_without_it_nothing_is_read_at_construction(bookshop: Bookshop) -> None:
    with no_queries():
        MemoizedPrefetch(MemoizedPrefetchConfig(Publisher, ["publisher"]), "author", "categories", model=Book)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_more_rows_than_the_size_keeps_the_first(bookshop: Bookshop, size: int) -> None:
    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(
            Publisher, ["publisher"], queryset=Publisher.objects.order_by("pk"), prefetch_all=True, lru_cache_size=size
        )
    )
    assert set(dict(prefetch.memoized_objects[Publisher])) == {p.pk for p in bookshop.publishers[:size]}
    for _ in range(2):
        assert_same_as_django(all_books, [Prefetch("publisher", Publisher.objects.order_by("pk"))], prefetch)
        assert len(prefetch.memoized_objects[Publisher]) <= size


def test_more_rows_than_the_size_reads_no_more_than_the_size(bookshop: Bookshop) -> None:
    with captured_queries() as queries:
        MemoizedPrefetch(MemoizedPrefetchConfig(Publisher, ["publisher"], prefetch_all=True, lru_cache_size=2))
    assert len(queries) == 1
    assert "LIMIT" in queries.sql[0]


def test_truncation_is_a_warning_in_the_log(bookshop: Bookshop, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="django_memoized_prefetch"):
        MemoizedPrefetch(MemoizedPrefetchConfig(Publisher, ["publisher"], prefetch_all=True, lru_cache_size=2))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "Publisher" in caplog.text
    caplog.clear()
    with caplog.at_level("WARNING", logger="django_memoized_prefetch"):
        MemoizedPrefetch(MemoizedPrefetchConfig(Publisher, ["publisher"], prefetch_all=True, lru_cache_size=4))
    assert not caplog.records, "four publishers fit"


def test_sliced_queryset(bookshop: Bookshop) -> None:
    queryset = Publisher.objects.order_by("pk")[:2]
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Publisher, ["publisher"], queryset=queryset, prefetch_all=True))
    assert set(dict(prefetch.memoized_objects[Publisher])) == {p.pk for p in bookshop.publishers[:2]}
    books = list(Book.objects.filter(publisher__in=bookshop.publishers[:2]))
    with no_queries():
        prefetch.process_chunk(books)
        assert all(book.publisher.pk == book.publisher_id for book in books)
    assert queryset._result_cache is None


def test_sliced_queryset_with_an_offset(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(
            Publisher,
            ["publisher"],
            queryset=Publisher.objects.order_by("pk")[1:4],
            prefetch_all=True,
            lru_cache_size=2,
        )
    )
    assert set(dict(prefetch.memoized_objects[Publisher])) == {p.pk for p in bookshop.publishers[1:3]}


def test_custom_primary_keys() -> None:
    Country.objects.create(code="", name="nowhere")
    Country.objects.create(code="se", name="Sweden")
    Shelf.objects.create(number=0, room="cellar")
    Volume.objects.create(title="a", country_id="", shelf_id=0)
    Volume.objects.create(title="b", country_id="se", shelf_id=None)
    with query_count(2):
        prefetch = MemoizedPrefetch(
            MemoizedPrefetchConfig(Country, ["country"], prefetch_all=True),
            MemoizedPrefetchConfig(Shelf, ["shelf"], prefetch_all=True),
        )
    volumes = list(Volume.objects.order_by("pk"))
    with no_queries():
        prefetch.process_chunk(volumes)
    assert_same_as_django(lambda: list(Volume.objects.order_by("pk")), ["country", "shelf"], prefetch)


def test_many_to_many(bookshop: Bookshop) -> None:
    with query_count(1):
        prefetch = MemoizedPrefetch(
            MemoizedPrefetchConfig(
                model=Category,
                attributes=["categories"],
                prefetch_all=True,
                is_many_to_many=True,
                through_model=Book.categories.through,
                source_field="book_id",
                target_field="category_id",
            )
        )
    books = all_books()
    with query_count(1):  # the links
        prefetch.process_chunk(books)
    assert_same_as_django(all_books, "categories", prefetch)


def test_nested(bookshop: Bookshop) -> None:
    from tests.python.bookshop.models import Review

    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Publisher, ["book.publisher"], prefetch_all=True))
    reviews = list(Review.objects.all())
    with query_count(1):  # the books
        prefetch.process_chunk(reviews)
    assert_same_as_django(lambda: list(Review.objects.order_by("pk")), "book__publisher", prefetch)


def test_hidden_rows_are_still_found() -> None:
    """`Model.objects` hides a row from the reading of everything; Django's foreign key shows it."""
    shown = Notice.everything.create(text="shown")
    hidden = Notice.everything.create(text="hidden", withdrawn=True)
    for notice in (shown, hidden):
        Volume.objects.create(title="v", notice=notice)
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Notice, ["notice"], prefetch_all=True))
    for _ in range(2):
        assert_same_as_django(lambda: list(Volume.objects.order_by("pk")), "notice", prefetch)


def test_row_added_later_is_found(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Publisher, ["publisher"], prefetch_all=True, lru_cache_size=len(bookshop.publishers) * 2)
    )
    late = Publisher.objects.create(name="late", country="SE")
    Book.objects.filter(pk=bookshop.books[0].pk).update(publisher=late)
    assert_same_as_django(all_books, "publisher", prefetch)


def first_authors(**settings: Any) -> MemoizedPrefetch:
    config = MemoizedPrefetchConfig(
        Author, ["translator"], queryset=Author.objects.order_by("pk")[:3], prefetch_all=True, **settings
    )
    return MemoizedPrefetch(config, invalidate_on_change=True)


def translators(prefetch: MemoizedPrefetch, authors: list[Author]) -> list[Any]:
    books = [Book(translator_id=author.pk) for author in authors]
    return [book.translator and book.translator.name for book in prefetch.process_chunk(books)]


def test_invalidated_rows_of_a_slice_are_read_again(bookshop: Bookshop) -> None:
    prefetch = first_authors()
    names = [author.name for author in bookshop.authors[:3]]
    assert translators(prefetch, bookshop.authors[:4]) == [*names, None]
    prefetch.invalidate(Author, [bookshop.authors[1].pk])
    assert translators(prefetch, bookshop.authors[:4]) == [*names, None]
    Author.objects.filter(pk=bookshop.authors[0].pk).update(name="renamed")
    bookshop.authors[0].save(update_fields=["email"])
    assert translators(prefetch, bookshop.authors[:4]) == ["renamed", *names[1:], None]


def test_evicted_rows_of_a_slice_are_read_again(bookshop: Bookshop) -> None:
    prefetch = first_authors(lru_cache_size=3)
    names = [author.name for author in bookshop.authors[:3]]
    # Absences of rows outside of the slice take the places of its rows.
    elsewhere = [Author(pk=pk) for pk in range(1, 4)]
    assert translators(prefetch, [*elsewhere, bookshop.authors[3]]) == [None] * 4
    assert translators(prefetch, bookshop.authors[:4]) == [*names, None]


@pytest.mark.parametrize("how", ["signal", "invalidate"])
@pytest.mark.parametrize("before", [0, 1])
def test_a_change_to_what_lookups_of_its_queryset_attach(bookshop: Bookshop, how: str, before: int) -> None:
    """No chunk has led to these lookups yet."""

    def authors() -> QuerySet[Author]:
        return Author.objects.prefetch_related("books")

    config = MemoizedPrefetchConfig(Author, ["translator"], queryset=authors(), prefetch_all=True)
    prefetch = MemoizedPrefetch(config, invalidate_on_change=how == "signal")
    prefetch.process_chunk(list(Book.objects.filter(translator=None))[:before])
    translator = Book.objects.exclude(translator=None)[0].translator
    moved = Book.objects.exclude(author=translator)[0]
    moved.author = translator
    moved.save()
    if how == "invalidate":
        prefetch.invalidate(Book, [moved.pk])
    assert_same_as_django(all_books, [Prefetch("translator", authors())], prefetch)


@pytest.mark.since("6.1")
def test_rows_have_the_fetch_mode_of_the_chunk(bookshop: Bookshop) -> None:
    from django.db.models import FETCH_ONE, FETCH_PEERS, FETCH_RAISE

    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Author, ["author"], prefetch_all=True))
    for mode in (FETCH_RAISE, FETCH_ONE, FETCH_PEERS, FETCH_RAISE):

        def books(mode: Any = mode) -> list[Book]:
            return list(Book.objects.fetch_mode(mode).order_by("pk"))

        for book in prefetch.process_chunk(books()):
            assert book.author._state.fetch_mode is mode
        assert_same_as_django(books, "author", prefetch)
