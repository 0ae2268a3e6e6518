"""`ByDjango`: lookups that Django's own prefetch attaches, again for every chunk."""

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
    A lookup that Django's own prefetch attaches.

    Args:
        reason: Why the engine does not attach it.
        native: The engine's step for the relation, if only the lookup's queryset or arguments stand against it. None if
            the relation itself is not Django's own.
        whole: Whether Django also does the lookups that the queryset has of its own.
    """

    by_django = True

    def __init__(
        self,
        lookup: Lookup,
        relation: Relation,
        given: Given | None = None,
        reason: str | None = None,
        native: Step | None = None,
        whole: bool = False,
    ) -> None:
        super().__init__(lookup, relation, given)
        self.rereads = True
        self._whole = whole or relation.reason is not None  # a custom relation may need these lookups itself
        self.reason = reason or relation.reason
        self._native = native
        if native is not None:
            self.source, self.selected = native.source, native.selected
            self.is_single = native.is_single

    @classmethod
    def relation_of(cls, model: type[Model], name: str, descriptor: Any) -> Relation | None:
        """Matches descriptors of other packages that have their own way to prefetch."""
        if not any(hasattr(descriptor, prefetcher) for prefetcher in PREFETCHERS):
            return None
        reason = f"custom descriptor {type(descriptor).__name__}"
        return Relation(model, name, cls, reason, descriptor=descriptor)

    def set_up(self) -> str | None:
        check_target(self)
        return None

    @property
    def joined_by(self) -> Any:
        """Joins classes as Django does, which treats all objects like the first."""
        relation = self.relation
        return relation.name if relation.descriptor is None else id(relation.descriptor)

    def gives(self, name: str) -> Given | None:
        if self._native is not None:
            return self._native.gives(name)
        field = self.relation.field  # in a reverse relation, rows lead back by it
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
        if not callable(is_fetched):  # no prefetcher
            return objects
        return [one for one in objects if not is_fetched(one)]

    # --- attaching

    def attach(self, levels: list[Level], run: ChunkRun, count: QueryCount) -> None:
        for level in levels:
            if level.remembered:
                self.take_off(level.objects)
            # Only these: Django would pass through the rest, reading the relation of each even if there is a `to_attr`.
            if fresh := self.not_attached(level.objects):
                with count.on(level.alias):
                    level.found, level.is_finished = self._prefetch(list(fresh))
            elif not self.lookup.below and (self._native is None or not self.lookup.to_attr_given):
                follow_attribute(level.objects, self.relation.name, ObjectDoesNotExist)

    def _prefetch(self, objects: list[Any]) -> tuple[list[Any], bool]:
        """
        Lets Django attach this level and the lookups of its rows' queryset.

        Returns:
            The rows that it read, and whether it has done the given lookups below too. It does if that queryset has
            lookups: these and the given ones may concern the same attributes, in an order that only Django knows.
        """
        [lookup] = normalize_prefetch_lookups([django_lookup(self, self._whole)])
        prefetcher = query.get_prefetcher(objects[0], self.relation.name, self.lookup.attribute)[0]
        if prefetcher is None:
            query.prefetch_related_objects(objects, lookup)  # raises Django's own error
            return [], False
        rows, further = query.prefetch_one_level(objects, prefetcher, lookup, 0)
        if not further:
            return rows, False
        before, after = self.lookup.given_below()
        query.prefetch_related_objects(rows, *before, *further, *after)
        return rows, bool(before or after)

    def _follow(self, objects: Sequence[Any]) -> list[Any]:
        """The rows attached before. Unlike Django, it looks into managers too, for the sake of remembered rows."""
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
