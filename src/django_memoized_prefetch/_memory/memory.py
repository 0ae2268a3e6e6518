"""`Memory`: all memos and links of one MemoizedPrefetch, for each database, schema and scope."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

from django.db import connections
from django.db.models import Model

from .._config import DEFAULT_SIZE, DefaultSize, MemoizedPrefetchConfig, Size
from .._engine import Counters, Links, Memo
from .._hydrating.iterable import with_native_rows
from .._queries.counting import QueryCount
from .._queries.sources import config_rows, hinted
from .._stock import why_not_stock
from .advice import Advice
from .context import MAX_CONTEXTS, Context
from .table import LinkSpec, TableSpec

logger = logging.getLogger("django_memoized_prefetch")


# How many values at the end of a memo's identity are what its rows inherit from the instances (`RowSource.variant`).
VARIANT = 2


class Memory:
    """
    The memos and links of one MemoizedPrefetch.

    Args:
        size: How many rows of each table to keep for lookups without a config: of all tables, or by name of the table.
        is_budgeted: Whether a budget decides instead, but for tables whose config has a size of its own.
    """

    def __init__(self, size: Size, is_budgeted: bool = False) -> None:
        self._size, self._is_budgeted = size, is_budgeted
        self._contexts: dict[Any, Context] = {}
        self._clock = count()
        self._set_sizes: dict[type[Model] | str, int | None] = {}  # from set_size(); they override configs
        self._latest_memo: dict[int, Memo] = {}  # by id of the config
        self._latest: dict[str, tuple[Memo, Links | None]] = {}  # by path of the lookup
        self._latest_of: dict[tuple[str, type[Model]], Memo] = {}  # a path may lead to several models
        self._past: dict[str, Advice] = {}  # of dropped tables, by name

    def context(self, alias: str, scope: Any) -> Context:
        """The context of an alias, the connection's schema and a scope. A new one may push out the least recent."""
        connection = connections[alias]
        # django-tenants keeps both on the connection.
        schema = (getattr(connection, "schema_name", None), getattr(connection, "include_public_schema", None))
        key = (alias, schema, scope)
        # Other threads may do the same at any time, so each statement must be safe by itself.
        now = next(self._clock)
        context = self._contexts.get(key) or self._contexts.setdefault(key, Context(now))
        context.used = now
        while len(self._contexts) > MAX_CONTEXTS:
            known = list(self._contexts.items())
            dropped = self._contexts.pop(min(known, key=lambda item: item[1].used)[0], None)
            if dropped is not None:
                self._past = self._advice_of([dropped])
        return context

    def contexts(self) -> list[Context]:
        return list(self._contexts.values())

    def size_of(
        self, shown_as: type[Model] | str | None, config: MemoizedPrefetchConfig | None, label: str = ""
    ) -> int | None:
        """
        How many entries a table keeps.

        Args:
            shown_as: The model of its rows, or the name of its links; None for what no call of `set_size()` is about.
            config: Of the lookup that asks.
            label: The name of the table.
        """
        default: int | None
        if self._is_budgeted and not has_own_size(config):
            default = None
        elif config is not None:
            default = config.lru_cache_size
        elif isinstance(self._size, Mapping):
            default = self._size.get(label, DEFAULT_SIZE)
        else:
            default = self._size
        return default if shown_as is None else self._set_sizes.get(shown_as, default)

    def memo(
        self,
        context: Context,
        table: TableSpec,
        path: str,
        config: MemoizedPrefetchConfig | None,
        instance: Model,
        counters: Counters,
    ) -> Memo:
        """
        The memo of a lookup's rows, loaded first if `prefetch_all` is set.

        Args:
            path: The path of the lookup.
            instance: The first object of the chunk.
            counters: They count the query of `prefetch_all`.
        """
        identity = (*table.identity, *table.source.variant(instance))  # VARIANT values
        size = self.size_of(table.shown_as, config, table.label)
        known = context.memos.get(identity)
        if known is not None:
            memo = known[0]
            own = not self._is_budgeted or has_own_size(config)
            if own and memo.bound is not None and (size is None or size > memo.bound):
                memo.bound = size  # the largest one, if several configs share a memo
        else:
            memo = self._added(context, table, identity, config)
        if config is not None:
            if config.prefetch_all and (id(config), identity) not in context.loaded:
                with context.turn((id(config), identity)):
                    if (id(config), identity) not in context.loaded:  # otherwise another thread was first
                        self._load(memo, context, config, table, instance, counters)
                        context.loaded.add((id(config), identity))
            self._latest_memo[id(config)] = memo
        self._latest[path] = (memo, None)
        self._latest_of[path, table.source.model] = memo
        return memo

    def _added(self, context: Context, table: TableSpec, identity: Any, config: MemoizedPrefetchConfig | None) -> Memo:
        fresh = table.new_memo(self.size_of(table.shown_as, config, table.label))
        memo = context.memos.setdefault(identity, (fresh, table.source.model))[0]
        if memo is fresh:  # otherwise another thread was first
            self._note(context, table, fresh, config)
        return memo

    def _note(
        self, context: Context, spec: TableSpec | LinkSpec, table: Memo | Links, config: MemoizedPrefetchConfig | None
    ) -> None:
        if has_own_size(config) or self.is_set(spec.shown_as):
            context.own_sizes.add(id(table))
        context.tables.append((spec, table))

    def links(
        self,
        context: Context,
        spec: LinkSpec,
        path: str,
        config: MemoizedPrefetchConfig | None,
        memo: Memo,
        alias: str,
    ) -> Links:
        """The links of a many-to-many whose targets are in a memo."""
        known = context.links.get(spec.identity)
        if known is None:
            size = self.size_of(spec.shown_as, config, spec.label)
            fresh = (Links(size), spec.relation, spec.are_alone(alias))
            known = context.links.setdefault(spec.identity, fresh)
            if known is fresh:  # otherwise another thread was first
                self._note(context, spec, fresh[0], config)
        self._latest[path] = (memo, known[0])
        return known[0]

    def load_now(
        self,
        config: MemoizedPrefetchConfig,
        scope: Any,
        paths: list[str],
        custom_below: tuple[Any, ...],
        counters: Counters,
    ) -> None:
        """Reads the rows of `prefetch_all`, for these lookup paths and the current state of the connection."""
        source, queryset = config_rows(config, not config.is_many_to_many), config.get_queryset()
        if why_not_stock(queryset) is not None:
            return  # Django will read these rows
        context = self.context(queryset.db, scope)
        table = TableSpec(source, source.model._meta.pk.attname, custom_below)
        identity = (*table.identity, None, False)
        known = context.memos.get(identity)
        memo = known[0] if known else self._added(context, table, identity, config)
        self._load(memo, context, config, table, None, counters)
        context.loaded.add((id(config), identity))
        self._latest_memo[id(config)] = memo
        for path in paths:
            self._latest[path] = (memo, None)

    def _load(self, memo: Memo, *of_table: Any) -> None:
        """Reads the rows of `prefetch_all`. If rows are invalidated meanwhile, all are fetched by key instead."""
        generation = memo.generation
        memo.load(self._all_rows(*of_table), generation)

    def _all_rows(
        self,
        context: Context,
        config: MemoizedPrefetchConfig,
        table: TableSpec,
        instance: Model | None,
        counters: Counters,
    ) -> list[Any]:
        source = table.source
        variant = (None, False) if instance is None else source.variant(instance)
        for loaded, identity in list(context.loaded):
            if loaded == id(config) and identity[2:] == (table.custom_below, *variant):
                return [row for _, row in context.memos[identity][0].rows()]  # already read, under another key
        queryset = config.get_queryset()
        if instance is not None:
            queryset = source.inherited(hinted(queryset, instance), instance)
        if not source.own_lookups:
            queryset = queryset.prefetch_related(None)  # those are the engine's
        size = self.size_of(config.model, config)
        queries = QueryCount()
        with queries.on(queryset.db):
            # One row more than is kept shows whether there are more. Databases accept 64-bit limits.
            limited = queryset.all() if size is None else queryset[: min(size + 1, sys.maxsize)]
            all_rows = list(with_native_rows(limited))
        counters.add_queries(queries.queries)
        if size is not None and len(all_rows) > size:
            logger.warning(
                "%s: prefetch_all read only the first %d rows, because of lru_cache_size", config.model.__name__, size
            )
        return all_rows[:size]

    def clear(self) -> None:
        dropped, self._contexts = self._contexts, {}
        contexts = list(dropped.values())  # a copy: other threads may add to it
        self._past = self._advice_of(contexts)
        for context in contexts:
            for memo, _ in list(context.memos.values()):
                memo.clear()
            for links, _, _ in list(context.links.values()):
                links.clear()

    # --- for reports and for `memoized_objects`

    def advice(self) -> dict[str, Advice]:
        """The advice by table name. Tables of one name are added up, including those dropped."""
        return self._advice_of(self.contexts(), now=True)

    def _advice_of(self, contexts: Iterable[Context], *, now: bool = False) -> dict[str, Advice]:
        """Past advice plus that of these contexts. Without `now`, they are being dropped and count as empty."""
        advice = dict(self._past)
        for context in contexts:
            for spec, table in list(context.tables):
                name, one = spec.label, Advice.of(table)
                if not now:
                    one = replace(one, entries=0, bytes=0)
                advice[name] = advice[name] + one if name in advice else one
        return advice

    def latest(self, path: str) -> tuple[Memo | None, Links | None]:
        """The memo and links that a lookup used last, if any."""
        return self._latest.get(path, (None, None))

    def latest_of(self, path: str, model: type[Model]) -> Memo | None:
        """The memo of one model's rows that a lookup used last, if any."""
        return self._latest_of.get((path, model))

    def rows_of(
        self, config: MemoizedPrefetchConfig | None, path: str | None, model: type[Model]
    ) -> list[tuple[Any, Any]]:
        """Pairs of primary key and row, from the memo that the config used last; without a config, the lookup."""
        memo = self._latest_memo.get(id(config)) if config is not None else self.latest_of(path or "", model)
        return [] if memo is None else [(row.pk, row) for _, row in memo.rows()]

    def set_size(self, shown_as: type[Model] | str, size: int | None) -> None:
        """Sets the size of all tables of a model's rows, or of all links of a name."""
        self._set_sizes[shown_as] = size
        for context in self.contexts():
            for spec, table in list(context.tables):
                if spec.shown_as == shown_as:
                    table.bound = size
                    context.own_sizes.add(id(table))

    def is_set(self, shown_as: type[Model] | str) -> bool:
        """Whether `set_size()` was called for it."""
        return shown_as in self._set_sizes


def has_own_size(config: MemoizedPrefetchConfig | None) -> bool:
    """Whether the config was given a size."""
    return config is not None and not isinstance(config.lru_cache_size, DefaultSize)
