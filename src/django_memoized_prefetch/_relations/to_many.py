"""`ToManyStep`: base of the relations that attach a queryset filled with rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from django import VERSION
from django.db import router
from django.db.models import Model, QuerySet, prefetch_related_objects

from .._engine import follow_to_many
from .._queries.counting import QueryCount
from .._queries.deferred import load_deferred
from .._relation import is_data_descriptor, unrelated_queryset
from .._stock import has_stock_filling
from .base import Step, django_lookup
from .filled_queryset import can_be_filled, filled_class
from .place import PREFETCHED, Place

if TYPE_CHECKING:
    from .._running.level import Level


class ToManyStep(Step):
    asks_later = False  # whether the manager's queryset asks the object for its key only when it is evaluated

    @property
    def place(self) -> Place:
        return Place(PREFETCHED, self.relation.cache_name)

    def asked_at(self, instance: Model) -> Place:
        return Place(PREFETCHED, self.asked_name) if self.lookup.to_attr is None else super().asked_at(instance)

    @property
    def asked_name(self) -> str:
        """
        The name under which Django looks whether it is attached.

        Django attaches under another one, and knows by itself what it has attached in the same call.
        """
        name = self.relation.cache_name if self.lookup.is_done else self.relation.name
        return str(name)

    @property
    def joined_by(self) -> Any:
        return id(self.relation.descriptor)  # subclasses inherit it

    @property
    def key_spec(self) -> tuple[str, bool]:
        """The object's key for the engine: its name, and whether a descriptor has to be asked for it."""
        return self.relation.key_name, is_data_descriptor(self.relation.model, self.relation.key_name)

    def filling_spec(self, instance: Model) -> tuple[str, str, Any, Callable[[Any, list[Any]], Any], bool]:
        """
        For the engine: the names that Django asks for and attaches under, how a filled queryset is made, and whether
        it keeps its object alive. A router may ask for anything of that object when the queryset is used later.
        """
        queryset_class = None if self.lookup.to_attr is not None else self._queryset_class(instance)
        return self.asked_name, self.relation.cache_name, queryset_class, self._fill, bool(router.routers)

    def _queryset_class(self, instance: Model) -> Any:
        """A queryset class that the engine can instantiate and fill; None if only the manager can."""
        relation = self.relation
        stock = has_stock_filling(relation.descriptor.related_manager_cls)
        # A slice cannot be filtered. As in Django, the error comes when it is attached, after its rows are read.
        if not stock or self.row_source.queryset(instance).query.is_sliced:
            return None
        stock_class = type(self._stock_queryset(instance))
        if not can_be_filled(stock_class):
            return None
        return filled_class(stock_class, relation.model, relation.key_name, self._stock_queryset, self.asks_later)

    def _stock_queryset(self, instance: Any) -> QuerySet[Any]:
        """The queryset that this instance's manager would return if nothing were prefetched."""
        manager = getattr(instance, self.relation.name)
        source = self.row_source
        start = source.make(instance) if source.is_given else unrelated_queryset(manager)
        queryset: QuerySet[Any] = manager._apply_rel_filters(start)
        return queryset

    def _fill(self, instance: Any, rows: list[Any]) -> QuerySet[Any]:
        """A queryset from the manager itself, filled with the rows; for managers that are not Django's own."""
        queryset: QuerySet[Any]
        if self.row_source.is_given:
            queryset = self._stock_queryset(instance)
        else:
            queryset = getattr(instance, self.relation.name).get_queryset()
        queryset._result_cache = rows
        queryset._prefetch_done = True
        return queryset

    def attach_unsaved(self, instance: Any) -> None:
        """Lets Django handle an object without a key. As a rule it raises ValueError."""
        prefetch_related_objects([instance], django_lookup(self))

    def _follow(self, objects: Sequence[Any]) -> list[Any]:
        return follow_to_many(objects, self.relation.cache_name)


def check_saved(step: Step, objects: Sequence[Any]) -> None:
    """Raises what Django raises for objects without a primary key, though they have the key that the step reads."""
    if not isinstance(step, ToManyStep) or VERSION < (5, 0):  # before 5.0, Django warns and asks with that key
        return
    classes: set[Any] = set(map(type, objects))
    names = {cls: cls._meta.pk.attname for cls in classes}
    if lacking := [one for one in objects if one.__dict__.get(names[type(one)], one) is None]:
        for one in step.not_attached(lacking):
            step.attach_unsaved(one)


def load_keys(level: Level, instances: list[Any], count: QueryCount) -> None:
    """Loads the key of objects that have it deferred."""
    load_deferred(instances, level.step.relation.key_name, count.on)
