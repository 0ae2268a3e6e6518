"""Writes the bookshop's tables: the same rows every time, in every database.

The runner calls `python -m benchmarks.bookshop.data DATABASE SCALE`, and in the end with `drop` in place of the scale.
"""

from __future__ import annotations

import os
import random
import sys
import uuid
import zlib
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

ROWS = {
    "author": 20_000,
    "publisher": 500,
    "category": 300,
    "book": 200_000,
    "review": 400_000,
    "cover": 200_000,
    "panel": 2_000,
    "edition": 100_000,
}
# On PostgreSQL, made before the runs and dropped after them.
SCHEMA = "memoized_prefetch_benchmarks"


def rows(table: str, scale: float) -> int:
    return max(20, round(ROWS[table] * scale))


def file_for(directory: Path, scale: float) -> Path:
    # Named after the code that writes it, so that a file written by older code is not used.
    here = Path(__file__)
    fingerprint = zlib.crc32(here.read_bytes() + here.with_name("models.py").read_bytes())
    return directory / f"bookshop-{scale:g}-{fingerprint:08x}.sqlite3"


def write(database: str, scale: float) -> None:
    """Writes into a new SQLite file, or into the schema on the PostgreSQL server that a URL names."""
    if database.startswith("postgres"):
        fill(database, scale)
        return
    partial = Path(database).with_suffix(".partial")
    partial.unlink(missing_ok=True)
    fill(str(partial), scale)
    partial.rename(database)


def set_up(database: str) -> None:
    os.environ["BENCHMARK_DATABASE"] = database
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    import django

    django.setup()


def fill(database: str, scale: float) -> None:
    set_up(database)
    from django.apps import apps
    from django.db import connection, transaction

    if connection.vendor == "postgresql":
        drop_schema()
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA {SCHEMA}")
    create_tables()
    app = apps.get_app_config("bookshop")
    with transaction.atomic(), connection.cursor() as cursor:
        for table, columns, values in tables(scale):
            target = f"bookshop_{table} ({', '.join(columns)})"
            if table == "edition":
                fields = [field for field in app.get_model(table)._meta.concrete_fields if field.column in columns]
                values = (
                    [field.get_db_prep_save(value, connection) for field, value in zip(fields, row)] for row in values
                )
            if connection.vendor == "postgresql":
                with cursor.copy(f"COPY {target} FROM STDIN") as copy:
                    for row in values:
                        copy.write_row(row)
            else:
                cursor.executemany(f"INSERT INTO {target} VALUES ({', '.join(['%s'] * len(columns))})", values)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")
    connection.close()


def create_tables() -> None:
    from django.apps import apps
    from django.db import connection

    with connection.schema_editor() as editor:
        for model in apps.get_app_config("bookshop").get_models():
            editor.create_model(model)
    connection.close()


def drop_schema() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


def tables(scale: float) -> Iterator[tuple[str, tuple[str, ...], Iterator[Any]]]:
    rng = random.Random(2013)

    def ids(table: str) -> range:
        return range(1, rows(table, scale) + 1)

    def some(table: str) -> int:
        return 1 + int(rng.random() * rows(table, scale))

    def book(i: int) -> tuple[object, ...]:
        translator = some("author") if rng.random() < 0.5 else None
        return i, f"Book {i}", f"{i:013}", some("author"), translator, some("publisher")

    def edition(i: int) -> tuple[object, ...]:
        added = datetime(2013, 1, 1, tzinfo=timezone.utc) + timedelta(minutes=i, microseconds=rng.randrange(1_000_000))
        return (
            i,
            uuid.UUID(int=rng.getrandbits(128)),
            f"Edition {i}",
            f"Subtitle {i}" if i % 2 else None,
            ("de", "en", "fr", "sv")[i % 4],
            f"edition-{i}",
            f"What edition {i} is about, at some length. " * 3,
            Decimal(rng.randrange(500, 20_000)).scaleb(-2),
            Decimal(rng.randrange(10_000)).scaleb(-4) if i % 3 else None,
            rng.random() * 1_000,
            rng.randrange(20, 2_000),
            rng.randrange(10, 40) if i % 5 else None,
            i % 7 > 0,
            date(1900, 1, 1) + timedelta(days=rng.randrange(40_000)),
            added,
            added + timedelta(days=rng.randrange(1_000)) if i % 3 else None,
            {"binding": "paper", "copies": i % 100, "prizes": [i % 3, i % 5]},
            some("author"),
            some("publisher"),
            some("category"),
        )

    yield "author", ("id", "name", "email"), ((i, f"Author {i}", f"author{i}@example.com") for i in ids("author"))
    yield "publisher", ("id", "name", "country"), ((i, f"Publisher {i}", f"Country {i % 50}") for i in ids("publisher"))
    yield "category", ("id", "name"), ((i, f"Category {i}") for i in ids("category"))
    yield "book", ("id", "title", "isbn", "author_id", "translator_id", "publisher_id"), map(book, ids("book"))
    yield (
        "book_categories",
        ("book_id", "category_id"),
        ((book, category) for book in ids("book") for category in rng.sample(ids("category"), int(rng.random() * 5))),
    )
    yield (
        "review",
        ("id", "book_id", "rating", "comment"),
        ((i, some("book"), 1 + i % 5, f"Comment {i}") for i in ids("review")),
    )
    yield "cover", ("id", "book_id", "colour"), ((i, i, f"Colour {i % 20}") for i in ids("cover"))
    yield (
        "panel",
        ("id", "moderator_id", "guest_id", "critic_id"),
        ((i, some("author"), some("author"), some("author")) for i in ids("panel")),
    )
    columns = "id number title subtitle language slug blurb price tax weight pages height in_print published added sold"
    yield (
        "edition",
        (*columns.split(), "details", "illustrator_id", "publisher_id", "shelf_id"),
        map(edition, ids("edition")),
    )


if __name__ == "__main__":
    if sys.argv[2] == "drop":
        set_up(sys.argv[1])
        drop_schema()
    else:
        write(sys.argv[1], float(sys.argv[2]))
