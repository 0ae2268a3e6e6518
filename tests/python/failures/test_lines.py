"""Each line of the package fails once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import django_memoized_prefetch
from tests.python.databases import on_one_database
from tests.python.isolated import isolated
from tests.python.workshop.rows import djangos_reading, repairs

try:
    from _testcapi import remove_mem_hooks, set_nomemory
except ImportError:
    remove_mem_hooks = set_nomemory = None
from tests.python.failures.faults import CHUNK, check, kept_answers, ready, stopped_states, watched
from tests.python.turns import EVERY

# What the engine does about a failure depends on no database, and each kind of failure takes a hundred chunks.
pytestmark = on_one_database


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
        numbers = sorted({*first.values(), *last.values()})[:: 1 if EVERY else 8]
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
    assert len(numbers) > (800 if EVERY else 100), f"only {len(numbers)} lines failed"
    return f"{len(numbers)} of {len(moments.lines)} lines"
