"""Prefetch objects: querysets and attributes of their own, at any depth."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any, Callable

import pytest
from django.db import connection, models
from django.db.models import Count, Prefetch, prefetch_related_objects

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.archive.models import Exhibit
from tests.python.conftest import rows_of_a_module
from tests.python.databases import on_one_database
from tests.python.graph import Comparison, assert_chunks_alike
from tests.python.prefetching import SIZES, alike, plays
from tests.python.queries import no_queries, outcome, query_count
from tests.python.theatre.models import City, Company, Note, Person, Play, Review, Role, Seat, Tag, Work
from tests.python.theatre.rows import fill_theatre
from tests.python.turns import by_turns

theatre = rows_of_a_module(lambda: fill_theatre(5, 5))


pytestmark = pytest.mark.usefixtures("theatre")


@SIZES
def test_rows_that_come_with_what_a_lookup_asks_for(size: int | None) -> None:
    """By select_related(): Django does not fetch it, and does not find out that it could not."""
    alike(
        plays,
        lambda: Prefetch("author__written", Play.objects.select_related("director")),
        lambda: Prefetch("author__written__director", Person.objects.order_by("pk")[:1]),
        size=size,
    )


def test_rows_of_another_database() -> None:
    fill_theatre(9, 5, "other")
    for path in ("author", "cast", "notes"):
        rows = (Note if path == "notes" else Person).objects.using("other")
        expected, _ = outcome(prefetch_related_objects, plays(), Prefetch(path, rows.all()))
        assert expected is None
        alike(plays, lambda path=path, rows=rows: Prefetch(path, rows.all()), more_queries=1)


# --- attributes


@SIZES
@pytest.mark.parametrize(
    ("path", "attribute"),
    [
        ("author", "penned_by"),
        ("cast", "unordered_actors"),
        ("genres", "chosen_genres"),
        ("roles", "unordered_roles"),
        ("notes", "unordered_notes"),
        ("company", "producer"),
        ("author__written", "unordered_plays"),
        ("author__locker", "box"),
        ("author__friends", "unordered_friends"),
        ("roles__person", "actor"),
    ],
)
def test_attributes(path: str, attribute: str, size: int | None) -> None:
    alike(plays, lambda: Prefetch(path, to_attr=attribute), size=size, more_queries=1)


@SIZES
def test_one_relation_under_several_attributes(size: int | None) -> None:
    alike(
        plays,
        lambda: Prefetch("cast", Person.objects.filter(rank=0).order_by("pk"), to_attr="chosen_0"),
        lambda: Prefetch("cast", Person.objects.filter(rank=1).order_by("pk"), to_attr="chosen_1"),
        "cast",
        "author",
        lambda: Prefetch("author", Person.objects.filter(rank=1), to_attr="penned_by"),
        size=size,
        more_queries=3,
    )


@SIZES
def test_another_attribute_for_what_is_cached(size: int | None) -> None:
    """Django 4.2 takes a relation to one whose own cache is filled for attached, whatever the attribute."""
    alike(
        lambda: list(Tag.objects.order_by("pk")),
        lambda: Prefetch("works", Work.objects.order_by("pk"), to_attr="chosen_works"),
        lambda: Prefetch(
            "works__listings",
            Review.objects.order_by("pk").prefetch_related(Prefetch("listed", to_attr="chosen_work")),
            to_attr="chosen_reviews",
        ),
        size=size,
        more_queries=2,
    )
    alike(
        lambda: list(Seat.objects.order_by("pk")),
        "subscriber",
        lambda: Prefetch(
            "subscriber",
            Person.objects.prefetch_related(Prefetch("written", Play.objects.order_by("pk"), to_attr="chosen_plays")),
            to_attr="chosen_one",
        ),
        size=size,
    )


@SIZES
@pytest.mark.parametrize(
    "queryset",
    [Play.objects.filter(rank=0), Play.objects.filter(rank=0).distinct(), Play.objects.prefetch_related("author")],
)
def test_back_from_rows_to_what_they_refer_to(queryset: Any, size: int | None) -> None:
    """They have it from the lookup that attached them, whatever the one that leads back would read."""
    for times in (1, 2):
        alike(
            lambda: list(Tag.objects.order_by("pk")),
            *[lambda: Prefetch("play_set__tickets__play", queryset.all())] * times,
            "play_set__tickets__play__author",
            size=size,
            more_queries=1,
        )


@SIZES
def test_equal_attributes_below_different_relations(size: int | None) -> None:
    alike(
        plays,
        lambda: Prefetch("author__written", Play.objects.filter(rank=0).order_by("pk"), to_attr="chosen_plays"),
        lambda: Prefetch("director__written", Play.objects.filter(rank=1).order_by("pk"), to_attr="chosen_plays"),
        size=size,
    )


@pytest.mark.parametrize(("turn", "size"), list(enumerate([1, 2, 10_000, None])))
def test_a_filter_below_one_of_two_relations_to_one_table(turn: int, size: int | None) -> None:
    """Authors and directors are the same rows: those who are only directors have all their plays, or none attached."""
    below = [
        lambda: Prefetch("author__written", Play.objects.filter(rank=0)),
        lambda: Prefetch("author__friends", Person.objects.filter(rank=0)),
        lambda: Prefetch("author__hometown", City.objects.filter(rank=0)),
        lambda: Prefetch("author", Person.objects.prefetch_related(Prefetch("written", Play.objects.filter(rank=0)))),
    ]
    for number, lookup in enumerate(below):
        beside: list[tuple[int, list[Any]]] = [
            (1, [lookup, "director"]),
            (2, ["director", lookup, "director__written", "cast"]),
            (2, [lookup, "director__hometown", "cast__written"]),
        ]
        for more_queries, lookups in by_turns(beside, turn + number):
            alike(plays, *lookups, size=size, more_queries=more_queries)


def test_an_attribute_that_is_there_already() -> None:
    def chunk() -> list[Play]:
        found = plays()
        for play in found:
            play.unordered_actors = []
        return found

    alike(chunk, lambda: Prefetch("cast", to_attr="unordered_actors"), more_queries=1)


# --- chunks


def test_lookups_through_none() -> None:
    Play.objects.update(author=None, sequel_of=None)
    alike(plays, "author__written__tags", "sequel_of__sequel_of__author")
    alike(plays, lambda: Prefetch("author__written", Play.objects.filter(rank=0), to_attr="chosen"), "author__mentor")


def test_objects_of_several_classes() -> None:
    def chunk() -> list[Any]:
        return [*plays(), *plays()[:2]]

    alike(chunk, "author__written", "cast", more_queries=1)


def test_classes_that_have_a_relation_of_one_name() -> None:
    """Django itself goes by the class of the first object; here each class is done for itself."""
    Exhibit.objects.create(title="exhibit")
    ours = [*plays(), *Work.objects.order_by("pk")]
    theirs = [plays(), list(Work.objects.order_by("pk"))]
    MemoizedPrefetch("tags").process_chunk(ours)
    for group in theirs:
        prefetch_related_objects(group, "tags")
    Comparison().graphs(ours, [obj for group in theirs for obj in group])


def test_rows_of_a_raw_queryset() -> None:
    table = connection.ops.quote_name(Play._meta.db_table)
    for columns in ("*", "id, name", "id, author_id"):

        def chunk(columns: str = columns) -> list[Play]:
            return list(Play.objects.raw(f"SELECT {columns} FROM {table} ORDER BY id"))

        alike(chunk, "author", lambda: Prefetch("cast", Person.objects.order_by("pk")), "roles", more_queries=1)


def test_the_same_object_twice() -> None:
    def chunk() -> list[Play]:
        found = plays()
        return [*found, found[0], found[0]]

    alike(chunk, lambda: Prefetch("cast", Person.objects.order_by("pk"), to_attr="chosen"), "roles", more_queries=1)


# --- what is the user's stays the user's


def contents(lookup: Any) -> Any:
    """A Prefetch or queryset with everything it holds, the querysets below it included."""
    if isinstance(lookup, models.QuerySet):
        held = {name: value for name, value in vars(lookup).items() if name != "_query"}
        held["_prefetch_related_lookups"] = [contents(one) for one in lookup._prefetch_related_lookups]
        held["sql"] = str(copy.copy(lookup._query))
        return {**held, "_hints": dict(lookup._hints)}
    if isinstance(lookup, Prefetch):
        held = dict(vars(lookup))
        held["querysets"] = [contents(one) for one in getattr(lookup, "querysets", None) or ()]
        held["queryset"] = None if lookup.queryset is None else contents(lookup.queryset)
        return held
    return lookup


def test_lookups_and_querysets_are_never_altered() -> None:
    inner = Prefetch("written", Play.objects.filter(rank__gte=0).order_by("pk"), to_attr="chosen")
    lookups = [
        Prefetch("author", Person.objects.filter(rank__gte=0).prefetch_related("friends", inner)),
        Prefetch("cast", Person.objects.order_by("pk").prefetch_related("locker")),
        Prefetch("roles", Role.objects.order_by("pk")[:2], to_attr="chosen"),
        Prefetch("notes", Note.objects.filter(rank=1)),
        Prefetch("company", Company.everything.all(), to_attr="producer"),
    ]
    before = [contents(lookup) for lookup in lookups]
    prefetch = MemoizedPrefetch(*lookups)
    assert [contents(lookup) for lookup in lookups] == before
    for _ in range(3):
        prefetch.process_chunk(plays())
        assert [contents(lookup) for lookup in lookups] == before
    prefetch.stats()
    prefetch.clear()
    assert [contents(lookup) for lookup in lookups] == before
    with no_queries():
        # They are still of use elsewhere.
        MemoizedPrefetch(*lookups)


@on_one_database
def test_many_chunks_leave_no_object_behind() -> None:
    prefetch = MemoizedPrefetch(
        Prefetch("author", Person.objects.filter(rank__gte=0).prefetch_related("hometown")),
        Prefetch("cast", Person.objects.order_by("pk"), to_attr="chosen"),
        Prefetch("roles", Role.objects.filter(rank=1)),
        Prefetch("author__written", Play.objects.order_by("pk")),
    )
    rows = list(Play.objects.order_by("pk").values())
    spent = []
    for i in range(300):
        chunk = [Play(**rows[i % len(rows)]), Play(**rows[(i + 1) % len(rows)])]
        prefetch.process_chunk(chunk)
        spent += [weakref.ref(play) for play in chunk]
        del chunk
    prefetch.process_chunk([])
    gc.collect()
    assert not [reference for reference in spent if reference() is not None]


def test_what_is_remembered_is_not_read_again() -> None:
    prefetch = MemoizedPrefetch(
        Prefetch("author", Person.objects.filter(rank__gte=0)),
        Prefetch("cast", Person.objects.order_by("pk"), to_attr="chosen"),
        Prefetch("city", City.objects.annotate(people=Count("inhabitants"))),
    )
    prefetch.process_chunk(plays())
    chunk = plays()
    with query_count(0):
        prefetch.process_chunk(chunk)


@pytest.mark.since("6.1")
def test_fetch_modes_do_not_mix() -> None:
    from django.db.models import FETCH_ONE, FETCH_PEERS, FETCH_RAISE

    prefetch = MemoizedPrefetch("author", "cast", "roles", "author__written", "notes")
    for mode in (FETCH_ONE, FETCH_RAISE, FETCH_PEERS, FETCH_RAISE, FETCH_ONE):
        ours, theirs = (list(Play.objects.fetch_mode(mode).order_by("pk")) for _ in range(2))
        prefetch.process_chunk(ours)
        prefetch_related_objects(theirs, "author", "cast", "roles", "author__written", "notes")
        Comparison().graphs(ours, theirs)


@pytest.mark.since("6.1")
def test_the_fetch_mode_with_a_config_of_a_many_to_many() -> None:
    from django.db.models import FETCH_PEERS, FETCH_RAISE

    for mode in (FETCH_RAISE, FETCH_PEERS):
        ours, theirs = (list(Play.objects.fetch_mode(mode).order_by("pk")) for _ in range(2))
        MemoizedPrefetch(MemoizedPrefetchConfig(Tag, ["tags"])).process_chunk(ours)
        prefetch_related_objects(theirs, "tags")
        modes = [[[tag._state.fetch_mode for tag in play.tags.all()] for play in plays] for plays in (ours, theirs)]
        assert modes[0] == modes[1]
        assert any(modes[0])


@pytest.mark.parametrize("attached", ["all", "some"])
@SIZES
def test_lookups_of_a_queryset_that_is_not_needed(attached: str, size: int | None) -> None:
    """What is attached already stays as it is; only the rows that the queryset gives have its lookups."""

    def chunk() -> list[Play]:
        found = list(Play.objects.select_related("author").order_by("pk"))
        return found if attached == "all" else [*found[:2], *plays()[2:]]

    alike(chunk, lambda: Prefetch("author", Person.objects.prefetch_related("written")), size=size)
    alike(
        lambda: list(Work.objects.order_by("pk")),
        lambda: Prefetch("reviews__work", Work.objects.prefetch_related("listings")),
        size=size,
    )


@pytest.mark.parametrize("given_model", [None, Play])
@pytest.mark.parametrize(
    "lookups",
    [
        lambda: [
            Prefetch(
                "tickets__play",
                Play.objects.prefetch_related(Prefetch("author", Person.objects.all(), to_attr="some_b")),
            ),
            Prefetch("tickets__play__author", Person.objects.all(), to_attr="some_b"),
        ],
        lambda: [
            Prefetch(
                "tickets__play",
                Play.objects.prefetch_related(Prefetch("cast", Person.objects.all(), to_attr="some_b")),
            ),
            Prefetch("tickets__play__author", to_attr="some_b"),
        ],
        lambda: [
            Prefetch("tickets__play__author", to_attr="some_b"),
            Prefetch("tickets__play__city", to_attr="some_b"),
        ],
        lambda: [
            Prefetch("tickets__play", Play.objects.prefetch_related(Prefetch("author", Person.objects.filter(rank=1)))),
            "tickets__play__author__hometown",
        ],
    ],
)
def test_lookups_that_attach_to_one_name_of_the_chunk_s_own_objects(
    theatre: None, lookups: Callable[[], list[Any]], given_model: Any
) -> None:
    prefetch = MemoizedPrefetch(*lookups(), model=given_model)
    assert_chunks_alike(
        lambda: list(Play.objects.order_by("pk")), lookups, to_attrs=lambda name: name == "some_b" or None
    )
    ours, theirs = list(Play.objects.order_by("pk")), list(Play.objects.order_by("pk"))
    prefetch.process_chunk(ours)
    prefetch_related_objects(theirs, *lookups())
    assert [getattr(play, "some_b", None) for play in ours] == [getattr(play, "some_b", None) for play in theirs]
