"""Finds out whether the database and Python agree on which keys are equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db.models import CharField, IntegerField, TextField, UUIDField

from .._engine import are_of_class, group_by_value
from .._relation import Relation, value_field
from .._stock import why_overridden_once
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
