"""What runs while a block does: statements, Django's builder of rows, coroutines."""

from __future__ import annotations

import asyncio
import itertools
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import django
from asgiref.sync import sync_to_async
from django.db import connections, models, transaction
from django.db.models import prefetch_related_objects
from django.test.utils import CaptureQueriesContext

Result = TypeVar("Result")

FROM_DB = models.Model.from_db.__func__.__code__


class Queries:
    """The statements that ran in a `captured_queries` block, on every alias."""

    def __init__(self, contexts: list[CaptureQueriesContext]) -> None:
        self._contexts = contexts

    @property
    def sql(self) -> list[str]:
        return [query["sql"] for context in self._contexts for query in context.captured_queries]

    def __len__(self) -> int:
        return sum(len(context) for context in self._contexts)

    def of(self, model: type[models.Model]) -> int:
        """How many statements read from the model's table."""
        table = connections["default"].ops.quote_name(model._meta.db_table)
        return sum(f"FROM {table}" in sql for sql in self.sql)


@contextmanager
def captured_queries() -> Iterator[Queries]:
    with ExitStack() as stack:
        yield Queries([stack.enter_context(CaptureQueriesContext(connections[alias])) for alias in connections])


def in_chunks(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rows = iter(rows)
    while chunk := list(itertools.islice(rows, size)):
        yield chunk


def stepwise(stream: Callable[[], Any]) -> Iterator[tuple[Any, list[str]]]:
    """Lists of rows, in the end None or an error, each with its statements."""
    chunks: Any = None
    result: Any = []
    while isinstance(result, list):
        with captured_queries() as queries:
            try:
                chunks = chunks or iter(stream())
                result = next(chunks, None)
            except Exception as error:
                result = error
                # Otherwise a half-read cursor stays open until the garbage collector closes it, in another transaction.
                traceback.clear_frames(error.__traceback__)
        yield result, queries.sql


@contextmanager
def query_count(expected: int) -> Iterator[Queries]:
    with captured_queries() as queries:
        yield queries
    assert len(queries) == expected, f"{len(queries)} queries, expected {expected}:\n" + "\n".join(
        sql[:200] for sql in queries.sql[:20]
    )


def no_queries() -> Any:
    return query_count(0)


@contextmanager
def watched_queries() -> Iterator[list[str]]:
    """The statements so far, without their parameters: to be looked at again and again, and cheaper than the above."""
    seen: list[str] = []

    def watch(execute: Any, sql: str, *arguments: Any) -> Any:
        seen.append(sql)
        return execute(sql, *arguments)

    with ExitStack() as stack:
        for alias in connections:
            stack.enter_context(connections[alias].execute_wrapper(watch))
        yield seen


def outcome(call: Callable[..., Any], *arguments: Any) -> tuple[Exception | None, list[str]]:
    """The error, if any, and the statements."""
    error = None
    # A failed statement ends PostgreSQL's transaction, not only itself.
    with transaction.atomic():
        with captured_queries() as queries:
            try:
                call(*arguments)
            except Exception as raised:
                error = raised
        if error is not None:
            transaction.set_rollback(True)
    return error, queries.sql


def django_prefetch(objects: Iterable[models.Model], lookups: Iterable[Any]) -> None:
    """prefetch_related_objects for chunks of any size and of mixed classes.

    Django 5.2 on SQLite writes a foreign key's IN as a chain of ORs, whose depth SQLite limits to 1,000.
    """
    by_class: dict[type, list[models.Model]] = {}
    for obj in objects:
        by_class.setdefault(type(obj), []).append(obj)
    vendor = connections["default"].vendor
    step = 900 if vendor == "sqlite" and django.VERSION[:2] == (5, 2) else 1_000_000
    for group in by_class.values():
        for start in range(0, len(group), step):
            prefetch_related_objects(group[start : start + step], *lookups)


def built_by_django(function: Callable[[], Any]) -> tuple[Any, int]:
    """What the function returns, and for how many rows Model.from_db was called meanwhile."""
    calls = 0

    def count(frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code is FROM_DB

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        return function(), calls
    finally:
        sys.setprofile(before)


def run_async(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Its result. The connections of the thread in which Django ran its queries are closed."""

    async def closing() -> Result:
        try:
            return await coroutine
        finally:
            await sync_to_async(connections.close_all)()

    return asyncio.run(closing())
