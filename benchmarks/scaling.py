"""Draws how the time per row depends on the number of rows, the size of the memo and the size of a chunk.

`python -m benchmarks.scaling [--rows 10000000] [--docs docs]`: books with author, translator and publisher, streamed by
`memoized` and by Django's `prefetch_related().iterator()`, each run in its own process. The rows are made anew in
build/bench.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from .bookshop.data import set_up
from .picture import line_chart

ROOT = Path(__file__).parents[1]
AUTHORS = 1_000_000
MEMOIZED, DJANGO = "memoized", "Django prefetch_related().iterator()"


@dataclass(frozen=True)
class Run:
    contender: str
    rows: int
    kept: int = 100_000
    chunk: int = 2_000


@dataclass(frozen=True)
class Picture:
    """
    A picture of runs that differ in one thing.

    varied: The attribute of a Run in which they differ.
    """

    name: str
    title: str
    x_label: str
    varied: str
    values: tuple[int, ...]
    run: Run
    most_for_django: int | None = None

    def runs(self) -> Iterator[Run]:
        for value in self.values:
            for contender in (MEMOIZED, DJANGO):
                if contender == MEMOIZED or self.most_for_django is None or value <= self.most_for_django:
                    yield replace(self.run, contender=contender, **{self.varied: value})


def pictures(most: int) -> list[Picture]:
    some, few = min(1_000_000, most), min(200_000, most)
    return [
        Picture(
            "scaling-rows",
            "Time per row, by number of rows",
            "rows streamed, in chunks of 2,000; 100,000 of a million authors kept",
            "rows",
            tuple(rows for rows in (10_000, 100_000, 1_000_000, 10_000_000) if rows <= most),
            Run("", 0),
            most_for_django=1_000_000,
        ),
        Picture(
            "scaling-memo",
            "Time per row, by lru_cache_size",
            f"lru_cache_size; {some:,} rows in chunks of 2,000, a million authors (Zipf's law)",
            "kept",
            (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000),
            Run("", some),
            most_for_django=1_000,
        ),
        Picture(
            "scaling-chunk",
            "Time per row, by chunk size",
            f"chunk_size; {few:,} rows, 100,000 of a million authors kept",
            "chunk",
            (100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000),
            Run("", few),
        ),
    ]


def stream(file: str, run: Run) -> dict[str, Any]:
    set_up(file)
    logging.getLogger("django_memoized_prefetch").setLevel(logging.ERROR)  # memos are small on purpose
    from django_memoized_prefetch import memoized

    from .bookshop.models import Book
    from .readers import read_book_keys

    books = Book.objects.filter(pk__lte=run.rows).prefetch_related("author", "translator", "publisher")
    if run.contender == MEMOIZED:
        books = memoized(books, lru_cache_size=run.kept)
    start = perf_counter()
    checksum = read_book_keys(books.iterator(chunk_size=run.chunk))
    return {"us": (perf_counter() - start) * 1e6 / run.rows, "checksum": checksum}


def measure(file: Path, all_pictures: list[Picture], rounds: int) -> dict[Run, float]:
    """The best time of each run. Every round has all runs."""
    runs = list(dict.fromkeys(run for picture in all_pictures for run in picture.runs()))
    times: dict[Run, float] = {}
    checksums: dict[int, int] = {}
    for round_ in range(1, rounds + 1):
        for step, run in enumerate(runs, 1):
            if round_ > 1 and run.rows > 1_000_000:
                continue
            command = [sys.executable, "-m", "benchmarks.scaling", "--measure", str(file), json.dumps(asdict(run))]
            done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
            found = json.loads(done.stdout)
            if checksums.setdefault(run.rows, found["checksum"]) != found["checksum"]:
                sys.exit(f"{run}: the contenders read different rows")
            times[run] = min(found["us"], times.get(run, found["us"]))
            print(f"[{step}/{len(runs)}, round {round_}] {run}: {found['us']:.2f} us per row", file=sys.stderr)
    return times


def draw(picture: Picture, times: dict[Run, float]) -> str:
    series: dict[str, list[tuple[float, float]]] = {MEMOIZED: [], DJANGO: []}
    for run in picture.runs():
        series[run.contender].append((getattr(run, picture.varied), times[run]))
    if len(series[DJANGO]) == 1:  # its time does not depend on the varied attribute
        series[DJANGO] = [(value, series[DJANGO][0][1]) for value in picture.values]
    return line_chart(picture.title, picture.x_label, "us per row", series, x_powers=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="the most books (10,000,000: about 1 GB of disk)")
    parser.add_argument("--rounds", type=int, default=3, help="of all but the largest run (3); the best one counts")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", metavar="DIRECTORY", help="for the pictures (docs)")
    parser.add_argument("--measure", nargs=2, metavar=("FILE", "RUN"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        file_name, run = arguments.measure
        print(json.dumps(stream(file_name, Run(**json.loads(run)))))
        return
    file = ROOT / "build" / "bench" / "scaling.sqlite3"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    try:
        command = [sys.executable, "-m", "benchmarks.bookshop.many", str(file), str(arguments.rows), str(AUTHORS)]
        subprocess.run(command, cwd=ROOT, check=True)
        wanted = pictures(arguments.rows)
        times = measure(file, wanted, arguments.rounds)
    finally:
        file.unlink(missing_ok=True)
    arguments.docs.mkdir(parents=True, exist_ok=True)
    for picture in wanted:
        (arguments.docs / f"{picture.name}.svg").write_text(draw(picture, times))


if __name__ == "__main__":
    main()
