"""Decides whether rows of a queryset may be read by key and remembered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from django.db.models import QuerySet
from django.db.models.expressions import F, Func, OrderBy, RawSQL, Subquery
from django.db.models.fields.related import ForeignObject
from django.db.models.functions import Now, Random
from django.db.models.lookups import Lookup
from django.db.models.sql.where import ExtraWhere

from .._stock import why_not_stock, why_overridden_once
from .joins import with_selected

# A window function that is written as text.
_OVER = re.compile(r"\bover\b", re.IGNORECASE)


def why_not_remembered(queryset: QuerySet[Any]) -> str | None:
    """Why a row of this queryset may depend on the other keys or on the link it is read for; None if it cannot."""
    query = queryset.query
    if query.combinator:
        return f"the queryset is a {query.combinator}"
    if query.distinct:
        return "the queryset is distinct"
    if query.select_for_update:
        return "the queryset locks its rows"
    if query.extra or query.extra_tables or query.extra_order_by:
        return "the queryset uses extra()"
    if (reason := why_not_stock(queryset)) is not None:
        return reason
    if (what := uses_other_rows(query)) is not None:
        return f"the queryset uses {what}"
    for expression in all_expressions([*_made(query), query.where]):
        if isinstance(expression, (Random, Now)):
            return f"the queryset uses {type(expression).__name__}"
    if "?" in query.order_by:
        return "the queryset is in random order"
    return None


def why_not_read_by_key(queryset: QuerySet[Any]) -> str | None:
    """Like `why_not_remembered`, for a queryset that is not read whole: then it must not be a slice either."""
    return "the queryset is sliced" if queryset.query.is_sliced else why_not_remembered(queryset)


def uses_other_rows(query: Any) -> str | None:
    """By what a row of the query may depend on the other rows: a window function, or what may be one; None if not."""
    for expression in all_expressions([*_made(query), query.where]):
        if isinstance(expression, (RawSQL, ExtraWhere)):
            return "raw SQL"
        if _is_window(expression):
            return "a window function"
    for expression in all_expressions(_made(query)):  # a condition cannot look at other rows
        if not isinstance(expression, Lookup) and why_overridden_once(type(expression), _SQL) is not None:
            return f"{type(expression).__name__}, which writes SQL of its own"
    return None


def _made(query: Any) -> list[Any]:
    """The expressions that the query computes and orders by."""
    return [*query.annotations.values(), *(order for order in query.order_by if not isinstance(order, str))]


# The methods by which an expression writes its SQL. A database's own one comes before as_sql().
_SQL = ("as_sql", "as_sqlite", "as_postgresql", "as_mysql", "as_oracle")


def _is_window(expression: Any) -> bool:
    if getattr(expression, "contains_over_clause", False):
        return True
    if not isinstance(expression, Func):
        return False
    texts = (expression.function, expression.template, *expression.extra.values())
    return any(isinstance(text, str) and _OVER.search(text) for text in texts)


def why_not_referring(queryset: QuerySet[Any]) -> str | None:
    """Why rows that refer to objects cannot be read by the objects' keys; None if they can."""
    if queryset.query.combinator:
        return f"the queryset is a {queryset.query.combinator}"
    return why_not_stock(queryset)


def aggregates(queryset: QuerySet[Any]) -> bool:
    query = queryset.query
    return query.group_by is not None or any(one.contains_aggregate for one in query.annotations.values())


def why_not_linked(queryset: QuerySet[Any], through: Iterable[Any]) -> str | None:
    """Why a target row of a many-to-many with these through models may differ from link to link; None if it cannot."""
    query = queryset.query
    if aggregates(queryset):
        return "the queryset aggregates"
    tables = {model._meta.db_table for model in through}
    for join in with_selected(query).alias_map.values():
        if join.table_name in tables:
            return "the queryset joins the through table"
        field = getattr(join, "join_field", None)
        if field is not None and not isinstance(field, ForeignObject):
            return "the queryset joins a table that may have several rows per object"
    for order in query.order_by:
        if isinstance(order, OrderBy):
            order = order.expression
        name = order.name if isinstance(order, F) else order
        if not isinstance(name, str) or "__" in name:
            return "the queryset is ordered by more than its own columns"
    return None


def defers(queryset: QuerySet[Any], field: Any) -> bool:
    """Whether `only()` or `defer()` leaves out a column of the queryset's model."""
    names, are_left_out = queryset.query.deferred_loading
    is_named = field.name in names or field.attname in names
    return not field.primary_key and (is_named if are_left_out else bool(names) and not is_named)


def all_expressions(expressions: Iterable[Any]) -> Iterator[Any]:
    pending = list(expressions)
    while pending:
        expression = pending.pop()
        if expression is None or isinstance(expression, str):
            continue
        yield expression
        if isinstance(expression, Subquery):
            continue  # a statement of its own, which sees one outer row at a time
        if hasattr(expression, "get_source_expressions"):
            pending += expression.get_source_expressions()
        pending += getattr(expression, "children", ())
