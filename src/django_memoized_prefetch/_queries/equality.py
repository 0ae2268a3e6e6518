"""Finds out whether the database and Python agree on which keys are equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connections
from django.db.models import CharField, DateTimeField, IntegerField, JSONField, Model, TextField, UUIDField

from .._engine import are_of_class, group_by_value
from .._relation import Relation, value_field
from .._stock import is_own_class, why_not_column, why_not_key, why_overridden_once
from .keys import column_type_of, is_integer_type


def equals_as_python(field: Any, connection: Any) -> bool:
    """
    Whether values that the database considers equal in this column are equal in Python too.

    That is certain only for integers and native UUIDs. The database may ignore case or trailing blanks in text, store
    one UUID in several spellings, or consider NaN equal to itself.
    """
    field = value_field(field)
    column_type = column_type_of(field, connection.alias)
    if isinstance(field, IntegerField):
        exact = is_integer_type(column_type)
    else:
        exact = isinstance(field, UUIDField) and column_type == "uuid"
    return exact and why_overridden_once(type(field), ("from_db_value", "to_python")) is None


def why_not_keys(held: tuple[type[Model], Any], asked: tuple[type[Model], Any]) -> str | None:
    """
    Why the keys of a relation might differ from the values in its columns, or be compared in another way.

    Args:
        held: The model and field in which the objects hold the key.
        asked: The model and field by which rows are found for it.
    """
    for model, field in (held, asked):
        reason = why_not_column(model, field.attname) or why_not_key(field) or why_ambiguous(field)
        if reason is not None:
            return reason
        if field.primary_key and (reason := why_overridden_once(model, _PRIMARY_KEY)) is not None:
            return reason
    return None


_PRIMARY_KEY = ("pk", "_get_pk_val", "_is_pk_set")


def why_ambiguous(field: Any) -> str | None:
    """Why Python cannot tell the field's values apart, as the database does, or cannot hash them; None if it can."""
    value, label = value_field(field), f"{field.model.__name__}.{field.name}"
    if any(cls.__name__ in _UNHASHABLE and is_own_class(cls) for cls in type(value).__mro__):
        return f"{label}: values of a {type(value).__name__} cannot be hashed"
    if isinstance(value, JSONField):
        return f"{label}: the database tells 1 from true, but they are equal in Python"
    zones = [one.get("TIME_ZONE") for one in connections.settings.values()]
    if isinstance(value, DateTimeField) and settings.USE_TZ and any(zones):
        return f"{label}: two moments of the hour that comes twice in autumn are equal in Python"
    return None


_UNHASHABLE = ("ArrayField", "HStoreField")  # importing them fails if there is no psycopg


def odd_keys(field: Any, keys: list[Any]) -> list[Any]:
    """
    The keys that are not as rows from the database have them, for example "1" for an integer.

    The database finds rows for them, but in Python they equal none of the rows' keys.
    """
    field = value_field(field)
    plain = next((cls for kind, cls in _PLAIN if isinstance(field, kind)), None)
    if plain is not None:
        return [] if are_of_class(keys, plain) else [key for key in keys if type(key) is not plain]
    return [key for key in keys if not _is_plain(field, key)]


_PLAIN: tuple[tuple[Any, type], ...] = ((IntegerField, int), (UUIDField, UUID), ((CharField, TextField), str))


def _is_plain(field: Any, key: Any) -> bool:
    try:
        value = field.to_python(key)
        return type(value) is type(key) and bool(value == key)
    except (ValidationError, ValueError, TypeError):
        return False


def check_asked_for(
    relation: Relation, rows: Sequence[Any], row_key: str, keys: Sequence[Any], objects: Sequence[Any]
) -> None:
    """
    Raises KeyError, as Django does, if the database returned a row for a key that no object has.

    Args:
        row_key: The attribute of the rows that the query compared with the keys.
        keys: The keys in the query: some of those that the objects have.
    """
    asked = set(keys)
    if not any(value not in asked for value, _ in group_by_value(rows, row_key)):
        return
    asked.update(value for value, _ in group_by_value(objects, relation.key_name))
    for value, _ in group_by_value(rows, row_key):
        if value not in asked:
            msg = (
                f"{relation.label}: the database returned a row whose {row_key} is {value!r}, but none of the objects "
                f"has that {relation.key_name}. It compares these values differently from Python, for example ignoring "
                "case or trailing blanks."
            )
            raise KeyError(msg)
