"""Which kind of relation a lookup follows, and who attached it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import Model, Prefetch, QuerySet
from django.db.models.fields.related_descriptors import (
    ForwardManyToOneDescriptor,
    ForwardOneToOneDescriptor,
    ManyToManyDescriptor,
    ReverseManyToOneDescriptor,
    ReverseOneToOneDescriptor,
)
from django.utils.functional import cached_property

from django_memoized_prefetch._lookups import CLASH
from tests.django_suites.queries import unseen

FORWARD, ONE_TO_ONE, REVERSE, REVERSE_ONE_TO_ONE = "foreign key", "one-to-one", "reverse key", "reverse one-to-one"
# A ForeignObject with a key of several columns, or a many-to-many over one.
SEVERAL_COLUMNS = "key of several columns"
MANY_TO_MANY, GENERIC_KEY, GENERIC_RELATION = "many-to-many", "generic key", "generic relation"
# Two lookups that ask for different things under one name: Django decides which one it does, or which error it raises.
CLASHING = "lookups that clash"
OTHER = "other"

# The percentage of each kind's lookups that the engine must attach itself.
NATIVE_AT_LEAST = {
    FORWARD: 95,
    ONE_TO_ONE: 95,
    REVERSE: 95,
    REVERSE_ONE_TO_ONE: 95,
    MANY_TO_MANY: 95,
    GENERIC_RELATION: 95,
}


def kind_of(model: type[Any], name: str) -> str:
    # Not at the top of the module, which is imported before the applications are loaded.
    from django.contrib.contenttypes import fields as generic

    descriptor = _descriptor(model, name)
    of_generic_key = getattr(generic, "GenericForeignKeyDescriptor", generic.GenericForeignKey)
    for kind, cls in (
        (ONE_TO_ONE, ForwardOneToOneDescriptor),
        (FORWARD, ForwardManyToOneDescriptor),
        (REVERSE_ONE_TO_ONE, ReverseOneToOneDescriptor),
        (MANY_TO_MANY, ManyToManyDescriptor),
        (GENERIC_RELATION, generic.ReverseGenericManyToOneDescriptor),
        (REVERSE, ReverseManyToOneDescriptor),
        (GENERIC_KEY, of_generic_key),
    ):
        if isinstance(descriptor, cls):
            return SEVERAL_COLUMNS if _has_several_columns(descriptor, kind) else kind
    return OTHER


def _has_several_columns(descriptor: Any, kind: str) -> bool:
    if kind in (GENERIC_KEY, GENERIC_RELATION):
        return False
    if kind == MANY_TO_MANY:
        through = descriptor.rel.through._meta
        names = (descriptor.field.m2m_field_name(), descriptor.field.m2m_reverse_field_name())
        return any(len(through.get_field(name).related_fields) > 1 for name in names)
    field = descriptor.related.field if kind == REVERSE_ONE_TO_ONE else descriptor.field
    return len(field.related_fields) > 1


def paths(lookups: Iterable[Any]) -> dict[str, tuple[str, ...]]:
    """Every step of the lookups: the path where its rows are attached, and the names of the relations to it."""
    found: dict[str, tuple[str, ...]] = {}
    for lookup in lookups:
        to, through = (
            (lookup.prefetch_to, lookup.prefetch_through) if isinstance(lookup, Prefetch) else (lookup, lookup)
        )
        names, relations = to.split("__"), tuple(through.split("__"))
        for depth in range(1, len(names) + 1):
            found.setdefault("__".join(names[:depth]), relations[:depth])
        if isinstance(lookup, Prefetch) and lookup.queryset is not None:
            for path, below in paths(lookup.queryset._prefetch_related_lookups).items():
                found.setdefault(f"{to}__{path}", (*relations, *below))
    return found


def attached(instance: Any, name: str) -> list[Any]:
    """The instances attached under this name, or given by a plain attribute. Reading them runs no query."""
    value = vars(instance).get(name, instance._state.fields_cache.get(name))
    if value is None:
        collections = getattr(instance, "_prefetched_objects_cache", {})
        descriptor = _descriptor(type(instance), name)
        if name in collections:
            value = collections[name]
        elif isinstance(descriptor, ManyToManyDescriptor) and descriptor.reverse:
            value = collections.get(descriptor.field.related_query_name())
        elif isinstance(descriptor, (property, cached_property)):
            # The lookup passed through it, so it was read before.
            with unseen():
                value = getattr(instance, name)
    if isinstance(value, Model):
        return [value]
    if isinstance(value, QuerySet):
        value = value._result_cache
    return [one for one in value if isinstance(one, Model)] if isinstance(value, list) else []


def _descriptor(model: type[Any], name: str) -> Any:
    return next((vars(base)[name] for base in model.__mro__ if name in vars(base)), None)


class Lookups:
    """
    How many lookups the engine attached, and how many Django did, by reason. Each step of each call counts once.

    compared: Calls that were repeated with a remembering engine and compared with Django.
    """

    def __init__(self) -> None:
        self.compared = 0
        self.native: Counter[str] = Counter()
        self.django: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def count(self, instances: Sequence[Any], lookups: Iterable[Any], stats: Any) -> None:
        known = paths(lookups)
        # The querysets of managers may have their own lookups.
        for path in stats.relations:
            known.setdefault(path, tuple(path.split("__")))
        for path, relations in known.items():
            *before, _ = path.split("__")
            level = list(instances)
            for name in before:
                level = [related for one in level for related in attached(one, name)]
            kinds = {kind_of(type(one), relations[-1]) for one in level} - {OTHER}
            if len(kinds) != 1 or path not in stats.relations:
                continue
            relation, (kind,) = stats.relations[path], kinds
            if relation.path == "native":
                self.native[kind] += 1
            else:
                kind = CLASHING if relation.reason == CLASH else kind
                self.django[kind][relation.reason or "no reason given"] += 1

    def as_dict(self) -> dict[str, Any]:
        by_django = {kind: dict(why) for kind, why in self.django.items()}
        return {"native": dict(self.native), "django": by_django, "compared": self.compared}
