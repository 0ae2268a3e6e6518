"""Each allocation of native code fails once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from django_memoized_prefetch._engine import Chunk
from django_memoized_prefetch._planning import planner
from django_memoized_prefetch._relations import (
    base,
    generic_foreign_key,
    generic_relation,
    key_only,
    reverse_one,
    to_many,
    to_one,
)
from django_memoized_prefetch._running import chunk as chunk_run
from django_memoized_prefetch._running import reverse_caches
from tests.python.databases import on_one_database
from tests.python.isolated import isolated
from tests.python.turns import EVERY
from tests.python.workshop.rows import djangos_reading, repairs

try:
    from _testcapi import remove_mem_hooks, set_nomemory
except ImportError:
    remove_mem_hooks = set_nomemory = None
from tests.python.failures.faults import (
    CHUNK,
    Relations,
    WatchedPass,
    check,
    following,
    kept_answers,
    ready,
    stopped_states,
)

# What the engine does about a failure depends on no database, and each kind of failure takes a hundred chunks.
pytestmark = on_one_database


needs_starvation = pytest.mark.skipif(set_nomemory is None, reason="this Python comes without _testcapi")


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
            number = following(number)
            if in_a_row == 2:  # and not one, since an allocation may be one that can be done without
                stretch, number, in_a_row = stretch + (1 if EVERY else 8), 0, 0
                if stretch > starvation.stretches:
                    break
    assert injected > (1_000 if EVERY else 60), f"only {injected} allocations failed"
    return f"{injected} allocations in {stretch} stretches of native code"
