"""Which statements chunks() runs, what it sees of rows that come and go meanwhile, and where it goes on."""

from __future__ import annotations

from typing import Any
from unittest import mock

import django
import pytest
from django.db import connections
from django.db.models import Value
from django.db.models.lookups import GreaterThanOrEqual
from django.test import override_settings

from django_memoized_prefetch import MemoizedPrefetch, Progress
from tests.python.bookshop.models import Author, Book, Review
from tests.python.catalogue.models import Country
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.queries import captured_queries, query_count

if django.VERSION >= (5, 2):
    pass
from tests.python.streaming.reading import PAGES, keys, stream


def test_annotation_that_gives_several_rows(bookshop: Bookshop) -> None:
    several = Value(1)
    several.set_returning = True
    rows, how = stream(Book.objects.annotate(several=several))
    assert how == "by one cursor: an annotation may return several rows per object"
    assert len(rows) == 12


def test_pages_ask_by_key_alone(bookshop: Bookshop) -> None:
    """Nothing joined, and no page asked for behind the last one."""
    with captured_queries() as queries:
        assert [len(chunk) for chunk in MemoizedPrefetch().chunks(Book.objects.all(), 5)] == [5, 5, 2]
    assert len(queries) == 3
    assert not any("OFFSET" in sql or "JOIN" in sql or "COUNT" in sql for sql in queries.sql)
    with query_count(2):
        assert [len(chunk) for chunk in MemoizedPrefetch().chunks(Book.objects.all(), 6)] == [6, 6]
    with query_count(1):
        assert [len(chunk) for chunk in MemoizedPrefetch().chunks(Book.objects.all(), 12)] == [12]


def test_one_statement_by_cursor(bookshop: Bookshop) -> None:
    for queryset in (Book.objects.order_by("title"), Book.objects.all()):
        with captured_queries() as queries:
            assert len(list(MemoizedPrefetch().chunks(queryset, 5, mode="cursor"))) == 3
        assert queries.of(Book) == 1


def test_the_queryset_stays_as_it_is(bookshop: Bookshop) -> None:
    queryset = Book.objects.filter(pk__gt=0).prefetch_related("author")
    before = {name: value for name, value in vars(queryset).items() if name != "_query"}
    sql = str(queryset.query)
    for mode in ("pages", "cursor"):
        list(MemoizedPrefetch("publisher").chunks(queryset, 5, mode=mode))
    assert {name: value for name, value in vars(queryset).items() if name != "_query"} == before
    assert str(queryset.query) == sql
    assert queryset._result_cache is None
    with captured_queries() as queries:
        rows = list(queryset)
    assert queries.of(Author) == 1
    assert len(rows) == 12


def test_an_evaluated_queryset_is_read_anew(bookshop: Bookshop) -> None:
    queryset = Book.objects.order_by("pk")
    before = list(queryset)
    Book.objects.filter(pk=FIRST_KEY).update(title="changed")
    rows, _ = stream(queryset)
    assert rows[0].title == "changed"
    assert all(one is other for one, other in zip(queryset, before))


# --- rows that come and go


def test_rows_deleted_while_streaming(bookshop: Bookshop) -> None:
    seen = []
    for chunk in MemoizedPrefetch().chunks(Book.objects.order_by("pk"), 3):
        seen += keys(chunk)
        for book in chunk:
            book.delete()
        chunk.clear()
    assert seen == [FIRST_KEY + i for i in range(12)]
    assert not Book.objects.exists()


def test_rows_deleted_ahead_are_not_seen_in_pages(bookshop: Bookshop) -> None:
    chunks = MemoizedPrefetch().chunks(Book.objects.all(), 3)
    assert keys(next(chunks)) == [FIRST_KEY, FIRST_KEY + 1, FIRST_KEY + 2]
    Book.objects.filter(pk__in=[FIRST_KEY + 2, FIRST_KEY + 3, FIRST_KEY + 4]).delete()
    assert keys(next(chunks)) == [FIRST_KEY + 5, FIRST_KEY + 6, FIRST_KEY + 7]


def test_rows_inserted_ahead_are_seen_in_pages(bookshop: Bookshop) -> None:
    def insert(pk: int) -> None:
        Country.objects.create(code=f"{pk:03}", name="new")

    for pk in (10, 20, 30, 40):
        insert(pk)
    chunks = MemoizedPrefetch().chunks(Country.objects.all(), 2)
    seen = keys(next(chunks))
    insert(5)
    insert(25)
    seen += [key for chunk in chunks for key in keys(chunk)]
    assert seen == ["010", "020", "025", "030", "040"]


def test_keys_changed_by_the_loop(bookshop: Bookshop) -> None:
    seen = []
    for chunk in MemoizedPrefetch().chunks(Book.objects.order_by("-pk"), 4):
        seen += keys(chunk)
        for book in chunk:
            book.pk = None
    assert seen == [FIRST_KEY + i for i in reversed(range(12))]


def test_a_key_that_comes_again_is_an_error(bookshop: Bookshop) -> None:
    """As of a database that compares otherwise than it orders: it would never end."""
    Country.objects.bulk_create(Country(code=code, name="") for code in "abc")
    chunks = MemoizedPrefetch().chunks(Country.objects.all(), 2)
    with mock.patch.object(Country._meta.pk, "get_lookup", return_value=GreaterThanOrEqual):
        next(chunks)
        with pytest.raises(ValueError, match="the database returned row 'b' after itself; use mode=\"cursor\""):
            next(chunks)


class Replicas:
    """Reads go to one of several databases, another one each time."""

    def __init__(self) -> None:
        self.asked = 0

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        if model is not Book:
            return None
        self.asked += 1
        return ("other", "default")[self.asked % 2]


@pytest.mark.parametrize("mode", ["pages", "cursor"])
def test_one_stream_reads_one_database(bookshop: Bookshop, other_bookshop: Bookshop, mode: Any) -> None:
    router = Replicas()
    with override_settings(DATABASE_ROUTERS=[router]):
        for alias in ("default", "other"):
            chunks = MemoizedPrefetch("author").chunks(Book.objects.order_by("pk"), 5, mode=mode)
            rows = [book for chunk in chunks for book in chunk]
            assert {book._state.db for book in rows} == {"other" if router.asked % 2 == 0 else "default"}
            assert keys(rows) == keys(Book.objects.using("default").order_by("pk")), alias
    assert router.asked == 2


@pytest.mark.since("6.1")
def test_peers_are_those_of_one_page(bookshop: Bookshop) -> None:
    from django.db.models import FETCH_PEERS

    chunks = MemoizedPrefetch("author").chunks(Book.objects.fetch_mode(FETCH_PEERS), 5)
    for chunk in chunks:
        with query_count(1):
            assert all(book.publisher.pk == book.publisher_id and book.author.name for book in chunk)


def test_a_run_that_was_stopped_goes_on(bookshop: Bookshop) -> None:
    done: list[int] = []
    checkpoint: list[Any] = [None]

    def run(stop_at: int | None) -> None:
        def save(progress: Progress) -> None:
            checkpoint[0] = progress.last_pk

        for chunk in MemoizedPrefetch("author").chunks(Book.objects.all(), 3, after=checkpoint[0], progress=save):
            for number, book in enumerate(chunk):
                if book.pk == stop_at and number == 1:
                    raise RuntimeError("stopped")
            done.extend(keys(chunk))

    with pytest.raises(RuntimeError, match="stopped"):
        run(FIRST_KEY + 4)
    assert checkpoint == [FIRST_KEY + 2], "what the loop did not come to the end of is not done"
    run(None)
    assert done == [FIRST_KEY + i for i in range(12)]


# --- what stats() says


def test_stats_say_how_it_was_read(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author")
    list(prefetch.chunks(Book.objects.all()))
    assert prefetch.stats().streams == {"Book": PAGES}
    assert "Book: read in pages by primary key" in str(prefetch.stats())
    list(prefetch.chunks(Book.objects.order_by("title")))
    assert prefetch.stats().as_dict()["streams"] == {"Book": "by one cursor: it is ordered by title"}
    other = MemoizedPrefetch("book")
    list(other.chunks(Review.objects.all()))
    assert set((prefetch.stats() + other.stats()).streams) == {"Book", "Review"}
    assert connections["default"].in_atomic_block
