"""`KeyOnly`: columns that hold a key but are not a relation, like `author_id` without `author`. They need a config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Model

from .._engine import KeyOnlySpec, follow_attribute
from .._memory.table import TableSpec
from .._queries.sources import base_rows
from .._relation import Relation
from .._stock import static_attribute
from .base import check_no_links, find_source
from .place import ATTRIBUTE, Place
from .to_one import ToOneStep


class KeyOnly(ToOneStep):
    @classmethod
    def relation_of(cls, model: type[Model], name: str, descriptor: Any) -> Relation | None:
        if static_attribute(model, f"{name}_id") is None:
            return None
        return Relation(model, name, cls, key_name=f"{name}_id", cache_name=name)

    def set_up(self) -> str | None:
        check_no_links(self)
        config = self.lookup.config
        assert config is not None, f"{self.relation.label} is no relation"
        reason = find_source(self, lambda: base_rows(config.model))
        self.table = TableSpec(self.row_source, config.model._meta.pk.attname, self.lookup.custom_below)
        return reason

    @property
    def place(self) -> Place:
        return Place(ATTRIBUTE, self.relation.name)

    def spec(self, instance: Model, counts: Any, alias: str, translated: dict[Any, Any] | None = None) -> KeyOnlySpec:
        return KeyOnlySpec(self.relation.key_name, self.relation.name, counts.row_counts)

    def not_attached(self, objects: Sequence[Any]) -> Sequence[Any]:
        return objects  # Django does not know such lookups

    def _follow(self, objects: Sequence[Any]) -> list[Any]:
        return follow_attribute(objects, self.lookup.attribute, ObjectDoesNotExist)
