"""Lists that the user's code changes while the engine goes through them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.db import connection
from django.db.models.signals import post_init

from django_memoized_prefetch import MemoizedPrefetch
from django_memoized_prefetch._engine import (
    Chunk,
    Counters,
    ForeignKeySpec,
    Hydrator,
    Links,
    ManyToManySpec,
    Memo,
    follow_attribute,
    group_by_value,
    mark_prefetched,
    not_attached,
    repeated_neighbour,
)
from tests.python.bookshop.models import Book
from tests.python.conftest import Bookshop
from tests.python.databases import on_one_database
from tests.python.engine_rows import Holder, Key, Row, State
from tests.python.graph import assert_same_as_django
from tests.python.own_models import own_tables

pytestmark = on_one_database

NO_RECEIVERS = (post_init, post_init.receivers, ())
CHANGES: dict[str, Any] = {
    "cleared": lambda rows: rows.clear(),
    "shortened": lambda rows: rows.__delitem__(slice(1, None)),
    "grown": lambda rows: rows.extend([object(), *rows]),
    "replaced": lambda rows: rows.__setitem__(slice(None), [None] * len(rows)),
}


changes = pytest.mark.parametrize("change", CHANGES)


class Once:
    """Changes the list at the n-th call, and only then."""

    def __init__(self, rows: list[Any], change: str, at: int) -> None:
        self.rows, self.change, self.left = rows, CHANGES[change], at

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.change(self.rows)


@pytest.fixture(autouse=True)
def _no_hooks() -> Iterator[None]:
    yield
    Holder.hook = Key.hook = None


@changes
@pytest.mark.parametrize("at", range(1, 14, 3))
@pytest.mark.parametrize("where", ["fetch", "attribute", "__eq__", "deferred"])
def test_the_list_may_change_while_rows_are_attached(where: str, change: str, at: int) -> None:
    rows: list[Any] = [Holder(Key(number % 5)) for number in range(12)]
    held = list(rows)
    hook = Once(rows, change, 1 if where in ("fetch", "deferred") else at)
    if where == "deferred":
        del rows[3].key, rows[4].key
    to_attr = ("watched", 2) if where == "attribute" else None
    relation = ForeignKeySpec("key", "row", to_attr, Counters(), None, True)
    Holder.hook = hook if where == "attribute" else None
    Key.hook = hook if where == "__eq__" else None
    chunk = Chunk()
    with chunk.to_one(Memo(None, "id"), [(rows, [relation], False)], {}) as attaching:
        if deferred := attaching.collect():
            hook()
            for one in deferred:
                one.key = Key(7)
            attaching.collect_loaded()
        if where == "fetch":
            hook()
        attaching.admit([Row(key) for key in attaching.missing()])
        attaching.attach()
    chunk.close()
    Key.hook = Holder.hook = None
    assert hook.left <= 0
    for one in held:
        row = one.watched if where == "attribute" else one._state.fields_cache["row"]
        assert row.id == one.key


@changes
@pytest.mark.parametrize("at", [1, 2, 7])
def test_the_list_may_change_while_collections_are_attached(change: str, at: int) -> None:
    rows: list[Any] = [Holder(Key(number)) for number in range(8)]
    held = list(rows)
    hook = Once(rows, change, at)

    def fill(instance: Any, found: list[Any]) -> list[Any]:
        hook()
        return found

    def unsaved(instance: Any) -> None:
        raise AssertionError

    filling = ("rows", "rows", None, fill, False)
    relation = ManyToManySpec(("key", True), filling, None, unsaved, Counters(), Counters())
    chunk = Chunk()
    with chunk.to_many(Links(None), Memo(None, "id"), rows, relation, False) as attaching:
        assert not attaching.collect()
        attaching.admit_links([[(key, key.number) for key in attaching.missing_links()]])
        attaching.admit([Row(key) for key in attaching.missing()])
        attaching.attach()
    chunk.close()
    assert [[row.id for row in one._prefetched_objects_cache["rows"]] for one in held] == [[n] for n in range(8)]


@changes
def test_batches_of_links_may_change_while_they_are_read(change: str) -> None:
    batch: list[Any] = [(Key(number), Key(number)) for number in range(8)]
    objects = [Holder(key) for key, _ in batch]
    Key.hook = Once(batch, change, 3)
    filling = ("rows", "rows", None, lambda instance, rows: rows, False)
    relation = ManyToManySpec(("key", True), filling, None, print, Counters(), Counters())
    chunk = Chunk()
    try:
        with chunk.to_many(Links(None), Memo(None, "id"), objects, relation, False) as attaching:
            attaching.collect()
            attaching.missing_links()
            attaching.admit_links([batch])
            if keys := attaching.missing():
                attaching.admit([Row(key) for key in keys])
            attaching.attach()
    except TypeError as error:  # what came instead is no link
        assert "a link must be a tuple" in str(error)  # noqa: PT017
    chunk.close()


@changes
@pytest.mark.parametrize("at", [1, 3, 8])
@pytest.mark.parametrize(
    "function",
    [
        lambda rows: follow_attribute(rows, "read", ValueError),
        lambda rows: group_by_value(rows, "read"),
        lambda rows: repeated_neighbour(rows, "read"),
        lambda rows: not_attached(rows, "read", 2),
    ],
    ids=["follow_attribute", "group_by_value", "repeated_neighbour", "not_attached"],
)
def test_the_list_may_change_while_its_objects_are_read(function: Any, change: str, at: int) -> None:
    rows: list[Any] = [Holder(number) for number in range(8)]
    Holder.hook = Once(rows, change, at)
    function(rows)
    assert Holder.hook.left <= 0


@changes
def test_the_list_may_change_while_its_objects_are_marked(change: str) -> None:
    class Marked:
        def __setattr__(self, name: str, value: Any) -> None:
            hook()
            self.__dict__[name] = value

    rows: list[Any] = [Marked() for _ in range(8)]
    held = list(rows)
    hook = Once(rows, change, 3)
    assert mark_prefetched(rows) == 8
    assert [one._prefetched_objects_cache for one in held] == [{}] * 8


@changes
@pytest.mark.parametrize("at", [1, 2, 7])
@pytest.mark.parametrize("which", ["rows", "row"])
def test_rows_of_a_result_may_change_while_they_are_built(which: str, change: str, at: int) -> None:
    result: list[Any] = [[number, 1, 2] for number in range(8)]
    hook = None

    def convert(value: Any, expression: Any, connection: Any) -> Any:
        hook()
        return value

    hook = Once(result if which == "rows" else result[2], change, at)
    model = ("stored", Row, [(0, "id", False), (1, "x", False)], NO_RECEIVERS)
    converters = [(0, None, [(convert, None)])]
    hydrator = Hydrator((model, [], Row), State, "default", None, False, converters, object(), [], None)
    built: list[Any] = []
    with suppress(IndexError, TypeError):  # a row without columns, or none
        hydrator.build(result, built)
    assert all(type(one) is Row for one in built)


@changes
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_row_may_change_while_a_value_of_it_is_compared(change: str, at: int) -> None:
    class Value:
        def __ne__(self, other: object) -> Any:
            hook()
            return NotImplemented

        __hash__ = None  # type: ignore[assignment]

    row: list[Any] = [Value(), Value(), Value()]
    hook = Once(row, change, at)
    model = ("stored", Row, [(0, "id", True), (1, "x", True), (2, "y", True)], NO_RECEIVERS)
    hydrator = Hydrator((model, [], Row), State, "default", None, False, [], object(), [], None)
    with suppress(IndexError, TypeError):
        hydrator.build([row], [])


@own_tables
@changes
@pytest.mark.parametrize("lookups", [["author"], ["categories"], ["author", "publisher", "categories", "reviews"]])
def test_a_query_may_change_the_list(lookups: list[str], change: str, bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(*lookups)
    for _ in range(2):
        rows = list(Book.objects.order_by("pk"))
        hook = Once(rows, change, 1)

        def during(execute: Any, *args: Any, hook: Any = hook) -> Any:
            try:
                return execute(*args)
            finally:
                hook()

        with connection.execute_wrapper(during), suppress(IndexError, AttributeError, TypeError, ValueError):
            prefetch.process_chunk(rows)
    assert_same_as_django(lambda: list(Book.objects.order_by("pk")), lookups, prefetch)
