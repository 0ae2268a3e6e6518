"""The attributes of a model class by which Django can prefetch."""

from __future__ import annotations

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRel
from django.db import models
from django.db.models.fields.related import RelatedField


def accessors(model: type[models.Model]) -> dict[str, tuple[str, bool]]:
    """From where a relation is cached, in `fields_cache` or among the prefetched, to its attribute."""
    known = model._meta._get_fields_cache  # Django makes another one when a model gains a relation
    if accessors not in known:
        known[accessors] = _accessors(model)
    return known[accessors]


def _accessors(model: type[models.Model]) -> dict[str, tuple[str, bool]]:
    found: dict[str, tuple[str, bool]] = {}
    for field in model._meta.get_fields(include_hidden=True):
        # Where a generic relation comes from, Django leaves a descriptor that finds nothing.
        if not field.is_relation or isinstance(field, GenericRel):
            continue
        if field.auto_created and not field.concrete:  # a reverse relation
            name = field.get_accessor_name()
            if name is not None and hasattr(model, name):
                cached = field.field.related_query_name() if field.many_to_many else name
                found[cached] = (name, field.multiple)
        else:
            found[field.name] = (field.name, field.many_to_many or field.one_to_many)
    return found


def relations(model: type[models.Model]) -> dict[str, type[models.Model] | None]:
    """Every attribute that Django can prefetch, and where it leads; None: only the row can tell."""
    found: dict[str, type[models.Model] | None] = {}
    for field in model._meta.get_fields():
        if isinstance(field, GenericRel):
            continue
        if isinstance(field, GenericForeignKey):
            found[field.name] = None
        elif field.auto_created and not field.concrete:
            name = field.get_accessor_name()
            if name is not None and hasattr(model, name):
                found[name] = field.related_model
        elif isinstance(field, RelatedField):
            found[field.name] = field.related_model
    return found
