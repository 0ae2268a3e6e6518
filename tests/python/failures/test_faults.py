"""
Each query, each allocation and each call of the user's code fails once in turn, in a chunk with every kind of relation.

Afterwards what is remembered, its order, the bounds, the counters and the references are those of a run that was
stopped between two relations: after as many as had been completed. Nothing stays pinned, and processing the same
objects again gives what Django gives.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models.signals import post_init
from django.test import override_settings

from tests.python.databases import on_one_database
from tests.python.isolated import isolated
from tests.python.references import References
from tests.python.workshop.models import Customer, Depot, Part, Repair, Stage, Ticket, Word
from tests.python.workshop.rows import djangos_reading, fill_workshop, reading, repairs

try:
    from _testcapi import remove_mem_hooks, set_nomemory
except ImportError:
    remove_mem_hooks = set_nomemory = None
from tests.python.failures.faults import CHUNK, OTHERS, Fault, check_bounds, each_in_turn, following, ready

# What the engine does about a failure depends on no database, and each kind of failure takes a hundred chunks.
pytestmark = on_one_database


@pytest.fixture
def workshop() -> None:
    fill_workshop(repairs=20)


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

    last = {}
    for action in ("another chunk", "the same chunk", "clear", "smaller"):
        number = following(0)
        while run(action, number):
            last[action], number = number, following(number)
        assert last[action] >= 2, f"only {last[action]} calls"
    return f"{last}"
