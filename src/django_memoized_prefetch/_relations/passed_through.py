"""`PassedThrough`: attributes that hold objects and need no query, such as properties and other lookups' `to_attr`."""

from __future__ import annotations

from collections.abc import Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any

from django.db.models import Model, query
from django.utils.functional import cached_property

from .._lookups import Lookup
from .._queries.counting import QueryCount
from .._relation import Relation, relation_names, unknown_attribute
from .._stock import PREFETCHERS, is_own, static_attribute
from .base import Given, Step
from .by_django import ByDjango
from .place import ATTRIBUTE, Place

if TYPE_CHECKING:
    from .._running.chunk import ChunkRun
    from .._running.level import Level


class PassedThrough(Step):
    def __init__(self, lookup: Lookup, relation: Relation, given: Given | None = None) -> None:
        super().__init__(lookup, relation, given)
        self._may_give_manager = may_give_manager(relation.model, lookup.name)
        self._is_of_instances = getattr(relation.model, relation.name, None) is None

    @classmethod
    def relation_of(cls, model: type[Model], name: str, descriptor: Any) -> Relation | None:
        """Matches read-only properties. Other attributes get here only if no kind of relation matches."""
        is_property = isinstance(descriptor, property) and descriptor.fset is None
        return Relation(model, name, cls) if is_property else None

    def set_up(self) -> str | None:
        if self.lookup.ends and not self._may_give_manager:
            raise no_relation(self)
        return None

    @property
    def place(self) -> Place:
        return Place(ATTRIBUTE, self.relation.name)

    def not_attached(self, objects: Sequence[Any]) -> Sequence[Any]:
        return objects  # Django would fetch nothing

    def alias(self, instance: Model) -> str:
        return ""

    def settled(self, instance: Model) -> Step:
        """An attribute may return a manager that prefetches, which only an instance can tell."""
        if not self._may_give_manager:
            return self
        prefetcher = query.get_prefetcher(instance, self.relation.name, self.lookup.attribute)[0]
        if prefetcher is not None:
            reason = f"a {type(prefetcher).__name__}, which prefetches by itself"
            return ByDjango(self.lookup, self.relation, self.given, reason)
        if self.lookup.ends:
            raise no_relation(self)
        settled = PassedThrough(self.lookup, self.relation, self.given)
        settled._may_give_manager = False
        return settled

    def attach(self, levels: list[Level], run: ChunkRun, count: QueryCount) -> None:
        """Attaches nothing: what the attribute holds is there, unless only the objects of an earlier chunk had it."""
        lookup, model = self.lookup, self.relation.model
        for level in levels:
            if self._is_of_instances and not hasattr(level.objects[0], self.relation.name):
                raise unknown_attribute(model, self.relation.name, lookup.where, lookup.path)


def prefetches_on_class(model: type[Model], name: str) -> bool:
    """Whether reading the attribute on the class returns something that prefetches. Django checks that first."""
    attribute = static_attribute(model, name)
    if isinstance(attribute, (property, cached_property)) or not hasattr(type(attribute), "__get__"):
        return False
    on_class = getattr(model, name, None)
    return any(hasattr(on_class, prefetcher) for prefetcher in PREFETCHERS)


def may_give_manager(model: type[Model], name: str) -> bool:
    """Whether the attribute must be read on an instance to see if it is a manager that prefetches."""
    attribute = static_attribute(model, name)
    is_column = any(field.attname == name for field in model._meta.concrete_fields)
    is_plain = is_own(attribute) or isinstance(attribute, FunctionType) or not hasattr(type(attribute), "__get__")
    return not (is_column or is_plain) or attribute is None


def no_relation(step: Step) -> ValueError:
    """The error for a lookup that ends at an attribute that is not a relation."""
    lookup, relation = step.lookup, step.relation
    names = ", ".join(name for name in relation_names(relation.model) if name != relation.name) or "none"
    msg = (
        f"'{lookup.through}' does not resolve to an item that supports prefetching - this is an invalid parameter "
        f"to prefetch_related(). {relation.label} is not a relation; relations: {names}."
    )
    return ValueError(msg)
