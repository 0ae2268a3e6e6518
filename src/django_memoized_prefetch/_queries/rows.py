"""Reads rows by key, with as few queries as the database allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import VERSION
from django.db.models import Model, QuerySet

from .._hydrating.iterable import with_native_rows
from .keys import batches, by_name, with_keys
from .sources import RowSource, base_rows


def fetch_rows(source: RowSource, field_name: str, keys: Sequence[Any], instance: Model) -> list[Any]:
    """The rows whose `field_name` is among the keys, in no particular order."""
    rows = _rows_of(source.queryset(instance), field_name, keys)
    if source.fallback_to_base_manager and len(rows) < len(keys):
        found = {getattr(row, field_name) for row in rows}
        if hidden := [key for key in keys if key not in found]:
            rows += _rows_of(base_rows(source.model).queryset(instance), field_name, hidden)
    return rows


def _rows_of(queryset: QuerySet[Any], field_name: str, keys: Sequence[Any]) -> list[Any]:
    if queryset.query.is_sliced:
        return _rows_of_slice(queryset, field_name, set(keys))
    if VERSION >= (5, 0) or not queryset.query.order_by:
        queryset.query.clear_ordering()  # before 5.0, if a join repeats a row, Django takes the first
    rows: list[Any] = []
    for batch in batches(keys, queryset):
        rows += with_native_rows(with_keys(queryset, by_name(field_name), batch))
    return rows


def _rows_of_slice(queryset: QuerySet[Any], field_name: str, keys: set[Any]) -> list[Any]:
    """The slice was read whole before the first chunk, but what was evicted or invalidated since is read again."""
    # A slice cannot be filtered. Most keys that are asked for are of rows outside of it.
    if keys.isdisjoint(queryset.values_list(field_name, flat=True)):
        return []
    return [row for row in with_native_rows(queryset) if getattr(row, field_name) in keys]
