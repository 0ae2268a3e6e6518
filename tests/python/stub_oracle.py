"""
Django's Oracle backend with a driver's connection that is a stub.

Django compiles what Oracle would be sent, and converts what it would answer. The stub writes the statements down, and
answers from the rows that the test has in SQLite: keys and texts only, an empty text as NULL, as Oracle has it. Whether
an Oracle server takes the statements is not tested.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections

ALIAS = "oracle"
_PAGE = re.compile(r"(?: OFFSET (\d+) ROWS)?(?: FETCH FIRST (\d+) ROWS ONLY)$")


class Statement:
    """A statement as the driver is given it."""

    def __init__(self, sql: str, parameters: dict[str, Any]) -> None:
        self.sql, self.parameters = sql, parameters

    @property
    def lists(self) -> list[list[Any]]:
        """The values in each of its lists of keys."""
        names = (re.findall(r":(\w+)", inside) for inside in re.findall(r"\bIN \(([^()]*)\)", self.sql))
        return [[self.parameters[name] for name in found] for found in names]


class _Cursor:
    arraysize = 100
    outputtypehandler: Any = None

    def __init__(self, statements: list[Statement]) -> None:
        self._statements = statements
        self._answer: Any = None

    def setinputsizes(self, **sizes: Any) -> None:
        assert not any(sizes.values()), "neither dates nor long texts are stubbed"

    def execute(self, sql: str, parameters: Any = ()) -> None:
        self.statement = sql
        if sql.startswith("ALTER SESSION") or "FROM DUAL" in sql:
            return  # how Django begins
        values = {name.lstrip(":"): _null_if_empty(value) for name, value in dict(parameters).items()}
        self._statements.append(Statement(sql, values))
        self._answer = connections["default"].cursor().cursor.connection.execute(_PAGE.sub(_limit, sql), values)

    def fetchmany(self, size: int = arraysize) -> list[Any]:
        return [tuple(map(_null_if_empty, row)) for row in self._answer.fetchmany(size)]

    def fetchone(self) -> Any:
        return next(iter(self.fetchmany(1)), None)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fetchmany(-1))

    def close(self) -> None:
        self._answer = None


def _null_if_empty(value: Any) -> Any:
    return None if value == "" else value


def _limit(page: re.Match[str]) -> str:
    offset, count = page.groups()
    return f" LIMIT {count} OFFSET {offset or 0}"


class _Connection:
    version = "19.3.0.0.0"
    autocommit = True

    def __init__(self, statements: list[Statement]) -> None:
        self._statements = statements

    def cursor(self) -> _Cursor:
        return _Cursor(self._statements)

    def commit(self) -> None: ...

    def rollback(self) -> None: ...

    def close(self) -> None: ...


class Oracle:
    """What was sent in an `oracle` block."""

    def __init__(self) -> None:
        self.statements: list[Statement] = []

    def taken(self) -> list[Statement]:
        """The statements since the last call."""
        taken = self.statements[:]
        self.statements.clear()
        return taken


@contextmanager
def oracle() -> Iterator[Oracle]:
    """A block in which there is a database with the alias "oracle"."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the driver's needs
        from django.db.backends.oracle.base import DatabaseWrapper

    class Stubbed(DatabaseWrapper):  # type: ignore[misc]
        def get_new_connection(self, _parameters: Any) -> Any:
            return _Connection(sent.statements)

        def ensure_connection(self) -> None:
            """Django's tests refuse a database that they were not told of."""
            if self.connection is None:
                self.connect()

    sent = Oracle()
    settings = {**connections["other"].settings_dict, "ENGINE": "django.db.backends.oracle", "NAME": "stub"}
    connections.databases[ALIAS] = settings
    connections[ALIAS] = Stubbed(settings, ALIAS)
    try:
        yield sent
    finally:
        del connections[ALIAS], connections.databases[ALIAS]
