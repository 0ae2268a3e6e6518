"""Runs the workloads and reports. Each contender runs in its own process; the rounds are interleaved."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from . import original, report
from .bookshop import data
from .measured import Measured
from .workloads import CONTENDERS, NEEDS, OURS, WORKLOADS

ROOT = Path(__file__).parents[1]


def main() -> int:
    arguments = parse_arguments()
    arguments.build.mkdir(parents=True, exist_ok=True)
    contenders = [name for name in arguments.contender if can_run(name)]
    pythons = dict.fromkeys(contenders, sys.executable)
    for module in ("chunkator", *(["django_memoized_prefetch"] if set(OURS) & set(pythons) else [])):
        if importlib.util.find_spec(module) is None:
            sys.exit(f"{module} is not installed for {sys.executable}: run script/bootstrap --bench, then make bench")
    if "original" in pythons:
        pythons["original"] = original.python(arguments.build / f"original-{sys.version_info[0]}.{sys.version_info[1]}")

    with contextlib.ExitStack() as databases:
        wanted = [name for name in report.DATABASES if name in arguments.database]
        places = {name: databases.enter_context(filled(name, arguments.scale, arguments.build)) for name in wanted}
        names = [report.sqlite() if name == "sqlite" else postgresql_version(url) for name, url in places.items()]
        import django

        done = report.Report(
            report.versions(),
            report.conditions(arguments.scale, arguments.rounds, names),
            arguments.scale,
            older=sys.version_info < (3, 12) or django.VERSION < (6, 1),
        )
        measure(arguments, pythons, places, done)

    print(f"\n{done.conditions}\n")
    for line in report.text(done):
        print(line)
    if arguments.docs:
        report.write(done, arguments.docs)
    if arguments.readme:
        report.quote(done, arguments.readme)
    if is_whole(arguments, contenders):
        report.write(done, ROOT / "docs")
        report.quote(done, ROOT / "README.md")
        print("\ndocs/benchmarks.md, docs/benchmarks.svg and the table in README.md are these figures now.")
    elif not (arguments.docs or arguments.readme):
        print("\nA part only, or at another scale: docs/ and README.md stay as they are.")
    return 0 if all(verdict.passed for _, verdict in done.verdicts()) else 1


def measure(
    arguments: argparse.Namespace, pythons: dict[str, str], places: dict[str, str], done: report.Report
) -> None:
    plan = [
        (database, workload, round_, contender)
        for database in places
        for workload in arguments.workload
        for round_ in range(1, arguments.rounds + 1)
        for contender in WORKLOADS[workload].contenders
        if contender in pythons
        and (round_ == 1 or arguments.repeat_slow or contender not in WORKLOADS[workload].minutes_long)
    ]
    show(
        f"{len(plan)} runs. All of them at scale 1 take about an hour, of which some minutes for 0.1.2's `nested`,"
        f" which makes a query per review{'' if arguments.repeat_slow else ' and therefore runs once'}."
    )
    if os.getloadavg()[0] > 0.5:
        show(f"The load average is {os.getloadavg()[0]:.1f}: other programs are running and will disturb the figures.")
    for step, (database, workload, round_, contender) in enumerate(plan, 1):
        label = f"[{step}/{len(plan)}] {database}, {workload}, {WORKLOADS[workload].label(contender)}, round {round_}"
        output = child(pythons[contender], "benchmarks.contender", workload, contender, places[database], label=label)
        results = done.runs.setdefault(database, {}).setdefault(workload, {})
        results.setdefault(contender, Measured()).runs.append(json.loads(output.splitlines()[-1]))
        checksums = {name: result.checksums for name, result in results.items()}
        if len(set().union(*checksums.values())) != 1:
            sys.exit(f"{workload}: the contenders read different rows, checksums {checksums}")
        done.save(arguments.build / "results.json")


def can_run(contender: str) -> bool:
    is_here, needed = NEEDS.get(contender, (lambda: True, ""))
    if not is_here():
        show(f"Without {CONTENDERS[contender]}: needs {needed}, which is not here.")
        return False
    return True


def is_whole(arguments: argparse.Namespace, contenders: list[str]) -> bool:
    everything = (set(arguments.workload), set(contenders), set(arguments.database))
    return arguments.scale == 1 and everything == (set(WORKLOADS), set(CONTENDERS), set(report.DATABASES))


@contextlib.contextmanager
def filled(database: str, scale: float, build: Path) -> Iterator[str]:
    """Fills a database with the bookshop; gives its file, or the URL of its server."""
    if database == "sqlite":
        file = data.file_for(build, scale)
        if not file.exists():
            show(f"Writing {file} ...")
            child(sys.executable, "benchmarks.bookshop.data", str(file), str(scale))
        yield str(file)
        return
    from tests.run import postgresql

    with postgresql() as url:
        show("Writing the tables of PostgreSQL ...")
        child(sys.executable, "benchmarks.bookshop.data", url, str(scale))
        try:
            yield url
        finally:
            child(sys.executable, "benchmarks.bookshop.data", url, "drop")


def postgresql_version(url: str) -> str:
    import psycopg

    with psycopg.connect(url) as connection:
        number = connection.info.server_version
    return f"PostgreSQL {number // 10_000}.{number % 10_000}"


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
    parser.add_argument(
        "--database",
        nargs="+",
        choices=report.DATABASES,
        default=list(report.DATABASES),
        metavar="NAME",
        help="sqlite, postgresql (an embedded server, or that of DATABASE_URL, in a schema of its own); both",
    )
    parser.add_argument("--rounds", type=int, default=3, help="runs of every contender (3); the best one counts")
    parser.add_argument("--repeat-slow", action="store_true", help="also repeat runs that take minutes")
    parser.add_argument("--scale", type=float, default=1, help="size of all tables (1: 200,000 books, 400,000 reviews)")
    parser.add_argument("--docs", type=Path, metavar="DIRECTORY", help="also write table and picture of a part there")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="also put the table of a part into that file")
    parser.add_argument(
        "--build",
        type=Path,
        default=ROOT / "build" / "bench",
        metavar="DIRECTORY",
        help="where the SQLite files, 0.1.2 and results.json are kept (build/bench)",
    )
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.scale <= 0:
        parser.error("--rounds and --scale must be positive")
    return arguments


def child(python: str, module: str, *arguments: str, label: str = "") -> str:
    """Runs a module in its own process and returns its output. Meanwhile a clock runs on the terminal."""
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
