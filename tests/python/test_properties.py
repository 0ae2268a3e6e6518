"""Any lookups, chunks and sizes over any rows: what Django attaches, in no more queries."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.core.exceptions import EmptyResultSet, FieldError
from django.db import models
from hypothesis import example, given
from hypothesis import strategies as st

from tests.python.attributes import relations
from tests.python.generated import as_given, compare, make_content_types, processing, property_settings, theatre
from tests.python.lookups import (
    Bounds,
    Rows,
    Wanted,
    changes,
    count_many_to_many,
    key_columns,
    lookup_sets,
)
from tests.python.theatre.models import City, Person, Play, Seat
from tests.python.theatre.rows import NOTED

PROPERTY = property_settings(200)
MODELS = sorted(
    (model for model in apps.get_app_config("theatre").get_models() if relations(model)),
    key=lambda model: model.__name__,
)
SIZES = st.sampled_from([1, 2, 3, 5, 10_000, None])
CHUNKS = st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=8), min_size=1, max_size=4)


@pytest.fixture(autouse=True)
def content_types() -> None:
    make_content_types()


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, ...]:
    model = draw(st.sampled_from([Play, Person, *MODELS]))
    # Below a note of several classes Django goes by the first one's.
    note = draw(st.sampled_from([None, *NOTED]))
    start = Rows(model, "_base_manager", draw(changes(model).filter(lambda calls: is_valid(model, calls))))
    return model, note, start, draw(lookup_sets(model, Bounds(note)))


def is_valid(model: type[models.Model], calls: Any) -> bool:
    try:
        str(Rows(model, "_base_manager", calls).make().query)
    except (FieldError, EmptyResultSet):
        return False  # of no use as a chunk
    return True


def chunk_of(queryset: models.QuerySet[Any], places: list[int]) -> list[Any]:
    """Fresh instances: one for each place, also of a row that is there twice."""
    copies = [list(queryset.all()) for _ in range(max(map(places.count, places), default=0))]
    rows = copies[0] if copies else []
    used: dict[int, int] = {}
    chunk = []
    for place in places:
        if rows:
            place %= len(rows)
            copy = used[place] = used.get(place, -1) + 1
            chunk.append(copies[copy % len(copies)][place])
    return chunk


def of_people(*lookups: Wanted) -> tuple[Any, ...]:
    return Person, None, Rows(Person, "_base_manager"), list(lookups)


# By a path that leads back to the chunk's own people: what it attaches to them is there for the lookups after it.
@example(
    case=of_people(
        Wanted("roles__person__directed"),
        Wanted("roles__person__directed", Rows(Play, "objects")),
        Wanted("roles__understudy", Rows(Person, "objects", lookups=(Wanted("directed", to_attr="some_a"),)), "some_c"),
        Wanted("directed", Rows(Play, "objects", lookups=(Wanted("genres"), Wanted("city__companies")))),
    ),
    seed=1275,
    rows=4,
    chunks=[[6, 5, 3, 3, 4, 5], [7, 2, 7, 2, 4], [2, 2, 0], [5]],
    size=2,
)
@example(
    case=of_people(
        Wanted("roles__person__directed"),
        Wanted("roles__person__hometown", to_attr="some_b"),
        Wanted("directed__cities", Rows(City, "objects", (("filter", (), {"rank": 0}),))),
    ),
    seed=1384,
    rows=5,
    chunks=[[7, 6, 0, 6, 3], [2, 4, 5, 3, 5, 6, 3, 0], [7, 2, 0, 5, 2, 6, 3, 4], [6]],
    size=10_000,
)
@example(
    case=of_people(
        Wanted("locker__holder__directed", Rows(Play, "objects")),
        Wanted("directed", to_attr="some_a"),
        Wanted("directed__author", Rows(Person, "objects", (("filter", (), {"rank": 0}),))),
    ),
    seed=0,
    rows=4,
    chunks=[[0, 0]],
    size=1,
)
@example(
    case=of_people(
        Wanted("roles__person__directed"),
        Wanted("roles__person__directed", to_attr="some_c"),
        Wanted("hometown", to_attr="some_c"),
        Wanted("directed__author"),
    ),
    seed=0,
    rows=2,
    chunks=[[0]],
    size=1,
)
@example(
    case=(
        Seat,
        None,
        Rows(Seat, "_base_manager"),
        [
            Wanted("tickets"),
            Wanted("tickets__seat__subscriber", Rows(Person, "objects"), "some_a"),
            Wanted("subscriber", Rows(Person, "objects"), "some_a"),
        ],
    ),
    seed=0,
    rows=2,
    chunks=[[1]],
    size=1,
)
@PROPERTY
@given(case=cases(), seed=st.integers(0, 10_000), rows=st.integers(2, 5), chunks=CHUNKS, size=SIZES)
def test_any_lookups(case: tuple[Any, ...], seed: int, rows: int, chunks: list[list[int]], size: int | None) -> None:
    model, note, start, lookups = case
    with theatre(seed, rows, noted=NOTED if note is None else [note]):
        run(start, lookups, chunks, size, count_many_to_many(model, lookups, note))


def run(start: Rows, lookups: list[Wanted], chunks: list[list[int]], size: int | None, more_queries: int) -> None:
    # The whole table, or those rows that `objects` hides and the base manager shows.
    more_queries += sum(lookup.as_config in ("all", "plain") for lookup in lookups)
    given_lookups = as_given(lookups, size)
    process = processing(given_lookups, lookups, lru_cache_size=size)
    for places in chunks:
        queryset = start.make().order_by(*key_columns(start.model))
        ours, theirs = chunk_of(queryset, places), chunk_of(queryset, places)
        queries, their_queries = compare(process, lookups, ours, theirs)
        assert len(queries) <= len(their_queries) + more_queries, "\n".join(queries)
    for lookup in given_lookups:
        queryset = getattr(lookup, "queryset", None)
        if queryset is not None:
            assert queryset._result_cache is None
            assert not queryset._hints
