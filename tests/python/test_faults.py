"""
Each query, each allocation and each call of the user's code fails once in turn, in a chunk with every kind of relation.

Afterwards what is remembered, its order, the bounds, the counters and the references are those of a run that was
stopped between two relations: after as many as had been completed. Nothing stays pinned, and processing the same
objects again gives what Django gives.
"""

from __future__ import annotations

import gc
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models.signals import post_init
from django.test import override_settings

import django_memoized_prefetch
from django_memoized_prefetch import MemoizedPrefetch
from django_memoized_prefetch._engine import Chunk, Memo
from django_memoized_prefetch._planning import planner
from django_memoized_prefetch._relations import (
    base,
    generic_foreign_key,
    generic_relation,
    key_only,
    many_to_many,
    reverse_many,
    reverse_one,
    to_many,
    to_one,
)
from django_memoized_prefetch._running import chunk as chunk_run
from django_memoized_prefetch._running import reverse_caches
from tests.python.isolated import isolated
from tests.python.references import References
from tests.python.workshop.models import Customer, Depot, Part, Repair, Stage, Ticket, Word
from tests.python.workshop.rows import MORE_LOOKUPS, djangos_reading, fill_workshop, reading, repairs, workshop_prefetch

try:
    from _testcapi import remove_mem_hooks, set_nomemory
except ImportError:
    remove_mem_hooks = set_nomemory = None
# What the engine does about a failure depends on no database, and each kind of failure takes a hundred chunks.
pytestmark = pytest.mark.skipif(bool(os.environ.get("DATABASE_URL")), reason="runs on SQLite")
needs_starvation = pytest.mark.skipif(set_nomemory is None, reason="this Python comes without _testcapi")

# Of which some rows are remembered from the chunk before, and more are needed than are kept.
BEFORE, CHUNK, OTHERS, SIZE = (0, 6), (3, 10), (8, 16), 4
COUNTERS = ("requests", "hits", "misses", "fetched", "missing", "evicted", "queries")


@pytest.fixture
def workshop() -> None:
    fill_workshop(repairs=20)


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
    states = stopped_states(is_warm)
    djangos = djangos_reading(repairs(*CHUNK), more=True)
    number = 0
    while True:
        number += 1
        fault = Fault(number, error)
        prefetch, chunk = ready(is_warm)
        with watched() as relations, where(fault):
            try:
                prefetch.process_chunk(chunk)
            except error:
                assert fault.injected
            else:
                assert not fault.injected, f"fault {number} was swallowed"
                return number - 1
        check(prefetch, chunk, states[relations.done], djangos)


# --- queries


@pytest.mark.parametrize("error", [OperationalError, KeyboardInterrupt])
@pytest.mark.parametrize("is_warm", [False, True], ids=["nothing remembered", "some remembered"])
def test_each_query_fails_once(workshop: None, error: type[BaseException], is_warm: bool) -> None:
    @contextmanager
    def queries(fault: Fault) -> Iterator[None]:
        def wrapper(execute: Any, *arguments: Any) -> Any:
            if error is OperationalError:
                fault()
                return execute(*arguments)
            result = execute(*arguments)
            fault()
            return result

        with connection.execute_wrapper(wrapper):
            yield

    assert each_in_turn(queries, error, is_warm) >= (13 if is_warm else 16)


# --- the user's code


@pytest.mark.parametrize("method", ["on_hash", "on_eq"])
def test_each_hash_and_comparison_of_a_key_fails_once(workshop: None, method: str) -> None:
    @contextmanager
    def keys(fault: Fault) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Word, method, fault)
            yield

    assert each_in_turn(keys) >= 8


@pytest.mark.parametrize("model", [Customer, Depot, Part, Stage])
def test_each_from_db_fails_once(workshop: None, model: Any) -> None:
    @contextmanager
    def rows(fault: Fault) -> Iterator[None]:
        from_db = model.from_db.__func__

        def failing(cls: Any, *arguments: Any, **more: Any) -> Any:
            fault()
            return from_db(cls, *arguments, **more)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(model, "from_db", classmethod(failing))
            yield

    assert each_in_turn(rows) >= 2


def test_each_post_init_handler_fails_once(workshop: None) -> None:
    @contextmanager
    def handlers(fault: Fault) -> Iterator[None]:
        post_init.connect(fault, sender=Ticket, weak=False)
        try:
            yield
        finally:
            post_init.disconnect(fault, sender=Ticket)

    assert each_in_turn(handlers) >= 3


def test_each_question_to_the_router_fails_once(workshop: None) -> None:
    @contextmanager
    def routers(fault: Fault) -> Iterator[None]:
        class Router:
            def db_for_read(self, model: Any, **hints: Any) -> None:
                fault()

        with override_settings(DATABASE_ROUTERS=[Router()]):
            yield

    assert each_in_turn(routers) >= 16


@pytest.mark.parametrize("access", ["__get__", "__set__"])
def test_each_access_to_a_descriptor_fails_once(workshop: None, access: str, monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[Fault] = []

    class Invoice:
        """Where the row of a loose key is attached, and the key itself."""

        def __init__(self, name: str) -> None:
            self.name = name

        def __get__(self, instance: Any, owner: Any = None) -> Any:
            if instance is None:
                return self
            if access == "__get__" and current:
                current[0]()
            return instance.__dict__[self.name]

        def __set__(self, instance: Any, value: Any) -> None:
            if access == "__set__" and current:
                current[0]()
            instance.__dict__[self.name] = value

    name = "invoice_id" if access == "__get__" else "invoice"
    monkeypatch.setattr(Repair, name, Invoice(name), raising=False)

    @contextmanager
    def descriptors(fault: Fault) -> Iterator[None]:
        current.append(fault)
        try:
            yield
        finally:
            current.clear()

    assert each_in_turn(descriptors) >= 7


# --- code that comes back


@isolated(PYTHONMALLOC="debug")
@pytest.mark.parametrize("where", ["hash", "comparison", "handler", "query", "release"])
def test_code_that_uses_the_same_memoized_prefetch_again(where: str) -> str:
    djangos, others = djangos_reading(repairs(*CHUNK), more=True), djangos_reading(repairs(*OTHERS), more=True)

    def run(action: str, number: int) -> bool:
        prefetch, chunk = ready()
        inner: list[Repair] = []
        calls = 0

        def again(*_: Any, **__: Any) -> None:
            nonlocal calls
            calls += 1
            if calls != number:
                return
            if action == "another chunk":
                inner.extend(prefetch.process_chunk(repairs(*OTHERS)))
            elif action == "the same chunk":
                prefetch.process_chunk(chunk)
            elif action == "clear":
                prefetch.clear()
            else:
                for table in References(prefetch).tables:
                    table.bound = 2

        def query(execute: Any, *arguments: Any) -> Any:
            result = execute(*arguments)
            again()
            return result

        with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
            if where in ("hash", "comparison"):
                patch.setattr(Word, "on_hash" if where == "hash" else "on_eq", again)
            elif where == "handler":
                post_init.connect(again, sender=Part, weak=False)
                stack.callback(post_init.disconnect, again, sender=Part)
            elif where == "query":
                stack.enter_context(connection.execute_wrapper(query))
            else:
                for model in (Customer, Part, Ticket, Stage):
                    patch.setattr(model, "__del__", again, raising=False)
            prefetch.process_chunk(chunk)
        assert reading(chunk, more=True) == djangos, f"{action} at call {number}"
        if inner:
            assert reading(inner, more=True) == others, f"{action} at call {number}"
        gc.collect()  # rows that refer to their object are in a cycle with it
        references = References(prefetch, chunk, inner)
        wrong = references.wrong()
        assert not wrong, "\n".join([f"{action} at call {number}", *wrong])
        check_bounds(prefetch, references.tables)
        return calls >= number

    calls = {}
    for action in ("another chunk", "the same chunk", "clear", "smaller"):
        calls[action] = next(number for number in itertools.count(1) if not run(action, number)) - 1
        assert calls[action] >= 2, f"only {calls[action]} calls"
    return f"{calls}"


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


class Starvation:
    """
    Native code finds no memory for one allocation.

    A *stretch* is what runs in native code between two calls of Python code, or of Django's; only the `number`th
    allocation of one stretch fails.
    """

    def __init__(self, stretch: int, number: int) -> None:
        self.stretch, self.number, self.stretches = stretch, number, 0

    @classmethod
    def warm_up(cls) -> None:
        """
        Calls what may run without memory. When a function is called for the 1,024th time, Python 3.9 allocates a cache
        for it, and if it cannot, returns no result and no error.
        """
        function = cls(stretch=0, number=0).python(lambda: None)
        for _ in range(1_024):
            function()

    def begin(self) -> None:
        self.stretches += 1
        if self.stretches == self.stretch:
            set_nomemory(self.number, self.number + 1)

    def end(self) -> None:
        remove_mem_hooks()

    def native(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, to be called by Python code."""

        def call(*arguments: Any) -> Any:
            arguments = tuple(self.python(one) if callable(one) else one for one in arguments)
            self.begin()
            try:
                return function(*arguments)
            finally:
                self.end()

        return call

    def python(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, to be called by native code. What it gives bit by bit is there when it returns."""

        def call(*arguments: Any) -> Any:
            self.end()
            try:
                result = function(*arguments)
                return iter(list(result)) if isinstance(result, Iterator) else result
            finally:
                self.begin()

        return call

    @contextmanager
    def here(self, relations: Relations) -> Iterator[None]:
        starvation = self

        def starving(rows: Any) -> WatchedPass:
            return WatchedPass(rows, relations, starvation.native)

        class StarvingChunk(Chunk):
            def to_one(self, *arguments: Any) -> Any:
                return starving(starvation.native(super().to_one)(*arguments))

            def to_many(self, *arguments: Any) -> Any:
                return starving(starvation.native(super().to_many)(*arguments))

            def collection(self, *arguments: Any) -> Any:
                return starving(starvation.native(super().collection)(*arguments))

            def close(self) -> None:
                # It lets go of rows. Python 3.13 needs memory for that, and loses references when there is none.
                if sys.version_info >= (3, 13):
                    super().close()
                else:
                    starvation.native(super().close)()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(chunk_run, "Chunk", StarvingChunk)
            for module, names in NATIVE.items():
                for name in names:
                    patch.setattr(module, name, self.native(getattr(module, name)))
            yield


NATIVE: dict[Any, tuple[str, ...]] = {
    planner: ("group_by_class",),
    chunk_run: ("group_by_class",),
    reverse_caches: ("detach_reverse",),
    generic_foreign_key: ("group_by_value",),
    generic_relation: ("group_by_value",),
    base: ("follow_attribute",),
    key_only: ("follow_attribute",),
    to_one: ("follow_to_one",),
    reverse_one: ("follow_to_one",),
    to_many: ("follow_to_many",),
}


@needs_starvation
@isolated()
@pytest.mark.parametrize("is_warm", [False, True], ids=["nothing remembered", "some remembered"])
def test_each_allocation_of_native_code_fails_once(is_warm: bool) -> str:
    with kept_answers() as kept:
        stopped_states(is_warm)  # asks, and counts queries
        states = stopped_states(is_warm)
        djangos = djangos_reading(repairs(*CHUNK), more=True)
        injected, stretch, number, in_a_row = 0, 1, 0, 0
        Starvation.warm_up()
        while True:
            prefetch, chunk = ready(is_warm)
            starvation, relations = Starvation(stretch, number), Relations()
            with starvation.here(relations):
                try:
                    prefetch.process_chunk(chunk)
                except MemoryError:
                    injected += 1
                    in_a_row = 0
                else:
                    in_a_row += 1
            check(prefetch, chunk, states[relations.done], djangos, kept)
            number += 1
            if in_a_row == 2:  # and not one, since an allocation may be one that can be done without
                stretch, number, in_a_row = stretch + 1, 0, 0
                if stretch > starvation.stretches:
                    break
    assert injected > 500, f"only {injected} allocations failed"
    return f"{injected} allocations in {stretch} stretches of native code"


# --- any moment


PACKAGE = os.path.dirname(django_memoized_prefetch.__file__)


class Moments:
    """
    The lines of the package's own Python code as they are run; at one of them, memory runs out or Ctrl-C is pressed.

    CPython itself crashes when its generators find no memory (3.12), so that it is not its allocations that fail here.
    """

    def __init__(self, number: int | None = None) -> None:
        self.number, self.lines = number, list[tuple[str, int]]()

    def __call__(self, frame: Any, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            self.lines.append((frame.f_code.co_filename, frame.f_lineno))
            if len(self.lines) == self.number:
                raise MemoryError
        return self

    @contextmanager
    def here(self) -> Iterator[None]:
        sys.settrace(self)
        try:
            yield
        finally:
            sys.settrace(None)


@isolated()
def test_each_line_of_the_package_fails_once() -> str:
    with kept_answers() as kept:
        stopped_states()
        states = stopped_states()
        djangos = djangos_reading(repairs(*CHUNK), more=True)
        prefetch, chunk = ready()
        moments = Moments()
        with moments.here():
            prefetch.process_chunk(chunk)
        # Each line when it is run for the first time, and for the last.
        first = {line: number for number, line in reversed(list(enumerate(moments.lines, 1)))}
        last = {line: number for number, line in enumerate(moments.lines, 1)}
        numbers = sorted({*first.values(), *last.values()})
        for number in numbers:
            prefetch, chunk = ready()
            with watched() as relations:
                moment = Moments(number)
                try:
                    with moment.here():
                        prefetch.process_chunk(chunk)
                except MemoryError:
                    pass
                else:
                    # A run may be some lines shorter than the one that was listed, and then it ends before.
                    assert number - 10 < len(moment.lines) < number, f"swallowed: {moments.lines[number - 1]}"
            try:
                check(prefetch, chunk, states[relations.done], djangos, kept)
            except AssertionError as error:
                raise AssertionError(f"after a failure at line {moments.lines[number - 1]}") from error
    assert len(numbers) > 200, f"only {len(numbers)} lines failed"
    return f"{len(numbers)} of {len(moments.lines)} lines"
