"""
Makes tables and a picture of saved figures: `python -m benchmarks.report RESULTS [--docs DIRECTORY]`.

`--versions OTHER_RESULTS ...` compares them with those of other versions of Python.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from .measured import Measured
from .musts import Verdict, verdicts
from .picture import bar_panels
from .workloads import CONTENDERS, OURS, WORKLOADS

ROOT = Path(__file__).parents[1]
PACKAGES = ("django-chunkator", "django-auto-prefetch", "SQLAlchemy", "psycopg", "django-memoized-prefetch")
DATABASES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
# The workloads that the picture and the README show.
SHOWN = ("fk", "m2m", "nested", "wide")
# The workloads that are compared between versions of Python, and the contenders: the fastest of them against Django.
OF_VERSIONS = (*SHOWN, "rows", "rows-wide")
FASTEST = ("memoized-all", "memoized")
# The contenders that the README shows.
IN_README = ("raw", "django", "original", "this", "memoized")
TARGETS = (
    "These are targets that the project has set itself. FAIL means: not reached yet. `original` is version 0.1.2;",
    "`fk`, `m2m` and the others are the workloads above.",
)
ABOUT_VERSIONS = (
    "How many times as fast as Django `memoized` is, with its seconds in brackets. In the nested workload it keeps all",
    "books. All versions were measured on one machine, one after the other. They were built with different options, so",
    "compare the factors and not the seconds.",
)
BEGIN, END = "<!-- from docs/benchmarks.md -->\n", "<!-- end -->\n"
BEGIN_VERSIONS, END_VERSIONS = "<!-- versions of Python -->\n", "<!-- end of versions -->\n"


@dataclass
class Report:
    """
    What was measured, and under which conditions.

    versions: Those of Python and Django.
    runs: The measurements by database, workload and contender.
    """

    versions: str
    conditions: str
    scale: float
    older: bool
    runs: dict[str, dict[str, dict[str, Measured]]] = field(default_factory=dict)

    def verdicts(self) -> Iterator[tuple[str, Verdict]]:
        if self.scale == 1:
            for database, results in self.runs.items():
                for verdict in verdicts(results, older=self.older, database=database):
                    yield database, verdict

    def save(self, file: Path) -> None:
        runs = {
            database: {
                workload: {contender: one.runs for contender, one in measured.items()}
                for workload, measured in results.items()
            }
            for database, results in self.runs.items()
        }
        file.write_text(json.dumps({**self.__dict__, "runs": runs}))

    @classmethod
    def load(cls, file: Path) -> Report:
        report = cls(**json.loads(file.read_text()))
        report.runs = {
            database: {
                workload: {contender: Measured(runs) for contender, runs in measured.items()}
                for workload, measured in results.items()
            }
            for database, results in report.runs.items()
        }
        return report


def versions() -> str:
    return f"Python {platform.python_version()}, Django {metadata.version('Django')}"


def conditions(scale: float, rounds: int, databases: list[str]) -> str:
    installed = {(distribution.metadata["Name"] or "").lower() for distribution in metadata.distributions()}
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES if name.lower() in installed)
    return (
        f"{versions()}, {packages}, {', '.join(databases)}, {platform.system()},"
        f" {processor()}, {os.cpu_count()} cores; scale {scale:g}, best of {rounds} rounds, each run in its own process"
    )


def sqlite() -> str:
    return f"SQLite {sqlite3.sqlite_version}"


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def table(workload: str, measured: dict[str, Measured]) -> list[list[str]]:
    """A row for each contender and figure, below a head."""
    unit = {"s": "seconds", "us": "microseconds", "bytes": "bytes"}[WORKLOADS[workload].unit]
    rows = [["contender", "", unit, "spread", "queries", "peak MiB", "x Django", "x 0.1.2"]]
    for contender, result in measured.items():
        for figure in result.figures:
            main = figure == result.figures[0]
            row = [WORKLOADS[workload].label(contender) if main else "", "" if figure == "seconds" else figure]
            spread = result.spread(figure)
            row += [number(result.best(figure)), f"+{spread:.0%}" if spread is not None else "1 round"]
            row += [f"{result.queries:,}", f"{result.peak_bytes / 2**20:.0f}"] if main else ["", ""]
            for other in ("django", "original"):
                is_there = other in measured and figure in measured[other].figures
                row += [f"{measured[other].best(figure) / result.best(figure):.2f}" if is_there else ""]
            rows.append(row)
    if not any(row[1] for row in rows):
        rows = [[row[0], *row[2:]] for row in rows]
    return rows


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def text(report: Report) -> Iterator[str]:
    for database, results in report.runs.items():
        for workload, measured in results.items():
            yield f"{workload}, {DATABASES[database]}: {WORKLOADS[workload].title}"
            rows = table(workload, measured)
            widths = [max(map(len, column)) for column in zip(*rows)]
            names = len(rows[0]) - 6
            for row in rows:
                cells = [f"{cell:{'<' if i < names else '>'}{widths[i]}}" for i, cell in enumerate(row)]
                yield "  " + "  ".join(cells).rstrip()
            yield ""
    for database, verdict in report.verdicts():
        yield f"{verdict}, {DATABASES[database]}"
    if report.scale != 1:
        yield f"Scale {report.scale:g}: targets are judged at scale 1 only."


def markdown(rows: list[list[str]], names: int) -> list[str]:
    head, *body = rows
    return [
        f"| {' | '.join(head)} |",
        f"|{'|'.join(['---'] * names + ['---:'] * (len(head) - names))}|",
        *(f"| {' | '.join(row)} |" for row in body),
    ]


def summary(report: Report, database: str, contenders: Iterable[str] = CONTENDERS) -> list[str]:
    """Seconds by contender and workload, and queries and memory of the first workload."""
    results = {workload: report.runs[database][workload] for workload in SHOWN if workload in report.runs[database]}
    heads = [WORKLOADS[workload].name for workload in results]
    first = next(iter(results))
    rows = [[f"seconds, {DATABASES[database]}", *heads, f"queries, {heads[0]}", f"peak MiB, {heads[0]}"]]
    for contender in contenders:
        if not any(contender in measured for measured in results.values()):
            continue
        row = [CONTENDERS[contender]]
        for measured in results.values():
            seconds = number(measured[contender].best()) if contender in measured else "-"
            row.append(f"**{seconds}**" if contender == "memoized" else seconds)
        one = results[first].get(contender)
        row += [f"{one.queries:,}", f"{one.peak_bytes / 2**20:.0f}"] if one else ["-", "-"]
        rows.append(row)
    return markdown(rows, 1)


def of_versions(reports: Iterable[Report]) -> list[str]:
    """How many times as fast as Django the fastest way is, and its seconds, in a line per version and database."""
    rows = [["versions", "database", *(WORKLOADS[workload].name for workload in OF_VERSIONS)]]
    for report in reports:
        for database, results in report.runs.items():
            row = [report.versions, DATABASES[database]]
            for workload in OF_VERSIONS:
                measured = results.get(workload, {})
                ours = next((measured[name] for name in FASTEST if name in measured), None)
                if ours is None or "django" not in measured:
                    row.append("-")
                else:
                    row.append(f"{measured['django'].best() / ours.best():.1f} ({number(ours.best())})")
            rows.append(row)
    return markdown(rows, 2)


def document(report: Report, compared: str = "") -> str:
    """
    Args:
        report: What was measured.
        compared: The table of versions, as it is in the page now; it is kept.
    """
    lines = ["# Benchmarks", "", f"{report.conditions}.", ""]
    lines += [
        "`make bench` measures them again. A figure is that of the best round, the spread how much slower the worst"
    ]
    lines += ["was. The checksum of what was read is the same for all contenders.", ""]
    for database in report.runs:
        if set(SHOWN) & set(report.runs[database]):
            lines += [*summary(report, database), ""]
    lines += ["![The seconds of every contender as bars, for each workload and database](benchmarks.svg)", ""]
    lines += ["## Versions of Python", "", *ABOUT_VERSIONS, "", f"{BEGIN_VERSIONS}{compared}{END_VERSIONS}"]
    for database, results in report.runs.items():
        lines += [f"## {DATABASES[database]}", ""]
        for workload, measured in results.items():
            rows = table(workload, measured)
            lines += [f"### {WORKLOADS[workload].title}", "", *markdown(rows, len(rows[0]) - 6), ""]
    judged = list(report.verdicts())
    if judged:
        lines += ["## Targets", "", *TARGETS, ""]
        lines += [f"- {verdict}, {DATABASES[database]}" for database, verdict in judged]
    return "\n".join(lines).rstrip() + "\n"


def picture(report: Report) -> str:
    panels = []
    for workload in SHOWN:
        for database, results in report.runs.items():
            measured = results.get(workload, {})
            bars = [
                (WORKLOADS[workload].label(contender).replace("`", ""), one.best(), contender in OURS)
                for contender, one in measured.items()
            ]
            if bars:
                panels.append((f"{WORKLOADS[workload].name}, {DATABASES[database]}: seconds", bars))
    return bar_panels(panels)


def write(report: Report, docs: Path) -> None:
    docs.mkdir(parents=True, exist_ok=True)
    page = docs / "benchmarks.md"
    has_versions = page.exists() and BEGIN_VERSIONS in page.read_text()
    compared = between(page, BEGIN_VERSIONS, END_VERSIONS)[1] if has_versions else ""
    page.write_text(document(report, compared))
    (docs / "benchmarks.svg").write_text(picture(report))


def quote(report: Report, readme: Path) -> None:
    """Puts a part of the table of the first database between its two comments in the README."""
    replace(readme, BEGIN, END, summary(report, next(iter(report.runs)), IN_README))


def between(file: Path, begin: str, end: str) -> tuple[str, str, str]:
    """The text before two comments, between them, and after them."""
    before, begin_is_there, rest = file.read_text().partition(begin)
    inside, end_is_there, after = rest.partition(end)
    if not (begin_is_there and end_is_there):
        sys.exit(f"{file} has no place for the table: {begin.strip()} and {end.strip()} are missing")
    return before, inside, after


def replace(file: Path, begin: str, end: str, lines: Iterable[str]) -> None:
    before, _, after = between(file, begin, end)
    file.write_text("".join([before, begin, *(f"{line}\n" for line in lines), end, after]))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("results", type=Path, help="what a run saved: build/bench/results.json")
    parser.add_argument("--docs", type=Path, metavar="DIRECTORY", help="write benchmarks.md and benchmarks.svg there")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="put the table into this file")
    parser.add_argument(
        "--versions", nargs="+", type=Path, metavar="RESULTS", help="compare with other versions of Python"
    )
    arguments = parser.parse_args()
    report = Report.load(arguments.results)
    print(f"{report.conditions}\n")
    for line in text(report):
        print(line)
    if arguments.docs:
        write(report, arguments.docs)
    if arguments.readme:
        quote(report, arguments.readme)
    if arguments.versions:
        lines = of_versions([report, *map(Report.load, arguments.versions)])
        print("\n".join(lines))
        if arguments.docs:
            replace(arguments.docs / "benchmarks.md", BEGIN_VERSIONS, END_VERSIONS, lines)


if __name__ == "__main__":
    main()
