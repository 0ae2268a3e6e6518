"""The figures as tables, for the terminal and as Markdown."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from .measured import Measured
from .musts import Verdict
from .workloads import CONTENDERS, WORKLOADS

Results = dict[str, dict[str, Measured]]


def conditions(scale: float, rounds: int) -> str:
    versions = ", ".join(
        f"{name} {metadata.version(name)}"
        for name in ("Django", "django-chunkator", "django-memoized-prefetch")
        if name.lower() in installed()
    )
    return (
        f"Python {platform.python_version()}, {versions}, SQLite {sqlite3.sqlite_version}, {platform.system()},"
        f" {processor()}, {os.cpu_count()} cores; scale {scale:g}, best of {rounds} rounds, each run in its own process"
    )


def installed() -> set[str]:
    return {(distribution.metadata["Name"] or "").lower() for distribution in metadata.distributions()}


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def table(workload: str, measured: dict[str, Measured]) -> list[list[str]]:
    unit = WORKLOADS[workload].unit
    streaming = unit == "s"
    head = ["contender", "seconds"] if streaming else ["contender", "microseconds", "median", "min"]
    rows = [[*head, "spread", "queries", "peak MiB", "x Django", "x original"]]
    for contender, result in measured.items():
        for figure in result.figures:
            main = figure == result.figures[0]
            row = [CONTENDERS[contender] if main else ""]
            row += [] if streaming else [figure]
            row += [number(result.best(figure))]
            row += [] if streaming else [number(result.fastest(figure))]
            spread = result.spread(figure)
            row += [f"+{spread:.0%}" if spread is not None else "1 round"]
            row += [f"{result.queries:,}", f"{result.peak_bytes / 2**20:.0f}"] if main else ["", ""]
            for other in ("django", "original"):
                row += [f"{measured[other].best() / result.best():.2f}" if main and other in measured else ""]
            rows.append(row)
    return rows


def number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def text(results: Results) -> Iterator[str]:
    for workload, measured in results.items():
        yield f"{workload}: {WORKLOADS[workload].title}"
        rows = table(workload, measured)
        widths = [max(map(len, column)) for column in zip(*rows)]
        names = 1 if WORKLOADS[workload].unit == "s" else 2
        for row in rows:
            cells = [f"{cell:{'<' if i < names else '>'}{widths[i]}}" for i, cell in enumerate(row)]
            yield "  " + "  ".join(cells).rstrip()
        yield ""


def markdown(results: Results, judged: list[Verdict], conditions: str) -> str:
    lines = ["# Benchmarks", "", f"{conditions}.", "", "`make bench` measures them again."]
    for workload, measured in results.items():
        lines += ["", f"## {WORKLOADS[workload].title}", ""]
        head, *rows = table(workload, measured)
        names = 1 if WORKLOADS[workload].unit == "s" else 2
        lines += [
            f"| {' | '.join(head)} |",
            f"|{'|'.join(['---'] * names + ['---:'] * (len(head) - names))}|",
            *(f"| {' | '.join(row)} |" for row in rows),
        ]
    if judged:
        lines += ["", "## Musts", "", *(f"- {verdict}" for verdict in judged)]
    return "\n".join(lines) + "\n"
