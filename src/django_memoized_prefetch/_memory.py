"""What is remembered: the memos and links of each database, schema and scope."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Any

from django.db import connections
from django.db.models import Model

from ._attach import Attachment, new_memo
from ._config import MemoizedPrefetchConfig
from ._engine import Counters, Links, Memo
from ._lookups import Lookup
from ._queries import QueryCount, config_rows, hinted

logger = logging.getLogger("django_memoized_prefetch")

# What is remembered for an alias, schema and scope is dropped whole when that many others were used since.
MAX_CONTEXTS = 4


class Context:
    """What is remembered for one alias, schema and scope."""

    def __init__(self) -> None:
        self.memos: dict[Any, tuple[Memo, type[Model]]] = {}
        self.links: dict[Any, Links] = {}
        self.loaded: set[Any] = set()  # (config, memo) pairs whose prefetch_all has been read


class Memory:
    """
    The memos of one MemoizedPrefetch.

    Args:
        size: How many rows are kept for lookups without a config.
    """

    def __init__(self, size: int | None) -> None:
        self._size = size
        self._contexts: OrderedDict[Any, Context] = OrderedDict()
        self._set_sizes: dict[type[Model], int | None] = {}  # by set_size, over what configs say
        self._latest_memo: dict[int, Memo] = {}  # by id of the config
        self._latest: dict[str, tuple[Memo, Links | None]] = {}  # by path of the lookup

    def context(self, alias: str, scope: Any) -> Context:
        connection = connections[alias]
        # django-tenants keeps both on the connection.
        schema = (getattr(connection, "schema_name", None), getattr(connection, "include_public_schema", None))
        key = (alias, schema, scope)
        context = self._contexts.get(key)
        if context is None:
            context = self._contexts[key] = Context()
            while len(self._contexts) > MAX_CONTEXTS:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(key)
        return context

    def size_of(self, model: type[Model] | None, config: MemoizedPrefetchConfig | None) -> int | None:
        default = self._size if config is None else config.lru_cache_size
        return default if model is None else self._set_sizes.get(model, default)

    def memo(self, context: Context, attachment: Attachment, instance: Model) -> Memo:
        """The memo of an attachment, with the rows of `prefetch_all` in it."""
        source, config = attachment.row_source, attachment.lookup.config
        identity = (*attachment.memo_identity, source.fetch_mode(instance))
        size = self.size_of(source.model, config)
        if identity in context.memos:
            memo = context.memos[identity][0]
            if memo.bound is not None and (size is None or size > memo.bound):
                memo.bound = size  # of several configs that share a memo the largest
        else:
            memo = attachment.new_memo(size)
            context.memos[identity] = (memo, source.model)
        if config is not None:
            if config.prefetch_all and (id(config), identity) not in context.loaded:
                memo.load(self._all_rows(context, config, instance, attachment.lookup.rows))
                context.loaded.add((id(config), identity))
            self._latest_memo[id(config)] = memo
        self._latest[attachment.lookup.path] = (memo, None)
        return memo

    def links(self, context: Context, attachment: Attachment, memo: Memo) -> Links:
        links = context.links.get(attachment.link_identity)
        if links is None:
            size = self.size_of(attachment.row_model, attachment.lookup.config)
            links = context.links[attachment.link_identity] = Links(size)
        self._latest[attachment.lookup.path] = (memo, links)
        return links

    def load_now(self, config: MemoizedPrefetchConfig, scope: Any, lookups: list[Lookup]) -> None:
        """Reads the rows of `prefetch_all` for the connection as it is now; the first lookup counts the query."""
        source = config_rows(config)
        queryset = config.get_queryset()
        context = self.context(queryset.db, scope)
        pk_name = source.model._meta.pk.attname
        identity = (source.identity, pk_name, None)
        if identity not in context.memos:
            size = self.size_of(source.model, config)
            context.memos[identity] = (new_memo(source.model, pk_name, size), source.model)
        memo = context.memos[identity][0]
        memo.load(self._all_rows(context, config, None, lookups[0].rows if lookups else Counters()))
        context.loaded.add((id(config), identity))
        self._latest_memo[id(config)] = memo
        for lookup in lookups:
            self._latest[lookup.path] = (memo, None)

    def _all_rows(
        self, context: Context, config: MemoizedPrefetchConfig, instance: Model | None, count: Counters
    ) -> list[Any]:
        for loaded, identity in context.loaded:
            if loaded == id(config):
                return [row for _, row in context.memos[identity][0].rows()]  # read before, by another key
        queryset = config.get_queryset() if instance is None else hinted(config.get_queryset(), instance)
        size = self.size_of(config.model, config)
        queries = QueryCount()
        with queries.on(queryset.db):
            # One more than is kept, to know whether there are more.
            rows = list(queryset.all() if size is None else queryset[: size + 1])
        count.queries += queries.queries
        if size is not None and len(rows) > size:
            logger.warning(
                "%s: prefetch_all read the first %d rows only, as many as lru_cache_size", config.model.__name__, size
            )
        return rows[:size]

    def clear(self) -> None:
        contexts, self._contexts = self._contexts, OrderedDict()
        for context in contexts.values():
            for memo, _ in context.memos.values():
                memo.clear()
            for links in context.links.values():
                links.clear()

    # --- for reports and for `memoized_objects`

    def latest(self, path: str) -> tuple[Memo | None, Links | None]:
        """The memo and links that a lookup used last."""
        return self._latest.get(path, (None, None))

    def rows_of(self, config: MemoizedPrefetchConfig | None, path: str | None) -> list[tuple[Any, Any]]:
        """The rows, by primary key, of the memo that a config used last, or else a lookup."""
        memo = self._latest_memo.get(id(config)) if config is not None else self.latest(path or "")[0]
        return [] if memo is None else [(row.pk, row) for _, row in memo.rows()]

    def set_size(self, model: type[Model], size: int | None) -> None:
        self._set_sizes[model] = size
        for context in self._contexts.values():
            for memo, memo_model in context.memos.values():
                if memo_model is model:
                    memo.bound = size
