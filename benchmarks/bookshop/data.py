"""Writes the bookshop's SQLite file: the same rows every time.

Run as `python -m benchmarks.bookshop.data FILE SCALE` by the runner.
"""

from __future__ import annotations

import os
import random
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

ROWS = {
    "author": 20_000,
    "publisher": 500,
    "category": 300,
    "book": 200_000,
    "review": 400_000,
    "cover": 200_000,
    "panel": 2_000,
}


def rows(table: str, scale: float) -> int:
    return max(20, round(ROWS[table] * scale))


def file_for(directory: Path, scale: float) -> Path:
    # Named after the code that writes it, so that a file of older code is not taken for this one's.
    here = Path(__file__)
    fingerprint = zlib.crc32(here.read_bytes() + here.with_name("models.py").read_bytes())
    return directory / f"bookshop-{scale:g}-{fingerprint:08x}.sqlite3"


def write(file: Path, scale: float) -> None:
    partial = file.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    os.environ["BENCHMARK_DATABASE"] = str(partial)
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    import django

    django.setup()
    from django.apps import apps
    from django.db import connection, transaction

    with connection.schema_editor() as editor:
        for model in apps.get_app_config("bookshop").get_models():
            editor.create_model(model)
    with transaction.atomic(), connection.cursor() as cursor:
        for table, columns, values in tables(scale):
            marks = ", ".join(["%s"] * len(columns))
            cursor.executemany(f"INSERT INTO bookshop_{table} ({', '.join(columns)}) VALUES ({marks})", values)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    connection.close()
    partial.rename(file)


def tables(scale: float) -> Iterator[tuple[str, tuple[str, ...], Iterator[tuple[object, ...]]]]:
    rng = random.Random(2013)

    def ids(table: str) -> range:
        return range(1, rows(table, scale) + 1)

    def some(table: str) -> int:
        return 1 + int(rng.random() * rows(table, scale))

    def book(i: int) -> tuple[object, ...]:
        translator = some("author") if rng.random() < 0.5 else None
        return i, f"Book {i}", f"{i:013}", some("author"), translator, some("publisher")

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


if __name__ == "__main__":
    write(Path(sys.argv[1]), float(sys.argv[2]))
