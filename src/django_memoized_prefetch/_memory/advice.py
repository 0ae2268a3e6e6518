"""`Advice`: how large a memo should be, judging by the keys that were requested."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import accumulate
from sys import getsizeof
from typing import Any

from django.db.models import Model, QuerySet

from .._engine import Links, Memo

# How many rows are measured to estimate the size of one.
SAMPLE = 16
# The share of the keys found that may be ignored in an estimate.
NEGLIGIBLE = 0.001


@dataclass(frozen=True)
class Advice:
    """
    What the `lru_cache_size` of one table achieved, and what another would have achieved on the same chunks.

    Keys are counted once per chunk, whether or not they have a row. An entry counts as *evicted* only if it gave way to
    others, not if it was cleared, invalidated or found out of date. Figures are exact for up to about a thousand keys
    per table. Beyond that they are estimates from a sample of the keys, as a rule within 5 % of `fetched`.

    `a + b` treats two tables as if they shared one `lru_cache_size`: it adds the counts and takes the larger size and
    bound.

    kept: How many entries the table keeps; None for all.
    fetched: Keys that were not in memory.
    fetched_again: Those of them that had been in memory and were evicted. The others were fetched for the first time.
    fetched_twice: How many different keys `fetched_again` counts.
    unavoidable: Keys that a memo of any size would have fetched.
    largest: The most entries kept after any chunk.
    entries, bytes: Current entries, and roughly the bytes that they take with their values but without attached rows.
    exact: Whether the figures are exact, not estimates.
    found: ((size, keys), ...): how many more keys a memo of that size would have found than the next smaller size.
    """

    kept: int | None = None
    fetched: int = 0
    fetched_again: int = 0
    fetched_twice: int = 0
    unavoidable: int = 0
    largest: int = 0
    entries: int = 0
    bytes: int = 0
    exact: bool = True
    found: tuple[tuple[int, int], ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, table: Memo | Links) -> Advice:
        """The advice for one table, from its usage so far."""
        fetched, again, twice, largest, exact, own_bytes, found = table.usage()
        kept = table.bound
        avoidable = 0 if kept is None else sum(keys for size, keys in found if size > kept)
        again = min(again, fetched)
        return cls(
            kept=kept,
            fetched=fetched,
            fetched_again=again,
            fetched_twice=min(twice, again),
            unavoidable=max(fetched - avoidable, 0),
            largest=largest,
            entries=len(table),
            bytes=own_bytes + len(table) * _bytes_of_one(table),
            exact=exact,
            found=tuple(found),
        )

    @property
    def bytes_per_entry(self) -> int:
        """Bytes per entry; 0 without entries."""
        return self.bytes // self.entries if self.entries else 0

    def fetched_with(self, size: int | None) -> int:
        """How many keys would have been fetched with this `lru_cache_size`; None for one that keeps all."""
        if size is None:
            return self.unavoidable
        return self.unavoidable + sum(keys for needed, keys in self.found if needed > size)

    @property
    def enough(self) -> int:
        """The smallest `lru_cache_size` that would have fetched no more keys."""
        kept = math.inf if self.kept is None else self.kept
        needed = _needed([one for one in self.found if one[0] <= kept], exact=self.exact)
        return max(1, min(needed, self.largest))

    @property
    def avoids(self) -> int | None:
        """The smallest `lru_cache_size` that would have fetched no key again; None if `kept` is as good."""
        if self.kept is None or not self.fetched_again:
            return None
        beyond = [one for one in self.found if one[0] > self.kept]
        if not beyond:
            return None  # they were fetched again while the size was smaller
        return max(_needed(beyond, exact=self.exact), self.kept + 1)

    @property
    def half(self) -> int:
        """How many keys would have been fetched with half the `lru_cache_size`; if it is None, half of `largest`."""
        return self.fetched_with(max(1, (self.largest if self.kept is None else self.kept) // 2))

    @property
    def double(self) -> int:
        """How many keys would have been fetched with twice the `lru_cache_size`."""
        return self.fetched_with(None if self.kept is None else 2 * self.kept)

    def as_dict(self) -> dict[str, Any]:
        """The figures as plain values, for JSON for example."""
        return {
            "kept": self.kept,
            "fetched": self.fetched,
            "fetched_again": self.fetched_again,
            "fetched_twice": self.fetched_twice,
            "enough": self.enough,
            "avoids": self.avoids,
            "half": self.half,
            "double": self.double,
            "entries": self.entries,
            "bytes": self.bytes,
            "bytes_per_entry": self.bytes_per_entry,
            "exact": self.exact,
        }

    def __add__(self, other: Advice) -> Advice:
        if not isinstance(other, Advice):
            return NotImplemented
        found = dict(self.found)
        for size, keys in other.found:
            found[size] = found.get(size, 0) + keys
        return Advice(
            kept=None if self.kept is None or other.kept is None else max(self.kept, other.kept),
            fetched=self.fetched + other.fetched,
            fetched_again=self.fetched_again + other.fetched_again,
            fetched_twice=self.fetched_twice + other.fetched_twice,
            unavoidable=self.unavoidable + other.unavoidable,
            largest=max(self.largest, other.largest),
            entries=self.entries + other.entries,
            bytes=self.bytes + other.bytes,
            exact=self.exact and other.exact,
            found=tuple(sorted(found.items())),
        )

    def __str__(self) -> str:
        kept = "all" if self.kept is None else f"{self.kept:,}"
        if self.avoids is None:
            return f"{kept} kept, {self._text(self.enough)} would have done"
        rows = "row was" if self.fetched_twice == 1 else "rows were"
        twice = f"{self.fetched_twice:,} {rows} read twice or more"
        return f"{kept} kept; {twice}; {self._text(self.avoids)} would avoid it"

    def _text(self, size: int) -> str:
        """The size as text; an estimate is rounded up to three digits."""
        if self.exact or size == self.largest:
            return f"{size:,}"
        unit = 10 ** max(0, len(str(size)) - 3)
        return f"about {-(-size // unit) * unit:,}"


def _needed(found: list[tuple[int, int]], *, exact: bool) -> int:
    """The size that finds all these keys. For estimates nearly all, since the largest sizes may be chance."""
    if not found:
        return 0
    if exact:
        return found[-1][0]
    sums = list(accumulate(keys for _, keys in found))
    return next(size for (size, _), upto in zip(found, sums) if upto >= sums[-1] * (1 - NEGLIGIBLE))


def _bytes_of_one(table: Memo | Links) -> int:
    """The average bytes of an entry's objects, measured on those used last."""
    if isinstance(table, Memo):
        sizes = [_bytes_of_row(row) for _, row in table.rows(SAMPLE)]
    else:
        sizes = [getsizeof(source) for source, _ in table.items(SAMPLE)]  # the targets' keys belong to the rows
    return sum(sizes) // len(sizes) if sizes else 0


def _bytes_of_row(row: Any) -> int:
    """Bytes of an instance and its values. Attached rows have entries of their own, and small integers are shared."""
    state = row.__dict__.get("_state")
    total = getsizeof(row) + getsizeof(row.__dict__)
    if state is not None:
        total += getsizeof(state) + getsizeof(state.__dict__) + getsizeof(state.__dict__.get("fields_cache"))
    for value in row.__dict__.values():
        shared = value is None or value is state or isinstance(value, (bool, Model, QuerySet))
        if not shared and not (type(value) is int and -5 <= value <= 256):
            total += getsizeof(value)
    return total
