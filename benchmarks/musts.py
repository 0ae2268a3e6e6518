"""What this package must reach, on every database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from .bookshop.data import ROWS
from .measured import Measured
from .outcome import RECEIVER, UNREAD
from .workloads import ROWS as ROW_CONTENDERS

CHUNKS_OF_REVIEWS = ROWS["review"] // 2_000
# With versions older than Python 3.12 and Django 6.1, this share of an eased limit is enough.
OLDER = 0.8


@dataclass(frozen=True)
class Must:
    workload: str
    text: str
    contenders: tuple[str, ...]
    value: Callable[..., float]  # of the contenders' measurements, in their order
    at_least: float | None = None
    at_most: float | None = None
    eased: bool = False  # whether older versions need only `OLDER` of it
    by_database: Mapping[str, float] = field(default_factory=dict)  # `at_least` where it differs; others are not judged


@dataclass(frozen=True)
class Verdict:
    must: Must
    value: float
    at_least: float | None
    at_most: float | None

    @property
    def passed(self) -> bool:
        if self.at_least is not None:
            return self.value >= self.at_least
        return self.at_most is not None and self.value <= self.at_most

    def __str__(self) -> str:
        limit = f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"
        return (
            f"{'PASS' if self.passed else 'FAIL'}  {self.must.workload}: {self.must.text}: {self.value:.4g} ({limit})"
        )


def speed_ratio(other: Measured, this: Measured) -> float:
    return other.best() / this.best()


def unread_ratio(other: Measured, this: Measured) -> float:
    return other.best(UNREAD) / this.best(UNREAD)


def without_cursor(raw: Measured, django: Measured, this: Measured) -> float:
    return (django.best() - raw.best()) / (this.best() - raw.best())


def without_cursor_of(figure: str) -> Callable[[Measured, Measured, Measured], float]:
    """The same for one figure of several."""

    def ratio(raw: Measured, django: Measured, this: Measured) -> float:
        return (django.best(figure) - raw.best(figure)) / (this.best(figure) - raw.best(figure))

    return ratio


def without_receiver(django: Measured, this: Measured) -> float:
    return (django.best() - django.best(RECEIVER)) / (this.best() - this.best(RECEIVER))


def memory(django: Measured, this: Measured, chunks: Measured) -> float:
    """The ratio of peak memory, without the memo's entries. `chunks` measured these; `memoized` keeps the same rows."""
    return (this.peak_bytes - chunks.memo_bytes) / django.peak_bytes


def heaviest(django: Measured, this: Measured) -> float:
    """In whole bytes: measuring itself takes hundredths of a byte per instance."""
    return max(round(this.best(figure)) / round(django.best(figure)) for figure in django.figures)


def times(other: str, **at_least: float) -> Iterator[Must]:
    """How many times as fast as another contender `memoized` must be, by workload."""
    for workload, ratio in at_least.items():
        yield Must(
            workload, f"memoized, times the speed of {other}", (other, "memoized"), speed_ratio, ratio, eased=True
        )


OLD_AND_THIS = ("original", "this")
DJANGO_AND_THIS = ("django", "memoized")
TIMES_DJANGO = "memoized, times the speed of django"
MUSTS = (
    *times("django", fk=8, m2m=4, nested=8),
    *times("original", fk=4, m2m=1.8, nested=60),
    *times("select_related", fk=3.5, nested=3.5),
    Must("m2m", "memoized, times django less the user's loop", ("django", "memoized"), unread_ratio, 8, eased=True),
    Must("m2m", "memoized, times original less the user's loop", ("original", "memoized"), unread_ratio, 3, eased=True),
    Must(
        "fk",
        "memoized, times the seconds of the raw cursor",
        ("raw", "memoized"),
        lambda raw, this: this.best() / raw.best(),
        at_most=4,
    ),
    Must("rows", "memoized, times the speed of django less the raw cursor", ROW_CONTENDERS, without_cursor, at_least=4),
    *(
        Must(workload, text, contenders, speed_ratio, eased=True, by_database={"sqlite": sqlite, "postgresql": other})
        for workload, text, contenders, sqlite, other in (
            ("wide", TIMES_DJANGO, DJANGO_AND_THIS, 5, 3.7),
            ("rows-wide", TIMES_DJANGO, DJANGO_AND_THIS, 3.2, 2.5),
            ("rows-own", TIMES_DJANGO, DJANGO_AND_THIS, 1.6, 1.3),
            ("nested", f"with all books kept: {TIMES_DJANGO}", ("django", "memoized-all"), 7, 6),
        )
    ),
    *(
        Must(
            "columns",
            f"{column}: memoized, times the speed of django less the raw cursor",
            ROW_CONTENDERS,
            without_cursor_of(column),
            eased=True,
            by_database=limits,
        )
        for column, limits in {
            **{name: {"sqlite": 6} for name in ("uuid", "decimal", "datetime", "date", "boolean")},
            "json": {"sqlite": 3, "postgresql": 2},
        }.items()
    ),
    Must(
        "rows-receiver",
        "memoized, times the speed of django less the receiver",
        ("django", "memoized"),
        without_receiver,
        at_least=2,
        eased=True,
    ),
    Must("bytes", "memoized, bytes of an instance, times Django's", ("django", "memoized"), heaviest, at_most=1),
    *(
        Must(
            workload,
            "memoized, peak memory without the memo's entries, times Django's",
            ("django", "memoized", "chunks"),
            memory,
            at_most=1,
        )
        for workload in ("fk", "m2m", "nested", "wide")
    ),
    Must("fk", "process_chunk, times the original's speed", OLD_AND_THIS, speed_ratio, at_least=1.7),
    Must("nested", "process_chunk, times the original's speed", OLD_AND_THIS, speed_ratio, at_least=30),
    Must(
        "nested",
        "process_chunk, queries per chunk after the chunk's own",
        ("this",),
        lambda this: (this.queries - CHUNKS_OF_REVIEWS - 1) / CHUNKS_OF_REVIEWS,
        at_most=3,
    ),
    Must("chunk-fk", "us per object and foreign key", ("this",), Measured.best, at_most=0.25),
    Must("chunk-fk", "times the original's speed", OLD_AND_THIS, speed_ratio, at_least=8),
    Must(
        "chunk-m2m",
        "us per object without the link query's time in the cursor",
        ("this",),
        lambda this: this.best("without the query"),
        at_most=1.5,
    ),
    Must("chunk-m2m", "times the original's speed, link query included", OLD_AND_THIS, speed_ratio, at_least=3),
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


def verdicts(
    results: Mapping[str, Mapping[str, Measured]], *, older: bool, database: str = "sqlite"
) -> Iterator[Verdict]:
    """
    A verdict on each must whose contenders were all measured.

    Args:
        older: Whether Python or Django is older than the versions that the musts are for.
    """
    for must in MUSTS:
        measured = [results.get(must.workload, {}).get(name) for name in must.contenders]
        if all(measured) and (not must.by_database or database in must.by_database):
            at_least = must.by_database.get(database, must.at_least)
            at_least = at_least and at_least * (OLDER if older and must.eased else 1)
            yield Verdict(must, must.value(*measured), at_least, must.at_most)
