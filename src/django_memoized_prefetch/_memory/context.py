"""`Context`: what is remembered for one database alias, tenant schema and scope."""

from __future__ import annotations

from typing import Any

from django.db.models import Model, QuerySet

from .._engine import Links, Memo
from .._queries.identity import query_of
from .._relation import Relation
from .table import LinkSpec, TableSpec
from .turn import Turn

# How many contexts are kept. The one that was used longest ago is dropped as a whole.
MAX_CONTEXTS = 4


class Context:
    """
    What is remembered for one database alias, tenant schema and scope.

    used: When it was used last, by the memory's clock.
    memos: The memos with their models, by identity of the table.
    links: The links with their relations, by identity of the table, and whether they depend on that table alone.
    tables: Everything in `memos` and `links`, with what describes it.
    loaded: (config, memo) pairs whose prefetch_all has been read.
    own_sizes: The ids of tables whose size the user has given, so that no budget changes it.
    turns: Who fetches for a table, by its id; for a collection of remembered rows, by its path; for all rows of a
        config with `prefetch_all`, by that config and the table.
    """

    def __init__(self, used: int) -> None:
        self.used = used
        self.memos: dict[Any, tuple[Memo, type[Model]]] = {}
        self.links: dict[Any, tuple[Links, Relation, bool]] = {}
        self.tables: list[tuple[TableSpec | LinkSpec, Memo | Links]] = []
        self.loaded: set[Any] = set()
        self.own_sizes: set[int] = set()
        self.turns: dict[Any, Turn] = {}
        self._queries: dict[Any, Any] = {}  # for managers whose querysets may vary, the first query

    def turn(self, key: Any) -> Turn:
        """The turn to fetch for a table or a collection."""
        return self.turns.get(key) or self.turns.setdefault(key, Turn())

    def is_same_query(self, key: Any, queryset: QuerySet[Any]) -> bool:
        """Whether a queryset runs the same SQL as the first one with this key. Only then are its rows the same."""
        asked = query_of(queryset)
        return bool(self._queries.setdefault(key, asked) == asked)
