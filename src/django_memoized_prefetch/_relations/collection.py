"""
`Collection`: base of relations whose rows refer to the object.

The rows belong to the object and have no table of their own. They are read once for each object: for those of a chunk,
and for remembered ones when these are new or the rows may have changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.db.models import Model, QuerySet

from .._engine import ReverseManySpec
from .._queries.counting import QueryCount
from .._queries.eligibility import why_not_read_by_key, why_not_referring, why_not_remembered
from .._queries.equality import why_not_keys
from .._queries.sources import related_rows
from .._relation import Relation, cache_name_of, held_field, pk_fields, why_another_key
from .._stock import why_not_foreign_key
from .base import Given, check_no_links, find_source, selected_by, to_attr_spec
from .by_django import ByDjango
from .to_many import ToManyStep, load_keys

if TYPE_CHECKING:
    from .._running.chunk import ChunkRun
    from .._running.level import Level


class Collection(ToManyStep):
    is_collection = True

    def set_up(self) -> str | None:
        check_no_links(self)
        return find_source(self, lambda: related_rows(self.relation))

    def judge(self, queryset: QuerySet[Any], whole: bool = False) -> str | None:
        self.selected = selected_by(queryset)
        self.reason = why_not_remembered(queryset) if whole else why_not_read_by_key(queryset)
        self.rereads = self.reason is not None
        return why_not_referring(queryset)

    def gives(self, name: str) -> Given | None:
        field = self.relation.field
        return super().gives(name) or (Given.BACK if name == field.name else None)

    @property
    def parent_name(self) -> str | None:
        """The name under which each row gets the object that it refers to; None if it does not."""
        return self.relation.reverse_name

    def spec(self, instance: Model, counts: Any, alias: str, translated: dict[Any, Any] | None = None) -> Any:
        return ReverseManySpec(
            self.key_spec,
            self.filling_spec(instance),
            to_attr_spec(self, instance),
            self.attach_unsaved,
            counts.row_counts,
            self.rows_spec(translated),
        )

    def rows_spec(self, translated: dict[Any, Any] | None = None) -> tuple[str, str, str | None, dict[Any, Any] | None]:
        """For the engine: how the rows refer to the object, and under which name they get it."""
        return self.relation.join_name, pk_fields(self.row_source.model)[0].attname, self.parent_name, translated

    def attach(self, levels: list[Level], run: ChunkRun, count: QueryCount) -> None:
        for level in levels:
            if self.rereads and level.remembered:
                level.step.take_off(level.objects)
        for level in levels:
            with level.turn_of_rows(run), run.pins.collection(level.objects, run.spec(level), level.remembered) as rows:
                if instances := rows.collect():
                    load_keys(level, instances, count)
                    rows.collect_loaded()
                if keys := rows.missing():
                    rows.admit(self._fetch(level, keys, count))
                rows.attach()

    def _fetch(self, level: Level, keys: list[Any], count: QueryCount) -> Sequence[Any]:
        raise NotImplementedError

    def may_lack(self, row: Any, value: Any, kept_links: dict[Any, dict[Any, Any]]) -> bool:
        return True


def reverse_relation(
    kind: type[Collection], model: type[Model], name: str, descriptor: Any, related: Any, reason: str | None
) -> Relation:
    """
    Makes the relation for rows that refer to the object by a foreign key or a one-to-one.

    Args:
        related: Django's description of that key, seen from this side.
        reason: Why the engine cannot attach it, judging by the descriptor; None if it can.
    """
    field, target = related.field, related.related_model
    local_field, target_field = field.related_fields[0]
    reason = reason or why_another_key(model, target_field)
    target_field = held_field(model, target_field)
    reason = reason or why_not_foreign_key(field) or why_not_keys((model, target_field), (target, local_field))
    if reason is not None:
        return Relation(model, name, ByDjango, reason, target, field=field, descriptor=descriptor)
    return Relation(
        model,
        name,
        kind,
        target=target,
        key_name=target_field.attname,
        cache_name=cache_name_of(related),
        reverse_name=cache_name_of(field),
        join_name=local_field.attname,
        field=field,
        descriptor=descriptor,
    )
