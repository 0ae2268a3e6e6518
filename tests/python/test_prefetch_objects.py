"""Prefetch objects: querysets and attributes of their own, at any depth, and what Django refuses."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any, Callable

import pytest
from django import VERSION
from django.db import models
from django.db.models import Count, Exists, F, OuterRef, Prefetch, Q, Window, prefetch_related_objects
from django.db.models.functions import RowNumber

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.conftest import rows_of_a_module
from tests.python.everything.models import (
    City,
    Company,
    Genre,
    Note,
    Person,
    Play,
    Review,
    Role,
    Seat,
    Tag,
    Ticket,
    Work,
)
from tests.python.everything.rows import fill_theatre
from tests.python.graph import Comparison, assert_chunks_alike, assert_same_error, outcome
from tests.python.museum.models import Exhibit
from tests.python.oracle import no_queries, query_count

SIZES = pytest.mark.parametrize("size", [1, 2, 10_000, None])


theatre = rows_of_a_module(lambda: fill_theatre(5, 5))
pytestmark = pytest.mark.usefixtures("theatre")


def plays() -> list[Play]:
    return list(Play.objects.order_by("pk"))


def people() -> list[Person]:
    return list(Person.objects.order_by("pk"))


def ordered(name: str) -> bool | None:
    """Attributes in these tests are called for what they hold."""
    return {"chosen": True, "unordered": False}.get(name.partition("_")[0])


def alike(chunk: Any, *lookups: Any, size: int | None = 10_000, more_queries: int = 0) -> list[Any]:
    """Each lookup is a callable that makes it, or a string."""

    def made() -> list[Any]:
        return [lookup() if callable(lookup) else lookup for lookup in lookups]

    return assert_chunks_alike(chunk, made, size=size, more_queries=more_queries, to_attrs=ordered)


def refused(chunk: Any, *lookups: Any) -> Exception:
    return assert_same_error(chunk, lambda: [lookup() if callable(lookup) else lookup for lookup in lookups])


# --- querysets

TO_ONE_ROWS = {
    "filter": lambda: Person.objects.filter(rank__gte=1),
    "exclude": lambda: Person.objects.exclude(rank=0),
    "join": lambda: Person.objects.filter(hometown__rank__gte=1),
    "a join with many rows": lambda: Person.objects.filter(written__rank__gte=0).distinct(),
    "order": lambda: Person.objects.order_by("-name"),
    "only": lambda: Person.objects.only("name"),
    "defer": lambda: Person.objects.defer("name", "mentor"),
    "select_related": lambda: Person.objects.select_related("hometown", "mentor__hometown"),
    "annotation": lambda: Person.objects.annotate(more=F("rank") + 1),
    "aggregate": lambda: Person.objects.annotate(plays=Count("written")),
    "subquery": lambda: Person.objects.annotate(has=Exists(Play.objects.filter(author=OuterRef("pk")))),
    "window": lambda: Person.objects.annotate(place=Window(RowNumber(), order_by=F("name").desc())),
    "nested lookup": lambda: Person.objects.prefetch_related("hometown", "written__tags"),
    "nested Prefetch": lambda: Person.objects.prefetch_related(
        Prefetch("written", Play.objects.filter(rank=1).order_by("pk"), to_attr="chosen_plays")
    ),
    "none": lambda: Person.objects.none(),
    "conditions": lambda: Person.objects.filter(Q(rank=0) | ~Q(hometown="a")),
}


@SIZES
@pytest.mark.parametrize("rows", TO_ONE_ROWS.values(), ids=TO_ONE_ROWS)
@pytest.mark.parametrize("path", ["author", "sequel_of__author"])
def test_querysets_of_foreign_keys(path: str, rows: Any, size: int | None) -> None:
    alike(plays, lambda: Prefetch(path, rows()), size=size, more_queries=1)


@SIZES
@pytest.mark.parametrize("rows", TO_ONE_ROWS.values(), ids=TO_ONE_ROWS)
@pytest.mark.parametrize("path", ["cast", "author__friends"])
def test_querysets_of_many_to_many_relations(path: str, rows: Any, size: int | None) -> None:
    alike(plays, lambda: Prefetch(path, rows()), size=size, more_queries=2)


@SIZES
@pytest.mark.parametrize("rows", TO_ONE_ROWS.values(), ids=TO_ONE_ROWS)
@pytest.mark.parametrize("path", ["pupils", "mentor__pupils"])
def test_querysets_of_reverse_foreign_keys(path: str, rows: Any, size: int | None) -> None:
    alike(people, lambda: Prefetch(path, rows()), size=size, more_queries=1)


@SIZES
@pytest.mark.parametrize(
    "rows",
    [
        lambda: Note.objects.filter(rank=1),
        lambda: Note.objects.order_by("-rank", "pk"),
        lambda: Note.objects.select_related("writer"),
        lambda: Note.objects.only("name"),
        lambda: Note.objects.prefetch_related("target", "writer__written"),
        lambda: Note.objects.annotate(more=F("rank") * 2),
    ],
)
@pytest.mark.parametrize("path", ["notes", "mentor__notes"])
def test_querysets_of_generic_relations(path: str, rows: Any, size: int | None) -> None:
    alike(people, lambda: Prefetch(path, rows()), size=size)


@SIZES
@pytest.mark.parametrize("path", ["locker", "mentor__locker"])
def test_querysets_of_reverse_one_to_one_relations(path: str, size: int | None) -> None:
    locker = Person.locker.related.related_model
    alike(people, lambda: Prefetch(path, locker.objects.filter(rank__gte=1)), size=size)
    alike(people, lambda: Prefetch(path, locker.objects.annotate(more=F("rank") + 1).select_related("holder")))


@SIZES
def test_what_a_link_says_of_its_target(size: int | None) -> None:
    """One person may have several roles in one play, and others elsewhere: the annotation is the link's."""
    rows = {
        "annotation": lambda: Person.objects.annotate(of_role=F("roles__rank")),
        "order": lambda: Person.objects.order_by("roles__rank", "pk"),
        "filter": lambda: Person.objects.filter(roles__rank=1),
        "aggregate": lambda: Person.objects.annotate(number=Count("roles")),
        "other table": lambda: Person.objects.annotate(of_play=F("written__rank")),
    }
    for make in rows.values():
        alike(plays, lambda make=make: Prefetch("cast", make()), size=size, more_queries=1)


@SIZES
@pytest.mark.parametrize("order", ["pk", "-pk"])
@pytest.mark.parametrize("to_attr", [None, "unordered_cast"])
def test_several_instances_of_one_row(to_attr: str | None, order: str, size: int | None) -> None:
    """A row that is read with its link has an instance for each: what refers to it is given the last that was read."""
    alike(
        lambda: list(Play.objects.order_by(order)),
        lambda: Prefetch("cast", Person.objects.annotate(of_play=F("roles__play")), to_attr=to_attr),
        f"{to_attr or 'cast'}__written",
        size=size,
        more_queries=1,
    )


@SIZES
@pytest.mark.parametrize(
    "place",
    [
        Window(RowNumber(), order_by=[F("rank").asc(), F("hall").asc(), F("number").asc()]),
        Count("tickets"),  # of several columns: Django asks by joining the tickets
    ],
    ids=["window", "aggregate"],
)
def test_what_django_attaches_to_remembered_rows_depends_on_the_chunk(place: Any, size: int | None) -> None:
    """The seats of a chunk are numbered together, and counted by its tickets."""

    def lookup() -> Any:
        return Prefetch("plays__tickets__seat", Seat.objects.annotate(place=place))

    prefetch = MemoizedPrefetch(lookup(), lru_cache_size=size)
    for places in ([1], [0], [2, 1], [0, 1, 2, 3]):
        ours, theirs = ([list(Genre.objects.order_by("pk"))[place] for place in places] for _ in range(2))
        prefetch.process_chunk(ours)
        prefetch_related_objects(theirs, lookup())
        Comparison().graphs(ours, theirs)


@SIZES
def test_rows_that_come_with_what_a_lookup_asks_for(size: int | None) -> None:
    """By select_related(): Django does not fetch it, and does not find out that it could not."""
    alike(
        plays,
        lambda: Prefetch("author__written", Play.objects.select_related("director")),
        lambda: Prefetch("author__written__director", Person.objects.order_by("pk")[:1]),
        size=size,
    )


@SIZES
def test_ordered_targets_and_hidden_rows(size: int | None) -> None:
    alike(plays, lambda: Prefetch("genres", Genre.objects.order_by("name")), size=size, more_queries=1)
    alike(plays, lambda: Prefetch("genres", Genre.objects.order_by()), size=size, more_queries=1)
    alike(plays, lambda: Prefetch("companies", Company.everything.all()), size=size, more_queries=1)
    alike(plays, lambda: Prefetch("company", Company.objects.all()), "companies", size=size, more_queries=1)


@pytest.mark.parametrize("path", ["cast", "roles", "author__written", "author__friends"])
@SIZES
def test_slices(path: str, size: int | None) -> None:
    model = {"cast": Person, "roles": Role, "author__written": Play, "author__friends": Person}[path]
    for rows in (lambda: model.objects.order_by("pk")[:1], lambda: model.objects.order_by("-pk")[1:3]):
        # Where the rows are not a list, Django filters them once more.
        refused(plays, lambda rows=rows: Prefetch(path, rows()))
        alike(plays, lambda rows=rows: Prefetch(path, rows(), to_attr="chosen_few"), size=size, more_queries=1)


def test_slices_that_django_refuses() -> None:
    refused(plays, lambda: Prefetch("notes", Note.objects.order_by("pk")[:2], to_attr="chosen"))
    refused(plays, lambda: Prefetch("author", Person.objects.order_by("pk")[:2]))


def test_the_first_of_two_errors() -> None:
    """A slice is refused when it is its turn, not when what it hangs on has been read."""
    error = refused(
        people,
        "written__director__written",
        lambda: Prefetch("written", Play.objects.all()),
        lambda: Prefetch("written__cast", Person.objects.order_by("id")[:1]),
    )
    assert "already seen" in str(error)


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
        ("author", "writer"),
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
def test_paths_through_attributes(size: int | None) -> None:
    alike(
        plays,
        lambda: Prefetch("cast", Person.objects.filter(rank__gte=1).order_by("pk"), to_attr="chosen_actors"),
        "chosen_actors__locker",
        lambda: Prefetch("chosen_actors__written", Play.objects.order_by("-pk"), to_attr="chosen_plays"),
        "chosen_actors__chosen_plays__tags",
        lambda: Prefetch("author", Person.objects.select_related("mentor"), to_attr="writer"),
        "writer__mentor__friends",
        size=size,
        more_queries=3,
    )


@SIZES
def test_one_relation_under_several_attributes(size: int | None) -> None:
    alike(
        plays,
        lambda: Prefetch("cast", Person.objects.filter(rank=0).order_by("pk"), to_attr="chosen_0"),
        lambda: Prefetch("cast", Person.objects.filter(rank=1).order_by("pk"), to_attr="chosen_1"),
        "cast",
        "author",
        lambda: Prefetch("author", Person.objects.filter(rank=1), to_attr="writer"),
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


def test_going_on_from_an_attribute_that_was_not_attached() -> None:
    lookups = ["author__directed", Prefetch("author", to_attr="chosen_one"), "chosen_one__directed"]
    if VERSION >= (5, 0):
        alike(plays, *lookups)
    else:
        refused(plays, *lookups)


@SIZES
def test_equal_attributes_below_different_relations(size: int | None) -> None:
    alike(
        plays,
        lambda: Prefetch("author__written", Play.objects.filter(rank=0).order_by("pk"), to_attr="chosen_plays"),
        lambda: Prefetch("director__written", Play.objects.filter(rank=1).order_by("pk"), to_attr="chosen_plays"),
        size=size,
    )


@SIZES
def test_a_filter_below_one_of_two_relations_to_one_table(size: int | None) -> None:
    """Authors and directors are the same rows: those who are only directors have all their plays, or none attached."""
    below = [
        lambda: Prefetch("author__written", Play.objects.filter(rank=0)),
        lambda: Prefetch("author__friends", Person.objects.filter(rank=0)),
        lambda: Prefetch("author__hometown", City.objects.filter(rank=0)),
        lambda: Prefetch("author", Person.objects.prefetch_related(Prefetch("written", Play.objects.filter(rank=0)))),
    ]
    for lookup in below:
        alike(plays, lookup, "director", size=size, more_queries=1)
        alike(plays, "director", lookup, "director__written", "cast", size=size, more_queries=2)
        alike(plays, lookup, "director__hometown", "cast__written", size=size, more_queries=2)


def test_the_attribute_is_a_field() -> None:
    cities = lambda: list(City.objects.order_by("pk"))  # noqa: E731
    refused(cities, lambda: Prefetch("companies", to_attr="play"))
    refused(people, lambda: Prefetch("written", to_attr="note"))
    refused(plays, lambda: Prefetch("author__written", to_attr="note"))
    refused(people, lambda: Prefetch("hometown__companies", to_attr="play"))
    refused(plays, lambda: Prefetch("author", Person.objects.prefetch_related(Prefetch("friends", to_attr="note"))))


def test_the_attribute_is_an_attribute_already() -> None:
    """Newer versions take it for fetched, Django 4.2 refuses some."""
    for path, attribute in (("author", "name"), ("cast", "rank"), ("roles", "tags"), ("author__written", "name")):

        def lookup(path: str = path, attribute: str = attribute) -> Prefetch[Any]:
            return Prefetch(path, to_attr=attribute)

        theirs = plays()
        expected, _ = outcome(prefetch_related_objects, theirs, lookup())
        if expected is None:
            ours = MemoizedPrefetch(lookup()).process_chunk(plays())
            assert [(play.name, play.rank, play.tags.count()) for play in ours] == [
                (play.name, play.rank, play.tags.count()) for play in theirs
            ]
        else:
            refused(plays, lookup)


def test_an_attribute_that_is_there_already() -> None:
    def chunk() -> list[Play]:
        found = plays()
        for play in found:
            play.unordered_actors = []
        return found

    alike(chunk, lambda: Prefetch("cast", to_attr="unordered_actors"), more_queries=1)


# --- what Django refuses


def test_one_path_with_two_querysets() -> None:
    def filtered() -> Prefetch[Any]:
        return Prefetch("cast", Person.objects.filter(rank=1))

    refused(plays, filtered, filtered)
    refused(plays, "cast", filtered)
    refused(plays, "cast__written", filtered)
    refused(plays, "author__written", lambda: Prefetch("author", Person.objects.all()))
    # The other way round the queryset is the one that counts.
    alike(plays, filtered, "cast", more_queries=1)
    alike(plays, filtered, "cast__written", more_queries=1)
    alike(plays, lambda: Prefetch("author", Person.objects.filter(rank=1)), "author__written")


@pytest.mark.parametrize("checked", [False, True])
def test_a_path_that_was_in_a_queryset_and_is_given_again(checked: bool) -> None:
    """Django notes no lookup that it has done while it read the rows of a reverse relation: it may be given again."""

    def of_plays(*inner: Any) -> Any:
        return Play.objects.prefetch_related(*inner)

    def author() -> Any:
        return Prefetch("author", Person.objects.all())

    for lookups in [
        lambda: [Prefetch("written", of_plays(author())), Prefetch("written__author", Person.objects.all())],
        lambda: [
            Prefetch("written", of_plays(Prefetch("cast", Person.objects.prefetch_related("hometown")))),
            Prefetch("written__cast__hometown", City.objects.all()),
        ],
    ]:
        MemoizedPrefetch(*lookups(), model=Person if checked else None)
        assert_chunks_alike(people, lookups, more_queries=1)
    # In one queryset it may not, and a many-to-many's are lookups like others.
    for lookups in [
        lambda: [Prefetch("author__written", of_plays("cast", Prefetch("cast", Person.objects.all())))],
        lambda: [
            Prefetch("cast", Person.objects.prefetch_related("friends", Prefetch("friends", Person.objects.all())))
        ],
        lambda: [
            Prefetch("cast", Person.objects.prefetch_related("hometown")),
            Prefetch("cast__hometown", City.objects.all()),
        ],
        lambda: [Prefetch("tags", Tag.objects.prefetch_related("works")), Prefetch("tags__works", Work.objects.all())],
    ]:
        assert_same_error(plays, lookups)


def test_two_lookups_for_one_attribute() -> None:
    refused(
        plays,
        lambda: Prefetch("cast", Person.objects.filter(rank=0), to_attr="actors"),
        lambda: Prefetch("cast", Person.objects.filter(rank=1), to_attr="actors"),
    )


@pytest.mark.parametrize(
    "path",
    ["autor", "author__autor", "author__name", "name", "author__written__nothing", "cast__cast", "pk", "objects"],
)
def test_paths_that_lead_nowhere(path: str) -> None:
    refused(plays, path)
    refused(plays, lambda: Prefetch(path, Person.objects.all()))


def test_a_path_that_leads_nowhere_below_objects_that_have_nothing() -> None:
    """Django does not look at what no object leads to; with `model=` the constructor does."""

    def chunk() -> list[Play]:
        return [Play(pk=900, author_id=None)]

    expected, _ = outcome(prefetch_related_objects, chunk(), "author__autor")
    assert expected is None
    with pytest.raises(AttributeError, match="autor"):
        MemoizedPrefetch("author__autor", model=Play)


def test_a_queryset_of_another_model() -> None:
    for path in ("author", "cast", "notes"):
        lookup = Prefetch(path, Tag.objects.all())
        expected, _ = outcome(prefetch_related_objects, plays(), lookup)
        if expected is not None:
            refused(plays, lambda path=path: Prefetch(path, Tag.objects.all()))


def test_rows_that_are_no_instances() -> None:
    for rows in (Person.objects.values(), Person.objects.values_list("pk")):
        with pytest.raises(ValueError, match="values") as ours:
            Prefetch("author", rows)
        assert "Prefetch" in str(ours.value)


def test_unsaved_objects() -> None:
    for path in ("cast", "roles", "tags"):
        refused(lambda: [Play(name="unsaved")], path)
        refused(lambda: [Play(name="unsaved")], lambda path=path: Prefetch(path, to_attr="rows"))
    alike(lambda: [Play(name="unsaved", author_id=1)], lambda: Prefetch("author", Person.objects.filter(rank__gte=0)))


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


def test_deferred_foreign_keys() -> None:
    def chunk() -> list[Play]:
        return list(Play.objects.only("name").order_by("pk"))

    alike(chunk, lambda: Prefetch("author", Person.objects.filter(rank__gte=1)), "sequel_of")
    alike(chunk, lambda: Prefetch("roles", Role.objects.only("name")), "author__written")


def test_rows_of_a_raw_queryset() -> None:
    table = Play._meta.db_table
    for columns in ("*", "id, name", "id, author_id"):

        def chunk(columns: str = columns) -> list[Play]:
            return list(Play.objects.raw(f'SELECT {columns} FROM "{table}" ORDER BY id'))

        alike(chunk, "author", lambda: Prefetch("cast", Person.objects.order_by("pk")), "roles", more_queries=1)


def test_the_rows_of_a_prefetch_are_a_raw_queryset() -> None:
    table = Person._meta.db_table

    def lookup() -> Prefetch[Any]:
        return Prefetch("author", Person.objects.raw(f'SELECT * FROM "{table}"'))

    expected, _ = outcome(lambda: prefetch_related_objects(plays(), lookup()))
    if expected is None:
        alike(plays, lookup)
    else:
        error, _ = outcome(lambda: MemoizedPrefetch(lookup()).process_chunk(plays()))
        assert type(error) is type(expected)


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


def test_a_thousand_chunks_leave_no_object_behind() -> None:
    prefetch = MemoizedPrefetch(
        Prefetch("author", Person.objects.filter(rank__gte=0).prefetch_related("hometown")),
        Prefetch("cast", Person.objects.order_by("pk"), to_attr="chosen"),
        Prefetch("roles", Role.objects.filter(rank=1)),
        Prefetch("author__written", Play.objects.order_by("pk")),
    )
    rows = list(Play.objects.order_by("pk").values())
    spent = []
    for i in range(1_000):
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


def test_what_must_not_be_remembered_is_django_s_every_time() -> None:
    prefetch = MemoizedPrefetch(
        Prefetch("cast", Person.objects.annotate(of_role=F("roles__rank"))),
        Prefetch("genres", Genre.objects.order_by("pk")[:1], to_attr="chosen"),
        Prefetch("author", Person.objects.annotate(place=Window(RowNumber(), order_by=F("pk").asc()))),
    )
    for _ in range(2):
        prefetch.process_chunk(plays())
    relations = prefetch.stats().relations
    assert {relation.path for relation in relations.values()} == {"django"}
    assert all(relation.reason for relation in relations.values())


@pytest.mark.since("6.1")
def test_fetch_modes_do_not_mix() -> None:
    from django.db.models import FETCH_ONE, FETCH_PEERS, FETCH_RAISE

    prefetch = MemoizedPrefetch("author", "cast", "roles", "author__written", "notes")
    for mode in (FETCH_ONE, FETCH_RAISE, FETCH_PEERS, FETCH_RAISE, FETCH_ONE):
        ours, theirs = (list(Play.objects.fetch_mode(mode).order_by("pk")) for _ in range(2))
        prefetch.process_chunk(ours)
        prefetch_related_objects(theirs, "author", "cast", "roles", "author__written", "notes")
        Comparison().graphs(ours, theirs)


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


def test_a_queryset_that_cannot_be_read_is_refused_also_where_nothing_is_linked() -> None:
    Play.companies.through.objects.all().delete()
    companies = Company.objects.only("id").select_related("seat")
    assert_same_error(plays, lambda: [Prefetch("companies", companies, to_attr="some_a")])


def test_a_repeated_lookup_below_one_that_django_attaches() -> None:
    def lookups() -> list[Any]:
        seats = Seat.objects.prefetch_related(Prefetch("subscriber__directed", Play.objects.all()))
        return [Prefetch("seat", seats, to_attr="some_a"), Prefetch("some_a__subscriber", Person.objects.all())]

    assert_same_error(lambda: list(Ticket.objects.order_by("pk")), lookups)


def test_of_two_errors_of_a_slice_the_first_is_that_of_its_query() -> None:
    people = Person.objects.only("id").select_related("passport").order_by("id")[:1]
    assert_same_error(plays, lambda: [Prefetch("cast", people)])
    assert_same_error(plays, lambda: [Prefetch("cast", Person.objects.order_by("id")[:1])])


def test_a_third_lookup_passes_by_a_relation_that_two_attach_under_one_name() -> None:
    def lookups() -> list[Any]:
        return [
            Prefetch("person__directed", Play.objects.all(), to_attr="some_b"),
            Prefetch("person__fans", Person.objects.all(), to_attr="some_b"),
            Prefetch("person__directed__author", Person.objects.all(), to_attr="some_a"),
            Prefetch("person__some_b__directed", to_attr="some_a"),
        ]

    assert_same_error(lambda: list(Role.objects.order_by("pk")), lookups)


class Box:
    """No model instance: Django passes through it by its attributes."""

    def __init__(self, play: Play) -> None:
        self.play = play


@pytest.mark.parametrize("name", ["author", "cast"])
def test_through_objects_that_are_no_model_instances(name: str) -> None:
    def boxed() -> list[City]:
        cities = list(City.objects.order_by("pk"))
        for city in cities:
            city.boxes = [Box(play) for play in plays()]
        return cities

    directed = Prefetch("directed", Play.objects.order_by("-pk"), to_attr="staged")
    people_with_plays = Person.objects.order_by("pk").prefetch_related(directed)
    lookups = [Prefetch(f"boxes__play__{name}", people_with_plays, to_attr="found"), "boxes__play__found__written"]
    ours, theirs = boxed(), boxed()
    MemoizedPrefetch(*lookups).process_chunk(ours)
    assert people_with_plays._hints == {}
    prefetch_related_objects(theirs, *lookups)
    for our, their in zip(ours, theirs):
        comparison = Comparison(lambda name: name in ("found", "staged") or None)
        comparison.graphs([box.play for box in our.boxes], [box.play for box in their.boxes])
