"""Streams a table with `chunks()` and draws how much memory the process uses meanwhile.

`python -m benchmarks.memory_graph [--rows 10000000] [--output docs/memory.svg]`; the rows are made anew in build/bench.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from .bookshop.data import set_up
from .contender import peak_bytes
from .picture import line_chart

ROOT = Path(__file__).parents[1]
CHUNK = 2_000
AUTHORS = 100_000
POINTS = 400
PAGE = os.sysconf("SC_PAGE_SIZE")


def stream(file: Path, rows: int, output: Path) -> None:
    set_up(str(file))
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
    """MiB that the process uses now; if the system does not tell, the most that it ever used."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * PAGE / 2**20 if statm.exists() else peak_bytes() / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="books (10,000,000: about 1 GB of disk)")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "memory.svg")
    arguments = parser.parse_args()
    file = ROOT / "build" / "bench" / "memory-graph.sqlite3"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    try:
        # In its own process, so that its memory is not counted.
        command = [sys.executable, "-m", "benchmarks.bookshop.many", str(file), str(arguments.rows), str(AUTHORS)]
        subprocess.run(command, cwd=ROOT, check=True)
        stream(file, arguments.rows, arguments.output)
    finally:
        file.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
