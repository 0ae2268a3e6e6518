"""`ReverseMany`: the rows whose foreign key refers to the object, such as `author.books`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import VERSION
from django.db import router
from django.db.models import DecimalField, FloatField, Model
from django.db.models.fields.related_descriptors import ReverseManyToOneDescriptor

from .._hydrating.iterable import with_native_rows
from .._queries.counting import QueryCount
from .._queries.keys import batches, by_relation, with_keys
from .._relation import Relation, value_field
from .._stock import why_not_collection
from .base import check_strays, refuses_strays
from .collection import Collection, reverse_relation

if TYPE_CHECKING:
    from .._running.level import Level

# Before 5.2, Django sets the object that a row refers to with the descriptor's `__set__`.
SETS_PARENTS = VERSION < (5, 2)


class ReverseMany(Collection):
    asks_later = True
    keeps_way_back = True

    @classmethod
    def relation_of(cls, model: type[Model], name: str, descriptor: Any) -> Relation | None:
        if not isinstance(descriptor, ReverseManyToOneDescriptor):
            return None
        field = descriptor.field
        # The other side of a GenericRelation has such a descriptor too, but its rows do not hold the key.
        holds_key = issubclass(descriptor.rel.related_model, field.related_fields[0][0].model)
        reason = why_not_collection(descriptor) if holds_key else f"reverse side of generic relation {field.name}"
        return reverse_relation(cls, model, name, descriptor, descriptor.rel, reason)

    @property
    def parent_name(self) -> str | None:
        below = self.lookup.below.get(self.relation.field.name)
        return None if below is not None and below.is_inner else super().parent_name  # the queryset's lookups attach it

    @property
    def compared_field(self) -> Any:
        # If the queryset's own lookups attach the object, Django does not look it up.
        return None if self.parent_name is None else self.relation.field

    def _fetch(self, level: Level, keys: list[Any], count: QueryCount) -> Sequence[Any]:
        relation = self.relation
        with count.on(level.alias):
            rows = fetch_referring(level, keys)
        # If a row already has the object that it refers to, Django does not look it up.
        loose = (
            [row for row in rows if not relation.field.is_cached(row)] if refuses_strays(self, level.alias) else rows
        )
        check_strays(level, loose, relation.join_name, keys)
        if SETS_PARENTS and self.parent_name is not None:
            set_parents(relation, rows, level.objects)
        return rows


def fetch_referring(level: Level, keys: Sequence[Any], ordered: bool = True) -> list[Any]:
    """The rows that refer to the keys, in the order in which their collections show them."""
    queryset = level.source.queryset(level.instance)
    if not ordered and (VERSION >= (5, 0) or not queryset.query.order_by):
        queryset.query.clear_ordering()
    ask = by_relation(level.step.relation.field.name)
    rows: list[Any] = []
    for batch in batches(keys, queryset):
        sliced = queryset.query.is_sliced
        rows += with_native_rows(ask(queryset, batch) if sliced else with_keys(queryset, ask, batch))
    if queryset.query.deferred_loading[0]:
        load_references(level.step.relation, rows)
    return rows


def load_references(relation: Relation, rows: Sequence[Any]) -> None:
    """
    Loads the keys by which rows refer to objects, where they are deferred.

    If the base manager has a `select_related()`, this also caches the row that is referred to. Django then sets the
    object itself.
    """
    for row in rows:
        if relation.join_name not in row.__dict__ and not relation.field.is_cached(row):
            getattr(row, str(relation.join_name))
            if relation.field.is_cached(row):
                relation.field.delete_cached_value(row)


def set_parents(relation: Relation, rows: Sequence[Any], objects: Sequence[Any]) -> None:
    """
    Sets the objects that rows refer to with Django's setter, if that does more than cache them.

    It does if a router may refuse the relation, or if one side has no database yet and gets it from the other. And the
    row gets the object's key, from which its own may differ although they are equal, as 0.0 and -0.0 are.
    """
    databases = {one._state.db for one in objects} | {row._state.db for row in rows}
    routed = any(hasattr(one, "allow_relation") for one in router.routers)
    looks_alike = not isinstance(value_field(relation.field), (DecimalField, FloatField))
    if not rows or (len(databases) == 1 and None not in databases and not routed and looks_alike):
        return
    parents = {getattr(one, relation.key_name): one for one in objects}
    for row in rows:
        if not relation.field.is_cached(row):
            setattr(row, relation.field.name, parents[getattr(row, relation.join_name)])
