"""Fill the database with the data set, and check that it is complete."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any, Callable

from django.db import DatabaseError, connection
from django.db.models import Exists, Model, OuterRef

from flights import data
from flights.models import Airline, Airport, Flight, Plane
from flights.progress import counted, progress_bar

AIRPORT_AIRLINE = Airport.airlines.through
FLIGHT_COLUMNS = {
    "flight": "flight",
    "dep_delay": "dep_delay",
    "arr_delay": "arr_delay",
    "air_time": "air_time",
    "distance": "distance",
    "carrier_id": "carrier",
    "origin_id": "origin",
    "dest_id": "dest",
    "plane_id": "tailnum",
}
"""Column of the table -> column of the CSV file with the same meaning."""


def load(directory: Path, years: int) -> None:
    """Get the data if it is not in `directory`, load the year's flights `years` times, and check the result."""
    if not directory.exists():
        print("  getting the data ...")
        data.fetch(directory)
    started = time.monotonic()
    with progress_bar("load         ", data.COUNTS_PER_YEAR["flights"] * years) as advance:
        fill(directory, years, advance)
    verify(years)
    print(f"  {'load':<14}{time.monotonic() - started:8.1f} s")


def fill(directory: Path, years: int, advance: Callable[[int], None]) -> None:
    """Create and fill the tables in one transaction."""
    # The schema editor creates indexes and constraints on exit, after the rows. That is faster than for every row.
    with connection.schema_editor() as editor:
        for model in (Airline, Airport, Plane, Flight):
            editor.create_model(model)
        for model, name in ((Airline, "airlines"), (Airport, "airports"), (Plane, "planes")):
            columns = [field.column for field in model._meta.concrete_fields]
            _insert(model, columns, map(itemgetter(*columns), data.rows(directory, name)))
        for _ in range(years):
            _insert(Flight, ["time", *FLIGHT_COLUMNS], counted(_flights(directory), advance))
        pairs = Flight.objects.order_by("dest_id", "carrier_id").values_list("dest_id", "carrier_id").distinct()
        _insert(AIRPORT_AIRLINE, ["airport_id", "airline_id"], list(pairs))
    if connection.vendor == "postgresql":
        # Otherwise autovacuum would do this later, while a contender is timed.
        with connection.cursor() as cursor:
            for model in (Airline, Airport, Plane, Flight, AIRPORT_AIRLINE):
                cursor.execute(f"VACUUM ANALYZE {connection.ops.quote_name(model._meta.db_table)}")


def _flights(directory: Path) -> Iterator[tuple[Any, ...]]:
    values = itemgetter(*FLIGHT_COLUMNS.values())
    for row in data.rows(directory, "flights"):
        hour, minute = row["time_hour"], row["minute"]  # "2013-01-01T10:00:00Z" and "5"
        yield (f"{hour[:10]} {hour[11:13]}:{minute:0>2}:00", *values(row))


def _insert(model: type[Model], columns: list[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """Load rows of text. The database converts them to numbers and times."""
    quote = connection.ops.quote_name
    into = f"{quote(model._meta.db_table)} ({', '.join(map(quote, columns))})"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {into} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            cursor.executemany(f"INSERT INTO {into} VALUES ({', '.join(['%s'] * len(columns))})", rows)


def counts() -> dict[str, int]:
    """The number of rows in each table."""
    known_plane = Exists(Plane.objects.filter(pk=OuterRef("plane_id")))
    known_dest = Exists(Airport.objects.filter(pk=OuterRef("dest_id")))
    return {
        "airlines": Airline.objects.count(),
        "airports": Airport.objects.count(),
        "planes": Plane.objects.count(),
        "pairs of destination and airline": AIRPORT_AIRLINE.objects.count(),
        "flights": Flight.objects.count(),
        "flights without a plane": Flight.objects.filter(plane_id=None).count(),
        "flights whose plane is not in the table": Flight.objects.exclude(plane_id=None).exclude(known_plane).count(),
        "flights whose destination is not in the table": Flight.objects.exclude(known_dest).count(),
    }


def differences(years: int) -> list[str]:
    """The counts that are wrong, in words."""
    found = counts()
    expected = {**data.COUNTS, **{what: number * years for what, number in data.COUNTS_PER_YEAR.items()}}
    return [
        f"{found[what]:,} {what} instead of {number:,}" for what, number in expected.items() if found[what] != number
    ]


def is_loaded(years: int) -> bool:
    try:
        return not differences(years)
    except DatabaseError:  # the table does not exist, or has other columns
        return False


def verify(years: int) -> None:
    if wrong := differences(years):
        msg = f"The data is not what {data.REQUIREMENT} should hold: {', '.join(wrong)}."
        raise data.DataError(msg)
