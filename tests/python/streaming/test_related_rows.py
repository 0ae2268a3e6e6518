"""What chunks() attaches to its rows, of which class they are, and what else than querysets it takes."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import django
import pytest
from django.db import models
from django.db.models import Prefetch

from django_memoized_prefetch import MemoizedPrefetch, memoized
from tests.python.bookshop.models import Author, Book, Publisher, Review
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.graph import assert_alike
from tests.python.queries import built_by_django, captured_queries, no_queries

if django.VERSION >= (5, 2):
    pass
from tests.python.streaming.reading import LOOKUPS, PAGES, keys, stream

# --- related rows


@pytest.mark.parametrize("mode", ["pages", "cursor"])
def test_lookups_of_both(bookshop: Bookshop, mode: Any) -> None:
    prefetch = MemoizedPrefetch("author", "translator")
    queryset = Book.objects.order_by("pk").prefetch_related("publisher", "categories")
    with captured_queries() as queries:
        rows = [book for chunk in prefetch.chunks(queryset, 3, mode=mode) for book in chunk]
    assert_alike(rows, list(queryset.prefetch_related("author", "translator")), LOOKUPS)
    assert queries.of(Publisher) == 1
    assert queries.of(Author) <= 2
    assert len({id(book.publisher) for book in rows}) == 3
    assert prefetch.stats().relations["publisher"].hits > 0


@pytest.mark.parametrize("mode", ["pages", "cursor"])
def test_prefetch_objects_of_the_queryset(bookshop: Bookshop, mode: Any) -> None:
    def queryset() -> Any:
        good = Prefetch("reviews", Review.objects.filter(rating__gt=2).order_by("pk"), to_attr="good")
        return Book.objects.order_by("pk").prefetch_related(good, "author__books")

    rows = [book for chunk in MemoizedPrefetch("publisher").chunks(queryset(), 5, mode=mode) for book in chunk]
    theirs = list(queryset().prefetch_related("publisher"))
    assert_alike(rows, theirs, ["author", "publisher"], lambda book: [review.pk for review in book.good])


@pytest.mark.parametrize("mode", ["pages", "cursor"])
def test_memoized_querysets(bookshop: Bookshop, mode: Any) -> None:
    inner, prefetch = MemoizedPrefetch("translator"), MemoizedPrefetch("categories")
    queryset = memoized(Book.objects.order_by("pk").prefetch_related("author"), inner).filter(pk__gt=FIRST_KEY)
    rows = [book for chunk in prefetch.chunks(queryset, 4, mode=mode) for book in chunk]
    lookups = ("author", "translator", "categories")
    assert_alike(rows, list(Book.objects.order_by("pk").filter(pk__gt=FIRST_KEY).prefetch_related(*lookups)), lookups)
    assert inner.stats().relations["translator"].requests > 0
    shared = [book for chunk in inner.chunks(queryset, 4, mode=mode) for book in chunk]
    assert_alike(
        shared, list(Book.objects.filter(pk__gt=FIRST_KEY).order_by("pk").prefetch_related(*lookups[:2])), lookups[:2]
    )


@pytest.mark.parametrize("mode", ["pages", "cursor"])
def test_rows_are_built_natively(bookshop: Bookshop, mode: Any) -> None:
    prefetch = MemoizedPrefetch("author", "categories")
    for queryset in (Book.objects.order_by("pk"), memoized(Book.objects.order_by("pk"))):
        _, by_django = built_by_django(functools.partial(list, prefetch.chunks(queryset, 5, mode=mode)))
        assert by_django == 0


class OwnWayQuerySet(models.QuerySet):
    def _prefetch_related_objects(self) -> None:
        super()._prefetch_related_objects()
        for row in self._result_cache:
            row.attached = "its own way"


class StreamingQuerySet(models.QuerySet):
    def iterator(self, chunk_size: int = 1) -> Iterator[Any]:
        for row in super().iterator(chunk_size):
            row.streamed = chunk_size, row.author.name if Book.author.is_cached(row) else None
            yield row


class FilteringQuerySet(models.QuerySet):
    def filter(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("not to be asked for anything but its rows")


class AddingQuerySet(models.QuerySet):
    def titled(self, title: str) -> Any:
        return self.filter(title=title)


def test_queryset_classes_with_their_own_ways(bookshop: Bookshop) -> None:
    rows, how = stream(OwnWayQuerySet(Book).prefetch_related("author"))
    assert how == "by one cursor: OwnWayQuerySet has its own _prefetch_related_objects()"
    assert len(rows) == 12
    assert all(Book.author.is_cached(row) for row in rows)
    rows, how = stream(StreamingQuerySet(Book), 7)
    assert how == "by one cursor: StreamingQuerySet has its own iterator()"
    assert {row.streamed for row in rows} == {(7, None)}
    rows, how = stream(StreamingQuerySet(Book).prefetch_related("author"), 7)
    assert {row.streamed for row in rows} == {(7, author.name) for author in bookshop.authors[:5]}
    rows, how = stream(FilteringQuerySet(Book), 7)
    assert how == "by one cursor: FilteringQuerySet has its own filter()"
    assert sorted(keys(rows)) == keys(Book.objects.order_by("pk"))
    rows, how = stream(AddingQuerySet(Book), 7)
    assert how == PAGES
    assert keys(rows) == keys(Book.objects.order_by("pk"))


# --- raw querysets, lists and other iterables


def test_raw_querysets(bookshop: Bookshop) -> None:
    raw = Book.objects.raw("SELECT * FROM bookshop_book WHERE id > %s ORDER BY title", [FIRST_KEY])
    for queryset in (raw, raw.prefetch_related("author", "categories"), raw.using("default")):
        prefetch = MemoizedPrefetch("publisher")
        rows = [book for chunk in prefetch.chunks(queryset, 4) for book in chunk]
        theirs = list(
            Book.objects.raw(raw.raw_query, [FIRST_KEY]).prefetch_related("publisher", "author", "categories")
        )
        assert keys(rows) == keys(theirs)
        if queryset._prefetch_related_lookups:
            assert_alike(rows, theirs, ["publisher", "author", "categories"])
        assert prefetch.stats().streams == {"Book": "by one cursor: it is raw SQL"}
        assert queryset._result_cache is None
    with pytest.raises(ValueError, match="after needs pages, and Book cannot be read in pages: it is raw SQL"):
        MemoizedPrefetch().chunks(raw, after=1)


def test_lists_and_other_iterables(bookshop: Bookshop) -> None:
    books = list(Book.objects.order_by("pk"))
    for make in (lambda: books, lambda: tuple(books), lambda: iter(books), lambda: (book for book in books)):
        chunks = list(MemoizedPrefetch("author").chunks(make(), 5))
        assert [len(chunk) for chunk in chunks] == [5, 5, 2]
        assert all(type(chunk) is list for chunk in chunks)
        assert all(one is other for one, other in zip([book for chunk in chunks for book in chunk], books))
        with no_queries():
            assert all(book.author.pk == book.author_id for book in books)
    assert list(MemoizedPrefetch("author").chunks([])) == []


HUGE = [2**31 - 2, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 2**70]


@pytest.mark.parametrize("chunk_size", HUGE)
def test_a_chunk_of_any_length_holds_all_rows(bookshop: Bookshop, chunk_size: int) -> None:
    """Drivers take fewer at once, databases count to 2 ** 63 and Python's islice() to sys.maxsize."""
    books = Book.objects.order_by("pk")
    raw = Book.objects.raw(f"SELECT * FROM {Book._meta.db_table} ORDER BY id")
    for rows, mode in ((books, "pages"), (books, "cursor"), (raw, None), (list(books), None), (books.iterator(), None)):
        chunks = MemoizedPrefetch("author").chunks(rows, chunk_size, mode=mode)  # type: ignore[call-overload]
        assert [keys(chunk) for chunk in chunks] == [keys(books)]


def test_an_iterable_is_read_no_further_than_needed(bookshop: Bookshop) -> None:
    taken = []

    def source() -> Iterator[Book]:
        try:
            for book in Book.objects.order_by("pk"):
                taken.append(book.pk)
                yield book
        finally:
            taken.append("closed")

    chunks: Any = MemoizedPrefetch("author").chunks(source(), 4)
    assert taken == []
    next(chunks)
    assert len(taken) == 4
    chunks.close()
    assert taken[4:] == ["closed"]
