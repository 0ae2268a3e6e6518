"""Finds out which kind of relation an attribute of a model is."""

from __future__ import annotations

from typing import Any

from django.db.models import Model
from django.db.models.manager import ManagerDescriptor

from .._lookups import Lookup
from .._relation import Relation, unknown_attribute
from .._stock import static_attribute
from .by_django import ByDjango
from .foreign_key import ForeignKey
from .generic_foreign_key import GenericForeignKey
from .generic_relation import GenericRelation
from .key_only import KeyOnly
from .many_to_many import ManyToMany
from .passed_through import PassedThrough, prefetches_on_class
from .reverse_many import ReverseMany
from .reverse_one import ReverseOne

# The first kind that matches the descriptor is taken. The order matters: descriptors of many-to-many and generic
# relations match a reverse foreign key too.
KINDS: tuple[Any, ...] = (
    *(ForeignKey, ManyToMany, ReverseOne, GenericRelation, ReverseMany, GenericForeignKey),
    *(ByDjango, PassedThrough, KeyOnly),
)


# The relations that were found. They are compared by identity, so what is found again has to be the same object.
_known: dict[tuple[type[Model], str], Relation] = {}
_MAX_KNOWN = 4096


def relation_of(model: type[Model], name: str) -> Relation | None:
    """
    The relation `name` of `model`; None if the class has no such attribute.

    It is found out anew each time, which takes 0.1 to 0.2 ms: since the last time a class of Django or of the project
    may have been patched, or a lookup registered.
    """
    found = _find(model, name)
    if found is None:
        return None
    known = _known.get((model, name))
    if known is not None and vars(known) == vars(found):
        return known
    if len(_known) >= _MAX_KNOWN:
        _known.clear()
    _known[model, name] = found
    return found


def _find(model: type[Model], name: str) -> Relation | None:
    descriptor = static_attribute(model, name)
    found = (kind.relation_of(model, name, descriptor) for kind in KINDS)
    relation: Relation | None = next((relation for relation in found if relation is not None), None)
    if relation is None and descriptor is not None:
        relation = Relation(model, name, PassedThrough)
    return relation


def relation_for(lookup: Lookup, model: type[Model], instance: Model | None) -> Relation:
    """
    The relation that a lookup names.

    Args:
        instance: One of the objects, if there are any yet. It may have attributes that its class lacks.

    Raises:
        AttributeError: There is no such relation.
    """
    name = lookup.name
    relation = relation_of(model, name)
    if relation is not None and relation.kind is KeyOnly and lookup.config is None:
        relation = Relation(model, name, PassedThrough) if hasattr(model, name) else None
    if relation is None and instance is not None and hasattr(instance, name):
        relation = Relation(model, name, PassedThrough)
    if relation is None or isinstance(static_attribute(model, name), ManagerDescriptor):
        raise unknown_attribute(model, name, lookup.where, lookup.path)
    if relation.kind is PassedThrough and prefetches_on_class(model, name):
        reason = f"a {type(getattr(model, name)).__name__}, which prefetches by itself"
        relation = Relation(model, name, ByDjango, reason)
    if relation.kind is PassedThrough and lookup.config is not None and not lookup.below:
        raise unknown_attribute(model, name, lookup.where, lookup.path)
    return relation
