"""Rows that change, and what is read again then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, models

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.bookshop.models import Book, Review
from tests.python.graph import assert_same_as_django


def all_books() -> list[Book]:
    return list(Book.objects.order_by("pk"))


def all_reviews() -> list[Review]:
    return list(Review.objects.order_by("pk"))


def rename(model: Any, *pks: Any, **values: Any) -> None:
    """Without a signal."""
    (model.objects.filter(pk__in=pks) if pks else model.objects).update(**(values or {"name": "renamed"}))


@contextmanager
def unchanged(chunk: list[Any]) -> Iterator[None]:
    """What the user has: the same objects, attached in the same places, and showing the same."""

    def everything() -> list[Any]:
        found, pending = [], list(chunk)
        known: set[int] = set()
        while pending:
            row = pending.pop()
            if id(row) in known:
                continue
            known.add(id(row))
            values = {name: value for name, value in vars(row).items() if not isinstance(value, (dict, models.Model))}
            values.pop("_state")
            # The reverse side of a one-to-one is the latest chunk's.
            names = {one.get_accessor_name() for one in row._meta.related_objects if one.one_to_one}
            attached = {name: one for name, one in row._state.fields_cache.items() if name not in names}
            for name, queryset in getattr(row, "_prefetched_objects_cache", {}).items():
                attached[f"{name}.all"] = queryset
                pending += queryset
                found.append((id(queryset), [id(one) for one in queryset]))
            pending += [one for name, one in row._state.fields_cache.items() if name in attached and one is not None]
            found.append((id(row), {name: repr(value) for name, value in values.items()}, id(row._state)))
            found.append((id(row), {name: id(value) for name, value in attached.items()}))
        return found

    before = everything()
    assert len(before) > 2 * len(chunk), "nothing is attached"
    yield
    assert everything() == before


# --- while a chunk is being processed


class ReadCursor:
    """What a statement gave, all of it read: SQLite reads on while its rows are asked for."""

    def __init__(self, cursor: Any) -> None:
        self.cursor = cursor
        self.rows = cursor.fetchall() if cursor.description else []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cursor, name)

    def fetchmany(self, size: int = 1) -> list[Any]:
        rows, self.rows = self.rows[:size], self.rows[size:]
        return rows

    def fetchall(self) -> list[Any]:
        return self.fetchmany(len(self.rows))

    def fetchone(self) -> Any:
        return next(iter(self.fetchmany(1)), None)


class Once:
    """As an execute_wrapper: when the nth statement has been read, the rows change, and that is said."""

    def __init__(self, number: int, change: Callable[[], None]) -> None:
        self.number, self.change, self.statements = number, change, 0

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if self.statements < self.number:
            self.statements += 1
            if self.statements == self.number:
                result = execute(sql, params, many, context)
                context["cursor"].cursor = ReadCursor(context["cursor"].cursor)
                self.change()
                return result
        return execute(sql, params, many, context)


def every_moment(
    prefetch: Callable[[], MemoizedPrefetch],
    warm_up: Callable[[], list[Any]],
    chunk: Callable[[], list[Any]],
    lookups: list[Any],
    change: Callable[[int], None],
    tell: Callable[[MemoizedPrefetch], None],
) -> int:
    """
    The rows change after each of a chunk's statements in turn: while what they gave has been read, but not remembered.

    Returns:
        How many statements there were.
    """
    number = 0
    while True:
        number += 1
        one = prefetch()
        one.process_chunk(warm_up())
        objects = chunk()

        def changed(one: MemoizedPrefetch = one, number: int = number) -> None:
            change(number)
            tell(one)

        once = Once(number, changed)
        with connection.execute_wrapper(once):
            one.process_chunk(objects)
        if once.statements < number:
            return number - 1
        assert_same_as_django(chunk, lookups, one)
