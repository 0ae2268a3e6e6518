"""Counts queries for tests: an assertNumQueries that is lenient only if `expected.py` says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable

from django.db import connections
from django.test import testcases

from tests.django_suites.expected import Difference
from tests.django_suites.results import Recorder


def judge_queries(recorder: Recorder, differences: dict[str, Difference], many_to_many: Callable[[], int]) -> None:
    """
    Patches assertNumQueries.

    Args:
        many_to_many: Returns how many many-to-many lookups there were so far.
    """
    strict = testcases._AssertNumQueriesContext

    class Judged(strict):  # type: ignore[misc,valid-type]
        def __enter__(self) -> Any:
            self.many_to_many = many_to_many()
            return super().__enter__()

        def __exit__(self, *exception: object) -> None:
            try:
                super().__exit__(*exception)
            except AssertionError:
                current = recorder.current
                difference = differences.get(current.test) if current is not None else None
                if exception[0] is not None or difference is None:
                    raise
                if not difference.permits(self.num, len(self), many_to_many() - self.many_to_many):
                    raise
                current.permitted = True  # type: ignore[union-attr]

    testcases._AssertNumQueriesContext = Judged


@contextmanager
def unseen() -> Iterator[None]:
    """Keeps the queries of this block out of the connections' logs."""
    logs = {alias: list(connections[alias].queries_log) for alias in connections}
    try:
        yield
    finally:
        for alias, log in logs.items():
            connections[alias].queries_log.clear()
            connections[alias].queries_log.extend(log)
