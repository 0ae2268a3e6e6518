"""`Stats` and `RelationStats`: what a MemoizedPrefetch did, as numbers and as a printed report."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from .._clock import Times
from .._memory.advice import Advice
from .._memory.budget import BudgetStats
from .._messages import shown
from .by_name import ByName
from .plot import draw, html

Added = TypeVar("Added", "RelationStats", Advice)

COUNTED = ("requests", "hits", "misses", "fetched", "missing", "evicted", "queries")


@dataclass(frozen=True)
class RelationStats:
    """
    What one relation, or all relations to one table, did so far.

    Attributes:
        requests: Keys that objects asked for, without null keys and relations that were attached before.
        hits: Distinct keys per chunk that were in memory, known absences included.
        misses: Distinct keys per chunk that were not in memory.
        fetched: Fetched keys that had a row. In a table of links, the links.
        missing: Fetched keys that had no row.
        evicted: Entries evicted at the end of a chunk of this relation.
        queries: SQL statements run for it.
        size: How many entries its memo has now, for the latest chunk's database and tenant.
        bound: How many entries its memo keeps; None for all. `size` and `bound` of a generic foreign key are those of
            all its memos together.
        path: "native", or "django" if Django's own prefetch runs for every chunk.
        reason: Why Django runs, or why collections of remembered rows are read for every chunk; None if neither is so.
        patched: Which function of Django that reads attached rows is patched, and by which package.

    .. versionadded:: 1.0
    """

    requests: int = 0
    hits: int = 0
    misses: int = 0
    fetched: int = 0
    missing: int = 0
    evicted: int = 0
    queries: int = 0
    size: int = 0
    bound: int | None = None
    path: str = "native"
    reason: str | None = None
    patched: str | None = None

    @property
    def hit_rate(self) -> float:
        """The share of hits, between 0 and 1; 0 if nothing was requested."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0

    def as_dict(self) -> dict[str, Any]:
        """All fields and `hit_rate`, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**values, "hit_rate": self.hit_rate}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RelationStats:
        """
        What `as_dict()` described.

        Raises:
            ValueError: `values` lacks a field, or has another.
            TypeError: `values` is not a mapping.
        """
        made: RelationStats = _read(cls, values, "RelationStats.from_dict", {"hit_rate"})
        return made

    def __sub__(self, other: RelationStats) -> RelationStats:
        if not isinstance(other, RelationStats):
            return NotImplemented
        return replace(self, **{name: getattr(self, name) - getattr(other, name) for name in COUNTED})

    def __add__(self, other: RelationStats) -> RelationStats:
        if not isinstance(other, RelationStats):
            return NotImplemented
        sums = {name: getattr(self, name) + getattr(other, name) for name in COUNTED}
        bound = None if self.bound is None or other.bound is None else max(self.bound, other.bound)
        fallback = self if self.path != "native" else other
        size = max(self.size, other.size)
        return replace(
            self,
            **sums,
            size=size,
            bound=bound,
            path=fallback.path,
            reason=fallback.reason,
            patched=self.patched or other.patched,
        )


@dataclass(frozen=True)
class Stats:
    """
    A snapshot of what a MemoizedPrefetch did.

    Print it for a report. `a + b` adds two, for example from two processes; `sum()` adds any number. `a - b` is what
    was done between two snapshots of one MemoizedPrefetch.

    Attributes:
        relations: What each relation did, by path, such as `book__author`.
        tables: What all relations to one table did together, by name of the memo's model or of the link table.
        streams: How `chunks()` last read a model, and why not in pages, by name of the model.
        built: How each model's instances were built, and what would let the engine build them, by name of the model.
        advice: What another `lru_cache_size` would have done, by the names of `tables`, for tables in use.
        memory: How the amount of memory was used, if `memory` was given.
        time: Where the time went.

    .. versionadded:: 1.0
    """

    relations: dict[str, RelationStats]
    tables: dict[str, RelationStats]
    streams: dict[str, str] = field(default_factory=dict)
    advice: dict[str, Advice] = field(default_factory=dict)
    built: dict[str, str] = field(default_factory=dict)
    memory: BudgetStats | None = None
    time: Times = Times()  # noqa: RUF009

    def __post_init__(self) -> None:
        for name in ("relations", "tables", "advice"):
            object.__setattr__(self, name, ByName(getattr(self, name)))

    @property
    def queries(self) -> int:
        """How many SQL statements ran in total."""
        return sum(relation.queries for relation in self.relations.values())

    def plot(self, ax: Any = None) -> Any:
        """
        Draws, for every table, how many keys a run like this one fetches against how many entries are kept.

        A dot marks the size in use, a diamond the size that would do.

        Args:
            ax: The matplotlib Axes to draw on; None makes one.

        Returns:
            The Axes; `ax.figure.savefig("curves.svg")` writes them to a file.

        Raises:
            ImportError: matplotlib is not installed.
        """
        return draw(self.advice, ax)

    def _repr_html_(self) -> str:
        return html(str(self), self.plot)

    def as_dict(self) -> dict[str, Any]:
        """All figures as nested dicts of plain numbers and strings."""
        return {
            "queries": self.queries,
            "relations": {name: relation.as_dict() for name, relation in self.relations.items()},
            "tables": {name: table.as_dict() for name, table in self.tables.items()},
            "streams": dict(self.streams),
            "built": dict(self.built),
            "advice": {name: advice.as_dict() for name, advice in self.advice.items()},
            "memory": None if self.memory is None else self.memory.as_dict(),
            "time": self.time.as_dict(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Stats:
        """
        The Stats that `as_dict()` described, for example in the result of a task.

        `advice` is empty, because the dict does not hold what a sum of it would need.

        Raises:
            ValueError: `values` lacks a field, or a part of it has others than `as_dict()` gives it.
            TypeError: `values` or a part of it is not a mapping.
        """
        where = "Stats.from_dict"
        names = ("relations", "tables", "streams", "built", "memory", "time")
        _check_fields(values, names, where, is_all=False)
        memory = values["memory"]
        relations, tables = (
            {
                path: _read(RelationStats, one, f"{where}: {name}: {path!r}", {"hit_rate"})
                for path, one in _mapping(values[name], f"{where}: {name}").items()
            }
            for name in ("relations", "tables")
        )
        return cls(
            relations,
            tables,
            streams=dict(_mapping(values["streams"], f"{where}: streams")),
            built=dict(_mapping(values["built"], f"{where}: built")),
            memory=None if memory is None else _read(BudgetStats, memory, f"{where}: memory"),
            time=_read(Times, values["time"], f"{where}: time"),
        )

    def __sub__(self, other: Stats) -> Stats:
        if not isinstance(other, Stats):
            return NotImplemented
        return replace(
            self,
            relations=_subtracted(self.relations, other.relations),
            tables=_subtracted(self.tables, other.tables),
            advice=_subtracted(self.advice, other.advice),
            memory=self.memory - other.memory if self.memory and other.memory else self.memory,
            time=self.time - other.time,
        )

    def __add__(self, other: Stats) -> Stats:
        if not isinstance(other, Stats):
            return NotImplemented
        return Stats(
            _added(self.relations, other.relations),
            _added(self.tables, other.tables),
            {**self.streams, **other.streams},
            _added(self.advice, other.advice),
            {**self.built, **other.built},
            self.memory + other.memory if self.memory and other.memory else self.memory or other.memory,
            self.time + other.time,
        )

    def __radd__(self, other: int) -> Stats:
        # sum() starts with 0.
        return self if other == 0 else NotImplemented

    def __str__(self) -> str:
        header = ("", "requests", "hits", "misses", "rate", "fetched", "missing", "evicted", "queries", "memo")
        lines = [header, *_lines(self.relations)]
        if self.tables:
            lines += [("", *[""] * (len(header) - 1)), ("by table", *[""] * (len(header) - 1)), *_lines(self.tables)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
        text = []
        for first, *rest in lines:
            cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:]))]
            text.append(" ".join(cells).rstrip())
        text += [
            f"{name}: {'read for every chunk' if relation.path == 'native' else 'by Django itself'}, {relation.reason}"
            for name, relation in self.relations.items()
            if relation.reason is not None
        ]
        text += [
            f"{name}: native, {relation.patched}"
            for name, relation in self.relations.items()
            if relation.patched is not None
        ]
        text += [f"{name}: read {how}" for name, how in self.streams.items()]
        text += [f"{name}: built {how}" for name, how in self.built.items() if how != "natively"]
        if self.advice:
            text += ["", *(f"{name}: {advice}" for name, advice in self.advice.items() if not advice.fits)]
        if self.memory is not None:
            text.append(str(self.memory))
        if self.time.total:
            text.append(str(self.time))
        return "\n".join(text)


def _mapping(values: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        msg = f"{where}: expected what as_dict() returned, got {shown(values)}."
        raise TypeError(msg)
    return values


def _check_fields(values: Any, names: Collection[str], where: str, *, is_all: bool = True) -> None:
    """Raises TypeError or ValueError unless it has these fields; with `is_all`, no others."""
    given = set(_mapping(values, where))
    if not given >= set(names) or (is_all and given != set(names)):
        msg = f"{where}: expected the fields {', '.join(names)}, got {', '.join(map(str, values)) or 'none'}."
        raise ValueError(msg)


def _read(kind: Any, values: Any, where: str, derived: Collection[str] = ()) -> Any:
    """An instance of a dataclass from its fields; those that are derived of others are left out."""
    names = [one.name for one in fields(kind)]
    given = {name: value for name, value in _mapping(values, where).items() if name not in derived}
    _check_fields(given, names, where)
    return kind(**given)


def _added(left: dict[str, Added], right: dict[str, Added]) -> dict[str, Added]:
    result = dict(left)
    for name, stats in right.items():
        result[name] = result[name] + stats if name in result else stats
    return result


def _subtracted(left: dict[str, Added], right: dict[str, Added]) -> dict[str, Added]:
    return {name: stats - right[name] if name in right else stats for name, stats in left.items()}


def _lines(stats: dict[str, RelationStats]) -> list[tuple[str, ...]]:
    lines = []
    for name, one in stats.items():
        counted = (one.requests, one.hits, one.misses)
        more = (one.fetched, one.missing, one.evicted, one.queries)
        memo = f"{one.size:,}/{one.bound:,}" if one.bound is not None else f"{one.size:,}"
        rate = f"{one.hit_rate:.1%}" if one.hits + one.misses else "-"
        lines.append((name, *(f"{n:,}" for n in counted), rate, *(f"{n:,}" for n in more), memo))
    return lines
