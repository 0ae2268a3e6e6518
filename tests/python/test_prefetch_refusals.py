"""What Django refuses of lookups, and so does this: at the same time, with the same class of error."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import Prefetch, prefetch_related_objects

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.conftest import rows_of_a_module
from tests.python.graph import assert_chunks_alike, assert_same_error
from tests.python.prefetching import SIZES, alike, people, plays, refused
from tests.python.queries import outcome
from tests.python.theatre.models import City, Note, Person, Play, Role, Tag, Work
from tests.python.theatre.rows import fill_theatre

theatre = rows_of_a_module(lambda: fill_theatre(5, 5))


pytestmark = pytest.mark.usefixtures("theatre")


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
