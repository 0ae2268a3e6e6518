"""`ForeignKey`: foreign keys and one-to-ones, seen from the side that holds the key."""

from __future__ import annotations

from typing import Any

from django.db import connections
from django.db.models import Model
from django.db.models.fields.related_descriptors import ForwardManyToOneDescriptor

from .._engine import ForeignKeySpec
from .._memory.table import TableSpec
from .._queries.equality import equals_as_python, why_not_keys
from .._queries.sources import base_rows
from .._relation import Relation, cache_name_of, held_field, why_another_key
from .._stock import why_not_attached_by_descriptor, why_not_foreign_key
from .base import check_no_links, find_source, to_attr_spec
from .by_django import ByDjango
from .to_one import ToOneStep


class ForeignKey(ToOneStep):
    @classmethod
    def relation_of(cls, model: type[Model], name: str, descriptor: Any) -> Relation | None:
        if not isinstance(descriptor, ForwardManyToOneDescriptor):
            return None
        field = descriptor.field
        target = field.remote_field.model
        local_field, target_field = field.related_fields[0]
        differs = why_another_key(model, local_field)
        local_field = held_field(model, local_field)
        reason = (
            why_not_attached_by_descriptor(descriptor)
            or differs
            or why_not_foreign_key(field)
            or why_not_keys((model, local_field), (target, target_field))
        )
        if reason is not None:
            return Relation(model, name, ByDjango, reason, target, descriptor=descriptor)
        remote = field.remote_field
        return Relation(
            model,
            name,
            cls,
            target=target,
            key_name=local_field.attname,
            cache_name=cache_name_of(field),
            reverse_name=None if remote.multiple else cache_name_of(remote),
            target_field=target_field,
            descriptor=descriptor,
        )

    def set_up(self) -> str | None:
        check_no_links(self)
        reason = find_source(self, lambda: base_rows(self.relation.to))
        assert self.relation.target_field is not None
        self.table = TableSpec(self.row_source, self.relation.target_field.attname, self.lookup.custom_below)
        return reason

    def spec(
        self, instance: Model, counts: Any, alias: str, translated: dict[Any, Any] | None = None
    ) -> ForeignKeySpec:
        relation = self.relation
        return ForeignKeySpec(
            relation.key_name,
            relation.cache_name,
            to_attr_spec(self, instance),
            counts.row_counts,
            relation.reverse_name,
            equals_as_python(relation.target_field, connections[alias]),
        )
