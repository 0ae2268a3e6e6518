"""Calls that the package never makes of its engine, but that Python allows: each is an error, and does no harm."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import pytest

from django_memoized_prefetch._engine import (
    Chunk,
    Counters,
    ForeignKeySpec,
    GenericKeySpec,
    KeyOnlySpec,
    Links,
    ManyToManySpec,
    Memo,
    ReverseManySpec,
    ReverseOneSpec,
)
from tests.python.databases import on_one_database
from tests.python.engine_rows import Holder, Key, Row

pytestmark = on_one_database


class Unborn(Chunk):
    def __init__(self) -> None:
        """Leaves out what makes it a chunk."""


NO_RELATION: Any = object()
PASSES: dict[str, Callable[[Any], Any]] = {
    "to_one": lambda chunk: Chunk.to_one(chunk, Memo(None, "id"), [], {}),
    "to_many": lambda chunk: Chunk.to_many(chunk, Links(None), Memo(None, "id"), [], NO_RELATION, False),
    "collection": lambda chunk: Chunk.collection(chunk, [], NO_RELATION, False),
}


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("other", [object(), None, 5, Memo(None, "id"), Chunk], ids=lambda one: type(one).__name__)
def test_a_pass_of_what_is_no_chunk_is_a_type_error(name: str, other: object) -> None:
    came = type(other).__name__
    with pytest.raises(TypeError, match=rf"(?s){name}\(self, .*Invoked with types: (\w+\.)*{came}"):
        PASSES[name](other)


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("make", [Unborn, lambda: Chunk.__new__(Chunk)], ids=["subclass", "new"])
def test_a_pass_of_a_chunk_that_was_not_made_is_a_type_error(name: str, make: Callable[[], Chunk]) -> None:
    with pytest.warns(RuntimeWarning, match="uninitialized instance"), pytest.raises(TypeError, match="Invoked with"):
        PASSES[name](make())


def test_a_pass_keeps_its_chunk() -> None:
    holder = Holder(1)
    relation = ForeignKeySpec("key", "row", None, Counters(), None, True)
    with Chunk().to_one(Memo(None, "id"), [([holder], [relation], False)], {}) as rows:
        gc.collect()
        rows.collect()
        rows.admit([Row(key) for key in rows.missing()])
        rows.attach()
    assert holder._state.fields_cache["row"].id == 1


def to_many(**others: Any) -> dict[str, Any]:
    """Arguments for a relation to many rows, of which some are wrong."""
    filling = ("attribute", "name", None, others.pop("held"), False)
    return {"key": ("id", True), "filling": filling, "to_attr": None, "unsaved": print, "count": Counters(), **others}


NO_COUNT: Any = "no Counters"
FEW_ROWS: Any = ("refers_to",)
ROWS = ("refers_to", "id", None, None)

FAILING: dict[str, Callable[[Any], Any]] = {  # by what is wrong: makes a relation that holds an object
    "foreign key: count": lambda held: ForeignKeySpec(held, "row", None, NO_COUNT, None, True),
    "key only: count": lambda held: KeyOnlySpec(held, "row", NO_COUNT),
    "generic key: count": lambda held: GenericKeySpec("key", "row", None, NO_COUNT, {"held": held}),
    "many-to-many: count": lambda held: ManyToManySpec(**to_many(held=held, count=NO_COUNT, link_count=Counters())),
    "many-to-many: link count": lambda held: ManyToManySpec(**to_many(held=held, link_count=NO_COUNT)),
    "reverse: count": lambda held: ReverseManySpec(**to_many(held=held, count=NO_COUNT, rows=ROWS)),
    "reverse: rows": lambda held: ReverseManySpec(**to_many(held=held, rows=FEW_ROWS)),
    "reverse one: count": lambda held: ReverseOneSpec(("id", True), held, None, print, NO_COUNT, ROWS),
    "reverse one: rows": lambda held: ReverseOneSpec(("id", True), held, None, print, Counters(), FEW_ROWS),
}


@pytest.mark.parametrize("wrong", FAILING)
def test_a_relation_that_cannot_be_made_holds_nothing(wrong: str) -> None:
    held = str(object())  # a text that nobody else holds

    def failing() -> None:
        with pytest.raises((RuntimeError, IndexError)):
            FAILING[wrong](held)

    failing()
    before = sys.getrefcount(held)
    for _ in range(10):
        failing()
    gc.collect()
    assert sys.getrefcount(held) == before


def test_a_relation_that_could_not_be_made_can_be_made_after_all() -> None:
    translated = {1: 2}
    before = sys.getrefcount(translated)
    relation = GenericKeySpec.__new__(GenericKeySpec)
    with pytest.raises(RuntimeError):
        relation.__init__("key", "row", None, NO_COUNT, translated)  # type: ignore[misc]
    relation.__init__("key", "row", None, Counters(), translated)  # type: ignore[misc]
    holder, chunk = Holder(1), Chunk()
    with chunk.to_one(Memo(None, "id"), [([holder], [relation], False)], {}) as rows:
        rows.collect()
        rows.admit([Row(key) for key in rows.missing()])
        rows.attach()
    chunk.close()
    assert holder._state.fields_cache["row"].id == 2
    del relation, rows
    assert sys.getrefcount(translated) == before


@pytest.mark.parametrize(("levels", "said"), [([], "at least one level"), ([([Holder(1)], [], False)], "one relation")])
def test_a_pass_over_nothing_is_a_value_error(levels: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Chunk().to_one(Memo(None, "id"), levels, {})


def test_a_row_that_is_discarded_while_it_is_loaded() -> None:
    """Comparing its key with another runs code of the project, which says that the row is out of date."""
    memo = Memo(None, "id")
    first, second = Row(Key(1)), Row(Key(2))
    assert memo.load([first], memo.generation) == 1

    def discard() -> None:
        Key.hook = None
        memo.discard([Key(2)])

    Key.hook = discard
    assert memo.load([second], memo.generation) == 0
    assert [row for _, row in memo.rows()] == [first]
