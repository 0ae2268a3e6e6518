"""`ToOneStep`: base of the relations whose row is found by a key that the object holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .._engine import follow_to_one
from .._queries.counting import QueryCount
from .._queries.deferred import load_deferred
from .._queries.rows import fetch_rows
from .base import Given, Step, check_strays
from .place import FIELDS_CACHE, Place

if TYPE_CHECKING:
    from .._running.chunk import ChunkRun
    from .._running.level import Level


class ToOneStep(Step):
    """A relation to one row, found by a key that the object holds. In a chunk, those to one table share a query."""

    is_to_one = is_single = True

    @property
    def place(self) -> Place:
        return Place(FIELDS_CACHE, self.relation.cache_name)

    def gives(self, name: str) -> Given | None:
        return super().gives(name) or (Given.BACK if name == self.relation.reverse_name else None)

    @property
    def compared_field(self) -> Any:
        return None if self.relation.reverse_name is None else self.relation.target_field

    def attach(self, levels: list[Level], run: ChunkRun, count: QueryCount) -> None:
        first = levels[0]
        step: Any = first.step
        # Relations of the same objects are read and attached together, object by object.
        by_objects: dict[int, tuple[Sequence[Any], list[Any], bool]] = {}
        for level in levels:
            same = by_objects.setdefault(id(level.objects), (level.objects, [], level.remembered))
            same[1].append(run.spec(level))
        with run.pins.to_one(first.memo, list(by_objects.values()), run.lent) as rows:
            if instances := rows.collect():
                _load_keys(levels, instances, count)
                rows.collect_loaded()
            with first.turn(first.memo):
                if keys := rows.missing():
                    rows.admit(step.fetch(first, keys, count))
                rows.attach()

    def fetch(self, level: Level, keys: list[Any], count: QueryCount) -> list[Any]:
        """The rows with these keys."""
        key_name = level.table.key_name
        with count.on(level.alias):
            rows = fetch_rows(level.source, key_name, keys, level.instance)
        check_strays(level, rows, key_name, keys)
        return rows

    def _follow(self, objects: Sequence[Any]) -> list[Any]:
        return follow_to_one(objects, self.relation.cache_name)


def _load_keys(levels: list[Level], instances: list[Any], count: QueryCount) -> None:
    for attname in dict.fromkeys(level.step.relation.key_name for level in levels):
        load_deferred([one for one in instances if hasattr(type(one), attname)], attname, count.on)
