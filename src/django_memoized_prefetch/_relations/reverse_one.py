"""`ReverseOne`: the row whose one-to-one refers to the object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.db.models import Model, QuerySet
from django.db.models.fields.related_descriptors import ReverseOneToOneDescriptor

from .._engine import ReverseOneSpec, follow_to_one
from .._queries.counting import QueryCount
from .._queries.sources import base_rows
from .._relation import Relation
from .._stock import why_not_attached_by_descriptor
from .base import Step, check_no_links, check_strays, find_source, to_attr_spec
from .collection import Collection, reverse_relation
from .place import FIELDS_CACHE, Place
from .reverse_many import fetch_referring

if TYPE_CHECKING:
    from .._running.level import Level


class ReverseOne(Collection):
    is_single = True

    @classmethod
    def relation_of(cls, model: type[Model], name: str, descriptor: Any) -> Relation | None:
        if not isinstance(descriptor, ReverseOneToOneDescriptor):
            return None
        reason = why_not_attached_by_descriptor(descriptor)
        return reverse_relation(cls, model, name, descriptor, descriptor.related, reason)

    def set_up(self) -> str | None:
        check_no_links(self)
        return find_source(self, lambda: base_rows(self.relation.to))

    def judge(self, queryset: QuerySet[Any], whole: bool = False) -> str | None:
        reason = super().judge(queryset, whole)
        return "the queryset is sliced" if queryset.query.is_sliced else reason

    @property
    def place(self) -> Place:
        return Place(FIELDS_CACHE, self.relation.cache_name)

    def asked_at(self, instance: Model) -> Place:
        return Step.asked_at(self, instance)

    @property
    def compared_field(self) -> Any:
        return self.relation.field

    def spec(
        self, instance: Model, counts: Any, alias: str, translated: dict[Any, Any] | None = None
    ) -> ReverseOneSpec:
        return ReverseOneSpec(
            self.key_spec,
            self.relation.cache_name,
            to_attr_spec(self, instance),
            self.attach_unsaved,
            counts.row_counts,
            self.rows_spec(),
        )

    def _fetch(self, level: Level, keys: list[Any], count: QueryCount) -> Sequence[Any]:
        with count.on(level.alias):
            rows = fetch_referring(level, keys, ordered=False)
        check_strays(level, rows, self.relation.join_name, keys)
        return rows

    def _follow(self, objects: Sequence[Any]) -> list[Any]:
        return follow_to_one(objects, self.relation.cache_name)
