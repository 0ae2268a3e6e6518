"""How many bytes a remembered row or link takes."""

from __future__ import annotations

from sys import getsizeof
from typing import Any

from django.db.models import Model, QuerySet

from .._engine import Links, Memo

# How many rows are measured to estimate the size of one.
SAMPLE = 16


def bytes_of_one(table: Memo | Links) -> int:
    """The average bytes of an entry's objects, measured on those used last."""
    if isinstance(table, Memo):
        sizes = [bytes_of_row(row) for _, row in table.rows(SAMPLE)]
    else:
        sizes = [getsizeof(source) for source, _ in table.items(SAMPLE)]  # the targets' keys belong to the rows
    return sum(sizes) // len(sizes) if sizes else 0


def bytes_of_row(row: Any) -> int:
    """Bytes of an instance and its values. Attached rows have entries of their own, and small integers are shared."""
    state = row.__dict__.get("_state")
    total = getsizeof(row) + getsizeof(row.__dict__)
    if state is not None:
        total += getsizeof(state) + getsizeof(state.__dict__) + getsizeof(state.__dict__.get("fields_cache"))
    for value in row.__dict__.values():
        shared = value is None or value is state or isinstance(value, (bool, Model, QuerySet))
        if not shared and not (type(value) is int and -5 <= value <= 256):
            total += getsizeof(value)
    return total
