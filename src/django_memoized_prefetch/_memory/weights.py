"""How many bytes a remembered row or link takes."""

from __future__ import annotations

from collections.abc import Sequence
from sys import getrefcount, getsizeof
from typing import TYPE_CHECKING, Any

from django.db.models import Model, QuerySet

from .._engine import Links, Memo

if TYPE_CHECKING:
    from .memory import Memory

# How many rows are measured to estimate the size of one.
SAMPLE = 16
# Bytes that the engine takes for an empty table. Each entry takes 60 to 70 more.
EMPTY = 21_000
# As many for a budget, from all parts of a table: old rows have more hanging on them that no table holds any more.
WIDE_SAMPLE = 64


def bytes_of_one(table: Memo | Links) -> int:
    """The average bytes of an entry's objects, measured on those used last."""
    if isinstance(table, Memo):
        sizes = [bytes_of_row(row) for _, row in table.rows(SAMPLE)]
    else:
        sizes = [getsizeof(source) for source, _ in table.items(SAMPLE)]  # the targets' keys belong to the rows
    return sum(sizes) // len(sizes) if sizes else 0


def bytes_of_row(row: Any) -> int:
    """Bytes of an instance and its values. Attached rows have entries of their own, and small integers are shared."""
    values = row.__dict__
    state = values.get("_state")
    total = getsizeof(row) + getsizeof(values)
    if state is not None:
        total += getsizeof(state) + getsizeof(state.__dict__) + getsizeof(state.__dict__.get("fields_cache"))
    prefetched = values.get("_prefetched_objects_cache", {})
    for queryset in prefetched.values():
        total += getsizeof(queryset) + getsizeof(queryset.__dict__) + getsizeof(queryset._result_cache)
    for value in values.values():
        if type(value) is str or value is prefetched:
            total += getsizeof(value)
        elif not (value is None or value is state or isinstance(value, QuerySet)):
            total += bytes_of_value(value)
    return total


def bytes_of_value(value: Any) -> int:
    """Bytes of a column's value, with all that JSON or an array holds. What is in it several times counts once."""
    total, left = 0, [value]
    seen: set[int] = set()
    while left:
        one = left.pop()
        is_shared = one is None or isinstance(one, (bool, Model)) or (type(one) is int and -5 <= one <= 256)
        if is_shared or id(one) in seen:
            continue
        seen.add(id(one))
        total += getsizeof(one)
        if isinstance(one, dict):
            left += [*one, *one.values()]
        elif isinstance(one, (list, tuple, set, frozenset)):
            left += one
    return total


class Weighing:
    """
    Weighs rows with what hangs on them.

    An attached row that a table holds weighs there. Any other one, evicted since or read for its object alone, is kept
    alive by the rows that it is attached to, and each of these carries its share.

    Args:
        memories: All tables of the run.
    """

    def __init__(self, memories: Sequence[Memory]) -> None:
        self._memos: dict[type[Model], list[Memo]] = {}
        for memory in memories:
            for context in memory.contexts():
                for memo, model in list(context.memos.values()):
                    self._memos.setdefault(model, []).append(memo)

    def of(self, table: Memo | Links) -> float:
        """The average bytes of an entry, with its objects and what the engine takes for it."""
        entries = len(table)
        if not entries:
            return 0.0
        own = max(table.bytes - EMPTY, 0) / entries
        if isinstance(table, Links):
            return own + bytes_of_one(table)
        rows = table.sample(WIDE_SAMPLE)
        return own + (sum(self.of_row(row) for row in rows) / len(rows) if rows else 0.0)

    def of_row(self, row: Any) -> float:
        """Bytes of a row, and its share of what hangs on it."""
        total, left, seen = float(bytes_of_row(row)), [(1.0, attached(row))], {id(row)}
        while left:
            share, rows = left.pop()
            for one in rows:
                # The container that holds it, the list of `attached`, `one` and the argument.
                references = max(getrefcount(one) - 3, 1)
                if id(one) in seen or any(memo.holds(one) for memo in self._memos.get(type(one), ())):
                    continue
                seen.add(id(one))
                total += share / references * bytes_of_row(one)
                left.append((share / references, attached(one)))
        return total


def attached(row: Any) -> list[Any]:
    """The instances that are attached to a row."""
    state = row.__dict__.get("_state")
    found = [] if state is None else list(vars(state).get("fields_cache", {}).values())
    for queryset in row.__dict__.get("_prefetched_objects_cache", {}).values():
        found += (queryset._result_cache or ()) if isinstance(queryset, QuerySet) else ()
    for name, value in row.__dict__.items():
        if not name.startswith("_"):
            found += value if isinstance(value, list) else (value,)
    return [one for one in found if isinstance(one, Model)]
