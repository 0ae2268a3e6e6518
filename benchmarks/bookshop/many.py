"""Writes a bookshop of any size into an SQLite file: `python -m benchmarks.bookshop.many FILE BOOKS AUTHORS`.

The number of books per author follows Zipf's law: of a million authors, a thousand have half of all books.
"""

from __future__ import annotations

import random
import sqlite3
import sys

from .data import create_tables, set_up

PUBLISHERS = 500

ROWS = "WITH RECURSIVE row(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM row WHERE i < ?)"


def write(file: str, books: int, authors: int) -> None:
    set_up(file)
    create_tables()
    rng = random.Random(2013)
    tables = {
        "author": (authors, "i, 'Author ' || i, 'author' || i || '@example.com'"),
        "publisher": (PUBLISHERS, "i, 'Publisher ' || i, 'Country ' || (i % 50)"),
        "book": (
            books,
            "i, 'Book ' || i, printf('%013d', i), author(), CASE WHEN i % 2 THEN author() END, publisher()",
        ),
    }
    with sqlite3.connect(file, isolation_level=None) as database:
        database.create_function("author", 0, lambda: int(authors ** rng.random()))  # Zipf's law, exponent 1
        database.create_function("publisher", 0, lambda: rng.randint(1, PUBLISHERS))
        database.execute("PRAGMA synchronous = off")
        for table, (count, columns) in tables.items():
            names = [row[1] for row in database.execute(f"PRAGMA table_info(bookshop_{table})")]
            database.execute(
                f"{ROWS} INSERT INTO bookshop_{table} ({', '.join(names)}) SELECT {columns} FROM row", [count]
            )


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
