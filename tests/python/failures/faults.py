"""Faults that are injected into a chunk with every kind of relation, and the states that may be left."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from django_memoized_prefetch import MemoizedPrefetch
from django_memoized_prefetch._engine import Chunk, Memo
from django_memoized_prefetch._relations import generic_relation, many_to_many, reverse_many, reverse_one, to_one
from django_memoized_prefetch._running import chunk as chunk_run
from tests.python.references import References
from tests.python.turns import EVERY
from tests.python.workshop.models import Repair
from tests.python.workshop.rows import MORE_LOOKUPS, djangos_reading, reading, repairs, workshop_prefetch

try:
    from _testcapi import remove_mem_hooks, set_nomemory
except ImportError:
    remove_mem_hooks = set_nomemory = None


# Of which some rows are remembered from the chunk before, and more are needed than are kept.
BEFORE, CHUNK, OTHERS, SIZE = (0, 6), (3, 10), (8, 16), 4


def following(number: int) -> int:
    """The fault to inject after this one."""
    # Each fault takes a chunk of its own, and all of them take minutes. Without EVERY, the first ones of each kind are
    # injected, and fewer and fewer of those that come after.
    return number + 1 if EVERY else number + 1 + number // 2


COUNTERS = ("requests", "hits", "misses", "fetched", "missing", "evicted", "queries")


class StoppedError(Exception):
    """Ends a run between two relations."""


class Relations:
    """How many relations were completed."""

    done = 0


class WatchedPass:
    """A pass of the engine, whose steps a test may wrap. Once it has attached its rows, a relation more is done."""

    def __init__(self, rows: Any, relations: Relations, wrap: Callable[[Any], Any] = lambda step: step) -> None:
        self._rows, self._relations, self._wrap = rows, relations, wrap

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        self._wrap(self._rows.__exit__)(*error)

    def __getattr__(self, name: str) -> Any:
        return self._wrap(getattr(self._rows, name))

    def admit_links(self, batches: Any) -> None:
        batches = list(batches)  # by Python code, which is not what is tested
        self._wrap(self._rows.admit_links)(batches)

    def attach(self) -> None:
        self._wrap(self._rows.attach)()
        self._relations.done += 1


@contextmanager
def watched(stop_after: int | None = None) -> Iterator[Relations]:
    relations = Relations()

    def stop() -> None:
        if relations.done == stop_after:
            raise StoppedError

    class WatchedChunk(Chunk):
        def to_one(self, *arguments: Any) -> Any:
            stop()
            return WatchedPass(super().to_one(*arguments), relations)

        def to_many(self, *arguments: Any) -> Any:
            stop()
            return WatchedPass(super().to_many(*arguments), relations)

        def collection(self, *arguments: Any) -> Any:
            stop()
            return WatchedPass(super().collection(*arguments), relations)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunk_run, "Chunk", WatchedChunk)
        yield relations


def ready(is_warm: bool = True) -> tuple[MemoizedPrefetch, list[Repair]]:
    prefetch = workshop_prefetch(SIZE, *MORE_LOOKUPS)
    if is_warm:
        prefetch.process_chunk(repairs(*BEFORE))
    return prefetch, repairs(*CHUNK)


def state(prefetch: MemoizedPrefetch, tables: list[Any] | None = None) -> dict[str, Any]:
    """All that is remembered, in order, absences and what should have been let go of included, and the counters."""
    found = []
    for table in References(prefetch).tables if tables is None else tables:
        entries = table.rows() if isinstance(table, Memo) else table.items()
        held = sorted(repr(one) for one in gc.get_referents(table) if not isinstance(one, type))
        if held:  # a table is made before its relation is done
            found.append((type(table).__name__, len(table), table.bound, repr(entries), held))
    relations = prefetch.stats().as_dict()["relations"]
    counters = {path: {name: one[name] for name in COUNTERS} for path, one in relations.items()}
    return {"tables": sorted(found), "counters": counters}


def stopped_states(is_warm: bool = True) -> list[dict[str, Any]]:
    """By the number of relations that were completed; the last one is that of the whole chunk."""
    states: list[dict[str, Any]] = []
    while True:
        prefetch, chunk = ready(is_warm)
        before = state(prefetch)
        with watched(stop_after=len(states)):
            try:
                prefetch.process_chunk(chunk)
            except StoppedError:
                states.append(state(prefetch))
                assert len(states) > 1 or states[0] == before
                continue
        states.append(state(prefetch))
        # Two steps may change nothing: that of the objects without a cause, and that of the regions of suppliers which
        # are remembered with them.
        assert len({repr(one) for one in states}) >= len(states) - 2 >= 22, "some relation did nothing"
        return states


# They are the same for each test of a process, and take a run for every relation.
known_states = functools.cache(stopped_states)


def check(
    prefetch: MemoizedPrefetch, chunk: list[Repair], expected: dict[str, Any], djangos: list[Any], *roots: Any
) -> None:
    references = References(prefetch, chunk, *roots)
    if references.wrong():
        gc.collect()  # exceptions may be in cycles with their frames
        references = References(prefetch, chunk, *roots)
        assert not (wrong := references.wrong()), "\n".join(wrong)
    now = state(prefetch, references.tables)
    assert now["tables"] == expected["tables"]
    for path, counters in expected["counters"].items():
        assert now["counters"][path] == counters, f"the counters of {path}"
    prefetch.process_chunk(chunk)
    assert reading(chunk, more=True) == djangos
    check_bounds(prefetch, references.tables)


def check_bounds(prefetch: MemoizedPrefetch, tables: list[Any]) -> None:
    for table in tables:
        assert table.bound is None or len(table) <= table.bound
        table.bound = 1
        assert len(table) <= 1, "something stays pinned"
    prefetch.clear()


class Fault:
    """Raises when it is called for the `number`th time."""

    def __init__(self, number: int, error: type[BaseException]) -> None:
        self.number, self.error, self.calls = number, error, 0

    def __call__(self, *_: Any, **__: Any) -> None:
        self.calls += 1
        if self.calls == self.number:
            raise self.error("on purpose")

    @property
    def injected(self) -> bool:
        return self.calls >= self.number


def each_in_turn(
    where: Callable[[Fault], Any], error: type[BaseException] = ZeroDivisionError, is_warm: bool = True
) -> int:
    """Injects a fault at the first call, then at the second, until there are no more; returns how many there were."""
    states = known_states(is_warm)
    djangos = djangos_reading(repairs(*CHUNK), more=True)
    number = 0
    while True:
        number = following(number)
        fault = Fault(number, error)
        prefetch, chunk = ready(is_warm)
        with watched() as relations, where(fault):
            try:
                prefetch.process_chunk(chunk)
            except error:
                assert fault.injected
            else:
                assert not fault.injected, f"fault {number} was swallowed"
                return fault.calls
        check(prefetch, chunk, states[relations.done], djangos)


# --- allocations


@contextmanager
def kept_answers() -> Iterator[dict[Any, Any]]:
    """Rows and links are asked of the database once, and then given again: it is not Django that is tested here."""
    kept: dict[Any, Any] = {}
    fetch_rows, fetch_links = to_one.fetch_rows, many_to_many.fetch_links
    fetch_referring, fetch_tagged = reverse_many.fetch_referring, generic_relation.fetch_tagged

    def again(model: Any, asked: Any, rows: Callable[[], list[Any]]) -> list[Any]:
        if asked not in kept:
            columns = [field.attname for field in model._meta.concrete_fields]
            kept[asked] = (columns, [tuple(getattr(row, column) for column in columns) for row in rows()])
        columns, values = kept[asked]
        return [model.from_db("default", columns, row) for row in values]

    def rows(source: Any, name: str, keys: list[Any], instance: Any) -> list[Any]:
        asked = (source.model, name, tuple(keys))
        return again(source.model, asked, lambda: fetch_rows(source, name, keys, instance))

    def referring(level: Any, keys: list[Any], ordered: bool = True) -> list[Any]:
        asked = (level.step.relation.label, tuple(keys))
        return again(level.source.model, asked, lambda: fetch_referring(level, keys, ordered))

    def tagged(relation: Any, source: Any, keys: Any) -> list[Any]:
        asked = (relation.label, tuple((type(instance), tuple(pks)) for instance, pks in keys))
        return again(source.model, asked, lambda: fetch_tagged(relation, source, keys))

    def links(relation: Any, source: Any, keys: list[Any], instance: Any) -> list[Any]:
        asked = (relation.label, tuple(keys))
        if asked not in kept:
            kept[asked] = list(fetch_links(relation, source, keys, instance))
        return kept[asked]  # type: ignore[no-any-return]

    with pytest.MonkeyPatch.context() as patch:
        for module in (to_one, many_to_many):
            patch.setattr(module, "fetch_rows", rows)
        patch.setattr(many_to_many, "fetch_links", links)
        for module in (reverse_many, reverse_one):
            patch.setattr(module, "fetch_referring", referring)
        patch.setattr(generic_relation, "fetch_tagged", tagged)
        yield kept
