"""Queries of the form `column IN (keys)` without Django's cost per key, in batches that the database accepts."""

from __future__ import annotations

import functools
import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Callable
from uuid import UUID

from django import VERSION
from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import CharField, Field, IntegerField, QuerySet
from django.db.models.fields import AutoFieldMixin
from django.db.models.fields.related_descriptors import _filter_prefetch_queryset
from django.db.models.fields.related_lookups import RelatedIn
from django.db.models.lookups import In
from django.db.models.sql.where import WhereNode

from .._relation import value_field
from .._stock import why_overridden_once


class KeyIn(In):  # type: ignore[misc]
    """
    `column IN (keys)` for distinct, non-null keys with the values that the column gave.

    It skips resolving, cleaning and deduplicating each key, which costs Django 2.5 us per key: more than twice the time
    of the database.
    """

    def __init__(self, lhs: Any, rhs: Sequence[Any], neighbours: bool = False) -> None:
        # Skips Lookup.__init__, which prepares every key.
        self.lhs, self.rhs, self.neighbours = lhs, rhs, neighbours
        self.bilateral_transforms: list[Any] = []

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        # Since 5.2, Django compares the keys of foreign keys with columns as they are. Its lookup `in` converts JSON on
        # MariaDB, and then finds no text.
        sql, params = compiler.compile(self.lhs) if VERSION >= (5, 2) else self.process_lhs(compiler, connection)
        column_type = column_type_of(self.lhs.target, connection.alias)
        field = self.lhs.output_field
        field = getattr(field, "target_field", field)
        keys, kinds = self.rhs, set(map(type, self.rhs))
        if not is_stored_as_is(field, kinds):
            keys = [field.get_db_prep_value(key, connection, prepared=False) for key in keys]
            kinds = set(map(type, keys))
        elif self.neighbours and kinds == {int} and is_integer_type(column_type) and (ends := as_range(keys)):
            return f"{sql} BETWEEN %s AND %s", (*params, *ends)
        if connection.vendor == "sqlite" and (text := as_json(column_type, keys, kinds)) is not None:
            # One parameter instead of thousands: 0.45 instead of 1.0 us per key in Python and SQLite's parser together.
            # The statement is the same every time, so the driver need not prepare it again.
            return f"{sql} IN (SELECT value FROM json_each(%s))", (*params, text)
        if connection.vendor == "postgresql" and (array := as_array(column_type, keys, kinds)):
            placeholder, text = array
            return f"{sql} = ANY({placeholder})", (*params, text)
        return f"{sql} IN ({', '.join(['%s'] * len(keys))})", (*params, *keys)


def with_keys(
    queryset: QuerySet[Any],
    ask: Callable[[QuerySet[Any], Sequence[Any]], QuerySet[Any]],
    keys: Sequence[Any],
    neighbours: bool = False,
) -> QuerySet[Any]:
    """
    The queryset that `ask(queryset, keys)` returns, without the cost of preparing every key.

    Args:
        ask: Adds a condition `column IN (keys)` as Django does.
        neighbours: Allows BETWEEN instead of IN for keys that are consecutive integers. Only for a table without joins:
            the database may estimate the share of rows in a range differently.
    """
    asked = ask(queryset, keys[:1])
    before = {id(node.children[at]) for node, at in _conditions(queryset.query.where)}
    added = [(node, at) for node, at in _conditions(asked.query.where) if id(node.children[at]) not in before]
    found = [(node, at) for node, at in added if is_key_list(node.children[at])]
    if len(found) != 1 or connections[asked.db].ops.max_in_list_size() is not None:
        return asked if len(keys) == 1 else ask(queryset, keys)
    [(node, at)] = found
    node.children[at] = KeyIn(node.children[at].lhs, keys, neighbours)
    return asked


def _conditions(where: WhereNode) -> Iterator[tuple[WhereNode, int]]:
    """Every condition, as its parent node and its position there."""
    for at, child in enumerate(where.children):
        if isinstance(child, WhereNode):
            yield from _conditions(child)
        else:
            yield where, at


def is_key_list(condition: Any) -> bool:
    """Whether it is Django's `column IN (values)`, of a field that makes parameters as Django's own do."""
    if type(condition) not in (In, RelatedIn) or not isinstance(condition.rhs, list):
        return False
    column = getattr(condition.lhs, "target", None)
    return column is not None and why_overridden_once(type(value_field(column)), _PREPARING) is None


_PREPARING = ("get_prep_value", "get_db_prep_value", "get_db_prep_save")


def by_name(name: str) -> Callable[[QuerySet[Any], Sequence[Any]], QuerySet[Any]]:
    """An `ask` for the rows whose column is among the keys."""
    return lambda queryset, keys: queryset.filter(**{f"{name}__in": keys})


def by_relation(name: str) -> Callable[[QuerySet[Any], Sequence[Any]], QuerySet[Any]]:
    """An `ask` for the rows of a relation to many, as in Django's prefetch."""
    return lambda queryset, keys: _filter_prefetch_queryset(queryset._chain(), name, keys)


def as_range(keys: Sequence[int]) -> tuple[int, int] | None:
    """
    The smallest and the largest of distinct keys if they are consecutive, as in a chunk they often are; None if not.

    A range takes one walk through an index instead of a search per key: on SQLite, links take 0.80 instead of 1.17 us
    per source.
    """
    first, last = min(keys), max(keys)
    whole = last - first + 1 == len(keys) > 1 and first >= -(2**63) and last < 2**63
    return (first, last) if whole else None


def as_json(column_type: str, keys: Sequence[Any], kinds: set[type]) -> str | None:
    """The keys as one JSON array; None if SQLite would not read exactly these values from it."""
    if sqlite3.sqlite_version_info < (3, 38):
        return None  # json_each might not be there
    if kinds == {int} and is_integer_type(column_type):
        return json.dumps(keys) if min(keys) >= -(2**63) and max(keys) < 2**63 else None
    if kinds == {str} and column_type.partition("(")[0] in ("varchar", "char", "text"):
        text = json.dumps(keys)
        return None if "\\u0000" in text or "\\ud" in text else text  # NUL ends a string; half a surrogate is no text
    return None


@functools.lru_cache(maxsize=1024)
def column_type_of(field: Any, alias: str) -> str:
    """The column's type in the database, in lower case; "" if unknown."""
    return (field.db_type(connections[alias]) or "").lower()


def is_integer_type(column_type: str) -> bool:
    """Whether a type of any database is an integer type, such as "bigint unsigned" or "integer auto_increment"."""
    return column_type.partition(" ")[0] in _INTEGER_TYPES


_INTEGER_TYPES = {"smallint", "integer", "bigint", "smallserial", "serial", "bigserial"}


INTEGER_BOUNDS = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}


def as_array(column_type: str, keys: Sequence[Any], kinds: set[type]) -> tuple[str, str] | None:
    """
    The keys as one PostgreSQL array in text form.

    With 100 to 300,000 keys, a row then costs 1.1 to 2.2 us, instead of 3.5 to 7.6 us with one parameter per key. With
    fewer keys there is no difference. Strings get no cast, so PostgreSQL compares them with the column as it would a
    literal, whatever the column's type, domain, enumeration or collation.

    Returns:
        The placeholder, with a cast if one is needed, and the text. None for keys of other types, and for integers that
        the column's type cannot hold.
    """
    if kinds == {int}:
        bound = INTEGER_BOUNDS.get(column_type, 0)
        if not bound or min(keys) < -bound or max(keys) >= bound:
            return None
        return f"%s::{column_type}[]", f"{{{','.join(map(str, keys))}}}"
    if kinds == {UUID} and column_type == "uuid":
        return "%s::uuid[]", f"{{{','.join(map(str, keys))}}}"
    if kinds == {str} and column_type and not column_type.endswith("]"):
        quoted = [key.replace("\\", "\\\\").replace('"', '\\"') for key in keys]
        text = '{"' + '","'.join(quoted) + '"}'
        if "\0" not in text and _is_encodable(text):
            return "%s", text  # otherwise one parameter per key, so that the driver fails as under Django
    return None


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True


def is_stored_as_is(field: Field[Any, Any], kinds: set[type]) -> bool:
    """Whether the field passes Python values of these types to the driver unchanged."""
    cls = type(field)
    if isinstance(field, IntegerField):
        kind: type = int
        stock = cls.get_prep_value is IntegerField.get_prep_value
    elif isinstance(field, CharField):
        kind, stock = str, cls.get_prep_value is CharField.get_prep_value
    else:
        return False
    stock = stock and cls.get_db_prep_value in (
        Field.get_db_prep_value,
        AutoFieldMixin.get_db_prep_value,
        IntegerField.get_db_prep_value,
    )
    return stock and kinds == {kind}


# --- limits of a statement -----------------------------------------------------------------------------------------


def batches(keys: Sequence[Any], queryset: QuerySet[Any]) -> Iterator[Sequence[Any]]:
    """Splits the keys into as few lists as the database's parameter limit allows."""
    limit = parameter_limit(connections[queryset.db])
    if limit is None or len(keys) * 2 < limit:
        yield keys
        return
    size = batch_size(limit, queryset)
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


def batch_size(limit: int, queryset: QuerySet[Any]) -> int:
    """How many keys fit into one statement with the queryset's own parameters."""
    try:
        own = queryset.query.get_compiler(using=queryset.db).as_sql()[1] if queryset.query.where else ()
    except EmptyResultSet:
        own = ()
    return max(limit - len(own) - 16, 1)


def parameter_limit(connection: Any) -> int | None:
    """
    How many parameters one statement may have; None for no limit.

    For SQLite, ask the library itself: Django 4.2 and 5.2 say 999, which has not been the default since 2020.
    """
    if connection.vendor == "sqlite":
        connection.ensure_connection()
        return sqlite_limit(connection.connection)
    if connection.vendor == "postgresql":
        options = connection.settings_dict.get("OPTIONS", {})
        return 65_535 if options.get("server_side_binding") else None
    return connection.features.max_query_params  # type: ignore[no-any-return]


def sqlite_limit(database: sqlite3.Connection) -> int:
    if hasattr(database, "getlimit"):  # Python 3.11
        return database.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
    for (option,) in database.execute("PRAGMA compile_options").fetchall():
        if option.startswith("MAX_VARIABLE_NUMBER="):
            return int(option.partition("=")[2])
    return 32_766 if sqlite3.sqlite_version_info >= (3, 32) else 999
