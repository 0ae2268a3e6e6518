"""Models that a test makes for itself, and what reads them with Django and with this package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, models
from django.db.models import prefetch_related_objects

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.databases import MARIADB, POSTGRESQL

# Tables are made outside of a transaction: SQLite makes none in one.
committed_tables = pytest.mark.django_db(transaction=True, databases=["default", "other"])
# PostgreSQL makes them in one, as long as no statement fails, and to roll them back takes no time. To empty all tables
# after a test takes half a second.
own_tables = pytest.mark.django_db(transaction=connection.vendor != POSTGRESQL, databases=["default", "other"])


class OfBookshop(models.Model):
    """Base of models that belong to an app."""

    class Meta:
        app_label = "bookshop"
        abstract = True


@contextmanager
def tables(*made: Any) -> Iterator[None]:
    with connection.schema_editor() as editor:
        for model in made:
            editor.create_model(model)
    try:
        yield
    finally:
        with connection.schema_editor() as editor:
            for model in reversed(made):
                editor.delete_model(model)


@contextmanager
def table(name: str, columns: str, rows: Iterable[Sequence[Any]] = (), temporary: bool = True) -> Iterator[None]:
    """
    A table that Django did not make.

    Args:
        temporary: Only this connection sees it. MariaDB ends the test's transaction when it makes or drops another.
    """
    quoted = connection.ops.quote_name(name)
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE {'TEMPORARY ' if temporary else ''}TABLE {quoted} ({columns})")
        for row in rows:
            cursor.execute(f"INSERT INTO {quoted} VALUES ({', '.join(['%s'] * len(row))})", row)
    try:
        yield
    finally:
        only_such = temporary and connection.vendor == MARIADB  # others drop whichever there is
        with connection.cursor() as cursor:
            cursor.execute(f"DROP {'TEMPORARY ' if only_such else ''}TABLE {quoted}")


def outcome(attach: Callable[..., Any], make: Callable[[], list[Any]], lookups: Any, read: Callable[[Any], Any]) -> Any:
    """What one reads, or the class of the error."""
    try:
        objects = make()
        attach(objects, *lookups)
        return [read(one) for one in objects]
    except Exception as error:
        return type(error)


def check(make: Callable[[], list[Any]], lookup: Any, read: Callable[[Any], Any]) -> Any:
    """The answer of Django, which is ours too: for the first chunk, and when it is remembered."""
    djangos = outcome(prefetch_related_objects, make, [lookup], read)
    prefetch = MemoizedPrefetch(lookup)
    for _ in range(2):
        assert outcome(lambda objects, _: prefetch.process_chunk(objects), make, [lookup], read) == djangos
    return djangos


def pks(name: str) -> Callable[[Any], Any]:
    return lambda one: sorted(row.pk for row in getattr(one, name).all())
