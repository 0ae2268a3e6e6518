from __future__ import annotations

import logging
import os
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from threading import Thread, current_thread
from typing import TYPE_CHECKING, Any, Callable, Literal, TypeVar, overload
from weakref import ref

from asgiref.sync import sync_to_async
from django import VERSION
from django.core.exceptions import ValidationError
from django.db import connections, router
from django.db.models import Manager, Model, Prefetch, QuerySet, prefetch_related_objects, query
from django.db.models.query import RawQuerySet
from django.db.models.signals import m2m_changed, post_delete, post_save

from ._advice import Advice
from ._attach import Attachment, Rows, attachment_of
from ._chunks import Stream, read_in_thread
from ._config import MemoizedPrefetchConfig, check_size
from ._engine import Chunk, Counters, Links, Memo, detach_reverse, group_by_class, group_by_value, mark_prefetched
from ._generic import content_type_column, generic_targets
from ._invalidate import Change, matters
from ._keys import check_asked_for, equals_as_python
from ._lookups import Lookup, lookup_tree, lookups_for_django
from ._memory import Memory
from ._progress import Progress
from ._queries import (
    QueryCount,
    RowSource,
    content_type_of,
    fetch_linked,
    fetch_links,
    fetch_referring,
    fetch_rows,
    fetch_tagged,
    load_deferred,
    load_missing,
    unshared,
)
from ._relations import (
    ATTRIBUTE,
    COLLECTIONS,
    DJANGO,
    GENERIC_MANY,
    GENERIC_ONE,
    LOOSE,
    READ_ANEW,
    REVERSE_MANY,
    REVERSE_ONE,
    TO_MANY,
    TO_ONE,
    Relation,
    unknown_attribute,
)
from ._stats import RelationStats, Stats
from ._stock import why_not_stock_prefetch
from ._views import MemoView, ViewMapping

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger("django_memoized_prefetch")

Row = TypeVar("Row", bound=Model)

# A relation that evicts more than it finds in memory for so many chunks is reported.
THRASHING_CHUNKS = 20
# Of more changed rows of one model than that it is no longer noted which they are.
MAX_CHANGES = 10_000
ANY = object()
# Of querysets with different Prefetch objects, the memory of the latest is kept.
MAX_APART = 4
# Before version 5.0 Django attaches the object that a row of a reverse foreign key refers to by its descriptor.
SETS_PARENTS = VERSION < (5, 0)
# Of querysets with lookup strings only, that many sets of them have their counts and plans at hand.
MAX_TOGETHER = 64

# Reverse one-to-one caches, by id of the row and name: the row and the chunk's object that it leads to.
Lent = dict[tuple[int, str], tuple[Any, Any]]


class MemoizedPrefetch:
    """
    Prefetches related rows chunk by chunk and remembers them: a snapshot for one run.

    A related row is read once and shared by all chunks. It shows the database as it was at that moment: later writes,
    of this process or others, and rollbacks are not seen, and what you change in a shared instance shows in later
    chunks. `invalidate()` forgets rows that changed, `clear()` everything.

    Args:
        lookups: What `prefetch_related` takes, lookup strings such as `"author"` or `"book__author"`, Prefetch and
            GenericPrefetch objects, and MemoizedPrefetchConfig objects.
        model: The model of the chunks; with it, all lookups are checked now instead of at the first chunk.
        lru_cache_size: How many rows of each table are kept between chunks, for lookups without a config of their own;
            None: all. Memory is bounded by the sum over the tables of this times what hangs on one row.
        scope: A callable without arguments, asked once per chunk. Chunks for which it returns different values share
            nothing: for tenants that the connection does not show.
        invalidate_on_change: Forget rows that this process saves or deletes, and links that it adds or removes, as soon
            as the next chunk begins. What sends no signal is not seen: `update()`, bulk operations, raw SQL, rows of
            a many-to-many's automatic table that are saved or deleted as such.

    Raises:
        AttributeError, TypeError, ValueError: A lookup does not fit, with what was expected.

    Making one may run queries: those of configs with `prefetch_all=True`.
    """

    # Empty again in a forked child.
    _memory: Memory
    _attachments: dict[tuple[Lookup, type[Model]], Attachment]
    _later: dict[tuple[Lookup, type[Model]], frozenset[Any]]
    _reverse: dict[int, tuple[ref[Any], Lent]]  # by id of who uses this: reverse caches of its latest chunk
    _changed: dict[type[Model], set[Any]]
    _running: dict[int, list[Change]]  # by chunk: what changed since it last looked
    _thrashing: dict[str, tuple[int, int, int]]
    _contested: dict[type[Model], bool]
    _dropped: Stats  # what helpers for lookups of querysets counted before they were dropped
    _attached_before: dict[Any, Attachment]  # and what they attached

    def __init__(
        self,
        *lookups: MemoizedPrefetchConfig | Prefetch[Any] | str,
        model: type[Model] | None = None,
        lru_cache_size: int | None = 10_000,
        scope: Callable[[], Any] | None = None,
        invalidate_on_change: bool = False,
    ) -> None:
        check_size(lru_cache_size, "MemoizedPrefetch")
        if scope is not None and not callable(scope):
            msg = f"MemoizedPrefetch: scope must be a callable without arguments, got {scope!r}."
            raise TypeError(msg)
        if model is not None and not (isinstance(model, type) and issubclass(model, Model)):
            msg = f"MemoizedPrefetch: model must be a model class, got {model!r}."
            raise TypeError(msg)
        self._lookups, self._model, self._size, self._scope = lookups, model, lru_cache_size, scope
        self._invalidate_on_change = invalidate_on_change
        self._configs = [lookup for lookup in lookups if isinstance(lookup, MemoizedPrefetchConfig)]
        self._check_unique()
        self._root = lookup_tree(lookups)
        # As they were given; what managers add later is told apart when its turn comes.
        self._is_contested = any(lookup.contested for lookup in self._root.all_below())
        self._may_be_contested = any(lookup.passed_through for lookup in self._root.all_below())
        self.memoized_objects_configs: dict[type[Model], MemoizedPrefetchConfig] = {}
        for config in self._configs:
            self.memoized_objects_configs.setdefault(config.model, config)
        self._derived: dict[tuple[Any, ...], Derived] = {}
        self._built: dict[str, str | None] = {}  # why Django builds a model's rows, of memoized querysets
        self._streams: dict[str, str] = {}  # how chunks() read a model
        self._forget()
        if model is not None:
            self._check_below(self._root, model)
        if invalidate_on_change:
            self._listen()
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
        self._process(tuple(rows))  # as they are now: a query may run code that changes the list
        return rows

    def _process(self, rows: tuple[Any, ...]) -> None:
        self._begin()
        if (reason := self._why_for_django(rows)) is not None:
            self._prefetch_by_django(rows, reason)
            return
        scope = self._scope_now()
        levels = list(self._levels(self._root, rows, scope, remembered=False))
        pins = Chunk()
        changes: list[Change] = []
        repeated: dict[int, Lookup] = {}
        try:
            self._running[id(pins)] = changes
            while levels:
                group = self._next_group(levels)
                levels = [level for level in levels if level not in group]
                raise_repeated(repeated, group[0].lookup.number)
                for level in group:
                    level.check()
                self._attach(group, pins)
                repeated.update((level.seen_again, level.lookup) for level in group if level.seen_again is not None)
                if changes:
                    self._forget_late(changes)
                for (lookup, keeps, fetched), objects in below_all(group).items():
                    levels += self._levels(lookup, objects, scope, keeps, fetched)
            raise_repeated(repeated, None)
        finally:
            self._running.pop(id(pins), None)
            pins.close()
            if changes:
                self._forget_late(changes)
        self._report_thrashing()

    async def aprocess_chunk(self, objects: Iterable[Row]) -> Sequence[Row]:
        """`process_chunk` in the thread in which Django runs its queries."""
        process: Any = self.process_chunk
        chunk: Sequence[Row] = await sync_to_async(process)(objects)
        return chunk

    def chunks(
        self,
        queryset: QuerySet[Row] | Manager[Row] | RawQuerySet[Row] | Iterable[Row],
        chunk_size: int = 2_000,
        *,
        after: Any = None,
        progress: bool | Callable[[Progress], Any] | None = None,
        total: int | None = None,
        mode: Literal["pages", "cursor"] | None = None,
    ) -> Iterator[list[Row]]:
        """
        The rows of a queryset in lists, processed, one list at a time in memory.

            for chunk in prefetch.chunks(Book.objects.prefetch_related("author")):
                for book in chunk: ...

        They are read in pages, `key > last ORDER BY key LIMIT chunk_size + 1`, where that gives the queryset's rows:
        when it is unordered or ordered by primary key alone, and is no slice, union, DISTINCT, aggregate, extra(),
        window, lock or join of many rows to one. Each page sees the database of its moment, and no cursor or
        transaction is open in between. Otherwise one cursor reads them all, as Django's `iterator()`. `stats().streams`
        says which and why.

        Args:
            queryset: It is not evaluated. What it has of `prefetch_related()` is attached too, and remembered. Of a
                manager all rows; lists and other iterables are cut into chunks.
            chunk_size: Rows of one list.
            after: Start behind the row with this primary key, in the order of the queryset; needs pages.
            progress: True: draw a bar, with tqdm. A callable: is given a Progress each time that a chunk is done, when
                the loop comes back for the next one.
            total: How many rows there are, for the fraction and the time left. Without it they are estimated from
                integer keys, in pages only; no rows are counted.
            mode: "pages" or "cursor" forces one.

        Raises:
            ValueError: Pages were asked for, by `mode` or `after`, and something stands against them.
            TypeError: No queryset or iterable of model instances.
            ImportError: `progress=True` without tqdm.

        The loop may be left at any time; nothing stays open when the iterator is closed or released.
        """
        return Stream(self, queryset, chunk_size, after, progress, total, mode).read()

    def achunks(
        self,
        queryset: QuerySet[Row] | Manager[Row] | RawQuerySet[Row] | Iterable[Row],
        chunk_size: int = 2_000,
        *,
        after: Any = None,
        progress: bool | Callable[[Progress], Any] | None = None,
        total: int | None = None,
        mode: Literal["pages", "cursor"] | None = None,
    ) -> AsyncIterator[list[Row]]:
        """
        `chunks` for `async for`: reads, processes and calls `progress` in the thread in which Django runs its queries.

        Who leaves the loop early closes it, by `contextlib.aclosing()` for example: until then, or until the event loop
        does so, a cursor may stay open.
        """
        return read_in_thread(Stream(self, queryset, chunk_size, after, progress, total, mode).read())

    def clear(self) -> None:
        """Forgets every remembered row, absence and link. Objects that were attached stay as they are."""
        self._check_process()
        while self._reverse:
            detach_reverse(self._reverse.popitem()[1][1])
        self._memory.clear()
        for derived in list(self._derived.values()):
            derived.clear()

    def invalidate(self, model: type[Model], pks: Iterable[Any] | None = None) -> None:
        """
        Forgets rows, with everything remembered that mentions them; the next chunk reads them again.

        Objects that were processed before stay as they are, with what is attached to them.

        Args:
            model: Whose rows changed.
            pks: Their primary keys; None: all of the model's rows.
        """
        if not (isinstance(model, type) and issubclass(model, Model) and hasattr(model, "_meta")):
            msg = f"invalidate: model must be a model class, got {model!r}."
            raise TypeError(msg)
        if isinstance(pks, (str, bytes)) or not (pks is None or isinstance(pks, Iterable)):
            msg = f"invalidate: pks must be an iterable of primary keys or None, got {pks!r}; write [{pks!r}]."
            raise TypeError(msg)
        self._check_process()
        self._forget_changes([Change(model, None if pks is None else changed_keys(model, pks))])
        for derived in list(self._derived.values()):
            if not derived.shares_memory:
                derived.invalidate(model, pks)

    def stats(self) -> Stats:
        """What was asked, remembered and read so far; a snapshot."""
        self._check_process()
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
                    tables[attachment.link_label] = self._stats_of(lookup, lookup.links, links)
                break
        own = Stats(relations, tables, dict(self._streams), self._advice())
        return sum((derived.stats() for derived in list(self._derived.values())), own + self._dropped)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.clear()

    def __reduce__(self) -> Any:
        # Copies and pickles keep what was configured, not what is remembered.
        options = {
            "model": self._model,
            "lru_cache_size": self._size,
            "scope": self._scope,
            "invalidate_on_change": self._invalidate_on_change,
        }
        return _again, (type(self), self._lookups, options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {', '.join(lookup.path for lookup in self._root.all_below()) or 'no lookups'}>"

    # --- changes that signals tell of

    def _listen(self) -> None:
        # Weakly: the receivers do not keep this alive.
        post_save.connect(self._row_changed)
        post_delete.connect(self._row_changed)
        m2m_changed.connect(self._links_changed)

    def _row_changed(self, sender: type[Model], instance: Model, **_: Any) -> None:
        self._note(sender, instance.pk)

    def _links_changed(self, sender: type[Model], action: str, **_: Any) -> None:
        if action.startswith("post_"):
            self._note(sender, None)

    def _note(self, model: type[Model], pk: Any) -> None:
        """Taken into account when the next chunk begins: what a running chunk remembers until then is stale too."""
        pks = self._changed.setdefault(model, set())
        if pk is None or len(pks) >= MAX_CHANGES:
            pks = self._changed[model] = {ANY}
        if ANY not in pks:
            pks.add(pk)

    def _apply_changes(self) -> None:
        changed, self._changed = self._changed, {}
        changes = [Change(model, None if ANY in pks else frozenset(pks)) for model, pks in changed.items()]
        attachments = self._attachments_of_memory()
        streamed = {one.relation.model for one in attachments if one.lookup in self._root.below.values()}
        seen = [change for change in changes if matters(change, attachments, streamed)]
        self._memory.forget_sources([change for change in changes if change not in seen])
        if seen:
            self._forget_changes(seen)

    def _forget_changes(self, changes: list[Change]) -> None:
        for later in list(self._running.values()):
            later.extend(changes)  # before: what they attach from now on is theirs to look after
        self._forget_now(changes)

    def _forget_now(self, changes: list[Change]) -> None:
        borrowed = {place for _, lent in list(self._reverse.values()) for place in list(lent)}
        self._memory.forget(changes, self._attachments_of_memory(), borrowed)

    def _forget_late(self, changes: list[Change]) -> None:
        """Rows that were read before a change and have been attached to remembered ones since."""
        late = []
        while changes:
            late.append(changes.pop())
        if late:
            self._forget_now(late)

    # --- setting up

    def _with_lookups(self, lookups: tuple[Any, ...]) -> Derived:
        """Another one, for a queryset's lookups, whose work shows in `stats()` of this one."""
        # Prefetch objects are equal to others that are not the same. Names come to the same in any order.
        names = {lookup for lookup in lookups if isinstance(lookup, str)}
        key = tuple(sorted(names) if len(names) == len(lookups) else map(_identity, lookups))
        derived = self._derived.pop(key, None) or Derived(self, lookups)
        self._derived[key] = derived  # the latest comes last
        self._drop_derived(False, MAX_APART)
        self._drop_derived(True, MAX_TOGETHER)
        return derived

    def _drop_derived(self, shares_memory: bool, kept: int) -> None:
        """Drops those that were not used for longest, but not what they counted, nor what they attached to rows."""
        known = [(key, one) for key, one in list(self._derived.items()) if one.shares_memory == shares_memory]
        for key, one in known[:-kept]:
            if one._running or self._derived.pop(key, None) is None:
                continue  # in use, or another thread was quicker
            if shares_memory:
                self._dropped += one.stats()
                for attachment in one._attachments.values():
                    place = (attachment.relation, attachment.kind, tuple(attachment.attached_as))
                    self._attached_before.setdefault(place, attachment)

    def _attachments_of_memory(self) -> list[Attachment]:
        """Those whose rows and links are in the memory of this one."""
        sharing = [self, *(derived for derived in list(self._derived.values()) if derived.shares_memory)]
        current = [attachment for one in sharing for attachment in one._attachments.values()]
        return current + list(self._attached_before.values())

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._memory = Memory(self._size)
        self._changed = {}
        self._running = {}
        self._reverse = {}
        self._attachments = {}
        self._later = {}
        self._thrashing = {}
        self._contested = {}
        self._dropped = Stats({}, {})
        self._attached_before = {}
        for lookup in self._root.all_below():
            lookup.reset_counts()

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

    def _check_below(self, lookup: Lookup, model: type[Model], back: bool = False) -> None:
        for below in list(lookup.below.values()):
            attachment = self._attachment(below, model)
            attachment.check_to_attr()
            here = back or below.leads_back
            if below.repeated and not here:
                raise seen_again(below)
            if attachment.row_model is not None and not below.automatic:
                self._check_below(below, attachment.row_model, here)

    def _why_for_django(self, rows: Sequence[Any]) -> str | None:
        """
        Why Django has to do a whole chunk.

        Where lookups differ in what they ask for under one name, which of them is done is Django's to say: it does the
        first that it comes to and passes by or refuses the others. Where it does not read a queryset, as what that
        leads to is attached already (the chunk's own objects), it does not come to the lookups of that.
        """
        if self._root.below and (reason := why_not_stock_prefetch()) is not None:
            return reason
        for model, members in group_by_class(rows):
            if not issubclass(model, Model) and isinstance(members[0], Model):
                return f"a {model.__name__} stands for an instance"
        if not self._is_contested and not self._may_be_contested:
            return None
        models = [model for model, _ in group_by_class(rows)]
        if not all(issubclass(model, Model) for model in models):
            return None  # refused
        for model in models:
            if not self._is_contested and model not in self._contested:
                self._contested[model] = self._contested_below(self._root, model, False)
        contested = self._is_contested or any(self._contested[model] for model in models)
        return "lookups ask for different things under one name" if contested else None

    def _contested_below(self, lookup: Lookup, model: type[Model], back: bool) -> bool:
        for below in list(lookup.below.values()):
            here = back or below.leads_back
            if here and below.passed_through:
                return True
            try:
                attachment = self._attachment(below, model)
            except (AttributeError, ValueError):
                continue  # raised when there are objects to attach it to
            if attachment.row_model is None or attachment.kind == DJANGO:  # rows of several models may lead back
                if any(deeper.passed_through for deeper in below.all_below()):
                    return True
            elif not below.automatic and self._contested_below(below, attachment.row_model, here):
                return True
        return False

    def _attachment(self, lookup: Lookup, model: type[Model], instance: Model | None = None) -> Attachment:
        attachment = self._attachments.get((lookup, model))
        if attachment is None:
            attachment = attachment_of(lookup, model, instance)
            self._attachments[lookup, model] = attachment
            self._report_reason(attachment)
        return attachment

    def _report_reason(self, attachment: Attachment) -> None:
        """Says once what keeps a lookup from being remembered, and who has patched what it goes by."""
        lookup, relation = attachment.lookup, attachment.relation
        if attachment.reason is not None and lookup.reason is None:
            lookup.by_django = attachment.kind in (DJANGO, READ_ANEW)
            lookup.reason = f"{relation.label}: {attachment.reason}"
            how = "prefetched by Django" if lookup.by_django else "read"
            logger.info("%s is %s for every chunk. %s", lookup.path, how, lookup.reason)
        if lookup.patched is None and not lookup.by_django and (patched := relation.patched) is not None:
            lookup.patched = f"{relation.label}: {patched}"
            logger.info("%s stays native. %s", lookup.path, lookup.patched)

    def _judge_manager(
        self, attachment: Attachment, objects: Sequence[Any], scope: Any, remembered: bool
    ) -> QuerySet[Any] | None:
        """
        Has a manager's own queryset looked at, for the objects that Django would ask the manager for.

        Returns:
            The queryset: what the manager would give if it were asked again may be another one.
        """
        fresh = attachment.not_attached(objects)
        if not fresh and not (remembered and attachment.row_source.varies):
            return None  # what is remembered shows what the manager gave then, and may give otherwise now
        queryset = attachment.judge_manager((fresh or objects)[0])
        if attachment.row_source.varies and attachment.kind != DJANGO and (attachment.remembers or remembered):
            context = self._memory.context(queryset.db, scope)
            if not context.is_same_query((attachment.row_source.identity, attachment.relation.label), queryset):
                attachment.leave_varying_to_django()
        self._report_reason(attachment)
        return None if attachment.kind == DJANGO else queryset

    def _attachments_of(self, lookup: Lookup) -> Iterator[Attachment]:
        return (attachment for (of, _), attachment in self._attachments.items() if of is lookup)

    # --- one chunk

    def _process_with(self, lookups: tuple[Any, ...], rows: Sequence[Any]) -> None:
        """One chunk of a queryset that has lookups of its own."""
        derived = self._with_lookups(lookups) if lookups else None
        if derived is not None and not derived.shares_memory:
            # Before anything shared is attached, below which a Prefetch object would show its own choice to all.
            derived.process_chunk(rows)
        self.process_chunk(rows)
        if derived is not None and derived.shares_memory:
            derived.process_chunk(rows)

    def _begin(self) -> None:
        """The chunk before is the current one of this thread no more."""
        self._check_process()
        user = current_user()
        for number, (reference, lent) in list(self._reverse.items()):
            other = reference()
            if other is user or is_over(other):
                self._reverse.pop(number, None)
                detach_reverse(lent)
        if self._changed:
            self._apply_changes()

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            self._forget()  # a forked child starts with nothing remembered

    def _levels(
        self, lookup: Lookup, objects: Sequence[Any], scope: Any, remembered: bool, fetched: bool = True
    ) -> list[Level]:
        """
        Args:
            remembered: The objects are in a memo, or on rows that are.
            fetched: The lookup itself attached them: those of its own queryset concern them.
        """
        levels: list[Level] = []
        if not lookup.below or not objects:
            return levels
        groups = []
        for model, members in group_by_class(objects):
            if issubclass(model, Model):
                groups.append((model, members))
            elif lookup is self._root:
                raise not_an_instance(objects, model)
            else:
                self._leave_to_django(lookup, members)
        marked: set[type[Model]] = set()
        for below in list(lookup.below.values()):
            if below.only_inner and not fetched:
                continue
            by_relation: dict[Any, tuple[Attachment, Sequence[Any]]] = {}
            for model, members in groups:
                attachment = self._attachment(below, model, members[0])
                if model not in marked and attachment.kind != LOOSE:  # of which Django knows nothing
                    mark_prefetched(members)
                    marked.add(model)
                shared = attachment.joined_by
                if shared in by_relation:
                    members = [*by_relation[shared][1], *members]
                    attachment = by_relation[shared][0]
                by_relation[shared] = (attachment, members)
            for attachment, members in by_relation.values():
                queryset = None
                if attachment.asks_manager:
                    queryset = self._judge_manager(attachment, members, scope, remembered)
                if attachment.kind == GENERIC_ONE:
                    levels += self._generic_levels(attachment, members, scope, remembered)
                else:
                    level = Level(attachment, members, remembered, self._memory, scope, queryset=queryset)
                    levels.append(level)
        return levels

    def _generic_levels(
        self, attachment: Attachment, objects: Sequence[Any], scope: Any, remembered: bool
    ) -> Iterator[Level]:
        """A level for each model that the objects' generic foreign key leads to."""
        fresh = objects if remembered else attachment.not_attached(objects)
        relation, count = attachment.relation, QueryCount()
        content_type = content_type_column(relation)
        load_missing(fresh, content_type, count.on)
        # As Django, which looks at the key of no object that leads nowhere.
        leading = [one for one in fresh if getattr(one, content_type) is not None]
        load_missing(leading, relation.key_name, count.on)
        attachment.lookup.rows.add_queries(count.queries)
        if not fresh:
            yield Level(attachment, objects, remembered, self._memory, scope)
            return
        for target, members, translated in generic_targets(attachment, fresh):
            self._report_reason(target)
            yield Level(target, members, remembered, self._memory, scope, translated)

    def _leave_to_django(self, lookup: Lookup, objects: Sequence[Any]) -> None:
        """Objects that are no model instances: what they hold is Django's to find out."""
        for below in lookup.below.values():
            prefetch_related_objects(objects, *below.for_django(len(lookup.path)))

    def _next_group(self, levels: list[Level]) -> list[Level]:
        """
        The levels to do next, all of one memo: the first that no level further down needs too, so that all relations
        to one table share a query; the first of all, when there is none such.
        """
        levels = [level for level in levels if not any(level.must_wait_for(other) for other in levels)]
        first = min(levels, key=lambda level: level.lookup.number)
        if any(lookup.leads_back and lookup.below for lookup in self._root.all_below()):
            # What it attaches to the objects that it leads back to is there for those after it, as under Django.
            return [level for level in levels if level.lookup is first.lookup and level.asks_like(first)] or [first]
        # What is not the engine's to attach may look at what lookups before it attached, and waits for these.
        own = [level for level in levels if level.attachment.kind not in (ATTRIBUTE, DJANGO)]
        later = frozenset[Any]().union(*(self._later_memos(level.lookup, level.model) for level in own))
        if later:
            first = next((level for level in own if level.attachment.rows_identity not in later), first)
        if first.attachment.kind == GENERIC_MANY:
            return [level for level in levels if level.lookup is first.lookup and level.asks_like(first)]
        if not first.attachment.to_one:
            return [first]
        if first.refuses_strays:
            return [first]
        return [
            level
            for level in levels
            if level.attachment.to_one and level.memo is first.memo and not level.refuses_strays
        ]

    def _later_memos(self, lookup: Lookup, model: type[Model]) -> frozenset[Any]:
        """The memos that to-one lookups below this one will need."""
        if not lookup.below:
            return frozenset()
        known = self._later.get((lookup, model))
        if known is None:
            found: set[Any] = set()
            row_model = self._attachment(lookup, model).row_model
            self._later[lookup, model] = frozenset()  # for lookups that managers repeat without end
            for below in lookup.below.values() if row_model is not None else ():
                try:
                    attachment = self._attachment(below, row_model)  # type: ignore[arg-type]
                except (AttributeError, ValueError):
                    continue  # raised when there are objects to attach it to
                found |= {attachment.rows_identity} if attachment.to_one else set()
                found |= self._later_memos(below, row_model)  # type: ignore[arg-type]
            known = self._later[lookup, model] = frozenset(found)
        return known

    def _attach(self, group: list[Level], pins: Chunk) -> None:
        level = group[0]
        kind = level.attachment.kind
        count = QueryCount()
        try:
            if level.attachment.to_one:
                self._attach_to_one(group, pins, count)
            elif kind == TO_MANY:
                self._attach_to_many(level, pins, count)
            elif kind in COLLECTIONS:
                self._attach_collections(group, pins, count)
            elif level.attachment.is_open:
                level.attachment.close(level.objects[0])
                self._report_reason(level.attachment)
                level.alias = level.attachment.alias(level.objects[0])
            if level.attachment.kind == DJANGO:
                self._attach_by_django(level, count)
        except BaseException:
            for one in group:
                one.undo()
            raise
        level.lookup.rows.add_queries(count.queries)

    def _attach_to_one(self, group: list[Level], pins: Chunk, count: QueryCount) -> None:
        first = next((level for level in group if not level.attachment.absent), group[0])
        rows, instance = first.rows, first.objects[0]

        def fetch(keys: list[Any]) -> list[Any]:
            with count.on(first.alias):
                found = fetch_rows(first.source, rows.key_name, keys, instance)
            if first.refuses_strays:
                check_asked_for(first.attachment.relation, found, rows.key_name, keys, first.objects)
            return found

        def load(instances: list[Any]) -> None:
            for attname in dict.fromkeys(level.attachment.relation.key_name for level in group):
                load_deferred([one for one in instances if hasattr(type(one), attname)], attname, count.on)

        # Relations of the same objects are read and attached together, object by object.
        by_objects: dict[int, tuple[Sequence[Any], list[Any], bool]] = {}
        for level in group:
            by_objects.setdefault(id(level.objects), (level.objects, [], level.remembered))[1].append(level.engine())
        pins.to_one(first.memo, list(by_objects.values()), fetch, load, self._lent())

    def _lent(self) -> Lent:
        user = current_user()
        return self._reverse.setdefault(id(user), (ref(user), {}))[1]

    def _attach_to_many(self, level: Level, pins: Chunk, count: QueryCount) -> None:
        rows, relation, instance = level.rows, level.attachment.relation, level.objects[0]

        def links(keys: list[Any]) -> Iterator[Sequence[tuple[Any, Any]]]:
            with count.on(level.alias):
                yield from fetch_links(relation, level.source, keys, instance)

        def fetch(keys: list[Any]) -> list[Any]:
            with count.on(level.alias):
                return fetch_rows(level.source, rows.key_name, keys, instance)

        def load(instances: list[Any]) -> None:
            load_deferred(instances, relation.key_name, count.on)

        pins.to_many(level.links, level.memo, level.objects, level.engine(), level.remembered, links, fetch, load)

    def _attach_collections(self, group: list[Level], pins: Chunk, count: QueryCount) -> None:
        for level in group:
            if level.attachment.again and level.remembered:
                level.attachment.detach(level.objects)
        rows = self._tagged(group, count) if len(group) > 1 else {}
        for level in group:
            self._attach_collection(level, pins, count, rows.get(id(level)))

    def _attach_collection(self, level: Level, pins: Chunk, count: QueryCount, rows: list[Any] | None) -> None:
        attachment, instance = level.attachment, level.objects[0]
        relation, source = attachment.relation, level.source
        translated: dict[Any, Any] | None = {} if attachment.translates else None

        def fetch(keys: list[Any]) -> list[Any]:
            found = rows
            if attachment.kind == READ_ANEW:
                assert translated is not None
                with count.on(level.alias):
                    found, by_value = fetch_linked(relation, source, attachment.not_attached(level.objects))
                translated.update(by_value)
                level.read_anew = found
                return found
            if found is None:
                with count.on(level.alias):
                    found = fetch_referring(relation, source, keys, instance)
            if level.refuses_strays:
                # Where the rows bring the object that they refer to, Django does not look for it.
                brought = relation.kind == REVERSE_MANY
                strays = [row for row in found if not (brought and relation.field.is_cached(row))]
                check_asked_for(relation, strays, relation.join_name, keys, level.objects)
            if SETS_PARENTS and relation.kind == REVERSE_MANY:
                set_parents(relation, found, level.objects)
            if relation.kind == GENERIC_MANY:
                load_missing(found, content_type_column(relation), count.on)  # Django looks at it
            if translated is not None:
                to_python = relation.model._meta.pk.to_python
                translated.update((value, to_python(value)) for value, _ in group_by_value(found, relation.join_name))
            return found

        def load(instances: list[Any]) -> None:
            load_deferred(instances, relation.key_name, count.on)

        pins.collections(level.objects, level.engine(translated), level.remembered, fetch, load)

    def _tagged(self, group: list[Level], count: QueryCount) -> dict[int, list[Any]]:
        """The rows of a generic relation that several classes have, by level, read with one query."""
        relation = group[0].attachment.relation
        keys = []
        for level in group:
            fresh = level.objects if level.remembered else level.attachment.not_attached(level.objects)
            pks = [pk for pk, _ in group_by_value(fresh, level.attachment.relation.key_name) if pk is not None]
            if pks:
                keys.append((fresh[0], pks))
        if not keys:
            return {}
        with count.on(group[0].alias):
            rows = fetch_tagged(relation, group[0].source, keys)
        by_type = dict(group_by_value(rows, content_type_column(relation)))
        found = {}
        for level in group:
            type_of_it = content_type_of(level.objects[0], level.attachment.relation.field.for_concrete_model)
            found[id(level)] = by_type.get(type_of_it.pk, [])
        return found

    def _attach_by_django(self, level: Level, count: QueryCount) -> None:
        if level.attachment.again and level.remembered:
            level.attachment.detach(level.objects)
        # All others Django would pass through, which reads what `to_attr` holds a second time, row by row.
        if fresh := level.attachment.not_attached(level.objects):
            with count.on(level.alias):
                level.by_django = level.attachment.prefetch_by_django(list(fresh))
        elif not level.lookup.below:
            level.attachment.read_all(level.objects)

    def _prefetch_by_django(self, rows: Sequence[Any], reason: str) -> None:
        """The whole chunk, with all lookups as they were given."""
        count = QueryCount()
        lookups = [lookup for given in self._lookups for lookup in lookups_for_django(given)]
        try:
            with ExitStack() as stack:
                for alias in connections:
                    stack.enter_context(count.on(alias))
                query.prefetch_related_objects(list(rows), *lookups)
        finally:
            for lookup in self._root.all_below():
                if lookup.reason is None:
                    lookup.by_django, lookup.reason = True, reason
                    logger.info("%s is prefetched by Django for every chunk. %s", lookup.path, reason)
            next(self._root.all_below()).rows.add_queries(count.queries)

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
        self._check_process()
        return ViewMapping(lambda: list(self._row_models()), self._rows_view)

    @property
    def through_model_source_target_cache(self) -> ViewMapping[str]:
        """The remembered links: the targets of each source, by the name of the through model and its two fields."""
        self._check_process()
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
            path="django" if lookup.by_django else "native",
            reason=lookup.reason,
            patched=lookup.patched,
        )

    def _advice(self) -> dict[str, Advice]:
        return self._memory.advice()

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


class Derived(MemoizedPrefetch):
    """
    A MemoizedPrefetch for the lookups of a queryset, beside one that the queryset was given.

    It has the memory of that one, unless Prefetch objects are among the lookups: then one of its own, which ends with
    them, since what they attach would show in everything that is shared.

    Args:
        owner: Has to live as long as this one.
    """

    def __init__(self, owner: MemoizedPrefetch, lookups: tuple[Any, ...]) -> None:
        self.shares_memory = all(isinstance(lookup, str) for lookup in lookups)
        self._owner = ref(owner)  # which holds this one: a cycle would leave the memos to the garbage collector
        listens = owner._invalidate_on_change and not self.shares_memory
        super().__init__(*lookups, lru_cache_size=owner._size, scope=owner._scope, invalidate_on_change=listens)

    def _forget(self) -> None:
        super()._forget()
        owner = self._owner()
        if owner is not None and self.shares_memory:
            if owner._pid != self._pid:
                owner._forget()
            self._memory = owner._memory

    def _advice(self) -> dict[str, Advice]:
        return {} if self.shares_memory else super()._advice()  # the owner's stats() have it


class Level:
    """Objects of one class at one lookup, and where their rows are remembered for this chunk."""

    def __init__(
        self,
        attachment: Attachment,
        objects: Sequence[Any],
        remembered: bool,
        memory: Memory,
        scope: Any,
        translated: dict[Any, Any] | None = None,
        queryset: QuerySet[Any] | None = None,
    ) -> None:
        self._queryset = queryset  # what a manager gave for these objects
        self.lookup, self.attachment, self.objects, self.remembered = attachment.lookup, attachment, objects, remembered
        self.model: type[Model] = attachment.relation.model
        self.memo: Memo  # when rows are remembered
        self.links: Links  # when the relation is to many
        self.alias = ""
        self._translated = translated
        self._unattached: Sequence[Any] = ()
        self._fresh: Sequence[Any] | None = None
        self.read_anew: Sequence[Any] = ()
        self.by_django: Sequence[Any] = ()  # the rows that Django's own prefetch returned
        self.seen_again: int | None = None  # when Django comes to the lookup that repeats this one
        attachment.look_where(objects[0])
        if attachment.kind not in (ATTRIBUTE, GENERIC_ONE):
            self.alias = attachment.alias(objects[0]) if queryset is None else queryset.db
        if attachment.rows is not None:
            context = memory.context(self.alias, scope)
            self.memo = memory.memo(context, attachment.rows, attachment.lookup, objects[0])
            if attachment.kind == TO_MANY:
                self.links = memory.links(context, attachment, self.memo, self.alias)

    @property
    def rows(self) -> Rows:
        assert self.attachment.rows is not None
        return self.attachment.rows

    @property
    def source(self) -> RowSource:
        """Where the rows for these objects are read from."""
        source, queryset = self.attachment.row_source, self._queryset
        return source if queryset is None else replace(source, make=lambda _: unshared(queryset))

    @property
    def refuses_strays(self) -> bool:
        """
        Whether Django raises for a row that the database returns for a key that no object has: it does where it gives
        the rows the object that they lead back to, and only where the database compares otherwise than Python.
        """
        relation = self.attachment.relation
        if relation.kind == TO_ONE and relation.reverse_name is not None:
            key: Any = relation.target_field
        elif relation.kind in (REVERSE_ONE, REVERSE_MANY) and self.attachment.kind != DJANGO:
            if self.attachment.parent_name is None:
                return False  # their queryset's own lookups attach it
            key = relation.field
        else:
            return False
        return not equals_as_python(key, connections[self.alias])

    @property
    def fetched(self) -> bool:
        """Whether the lookup itself attached what there is."""
        return self._fresh is None or bool(self._fresh)

    @property
    def keeps(self) -> bool:
        """Whether what is attached outlives the chunk, in a memo or on a row in one."""
        return self.remembered or (self.attachment.remembers and self.fetched)

    def must_wait_for(self, other: Level) -> bool:
        """Whether what an earlier lookup attaches decides what this one does."""
        mine, theirs = self.attachment, other.attachment
        return (
            mine.asks_relation != theirs.asks_relation
            and mine.relation == theirs.relation
            and self.lookup.number > other.lookup.number
        )

    def asks_like(self, other: Level) -> bool:
        """Whether one query can read the rows of both: generic relations of several classes to one model."""
        mine, theirs = self.attachment.relation, other.attachment.relation
        return (
            self.attachment.kind == GENERIC_MANY
            and mine.target is theirs.target
            and mine.join_name == theirs.join_name
            and mine.field.content_type_field_name == theirs.field.content_type_field_name
            and (self.alias, self.remembered) == (other.alias, other.remembered)
            and self.attachment.kind == other.attachment.kind
        )

    def engine(self, translated: dict[Any, Any] | None = None) -> Any:
        """The engine's object for this relation; its own where values are translated for this chunk."""
        if self._translated is not None:
            return self.attachment.to_one_engine(self.objects[0], self._translated)
        if translated is not None:
            return self.attachment.to_many_engine(self.objects[0], translated)
        return self.attachment.engine

    def check(self) -> None:
        """Raises what Django raises before it fetches; notes which objects it would fetch for."""
        self.attachment.prepare(self.objects[0])
        lookup = self.lookup
        again = lookup.repeated
        if not (again or lookup.to_attr_given or lookup.below):
            return
        fresh = self._unattached = self.attachment.not_attached(self.objects)
        if fresh:
            self.attachment.check_to_attr()
        if not self.remembered or self.attachment.attached_by_parent:
            self._fresh = fresh
        elif self.attachment.asks_relation:
            self._fresh = [one for one in self.objects if lookup.to_attr in one.__dict__] + [*fresh]
        if again and self.fetched:  # what is remembered: with fresh rows Django would come to it every time
            self.seen_again = lookup.seen_again

    def undo(self) -> None:
        """
        After a failure: what some objects have attached already would keep the next try from going on below them,
        as it keeps Django.
        """
        self.attachment.detach(self._unattached)

    def below(self) -> list[Any]:
        """The distinct objects to go on with: as Django, those that were fetched now, if any were."""
        if not self.fetched:
            further = [below for below in self.lookup.below.values() if not below.only_inner]
            if not further:
                return []
            if self.attachment.asks_relation and not hasattr(self.objects[0], self.lookup.attribute):
                raise unknown_attribute(self.model, self.lookup.attribute, self.lookup.where, further[0].path)
        if self.by_django:
            return list({id(row): row for row in self.by_django}.values()) if self.lookup.below else []
        objects = self.attachment.follow(self._fresh or self.objects)
        if self.read_anew:
            # As they were read: of several instances of one row Django gives what refers to it to the last.
            order = {id(row): number for number, row in enumerate(self.read_anew)}
            objects.sort(key=lambda row: order.get(id(row), -1))
        return objects


def below_all(group: list[Level]) -> dict[tuple[Lookup, bool, bool], Sequence[Any]]:
    """What to go on with below each lookup: together for objects of several classes, as Django goes on."""
    below: dict[tuple[Lookup, bool, bool], Sequence[Any]] = {}
    for level in group:
        key, objects = (level.lookup, level.keeps, level.fetched), level.below()
        if key in below:
            objects = list({id(one): one for one in (*below[key], *objects)}.values())
        below[key] = objects
    return below


def raise_repeated(repeated: dict[int, Lookup], number: int | None) -> None:
    """Raises for a lookup that repeats another with a queryset, once all that come before that number are done."""
    if repeated and (number is None or min(repeated) < number):
        raise seen_again(repeated[min(repeated)])


def seen_again(lookup: Lookup) -> ValueError:
    msg = (
        f"'{lookup.path}' lookup was already seen with a different queryset. "
        "You may need to adjust the ordering of your lookups."
    )
    return ValueError(msg)


def set_parents(relation: Relation, rows: Sequence[Any], objects: Sequence[Any]) -> None:
    """
    Sets the objects that rows refer to where that is more than to remember them: when a router may refuse the relation,
    and when an object has no database and gets one by it.
    """
    databases = {one._state.db for one in objects} | {row._state.db for row in rows}
    if not rows or (len(databases) == 1 and None not in databases and not any_allows_relations()):
        return
    parents = {getattr(one, relation.key_name): one for one in objects}
    for row in rows:
        if not relation.field.is_cached(row):
            setattr(row, relation.field.name, parents[getattr(row, relation.join_name)])


def any_allows_relations() -> bool:
    return any(hasattr(one, "allow_relation") for one in router.routers)


def current_user() -> Any:
    """Of those that may use an instance at the same time, threads and the greenlets of one, the one that is running."""
    greenlet = sys.modules.get("greenlet")
    return current_thread() if greenlet is None else greenlet.getcurrent()


def is_over(user: Any) -> bool:
    return user is None or (not user.is_alive() if isinstance(user, Thread) else bool(user.dead))


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


def changed_keys(model: type[Model], pks: Iterable[Any]) -> frozenset[Any]:
    """Primary keys as rows have them: as of a form or a URL they may be text."""
    keys = list(pks)
    for key in keys:
        if isinstance(key, Model):
            msg = f"invalidate: expected primary keys of {model.__name__}, got the instance {key!r}; give its pk."
            raise TypeError(msg)
    pk: Any = model._meta.pk
    try:
        return frozenset(pk.to_python(key) for key in keys if key is not None)
    except ValidationError as error:
        msg = f"invalidate: {keys!r} are no primary keys of {model.__name__}: {error.messages[0]}"
        raise ValueError(msg) from error


def _identity(lookup: Any) -> Any:
    return lookup if isinstance(lookup, str) else id(lookup)


def _again(cls: type[MemoizedPrefetch], lookups: Any, options: dict[str, Any]) -> MemoizedPrefetch:
    return cls(*lookups, **options)
