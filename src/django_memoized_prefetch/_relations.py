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
    ReverseOneToOneDescriptor,
)
from django.db.models.manager import BaseManager

TO_ONE, TO_MANY, LOOSE, DJANGO, ATTRIBUTE = "to one", "to many", "loose key", "django", "attribute"
REVERSE_ONE, REVERSE_MANY = "reverse one", "reverse many"
GENERIC_ONE, GENERIC_MANY = "generic one", "generic many"
READ_ANEW = "to many, read anew"  # what a row looks like may depend on the link or on the chunk: nothing is remembered
# Rows that refer to the object that they are attached to: they belong to it, and are not remembered for themselves.
COLLECTIONS = (REVERSE_ONE, REVERSE_MANY, GENERIC_MANY, READ_ANEW)
# Relations to one row at most.
SINGLE = (TO_ONE, REVERSE_ONE, GENERIC_ONE)

# Django renamed both with version 5.0.
_PREFETCHERS = ("get_prefetch_querysets", "get_prefetch_queryset")


@dataclass(frozen=True, eq=False)
class Relation:
    """
    One attribute of one model class.

    kind: DJANGO is left to Django's own prefetch, `reason` says why; ATTRIBUTE holds an object and is only passed
        through; all others are attached by the engine, LOOSE through setattr.
    target: The related model; None when only the objects can tell.
    key_name: The attribute of the object that its rows are found by.
    cache_name: What the relation is called in `_state.fields_cache` or `_prefetched_objects_cache`.
    reverse_name: What the other side is called in the row's `_state.fields_cache`, when it is set.
    join_name: Of a relation whose rows refer to the object: the attribute that does.
    """

    model: type[Model]
    name: str
    kind: str
    reason: str | None = None
    target: type[Model] | None = None
    key_name: str = ""
    cache_name: str = ""
    reverse_name: str | None = None
    join_name: str = ""
    target_field: Field[Any, Any] | None = None  # of the target, that the key refers to
    field: Any = None  # that makes the relation, of a reverse or generic one
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
    if isinstance(descriptor, ReverseOneToOneDescriptor):
        return _reverse_one(model, name, descriptor)
    if _is_generic(descriptor, "ReverseGenericManyToOneDescriptor"):
        return _generic_many(model, name, descriptor)
    if isinstance(descriptor, ReverseManyToOneDescriptor):
        return _reverse_many(model, name, descriptor)
    if _is_generic(descriptor, "GenericForeignKey", "GenericForeignKeyDescriptor"):
        return _generic_one(model, name, descriptor)
    if any(hasattr(descriptor, prefetcher) for prefetcher in _PREFETCHERS):
        reason = f"custom descriptor {type(descriptor).__name__}"
        return Relation(model, name, DJANGO, reason, descriptor=descriptor)
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
    return _why_not_stock(descriptor, ForwardManyToOneDescriptor) or _why_not_field(field)


def _why_not_stock(descriptor: Any, stock: type) -> str | None:
    cls = type(descriptor)
    for method in ("__get__", "is_cached"):
        if getattr(cls, method) is not getattr(stock, method):
            return f"custom descriptor {cls.__name__}"
    methods = (*_PREFETCHERS, "get_queryset", "__set__", "get_object")
    if not all(_is_from(getattr(cls, method, None), "django", "seal") for method in methods):
        return f"custom descriptor {cls.__name__}"
    return None


def _why_not_field(field: Any) -> str | None:
    field_class = type(field)
    for method in ("get_local_related_value", "get_foreign_related_value", "get_instance_value_for_fields"):
        if getattr(field_class, method) is not getattr(ForeignObject, method):
            return f"custom field {field_class.__name__}"
    if len(field.related_fields) != 1:
        return f"{field_class.__name__} has {len(field.related_fields)} columns"
    return _why_not_cached(field)


def _why_not_cached(field: Any) -> str | None:
    for method in ("is_cached", "get_cached_value", "set_cached_value"):
        if getattr(type(field), method) is not getattr(FieldCacheMixin, method):
            return f"custom field {type(field).__name__}"
    return None


def _reverse_one(model: type[Model], name: str, descriptor: ReverseOneToOneDescriptor) -> Relation:
    related = descriptor.related
    field, target = related.field, related.related_model
    reason = _why_not_stock(descriptor, ReverseOneToOneDescriptor) or _why_not_field(field)
    if reason is not None:
        return Relation(model, name, DJANGO, reason, target, field=field, descriptor=descriptor)
    local_field, target_field = field.related_fields[0]
    return Relation(
        model,
        name,
        REVERSE_ONE,
        target=target,
        key_name=target_field.attname,
        cache_name=cache_name_of(related),
        reverse_name=cache_name_of(field),
        join_name=local_field.attname,
        field=field,
        descriptor=descriptor,
    )


def _reverse_many(model: type[Model], name: str, descriptor: ReverseManyToOneDescriptor) -> Relation:
    field, target = descriptor.field, descriptor.rel.related_model
    reason = _why_not_collection(descriptor) or _why_not_field(field)
    if reason is not None:
        return Relation(model, name, DJANGO, reason, target, field=field, descriptor=descriptor)
    local_field, target_field = field.related_fields[0]
    return Relation(
        model,
        name,
        REVERSE_MANY,
        target=target,
        key_name=target_field.attname,
        cache_name=cache_name_of(field.remote_field),
        reverse_name=cache_name_of(field),
        join_name=local_field.attname,
        field=field,
        descriptor=descriptor,
    )


def _generic_many(model: type[Model], name: str, descriptor: ReverseManyToOneDescriptor) -> Relation:
    field, target = descriptor.rel.field, descriptor.rel.model
    reason = _why_not_collection(descriptor)
    if reason is None and len(pk_fields(model)) != 1:
        reason = f"{model.__name__} has a composite primary key"
    if reason is not None:
        return Relation(model, name, DJANGO, reason, target, field=field, descriptor=descriptor)
    return Relation(
        model,
        name,
        GENERIC_MANY,
        target=target,
        key_name=model._meta.pk.attname,
        cache_name=field.attname,
        join_name=target._meta.get_field(field.object_id_field_name).attname,
        field=field,
        descriptor=descriptor,
    )


def _why_not_collection(descriptor: Any) -> str | None:
    manager = descriptor.related_manager_cls
    if not _is_from(type(descriptor).__get__, "django"):
        return f"custom descriptor {type(descriptor).__name__}"
    if not all(_is_from(getattr(manager, method, None), "django", "seal") for method in _PREFETCHERS):
        return f"custom related manager {manager.__qualname__}"
    return None


def _generic_one(model: type[Model], name: str, descriptor: Any) -> Relation:
    field = getattr(descriptor, "field", descriptor)
    reason = None
    methods = (*_PREFETCHERS, "__get__")
    if not all(_is_from(getattr(type(descriptor), method, None), "django", "seal") for method in methods):
        reason = f"custom descriptor {type(descriptor).__name__}"
    elif not _is_from(type(field).get_content_type, "django"):
        reason = f"custom field {type(field).__name__}"
    else:
        reason = _why_not_cached(field)
    key = next((one for one in model._meta.concrete_fields if one.attname == field.fk_field), None)
    if reason is None and key is None:
        reason = f"{field.fk_field} is no column of {model.__name__}"
    if reason is not None:
        return Relation(model, name, DJANGO, reason, field=field, descriptor=descriptor)
    return Relation(
        model,
        name,
        GENERIC_ONE,
        key_name=field.fk_field,
        cache_name=cache_name_of(field),
        field=field,
        descriptor=descriptor,
    )


def _is_generic(descriptor: Any, *names: str) -> bool:
    """By name: the classes can only be imported when contenttypes is installed."""
    return any(
        base.__name__ in names and base.__module__ == "django.contrib.contenttypes.fields"
        for base in type(descriptor).__mro__
    )


def pk_fields(model: type[Model]) -> list[Field[Any, Any]]:
    """The columns of the primary key."""
    return list(getattr(model._meta, "pk_fields", (model._meta.pk,)))


def _many_to_many(model: type[Model], name: str, descriptor: ManyToManyDescriptor) -> Relation:
    related = descriptor.rel
    field = related.field
    through = related.through
    target = related.related_model if descriptor.reverse else related.model
    source_name = field.m2m_reverse_field_name() if descriptor.reverse else field.m2m_field_name()
    target_name = field.m2m_field_name() if descriptor.reverse else field.m2m_reverse_field_name()
    source_key, target_key = through._meta.get_field(source_name), through._meta.get_field(target_name)
    reason = None
    if not _is_from(type(descriptor).__get__, "django"):
        reason = f"custom descriptor {type(descriptor).__name__}"
    elif len(source_key.related_fields) != 1 or len(target_key.related_fields) != 1:
        reason = f"{through.__name__} refers by several columns"
    if reason is not None:
        return Relation(model, name, DJANGO, reason, target, descriptor=descriptor)
    return Relation(
        model,
        name,
        TO_MANY,
        target=target,
        key_name=source_key.foreign_related_fields[0].attname,
        cache_name=field.related_query_name() if descriptor.reverse else field.name,
        target_field=target_key.foreign_related_fields[0],
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


def unknown_attribute(model: type[Model], name: str, where: str, path: str) -> AttributeError:
    """The error for a name that is nothing, with what it may have meant."""
    names = relation_names(model)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    within = "" if path == name else f" in {path!r}"
    msg = (
        f"{where}: {name!r}{within} is neither a relation of {model.__name__} nor has a column {name}_id{hint} "
        f"Relations: {', '.join(names) or 'none'}."
    )
    return AttributeError(msg)


def relation_names(model: type[Model]) -> list[str]:
    names = {field.name for field in model._meta.get_fields() if field.is_relation and not field.auto_created}
    for related in model._meta.related_objects:
        accessor = related.get_accessor_name()
        if accessor and not accessor.endswith("+"):
            names.add(accessor)
    return sorted(names)
