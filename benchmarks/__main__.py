"""Runs workloads, every contender in its own process, in interleaved rounds, and reports."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from . import original, report
from .bookshop import data
from .measured import Measured
from .musts import verdicts
from .workloads import CONTENDERS, WORKLOADS

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "bench"


def main() -> int:
    arguments = parse_arguments()
    BUILD.mkdir(parents=True, exist_ok=True)
    pythons = dict.fromkeys(arguments.contender, sys.executable)
    for module in ("chunkator", *(["django_memoized_prefetch"] if {"this", "memoized"} & set(pythons) else [])):
        if importlib.util.find_spec(module) is None:
            sys.exit(f"{module} is not installed for {sys.executable}: run script/bootstrap, then make bench")
    if "original" in pythons:
        pythons["original"] = original.python(BUILD / "original")
    database = data.file_for(BUILD, arguments.scale)
    if not database.exists():
        show(f"Writing {database} ...")
        child(sys.executable, "benchmarks.bookshop.data", str(database), str(arguments.scale))

    plan = [
        (round_, workload, contender)
        for workload in arguments.workload
        for round_ in range(1, arguments.rounds + 1)
        for contender in WORKLOADS[workload].contenders
        if contender in pythons
        and (round_ == 1 or arguments.repeat_slow or contender not in WORKLOADS[workload].minutes_long)
    ]
    show(
        f"{len(plan)} runs. All of them at scale 1 take about ten minutes, of which three for the original's `nested`,"
        f" which makes a query per review{'' if arguments.repeat_slow else ' and therefore runs once'}."
    )
    if os.getloadavg()[0] > 0.5:
        show(f"The load average is {os.getloadavg()[0]:.1f}: other programs are running and will disturb the figures.")
    results: report.Results = {}
    for step, (round_, workload, contender) in enumerate(plan, 1):
        label = f"[{step}/{len(plan)}] {workload}, {CONTENDERS[contender]}, round {round_}"
        output = child(pythons[contender], "benchmarks.contender", workload, contender, str(database), label=label)
        measured = results.setdefault(workload, {}).setdefault(contender, Measured())
        measured.runs.append(json.loads(output.splitlines()[-1]))
        checksums = {name: result.checksums for name, result in results[workload].items()}
        if len(set().union(*checksums.values())) != 1:
            sys.exit(f"{workload}: the contenders read different rows, checksums {checksums}")

    conditions = report.conditions(arguments.scale, arguments.rounds)
    print(f"\n{conditions}\n")
    for line in report.text(results):
        print(line)
    judged = list(verdicts(results)) if arguments.scale == 1 else []
    for verdict in judged:
        print(verdict)
    if arguments.scale != 1:
        print(f"Scale {arguments.scale:g}: what must be reached is judged at scale 1 only.")
    if arguments.markdown:
        arguments.markdown.write_text(report.markdown(results, judged, conditions))
    return 0 if all(verdict.passed for verdict in judged) else 1


def parse_arguments() -> argparse.Namespace:
    workloads = "\n".join(f"  {name:14} {workload.title}" for name, workload in WORKLOADS.items())
    contenders = "\n".join(f"  {name:14} {title}" for name, title in CONTENDERS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=f"workloads:\n{workloads}\n\ncontenders:\n{contenders}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workload", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), metavar="NAME")
    parser.add_argument("--contender", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=3, help="runs of every contender (3); the best one counts")
    parser.add_argument("--repeat-slow", action="store_true", help="also repeat runs that take minutes")
    parser.add_argument("--scale", type=float, default=1, help="size of all tables (1: 200,000 books, 400,000 reviews)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the report as Markdown")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.scale <= 0:
        parser.error("--rounds and --scale must be positive")
    return arguments


def child(python: str, module: str, *arguments: str, label: str = "") -> str:
    """The output of a module run in a process of its own, with a running clock on the terminal meanwhile."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    start = time.monotonic()
    with subprocess.Popen(
        [python, "-m", module, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            while True:
                try:
                    output, errors = process.communicate(timeout=1)
                    break
                except subprocess.TimeoutExpired:
                    if label and sys.stderr.isatty():
                        print(f"\r\033[K{label} ... {time.monotonic() - start:.0f} s", end="", file=sys.stderr)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        sys.exit(f"\n{label or module} failed:\n{errors}")
    if label:
        show(f"{label}: {time.monotonic() - start:.1f} s", over_clock=True)
    return output


def show(line: str, *, over_clock: bool = False) -> None:
    print(f"\r\033[K{line}" if over_clock and sys.stderr.isatty() else line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
