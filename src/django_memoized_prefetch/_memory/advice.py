"""`Advice`: how large a memo should be, judging by the keys that were requested."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from .._engine import Links, Memo, added_uses
from .curve import Curve, needed, unpacked
from .weights import bytes_of_one


@dataclass(frozen=True)
class Advice(Curve):
    """
    What the `lru_cache_size` of one table achieved, and what another would have achieved on the same chunks.

    Keys are counted once per chunk, whether or not they have a row. An entry counts as *evicted* only if it gave way to
    others, not if it was cleared, invalidated or found out of date. Figures are exact for up to about a thousand keys
    per table. Beyond that they are estimates from a sample of the keys, as a rule within 5 % of `fetched`.

    `a + b` treats two tables as if they shared one `lru_cache_size`: it adds the counts and takes the larger size and
    bound.

    Attributes:
        kept: How many entries the table keeps; None for all.
        fetched: Keys that were not in memory.
        fetched_again: Those of them that had been in memory and were evicted. The others were fetched for the first
            time.
        fetched_twice: How many different keys `fetched_again` counts.
        unavoidable: Keys that a memo of any size would have fetched.
        largest: The most entries kept after any chunk.
        entries: Current entries.
        bytes: Roughly the bytes that they take, with their values but without attached rows.
        exact: Whether the figures are exact, not estimates.

    .. versionadded:: 1.0
    """

    fetched_again: int = 0
    fetched_twice: int = 0
    entries: int = 0
    bytes: int = 0

    @classmethod
    def of(cls, table: Memo | Links) -> Advice:
        """The advice for one table, from its usage so far."""
        fetched, again, twice, largest, exact, own_bytes, found = table.usage()
        kept = table.bound
        # A larger memo finds more only if this one has fetched keys again.
        avoidable = sum(keys for size, keys in unpacked(found) if size > kept) if kept is not None and again else 0
        again = min(again, fetched)
        return cls(
            kept=kept,
            fetched=fetched,
            fetched_again=again,
            fetched_twice=min(twice, again),
            unavoidable=max(fetched - avoidable, 0),
            largest=largest,
            entries=len(table),
            bytes=own_bytes + len(table) * bytes_of_one(table),
            exact=exact,
            packed=found,
        )

    @property
    def bytes_per_entry(self) -> int:
        """Bytes per entry; 0 without entries."""
        return self.bytes // self.entries if self.entries else 0

    @property
    def enough(self) -> int:
        """The smallest `lru_cache_size` that would have fetched no more keys."""
        kept = math.inf if self.kept is None else self.kept
        least = needed([one for one in self.found if one[0] <= kept], exact=self.exact)
        return max(1, min(least, self.largest))

    @property
    def avoids(self) -> int | None:
        """The smallest `lru_cache_size` that would have fetched no key again; None if `kept` is as good."""
        if self.kept is None or not self.fetched_again:
            return None
        beyond = [one for one in self.found if one[0] > self.kept]
        if not beyond:
            return None  # they were fetched again while the size was smaller
        return max(needed(beyond, exact=self.exact), self.kept + 1)

    @property
    def half(self) -> int:
        """How many keys would have been fetched with half the `lru_cache_size`; if it is None, half of `largest`."""
        return self.fetched_with(max(1, (self.largest if self.kept is None else self.kept) // 2))

    @property
    def double(self) -> int:
        """How many keys would have been fetched with twice the `lru_cache_size`."""
        return self.fetched_with(None if self.kept is None else 2 * self.kept)

    @property
    def fits(self) -> bool:
        """Whether no other `lru_cache_size` would have been better, as far as the figures tell."""
        return self.avoids is None and self.kept is not None and self._rounded(self.enough) >= self.kept

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
            packed=added_uses(self.packed, other.packed),
        )

    def __sub__(self, other: Advice) -> Advice:
        if not isinstance(other, Advice):
            return NotImplemented
        return replace(
            self,
            fetched=self.fetched - other.fetched,
            fetched_again=self.fetched_again - other.fetched_again,
            fetched_twice=self.fetched_twice - other.fetched_twice,
            unavoidable=self.unavoidable - other.unavoidable,
            entries=self.entries - other.entries,
            bytes=self.bytes - other.bytes,
            packed=added_uses(self.packed, other.packed, -1),
        )

    def __str__(self) -> str:
        kept = "all" if self.kept is None else f"{self.kept:,}"
        if self.avoids is None:
            return f"{kept} kept, {self._text(self.enough)} would have done"
        rows = "row was" if self.fetched_twice == 1 else "rows were"
        twice = f"{self.fetched_twice:,} {rows} read twice or more"
        return f"{kept} kept; {twice}; {self._text(self.avoids)} would avoid it"

    def _text(self, size: int) -> str:
        about = "" if self.exact or size == self.largest else "about "
        return f"{about}{self._rounded(size):,}"

    def _rounded(self, size: int) -> int:
        """The size as it is shown: an estimate is rounded up to three digits."""
        if self.exact or size == self.largest:
            return size
        unit: int = 10 ** max(0, len(str(size)) - 3)
        return -(-size // unit) * unit
