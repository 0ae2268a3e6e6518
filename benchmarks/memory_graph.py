"""Streams a table with `chunks()` and draws how much memory the process has meanwhile.

`python -m benchmarks.memory_graph [--rows 10000000] [--output docs/memory.svg]`; the rows are made anew in build/bench.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from .contender import peak_bytes
from .picture import line_chart

ROOT = Path(__file__).parents[1]
CHUNK = 2_000
AUTHORS, PUBLISHERS = 100_000, 500
POINTS = 400
PAGE = os.sysconf("SC_PAGE_SIZE")

ROWS = "WITH RECURSIVE row(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM row WHERE i < ?)"
# A few authors have most of the books, in no order.
AUTHOR = " * ".join(["(abs(random()) % 1000 / 1000.0)"] * 3)
TABLES = {
    "author": "i, 'Author ' || i, 'author' || i || '@example.com'",
    "publisher": "i, 'Publisher ' || i, 'Country ' || (i % 50)",
    "book": (
        f"i, 'Book ' || i, printf('%013d', i), 1 + CAST({AUTHOR} * {AUTHORS} AS INTEGER),"
        f" CASE WHEN i % 2 THEN 1 + CAST({AUTHOR} * {AUTHORS} AS INTEGER) END, 1 + abs(random()) % {PUBLISHERS}"
    ),
}


def write(file: Path, books: int) -> None:
    setup(file)
    from django.apps import apps
    from django.db import connection

    with connection.schema_editor() as editor:
        for model in apps.get_app_config("bookshop").get_models():
            editor.create_model(model)
    connection.close()
    with sqlite3.connect(file, isolation_level=None) as database:
        database.execute("PRAGMA synchronous = off")
        for (table, columns), count in zip(TABLES.items(), (AUTHORS, PUBLISHERS, books)):
            names = [row[1] for row in database.execute(f"PRAGMA table_info(bookshop_{table})")]
            database.execute(
                f"{ROWS} INSERT INTO bookshop_{table} ({', '.join(names)}) SELECT {columns} FROM row", [count]
            )


def stream(file: Path, rows: int, output: Path) -> None:
    setup(file)
    from django_memoized_prefetch import MemoizedPrefetch

    from .bookshop.models import Book

    prefetch = MemoizedPrefetch("author", "translator", "publisher", lru_cache_size=30_000)
    samples = [(0.0, resident())]
    done = checksum = 0
    start = time.perf_counter()
    for chunk in prefetch.chunks(Book.objects.all(), CHUNK):
        for book in chunk:
            checksum += book.author.id + book.publisher.id + (book.translator.id if book.translator else 0)
        done += len(chunk)
        if done // CHUNK % max(1, rows // CHUNK // POINTS) == 0:
            samples.append((done, resident()))
    seconds = time.perf_counter() - start
    assert done == rows
    assert checksum
    print(prefetch.stats())
    print(f"{done:,} rows in {seconds:.0f} s; memory at most {peak_bytes() / 2**20:.0f} MiB")
    title = f"{done:,} books streamed by chunks(), with author, translator and publisher"
    settled = [memory for row, memory in samples if row > rows / 10]
    name = f"memory of the process: {min(settled):.0f} to {max(settled):.0f} MiB after the first tenth"
    output.write_text(line_chart(title, "books", "MiB", {name: samples}))


def resident() -> float:
    """MiB that the process has now; where the system does not tell, the most that it had."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * PAGE / 2**20 if statm.exists() else peak_bytes() / 2**20


def setup(file: Path) -> None:
    os.environ["BENCHMARK_DATABASE"] = str(file)
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    import django

    django.setup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="books (10,000,000: about 1 GB of disk)")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "memory.svg")
    parser.add_argument("--write", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write(arguments.write, arguments.rows)
        return
    file = ROOT / "build" / "bench" / "memory-graph.sqlite3"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    try:
        # In a process of its own, whose memory is not this one's.
        command = [sys.executable, "-m", __spec__.name, "--write", str(file), "--rows", str(arguments.rows)]
        subprocess.run(command, cwd=ROOT, check=True)
        stream(file, arguments.rows, arguments.output)
    finally:
        file.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
