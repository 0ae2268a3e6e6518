"""Reverse foreign keys: the rows that refer to the objects of a chunk."""

from __future__ import annotations

import gc
import itertools
import pickle
import weakref
from functools import partial
from typing import Any

import django
import pytest
from django.db.models import Prefetch, Value, prefetch_related_objects
from seal.exceptions import UnsealedAttributeAccess

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.bookshop.models import Author, Book, Review
from tests.python.conftest import Bookshop, rows_of_a_module
from tests.python.customised.models import Article, Editor, Journal, Registration
from tests.python.databases import on_one_database
from tests.python.graph import assert_chunks_alike, assert_same_as_django, assert_same_error
from tests.python.prefetching import SIZES, TO_ONE_ROWS, alike, people
from tests.python.queries import no_queries, query_count
from tests.python.theatre.models import (
    City,
    Company,
    ListedWork,
    Locker,
    Note,
    Opera,
    Passport,
    Person,
    Play,
    Role,
    Seat,
    Sponsor,
    Work,
)
from tests.python.theatre.rows import fill_theatre

theatre = rows_of_a_module(lambda: fill_theatre(7, 5))
pytestmark = pytest.mark.usefixtures("theatre")


def everyone() -> list[Person]:
    return list(Person.objects.order_by("pk"))


def all_of(model: Any) -> Any:
    return lambda: list(model._base_manager.order_by("pk"))


REVERSE = [
    (Person, "written"),
    (Person, "pupils"),
    (Person, "roles"),  # whose default manager hides rows
    (Person, "note_set"),  # without a related_name
    (Person, "works"),
    (Person, "operas"),  # multi-table inheritance
    (Person, "seats"),  # a key of two columns, where Django has those
    (City, "inhabitants"),  # a text key
    (City, "companies"),  # ordered, and the default manager hides rows
    (Company, "plays"),
    (Sponsor, "plays"),
    (Play, "sequels"),  # to a column that is not the primary key
    (Work, "reviews"),
    (Opera, "reviews"),  # of the parent's table
    (Opera, "opera_reviews"),
    (ListedWork, "listings"),  # a proxy
    (Work, "listings"),
    (Seat, "tickets"),  # two columns
]


@SIZES
@pytest.mark.parametrize(("model", "lookup"), REVERSE)
def test_reverse_foreign_keys(theatre: None, model: Any, lookup: str, size: int | None) -> None:
    assert_chunks_alike(all_of(model), lambda: [lookup], size=size)


@SIZES
@pytest.mark.parametrize(
    ("model", "lookups"),
    [
        (Play, ["author__written"]),
        (Play, ["author__written__roles__person"]),
        (Play, ["roles__person__locker", "roles__understudy"]),
        (Person, ["written__author", "directed__author"]),
        (Person, ["pupils__pupils__pupils"]),
        (Role, ["play__sequels", "person__passport__issued_in"]),
        (Passport, ["person__locker__holder"]),
        (Locker, ["holder__passport"]),
        (Play, ["author", "author__written", "director__written"]),
    ],
)
def test_paths_with_reverse_relations(theatre: None, model: Any, lookups: list[str], size: int | None) -> None:
    assert_chunks_alike(all_of(model), lambda: list(lookups), size=size)


def test_the_way_back_leads_to_the_very_object(theatre: None) -> None:
    prefetch = MemoizedPrefetch("roles", "author__written", "notes")
    for _ in range(2):
        plays = prefetch.process_chunk(list(Play.objects.order_by("pk")))
        with no_queries():
            assert any(play.roles.all() for play in plays)
            assert all(role.play is play for play in plays for role in play.roles.all())
            authors = [play.author for play in plays if play.author_id in range(1, 6)]
            assert authors
            assert all(written.author is author for author in authors for written in author.written.all())


def test_two_instances_of_one_row(theatre: None) -> None:
    def twice() -> list[Person]:
        return [*everyone(), *everyone()]

    assert_chunks_alike(twice, lambda: ["written", "locker"])


def test_rows_of_a_memoized_source_are_remembered_with_it(theatre: None) -> None:
    lookups = ["author__written", "author__locker", "author__notes"]
    prefetch = MemoizedPrefetch(*lookups)
    prefetch.process_chunk(list(Play.objects.all()))
    plays = list(Play.objects.order_by("pk"))
    with no_queries():
        prefetch.process_chunk(plays)


def test_rows_of_the_chunks_own_objects_are_not_kept(theatre: None) -> None:
    prefetch = MemoizedPrefetch("roles", "tickets", "notes", "tags", "author")
    gone = []
    for _ in range(3):
        plays = prefetch.process_chunk(list(Play.objects.all()))
        gone += [weakref.ref(one) for play in plays for one in (play, *play.roles.all(), *play.notes.all())]
        del plays
    prefetch.process_chunk([])
    gc.collect()
    assert len(gone) > 20
    assert not [reference for reference in gone if reference() is not None]


@on_one_database
def test_many_chunks_leave_no_object_behind(theatre: None) -> None:
    prefetch = MemoizedPrefetch("written", "locker", "mentor", "friends", "notes", "passport")
    people = everyone()
    state = pickle.dumps(people)
    spent = []
    for _ in range(300):
        chunk = pickle.loads(state)[:2]
        prefetch.process_chunk(chunk)
        spent += [weakref.ref(person) for person in chunk]
        del chunk
    prefetch.process_chunk([])
    gc.collect()
    assert not [reference for reference in spent if reference() is not None]


@pytest.mark.parametrize(
    "read",
    [
        lambda rows: rows.count(),
        lambda rows: rows.exists(),
        lambda rows: [row.pk for row in rows.filter(rank=1).order_by("pk")],
        lambda rows: [row.pk for row in rows.order_by("-pk")],
        lambda rows: sorted(rows.values_list("name", flat=True)),
        lambda rows: getattr(rows.order_by("pk").last(), "pk", None),
        lambda rows: sorted(row.pk for row in rows.all()),
        lambda rows: rows.update(rank=2),
        lambda rows: rows.filter(rank=0).delete()[0],
        lambda rows: sorted(row.pk for row in pickle.loads(pickle.dumps(rows))),
        lambda rows: sorted(row.pk for row in rows.iterator(chunk_size=2)),
        lambda rows: rows.aggregate(n=django.db.models.Sum("rank")),
        lambda rows: sorted(str(query) for query in [rows.query]),
    ],
)
@pytest.mark.parametrize("lookup", ["directed", "works", "note_set"])
def test_more_is_read_of_the_attached_rows(theatre: None, lookup: str, read: Any) -> None:
    def readings(process: Any) -> list[Any]:
        people = everyone()
        with django.db.transaction.atomic():
            process(people)
            found = [read(getattr(person, lookup).all()) for person in people]
            django.db.transaction.set_rollback(True)
        return found

    expected = readings(lambda people: prefetch_related_objects(people, lookup))
    assert readings(MemoizedPrefetch(lookup).process_chunk) == expected


def test_an_attached_manager_adds_and_creates(theatre: None) -> None:
    ours, theirs = everyone()[0], everyone()[0]
    MemoizedPrefetch("works").process_chunk([ours])
    prefetch_related_objects([theirs], "works")
    counts = []
    for person in (ours, theirs):
        before = person.works.count()
        created = person.works.create(name="new", pk=500 + before)
        assert created.composer is person
        # Before Django 5.0 what was prefetched is not forgotten.
        counts.append((before, person.works.count()))
        created.delete()
    assert counts[0] == counts[1]


def test_what_is_prefetched_already_is_left_alone(theatre: None) -> None:
    def chunk() -> list[Person]:
        return list(Person.objects.order_by("pk").prefetch_related(Prefetch("written", Play.objects.filter(rank=0))))

    assert_chunks_alike(chunk, lambda: ["written", "written__author"])


def test_unsaved_objects(theatre: None) -> None:
    assert_same_error(lambda: [Person(name="unsaved")], lambda: ["written"])
    assert_same_error(lambda: [*everyone(), Person(name="unsaved")], lambda: ["written"])


def unsaved(one: Any) -> Any:
    """Without a primary key, but with all its other columns."""
    one.pk = None
    one._state.adding, one._state.db = True, None
    return one


@pytest.mark.since("5.0")
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    ("classes", "lookup"), [([Play, Play], "sequels"), ([Work, Opera], "reviews"), ([Work, Opera], "tags")]
)
def test_unsaved_objects_that_have_the_key(theatre: None, classes: list[Any], lookup: str, place: int) -> None:
    """A play without a primary key has a code, and an opera has that of the work that it was."""

    def chunk() -> list[Any]:
        saved, other = (cls._base_manager.order_by("pk")[0] for cls in classes)
        found = [saved, saved]
        found[place] = unsaved(other)
        return found

    assert_same_error(chunk, lambda: [lookup])


def test_rows_lead_back_to_the_last_object_of_any_class(theatre: None) -> None:
    """Django asks objects of several classes together, and in the order of the chunk the last one with a key counts."""
    classes = [Work, ListedWork, Opera]

    def mixed(order: tuple[Any, ...]) -> list[Any]:
        return [cls._base_manager.get(pk=opera.pk) for opera in Opera.objects.order_by("pk") for cls in order]

    for order in itertools.permutations(classes):
        chunk = assert_chunks_alike(partial(mixed, (*order, order[0])), lambda: ["reviews", "listings"])
        assert any(review.work is one for one in chunk for review in one.reviews.all())


@pytest.mark.parametrize("attached", [Work, Opera])
def test_only_what_is_fetched_now_is_gone_on_from(theatre: None, attached: Any) -> None:
    """If a class of the chunk has the relation already, and another one lacks it."""

    def mixed() -> list[Any]:
        works = list(Work._base_manager.exclude(composer=None).order_by("pk"))
        operas = list(Opera._base_manager.exclude(composer=None).order_by("pk"))
        prefetch_related_objects(works if attached is Work else operas, "composer")
        return [*works, *operas]

    assert_chunks_alike(mixed, lambda: [Prefetch("composer__written", Play.objects.filter(rank=0).order_by("pk"))])


def test_no_objects_at_all(theatre: None) -> None:
    prefetch = MemoizedPrefetch("written", "locker")
    with no_queries():
        assert prefetch.process_chunk([]) == []
        prefetch.process_chunk(())


def test_one_query_for_each_relation(theatre: None) -> None:
    prefetch = MemoizedPrefetch("written", "locker", "passport", "pupils")
    for _ in range(2):
        people = everyone()
        with query_count(4):
            prefetch.process_chunk(people)


@pytest.mark.parametrize("alias", ["default", "other"])
def test_rows_come_from_the_chunks_database(theatre: None, alias: str) -> None:
    fill_theatre(8, 4, "other")
    lookups = ["written__tags", "locker", "notes", "mentor__written"]
    assert_chunks_alike(lambda: list(Person.objects.using(alias).order_by("pk")), lambda: list(lookups), more_queries=1)


def test_two_databases_in_turn(theatre: None) -> None:
    fill_theatre(8, 4, "other")
    prefetch = MemoizedPrefetch("mentor__written", "mentor__locker")
    for alias in ("default", "other", "other", "default"):
        people = prefetch.process_chunk(list(Person.objects.using(alias).order_by("pk")))
        for person in people:
            if person.mentor_id in range(1, 5):
                assert {play._state.db for play in person.mentor.written.all()} <= {alias}
                assert all(alias in play.name for play in person.mentor.written.all())


# --- lookups of a queryset that come back to its rows

BACK: dict[str, Any] = {
    "annotated": lambda: [Prefetch("reviews__book__author", Author.objects.annotate(mark=Value(7)))],
    "left out": lambda: [Prefetch("reviews__book__author", Author.objects.filter(name="nobody"))],
    "deferred": lambda: [Prefetch("reviews__book__author", Author.objects.only("email"))],
    "plain": lambda: ["reviews__book__author"],
    "step by step": lambda: [
        "reviews",
        "reviews__book",
        Prefetch("reviews__book__author", Author.objects.only("name")),
    ],
    "of another queryset": lambda: [Prefetch("reviews", Review.objects.prefetch_related("book__author"))],
}


@pytest.mark.parametrize("name", BACK)
@pytest.mark.parametrize("path", ["books", "author__books"])
def test_a_longer_way_back_comes_before_djangos_own(bookshop: Bookshop, name: str, path: str) -> None:
    def chunk() -> list[Any]:
        if path == "books":
            return list(Author.objects.annotate(top=Value(1)).order_by("pk"))
        return list(Book.objects.order_by("pk"))

    def lookups() -> list[Any]:
        return [Prefetch(path, Book.objects.prefetch_related(*BACK[name]()))]

    assert_chunks_alike(chunk, lookups)
    prefetch = MemoizedPrefetch(*lookups())
    prefetch.process_chunk(chunk())
    told = "Author.books: a lookup of its queryset attaches author by a longer path"
    assert prefetch.stats().relations[path].reason == told


@pytest.mark.parametrize("inner", ["reviews__book__translator", "author", "reviews__book__categories"])
def test_other_lookups_of_its_queryset_stay_native(bookshop: Bookshop, inner: str) -> None:
    prefetch = MemoizedPrefetch(Prefetch("books", Book.objects.prefetch_related(inner)))
    prefetch.process_chunk(list(Author.objects.order_by("pk")))
    assert prefetch.stats().relations["books"].path == "native"


# --- django-seal


@pytest.fixture
def journals() -> list[Journal]:
    editors = [Editor.objects.create(name=f"editor {i}") for i in range(3)]
    journals = [Journal.objects.create(name=f"journal {i}", editor=editors[i % 2]) for i in range(4)]
    for journal in journals[:3]:
        Registration.objects.create(journal=journal)
        Article.objects.create(title="one", journal=journal, reviewer=editors[0])
    return journals


@pytest.mark.parametrize("lookups", [["articles"], ["articles__reviewer"], ["editor__journals"], ["editor__reviewed"]])
def test_reverse_foreign_keys_of_a_sealed_chunk(journals: list[Journal], lookups: list[str]) -> None:
    def chunk() -> list[Journal]:
        return list(Journal.objects.seal().order_by("pk"))

    with pytest.raises(UnsealedAttributeAccess):
        list(chunk()[0].articles.all())
    assert_chunks_alike(chunk, lambda: list(lookups))


def test_notes_by_their_writers_class(theatre: None) -> None:
    assert_chunks_alike(lambda: list(Note.objects.order_by("pk")), lambda: ["writer__note_set", "writer__pupils"])


@pytest.mark.parametrize("lookup", ["reviews", "author__books", "author__books__categories", "reviews__book"])
@pytest.mark.parametrize("size", [1, 10_000])
def test_reverse_foreign_keys_beside_others(bookshop: Bookshop, lookup: str, size: int) -> None:
    prefetch = MemoizedPrefetch(lookup, "publisher", lru_cache_size=size)
    keys = [book.pk for book in bookshop.books]
    for chunk in (keys[:4], keys[2:], keys):
        assert_same_as_django(
            lambda chunk=chunk: list(Book.objects.filter(pk__in=chunk).order_by("pk")), [lookup, "publisher"], prefetch
        )


@SIZES
@pytest.mark.parametrize("rows", TO_ONE_ROWS.values(), ids=TO_ONE_ROWS)
@pytest.mark.parametrize("path", ["pupils", "mentor__pupils"])
def test_querysets_of_reverse_foreign_keys(path: str, rows: Any, size: int | None) -> None:
    alike(people, lambda: Prefetch(path, rows()), size=size, more_queries=1)
