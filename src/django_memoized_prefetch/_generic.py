"""Generic foreign keys: which model each object's leads to, and its value as the key of that model's rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import django
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db.models import CharField, Field, IntegerField, Model, TextField, UUIDField

from ._attach import Attachment, Rows
from ._engine import group_by_value

from ._lookups import Lookup
from ._queries import content_type_rows, queryset_rows
from ._relations import GENERIC_MANY, TO_ONE, Relation, pk_fields, value_field
from ._stock import why_not_column, why_not_key, why_not_stock

# Django compares the keys as strings since 6.0; before, the value as the primary key's column would store it.
_COMPARES_STRINGS = django.VERSION >= (6, 0)


class GenericTarget(Attachment):
    """
    A generic foreign key of one model class as far as it leads to one other.

    Args:
        content_type: Of that other; None for objects that lead nowhere, whose key is not looked at.
    """

    def __init__(self, whole: Attachment, content_type: Any, queryset: Any) -> None:
        relation = whole.relation
        if content_type is None:
            relation = replace(relation, key_name=content_type_column(relation))  # null, as a key is to be
        super().__init__(whole.lookup, relation)
        self.kind = TO_ONE
        if content_type is None:
            self.source = content_type_rows(whole.relation.model, None)
        elif queryset is None:
            self.source = content_type_rows(content_type.model_class(), content_type)
        else:
            # Without hints, as by Django: of the database that the router gives for the model alone.
            self.source = queryset_rows(queryset, own_lookups=whole.lookup.generic, hints=not whole.lookup.generic)
        self.rows = Rows(self.source, self.source.model._meta.pk.attname, self.lookup.custom_below)
        self.absent = content_type is None

    def alias(self, instance: Model) -> str:
        if self.absent:
            return instance._state.db or "default"
        alias: str = self.row_source.make(instance).db
        return alias


class GenericByDjango(Attachment):
    """Objects whose generic foreign key the engine cannot follow: Django answers, or raises."""

    def __init__(self, whole: Attachment, reason: str) -> None:
        super().__init__(whole.lookup, whole.relation)
        self._leave_to_django(reason)


def generic_targets(
    attachment: Attachment, objects: Sequence[Any]
) -> Iterator[tuple[Attachment, list[Any], dict[Any, Any] | None]]:
    """For each model that the objects lead to: how, which objects, and the keys by the values that these hold."""
    relation, lookup = attachment.relation, attachment.lookup
    field = relation.field
    custom = custom_querysets(relation, lookup)
    for ct_id, members in group_by_value(objects, content_type_column(relation)):
        if ct_id is None:
            yield GenericTarget(attachment, None, None), members, {}
            continue
        try:
            content_type = field.get_content_type(id=ct_id, using=members[0]._state.db)
            model = content_type.model_class()
        except ObjectDoesNotExist:
            model = None  # Django meets the same, and says so
        queryset = custom.get(ct_id)
        if model is None:
            yield GenericByDjango(attachment, "the content type has no model"), members, None
            continue
        if (reason := why_not_followed(model, content_type, queryset, relation)) is not None:
            yield GenericByDjango(attachment, reason), members, None
            continue
        values = [value for value, _ in group_by_value(members, relation.key_name) if value is not None]
        translated = keys_of(model, values)
        if translated is None:
            yield GenericByDjango(attachment, f"a value that is no key of {model.__name__}"), members, None
        else:
            yield GenericTarget(attachment, content_type, queryset), members, translated


def why_not_followed(model: type[Model], content_type: Any, queryset: Any, relation: Relation) -> str | None:
    """Why the rows of a model might be others than those that Django finds for the same values."""
    if len(pk_fields(model)) != 1:
        return f"{model.__name__} has a composite primary key"
    if queryset is None:
        source = content_type_rows(model, content_type)
        if source.varies:
            return f"{model.__name__}'s base manager has its own get_queryset()"
        if source.of_manager:
            queryset = content_type.get_all_objects_for_this_type()
    if queryset is not None:
        if queryset.model is not model:
            return f"the queryset is of {queryset.model.__name__}"
        if (reason := why_not_stock(queryset)) is not None:
            return reason
    return why_not_column(model, model._meta.pk.attname) or why_not_key(model._meta.pk) or _why_not_text(model)


def _why_not_text(model: type[Model]) -> str | None:
    """
    Why two keys of a model that are equal might be told apart as text, or the other way round.

    Django compares them as text since 6.0: Decimal("1.5") and Decimal("1.50") are two keys then.
    """
    field = value_field(model._meta.pk)
    if isinstance(field, (IntegerField, UUIDField, CharField, TextField)):
        return None
    return f"{model.__name__}'s key is a {type(field).__name__}"


def content_type_column(relation: Relation) -> str:
    """The attribute that holds the key of the content type: of the objects, or of a generic relation's rows."""
    if relation.kind == GENERIC_MANY:
        assert relation.target is not None
        name: str = relation.target._meta.get_field(relation.field.content_type_field_name).attname
    else:
        name = relation.model._meta.get_field(relation.field.ct_field).attname
    return name


def custom_querysets(relation: Relation, lookup: Lookup) -> dict[Any, Any]:
    """The user's querysets by their content type, as Django finds them."""
    found: dict[Any, Any] = {}
    for queryset in lookup.querysets or ():
        ct_id = relation.field.get_content_type(model=queryset.query.model, using=queryset.db).pk
        if ct_id in found:
            raise ValueError("Only one queryset is allowed for each content type.")
        found[ct_id] = queryset
    return found


def keys_of(model: type[Model], values: Sequence[Any]) -> dict[Any, Any] | None:
    """
    The values as keys of the model's rows; those that Django would find no row for are left out. None when one is no
    key at all, for which Django raises.
    """
    pk: Any = model._meta.pk
    try:
        keys = {value: pk.to_python(value) if _COMPARES_STRINGS else pk.get_prep_value(value) for value in values}
        if _COMPARES_STRINGS:
            equal = {value: key for value, key in keys.items() if str(value) == as_string(model, pk, key)}
            for value in keys.keys() - equal.keys():
                pk.get_prep_value(value)  # as the query does
            return equal
    except ValidationError as error:
        # It refers to itself and, by its frames, to all that runs: an open cursor would wait for the collector.
        error.__traceback__ = error.__context__ = None
        return None
    except (ValueError, TypeError):
        return None
    return keys


def as_string(model: type[Model], pk: Field[Any, Any], key: Any) -> str:
    if type(pk).value_to_string is Field.value_to_string:
        return str(key)
    row = object.__new__(model)
    row.__dict__[pk.attname] = key
    text: str = pk.value_to_string(row)
    return text
