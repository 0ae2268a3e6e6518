"""`Session`: the memory of one MemoizedPrefetch, and the work on its chunks."""

from __future__ import annotations

import difflib
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, TypeVar

from django.apps import apps
from django.db.models import Model

from .._changes.attached import matters
from .._changes.forget import forget, forget_sources
from .._changes.signals import ChangeLog, changed_keys
from .._clock import Clock
from .._config import MemoizedPrefetchConfig, Size
from .._engine import Chunk, Counters
from .._hydrating.eligibility import how_built, read_with
from .._lookups import of_queryset
from .._memory.budget import Budget
from .._memory.change import Change
from .._memory.memory import Memory
from .._relations.base import Step
from .._reports.report import advice_of, stats_of
from .._reports.stats import Stats
from .lookup_set import LookupSet
from .reverse_caches import ReverseCaches

Value = TypeVar("Value")

logger = logging.getLogger("django_memoized_prefetch")

# How many querysets with different Prefetch objects keep a memory of their own: the latest ones.
MAX_APART = 4
# How many different sets of querysets' lookup strings keep their plans and counts at hand.
MAX_TOGETHER = 64


class Session:
    """
    What one MemoizedPrefetch remembers and does.

    Args:
        given: The lookups of every chunk.
        size: How many rows of each table to keep for lookups without a config: of all tables, or by name of the table.
        scope: Called once per chunk; chunks with different results share no memory.
        listens: Whether to forget what this process saves and deletes.
        amount: Bytes that all tables together may take, in place of `size`; None for no such limit.
        is_apart: Whether it is one of another session's `apart`, whose budget its memory is in.

    own: The given lookups.
    together: Lookups of querysets, if all are strings. They share the memory.
    apart: Lookups of querysets with Prefetch objects. These would change the rows that others share, so each set has a
        session of its own.
    streams: How `chunks()` last read each model, by its name.
    clock: Where the time goes.
    read: For each model whose querysets were read, why the class of the queryset leaves that to Django; None if not.
    """

    def __init__(
        self,
        given: Sequence[Any],
        size: Size,
        scope: Callable[[], Any] | None,
        listens: bool,
        amount: int | None = None,
        is_apart: bool = False,
    ) -> None:
        self._size: Size = dict(size) if isinstance(size, Mapping) else size
        self._scope, self._listens, self.amount = scope, listens, amount
        self._is_apart = is_apart
        self.own = LookupSet(given)
        self.together: OrderedDict[tuple[Any, ...], LookupSet] = OrderedDict()  # the latest at the end
        self.apart: OrderedDict[tuple[Any, ...], Session] = OrderedDict()
        self._changes = ChangeLog()
        self._are_names_checked = False
        self.streams: dict[str, str] = {}
        self.read: dict[type[Model], str | None] = {}
        self._forget_all()
        if listens:
            self._changes.listen()

    def _forget_all(self) -> None:
        self._pid = os.getpid()
        self.memory = Memory(self._size, self.amount is not None)
        self._budget = self._new_budget()
        self.clock = Clock()
        self.reverse = ReverseCaches()
        self._changes.clear()
        self._running: dict[int, list[Change]] = {}  # by id of a running chunk: the changes that it has not seen
        # While one thread forgets, no other begins a chunk: it would find what is stale, and attach it to rows that the
        # first one has already passed.
        self._forgetting = threading.RLock()
        self._dropped = Stats({}, {})  # what dropped sets of lookups counted
        self._taken = Stats({}, {})  # what `take_stats()` has told
        self._take_lock = threading.Lock()
        self._attached_before: dict[Any, Step] = {}  # and their steps
        for lookups in [self.own, *self.together.values()]:
            lookups.reset()
        self.apart.clear()

    def _new_budget(self) -> Budget | None:
        return None if self.amount is None or self._is_apart else Budget(self.amount)

    def check_process(self) -> None:
        """Forgets everything in a forked child."""
        if self._pid != os.getpid():
            self._forget_all()

    def _ask_scope(self) -> Any:
        return self._scope() if self._scope is not None else None

    def load_now(self, config: MemoizedPrefetchConfig) -> None:
        """Reads the rows of `prefetch_all`."""
        lookups = [lookup for lookup in self.own.tree.root.all_below() if lookup.config is config]
        paths = [lookup.path for lookup in lookups]
        custom_below = lookups[0].custom_below if lookups else ()
        counters = self.own.counts_of(lookups[0]).row_counts if lookups else Counters()
        scope = self._ask_scope()
        self.memory.load_now(config, scope, paths, custom_below, counters)

    # --- chunks

    def process(self, rows: Sequence[Any], lookups: tuple[Any, ...] = ()) -> None:
        """
        Attaches all related rows to one chunk.

        Args:
            lookups: The lookups of the queryset that the rows come from.
        """
        scope = self._ask_scope()
        with self.clock.while_attaching():
            self._process(tuple(rows), lookups, scope)  # a copy: a query may run code that changes the list
            if self._budget is not None:
                self._budget.keep(self._memories())
        if isinstance(self._size, Mapping) and not self._are_names_checked and rows:
            self._check_names(self._size, type(rows[0]))

    def _check_names(self, sizes: Mapping[str, int | None], model: type[Model]) -> None:
        """Warns once of names in `lru_cache_size` that no table has."""
        self._are_names_checked = True
        sets = [self.own, *self.together.values(), *(one.own for one in self.apart.values())]
        for one in sets:
            with suppress(AttributeError, ValueError):
                one.check(model)  # so that tables which no row of this chunk leads to are known too
        steps = [step for one in sets for step in one.planner.parts()]
        tables = {table.label for step in steps for table in (step.table, step.links) if table is not None}
        # A generic foreign key may lead to any model, though none of this chunk's objects does.
        is_open = any(step.row_model is None for step in steps)
        models = {one.__name__ for one in apps.get_models()} if is_open else set()
        for name in sizes.keys() - tables:
            if name.partition(" ")[0].partition(".")[0] in models:  # with " (queryset)" or ".relation links"
                continue
            close = difflib.get_close_matches(name, tables | models, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"tables: {', '.join(sorted(tables)) or 'none'}."
            logger.warning("lru_cache_size: there is no table %r; %s", name, hint)

    def _memories(self) -> list[Memory]:
        return [self.memory, *(one.memory for one in list(self.apart.values()))]

    def _process(self, rows: tuple[Any, ...], lookups: tuple[Any, ...], scope: Any) -> None:
        self._begin_chunk()
        key, are_names = _key_of(lookups)
        if not are_names:
            # This comes first, or a Prefetch object would attach its own choice to rows that everybody shares.
            self._set_apart(key, lookups)._process(rows, (), scope)
        self.own.process(rows, self, scope)
        if lookups and are_names:
            self._set_together(key, lookups).process(rows, self, scope)

    def _begin_chunk(self) -> None:
        self.check_process()
        self.reverse.end_previous_chunk()
        with self._forgetting:
            if changes := self._changes.take():
                steps = self._steps()
                streamed = {step.relation.model for step in steps if "__" not in step.lookup.path}
                seen = [change for change in changes if matters(change, steps, streamed)]
                forget_sources(self.memory.contexts(), [change for change in changes if change not in seen])
                if seen:
                    self._forget_changes(seen)

    @contextmanager
    def running(self, pins: Chunk) -> Iterator[list[Change]]:
        """Runs a chunk and releases its pins at the end. Yields the list to which changes are added meanwhile."""
        changes: list[Change] = []
        with self._forgetting:
            self._running[id(pins)] = changes
        try:
            yield changes
        finally:
            self._running.pop(id(pins), None)
            pins.close()
            if changes:
                self.forget_late(changes)

    def _set_together(self, key: tuple[Any, ...], lookups: tuple[Any, ...]) -> LookupSet:
        known = _latest(self.together, key, lambda: LookupSet(of_queryset(lookups), self.own))
        for old, one in list(self.together.items())[:-MAX_TOGETHER]:
            if one.running or self.together.pop(old, None) is None:
                continue  # in use, or another thread has dropped it
            self._dropped += stats_of(one, self.memory)
            for step in one.planner.parts():
                table = step.table and step.table.identity
                self._attached_before.setdefault((step.relation, type(step), step.attached_at, table), step)
        return known

    def _set_apart(self, key: tuple[Any, ...], lookups: tuple[Any, ...]) -> Session:
        known = _latest(self.apart, key, lambda: self._apart(lookups))
        for old, one in list(self.apart.items())[:-MAX_APART]:
            if not one._running and self.apart.pop(old, None) is not None:
                self._dropped += replace(one.stats(), advice={})
        return known

    def _apart(self, lookups: tuple[Any, ...]) -> Session:
        session = Session(of_queryset(lookups), self._size, self._scope, self._listens, self.amount, is_apart=True)
        session.clock = self.clock
        return session

    def _steps(self) -> list[Step]:
        """All steps that may have attached something to remembered rows."""
        sets = [self.own, *list(self.together.values())]
        return [step for one in sets for step in one.planner.parts()] + list(self._attached_before.values())

    # --- forgetting

    def invalidate(self, model: type[Model], pks: Iterable[Any] | None) -> None:
        self.check_process()
        keys = None if pks is None else changed_keys(model, pks)
        self._forget_changes([Change(model, keys)])
        for one in list(self.apart.values()):
            one.invalidate(model, keys)

    def _forget_changes(self, changes: list[Change]) -> None:
        with self._forgetting:
            for later in list(self._running.values()):
                later.extend(changes)  # first: from now on, running chunks see to what they attach
            self._forget_now(changes)

    def _forget_now(self, changes: list[Change]) -> None:
        with self._forgetting:
            forget(self.memory.contexts(), changes, self._steps(), self.reverse.places())

    def forget_late(self, changes: list[Change]) -> None:
        """Forgets rows that were read before a change but attached to remembered rows after it."""
        late = []
        while changes:
            late.append(changes.pop())
        if late:
            self._forget_now(late)

    def clear(self) -> None:
        self.check_process()
        self.reverse.detach_all()
        self.memory.clear()
        self._budget = self._new_budget()  # until it is full again, everything is kept
        for one in list(self.apart.values()):
            one.clear()

    # --- reports

    def stats(self) -> Stats:
        self.check_process()
        together = [stats_of(one, self.memory) for one in list(self.together.values())]
        apart = [one.stats() for one in list(self.apart.values())]
        own = stats_of(self.own, self.memory)
        built = {model.__name__: how_built(model, why) for model, why in list(self.read.items())}
        for model in [with_it for read in list(self.read) for with_it in read_with.get(read, ())]:
            built.setdefault(model.__name__, how_built(model))
        rest = Stats({}, {}, dict(self.streams), advice_of(self.memory), built)
        stats = sum([*together, *apart], own + rest + self._dropped)
        memory = None if self._budget is None else self._budget.stats(self._memories())
        return replace(stats, time=self.clock.times(), memory=memory)

    def take_stats(self) -> Stats:
        """What was done since the last call."""
        self.check_process()
        with self._take_lock:
            stats, before = self.stats(), self._taken
            self._taken = stats
        return stats - before


def _latest(known: OrderedDict[Any, Value], key: Any, make: Callable[[], Value]) -> Value:
    """The value of a key, which moves to the end. Threads that ask for one key get one value."""
    value = known.get(key) or known.setdefault(key, make())
    with suppress(KeyError):  # another thread has just dropped it
        known.move_to_end(key)
    return value


def _key_of(lookups: tuple[Any, ...]) -> tuple[tuple[Any, ...], bool]:
    """A key that equal lookups share, for strings in any order, and whether all of them are strings."""
    # By id, since different Prefetch objects may compare equal.
    names = {lookup for lookup in lookups if isinstance(lookup, str)}
    are_names = all(isinstance(lookup, str) for lookup in lookups)
    if len(names) == len(lookups):
        return tuple(sorted(names)), are_names
    return tuple(lookup if isinstance(lookup, str) else id(lookup) for lookup in lookups), are_names
