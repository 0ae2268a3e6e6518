"""Run one contender over all flights and print its figures as JSON: `python -m flights.measure django`.

Each contender has its own process, so that its memory is measured separately.
"""

from __future__ import annotations

import json
import platform
import re
import resource
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import django
from django.db import connection

if TYPE_CHECKING:
    from django.db.models import Model


class Meter:
    """Counts queries and the related rows that are fetched; used with Django's `execute_wrapper`.

    Rows are counted by the hundred as they leave the database driver. This takes hardly any time, and as much for every
    contender.
    """

    def __init__(self, stream: type[Model], related: list[type[Model]]) -> None:
        self.queries = 0
        self.related_rows = 0
        self.related_instances = 0
        self.stream = _quoted_table(stream)
        self.columns = {
            _quoted_table(model): [connection.ops.quote_name(field.column) for field in model._meta.concrete_fields]
            for model in related
        }

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        self.queries += 1
        selected, _, rest = sql.partition(" FROM ")
        table = rest.partition(" ")[0]
        if table != self.stream:
            # Rows with all columns of a table become model instances. Others are keys, or pairs of keys.
            columns = self.columns.get(table)
            makes_instances = columns is not None and all(f"{table}.{column}" in selected for column in columns)
            self._count_rows(context["cursor"], makes_instances)
        return execute(sql, params, many, context)

    def _count_rows(self, cursor: Any, makes_instances: bool) -> None:
        fetchmany = cursor.fetchmany

        def counting_fetchmany(size: int) -> Any:
            rows = fetchmany(size)
            self.related_rows += len(rows)
            self.related_instances += len(rows) if makes_instances else 0
            return rows

        cursor.fetchmany = counting_fetchmany


def _quoted_table(model: type[Model]) -> str:
    return connection.ops.quote_name(model._meta.db_table)


def peak_memory() -> int:
    """Bytes. On Linux it is VmHWM, because ru_maxrss may include the process that started this one."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS


def database() -> str:
    if connection.vendor == "sqlite":
        return f"SQLite {sqlite3.sqlite_version}"
    return f"PostgreSQL {connection.pg_version // 10_000}"


def main() -> None:
    django.setup()
    from flights import contenders
    from flights.job import Job
    from flights.models import Airline, Airport, Flight, Plane
    from flights.progress import progress_bar

    name = sys.argv[1]
    contender = getattr(contenders, f"with_{name}")
    flights = Flight.objects.order_by("pk")
    total = flights.count()
    job = Job()
    meter = Meter(Flight, [Airline, Airport, Plane])
    stats = None

    def streamed() -> Iterator[Flight]:
        nonlocal stats
        stats = yield from contender(flights)

    reading = working = 0.0
    with progress_bar(f"{name:<13}", total) as advance, connection.execute_wrapper(meter):
        chunks = contenders.in_chunks(streamed())
        while True:
            started = time.perf_counter()
            chunk = next(chunks, None)
            got = time.perf_counter()
            reading += got - started
            if chunk is None:
                break
            job.add(chunk)
            working += time.perf_counter() - got
            advance(len(chunk))
    started = time.perf_counter()
    result = job.result()
    working += time.perf_counter() - started
    measured = {
        "flights": sum(airline["flights"] for airline in result),
        "reading": reading,
        "working": working,
        "queries": meter.queries,
        "related rows": meter.related_rows,
        "related instances": meter.related_instances,
        "peak memory": peak_memory(),
        "result": result,
        "stats": None if stats is None else str(stats),
        "versions": f"Python {platform.python_version()}, Django {django.get_version()}, {database()}",
    }
    json.dump(measured, sys.stdout)


if __name__ == "__main__":
    main()
