"""What querysets and lookups ask for: only if these values are equal do they give the same rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db.models import Prefetch, QuerySet


def query_of(queryset: QuerySet[Any]) -> Any:
    """The SQL of a queryset with its parameters; None if it asks for nothing."""
    try:
        return queryset.query.get_compiler(using=queryset.db).as_sql()
    except EmptyResultSet:
        return None


def lookups_of(lookups: Iterable[Any]) -> list[Any]:
    """Lookup strings and Prefetch objects, with what their querysets ask for."""
    return [_lookup(one) for one in lookups]


def _lookup(lookup: Any) -> Any:
    if not isinstance(lookup, Prefetch):
        return lookup
    querysets = getattr(lookup, "querysets", [lookup.queryset])
    asked = [
        (one.db, query_of(one), lookups_of(one._prefetch_related_lookups)) for one in querysets or () if one is not None
    ]
    return type(lookup), lookup.prefetch_through, lookup.prefetch_to, asked
