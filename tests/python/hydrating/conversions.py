"""One value through one of Django's converters: by Django, and by the engine."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

from django.db.backends.sqlite3.base import DatabaseWrapper
from django.db.models import Field
from django.db.models.base import ModelState
from django.db.models.expressions import Col
from django.db.models.signals import post_init

from django_memoized_prefetch._engine import Hydrator
from django_memoized_prefetch._hydrating.plan import row_fields
from django_memoized_prefetch._stock_converters import conversion_of
from tests.python.archive.models import Sheet


def sqlite(wrapper: type[DatabaseWrapper] = DatabaseWrapper, time_zone: str | None = None) -> DatabaseWrapper:
    """A connection that is never opened."""
    return wrapper({"NAME": ":memory:", "TIME_ZONE": time_zone, "OPTIONS": {}}, "default")


def column(name: str) -> Col:
    field: Field[Any, Any] = Sheet._meta.get_field(name)
    return Col("sheet", field)


def converters(expression: Any, connection: Any) -> list[Any]:
    """The functions that a compiler finds for an expression."""
    backend = connection.ops.get_db_converters(expression)
    return [*backend, *expression.get_db_converters(connection)]


def outcome(use: Callable[[], Any]) -> Any:
    """The value as all that can be told of it, or the error."""
    try:
        return described(use())
    except Exception as error:
        return type(error), str(error)


def described(value: Any) -> Any:
    """Everything by which two values could be told apart."""
    if isinstance(value, dict):
        return dict, [(described(key), described(one)) for key, one in value.items()]
    if isinstance(value, list):
        return list, [described(one) for one in value]
    facts = [type(value), repr(value)]
    if isinstance(value, (datetime.datetime, datetime.time)):
        # The zone must be the very object of the connection. Those of a text's own offset are new every time.
        zone = value.tzinfo
        is_new = type(zone) is datetime.timezone and zone is not datetime.timezone.utc
        facts += [value.fold, repr(zone) if is_new else id(zone)]
    return facts


def by_django(expression: Any, connection: Any, value: Any) -> Any:
    def convert() -> Any:
        converted = value
        for function in converters(expression, connection):
            converted = function(converted, expression, connection)
        return converted

    return outcome(convert)


class Engine:
    """
    The engine's conversions of one expression.

    asked: How many values were left to Django's functions.
    """

    def __init__(self, expression: Any, connection: Any) -> None:
        self.asked = 0

        def counted(function: Any) -> Any:
            def count(*arguments: Any) -> Any:
                self.asked += 1
                return function(*arguments)

            return count

        steps = [
            (counted(function), conversion_of(function, expression)) for function in converters(expression, connection)
        ]
        self.is_native = bool(steps) and all(conversion is not None for _, conversion in steps)
        plan = ("stored", Sheet, row_fields(Sheet, [(0, "text")]), (post_init, post_init.receivers, ()))
        self._hydrator = Hydrator(
            (plan, (), Sheet), ModelState, "default", None, False, [(0, expression, steps)], connection, (), None
        )

    def convert(self, value: Any) -> Any:
        def convert() -> Any:
            into: list[Any] = []
            self._hydrator.build([(value,)], into)
            return into[0].__dict__["text"]

        return outcome(convert)


def check(expression: Any, connection: Any, values: Any, is_native: bool | None = None) -> None:
    """
    Compares both.

    Args:
        is_native: Whether the engine must convert all of these values itself, or none. None if it may ask Django.
    """
    engine = Engine(expression, connection)
    for value in values:
        before = engine.asked
        ours, theirs = engine.convert(value), by_django(expression, connection, value)
        assert ours == theirs, f"{value!r}: {ours} is not {theirs}"
        assert is_native is None or (engine.asked == before) is is_native, f"{value!r}: {engine.asked - before} asked"
