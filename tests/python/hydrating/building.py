"""What is made of querysets whose rows the engine builds, compared with what is made of those that Django builds."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django_memoized_prefetch import memoized
from tests.python.archive.rows import fill_archive
from tests.python.graph import Comparison, assert_identical
from tests.python.queries import built_by_django, captured_queries


def fill_archives() -> None:
    for alias in ("default", "other"):
        fill_archive(alias)


def stock(queryset: Any) -> Any:
    return queryset


def outcome(use: Callable[[], Any]) -> Any:
    """What comes out of it, its statements, and for how many rows Django was needed."""

    def attempt() -> Any:
        try:
            return use()
        except Exception as error:
            return type(error), str(error)

    with captured_queries() as queries:
        result, rows = built_by_django(attempt)
    # A cursor on the server has a number of its own.
    return result, [re.sub(r"_django_curs_\w+", "cursor", sql) for sql in queries.sql], rows


ALL, SOME = "as many as of the stock queryset", "those of other querysets, which it makes"
OWN = "those whose class has code of its own, which the engine may call without Model.from_db"


def check(use: Callable[[Callable[[Any], Any]], Any], by_django: int | str = 0) -> Any:
    """
    Compares what `use` makes of a queryset through memoized() with what it makes of the stock one.

    Args:
        by_django: How many rows Django has to build even so.
    """
    theirs, their_sql, their_rows = outcome(lambda: use(stock))
    ours, our_sql, our_rows = outcome(lambda: use(memoized))
    assert_identical(ours, theirs)
    assert our_sql == their_sql
    if by_django == SOME:
        assert 0 < our_rows < their_rows
    elif by_django != OWN:
        assert our_rows == (their_rows if by_django == ALL else by_django)
    return theirs


def check_attached(use: Callable[[Callable[[Any], Any]], Any]) -> None:
    """The same for querysets with lookups, whose related rows are attached by other statements."""
    theirs, _, their_rows = outcome(lambda: use(stock))
    ours, _, our_rows = outcome(lambda: use(memoized))
    Comparison().graphs(ours, theirs)
    assert our_rows < their_rows
