"""What Django's `_meta` and descriptors say about an attribute of a model, and whether the engine may attach to it."""

from __future__ import annotations

import difflib
import functools
from dataclasses import dataclass
from typing import Any

from django.db.models import Field, Manager, Model, QuerySet
from django.db.models.fields.mixins import FieldCacheMixin
from django.db.models.fields.related import ForeignObject
from django.db.models.fields.related_descriptors import (
    ForwardManyToOneDescriptor,
    ManyToManyDescriptor,
    ReverseManyToOneDescriptor,
)
from django.db.models.manager import BaseManager

TO_ONE, TO_MANY, LOOSE, DJANGO, ATTRIBUTE = "to one", "to many", "loose key", "django", "attribute"

# Django renamed both with version 5.0.
_PREFETCHERS = ("get_prefetch_querysets", "get_prefetch_queryset")


@dataclass(frozen=True, eq=False)
class Relation:
    """
    One attribute of one model class.

    kind: TO_ONE and TO_MANY are attached by the engine, LOOSE too, through setattr; DJANGO is left to Django's own
        prefetch, `reason` says why; ATTRIBUTE holds an object and is only passed through.
    target: The related model; None when only the objects can tell.
    """

    model: type[Model]
    name: str
    kind: str
    reason: str | None = None
    target: type[Model] | None = None
    key_name: str = ""
    cache_name: str = ""
    reverse_name: str | None = None
    target_field: Field[Any, Any] | None = None  # of the target, that the key refers to
    descriptor: Any = None

    @property
    def label(self) -> str:
        return f"{self.model.__name__}.{self.name}"


@functools.lru_cache(maxsize=4096)
def relation_of(model: type[Model], name: str) -> Relation | None:
    """The relation `name` of `model`; None when the class does not have such an attribute."""
    descriptor = static_attribute(model, name)
    if isinstance(descriptor, ForwardManyToOneDescriptor):
        return _forward(model, name, descriptor)
    if isinstance(descriptor, ManyToManyDescriptor):
        return _many_to_many(model, name, descriptor)
    if any(hasattr(descriptor, prefetcher) for prefetcher in _PREFETCHERS):
        return Relation(
            model, name, DJANGO, f"{type(descriptor).__name__} is prefetched by Django", descriptor=descriptor
        )
    if isinstance(descriptor, ReverseManyToOneDescriptor):
        return Relation(
            model, name, DJANGO, f"{type(descriptor).__name__} is prefetched by Django", descriptor=descriptor
        )
    if isinstance(descriptor, property) and descriptor.fset is None:
        return Relation(model, name, ATTRIBUTE)
    if static_attribute(model, f"{name}_id") is not None:
        return Relation(model, name, LOOSE, key_name=f"{name}_id", cache_name=name)
    return None if descriptor is None else Relation(model, name, ATTRIBUTE)


def static_attribute(model: type, name: str) -> Any:
    """The attribute as the class has it, without calling a descriptor; None when there is none."""
    for base in model.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return None


def _forward(model: type[Model], name: str, descriptor: ForwardManyToOneDescriptor) -> Relation:
    field = descriptor.field
    target = field.remote_field.model
    reason = _why_not_forward(descriptor, field)
    if reason is not None:
        return Relation(model, name, DJANGO, reason, target, descriptor=descriptor)
    local_field, target_field = field.related_fields[0]
    remote = field.remote_field
    return Relation(
        model,
        name,
        TO_ONE,
        target=target,
        key_name=local_field.attname,
        cache_name=cache_name_of(field),
        reverse_name=None if remote.multiple else cache_name_of(remote),
        target_field=target_field,
        descriptor=descriptor,
    )


def _why_not_forward(descriptor: Any, field: Any) -> str | None:
    """Why writing `fields_cache` might not be all that attaching to this foreign key does; None: it is."""
    cls = type(descriptor)
    for method in ("__get__", "is_cached", "get_queryset"):
        if getattr(cls, method) is not getattr(ForwardManyToOneDescriptor, method):
            return f"custom descriptor {cls.__name__}"
    if not all(
        _is_from(getattr(cls, method, None), "django", "seal") for method in (*_PREFETCHERS, "__set__", "get_object")
    ):
        return f"custom descriptor {cls.__name__}"
    field_class = type(field)
    for method in ("get_local_related_value", "get_foreign_related_value", "get_instance_value_for_fields"):
        if getattr(field_class, method) is not getattr(ForeignObject, method):
            return f"custom field {field_class.__name__}"
    for method in ("is_cached", "get_cached_value", "set_cached_value"):
        if getattr(field_class, method) is not getattr(FieldCacheMixin, method):
            return f"custom field {field_class.__name__}"
    if len(field.related_fields) != 1:
        return f"{field_class.__name__} has {len(field.related_fields)} columns"
    return None


def _many_to_many(model: type[Model], name: str, descriptor: ManyToManyDescriptor) -> Relation:
    related = descriptor.rel
    field = related.field
    through = related.through
    target = related.related_model if descriptor.reverse else related.model
    source_name = field.m2m_reverse_field_name() if descriptor.reverse else field.m2m_field_name()
    source_key = through._meta.get_field(source_name)
    reason = None
    if not _is_from(type(descriptor).__get__, "django"):
        reason = f"custom descriptor {type(descriptor).__name__}"
    elif len(source_key.related_fields) != 1 or not source_key.foreign_related_fields[0].primary_key:
        reason = f"{through.__name__}.{source_name} does not refer to a primary key"
    if reason is not None:
        return Relation(model, name, DJANGO, reason, target, descriptor=descriptor)
    return Relation(
        model,
        name,
        TO_MANY,
        target=target,
        key_name=source_key.foreign_related_fields[0].attname,
        cache_name=field.related_query_name() if descriptor.reverse else field.name,
        target_field=target._meta.pk,
        descriptor=descriptor,
    )


def link_fields(relation: Relation) -> tuple[type[Model], Field[Any, Any], Field[Any, Any]]:
    """The through model of a many-to-many, and its fields that lead to the relation's model and to the target."""
    related, reverse = relation.descriptor.rel, relation.descriptor.reverse
    names = [related.field.m2m_field_name(), related.field.m2m_reverse_field_name()]
    source, target = reversed(names) if reverse else names
    through = related.through
    return through, through._meta.get_field(source), through._meta.get_field(target)


def cache_name_of(field: Any) -> str:
    """The key in `fields_cache`. Up to Django 5.0 there is only the method."""
    try:
        return field.cache_name  # type: ignore[no-any-return]
    except AttributeError:
        return field.get_cache_name()  # type: ignore[no-any-return]


def is_data_descriptor(model: type[Model], attname: str) -> bool:
    """Whether reading the column as an attribute runs Python code even when it is loaded."""
    descriptor = static_attribute(model, attname)
    return descriptor is not None and hasattr(type(descriptor), "__set__")


def plain_manager(manager: BaseManager[Any]) -> bool:
    """Whether the manager's queryset is a bare QuerySet over all rows."""
    return type(manager).get_queryset is BaseManager.get_queryset and manager._queryset_class is QuerySet


def stock_related_manager(manager_class: type[Manager[Any]]) -> bool:
    """Whether only Django's generated class and its superclass's BaseManager decide what the manager's queryset is."""
    definers = [base for base in manager_class.__mro__ if "get_queryset" in base.__dict__]
    return (
        len(definers) == 2
        and definers[0] is manager_class
        and definers[1] is BaseManager
        and _is_from(manager_class._apply_rel_filters, "django")
    )


def unrelated_queryset(manager: Any) -> QuerySet[Any]:
    """What a related manager starts from: the default manager's queryset, whatever is prefetched."""
    generated: Any = next(base for base in type(manager).__mro__ if "_apply_rel_filters" in base.__dict__)
    queryset: QuerySet[Any] = super(generated, manager).get_queryset()
    return queryset


def _is_from(function: Any, *packages: str) -> bool:
    return function is None or getattr(function, "__module__", "").split(".")[0] in packages


def unknown_attribute(model: type[Model], name: str, where: str) -> AttributeError:
    """The error for a name that is nothing, with what it may have meant."""
    names = sorted(_relation_names(model))
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    msg = (
        f"{where}: {name!r} is neither a relation of {model.__name__} nor has a column {name}_id{hint} "
        f"Relations: {', '.join(names) or 'none'}."
    )
    return AttributeError(msg)


def _relation_names(model: type[Model]) -> set[str]:
    names = {field.name for field in model._meta.get_fields() if field.is_relation and not field.auto_created}
    for related in model._meta.related_objects:
        if accessor := related.get_accessor_name():
            names.add(accessor)
    return names
