"""Ranges of primary keys: where a queryset is cut, and whether another one has the same rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime, timezone
from decimal import Context, Decimal
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db.models import QuerySet
from django.db.models.lookups import In
from django.db.models.manager import BaseManager
from django.db.models.sql.where import WhereNode

from .._messages import shown
from .._private_class import set_class, stock_class_of
from .._streaming.pages import Pages, why_not_in_pages


def of_whole(queryset: Any, where: str) -> tuple[Pages, QuerySet[Any]]:
    """
    Pages of a queryset, and a clone of it of the same class.

    Args:
        where: What the errors begin with.

    Raises:
        TypeError: It is neither a queryset nor a manager.
        ValueError: It cannot be read in pages.
    """
    if isinstance(queryset, BaseManager):
        queryset = queryset.all()
    if not isinstance(queryset, QuerySet):
        msg = f"{where}: expected a queryset or a manager, got {shown(queryset)}."
        raise TypeError(msg)
    plain = queryset._chain()
    plain._db = plain.db  # fixed: a router may choose another replica each time
    if (stock_class := stock_class_of(type(plain))) is not type(plain):
        set_class(plain, stock_class)  # that of memoized()
    if (obstacle := why_not_in_pages(plain)) is not None:
        msg = f"{where}: {queryset.model.__name__} cannot be cut into ranges of keys: {obstacle}."
        raise ValueError(msg)
    return Pages(plain, where, ""), queryset._chain()


def cut(pages: Pages, count: int) -> Iterator[tuple[Any, Any, int]]:
    """
    Yields (after, upto, rows) for each part.

    It hops along the index of the key, `key > last ORDER BY key OFFSET n - 1 LIMIT 1`, so the parts are even for keys
    of any type, in the database's own order.
    """
    pages.refuse_nulls()
    total = pages.count()
    parts = max(1, min(count, total))
    if parts > 1 and not pages.has_integer_keys:
        pages.refuse_unusual_forms()
    size, longer = divmod(total, parts)
    hops = Hops(pages)
    after = None
    for index in range(parts - 1):
        rows = size + (index < longer)
        upto = hops.key_at(rows, after)
        if upto is None:
            break  # rows have gone since they were counted
        yield after, upto, rows
        after, total = upto, total - rows
    yield after, None, total


class Hops:
    """
    Finds the keys at the ends of parts, with a statement that is compiled once for each length of a part.

    A hop then costs 45 us and the walk in the database, instead of 190 us: to cut 5 million integer keys on SQLite into
    512 parts takes 0.12 instead of 0.20 s.
    """

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._compiled: dict[int, tuple[Any, str, tuple[Any, ...], Any]] = {}

    def key_at(self, rows: int, after: Any) -> Any:
        """The key of the row that lies `rows` rows behind this key; None if there are fewer."""
        if after is None or isinstance(after, tuple):
            # Where a database cannot compare tuples, the SQL depends on the values: Django writes booleans into it.
            return self._pages.key_at(rows, after)
        if rows not in self._compiled:
            self._compiled[rows] = self._compile(rows, after)
        compiler, sql, before, condition = self._compiled[rows]
        own = compiler.compile(type(condition)(condition.lhs, after))[1]
        with compiler.connection.cursor() as cursor:
            cursor.execute(sql, (*before, *own))
            found = cursor.fetchone()
        if found is None:
            return None
        [[key]] = compiler.results_iter([[found]], tuple_expected=True)
        return self._pages.usable(key)

    def _compile(self, rows: int, after: Any) -> tuple[Any, str, tuple[Any, ...], Any]:
        """The compiler, its SQL, the parameters before those of the condition `key > after`, and that condition."""
        keys = self._pages.keys_at(rows, after)
        compiler = keys.query.get_compiler(using=keys.db)
        sql, parameters = compiler.as_sql()
        condition = keys.query.where.children[-1]
        while isinstance(condition, WhereNode):  # beside conditions that are alternatives it has a node of its own
            condition = condition.children[-1]
        own = compiler.compile(condition)[1]
        return compiler, sql, tuple(parameters[: len(parameters) - len(own)]), condition


def hash_of_rows(pages: Pages) -> str:
    """
    Two hashes: of the SQL that chooses the rows of a queryset with their order, and of its parameters.

    The columns to read have no part in them, nor has the order of the values in a list of alternatives: a set of texts
    has another order in every process.
    """
    keys = pages.keys()
    keys.query.clear_ordering(force=True)  # a key can be named in several ways
    _sort_alternatives(keys.query.where)
    try:
        sql, parameters = keys.query.get_compiler(using=keys.db).as_sql()
    except EmptyResultSet:
        sql, parameters = "", ()
    order = "descending" if pages.descending else "ascending"
    return f"{_hash(f'{sql} {order}')}-{_hash(repr([text_of(one) for one in parameters]))}"


def same_rows(pages: Pages, expected: str) -> str | None:
    """What differs from the queryset with this hash; None if nothing does."""
    found = hash_of_rows(pages)
    if found == expected:
        return None
    if found.partition("-")[0] == expected.partition("-")[0]:
        return (
            "a parameter of its conditions has another value. If the value changes with time, such as now(), "
            "send it along with the part. If it is a set, give a sorted list, because a set of texts has another order "
            "in each process. If the code was changed, restart the workers and begin a new run"
        )
    keys = pages.keys()
    try:
        sql, parameters = keys.query.get_compiler(using=keys.db).as_sql()
    except EmptyResultSet:
        return "its conditions differ: the queryset given here has no rows"
    return f"its conditions or its order differ. The SQL of the queryset given here: {sql % parameters}"


def _sort_alternatives(where: Any) -> None:
    for at, condition in enumerate(where.children):
        if isinstance(condition, WhereNode):
            _sort_alternatives(condition)
        elif isinstance(condition, In) and isinstance(condition.rhs, (list, tuple)):
            sorted_one = where.children[at] = condition.copy()
            sorted_one.rhs = sorted(condition.rhs, key=lambda value: (type(value).__name__, text_of(value)))


def text_of(value: Any) -> str:
    """A text that equal parameters have in every process, and other parameters have not."""
    if type(value).__module__.partition(".")[0] in ("psycopg", "psycopg2"):
        for wrapped in ("obj", "adapted"):  # JSON and bytes in wrappers, whose own texts are cut short
            if hasattr(value, wrapped):
                return f"{type(value).__name__} {text_of(getattr(value, wrapped))}"
    if isinstance(value, (memoryview, bytearray)):
        value = bytes(value)
    if isinstance(value, dict):
        return f"{{{', '.join(sorted(f'{text_of(key)}: {text_of(item)}' for key, item in value.items()))}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(text_of, value))}]"
    if isinstance(value, (set, frozenset)):
        return f"{{{', '.join(sorted(map(text_of, value)))}}}"
    if isinstance(value, datetime) and value.utcoffset() is not None:
        return repr(value.astimezone(timezone.utc))
    if isinstance(value, Decimal) and value.is_finite():
        return repr(value.normalize(Context(prec=max(1, len(value.as_tuple().digits)))))
    cls: Any = type(value)
    if cls.__repr__ != object.__repr__:
        return repr(value)
    return f"{cls.__name__} {value}" if cls.__str__ != object.__str__ else cls.__name__


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
