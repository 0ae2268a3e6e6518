"""What Django's `_meta` and descriptors say about an attribute of a model, and whether the engine may attach to it."""

from __future__ import annotations

import difflib
import functools
from dataclasses import dataclass
from typing import Any

from django.db.models import DecimalField, Field, FloatField, Model, QuerySet
from django.db.models.fields.related_descriptors import (
    ForwardManyToOneDescriptor,
    ManyToManyDescriptor,
    ReverseManyToOneDescriptor,
    ReverseOneToOneDescriptor,
)

from ._stock import (
    DESCRIPTOR,
    PREFETCHERS,
    descriptors,
    static_attribute,
    why_not_column,
    why_not_key,
    why_not_own,
    why_not_related_manager,
    why_overridden,
    why_overridden_once,
    why_patched,
)

TO_ONE, TO_MANY, LOOSE, DJANGO, ATTRIBUTE = "to one", "to many", "loose key", "django", "attribute"
REVERSE_ONE, REVERSE_MANY = "reverse one", "reverse many"
GENERIC_ONE, GENERIC_MANY = "generic one", "generic many"
READ_ANEW = "to many, read anew"  # what a row looks like may depend on the link or on the chunk: nothing is remembered
# Rows that refer to the object that they are attached to: they belong to it, and are not remembered for themselves.
COLLECTIONS = (REVERSE_ONE, REVERSE_MANY, GENERIC_MANY, READ_ANEW)
# Relations to one row at most.
SINGLE = (TO_ONE, REVERSE_ONE, GENERIC_ONE)


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

    @property
    def patched(self) -> str | None:
        """Who has patched the descriptor's reading, which stays Django's for the engine."""
        return None if self.descriptor is None else why_patched(type(self.descriptor), ("__get__",))


def relation_of(model: type[Model], name: str) -> Relation | None:
    """The relation `name` of `model`; None when the class does not have such an attribute."""
    return _relation_of(model, name, descriptors())  # type: ignore[arg-type]


@functools.lru_cache(maxsize=4096)
def _relation_of(model: type[Model], name: str, _: Any) -> Relation | None:
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
    if any(hasattr(descriptor, prefetcher) for prefetcher in PREFETCHERS):
        reason = f"custom descriptor {type(descriptor).__name__}"
        return Relation(model, name, DJANGO, reason, descriptor=descriptor)
    if isinstance(descriptor, property) and descriptor.fset is None:
        return Relation(model, name, ATTRIBUTE)
    if static_attribute(model, f"{name}_id") is not None:
        return Relation(model, name, LOOSE, key_name=f"{name}_id", cache_name=name)
    return None if descriptor is None else Relation(model, name, ATTRIBUTE)


def _forward(model: type[Model], name: str, descriptor: ForwardManyToOneDescriptor) -> Relation:
    field = descriptor.field
    target = field.remote_field.model
    reason = (
        _why_not_descriptor(descriptor)
        or _why_not_field(field)
        or _why_not_keys((model, field.related_fields[0][0]), (target, field.related_fields[0][1]))
    )
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


def _why_not_descriptor(descriptor: Any) -> str | None:
    """Why writing `fields_cache` might not be all that attaching by this descriptor does; None: it is."""
    cls = type(descriptor)
    custom = f"custom descriptor {cls.__name__}"
    # A patch of __get__ that keeps what is attached sees every access, whoever attached it.
    return why_overridden(cls, ("__get__",), custom) or why_not_own(cls, DESCRIPTOR, custom)


def _why_not_field(field: Any) -> str | None:
    if len(field.related_fields) != 1:
        return f"{type(field).__name__} has {len(field.related_fields)} columns"
    return why_not_own(type(field), (*_KEYS, *_CACHING), f"custom field {type(field).__name__}")


_KEYS = ("get_local_related_value", "get_foreign_related_value", "get_instance_value_for_fields")
_CACHING = ("is_cached", "get_cached_value", "set_cached_value", "cache_name", "get_cache_name")
# By which a many-to-many's query finds its through table.
_PATHS = ("get_path_info", "_get_path_info", "get_reverse_path_info", "path_infos", "reverse_path_infos")


def _why_not_keys(held: tuple[type[Model], Any], asked: tuple[type[Model], Any]) -> str | None:
    """
    Why the keys of a relation might be other values than those that its columns hold.

    Args:
        held, asked: The model and field that the objects have their key in, and those that rows are asked for by it.
    """
    for model, field in (held, asked):
        if (reason := why_not_column(model, field.attname) or why_not_key(field)) is not None:
            return reason
        if field.primary_key and (reason := why_overridden_once(model, _PRIMARY_KEY)) is not None:
            return reason
    return None


_PRIMARY_KEY = ("pk", "_get_pk_val", "_is_pk_set")


def _reverse_one(model: type[Model], name: str, descriptor: ReverseOneToOneDescriptor) -> Relation:
    related = descriptor.related
    field, target = related.field, related.related_model
    reason = (
        _why_not_descriptor(descriptor)
        or _why_not_field(field)
        or _why_not_keys((model, field.related_fields[0][1]), (target, field.related_fields[0][0]))
    )
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
    reason = (
        (None if issubclass(target, field.related_fields[0][0].model) else f"the way back of {field.name}")
        or _why_not_collection(descriptor)
        or _why_not_field(field)
        or _why_not_keys((model, field.related_fields[0][1]), (target, field.related_fields[0][0]))
    )
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
    if reason is None:
        type_field = target._meta.get_field(field.content_type_field_name)
        key_field = target._meta.get_field(field.object_id_field_name)
        reason = why_not_column(target, type_field.attname) or _why_not_keys(
            (model, model._meta.pk), (target, key_field)
        )
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
    custom = f"custom descriptor {type(descriptor).__name__}"
    return why_overridden(type(descriptor), ("__get__",), custom) or why_not_related_manager(
        descriptor.related_manager_cls
    )


def _generic_one(model: type[Model], name: str, descriptor: Any) -> Relation:
    field = getattr(descriptor, "field", descriptor)
    reason = _why_not_descriptor(descriptor) or why_not_own(
        type(field), ("get_content_type", *_CACHING), f"custom field {type(field).__name__}"
    )
    key = next((one for one in model._meta.concrete_fields if one.attname == field.fk_field), None)
    if reason is None and key is None:
        reason = f"{field.fk_field} is no column of {model.__name__}"
    if reason is None:
        type_field = model._meta.get_field(field.ct_field)
        reason = why_not_column(model, field.fk_field) or why_not_column(model, type_field.attname)
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
    reason = _why_not_collection(descriptor)
    if reason is None and (len(source_key.related_fields) != 1 or len(target_key.related_fields) != 1):
        reason = f"{through.__name__} refers by several columns"
    if reason is None:
        [source_field], [target_field] = source_key.foreign_related_fields, target_key.foreign_related_fields
        reason = (
            _why_not_keys((model, source_field), (target, target_field))
            or why_not_key(source_key)
            or why_not_key(target_key)
            or why_not_own(type(field), _PATHS, f"custom field {type(field).__name__}")
        )
    if reason is None and isinstance(value_field(target_field), (FloatField, DecimalField)):
        reason = f"{target.__name__}.{target_field.name} may be NaN, which no key finds"
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


def value_field(field: Any) -> Any:
    """The field that a field's values are those of: the one that foreign keys lead to in the end."""
    while field.remote_field is not None:
        field = field.target_field
    return field


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


def unrelated_queryset(manager: Any) -> QuerySet[Any]:
    """What a related manager starts from: the default manager's queryset, whatever is prefetched."""
    generated: Any = next(base for base in type(manager).__mro__ if "_apply_rel_filters" in base.__dict__)
    queryset: QuerySet[Any] = super(generated, manager).get_queryset()
    return queryset


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
