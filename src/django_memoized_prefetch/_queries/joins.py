"""The joins of a query: which rows they may add or leave out, and those that Django adds only when it compiles it."""

from __future__ import annotations

from typing import Any

from django.db.models.fields.related import ForeignObject
from django.db.models.sql.constants import LOUTER
from django.db.models.sql.datastructures import BaseTable


def has_one_row_for_one(join: Any) -> bool:
    """Whether a join is known to add no rows. A join of another package is not."""
    field = getattr(join, "join_field", None)
    if field is None:
        return isinstance(join, BaseTable)
    is_forward = isinstance(field, ForeignObject) and field.requires_unique_target
    return is_forward or bool(getattr(field, "one_to_one", False))


def join_selected(query: Any) -> list[str]:
    """
    Joins the filtered relations that `select_related()` names with a query, as Django does when it compiles it.

    Until then the query looks as if it had a row for each object. A relation that changes no rows, an outer join with
    one row for one, is not joined.

    Returns:
        The names of those that are joined.
    """
    if query.combinator or not isinstance(query.select_related, dict):
        return []
    joined = []
    for name in query.select_related:
        if name not in query._filtered_relations:
            continue
        base, before = query.get_initial_alias(), query.alias_refcount.copy()
        _, *aliases = query.setup_joins([name], query.get_meta(), base).joins
        joins = [query.alias_map[alias] for alias in aliases]
        if all(join.join_type == LOUTER and has_one_row_for_one(join) for join in joins):
            query.reset_refcounts(before)
        else:
            joined.append(name)
    return joined


def with_selected(query: Any) -> Any:
    """The query with all its joins; a copy if Django would add some."""
    if not query._filtered_relations or not query.select_related:
        return query
    copy = query.clone()
    join_selected(copy)
    return copy
