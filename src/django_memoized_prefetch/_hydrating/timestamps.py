"""Lets the engine load PostgreSQL's dates with time, for the cursor of one query."""

from __future__ import annotations

import datetime
import functools
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.db.models import DateTimeField, Model
from django.db.models.sql.query import Query

from .._engine import UtcLoader
from .._stock import is_own, static_attribute

_PSYCOPG = "django.db.backends.postgresql.psycopg_any"


def loading_timestamps(connection: Any, query: Query) -> AbstractContextManager[Any]:
    """
    A block in which the cursor of a query, once it is executed, loads each `timestamptz` natively.

    Nothing changes if the session's zone is not UTC, the driver is psycopg2, or the loader is not Django's own.
    """
    if connection.vendor != "postgresql" or connection.timezone is not datetime.timezone.utc or not _may_have(query):
        return nullcontext()
    module = sys.modules.get(_PSYCOPG)
    if module is None or not getattr(module, "is_psycopg3", False):
        return nullcontext()
    wrapper: AbstractContextManager[Any] = connection.execute_wrapper(_register)
    return wrapper


def _may_have(query: Any) -> bool:
    """Whether the query may select a date with time."""
    return bool(query.select_related or query.annotation_select) or _has_timestamps(query.model)


@functools.lru_cache(maxsize=1024)
def _has_timestamps(model: type[Model]) -> bool:
    return any(isinstance(field, DateTimeField) for field in model._meta.concrete_fields)


def _register(execute: Any, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    cursor = context["cursor"].cursor
    adapters = getattr(cursor, "adapters", None)
    module: Any = sys.modules[_PSYCOPG]
    if adapters is not None and cursor.connection.info.parameter_status("TimeZone") == "UTC":
        oid = module.types["timestamptz"].oid
        stock = adapters.get_loader(oid, 0)  # of the text form
        if _is_djangos(stock, module.BaseTzLoader):
            adapters.register_loader(oid, _native(stock))
    return execute(sql, params, many, context)


def _is_djangos(loader: Any, base: type) -> bool:
    """Whether the loader is the one that Django registers, for UTC."""
    load = static_attribute(base, "load")
    return (
        isinstance(loader, type)
        and issubclass(loader, base)
        and loader.__module__ == _PSYCOPG
        and static_attribute(loader, "load") is load
        and is_own(load)
        and getattr(loader, "timezone", None) is datetime.timezone.utc
    )


@functools.lru_cache(maxsize=64)
def _native(stock: Any) -> Any:
    """A loader class with the same results as Django's."""

    class NativeLoader(stock):  # type: ignore[misc]
        def __init__(self, oid: int, context: Any = None) -> None:
            super().__init__(oid, context)
            # Another instance, or the two would hold each other for ever.
            self.load = UtcLoader(self.timezone, stock(oid, context).load).load

    return NativeLoader
