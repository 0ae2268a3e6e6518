"""`Plan`: what a run would fetch, at any size, chunk size and row order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .._memory.amount import parse_bytes
from .._memory.curve import Curve, best_sizes, packed, with_rest
from .._reports.by_name import ByName
from .._reports.plot import draw, html
from .._streaming.stream import check_count
from .weights import bytes_of_rows

if TYPE_CHECKING:
    from .levels import Levels, PlannedTable

CHUNK_SIZES = (500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)


@dataclass(frozen=True)
class TablePlan(Curve):
    """
    What a run would fetch from one table.

    Attributes:
        name: As in `stats().tables`.
        kept: How many entries would be kept between chunks; None for all.
        asked: Keys that the chunks need, counted once per chunk.
        fetched: How many of them would be fetched with `kept`.
        depends: Whether the figures depend on the size of a table above this one, because its keys are those of rows
            fetched there.

    .. versionadded:: 1.0
    """

    name: str = ""
    asked: int = 0
    depends: bool = False
    _optimal: Callable[[Sequence[int]], list[int]] = field(default=lambda sizes: [], repr=False, compare=False)

    @property
    def distinct(self) -> int:
        """How many different keys the chunks need."""
        return self.unavoidable

    def optimal_with(self, size: int | None) -> int:
        """
        How many keys would have to be fetched if the memo of this size knew what comes (Belady's optimum).

        No way of choosing which rows to keep fetches fewer.

        Raises:
            ValueError: `size` is negative.
            TypeError: It is neither an integer nor None.
        """
        return self.unavoidable if size is None else self.optimal_with_each([size])[0]

    def optimal_with_each(self, sizes: Sequence[int]) -> list[int]:
        """The same for several sizes, in one pass."""
        for size in sizes:
            check_count(size, "size", 0, "optimal_with")
        return self._optimal([min(size, max(self.distinct, 1)) for size in sizes])

    def as_dict(self) -> dict[str, Any]:
        """The figures as plain values, for JSON for example."""
        return {
            "kept": self.kept,
            "asked": self.asked,
            "distinct": self.distinct,
            "fetched": self.fetched,
            "optimal": self.optimal_with(self.kept),
            "enough": self.enough,
            "depends": self.depends,
        }


@dataclass(frozen=True)
class Outcome:
    """What one pass through the chunks gave: by table, (asked, fetched, found, optimal); and all statements."""

    tables: list[tuple[int, int, list[tuple[int, int]], list[int]]]
    queries: int


class Plan:
    """
    What a run would fetch, told from its key columns. Print it for a report.

    Attributes:
        rows: How many rows would be read. They may be a part of the table; see `MemoizedPrefetch.plan`.
        chunk_size: How many rows each chunk would have.
        tables: What would be fetched from each table, a TablePlan by the names of `stats().tables`.
        queries: How many statements would fetch related rows.
        untold: Lookups of which nothing is told, by path, with the reason.
        statements: How many statements the plan itself ran.

    .. versionadded:: 1.0
    """

    def __init__(
        self, levels: Levels, what: str, chunk_size: int, rows: int, is_part: bool, statements: int, deferred: int
    ) -> None:
        self._levels, self._deferred = levels, deferred
        self.what, self.chunk_size, self.rows = what, chunk_size, rows
        self.is_part, self.statements = is_part, statements
        self.untold: Mapping[str, str] = dict(sorted(levels.untold.items()))
        self._told = levels.told
        self._shown: dict[str, list[PlannedTable]] = {}  # two tables of one name count together, as in stats()
        for level in self._told:
            for table in (level.memo, level.links):
                if table is not None and table not in self._shown.setdefault(table.label, []):
                    self._shown[table.label].append(table)
        outcome = self._run(self.chunk_size, self._kept())
        self.queries = outcome.queries
        self.tables: Mapping[str, TablePlan] = ByName(
            (label, self._table(label, tables, outcome)) for label, tables in self._shown.items()
        )

    @property
    def chunks(self) -> int:
        """How many chunks would be read."""
        return -(-self.rows // self.chunk_size)

    # --- questions

    def by_chunk_size(self, sizes: Sequence[int] = CHUNK_SIZES) -> dict[int, dict[str, int]]:
        """
        How many keys of each table would be fetched with other chunk sizes, by chunk size and table.

        Raises:
            ValueError: A size is not positive.
            TypeError: A size is not an integer.
        """
        for size in sizes:
            check_count(size, "chunk_size", 1, "by_chunk_size")
        return {size: self._fetched(self._run(size, self._kept(), curves=False)) for size in sizes}

    def by_order(self) -> dict[str, dict[str, int]]:
        """
        How many keys of each table would be fetched with the rows in another order.

        Returns:
            For each key that the rows hold, such as `author_id`, the keys fetched by table.
        """
        orders: dict[str, dict[str, int]] = {}
        for level in self._told:
            if level.parent is None and level.links is None and level.key_name not in orders:
                keys = self._levels.ahead.keys(level.memo.number)
                try:
                    in_order = sorted(range(len(keys)), key=keys.__getitem__)
                except TypeError:  # keys of several types
                    continue
                ranks = [0] * len(keys)
                for rank, number in enumerate(in_order):
                    ranks[number] = rank
                outcome = self._run(self.chunk_size, self._kept(), order=(level.number, ranks), curves=False)
                orders[level.key_name] = self._fetched(outcome)
        return orders

    def sizes(self, memory: int | str) -> dict[str, int]:
        """
        The best `lru_cache_size` of each table, such that all tables together take that much memory::

            MemoizedPrefetch("author", "publisher", lru_cache_size=plan.sizes(memory="200 MB"))

        It weighs the rows of each table by a sample: one statement for each table reads the columns of 64 rows.

        If all rows were read, no table gets more than is of use. If only the first ones were, later rows may ask for
        more keys, and for keys that came longer ago. Then what the best sizes for the first rows leave of the memory is
        shared out: tables whose keys come back get further entries in proportion to their distinct keys.

        Args:
            memory: Bytes, or a text such as "200 MB" or "1.5 GiB"; at least 10 kB.

        Raises:
            ValueError: `memory` is less than 10 kB or no amount, or only the first rows were read and no key comes back
                in a later chunk of them. One chunk alone tells no sizes.
            TypeError: It is neither an integer nor a text.
        """
        budget = parse_bytes(memory, "sizes")
        if self.is_part and not any(table.found for table in self.tables.values()):
            first = (
                f"the first {count(self.rows, 'row')}, which are {count(self.chunks, 'chunk')} of {self.chunk_size:,}"
            )
            msg = (
                f"sizes: no key comes back in a later chunk of {first}, so they do not tell what to keep: plan more "
                f"rows, such as rows={20 * self.chunk_size}, or all."
            )
            raise ValueError(msg)
        weights = [max(bytes_of_rows(table) for table in tables) for tables in self._shown.values()]
        kept = self._kept()
        best: list[int] = []
        # The keys of a table below another one depend on the size of that one, so the second round knows better.
        for _ in range(3 if any(table.depends for table in self.tables.values()) else 1):
            outcome = self._run(self.chunk_size, kept)
            best = best_sizes([found_by(tables, outcome) for tables in self._shown.values()], weights, budget)
            for tables, size in zip(self._shown.values(), best):
                for table in tables:
                    kept[table.number] = size
        if self.is_part:
            shares = [self.tables[label].distinct if self.tables[label].found else 0 for label in self._shown]
            best = with_rest(best, weights, budget, shares)
        return dict(zip(self._shown, best))

    def plot(self, ax: Any = None) -> Any:
        """
        Draws, for every table, how many keys the run fetches against how many entries are kept.

        A dot marks the size in use, a diamond the size that would do. The thin line is the optimum.

        Args:
            ax: The matplotlib Axes to draw on; None makes one.

        Returns:
            The Axes; `ax.figure.savefig("curves.svg")` writes them to a file.

        Raises:
            ImportError: matplotlib is not installed.
        """
        return draw(self.tables, ax, lambda name, sizes: self.tables[name].optimal_with_each(sizes))

    def _repr_html_(self) -> str:
        return html(str(self), self.plot)

    def as_dict(self) -> dict[str, Any]:
        """All figures as nested dicts of plain numbers and strings."""
        return {
            "rows": self.rows,
            "chunk_size": self.chunk_size,
            "queries": self.queries,
            "tables": {name: table.as_dict() for name, table in self.tables.items()},
            "by_chunk_size": self.by_chunk_size(),
            "by_order": self.by_order(),
            "untold": dict(self.untold),
        }

    def __str__(self) -> str:
        from .text import report

        return report(self)

    # --- runs

    def _kept(self) -> list[int | None]:
        return [table.kept for table in self._levels.tables]

    def _run(
        self,
        chunk_size: int,
        kept: Sequence[int | None],
        optima: Mapping[int, Sequence[int]] | None = None,
        order: tuple[int, Sequence[int]] | None = None,
        curves: bool = True,
    ) -> Outcome:
        levels = self._levels
        wanted = [list((optima or {}).get(table.number, ())) for table in levels.tables]
        chunk_size = min(chunk_size, max(self.rows, 1))
        tables, queries, _ = levels.ahead.run(self.rows, chunk_size, kept, wanted, levels.batches, order, curves)
        return Outcome(tables, sum(queries) + self._deferred * -(-self.rows // chunk_size))

    def _fetched(self, outcome: Outcome) -> dict[str, int]:
        return {
            label: sum(self._counts(table, outcome)[1] for table in tables) for label, tables in self._shown.items()
        }

    def _counts(self, table: PlannedTable, outcome: Outcome) -> tuple[int, int]:
        """Keys asked for, and fetched."""
        if self._is_of_rows(table):
            return self.rows, self.rows
        asked, fetched, _, _ = outcome.tables[table.number]
        return asked, fetched

    def _is_of_rows(self, table: PlannedTable) -> bool:
        """Whether it has the links of the run's own rows: each row asks for its own, once."""
        return any(level.links is table and level.parent is None for level in self._told)

    def _optimum(self, tables: Sequence[PlannedTable], sizes: Sequence[int]) -> list[int]:
        outcome = self._run(self.chunk_size, self._kept(), {table.number: sizes for table in tables}, curves=False)
        found = [[0] * len(sizes)]
        for table in tables:
            is_of_rows = self._is_of_rows(table)
            found.append([self.rows] * len(sizes) if is_of_rows else outcome.tables[table.number][3])
        return [sum(keys) for keys in zip(*found)]

    def _table(self, label: str, tables: Sequence[PlannedTable], outcome: Outcome) -> TablePlan:
        counts = [self._counts(table, outcome) for table in tables]
        found = found_by(tables, outcome)
        asked = sum(asked for asked, _ in counts)
        distinct = asked - sum(keys for _, keys in found)
        kept = [table.kept for table in tables]
        return TablePlan(
            kept=None if None in kept else max(size for size in kept if size is not None),
            fetched=sum(fetched for _, fetched in counts),
            unavoidable=distinct,
            largest=distinct,
            packed=packed(found),
            name=label,
            asked=asked,
            depends=any(table.depends for table in tables),
            _optimal=lambda sizes: self._optimum(tables, sizes),
        )


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def found_by(tables: Sequence[PlannedTable], outcome: Outcome) -> list[tuple[int, int]]:
    """The curve of tables that each keep as many entries."""
    found: dict[int, int] = {}
    for table in tables:
        for size, keys in outcome.tables[table.number][2]:
            found[size] = found.get(size, 0) + keys
    return sorted(found.items())
