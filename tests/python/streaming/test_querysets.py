"""chunks(): the lists, one behind the other, are the queryset, whether it is read in pages or by one cursor."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import django
import pytest
from django.db import transaction

from django_memoized_prefetch import MemoizedPrefetch, Progress
from tests.python.archive.models import Sheet, Vase
from tests.python.bookshop.models import Book
from tests.python.catalogue.models import Card, Country, Shelf
from tests.python.conftest import FIRST_KEY, rows_of_a_module
from tests.python.customised.models import Article
from tests.python.databases import POSTGRESQL, only_on
from tests.python.graph import assert_identical
from tests.python.queries import captured_queries, no_queries, query_count

if django.VERSION >= (5, 2):
    from tests.python.archive.models import Cell
from tests.python.streaming.querysets import BY_CURSOR, IN_PAGES, fill_streamed
from tests.python.streaming.reading import PAGES, expected, fractions, keys, progress_of, stream

all_rows = rows_of_a_module(fill_streamed)


@pytest.mark.parametrize("chunk_size", [1, 2, 1000])
@pytest.mark.parametrize("name", IN_PAGES)
def test_in_pages(all_rows: None, name: str, chunk_size: int) -> None:
    queryset = IN_PAGES[name]()
    rows, how = stream(queryset, chunk_size)
    assert how == PAGES
    assert_identical(rows, expected(queryset.all()))
    assert rows or name in ("no rows", "none")


@pytest.mark.parametrize("name", IN_PAGES)
def test_by_cursor_when_asked_for(all_rows: None, name: str) -> None:
    queryset = IN_PAGES[name]().all()
    queryset = queryset if queryset.ordered else queryset.order_by("pk")
    rows, how = stream(queryset, 2, mode="cursor")
    assert how == "by one cursor: it was asked for"
    assert_identical(rows, list(queryset))


@pytest.mark.parametrize("chunk_size", [1, 3, 1000])
@pytest.mark.parametrize("name", BY_CURSOR)
def test_by_cursor(all_rows: None, name: str, chunk_size: int) -> None:
    make, reason = BY_CURSOR[name]
    rows, how = stream(make(), chunk_size)
    assert how.startswith(f"by one cursor: {reason}")
    assert_identical(rows, list(make()))
    assert rows


@pytest.mark.parametrize("name", BY_CURSOR)
def test_obstacles_are_named(all_rows: None, name: str) -> None:
    make, reason = BY_CURSOR[name]
    for option in ({"mode": "pages"}, {"after": FIRST_KEY}):
        with no_queries_but_of(make), pytest.raises(ValueError, match=r"needs pages, and .* cannot be read in pages: "):
            MemoizedPrefetch().chunks(make(), **option)
        with pytest.raises(ValueError, match="pages") as caught:
            MemoizedPrefetch().chunks(make(), **option)
        assert reason in str(caught.value)


@contextmanager
def no_queries_but_of(make: Callable[[], Any]) -> Iterator[None]:
    with captured_queries() as queries:
        make()
    with query_count(len(queries)):
        yield


def test_locked_rows(all_rows: None) -> None:
    with transaction.atomic():
        queryset = Book.objects.select_for_update().order_by("pk")
        rows, how = stream(queryset, 5)
        assert how == "by one cursor: it locks its rows"
        assert_identical(rows, list(queryset))


def test_random_order(all_rows: None) -> None:
    rows, how = stream(Book.objects.order_by("?"))
    assert how == "by one cursor: it is ordered by ?"
    assert sorted(keys(rows)) == keys(Book.objects.order_by("pk"))


@only_on(POSTGRESQL)  # no other has it
def test_distinct_on(all_rows: None) -> None:
    queryset = Book.objects.order_by("author", "-pk").distinct("author")
    rows, how = stream(queryset, 2)
    assert how == "by one cursor: it is distinct"
    assert_identical(rows, list(queryset))


def test_key_without_an_order(all_rows: None) -> None:
    with mock.patch.object(type(Country._meta.pk), "get_lookup", return_value=None):
        rows, how = stream(Country.objects.all())
    assert how == "by one cursor: the database cannot compare code"
    assert len(rows) == 8


@pytest.mark.parametrize("make", [lambda: Article.objects.seal(), lambda: Article.objects.seal().order_by("title")])
def test_sealed_rows_stay_sealed(all_rows: None, make: Callable[[], Any]) -> None:
    prefetch = MemoizedPrefetch("journal__editor")
    articles = [article for chunk in prefetch.chunks(make().select_related("reviewer"), 2) for article in chunk]
    assert [type(article) for article in articles] == [Article] * 7
    assert all(article._state.sealed for article in articles)
    with no_queries():
        assert {article.journal.editor.name for article in articles} == {"editor"}
    assert keys(articles) == keys(expected(make()))


# --- going on behind a row


@pytest.mark.parametrize("name", IN_PAGES)
def test_every_row_is_a_place_to_go_on_from(all_rows: None, name: str) -> None:
    rows = expected(IN_PAGES[name]().all())
    for i, row in enumerate(rows):
        rest, _ = stream(IN_PAGES[name](), 2, after=row.pk)
        assert keys(rest) == keys(rows[i + 1 :])


def test_checkpoints_are_keys_as_they_come_back(all_rows: None) -> None:
    assert keys(stream(Book.objects.all(), after=str(FIRST_KEY + 9))[0]) == [FIRST_KEY + 10, FIRST_KEY + 11]
    assert keys(stream(Sheet.objects.all(), after=str(uuid.UUID(int=4)))[0]) == [uuid.UUID(int=5)]
    # A row that is gone by now, and the ends.
    Book.objects.filter(pk=FIRST_KEY + 10).delete()
    assert keys(stream(Book.objects.all(), after=FIRST_KEY + 10)[0]) == [FIRST_KEY + 11]
    assert stream(Book.objects.all(), after=2**62)[0] == []
    assert len(stream(Book.objects.order_by("-pk"), after=2**62)[0]) == 11
    if django.VERSION >= (5, 2):
        assert keys(stream(Cell.objects.all(), after=[1, "0"])[0]) == [(1, 1)]


BEYOND = {
    "the last": 2**63 - 1,
    "one more": 2**63,
    "no float": 10**400,
    "the first": -(2**63),
    "one less": -(2**63) - 1,
    "no float, negative": -(10**400),
}


@pytest.mark.parametrize("mode", ["rows", "progress"])
@pytest.mark.parametrize("after", BEYOND.values(), ids=BEYOND)
@pytest.mark.parametrize("order", ["pk", "-pk"])
def test_keys_beyond_those_of_the_database(all_rows: None, order: str, after: int, mode: str) -> None:
    """As of filter(pk__gt=after); a ValueError where SQLite's driver fails, before Django 5 and of several columns."""
    querysets = [Book.objects.order_by(order)]
    if django.VERSION >= (5, 2):
        querysets.append(Cell.objects.order_by(order))
    for queryset in querysets:
        key = after if queryset.model is Book else (after, 1)
        seen: list[Progress] = []
        progress = None if mode == "rows" else seen.append
        try:
            with transaction.atomic():
                expected = list(queryset.filter(**{"pk__gt" if order == "pk" else "pk__lt": key}))
        except OverflowError:
            with no_queries(), pytest.raises(ValueError, match=r"^chunks: after must be .* 64 bits, got "):
                MemoizedPrefetch().chunks(queryset, after=key, progress=progress)
        else:
            chunks = MemoizedPrefetch().chunks(queryset, 5, after=key, progress=progress)
            rows = [row for chunk in chunks for row in chunk]
            assert_identical(rows, expected)


def test_fractions(all_rows: None) -> None:
    assert fractions(Book.objects.order_by("-pk")) == [3 / 11, 7 / 11, 1.0]
    assert fractions(Book.objects.filter(pk__lt=FIRST_KEY + 5), 3) == [2 / 4, 1.0]
    assert fractions(Book.objects.filter(pk=FIRST_KEY)) == [1.0]
    assert fractions(Book.objects.none()) == []
    assert fractions(Book.objects.order_by("pk"), mode="cursor") == [3 / 11, 7 / 11, 1.0]
    assert fractions(Book.objects.all(), mode="cursor") == [None, None, None], "in whatever order they come"
    assert fractions(Book.objects.order_by("title")) == [None, None, None]
    assert fractions(Book.objects.order_by("title"), total=16) == [0.25, 0.5, 0.75]
    assert fractions(Book.objects.all(), total=6) == [4 / 6, 1.0, 1.0]
    assert fractions(Book.objects.all(), total=0) == [1.0, 1.0, 1.0]
    assert fractions(Book.objects.raw("SELECT * FROM bookshop_book"), total=12) == [4 / 12, 8 / 12, 1.0]
    assert fractions(list(Book.objects.all())) == [4 / 12, 8 / 12, 1.0]
    assert fractions(Book.objects.iterator()) == [None, None, None]
    assert [one.eta for one in progress_of(Book.objects.order_by("title"))] == [None, None, None]


def test_fractions_by_other_keys(all_rows: None) -> None:
    def of(queryset: Any) -> list[float | None]:
        seen: list[Progress] = []
        list(MemoizedPrefetch().chunks(queryset, 4, progress=seen.append))
        return [one.fraction for one in seen]

    assert of(Country.objects.all()) == [None, None]
    assert of(Sheet.objects.all()) == [None, None]
    assert of(Shelf.objects.all()) == [3 / 5, 1.0]
    assert of(Card.objects.all())[-1] == 1.0
    assert of(Vase.objects.all())[-1] == 1.0
    if django.VERSION >= (5, 2):
        assert of(Cell.objects.all()) == [None]
