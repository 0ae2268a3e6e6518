"""
Compares resolving chunks in C++ with the usual alternatives: `make bench-cpp`, or `python -m benchmarks.cpp RESOLVE`.

Each workload runs in its own process, with the contenders' rounds in random order; the best round counts. A contender
that resolves a wrong row ends the run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

KEYS = ("int64", "string")
STREAMS = ("uniform", "zipf0.8", "zipf1.0", "zipf1.2", "scan")
ENTRIES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
# Rows per entry: all fit, or half of them.
ROWS = (1, 2)
OURS, LRU, BARE = "mp::memo", "boost::multi_index", "bare absl::flat_hash_map"
CHUNK = 2_000


@dataclass(frozen=True)
class Result:
    """
    One workload.

    nanoseconds: Per key, by contender.
    overhead: Bytes per entry beyond key and value; None if the memo was not filled or is no larger than a few chunks.
    """

    keys: str
    stream: str
    entries: int
    rows: int
    nanoseconds: dict[str, float]
    overhead: float | None

    @property
    def name(self) -> str:
        fit = "all fit" if self.rows == 1 else "half fit"
        return f"{self.keys}, {self.stream}, {self.entries:.0e} entries, {fit}"

    def ratio(self, contender: str) -> float:
        return self.nanoseconds[contender] / self.nanoseconds[OURS]


def run(program: Path, keys: str, stream: str, entries: int, rows: int) -> Result:
    command = [str(program), keys, stream, str(entries), str(rows * entries)]
    options = ["--benchmark_format=json", "--benchmark_enable_random_interleaving=true"]
    output = subprocess.run([*command, *options], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    best: dict[str, float] = {}
    overhead = None
    for one in json.loads(output)["benchmarks"]:
        if one["run_type"] != "iteration":
            continue
        contender = one["run_name"].split("/")[0]
        if one.get("error_occurred"):
            sys.exit(f"{contender}, {' '.join(command)}: {one['error_message']}")
        best[contender] = min(best.get(contender, math.inf), 1e9 / one["items_per_second"])
        if contender == OURS and one["filled"] == 1 and entries >= 50 * CHUNK:
            overhead = one["overhead"]
    return Result(keys, stream, entries, rows, best, overhead)


def mean(ratios: Iterable[float]) -> float:
    """The geometric mean."""
    return math.exp(sum(logs := [math.log(one) for one in ratios]) / len(logs))


def table(results: list[Result]) -> str:
    contenders = [OURS, *sorted(results[0].nanoseconds.keys() - {OURS})]
    width = max(len(one.name) for one in results)
    lines = ["ns per key (times ours)", f"{'':{width}}  " + "  ".join(f"{one:>26}" for one in contenders)]
    for one in results:
        cells = [f"{one.nanoseconds[other]:.1f} ({one.ratio(other):.2f})" for other in contenders]
        lines.append(f"{one.name:{width}}  " + "  ".join(f"{cell:>26}" for cell in cells))
    means = [f"({mean(one.ratio(other) for one in results):.2f})" for other in contenders]
    lines.append(f"{'geometric mean':{width}}  " + "  ".join(f"{cell:>26}" for cell in means))
    return "\n".join(lines)


def musts(results: list[Result]) -> list[tuple[bool, str]]:
    lru = [one.ratio(LRU) for one in results]
    large = [one.ratio(LRU) for one in results if one.entries >= 1_000_000]
    # If only half of the rows fit, the bare map holds twice as many and never fetches or evicts.
    bare = [1 / one.ratio(BARE) for one in results if one.rows == 1]
    overheads = [one.overhead for one in results if one.overhead is not None]
    slower = [one.name for one in results if one.ratio(LRU) < 1]
    found = [
        (min(lru) >= 1, f"never slower than {LRU}: {min(lru):.2f} times its speed at worst, slower in {len(slower)}"),
        (mean(lru) >= 1.5, f"at least 1.5 times the speed of {LRU} in the geometric mean: {mean(lru):.2f}"),
    ]
    if large:
        found.append((mean(large) >= 2, f"at least 2 times from 10^6 entries up: {mean(large):.2f}"))
    if bare:
        found.append((max(bare) <= 2.5, f"at most 2.5 times the time of a {BARE} where all fit: {max(bare):.2f}"))
    if overheads:
        found.append((max(overheads) <= 48, f"at most 48 bytes per entry over key and value: {max(overheads):.1f}"))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpp", description=__doc__)
    parser.add_argument("program", type=Path, help="the benchmark's program, resolve")
    parser.add_argument("--keys", nargs="+", choices=KEYS, default=KEYS)
    parser.add_argument("--streams", nargs="+", choices=STREAMS, default=STREAMS)
    parser.add_argument("--entries", nargs="+", type=int, default=ENTRIES)
    parser.add_argument("--rows", nargs="+", type=int, choices=ROWS, default=ROWS, help="rows per entry")
    arguments = parser.parse_args()
    results = []
    for workload in itertools.product(arguments.keys, arguments.streams, arguments.entries, arguments.rows):
        results.append(run(arguments.program, *workload))
        print(f"{results[-1].name}: {results[-1].ratio(LRU):.2f} times the speed of {LRU}", file=sys.stderr)
    print(table(results))
    verdicts = musts(results)
    print()
    for passed, text in verdicts:
        print(f"{'PASS' if passed else 'FAIL'}  {text}")
    return 0 if all(passed for passed, _ in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
