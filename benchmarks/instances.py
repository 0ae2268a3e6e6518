"""Model instances alone: how long it takes to build them, and how much memory they take."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from time import perf_counter
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from .bookshop.models import Author, Book, Edition
from .outcome import Outcome

MODELS = {"rows": Book, "rows-wide": Edition}
WEIGHED = 5_000


def as_it_is(queryset: QuerySet[Any]) -> QuerySet[Any]:
    return queryset


def built_natively(queryset: QuerySet[Any]) -> QuerySet[Any]:
    from django_memoized_prefetch import memoized

    return memoized(queryset)


def run(workload: str, contender: str) -> Outcome:
    built = built_natively if contender == "memoized" else as_it_is
    if workload == "bytes":
        return weigh(built)
    queryset = built(MODELS[workload].objects.all())
    outcome = Outcome()
    connection.ensure_connection()
    with connection.execute_wrapper(outcome):
        start = perf_counter()
        rows = tuples(queryset) if contender == "raw" else list(queryset)
        outcome.add("seconds", perf_counter() - start)
    outcome.checksum = sum(row[0] if contender == "raw" else row.pk for row in rows)
    return outcome


def tuples(queryset: QuerySet[Any]) -> list[Any]:
    """The rows of the same statement, read by a cursor."""
    with connection.cursor() as cursor:
        cursor.execute(*queryset.query.sql_with_params())
        return cursor.fetchall()


def weigh(built: Callable[[QuerySet[Any]], QuerySet[Any]]) -> Outcome:
    """Bytes per row: the difference of results of n and 2n rows, so that what each result has once is not counted."""
    outcome = Outcome()
    for model in (Book, Author, Edition):
        rows = model.objects.count()
        few = min(WEIGHED, rows // 2)
        half, whole = (bytes_of(built(model.objects.order_by("pk")[:count])) for count in (few, 2 * few))
        outcome.add(f"per {model.__name__}", (whole - half) / few)
        outcome.checksum += rows
    return outcome


def bytes_of(queryset: QuerySet[Any]) -> int:
    list(queryset.all())  # so that what is made once and kept is not counted
    gc.collect()
    tracemalloc.start()
    rows = list(queryset)
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del rows
    return size
