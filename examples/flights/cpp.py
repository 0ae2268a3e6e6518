"""The demo in C++: builds the report, runs it over the flights, and compares it with what Python computes."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from itertools import zip_longest

from flights import database
from flights.__main__ import ROOT, SECONDS_TO_STREAM, DemoError, loaded_database, run_to_its_end, show, stream

BUILD = ROOT / "build" / "demo" / "cpp"
SECONDS_TO_BUILD = 20
SECONDS_TO_REPORT = 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/demo-cpp", description="script/demo-cpp --help says more.")
    parser.add_argument("--postgres", action="store_true", help="run on an embedded PostgreSQL")
    arguments = parser.parse_args()
    return run_to_its_end("script/demo-cpp", lambda: run(arguments.postgres))


def run(embedded: bool) -> None:
    jobs = [
        ("build examples/cpp", SECONDS_TO_BUILD),
        ("report on them in C++", SECONDS_TO_REPORT),
        ("report on them with memoized(queryset), and compare", SECONDS_TO_STREAM["memoized"]),
    ]
    with loaded_database(1, embedded, jobs) as place:
        example = "flights_postgresql" if database.is_postgres(place) else "flights_sqlite"
        build(example)
        started = time.monotonic()
        # It sees the demo's own schema only. SQLite ignores this.
        environment = {**os.environ, "PGOPTIONS": f"-c search_path={database.SCHEMA}"}
        process = subprocess.run(
            [BUILD / example, place], env=environment, stdout=subprocess.PIPE, text=True, check=False
        )
        if process.returncode != 0:
            msg = f"examples/cpp/{example} failed; its own message is above."
            raise DemoError(msg)
        print(f"  {'C++':<14}{time.monotonic() - started:8.1f} s")
        lines = process.stdout.splitlines()
        compare(lines, stream("memoized"))
        show(f"examples/cpp/{example}.cpp computed, and Python the same:", lines)


def build(example: str) -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    log = BUILD / "log"
    with log.open("w") as output:
        for step in (
            [
                "cmake",
                "-S",
                str(ROOT / "examples" / "cpp"),
                "-B",
                str(BUILD),
                "-G",
                "Ninja",
                "-DCMAKE_BUILD_TYPE=Release",
            ],
            ["cmake", "--build", str(BUILD), "--target", f"example_{example}"],
        ):
            if subprocess.run(step, stdout=output, stderr=subprocess.STDOUT, check=False).returncode != 0:
                msg = f"examples/cpp/{example}.cpp could not be built; {log.relative_to(ROOT)} says why."
                raise DemoError(msg)


def compare(lines: list[str], python: dict[str, object]) -> None:
    from flights import report

    expected = list(report.result(python["result"]))
    # The last line explains the one before.
    for first, second in zip_longest(lines, expected[:-1]):
        if first != second:
            msg = f"The results differ. C++: {first!r}. Python: {second!r}."
            raise DemoError(msg)


if __name__ == "__main__":
    sys.exit(main())
