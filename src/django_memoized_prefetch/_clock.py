"""`Clock`: where the time of a run goes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from time import perf_counter
from typing import Any


@dataclass(frozen=True)
class Times:
    """
    Where the time of a run went, in seconds.

    Attributes:
        reading: Waiting for the rows of the run; also building them, where Django does that.
        building: Making instances of these rows.
        fetching: Waiting for related rows and building these.
        attaching: The rest of the work on related rows.
        loop: The user's own loop, between two chunks of `chunks()` or rows of `memoized()`.

    .. versionadded:: 1.0
    """

    reading: float = 0.0
    building: float = 0.0
    fetching: float = 0.0
    attaching: float = 0.0
    loop: float = 0.0

    @property
    def total(self) -> float:
        """The sum of all five."""
        return sum(self.as_dict().values())

    def as_dict(self) -> dict[str, float]:
        """The seconds by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __add__(self, other: Times) -> Times:
        if not isinstance(other, Times):
            return NotImplemented
        return Times(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def __sub__(self, other: Times) -> Times:
        if not isinstance(other, Times):
            return NotImplemented
        return Times(*(getattr(self, field.name) - getattr(other, field.name) for field in fields(self)))

    def __str__(self) -> str:
        total = self.total
        if not total:
            return "time: none"
        # process_chunk() knows nothing of reading and of the loop: what is not measured is not shown as zero.
        shares = ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in self.as_dict().items() if seconds)
        return f"time: {total:.1f} s, {shares}"


_thread = threading.local()


class Clock:
    """
    Adds up the time of one run. That takes 8 us for each chunk, a thousandth of a chunk of 2,000 rows.

    Threads that share it may lose each other's last addition.
    """

    __slots__ = ("attaching", "building", "fetching", "loop", "reading")

    def __init__(self) -> None:
        self.reading = self.building = self.fetching = self.attaching = self.loop = 0.0

    def times(self) -> Times:
        return Times(self.reading, self.building, self.fetching, self.attaching, self.loop)

    @contextmanager
    def while_reading(self) -> Iterator[None]:
        """The block reads rows of the run. `of_reader()` finds the clock meanwhile."""
        before, built, start = getattr(_thread, "clock", None), self.building, perf_counter()
        _thread.clock = self
        try:
            yield
        finally:
            _thread.clock = before
            self.reading += perf_counter() - start - (self.building - built)

    @contextmanager
    def while_attaching(self) -> Iterator[None]:
        """The block attaches related rows. It adds to `fetching` itself."""
        fetched, start = self.fetching, perf_counter()
        before, _thread.clock = getattr(_thread, "clock", None), None
        try:
            yield
        finally:
            _thread.clock = before
            self.attaching += perf_counter() - start - (self.fetching - fetched)


def of_reader() -> Any:
    """The clock of the run whose rows this thread reads; one that nobody looks at if there is none."""
    return getattr(_thread, "clock", None) or Clock()
