from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Callable, TypeVar, overload

from django.db.models import Model, QuerySet, prefetch_related_objects

from ._attach import Attachment, attachment_of
from ._config import MemoizedPrefetchConfig, check_size
from ._engine import Chunk, Counters, Links, Memo, detach_reverse, group_by_class
from ._lookups import Lookup, lookup_tree
from ._memory import Memory
from ._queries import QueryCount, fetch_links, fetch_rows, load_deferred
from ._relations import DJANGO, TO_MANY
from ._stats import RelationStats, Stats
from ._views import MemoView, ViewMapping

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger("django_memoized_prefetch")

Row = TypeVar("Row", bound=Model)

# A relation that evicts more than it finds in memory for so many chunks is reported.
THRASHING_CHUNKS = 20


class MemoizedPrefetch:
    """
    Prefetches related rows chunk by chunk and remembers them: a snapshot for one run.

    A related row is read once and shared by all chunks. It shows the database as it was at that moment: later writes,
    of this process or others, and rollbacks are not seen, and what you change in a shared instance shows in later
    chunks. `clear()` forgets everything.

    Args:
        lookups: MemoizedPrefetchConfig objects, and lookup strings such as `"author"` or `"book__author"`.
        model: The model of the chunks; with it, all lookups are checked now instead of at the first chunk.
        lru_cache_size: How many rows of each table are kept between chunks, for lookups without a config of their own;
            None: all. Memory is bounded by the sum over the tables of this times what hangs on one row.
        scope: A callable without arguments, asked once per chunk. Chunks for which it returns different values share
            nothing: for tenants that the connection does not show.

    Raises:
        AttributeError, TypeError, ValueError: A lookup does not fit, with what was expected.

    Making one may run queries: those of configs with `prefetch_all=True`.
    """

    def __init__(
        self,
        *lookups: MemoizedPrefetchConfig | str,
        model: type[Model] | None = None,
        lru_cache_size: int | None = 10_000,
        scope: Callable[[], Any] | None = None,
    ) -> None:
        check_size(lru_cache_size, "MemoizedPrefetch")
        if scope is not None and not callable(scope):
            msg = f"MemoizedPrefetch: scope must be a callable without arguments, got {scope!r}."
            raise TypeError(msg)
        if model is not None and not (isinstance(model, type) and issubclass(model, Model)):
            msg = f"MemoizedPrefetch: model must be a model class, got {model!r}."
            raise TypeError(msg)
        self._lookups, self._model, self._size, self._scope = lookups, model, lru_cache_size, scope
        self._configs = [lookup for lookup in lookups if isinstance(lookup, MemoizedPrefetchConfig)]
        self._check_unique()
        self._root = lookup_tree(lookups)
        self._attachments: dict[tuple[Lookup, type[Model]], Attachment] = {}
        self._later: dict[tuple[Lookup, type[Model]], frozenset[Any]] = {}
        self._thrashing: dict[str, tuple[int, int, int]] = {}
        self.memoized_objects_configs: dict[type[Model], MemoizedPrefetchConfig] = {}
        for config in self._configs:
            self.memoized_objects_configs.setdefault(config.model, config)
        self._reverse: list[tuple[Any, str, Any]] = []
        self._forget()
        if model is not None:
            self._check_below(self._root, model)
        for config in self._configs:
            if config.prefetch_all:
                lookups_of_it = [lookup for lookup in self._root.all_below() if lookup.config is config]
                self._memory.load_now(config, self._scope_now(), lookups_of_it)

    # --- the main job

    @overload
    def process_chunk(self, objects: list[Row]) -> list[Row]: ...
    @overload
    def process_chunk(self, objects: tuple[Row, ...]) -> tuple[Row, ...]: ...
    @overload
    def process_chunk(self, objects: Iterable[Row]) -> Sequence[Row]: ...
    def process_chunk(self, objects: Iterable[Row]) -> Sequence[Row]:
        """
        Attaches the related rows to the objects, with at most one query per related table for what is not remembered.

        Args:
            objects: Model instances. A queryset is evaluated in place, once.

        Returns:
            The list or tuple itself, a queryset's rows, or a list of what an iterable gave.

        Raises:
            TypeError: One of the objects is no model instance.
            AttributeError: A lookup names no relation of these objects.
            ValueError: A lookup leads elsewhere than its config says, or an unsaved object has a many-to-many.
            Whatever a query raises; the memory is then as before, and the chunk can be processed again.
        """
        rows = rows_of(objects)
        if self._pid != os.getpid():
            self._forget()  # a forked child starts with nothing remembered
        detach_reverse(self._reverse)  # the chunk before is the current one no more
        self._reverse = []
        scope = self._scope_now()
        levels = list(self._levels(self._root, rows, scope, remembered=False))
        pins = Chunk()
        try:
            while levels:
                group = self._next_group(levels)
                levels = [level for level in levels if level not in group]
                self._attach(group, pins)
                for level in group:
                    below = level.attachment.follow(level.objects)
                    levels += self._levels(level.lookup, below, scope, remembered=level.attachment.remembers)
        finally:
            pins.close()
        self._report_thrashing()
        return rows

    def clear(self) -> None:
        """Forgets every remembered row, absence and link. Objects that were attached stay as they are."""
        detach_reverse(self._reverse)
        self._reverse = []
        self._memory.clear()

    def stats(self) -> Stats:
        """What was asked, remembered and read so far; a snapshot."""
        relations: dict[str, RelationStats] = {}
        tables: dict[str, RelationStats] = {}
        for lookup in self._root.all_below():
            memo, links = self._memory.latest(lookup.path)
            relation = self._stats_of(lookup, lookup.rows, memo)
            relations[lookup.path] = relation
            for attachment in self._attachments_of(lookup):
                if (table := attachment.table) is not None:
                    tables[table] = tables[table] + relation if table in tables else relation
                if attachment.kind == TO_MANY:
                    tables[f"{attachment.relation.label} links"] = self._stats_of(lookup, lookup.links, links)
                break
        return Stats(relations, tables)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.clear()

    def __reduce__(self) -> Any:
        # Copies and pickles keep what was configured, not what is remembered.
        return _again, (type(self), self._lookups, self._model, self._size, self._scope)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {', '.join(lookup.path for lookup in self._root.all_below()) or 'no lookups'}>"

    # --- setting up

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._memory = Memory(self._size)
        self._reverse = []

    def _scope_now(self) -> Any:
        return self._scope() if self._scope is not None else None

    def _check_unique(self) -> None:
        seen: set[Any] = set()
        for config in self._configs:
            source = (
                id(config) if config.overrides_queryset else None if config.queryset is None else id(config.queryset)
            )
            identity = (config.model, config.is_many_to_many, source)
            if identity in seen:
                msg = (
                    "Models have to be unique. If you need to fetch the same model for multiple attributes, "
                    f"put the multiple attributes in the list of attributes. Twice: {config.model.__name__}."
                )
                raise ValueError(msg)
            seen.add(identity)

    def _check_below(self, lookup: Lookup, model: type[Model]) -> None:
        for below in lookup.below.values():
            row_model = self._attachment(below, model).row_model
            if row_model is not None:
                self._check_below(below, row_model)

    def _attachment(self, lookup: Lookup, model: type[Model]) -> Attachment:
        attachment = self._attachments.get((lookup, model))
        if attachment is None:
            attachment = self._attachments[lookup, model] = attachment_of(lookup, model)
            if attachment.kind == DJANGO and lookup.fallback is None:
                lookup.fallback = f"{attachment.relation.label}: {attachment.reason}"
                logger.info("%s is prefetched by Django for every chunk. %s", lookup.path, lookup.fallback)
        return attachment

    def _attachments_of(self, lookup: Lookup) -> Iterator[Attachment]:
        return (attachment for (of, _), attachment in self._attachments.items() if of is lookup)

    # --- one chunk

    def _levels(self, lookup: Lookup, objects: Sequence[Any], scope: Any, remembered: bool) -> Iterator[Level]:
        if not lookup.below or not objects:
            return
        for model, members in group_by_class(objects):
            if not issubclass(model, Model):
                raise not_an_instance(objects, model)
            for below in lookup.below.values():
                yield Level(below, self._attachment(below, model), members, remembered, self._memory, scope)

    def _next_group(self, levels: list[Level]) -> list[Level]:
        """
        The levels to do next, all of one memo: the first that no level further down needs too, so that all relations
        to one table share a query; the first of all, when there is none such.
        """
        first = levels[0]
        later = frozenset[Any]().union(*(self._later_memos(level.lookup, level.model) for level in levels))
        if later:
            first = next((level for level in levels if level.attachment.memo_identity not in later), first)
        if not first.attachment.to_one:
            return [first]
        return [level for level in levels if level.attachment.to_one and level.memo is first.memo]

    def _later_memos(self, lookup: Lookup, model: type[Model]) -> frozenset[Any]:
        """The memos that to-one lookups below this one will need."""
        if not lookup.below:
            return frozenset()
        known = self._later.get((lookup, model))
        if known is None:
            found: set[Any] = set()
            row_model = self._attachment(lookup, model).row_model
            for below in lookup.below.values() if row_model is not None else ():
                attachment = self._attachment(below, row_model)  # type: ignore[arg-type]
                found |= {attachment.memo_identity} if attachment.to_one else set()
                found |= self._later_memos(below, row_model)  # type: ignore[arg-type]
            known = self._later[lookup, model] = frozenset(found)
        return known

    def _attach(self, group: list[Level], pins: Chunk) -> None:
        level = group[0]
        count = QueryCount()
        if level.attachment.to_one:
            self._attach_to_one(group, pins, count)
        elif level.attachment.kind == TO_MANY:
            self._attach_to_many(level, pins, count)
        elif level.attachment.kind == DJANGO:
            with count.on(level.alias):
                prefetch_related_objects(level.objects, level.attachment.django_lookup())
        level.lookup.rows.queries += count.queries

    def _attach_to_one(self, group: list[Level], pins: Chunk, count: QueryCount) -> None:
        first = group[0]
        attachment, instance = first.attachment, first.objects[0]

        def fetch(keys: list[Any]) -> list[Any]:
            with count.on(first.alias):
                return fetch_rows(attachment.row_source, attachment.key_name, keys, instance)

        def load(instances: list[Any]) -> None:
            for attname in dict.fromkeys(level.attachment.relation.key_name for level in group):
                load_deferred([one for one in instances if hasattr(type(one), attname)], attname, count.on)

        # Relations of the same objects are read and attached together, object by object.
        by_objects: dict[int, tuple[Sequence[Any], list[Any], bool]] = {}
        for level in group:
            by_objects.setdefault(id(level.objects), (level.objects, [], level.remembered))[1].append(
                level.attachment.engine
            )
        reverse = None if all(level.remembered for level in group) else self._reverse
        pins.to_one(first.memo, list(by_objects.values()), fetch, load, reverse)

    def _attach_to_many(self, level: Level, pins: Chunk, count: QueryCount) -> None:
        attachment, instance = level.attachment, level.objects[0]
        attachment.prepare(instance)

        def links(keys: list[Any]) -> list[tuple[Any, Any]]:
            with count.on(level.alias):
                return fetch_links(attachment.relation, attachment.row_source, keys, instance)

        def rows(keys: list[Any]) -> list[Any]:
            with count.on(level.alias):
                return fetch_rows(attachment.row_source, attachment.key_name, keys, instance)

        def load(instances: list[Any]) -> None:
            load_deferred(instances, attachment.relation.key_name, count.on)

        pins.to_many(level.links, level.memo, level.objects, attachment.engine, level.remembered, links, rows, load)

    def _report_thrashing(self) -> None:
        for lookup in self._root.all_below():
            chunks, hits, evicted = self._thrashing.get(lookup.path, (0, 0, 0))
            chunks = chunks + 1 if lookup.rows.evicted - evicted > lookup.rows.hits - hits else 0
            self._thrashing[lookup.path] = (chunks, lookup.rows.hits, lookup.rows.evicted)
            if chunks == THRASHING_CHUNKS:
                logger.warning(
                    "%s: for %d chunks more rows were evicted than found in memory; lru_cache_size is too small, "
                    "or the same rows do not come again",
                    lookup.path,
                    chunks,
                )

    # --- reports

    # Made when asked for: kept, they would tie the memos into a cycle, for the garbage collector to find.

    @property
    def memoized_objects(self) -> ViewMapping[type[Model]]:
        """The remembered rows by model, then by primary key."""
        return ViewMapping(lambda: list(self._row_models()), self._rows_view)

    @property
    def through_model_source_target_cache(self) -> ViewMapping[str]:
        """The remembered links: the targets of each source, by the name of the through model and its two fields."""
        return ViewMapping(lambda: list(self._link_names()), self._links_view)

    def _stats_of(self, lookup: Lookup, count: Counters, table: Memo | Links | None) -> RelationStats:
        return RelationStats(
            requests=count.requests,
            hits=count.hits,
            misses=count.misses,
            fetched=count.fetched,
            missing=count.missing,
            evicted=count.evicted,
            queries=count.queries,
            size=0 if table is None else len(table),
            bound=self._memory.size_of(None, lookup.config) if table is None else table.bound,
            path="native" if lookup.fallback is None else "django",
            reason=lookup.fallback,
        )

    def _row_models(self) -> dict[type[Model], str | None]:
        """The models of configs, and those that lookups without one were seen to lead to, with the first one's path."""
        models: dict[type[Model], str | None] = dict.fromkeys(self.memoized_objects_configs)
        for attachment in self._attachments.values():
            if attachment.remembers and attachment.row_model is not None:
                models.setdefault(attachment.row_model, attachment.lookup.path)
        return models

    def _rows_view(self, model: type[Model]) -> MemoView:
        config, path = self.memoized_objects_configs.get(model), self._row_models()[model]
        return MemoView(
            lambda: self._memory.rows_of(config, path),
            lambda: self._memory.size_of(model, config),
            lambda size: self._memory.set_size(model, size),
        )

    def _link_names(self) -> dict[str, Lookup]:
        """Lookups by the name of their links: those known from configs, and those met since."""
        names: dict[str, Lookup] = {}
        for lookup in self._root.all_below():
            config = lookup.config
            if config is not None and config.through_model is not None:
                names.setdefault(f"{config.through_model.__name__}_{config.source_field}_{config.target_field}", lookup)
            for attachment in self._attachments_of(lookup):
                if attachment.kind == TO_MANY:
                    names.setdefault(attachment.link_name, lookup)
        return names

    def _links_view(self, name: str) -> MemoView:
        lookup = self._link_names()[name]

        def links() -> Links | None:
            return self._memory.latest(lookup.path)[1]

        def set_size(size: int | None) -> None:
            if (table := links()) is not None:
                table.bound = size

        def size() -> int | None:
            return self._memory.size_of(None, lookup.config) if (table := links()) is None else table.bound

        return MemoView(lambda: [] if (table := links()) is None else table.items(), size, set_size)


class Level:
    """Objects of one class at one lookup, and where their rows are remembered for this chunk."""

    def __init__(
        self,
        lookup: Lookup,
        attachment: Attachment,
        objects: Sequence[Any],
        remembered: bool,
        memory: Memory,
        scope: Any,
    ) -> None:
        self.lookup, self.attachment, self.objects, self.remembered = lookup, attachment, objects, remembered
        self.model: type[Model] = attachment.relation.model
        self.memo: Memo  # when rows are remembered
        self.links: Links  # when the relation is to many
        self.alias = ""
        if attachment.remembers or attachment.kind == DJANGO:
            self.alias = attachment.alias(objects[0])
        if attachment.remembers:
            context = memory.context(self.alias, scope)
            self.memo = memory.memo(context, attachment, objects[0])
            if attachment.kind == TO_MANY:
                self.links = memory.links(context, attachment, self.memo)


def rows_of(objects: Iterable[Row]) -> Sequence[Row]:
    """The objects as a sequence: itself, or a queryset's own rows, or what an iterable gives."""
    if isinstance(objects, (list, tuple)):
        return objects
    if isinstance(objects, QuerySet):
        len(objects)
        return objects._result_cache  # type: ignore[no-any-return]
    try:
        return list(objects)
    except TypeError:
        if isinstance(objects, Iterable):
            raise
        msg = f"process_chunk: expected a list, queryset or other iterable of model instances, got {objects!r}."
        raise TypeError(msg) from None


def not_an_instance(objects: Sequence[Any], found: type) -> TypeError:
    """The error for what is no model instance, with its place."""
    index = next(index for index, one in enumerate(objects) if type(one) is found)
    hint = "; values() and values_list() rows cannot have relations" if issubclass(found, (dict, tuple)) else ""
    got = f"{objects[index]!r} of type {found.__name__}"
    msg = f"process_chunk: expected model instances, got {got} at index {index}{hint}."
    return TypeError(msg)


def _again(cls: type[MemoizedPrefetch], lookups: Any, model: Any, size: Any, scope: Any) -> MemoizedPrefetch:
    return cls(*lookups, model=model, lru_cache_size=size, scope=scope)
