"""
Any queryset with any lookups, read by memoized() and by chunks(): row for row what Django's iterator() gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from django_memoized_prefetch import MemoizedPrefetch, memoized
from tests.python.generated import make_content_types, property_settings, theatre
from tests.python.graph import Comparison
from tests.python.lookups import Bounds, Rows, by_chance, every, is_ordered_attribute, lookup_sets, querysets
from tests.python.queries import in_chunks, stepwise
from tests.python.theatre.models import Company, ListedWork, Note, Opera, Person, Play, Review, Role, Seat
from tests.python.theatre.rows import NOTED

MODELS = [Play, Play, Person, Person, Note, Role, Opera, ListedWork, Review, Company, Seat]
# How the queryset is read, and where its lookups are said: for memoized() with the queryset, for chunks() also apart.
WAYS = ["memoized", "memoized, whole", "chunks", "chunks by cursor", "chunks, lookups apart"]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, ...]:
    model = draw(st.sampled_from(MODELS))
    note = draw(st.sampled_from([None, Person]))
    bounds = Bounds(note)
    rows = draw(querysets(model, None, 0, bounds))
    lookups = tuple(draw(lookup_sets(model, bounds, depth=3, most=3)))
    names = [lookup.to_attr for lookup in every(lookups) if lookup.to_attr is not None]
    assume(len(set(names)) == len(names))  # Django passes by what another lookup has stored under the name
    return note, replace(rows, lookups=lookups)


def ordered(rows: Rows) -> Any:
    """Pages are in the order of the keys where the queryset has none; by a cursor it would be the database's."""
    queryset = rows.make()
    return queryset if queryset.ordered else queryset.order_by("pk")


def by_django(rows: Rows, way: str, size: int) -> Iterator[list[Any]]:
    queryset = ordered(rows) if way.startswith("chunks") else rows.make()
    if way == "memoized, whole":
        return iter([list(queryset)])
    return in_chunks(queryset.iterator(chunk_size=size), size)


def by_us(rows: Rows, way: str, size: int, options: dict[str, Any]) -> Iterator[list[Any]]:
    if way == "memoized, whole":
        return iter([list(memoized(rows.make(), **options))])
    if way == "memoized":
        return in_chunks(memoized(rows.make(), **options).iterator(chunk_size=size), size)
    mode = {"mode": "cursor"} if way == "chunks by cursor" else {}
    if way == "chunks, lookups apart":
        lookups = [lookup.make() for lookup in rows.lookups]
        return iter(MemoizedPrefetch(*lookups, **options).chunks(ordered(replace(rows, lookups=())), size, **mode))
    return iter(MemoizedPrefetch(**options).chunks(ordered(rows), size, **mode))


@property_settings(80)
@given(
    case=cases(),
    seed=st.integers(0, 10_000),
    way=st.sampled_from(WAYS),
    size=st.sampled_from([1, 2, 3, 100]),
    options=st.sampled_from([{"lru_cache_size": 1}, {"lru_cache_size": 3}, {}, {"memory": 10_000}]),
)
def test_any_streams(case: Any, seed: int, way: str, size: int, options: dict[str, Any]) -> None:
    note, rows = case
    with theatre(seed, 4, noted=NOTED if note is None else [note]):
        run(rows, way, size, options)


def run(rows: Rows, way: str, size: int, options: dict[str, Any]) -> None:
    theirs = stepwise(lambda: by_django(rows, way, size))
    ours = stepwise(lambda: by_us(rows, way, size, options))
    # Chunk by chunk: what a shared row leads back to is the chunk's own.
    for (expected, _), (result, _) in zip(theirs, ours):
        assert type(result) is type(expected), f"{result!r} instead of {expected!r}"
        if isinstance(expected, list):
            event("compared")
            Comparison(is_ordered_attribute, by_chance(list(rows.lookups))).graphs(result, expected)
        else:
            event(f"ends with {type(expected).__name__}")


@pytest.fixture(autouse=True)
def content_types() -> None:
    make_content_types()
