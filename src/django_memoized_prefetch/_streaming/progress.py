"""How far a stream has come: told to a callable, or drawn as a bar."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Callable, Protocol

if TYPE_CHECKING:
    from .._reports.stats import Stats


@dataclass(frozen=True)
class Progress:
    """
    How far a stream has come, told each time that a chunk is done: when the loop comes back for the next one.

    rows: Rows of this run so far.
    seconds: Since the first chunk was asked for.
    last_pk: The key of the latest row that is done, for `after=`; None when its objects have none.
    fraction: Of the whole, between 0 and 1, rows before `after` included; None where it is not known.
    eta: Seconds that are left at the pace of this run; None where it is not known.
    stats: What `stats()` says now.
    """

    rows: int
    seconds: float
    last_pk: Any
    fraction: float | None
    eta: float | None
    stats: Stats


class Consumer(Protocol):
    def __call__(self, progress: Progress, /) -> Any: ...


class Meter:
    """
    Tells a consumer of every chunk.

    Args:
        consumer: What the user gave, or a Bar.
        stats: From nothing to the stats of now.
        total: How many rows there will be, if that is known.
    """

    def __init__(self, consumer: Consumer, stats: Callable[[], Stats], total: int | None) -> None:
        self._consumer, self._stats, self.total = consumer, stats, total
        self._rows = 0
        self._skipped = 0.0  # the part of the whole that is not of this run
        self._first: int | None = None
        self._last: int | None = None
        self._start = perf_counter()

    def expect_keys(self, first: Any, last: Any, after: Any) -> None:
        """The first and the last key of the whole, in its order, and that of the row behind which this run starts."""
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
        # Rows that came since, or the key of `after`, may lie beyond either end.
        return min(max((key - self._first) / (self._last - self._first), 0.0), 1.0)


class Bar:
    """
    Draws a bar with tqdm: rows, rate, time left and hit rate.

    Raises:
        ImportError: tqdm is not installed.
    """

    def __init__(self) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            msg = (
                'chunks: progress=True needs tqdm: pip install "django-memoized-prefetch[progress]", '
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
            # Also where `fraction` is of keys: the rows that the time left is worth.
            bar.total = progress.rows + round(progress.rows * progress.eta / progress.seconds)
        relations = progress.stats.relations.values()
        hits, misses = (sum(getattr(one, name) for one in relations) for name in ("hits", "misses"))
        if hits + misses:
            bar.set_postfix_str(f"{hits / (hits + misses):.0%} hits", refresh=False)
        bar.update(progress.rows - bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
