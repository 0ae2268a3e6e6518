"""`Budget`: keeps all tables of a run together within an amount of memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from .._engine import Links, Memo
from .amount import in_units
from .curve import best_sizes, unpacked
from .memory import Memory
from .weights import Weighing

# The split is worked out again whenever this share of chunks has been added: 40 times in 10,000 chunks.
MORE_CHUNKS = 1.25
# Part of the budget that is left free, since weights are those of samples.
SPARE = 0.03


@dataclass(frozen=True)
class BudgetStats:
    """
    How an amount of memory was used.

    Attributes:
        memory: Bytes that all tables together may take.
        used: Bytes that they take now, as far as samples of their rows tell.
        fetched: Keys that were not in memory, of all tables whose size the budget decides.
        double: How many keys would have been fetched with twice the memory.

    .. versionadded:: 1.0
    """

    memory: int
    used: int
    fetched: int
    double: int

    def as_dict(self) -> dict[str, int]:
        """The figures by name."""
        return {"memory": self.memory, "used": self.used, "fetched": self.fetched, "double": self.double}

    def __add__(self, other: BudgetStats) -> BudgetStats:
        if not isinstance(other, BudgetStats):
            return NotImplemented
        return BudgetStats(
            self.memory + other.memory, self.used + other.used, self.fetched + other.fetched, self.double + other.double
        )

    def __sub__(self, other: BudgetStats) -> BudgetStats:
        """The memory is the same one, so the sum of all differences counts it once."""
        if not isinstance(other, BudgetStats):
            return NotImplemented
        return BudgetStats(
            self.memory - other.memory, self.used - other.used, self.fetched - other.fetched, self.double - other.double
        )

    def __str__(self) -> str:
        used, memory, double = map(in_units, (self.used, self.memory, 2 * self.memory))
        fewer = self.fetched - self.double
        return f"memory: {used} of {memory} used; with {double} {fewer:,} fewer keys would have been fetched"


@dataclass
class Shared:
    """
    A table whose size the budget decides.

    weight: Bytes of one entry, with what hangs on it.
    entries: How many entries there were when it was weighed.
    """

    table: Memo | Links
    weight: float = 0.0
    entries: int = 0


class Budget:
    """
    An amount of memory for all tables.

    As long as they fit, they keep everything. Then each gets the size at which all together find the most keys per
    byte, judging by their miss-ratio curves so far. On the nested workload, at 5, 25 and 60 % of what all rows would
    take, that fetches 4.8, 1.9 and 2.1 % more rows than the best sizes, which only an exhaustive search finds. To evict
    what any table used longest ago would fetch 31, 13 and 1 % more.

    Args:
        memory: Bytes.
    """

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self._shared: dict[int, Shared] = {}
        self._chunks = 0
        self._next = 1.0
        self._is_full = False
        self._lock = threading.Lock()

    def keep(self, memories: Sequence[Memory]) -> None:
        """Called after every chunk: brings the tables back within the budget."""
        if not self._lock.acquire(blocking=False):
            return  # another thread does it
        try:
            self._chunks += 1
            tables, others = self._tables(memories)
            grown = [one for one in tables if len(one.table) > 1.25 * one.entries]
            if grown:
                self._weigh(grown, memories)
            used = self._used(tables) + others
            if not self._is_full and used <= self.memory * (1 - SPARE):
                return
            if used > self.memory * (1 - SPARE / 2) or self._chunks >= self._next:
                self._next = max(self._chunks * MORE_CHUNKS, self._chunks + 4)
                self._is_full = True
                self._weigh(tables, memories)
                others = self._tables(memories)[1]
                self._divide(tables, self.memory * (1 - SPARE) - others)
        finally:
            self._lock.release()

    def stats(self, memories: Sequence[Memory]) -> BudgetStats:
        tables, others = self._tables(memories)
        self._weigh(tables, memories)
        usages = [one.table.usage() for one in tables]
        fetched = sum(usage[0] for usage in usages)
        double = fetched
        if self._is_full:
            curves = [unpacked(usage[6]) for usage in usages]
            sizes = best_sizes(curves, [one.weight for one in tables], max(2 * self.memory - others, 0))
            for one, curve, size in zip(tables, curves, sizes):
                kept = one.table.bound
                size = size if kept is None else max(size, kept)
                double -= sum(keys for needed, keys in curve if kept is not None and kept < needed <= size)
        return BudgetStats(self.memory, int(self._used(tables) + others), fetched, max(double, 0))

    # --- tables

    def _tables(self, memories: Sequence[Memory]) -> tuple[list[Shared], float]:
        """The tables whose size is to be decided, and the bytes of those whose config has a size of its own."""
        shared: dict[int, Shared] = {}
        others = 0.0
        weighing = None
        for memory in memories:
            for context in memory.contexts():
                for _, table in list(context.tables):
                    if id(table) in context.own_sizes:
                        weighing = weighing or Weighing(memories)
                        others += len(table) * weighing.of(table)
                    else:
                        shared[id(table)] = self._shared.get(id(table)) or Shared(table)
        self._shared = shared
        return list(shared.values()), others

    def _weigh(self, tables: Sequence[Shared], memories: Sequence[Memory]) -> None:
        weighing = Weighing(memories)
        for one in tables:
            one.entries = len(one.table)
            if one.entries:
                one.weight = weighing.of(one.table)

    def _used(self, tables: Sequence[Shared]) -> float:
        return sum(len(one.table) * one.weight for one in tables)

    def _divide(self, tables: Sequence[Shared], budget: float) -> None:
        curves = [unpacked(one.table.usage()[6]) for one in tables]
        sizes = best_sizes(curves, [one.weight for one in tables], budget)
        for one, size in zip(tables, sizes):
            one.table.bound = size
            one.entries = len(one.table)
