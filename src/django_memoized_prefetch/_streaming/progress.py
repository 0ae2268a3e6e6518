"""Reports the progress of a stream to a callable, or draws it as a bar."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Callable, Protocol

from .._messages import shown
from .._reports.stats import Stats

# One line for each run that has ended. Only on request, since a project may log INFO of all packages.
runs = logging.getLogger("django_memoized_prefetch.runs")
runs.setLevel(runs.level or logging.WARNING)
# How many tables a bar shows.
SHOWN_TABLES = 3


@dataclass(frozen=True)
class Progress:
    """
    How far a stream has come. It is reported when a chunk is done, that is when the loop asks for the next one.

    Attributes:
        rows: Rows done in this run.
        seconds: Seconds since the first chunk was asked for.
        last_pk: The primary key of the last row done, for `after=`; None if the objects have none.
        fraction: The part done of the whole, between 0 and 1, rows before `after` included; None if unknown.
        eta: Seconds left at the pace of this run; None if unknown.
        stats: The current `stats()`. `stats.time` says where the time went.

    .. versionadded:: 1.0
    """

    rows: int
    seconds: float
    last_pk: Any
    fraction: float | None
    eta: float | None
    stats: Stats

    @property
    def hit_rates(self) -> dict[str, float]:
        """The share of keys found in memory, between 0 and 1, by name of the table."""
        return {name: table.hit_rate for name, table in self.stats.tables.items() if table.hits + table.misses}


class Consumer(Protocol):
    def __call__(self, progress: Progress, /) -> Any: ...


class Meter:
    """
    Measures a stream and reports every chunk to a consumer.

    Args:
        consumer: The user's callable, or a Bar.
        stats: Returns the current stats.
        total: How many rows there will be, if known.
    """

    def __init__(self, consumer: Consumer, stats: Callable[[], Stats], total: int | None) -> None:
        self._consumer, self._stats, self.total = consumer, stats, total
        self._rows = 0
        self._skipped = 0.0  # the part of the whole that came before this run
        self._first: int | None = None
        self._last: int | None = None
        self._start = perf_counter()

    def expect_keys(self, first: Any, last: Any, after: Any) -> None:
        """Sets the first and the last key of the whole, in its order, and the key after which this run starts."""
        if isinstance(first, int) and isinstance(last, int):
            self._first, self._last = first, last
            self._skipped = 0.0 if after is None else self._fraction(after) or 0.0

    def chunk_done(self, rows: int, last_pk: Any) -> None:
        self._rows += rows
        seconds = perf_counter() - self._start
        fraction, eta = self._fraction(last_pk), None
        if fraction is not None and fraction > self._skipped:
            eta = seconds * (1 - fraction) / (fraction - self._skipped)
        self._consumer(Progress(self._rows, seconds, last_pk, fraction, eta, self._stats()))

    def close(self) -> None:
        if isinstance(self._consumer, Bar):
            self._consumer.close()

    def _fraction(self, key: Any) -> float | None:
        if self.total is not None:
            return min(self._rows / self.total, 1.0) if self.total else 1.0
        if self._first is None or self._last is None or not isinstance(key, int):
            return None
        if self._first == self._last:
            return 1.0
        # Rows inserted since, or `after`, may lie beyond either end, and too far for a float.
        key = min(max(key, min(self._first, self._last)), max(self._first, self._last))
        fraction: float = (key - self._first) / (self._last - self._first)
        return fraction


class Bar:
    """
    Draws a bar with tqdm: rows, rate, time left and hit rate.

    Raises:
        ImportError: tqdm is not installed.
    """

    def __init__(self, where: str) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            msg = (
                f'{where}: progress=True needs tqdm: pip install "django-memoized-prefetch[progress]", '
                "or give progress a callable."
            )
            raise ImportError(msg) from error
        self._tqdm: Any = tqdm
        self._bar: Any = None

    def open(self, total: int | None) -> None:
        self._bar = self._tqdm(total=total, unit=" rows")

    def __call__(self, progress: Progress, /) -> None:
        bar = self._bar
        if progress.eta is not None and progress.seconds:
            # As many rows as fit in the time left; that works for an estimate from keys too.
            bar.total = progress.rows + round(progress.rows * progress.eta / progress.seconds)
        if postfix := postfix_of(progress):
            bar.set_postfix_str(postfix, refresh=False)
        bar.update(progress.rows - bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def postfix_of(progress: Progress) -> str:
    """What a bar shows besides: the hit rates of the tables used most, and what takes the most time."""
    tables = progress.stats.tables
    used = sorted(progress.hit_rates, key=lambda name: -(tables[name].hits + tables[name].misses))
    parts = [f"{name} {progress.hit_rates[name]:.0%} hits" for name in used[:SHOWN_TABLES]]
    times = progress.stats.time
    if times.total:
        longest, seconds = max(times.as_dict().items(), key=lambda item: item[1])
        parts.append(f"{longest} {seconds / times.total:.0%} of the time")
    return ", ".join(parts)


def log_run(name: str, rows: int, stats: Callable[[], Stats]) -> None:
    """Logs one line about a run that has ended, if its logger was set to INFO."""
    if not runs.isEnabledFor(logging.INFO):
        return
    now = stats()
    hits = ", ".join(f"{table} {one.hit_rate:.0%} hits" for table, one in now.tables.items() if one.hits + one.misses)
    runs.info("%s: %d rows, %d queries for related rows; %s; %s", name, rows, now.queries, hits or "no keys", now.time)


def consumer_of(progress: Any, where: str) -> Consumer | None:
    """The consumer that a `progress` argument stands for. Raises TypeError if it is none."""
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        msg = f"{where}: progress must be True, a callable or None, got {shown(progress)}."
        raise TypeError(msg)
    return Bar(where) if progress is True else progress if callable(progress) else None


@contextmanager
def reporting(progress: Any, where: str) -> Iterator[Callable[[int], None]]:
    """Yields a function that reports a number of further rows to what a `progress` argument stands for."""
    consumer = consumer_of(progress, where)
    if consumer is None:
        yield lambda rows: None
        return
    meter = Meter(consumer, lambda: Stats({}, {}), None)
    if isinstance(consumer, Bar):
        consumer.open(None)
    try:
        yield lambda rows: meter.chunk_done(rows, None)
    finally:
        meter.close()
