"""Calls that the package never makes of its engine, but that Python allows: each is an error, and does no harm."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

from django_memoized_prefetch._engine import Chunk, Counters, ForeignKeySpec, Links, Memo
from tests.python.databases import on_one_database
from tests.python.engine_rows import Holder, Row

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
@pytest.mark.parametrize("other", [object(), None, 5, Memo(None, "id"), Chunk], ids=repr)
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
