"""What chunks() refuses, at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import django
import pytest

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.bookshop.models import Book
from tests.python.catalogue.models import Genre
from tests.python.conftest import Bookshop
from tests.python.queries import no_queries

if django.VERSION >= (5, 2):
    from tests.python.archive.models import Cell


def test_asynchronous_errors_come_at_once() -> None:
    with pytest.raises(ValueError, match="chunk_size must be at least 1"):
        MemoizedPrefetch().achunks(Book.objects.all(), 0)


# --- errors


WRONG: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "values": (
        lambda: {"queryset": Book.objects.values()},
        TypeError,
        "instances, got one of ValuesIterable; rows of v",
    ),
    "values_list": (lambda: {"queryset": Book.objects.values_list("pk")}, TypeError, "got one of ValuesListIterable"),
    "flat": (lambda: {"queryset": Book.objects.values_list("pk", flat=True)}, TypeError, "FlatValuesListIterable"),
    "dates": (lambda: {"queryset": Genre.objects.dates("added", "year")}, TypeError, "FlatValuesListIterable"),
    "model": (
        lambda: {"queryset": Book},
        TypeError,
        "expected a queryset, a manager, or an iterable of model instances",
    ),
    "text": (lambda: {"queryset": "books"}, TypeError, "instances, got 'books'"),
    "None": (lambda: {"queryset": None}, TypeError, "instances, got None"),
    "no rows at a time": (lambda: {"chunk_size": 0}, ValueError, "chunk_size must be at least 1, got 0"),
    "fractional size": (lambda: {"chunk_size": 2.5}, TypeError, "chunk_size must be an integer, got 2.5"),
    "flag as size": (lambda: {"chunk_size": True}, TypeError, "chunk_size must be an integer, got True"),
    "total": (lambda: {"total": -1}, ValueError, "total must be at least 0, got -1"),
    "text total": (lambda: {"total": "12"}, TypeError, "total must be an integer, got '12'"),
    "mode": (lambda: {"mode": "page"}, ValueError, 'mode must be "pages", "cursor" or None, got \'page\''),
    "progress": (lambda: {"progress": "bar"}, TypeError, "progress must be True, a callable or None, got 'bar'"),
    "after": (lambda: {"after": "x"}, ValueError, r"after must be a primary key of Book \(id\), got 'x'"),
    "after an instance": (lambda: {"after": Book(pk=1)}, ValueError, r"primary key of Book \(id\), got <Book: Book"),
    "after a list": (lambda: {"after": [1]}, ValueError, r"primary key of Book \(id\), got \[1\]"),
    "after by cursor": (
        lambda: {"after": 1, "mode": "cursor"},
        ValueError,
        'after needs pages, and Book cannot be read in pages: mode="cursor" was asked for',
    ),
    "after in a list": (
        lambda: {"queryset": [], "after": 1},
        ValueError,
        "after and mode are for querysets, got a list",
    ),
    "mode of a list": (lambda: {"queryset": [], "mode": "cursor"}, ValueError, "are for querysets, got a list"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_at_once(name: str) -> None:
    options, error, message = WRONG[name]
    with no_queries(), pytest.raises(error, match=message):
        MemoizedPrefetch().chunks(**{"queryset": Book.objects.all(), **options()})


@pytest.mark.since("5.2")
@pytest.mark.parametrize("after", [1, "ab", (1,), (1, 2, 3), (1, "x")])
def test_wrong_keys_of_several_columns(after: Any) -> None:
    with pytest.raises(ValueError, match=r"after must be a primary key of Cell \(row, column\), got"):
        MemoizedPrefetch().chunks(Cell.objects.all(), after=after)


def test_lookups_that_do_not_fit(bookshop: Bookshop) -> None:
    with pytest.raises(AttributeError, match="autor"):
        next(MemoizedPrefetch("autor").chunks(Book.objects.all()))
    with pytest.raises(TypeError, match="expected model instances, got 1"):
        next(MemoizedPrefetch("author").chunks([1]))
