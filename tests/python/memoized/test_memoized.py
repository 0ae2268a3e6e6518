"""memoized(): a queryset that reads related rows once."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from django.db import models
from django.db.models import Count, Prefetch, Q

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig, memoized
from tests.python.archive.models import Box, Room
from tests.python.archive.rows import fill_archive
from tests.python.bookshop.models import Author, Book, Publisher, Review
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.graph import assert_alike, assert_identical
from tests.python.memoized.books import LOOKUPS, books, same_as_django
from tests.python.queries import built_by_django, captured_queries, query_count

WAYS: dict[str, Callable[[Any], Any]] = {
    "list": lambda queryset: queryset,
    "iterator": lambda queryset: queryset.iterator(chunk_size=5),
    "iterator of one": lambda queryset: queryset.iterator(chunk_size=1),
    "iterator of all": lambda queryset: queryset.iterator(chunk_size=1000),
    "filter": lambda queryset: queryset.filter(author__pk__gt=FIRST_KEY),
    "exclude": lambda queryset: queryset.exclude(translator=None),
    "all": lambda queryset: queryset.all(),
    "slice": lambda queryset: queryset[2:7],
    "stepped slice": lambda queryset: queryset[2:11:3],
    "index": lambda queryset: [queryset[3]],
    "get": lambda queryset: [queryset.get(pk=FIRST_KEY + 2)],
    "first": lambda queryset: [queryset.first()],
    "last": lambda queryset: [queryset.last()],
    "in_bulk": lambda queryset: queryset.in_bulk([FIRST_KEY + 3, FIRST_KEY]).values(),
    "order_by": lambda queryset: queryset.order_by("-pk"),
    "reverse": lambda queryset: queryset.reverse(),
    "distinct": lambda queryset: queryset.filter(categories__isnull=False).distinct(),
    "using": lambda queryset: queryset.using("other"),
    "annotate": lambda queryset: queryset.annotate(n=Count("reviews")),
    "select_related": lambda queryset: queryset.select_related("publisher"),
    "only": lambda queryset: queryset.only("title"),
    "defer": lambda queryset: queryset.defer("author", "title"),
    "or": lambda queryset: queryset.filter(pk=FIRST_KEY) | Book.objects.filter(pk=FIRST_KEY + 1),
    "and": lambda queryset: queryset.filter(pk__gt=FIRST_KEY) & Book.objects.filter(pk__lt=FIRST_KEY + 5),
    "union": lambda queryset: (
        queryset.filter(pk=FIRST_KEY).order_by().union(Book.objects.filter(pk=FIRST_KEY + 1)).order_by("pk")
    ),
    "complex filter": lambda queryset: queryset.complex_filter(Q(pk__gt=FIRST_KEY + 4)),
    "none": lambda queryset: queryset.none(),
    "empty": lambda queryset: queryset.filter(title="?"),
    "copied": copy.copy,
    "deeply copied": copy.deepcopy,
    "pickled": lambda queryset: pickle.loads(pickle.dumps(queryset)),
    "twice": lambda queryset: [*queryset.all(), *queryset.all()],
    "memoized again": lambda queryset: memoized(queryset),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_ask_gives_what_django_gives(bookshop: Bookshop, other_bookshop: Bookshop, way: str) -> None:
    rows = same_as_django(WAYS[way], books)
    assert rows or way in ("none", "empty")


KEEPING = ["filter", "all", "order_by", "annotate", "select_related", "or", "and", "deeply copied", "memoized again"]


@pytest.mark.parametrize("way", KEEPING)
def test_what_is_made_of_it_stays_memoized(bookshop: Bookshop, way: str) -> None:
    queryset = memoized(books())
    made = WAYS[way](queryset)
    assert isinstance(made, models.QuerySet)
    _, by_django = built_by_django(lambda: list(made.iterator(chunk_size=2)))
    assert by_django == 0
    with captured_queries() as queries:
        rows = list(made.iterator(chunk_size=1))
    assert len(queries) == 1, f"{len(rows)} rows asked for more than themselves: {queries.sql}"


def test_related_rows_are_read_once_in_one_run(bookshop: Bookshop) -> None:
    with captured_queries() as django_queries:
        list(books().iterator(chunk_size=3))
    with captured_queries() as queries:
        rows = list(memoized(books()).iterator(chunk_size=3))
    assert len(rows) == 12
    assert len(django_queries) == 1 + 4 * 4
    assert queries.of(Book) == 1, "one statement for the stream"
    assert queries.of(Publisher) == 1
    assert queries.of(Author) <= 2
    assert len({id(row.publisher) for row in rows}) == 3


def test_one_statement_serves_the_whole_stream(bookshop: Bookshop) -> None:
    iterator = memoized(books()).iterator(chunk_size=4)
    first = next(iterator)
    Book.objects.filter(pk=FIRST_KEY + 1).update(title="changed")
    assert first.pk == FIRST_KEY
    with captured_queries() as queries:
        rest = list(iterator)
    assert queries.of(Book) == 0
    assert len(rest) == 11


def test_lookups_added_later_are_memoized(bookshop: Bookshop) -> None:
    queryset = memoized(Book.objects.order_by("pk"))
    with query_count(1):
        list(queryset)
    list(queryset.prefetch_related("author"))
    with query_count(1):
        [book.author.name for book in queryset.prefetch_related("author")]
    with query_count(1):
        list(queryset.prefetch_related("author").prefetch_related(None))
    same_as_django(lambda queryset: queryset.prefetch_related("publisher"), books, (*LOOKUPS, "publisher"))


def test_without_lookups_rows_are_built_natively(bookshop: Bookshop) -> None:
    rows, by_django = built_by_django(lambda: list(memoized(Book.objects.order_by("pk"))))
    assert by_django == 0
    assert_identical(rows, list(Book.objects.order_by("pk")))


def test_every_call_remembers_for_itself(bookshop: Bookshop) -> None:
    list(memoized(Book.objects.prefetch_related("author")))
    Author.objects.update(name="changed")
    first = memoized(Book.objects.prefetch_related("author"))
    assert {book.author.name for book in first} == {"changed"}
    Author.objects.update(name="changed again")
    assert {book.author.name for book in first.all()} == {"changed"}
    assert {book.author.name for book in memoized(first)} == {"changed again"}


def test_all_lookups_share_what_is_remembered(bookshop: Bookshop) -> None:
    queryset = memoized(Review.objects.all())
    list(queryset.prefetch_related("book__author"))
    with captured_queries() as queries:
        list(queryset.prefetch_related("book__translator"))
        list(queryset.prefetch_related("book"))
    assert queries.of(Book) == 0
    assert queries.of(Author) <= 1


# --- prefetch=


def test_the_lookups_of_a_given_prefetch_are_added(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Author, ["author"]), "categories")
    queryset = memoized(Book.objects.order_by("pk").prefetch_related("publisher"), prefetch)
    for rows in (list(queryset), list(queryset.iterator(chunk_size=5)), [queryset.first()]):
        theirs = Book.objects.order_by("pk").prefetch_related("author", "categories", "publisher")[: len(rows)]
        assert_alike(rows, theirs, ["author", "categories", "publisher"])
    with query_count(1):
        list(queryset.all())
    plain = list(memoized(Book.objects.order_by("pk"), prefetch).iterator())
    assert_alike(plain, Book.objects.order_by("pk").prefetch_related("author", "categories"), ["author", "categories"])
    stats = prefetch.stats()
    assert stats.relations["publisher"].fetched == 3
    assert stats.relations["author"].fetched == 5
    assert stats.relations["publisher"].hits > 3


def test_a_given_prefetch_shares_its_memory(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch()
    reviews = list(memoized(Review.objects.prefetch_related("book__author"), prefetch))
    translated = memoized(Book.objects.prefetch_related("translator"), prefetch)
    with captured_queries() as queries:
        rows = list(translated)
    assert queries.of(Author) <= 1
    shared = {id(review.book.author) for review in reviews}
    assert shared & {id(book.translator) for book in rows if book.translator is not None}
    assert set(prefetch.stats().relations) == {"book", "book__author", "translator"}
    prefetch.clear()
    with captured_queries() as queries:
        list(translated.all())
    assert queries.of(Author) == 1


def test_a_given_prefetch_is_freed_with_its_memory(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author")
    rows = list(memoized(Book.objects.prefetch_related("publisher"), prefetch))
    gc.collect()
    gc.disable()
    try:
        dead = [weakref.ref(prefetch), weakref.ref(rows[0].publisher), weakref.ref(rows[0].author)]
        del prefetch, rows
        assert [one() for one in dead] == [None] * 3
    finally:
        gc.enable()


def test_the_memory_of_a_queryset_ends_with_it(bookshop: Bookshop) -> None:
    queryset = memoized(Book.objects.prefetch_related("publisher", "categories"))
    later = queryset.filter(pk__gt=0)
    dead = [weakref.ref(book.publisher) for book in later.iterator(chunk_size=2)]
    assert all(one() is not None for one in dead)
    gc.collect()
    gc.disable()
    try:
        del queryset, later
        assert not any(one() for one in dead)
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("given_first", [True, False])
def test_a_forked_child_starts_with_nothing_remembered(
    bookshop: Bookshop, given_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefetch = MemoizedPrefetch()
    queryset = memoized(Book.objects.prefetch_related("publisher"), prefetch)
    list(queryset)
    with query_count(1):
        list(queryset.all())
    child = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: child)  # as it is seen in a child
    if not given_first:
        prefetch.process_chunk([])
    with query_count(2):
        list(queryset.all())
    with query_count(1):
        list(queryset.all())


def test_a_forked_child_forgets_the_rows_of_given_querysets(
    bookshop: Bookshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefetch = MemoizedPrefetch()
    books = Book.objects.prefetch_related(Prefetch("publisher", Publisher.objects.all()))
    list(prefetch.chunks(books))
    assert prefetch.stats().tables
    child = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: child)  # as it is seen in a child
    assert not prefetch.stats().tables


# --- errors


def test_bad_arguments_say_so() -> None:
    with pytest.raises(TypeError, match=r"memoized: expected a queryset or a manager, got a list"):
        memoized([])  # type: ignore[type-var]
    with pytest.raises(TypeError, match=r"memoized: prefetch must be a MemoizedPrefetch, got 'author'"):
        memoized(Book.objects.all(), "author")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match=r"memoized: lru_cache_size must be a positive int or None, got 0"):
        memoized(Book.objects.all(), lru_cache_size=0)
    with pytest.raises(ValueError, match="strictly positive"):
        memoized(books()).iterator(chunk_size=0)


@pytest.mark.since("5.0")
def test_an_iterator_with_lookups_needs_a_chunk_size(bookshop: Bookshop) -> None:
    with pytest.raises(ValueError, match="chunk_size must be provided"):
        memoized(books()).iterator()
    assert len(list(memoized(Book.objects.all()).iterator())) == 12


def test_a_failing_chunk_can_be_read_again(bookshop: Bookshop) -> None:
    queryset = memoized(books().prefetch_related("autor"))
    for _ in range(2):
        with pytest.raises(AttributeError, match="autor"):
            list(queryset)
    assert_alike(list(memoized(books())), list(books()), LOOKUPS)


def test_its_size_bounds_what_is_remembered(bookshop: Bookshop) -> None:
    def author_queries(**arguments: Any) -> int:
        queryset = memoized(Book.objects.order_by("pk").prefetch_related("author"), **arguments)
        with captured_queries() as queries:
            assert_alike(
                list(queryset.iterator(chunk_size=1)),
                list(Book.objects.order_by("pk").prefetch_related("author")),
                ["author"],
            )
        return queries.of(Author) - 1

    assert author_queries() == 5
    assert author_queries(lru_cache_size=None) == 5
    assert author_queries(lru_cache_size=1) == 12


def test_boxes_of_the_archive_read_alike() -> None:
    fill_archive()
    same_as_django(
        lambda queryset: queryset.iterator(chunk_size=3),
        lambda: Box.objects.prefetch_related("room", "labelled", "inside__inside", "seal", "contents__room"),
        ("room", "labelled", "inside__inside", "seal", "contents__room"),
    )
    same_as_django(lambda queryset: queryset, lambda: Room.objects.prefetch_related("boxes__seal"), ("boxes__seal",))
