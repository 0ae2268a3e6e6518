"""Generic foreign keys: integer, text and UUID keys behind one text column."""

from __future__ import annotations

import gc
import re
import weakref
from functools import partial
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models import prefetch_related_objects
from django.db.models.functions import RowNumber

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.graph import Comparison, assert_chunks_alike, assert_same_error
from tests.python.prefetching import SIZES
from tests.python.queries import captured_queries, no_queries, outcome
from tests.python.theatre.models import City, Locker, Note, Person, Play
from tests.python.theatre.rows import NOTED, fill_theatre, identifier


@pytest.fixture(autouse=True)
def content_types() -> None:
    for alias in ("default", "other"):
        for model in NOTED:
            ContentType.objects.db_manager(alias).get_for_model(model)


@pytest.fixture
def theatre() -> None:
    fill_theatre(3, 5)


def notes() -> list[Note]:
    return list(Note.objects.order_by("pk"))


def note_on(model: type[models.Model], key: Any, **columns: Any) -> Note:
    content_type = ContentType.objects.get_for_model(model)
    return Note.objects.create(content_type=content_type, object_id=key, name="a note", **columns)


# --- what a note is about


@SIZES
def test_targets_of_several_classes(theatre: None, size: int | None) -> None:
    chunk = assert_chunks_alike(notes, lambda: ["target"], size=size)
    assert {type(note.target) for note in chunk} == {Person, City, Locker, Play, type(None)}


@SIZES
@pytest.mark.parametrize("model", NOTED)
def test_targets_of_one_class(model: type[models.Model], size: int | None) -> None:
    fill_theatre(4, 5, noted=[model])
    assert_chunks_alike(notes, lambda: ["target"], size=size)


@SIZES
@pytest.mark.parametrize(
    "path",
    [
        "target__hometown",
        "target__written",
        "target__written__tags",
        "target__notes",
        "target__notes__target",
        "target__locker",
        "target__friends",
    ],
)
def test_paths_through_a_target(path: str, size: int | None) -> None:
    fill_theatre(4, 5, noted=[Person])
    assert_chunks_alike(notes, lambda: [path], size=size, more_queries=path.count("tags") + path.count("friends"))


@pytest.mark.parametrize(
    ("model", "key"),
    [
        (Person, "3"),
        (City, "no"),
        (City, ""),
        (Locker, str(identifier(5, 5))),
        (Play, "0"),
    ],
)
def test_each_kind_of_key(model: type[models.Model], key: str) -> None:
    columns = {"code": "P1"} if model is Play else {}
    target = model.objects.create(pk=model._meta.pk.to_python(key), name="the target", **columns)
    note_on(model, key)
    [note] = assert_chunks_alike(notes, lambda: ["target"])
    with no_queries():
        assert note.target.pk == target.pk


def test_a_key_that_is_spelt_in_another_way() -> None:
    """Django compares the text of the key: what it finds differs between versions, and is the same here."""
    Person.objects.create(pk=3, name="three")
    Locker.objects.create(pk=identifier(5, 5), name="five")
    for model, key in ((Person, "03"), (Person, " 3"), (Locker, identifier(5, 5).hex), (Locker, "no uuid")):
        Note.objects.all().delete()
        note_on(model, key)
        theirs = notes()
        expected, _ = outcome(models.prefetch_related_objects, theirs, "target")
        if expected is None:
            assert_chunks_alike(notes, lambda: ["target"])
        else:
            assert_same_error(notes, lambda: ["target"])


def test_a_key_that_is_no_key_keeps_no_chunk_alive() -> None:
    """The error that a field raises refers to itself, and by its frames to whatever runs: a cursor stayed open."""
    note_on(Person, "three")
    chunk = notes()
    chunk_dies = weakref.ref(chunk[0])
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ValueError, match="expected a number"):
            MemoizedPrefetch("target").process_chunk(chunk)
        chunk.clear()
        assert chunk_dies() is None
    finally:
        gc.enable()


def test_keys_of_rows_that_are_gone() -> None:
    for model, key in ((Person, "99"), (City, "gone"), (Locker, str(identifier(9, 9)))):
        note_on(model, key)
    chunk = assert_chunks_alike(notes, lambda: ["target"])
    assert [note.target for note in chunk] == [None, None, None]


def test_null_keys_and_null_types() -> None:
    note_on(Person, None)
    Note.objects.create(name="no type", object_id="3")
    Note.objects.create(name="nothing")
    Person.objects.create(pk=3, name="three")
    chunk = assert_chunks_alike(notes, lambda: ["target"])
    assert [note.target for note in chunk] == [None, None, None]


@SIZES
def test_notes_that_lead_nowhere_have_no_table(size: int | None) -> None:
    person = Person.objects.create(name="a person")
    note_on(Person, person.pk)
    Note.objects.create(name="no type", object_id=person.pk)
    Note.objects.create(name="nothing")
    prefetch = MemoizedPrefetch("target", lru_cache_size=size)
    for _ in range(2):
        first, *others = prefetch.process_chunk(notes())
        with no_queries():
            assert [first.target, *(note.target for note in others)] == [person, None, None]
    assert set(prefetch.stats().advice) == {"Person"}
    counts = prefetch.stats().relations["target"]
    assert (counts.requests, counts.misses, counts.hits, counts.missing, counts.queries) == (2, 1, 1, 0, 1)
    assert counts.size == 1


def test_reports_of_each_model() -> None:
    """A generic foreign key counts for each model by itself, and for all of them together."""
    people = [Person.objects.create(name=f"person {i}") for i in range(3)]
    play = Play.objects.create(name="a play", code="a")
    for key in (1, 1, 2, 3, 99):
        note_on(Person, people[key - 1].pk if key < 99 else 0)
    note_on(Play, play.pk)
    Note.objects.create(name="nothing")
    prefetch = MemoizedPrefetch("target", "writer")
    for _ in range(2):
        prefetch.process_chunk(notes())
    stats = prefetch.stats()

    def figures(one: Any) -> tuple[int, ...]:
        return one.requests, one.misses, one.hits, one.fetched, one.missing, one.queries, one.size

    assert figures(stats.tables["Play"]) == (2, 1, 1, 1, 0, 1, 1)
    assert figures(stats.tables["Person"]) == (10, 4, 4, 3, 1, 1, 4)
    assert figures(stats.relations["target"]) == (12, 5, 5, 4, 1, 2, 5)
    assert stats.relations["target"].bound == 20_000
    assert stats.queries == 2
    assert set(stats.advice) == set(stats.tables) == set(stats.built) == {"Person", "Play"}
    assert {model: dict(rows) for model, rows in prefetch.memoized_objects.items()} == {
        Person: {person.pk: person for person in people},
        Play: {play.pk: play},
    }


def test_a_table_of_a_generic_foreign_key_that_is_too_small_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        note_on(Person, Person.objects.create(name=f"person {number}").pk)
    prefetch = MemoizedPrefetch("target", lru_cache_size=1)
    for _ in range(30):
        prefetch.process_chunk(notes())
    [record] = caplog.records
    assert record.getMessage().startswith("target: in each of 20 chunks, more rows were evicted than found in memory")


def test_the_type_of_a_model_that_was_deleted() -> None:
    stale = ContentType.objects.create(app_label="theatre", model="demolished")
    Note.objects.create(name="stale", content_type=stale, object_id="1")
    theirs = notes()
    expected, _ = outcome(models.prefetch_related_objects, theirs, "target")
    if expected is None:
        chunk = assert_chunks_alike(notes, lambda: ["target"])
        assert [note.target for note in chunk] == [None]
    else:
        assert_same_error(notes, lambda: ["target"])


def test_the_wrong_type() -> None:
    """The key is that of a row, of another table than the type says."""
    Person.objects.create(pk=3, name="three")
    note_on(Play, "3")
    [note] = assert_chunks_alike(notes, lambda: ["target"])
    assert note.target is None


def test_equal_keys_of_different_classes() -> None:
    Person.objects.create(pk=3, name="a person")
    Play.objects.create(pk=3, name="a play", code="P3")
    City.objects.create(code="3", name="a city")
    for model in (Person, Play, City):
        note_on(model, "3")
    chunk = assert_chunks_alike(notes, lambda: ["target"], size=1)
    assert [note.target.name for note in chunk] == ["a person", "a play", "a city"]


def test_targets_that_are_attached_are_not_read_again(theatre: None) -> None:
    prefetch = MemoizedPrefetch("target")
    first, again = notes(), notes()
    prefetch.process_chunk(first)
    with captured_queries() as queries:
        prefetch.process_chunk(first)
    assert len(queries) == 0
    prefetch.process_chunk(again)
    with no_queries():
        assert [note.target for note in first] == [note.target for note in again]


def test_a_deferred_key() -> None:
    fill_theatre(4, 3, noted=[Person])
    assert_chunks_alike(lambda: list(Note.objects.defer("object_id").order_by("pk")), lambda: ["target"])
    # In this order: before Django 5.0, loading `writer_id` forgets every generic foreign key that is cached.
    assert_chunks_alike(lambda: list(Note.objects.only("name").order_by("pk")), lambda: ["writer", "target"])


def test_a_deferred_key_of_a_note_that_leads_nowhere_is_not_asked_for() -> None:
    fill_theatre(4, 3, noted=[Person])
    Note.objects.update(content_type=None)
    assert_chunks_alike(lambda: list(Note.objects.only("name").order_by("pk")[:1]), lambda: ["target"])
    [note] = Note.objects.only("name").order_by("pk")[:1]
    with captured_queries() as queries:
        MemoizedPrefetch("target").process_chunk([note])
    assert len(queries) == 1  # the content type
    assert "object_id" not in note.__dict__
    assert note.target is None


@pytest.mark.parametrize("alias", ["default", "other"])
def test_the_database_is_that_which_django_reads(theatre: None, alias: str) -> None:
    fill_theatre(6, 4, "other")
    assert_chunks_alike(lambda: list(Note.objects.using(alias).order_by("pk")), lambda: ["target", "writer"])


def test_the_content_types_of_two_databases(theatre: None) -> None:
    """What they number may be different models."""
    fill_theatre(6, 4, "other")
    all_types, all_notes = ContentType.objects.using("other"), Note.objects.using("other")
    types = [ContentType.objects.db_manager("other").get_for_model(model) for model in (Play, Person)]
    keys = {one.pk: list(all_notes.filter(content_type=one).values_list("pk", flat=True)) for one in types}
    all_notes.filter(content_type__in=keys).update(content_type=None)
    all_types.filter(pk__in=keys).delete()
    for (pk, notes_of_type), one in zip(keys.items(), reversed(types)):
        all_types.create(pk=pk, app_label=one.app_label, model=one.model)
        all_notes.filter(pk__in=notes_of_type).update(content_type=pk)

    def mixed(model: Any) -> list[Any]:
        ContentType.objects.clear_cache()
        return [row for alias in ("default", "other", "default") for row in model.objects.using(alias).order_by("pk")]

    def attached_first() -> list[Any]:
        """Django reads from the database of the first object that lacks its notes, with the types of the very first."""
        people = mixed(Person)
        size = Person.objects.count()
        prefetch_related_objects(people[:size], "notes")
        return people[size - 1 :]

    try:
        assert_chunks_alike(attached_first, lambda: ["notes"])
        for model, lookup in ((Note, "target"), (Person, "notes")):
            assert_chunks_alike(partial(mixed, model), lambda lookup=lookup: [lookup])
            assert_chunks_alike(lambda model=model: mixed(model)[::-1], lambda lookup=lookup: [lookup])
    finally:
        ContentType.objects.clear_cache()


@pytest.mark.since("5.0")
class TestGenericPrefetch:
    @staticmethod
    def lookups(**named: Any) -> list[Any]:
        from django.contrib.contenttypes.prefetch import GenericPrefetch

        querysets = [Person.objects.filter(rank__gte=1).select_related("hometown"), City.objects.defer("name")]
        return [GenericPrefetch("target", querysets, **named)]

    @SIZES
    def test_a_queryset_for_some_of_the_classes(self, theatre: None, size: int | None) -> None:
        assert_chunks_alike(notes, self.lookups, size=size)

    def test_the_database_is_that_of_the_queryset(self, theatre: None) -> None:
        fill_theatre(6, 4, "other")
        assert_chunks_alike(lambda: list(Note.objects.using("other").order_by("pk")), self.lookups)

    def test_to_an_attribute(self, theatre: None) -> None:
        assert_chunks_alike(notes, lambda: self.lookups(to_attr="about"), to_attrs=lambda name: name == "about" or None)

    @pytest.mark.since("6.1")
    def test_the_fetch_mode_is_that_of_the_chunk(self, theatre: None) -> None:
        from django.contrib.contenttypes.prefetch import GenericPrefetch
        from django.db.models import FETCH_ONE, FETCH_PEERS, FETCH_RAISE

        for of_queryset in (FETCH_ONE, FETCH_RAISE, FETCH_PEERS):
            lookup = GenericPrefetch("target", [Person.objects.fetch_mode(of_queryset), City.objects.all()])
            prefetch = MemoizedPrefetch(lookup)
            for mode in (FETCH_ONE, FETCH_RAISE, FETCH_PEERS, FETCH_ONE):
                ours, theirs = (list(Note.objects.fetch_mode(mode).order_by("pk")) for _ in range(2))
                prefetch.process_chunk(ours)
                prefetch_related_objects(theirs, lookup)
                Comparison().graphs(ours, theirs)

    def test_below_another_relation(self, theatre: None) -> None:
        from django.contrib.contenttypes.prefetch import GenericPrefetch

        assert_chunks_alike(
            lambda: list(Person.objects.order_by("pk")),
            lambda: [GenericPrefetch("notes__target", [Person.objects.prefetch_related("written")])],
        )

    def test_what_select_related_brought_is_read_again_with_its_row(self, theatre: None) -> None:
        """Another lookup attaches the same relation to rows of another table."""
        prefetch = MemoizedPrefetch(*self.lookups(), "writer__hometown")
        prefetch.process_chunk(notes())
        for city in City.objects.all():
            city.name = "renamed"
            city.save()
            prefetch.invalidate(City, [city.pk])
        ours, theirs = notes(), notes()
        prefetch.process_chunk(ours)
        prefetch_related_objects(theirs, *self.lookups(), "writer__hometown")
        with no_queries():
            targets = [note.target for note in ours if isinstance(note.target, Person)]
            assert any(getattr(person.hometown, "name", "") == "renamed" for person in targets)
            Comparison().graphs(ours, theirs)

    @pytest.mark.parametrize("rows", ["numbered", "first", "below another"])
    def test_lookups_of_its_querysets_whose_rows_depend_on_each_other(self, theatre: None, rows: str) -> None:
        from django.contrib.contenttypes.prefetch import GenericPrefetch

        def lookups() -> list[Any]:
            number = models.Window(RowNumber(), order_by=["rank", "pk"])
            written = Play.objects.order_by("pk")
            written = written[:3] if rows == "first" else written.annotate(number=number)
            below: Any = models.Prefetch("written", written, to_attr="plays")
            if rows == "below another":
                below = models.Prefetch("pupils", Person.objects.prefetch_related(below))
            return [GenericPrefetch("target", [Person.objects.prefetch_related(below)])]

        prefetch = MemoizedPrefetch(*lookups())
        for start in range(0, len(notes()), 2):
            ours, theirs = (notes()[start : start + 2] for _ in range(2))
            prefetch.process_chunk(ours)
            prefetch_related_objects(theirs, *lookups())
            Comparison(lambda name: True if name == "plays" else None).graphs(ours, theirs)
        assert re.search(
            "the queryset (is sliced|uses a window function), in a lookup", str(prefetch.stats().relations["target"])
        )

    def test_two_querysets_of_one_class(self, theatre: None) -> None:
        from django.contrib.contenttypes.prefetch import GenericPrefetch

        def lookups() -> list[Any]:
            return [GenericPrefetch("target", [Person.objects.filter(rank=0), Person.objects.filter(rank=1)])]

        assert_same_error(notes, lookups)

    def test_a_prefetch_with_one_queryset(self, theatre: None) -> None:
        def lookups() -> list[Any]:
            return [models.Prefetch("target", Person.objects.filter(rank=0))]

        fill = [note for note in notes() if note.content_type_id]
        assert fill
        expected, _ = outcome(models.prefetch_related_objects, notes(), *lookups())
        if expected is None:
            assert_chunks_alike(notes, lookups)
        else:
            assert_same_error(notes, lookups)


def lockers_with_holders() -> list[Locker]:
    lockers = []
    for rank in range(3):
        holder = Person.objects.create(name=f"person {rank}")
        lockers.append(Locker.objects.create(name="a locker", rank=rank, holder=holder))
    return lockers


def all_lockers() -> list[Locker]:
    return list(Locker.objects.order_by("rank"))


@SIZES
@pytest.mark.parametrize("lookups", [["holder", "notes__target__holder"], ["notes__target__holder", "holder"]])
def test_a_holder_leads_back_to_the_locker_of_the_chunk(size: int | None, lookups: list[str]) -> None:
    """The remembered locker that its notes are about has the same holder."""
    for locker in lockers_with_holders():
        note_on(Locker, locker.pk)
    prefetch = MemoizedPrefetch(*lookups, lru_cache_size=size)
    for _ in range(2):
        lockers = prefetch.process_chunk(all_lockers())
        with no_queries():
            for locker in lockers:
                assert locker.holder.locker is locker
    assert_chunks_alike(all_lockers, lambda: lookups, size=size)


@SIZES
def test_when_the_chunk_is_over_a_holder_leads_back_to_the_remembered_locker_again(size: int | None) -> None:
    lockers = lockers_with_holders()
    note_on(Locker, lockers[1].pk, writer=lockers[0].holder)
    lookups = ["holder", "holder__note_set__target__holder"]
    prefetch = MemoizedPrefetch(*lookups, lru_cache_size=size)
    for places in ([0], [1], [0], [2], [0, 1], [0]):
        ours, theirs = ([all_lockers()[place] for place in places] for _ in range(2))
        prefetch.process_chunk(ours)
        models.prefetch_related_objects(theirs, *lookups)
        Comparison().graphs(ours, theirs)
