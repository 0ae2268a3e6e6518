"""A query that fails is Django's error, and leaves everything as it was."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connections
from django.db.models import Value, prefetch_related_objects

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.bookshop.models import Author, Book, Publisher
from tests.python.catalogue.models import CardIndexEntry
from tests.python.conftest import Bookshop
from tests.python.graph import assert_same_as_django
from tests.python.queries import no_queries

LOOKUPS = ["author", "translator", "publisher", "categories"]


def all_books() -> list[Book]:
    return list(Book.objects.order_by("pk"))


# --- the database


class Breaks:
    """An execute wrapper that fails the n-th query."""

    def __init__(self, nth: int, error: BaseException) -> None:
        self.left, self.error = nth, error

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            raise self.error
        return execute(sql, params, many, context)


@pytest.mark.parametrize("error", [OperationalError("gone away"), DatabaseError("no"), KeyboardInterrupt()])
@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_failing_query_is_djangos_exception_and_the_chunk_can_be_processed_again(
    bookshop: Bookshop, nth: int, error: BaseException
) -> None:
    prefetch = MemoizedPrefetch(*LOOKUPS, lru_cache_size=3)
    prefetch.process_chunk(all_books()[:2])
    sizes = {path: one.bound for path, one in prefetch.stats().relations.items()}
    books = all_books()
    with connections["default"].execute_wrapper(Breaks(nth, error)), pytest.raises(type(error)) as raised:
        prefetch.process_chunk(books)
    assert raised.value is error
    for path, one in prefetch.stats().relations.items():
        assert one.bound == sizes[path]
        assert one.size <= one.bound
    prefetch.process_chunk(books)
    theirs = all_books()
    prefetch_related_objects(theirs, *LOOKUPS)
    with no_queries():
        for our, their in zip(books, theirs):
            assert (our.author, our.translator, our.publisher) == (their.author, their.translator, their.publisher)
            assert sorted(c.pk for c in our.categories.all()) == sorted(c.pk for c in their.categories.all())
    assert_same_as_django(all_books, LOOKUPS, prefetch)


def test_failing_query_leaves_no_absence(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author", "categories")
    with connections["default"].execute_wrapper(Breaks(1, OperationalError("gone"))), pytest.raises(OperationalError):
        prefetch.process_chunk(all_books())
    assert prefetch.stats().relations["author"].missing == 0
    rows = assert_same_as_django(all_books, ["author", "categories"], prefetch)
    assert all(book.author for book in rows)


def test_failing_prefetch_all_at_construction(bookshop: Bookshop) -> None:
    def make() -> MemoizedPrefetch:
        return MemoizedPrefetch(MemoizedPrefetchConfig(Publisher, ["publisher"], prefetch_all=True))

    with connections["default"].execute_wrapper(Breaks(1, OperationalError("gone"))), pytest.raises(OperationalError):
        make()
    assert_same_as_django(all_books, "publisher", make())


def test_get_queryset_that_fails(bookshop: Bookshop) -> None:
    class Fails(MemoizedPrefetchConfig):
        fails = True

        def get_queryset(self) -> Any:
            if self.fails:
                raise RuntimeError("not now")
            return super().get_queryset().annotate(mark=Value(1))

    config = Fails(Author, ["author"])
    prefetch = MemoizedPrefetch(config)
    with pytest.raises(RuntimeError, match="not now"):
        prefetch.process_chunk(all_books())
    Fails.fails = False
    books = prefetch.process_chunk(all_books())
    assert all(book.author.mark == 1 for book in books)


def test_get_queryset_that_gives_no_instances(bookshop: Bookshop) -> None:
    class Values(MemoizedPrefetchConfig):
        def get_queryset(self) -> Any:
            return super().get_queryset().values("pk")

    with pytest.raises((TypeError, ValueError), match=r"instances|values"):
        MemoizedPrefetch(Values(Author, ["author"])).process_chunk(all_books())


def test_loose_key_without_a_config_names_what_is_missing() -> None:
    CardIndexEntry.objects.create(heading="x", legacy_id=1)
    with pytest.raises((AttributeError, ValueError), match="legacy"):
        MemoizedPrefetch("legacy").process_chunk(list(CardIndexEntry.objects.all()))
