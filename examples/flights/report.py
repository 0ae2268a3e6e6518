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
    yield "rivals: how many other airlines dest.airlines knows at its destinations"


def comparison(django: dict[str, Any], memoized: dict[str, Any]) -> Iterator[str]:
    """The table of measurements. Both arguments are outputs of `flights.measure`."""
    seconds = [each["reading"] + each["working"] for each in (django, memoized)]
    yield f"{'':34}{'Django':>10}{'memoized':>12}"
    yield _line("seconds", *seconds, digits=2)
    yield _line("  to get flights, all related", django["reading"], memoized["reading"], digits=2)
    yield _line("  in the job's own loop", django["working"], memoized["working"], digits=2)
    yield _line("flights per second", django["flights"] / seconds[0], memoized["flights"] / seconds[1])
    yield _line("queries", django["queries"], memoized["queries"])
    yield _line("related rows read", django["related rows"], memoized["related rows"])
    yield _line("related instances built of them", django["related instances"], memoized["related instances"])
    yield _line("peak memory of the process, MiB", django["peak memory"] / MIB, memoized["peak memory"] / MIB, digits=1)


def _line(what: str, django: float, memoized: float, digits: int = 0) -> str:
    return f"{what:<34}{django:>10,.{digits}f}{memoized:>12,.{digits}f}{_ratio(django, memoized):>16}"


def _ratio(django: float, memoized: float) -> str:
    factor = max(django, memoized) / min(django, memoized)
    if factor < 1.05:
        return "the same"
    return f"{factor:,.1f} x {'less' if memoized < django else 'more'}"


def difference() -> Iterator[str]:
    """The source code of the two contenders."""
    yield f"RELATIONS = {contenders.RELATIONS}"
    yield ""
    for contender in (contenders.django, contenders.memoized):
        yield from inspect.getsource(contender).rstrip().splitlines()
        yield ""
