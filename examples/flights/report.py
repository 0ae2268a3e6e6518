"""What the demo prints at the end."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from flights import contenders

MIB = 1024 * 1024


def result(airlines: list[dict[str, Any]]) -> Iterator[str]:
    yield f"{'':27}{'flights':>8}{'planes':>8}{'mean age':>10}{'mean miles':>12}  rivals"
    for airline in airlines:
        age = "unknown" if airline["mean age"] is None else f"{airline['mean age']:.1f}"
        yield (
            f"{airline['carrier']} {airline['name'][:23]:<24}{airline['flights']:>8,}{airline['planes']:>8,}{age:>10}"
            f"{airline['mean distance']:>12,.0f}  {len(airline['rivals'])}"
        )
    yield "rivals: how many other airlines dest.served_by names at its destinations"


def comparison(measured: list[dict[str, Any]]) -> Iterator[str]:
    """The table of measurements. The argument: outputs of `flights.measure`, Django's first."""
    seconds = [each["reading"] + each["working"] for each in measured]
    reading = [each["reading"] for each in measured]
    yield f"{'':34}{'Django':>10}{'process_chunk':>16}{'memoized':>12}"
    yield _line("seconds, end to end", seconds, digits=2)
    yield _times_as_fast(seconds)
    yield _line("seconds less the job's own loop", reading, digits=2)
    yield _times_as_fast(reading)
    yield _line("seconds in the job's own loop", [each["working"] for each in measured], digits=2)
    yield _line("flights per second", [each["flights"] / total for each, total in zip(measured, seconds)])
    yield _line("queries", [each["queries"] for each in measured])
    yield _line("related rows read", [each["related rows"] for each in measured])
    yield _line("related instances built of them", [each["related instances"] for each in measured])
    yield _line("peak memory of the process, MiB", [each["peak memory"] / MIB for each in measured], digits=1)
    yield ""
    yield "Timed alike for all: getting the next 1,000 flights, then the job's own loop over them."


def _times_as_fast(seconds: list[float]) -> str:
    return _row("  times as fast as Django", "", *(f"{seconds[0] / each:.1f}" for each in seconds[1:]))


def _line(what: str, numbers: list[float], digits: int = 0) -> str:
    return _row(what, *(f"{number:,.{digits}f}" for number in numbers))


def _row(what: str, django: str, process_chunk: str, memoized: str) -> str:
    return f"{what:<34}{django:>10}{process_chunk:>16}{memoized:>12}"


def difference() -> list[str]:
    """The source code of the contenders."""
    source = inspect.getsource(contenders)
    return source[source.index("RELATIONS = ") :].replace("\n\n\n", "\n\n").splitlines()
