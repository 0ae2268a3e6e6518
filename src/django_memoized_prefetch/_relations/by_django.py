"""What Django's own prefetch attaches, for every chunk anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Model, query
from django.db.models.manager import BaseManager
from django.db.models.query import get_prefetcher, normalize_prefetch_lookups

from .._engine import follow_attribute
from .._lookups import Lookup
from .._queries.counting import QueryCount
from .._relation import Relation
from .._stock import PREFETCHERS
from .base import Given, Step, check_target, django_lookup
from .place import FIELDS_CACHE, PREFETCHED, Place

if TYPE_CHECKING:
    from .._running.chunk import ChunkRun
    from .._running.level import Level


class ByDjango(Step):
    """
    Args:
        reason: Why the engine does not attach it.
        native: The step that would, if only the lookup asked for something else; None when the relation itself is
            not Django's own.
    """

    by_django = True

    def __init__(
        self,
        lookup: Lookup,
        relation: Relation,
        given: Given | None = None,
        reason: str | None = None,
        native: Step | None = None,
    ) -> None:
        super().__init__(lookup, relation, given)
        self.rereads = True
        self.reason = reason or relation.reason
        self._native = native
        if native is not None:
            self.source, self.selected = native.source, native.selected
            self.is_single = native.is_single

    @classmethod
    def relation_of(cls, model: type[Model], name: str, descriptor: Any) -> Relation | None:
        """For descriptors of other packages that prefetch in their own way."""
        if not any(hasattr(descriptor, prefetcher) for prefetcher in PREFETCHERS):
            return None
        reason = f"custom descriptor {type(descriptor).__name__}"
        return Relation(model, name, cls, reason, descriptor=descriptor)

    def set_up(self) -> str | None:
        check_target(self)
        return None

    @property
    def joined_by(self) -> Any:
        """Django takes all objects for what the first is."""
        relation = self.relation
        return relation.name if relation.descriptor is None else id(relation.descriptor)

    def gives(self, name: str) -> Given | None:
        if self._native is not None:
            return self._native.gives(name)
        field = self.relation.field  # of a reverse relation: by it, rows lead back
        return Given.BACK if field is not None and name == field.name else super().gives(name)

    # --- where it attaches

    @property
    def place(self) -> Place:
        relation = self.relation
        return Place(FIELDS_CACHE, relation.cache_name or relation.name) if self._native is None else self._native.place

    @property
    def attached_at(self) -> tuple[Place, ...]:
        if self._native is not None:
            return self._native.attached_at
        if self.lookup.to_attr is not None:
            return super().attached_at
        return (self.place, Place(PREFETCHED, self.place.name))

    def asked_at(self, instance: Model) -> Place:
        return super().asked_at(instance) if self._native is None else self._native.asked_at(instance)

    def not_attached(self, objects: Sequence[Any]) -> Sequence[Any]:
        if self._native is not None:
            return self._native.not_attached(objects)
        is_fetched = get_prefetcher(objects[0], self.relation.name, self.lookup.attribute)[3]
        if not callable(is_fetched):  # there is no prefetcher
            return objects
        return [one for one in objects if not is_fetched(one)]

    # --- at work

    def attach(self, levels: list[Level], run: ChunkRun, count: QueryCount) -> None:
        for level in levels:
            if level.remembered:
                self.take_off(level.objects)
            # Django would pass through all others: it reads the relation of each, even where `to_attr` holds it.
            if fresh := self.not_attached(level.objects):
                with count.on(level.alias):
                    level.found = self._prefetch(list(fresh))
            elif not self.lookup.below and (self._native is None or not self.lookup.to_attr_given):
                follow_attribute(level.objects, self.relation.name, ObjectDoesNotExist)

    def _prefetch(self, objects: list[Any]) -> list[Any]:
        """Has Django attach this level, and what its rows' queryset goes on with; returns the rows that it read."""
        [lookup] = normalize_prefetch_lookups([django_lookup(self)])
        prefetcher = query.get_prefetcher(objects[0], self.relation.name, self.lookup.attribute)[0]
        if prefetcher is None:
            query.prefetch_related_objects(objects, lookup)  # Django's own error
            return []
        rows, further = query.prefetch_one_level(objects, prefetcher, lookup, 0)
        if further:
            query.prefetch_related_objects(rows, *further)
        return rows  # type: ignore[no-any-return]

    def _follow(self, objects: Sequence[Any]) -> list[Any]:
        """What was attached before: Django does not go on below managers, but what is remembered does."""
        if self._native is not None:
            return self._native._follow(objects)
        found: dict[int, Any] = {}
        for value in follow_attribute(objects, self.relation.name, ObjectDoesNotExist):
            members = list(value.all()) if isinstance(value, BaseManager) else [value]
            found.update((id(member), member) for member in members)
        return list(found.values())

    # --- when rows change

    def may_lack(self, row: Any, value: Any, kept_links: dict[Any, dict[Any, Any]]) -> bool:
        return self.relation.target is None or not self.is_single or value is None
