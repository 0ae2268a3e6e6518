"""
Any lookups over chunks of mixed classes, with objects that are unsaved, there twice, or have some of it already.
"""

from __future__ import annotations

from typing import Any

import django
import pytest
from django.db.models import prefetch_related_objects
from hypothesis import given
from hypothesis import strategies as st

from tests.python.generated import as_given, compare, make_content_types, processing, property_settings, theatre
from tests.python.lookups import Bounds, Wanted, lookup_sets
from tests.python.queries import outcome
from tests.python.theatre.models import ListedWork, Note, Opera, Person, Play, Role, Work
from tests.python.theatre.rows import NOTED

# The classes that a chunk may mix, the first of which the lookups are for.
MIXED = {Work: [Work, Opera, ListedWork], Play: [Play], Person: [Person], Note: [Note], Role: [Role]}

# Before 5.0, Django warns of unsaved objects, and asks with what it finds in place of their key.
UNSAVED = ["unsaved"] if django.VERSION >= (5, 0) else []
# Of one object: its class, its place among the rows, and whether it is unsaved, or the object before once more.
OBJECTS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 5), st.sampled_from(["", "", "", "", "twice", *UNSAVED])),
    min_size=1,
    max_size=6,
)
# For some lookups: how many of the first objects have it already.
ATTACHED = st.dictionaries(st.integers(0, 3), st.integers(0, 6), max_size=2)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, ...]:
    model = draw(st.sampled_from([Work, Work, Play, Person, Note, Role]))
    note = draw(st.sampled_from([None, Person]))
    return model, note, draw(lookup_sets(model, Bounds(note), most=3))


def chunk_of(model: Any, objects: list[Any]) -> list[Any]:
    """Fresh instances."""
    chunk: list[Any] = []
    for number, place, how in objects:
        cls = MIXED[model][number % len(MIXED[model])]
        if how == "twice" and chunk:
            chunk.append(chunk[-1])
            continue
        rows = list(cls._base_manager.order_by("pk"))
        if not rows:
            continue
        one = rows[place % len(rows)]
        if how == "unsaved":
            one.pk = None
            one._state.adding, one._state.db = True, None
        chunk.append(one)
    return chunk


@property_settings(60)
@given(
    case=cases(),
    seed=st.integers(0, 10_000),
    options=st.sampled_from(
        [{"lru_cache_size": 1}, {"lru_cache_size": 3}, {}, {"lru_cache_size": None}, {"memory": 10_000}]
    ),
    chunks=st.lists(st.tuples(OBJECTS, ATTACHED), min_size=1, max_size=3),
)
def test_any_chunks(case: Any, seed: int, options: dict[str, Any], chunks: list[Any]) -> None:
    model, note, lookups = case
    with theatre(seed, 4, noted=NOTED if note is None else [note]):
        run(model, lookups, options, chunks)


def run(model: Any, lookups: list[Wanted], options: dict[str, Any], chunks: list[Any]) -> None:
    process = processing(as_given(lookups, options.get("lru_cache_size", 10_000)), lookups, **options)
    for objects, attached in chunks:
        ours, theirs = chunk_of(model, objects), chunk_of(model, objects)
        for number, count in attached.items():
            lookup = lookups[number % len(lookups)]
            if lookup.to_attr is not None:
                continue  # Django would read the relation besides, row by row, where the attribute is there already
            errors = [outcome(prefetch_related_objects, one[:count], lookup.make())[0] for one in (ours, theirs)]
            if any(errors):
                return  # from Django, both times
        compare(process, lookups, ours, theirs)


@pytest.fixture(autouse=True)
def content_types() -> None:
    make_content_types()
