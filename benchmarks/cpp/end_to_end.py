"""
Whole jobs with a database in C++, with five ways to get related rows: `make bench-cpp-sql`, or
`python -m benchmarks.cpp.end_to_end END_TO_END`.

Each contender runs in its own process, in interleaved rounds. The best round counts. Contenders with different results
end the run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measured import Measured
from benchmarks.report import processor

ROOT = Path(__file__).parents[2]
DATABASES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
WORKLOADS = {
    "bookshop": "200,000 books, each with one of 20,000 authors and one of 500 publishers",
    "flights": "336,776 flights, each with airline, plane, and destination with its airlines",
    "zipf": "400,000 objects, each with one of 1,000,000 rows by Zipf's law; the memo keeps 100,000",
    "uniform": "400,000 objects, each with any of 1,000,000 rows; the memo keeps 100,000",
}
CONTENDERS = {
    "one": "one query per row",
    "join": "join",
    "in": "IN per chunk",
    "map": "IN + unbounded map",
    "memo": "memo",
}
# It takes a round trip per row, so it is measured once unless told otherwise.
SLOW = {("postgresql", "one")}

# The measurements by database and workload, then by contender.
Results = dict[tuple[str, str], dict[str, Measured]]


def fetching(measured: Measured) -> float:
    """The share of its time that the best round takes to get related rows."""
    best = min(measured.runs, key=lambda run: float(run["samples"]["seconds"][0]))
    return float(best["samples"]["fetching"][0] / best["samples"]["seconds"][0])


def table(results: Results) -> str:
    lines = []
    for (database, workload), measured in results.items():
        lines.append(f"{DATABASES[database]}, {workload}: {WORKLOADS[workload]}")
        lines.append(
            f"  {'':20}{'seconds':>9}{'spread':>8}{'rounds':>8}{'queries':>11}{'fetching':>10}{'peak MiB':>10}"
            f"{'times memo':>12}"
        )
        for contender, one in measured.items():
            spread = one.spread("seconds")
            # Related rows that come with the pages cannot be counted separately.
            related = [f"{one.queries:,}", f"{fetching(one):.0%}"] if one.queries else ["-", "-"]
            ratio = f"{one.best() / measured['memo'].best():.2f}" if "memo" in measured else "-"
            lines.append(
                f"  {CONTENDERS[contender]:20}{one.best():9.3f}{'-' if spread is None else f'+{spread:.0%}':>8}"
                f"{len(one.runs):8}{related[0]:>11}{related[1]:>10}{one.peak_bytes / 2**20:10.1f}{ratio:>12}"
            )
        lines.append("")
    lines.append("queries, fetching: those for related rows only, and their share of the time")
    return "\n".join(lines)


def musts(results: Results) -> list[tuple[bool, str]]:
    found = []
    for (database, workload), measured in results.items():
        if not {"in", "memo"} <= measured.keys():
            continue
        place = f"{DATABASES[database]}, {workload}"
        memo, by_hand = measured["memo"], measured["in"]
        shares = f"fetching: {fetching(memo):.0%} of its time, {fetching(by_hand):.0%} of theirs"
        if (database, workload) == ("sqlite", "zipf"):
            faster = by_hand.best() / memo.best()
            found.append(
                (faster >= 1.3, f"{place}: at least 1.3 times the speed of IN per chunk: {faster:.2f}; {shares}")
            )
        if workload == "uniform":
            slower = memo.best() / by_hand.best()
            found.append(
                (slower <= 1.05, f"{place}: at most 1.05 times the time of IN per chunk: {slower:.2f}; {shares}")
            )
    return found


def add(results: Results, database: str, workload: str, contender: str, output: str) -> None:
    """Adds a run from the program's output: perhaps a report, and a line of JSON."""
    *printed, line = output.splitlines()
    run = json.loads(line)
    run["checksum"] = (run["checksum"], *printed)
    measured = results.setdefault((database, workload), {})
    measured.setdefault(contender, Measured()).runs.append(run)
    if len(set().union(*(one.checksums for one in measured.values()))) != 1:
        sys.exit(f"{database}, {workload}: the job of {contender} had a different result from those before it")


def plan(arguments: argparse.Namespace, database: str) -> Iterator[tuple[str, str]]:
    for workload in arguments.workload:
        for number in range(arguments.rounds):
            # A different contender comes first in each round.
            order = arguments.contender[number % len(arguments.contender) :] + arguments.contender
            for contender in dict.fromkeys(order):
                if number == 0 or arguments.repeat_slow or (database, contender) not in SLOW:
                    yield workload, contender


def measure(arguments: argparse.Namespace) -> Results:
    from . import data

    results: Results = {}
    environment = {**os.environ, "PGOPTIONS": f"-c search_path={data.SCHEMA}"}
    for database in arguments.database:
        with contextlib.ExitStack() as until_measured:
            place = until_measured.enter_context(data.filled(database, arguments.scale, arguments.build))
            for workload, contender in plan(arguments, database):
                command = [str(arguments.program), place, workload, contender]
                done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
                if done.returncode:
                    sys.exit(f"{database}, {workload}, {contender} failed; its own message is above.")
                add(results, database, workload, contender, done.stdout)
                seconds = results[database, workload][contender].runs[-1]["samples"]["seconds"][0]
                print(f"{database}, {workload}, {CONTENDERS[contender]}: {seconds:.3f} s", file=sys.stderr)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpp.end_to_end", description=__doc__)
    parser.add_argument("program", type=Path, help="the benchmark's program, end_to_end")
    parser.add_argument("--database", nargs="+", choices=DATABASES, default=list(DATABASES))
    parser.add_argument("--workload", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--contender", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--rounds", type=int, default=5, help="runs of every contender (5); the best one counts")
    parser.add_argument("--repeat-slow", action="store_true", help="also repeat one query per row on PostgreSQL")
    parser.add_argument(
        "--scale", type=float, default=1, help="size of all tables but airlines, airports and planes (1)"
    )
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "bench", help="where the SQLite file is kept")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.scale <= 0:
        parser.error("--rounds and --scale must be positive")
    results = measure(arguments)
    load = os.getloadavg()[0]
    print(f"{processor()}, {os.cpu_count()} cores, load average {load:.1f}; scale {arguments.scale:g}\n")
    print(table(results))
    # The time of a few rows says nothing.
    verdicts = musts(results) if arguments.scale == 1 else []
    for passed, text in verdicts:
        print(f"{'PASS' if passed else 'FAIL'}  {text}")
    return 0 if all(passed for passed, _ in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
