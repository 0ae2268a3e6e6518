"""What this package must reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .bookshop.data import ROWS
from .measured import Measured

CHUNKS_OF_REVIEWS = ROWS["review"] // 2_000


@dataclass(frozen=True)
class Must:
    workload: str
    text: str
    contenders: tuple[str, ...]
    value: Callable[..., float]  # of the contenders' measurements, in their order
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True)
class Verdict:
    must: Must
    value: float

    @property
    def passed(self) -> bool:
        if self.must.at_least is not None:
            return self.value >= self.must.at_least
        return self.must.at_most is not None and self.value <= self.must.at_most

    def __str__(self) -> str:
        must = self.must
        limit = f"at least {must.at_least:g}" if must.at_least is not None else f"at most {must.at_most:g}"
        return f"{'PASS' if self.passed else 'FAIL'}  {must.workload}: {must.text}: {self.value:.4g} ({limit})"


def speed_ratio(other: Measured, this: Measured) -> float:
    return other.best() / this.best()


BOTH = ("original", "this")
MUSTS = (
    Must("fk", "times the original's speed", BOTH, speed_ratio, at_least=1.7),
    Must("nested", "times the original's speed", BOTH, speed_ratio, at_least=30),
    Must(
        "nested", "times the original's speed, memoized(queryset)", ("original", "memoized"), speed_ratio, at_least=30
    ),
    Must(
        "nested",
        "queries per chunk after the chunk's own",
        ("this",),
        lambda this: (this.queries - CHUNKS_OF_REVIEWS - 1) / CHUNKS_OF_REVIEWS,
        at_most=3,
    ),
    Must("chunk-fk", "us per object and foreign key", ("this",), Measured.best, at_most=0.25),
    Must("chunk-fk", "times the original's speed", BOTH, speed_ratio, at_least=8),
    Must(
        "chunk-m2m",
        "us per object without the link query's time in the cursor",
        ("this",),
        lambda this: this.best("without the query"),
        at_most=1.5,
    ),
    Must("chunk-m2m", "times the original's speed, link query included", BOTH, speed_ratio, at_least=3),
    Must("chunk-kinds", "times Django's speed, targets warm", ("django", "this"), speed_ratio, at_least=5),
    Must(
        "chunk-kinds",
        "times Django's speed, cold",
        ("django", "this"),
        lambda django, this: django.best() / this.best("per object, cold"),
        at_least=2,
    ),
    Must("one-list", "times Django's speed", ("django", "this"), speed_ratio, at_least=1),
    Must(
        "one-list",
        "us of construction per relation",
        ("this",),
        lambda this: this.best("construction per relation"),
        at_most=50,
    ),
)


def verdicts(results: dict[str, dict[str, Measured]]) -> Iterator[Verdict]:
    """One for each must whose contenders were all measured."""
    for must in MUSTS:
        measured = [results.get(must.workload, {}).get(name) for name in must.contenders]
        if all(measured):
            yield Verdict(must, must.value(*measured))
