"""`Relation`, what the engine knows about one attribute of a model, and helpers for model fields."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from django.db.models import Field, Model, QuerySet

from ._stock import static_attribute, why_patched


@dataclass(frozen=True, eq=False)
class Relation:
    """
    One attribute of one model class that a lookup can name.

    kind: The class of `_relations/` that attaches it.
    reason: Why Django has to attach it; None if the engine can.
    target: The related model; None if it depends on the object.
    key_name: The attribute of the object that holds the key of its rows.
    cache_name: The relation's name in `_state.fields_cache` or `_prefetched_objects_cache`.
    reverse_name: The name of the other side in the row's `_state.fields_cache`, if Django sets it.
    join_name: If the rows refer to the object, the attribute of the row that does.
    target_field: The field of the target that the key refers to.
    field: For a reverse or generic relation, the field that defines it.
    descriptor: What the model class has under this name.
    """

    model: type[Model]
    name: str
    kind: Any
    reason: str | None = None
    target: type[Model] | None = None
    key_name: str = ""
    cache_name: str = ""
    reverse_name: str | None = None
    join_name: str = ""
    target_field: Field[Any, Any] | None = None
    field: Any = None
    descriptor: Any = None

    @property
    def to(self) -> type[Model]:
        """The related model; only for relations that lead to one model."""
        assert self.target is not None, f"{self.label} does not lead to one model"
        return self.target

    @property
    def owner(self) -> type[Model]:
        """The model that defines the attribute, from which others inherit it."""
        return next(cls for cls in self.model.__mro__ if cls.__dict__.get(self.name) is self.descriptor)

    @property
    def label(self) -> str:
        return f"{self.model.__name__}.{self.name}"

    @property
    def patched(self) -> str | None:
        """Which package has patched the descriptor's `__get__`, if any. The engine attaches rows all the same."""
        return None if self.descriptor is None else why_patched(type(self.descriptor), ("__get__",))


def link_fields(relation: Relation) -> tuple[type[Model], Field[Any, Any], Field[Any, Any]]:
    """The through model of a many-to-many, its foreign key to the relation's model, and that to the target."""
    return through_fields(relation.descriptor)


def through_fields(descriptor: Any) -> tuple[type[Model], Field[Any, Any], Field[Any, Any]]:
    """The same for the descriptor of a many-to-many."""
    related = descriptor.rel
    names = [related.field.m2m_field_name(), related.field.m2m_reverse_field_name()]
    source, target = reversed(names) if descriptor.reverse else names
    through = related.through
    return through, through._meta.get_field(source), through._meta.get_field(target)


def pk_fields(model: type[Model]) -> list[Field[Any, Any]]:
    """The columns of the primary key."""
    return list(getattr(model._meta, "pk_fields", (model._meta.pk,)))


def held_field(model: type[Model], field: Any) -> Any:
    """
    The field in which objects of the model hold another one's value.

    That is the field itself, but for a parent's primary key: Django reads it from the child's own.
    """
    if field.primary_key:
        link = model._meta.get_ancestor_link(field.model)
        if not link or link.primary_key or link.model._meta.abstract:
            return model._meta.pk
    return field


def has_key_of(model: Any, parent: Any) -> bool:
    """Whether both are one model, or rows share their primary key with their row of the parent model."""
    while model is not parent:
        link = model._meta.pk.remote_field
        if link is None or not getattr(link, "parent_link", False):
            return False
        model = link.model._meta.concrete_model
    return True


def why_another_key(model: type[Model], field: Any) -> str | None:
    """Why the field in which the objects hold a parent's key may hold another one; None if it may not."""
    owner = field.model._meta.concrete_model
    if held_field(model, field) is field or has_key_of(model._meta.concrete_model, owner):
        return None
    return f"the primary key of {model.__name__} is not that of its parent {owner.__name__}"


def value_field(field: Any) -> Any:
    """The field whose values this field holds: the end of its chain of foreign keys."""
    while field.remote_field is not None:
        field = field.target_field
    return field


def cache_name_of(field: Any) -> str:
    """The field's key in `fields_cache`. Up to Django 5.0 there is only the method."""
    try:
        return field.cache_name  # type: ignore[no-any-return]
    except AttributeError:
        return field.get_cache_name()  # type: ignore[no-any-return]


def is_data_descriptor(model: type[Model], attname: str) -> bool:
    """Whether reading the attribute runs Python code even if the column is loaded."""
    descriptor = static_attribute(model, attname)
    return descriptor is not None and hasattr(type(descriptor), "__set__")


def unrelated_queryset(manager: Any) -> QuerySet[Any]:
    """The queryset that a related manager starts from, the default manager's, even if rows were prefetched."""
    generated: Any = next(base for base in type(manager).__mro__ if "_apply_rel_filters" in base.__dict__)
    queryset: QuerySet[Any] = super(generated, manager).get_queryset()
    return queryset


def unknown_attribute(model: type[Model], name: str, where: str, path: str) -> AttributeError:
    """The error for an unknown name, with a suggestion."""
    names = relation_names(model)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    within = "" if path == name else f" in {path!r}"
    msg = (
        f"{where}: {name!r}{within} is not a relation of {model.__name__}, and there is no column {name}_id{hint} "
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
