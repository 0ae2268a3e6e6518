"""Counts SQL statements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from django.db import connections


class QueryCount:
    """
    Counts the statements that run in a `with` block, Django's own prefetches included.

    seconds: How long the blocks took. A block inside another one counts twice.
    """

    def __init__(self) -> None:
        self.queries = 0
        self.seconds = 0.0

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        self.queries += 1
        return result

    @contextmanager
    def on(self, alias: str) -> Iterator[None]:
        start = perf_counter()
        try:
            with connections[alias].execute_wrapper(self):
                yield
        finally:
            self.seconds += perf_counter() - start
