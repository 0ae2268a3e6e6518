"""What is remembered for one database alias, tenant schema and scope."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db.models import Model, QuerySet

from .._engine import Links, Memo
from .._relation import Relation

# What is remembered for an alias, schema and scope is dropped whole when that many others were used since.
MAX_CONTEXTS = 4


class Context:
    """
    What is remembered for one alias, schema and scope.

    used: When, last.
    tables: Everything in `memos` and `links`, with its name in a report.
    """

    def __init__(self, used: int) -> None:
        self.used = used
        self.memos: dict[Any, tuple[Memo, type[Model]]] = {}
        self.links: dict[Any, tuple[Links, Relation, bool]] = {}  # and whether they depend on their own table alone
        self.tables: list[tuple[str, Memo | Links]] = []
        self.loaded: set[Any] = set()  # (config, memo) pairs whose prefetch_all has been read
        self._queries: dict[Any, Any] = {}  # of managers whose querysets may vary, the first

    def is_same_query(self, key: Any, queryset: QuerySet[Any]) -> bool:
        """Whether a queryset asks what the first one of this key asked: only then are its rows the same."""
        try:
            asked: Any = queryset.query.get_compiler(using=queryset.db).as_sql()
        except EmptyResultSet:
            asked = None
        return bool(self._queries.setdefault(key, asked) == asked)
