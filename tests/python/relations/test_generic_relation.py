"""Generic relations: the rows that refer to an object by a generic foreign key."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import django
import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models import F, Prefetch

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.conftest import rows_of_a_module
from tests.python.graph import Comparison, assert_chunks_alike, assert_same_error
from tests.python.prefetching import SIZES, alike, people
from tests.python.queries import no_queries, outcome, query_count
from tests.python.theatre.models import Note, Person, Play, Tag
from tests.python.theatre.rows import NOTED, fill_theatre
from tests.python.workshop.models import Customer, Remark, Ticket


@pytest.fixture(autouse=True)
def content_types() -> None:
    for alias in ("default", "other"):
        for model in NOTED:
            ContentType.objects.db_manager(alias).get_for_model(model)


theatre = rows_of_a_module(lambda: fill_theatre(3, 5))
pytestmark = pytest.mark.usefixtures("theatre")


# --- the notes on a row


@SIZES
@pytest.mark.parametrize("model", NOTED)
@pytest.mark.parametrize("lookups", [["notes"], ["notes__writer"], ["notes__target"], ["notes__writer__written"]])
def test_notes_on_rows(theatre: None, model: Any, lookups: list[str], size: int | None) -> None:
    assert_chunks_alike(lambda: list(model.objects.order_by("pk")), lambda: list(lookups), size=size)


@SIZES
def test_notes_on_memoized_rows(theatre: None, size: int | None) -> None:
    lookups = ["author__notes", "city__notes", "author__notes__writer__notes"]
    assert_chunks_alike(lambda: list(Play.objects.order_by("pk")), lambda: list(lookups), size=size)


def test_notes_of_memoized_rows_are_remembered(theatre: None) -> None:
    prefetch = MemoizedPrefetch("author__notes", "tags")
    prefetch.process_chunk(list(Play.objects.order_by("pk")))
    plays = list(Play.objects.order_by("pk"))
    with no_queries():
        prefetch.process_chunk(plays)
        assert sum(play.author.notes.count() for play in plays if play.author_id in range(1, 6))


def test_notes_of_the_chunks_own_objects_are_not_kept(theatre: None) -> None:
    prefetch = MemoizedPrefetch("notes", "author__notes")
    people = list(Person.objects.order_by("pk"))
    MemoizedPrefetch("notes").process_chunk(people)
    plays = prefetch.process_chunk(list(Play.objects.order_by("pk")))
    gone = [weakref.ref(one) for play in plays for one in (play, *play.notes.all())]
    del plays
    prefetch.process_chunk([])
    gc.collect()
    assert not [reference for reference in gone if reference() is not None]


@pytest.mark.parametrize(
    "read",
    [
        lambda rows: rows.count(),
        lambda rows: [row.pk for row in rows.filter(rank=1).order_by("pk")],
        lambda rows: [row.pk for row in rows.order_by("-pk")],
        lambda rows: rows.update(rank=2),
        lambda rows: rows.filter(rank=0).delete()[0],
        lambda rows: str(rows.query),
    ],
)
@pytest.mark.parametrize("model", NOTED)
def test_more_is_read_of_attached_notes(theatre: None, model: Any, read: Any) -> None:
    def readings(process: Any) -> list[Any]:
        rows = list(model.objects.order_by("pk"))
        with django.db.transaction.atomic():
            process(rows)
            found = [read(row.notes.all()) for row in rows]
            django.db.transaction.set_rollback(True)
        return found

    expected = readings(lambda rows: models.prefetch_related_objects(rows, "notes"))
    assert readings(MemoizedPrefetch("notes").process_chunk) == expected


def test_a_generic_relation_and_a_many_to_many_of_equal_keys(theatre: None) -> None:
    assert_chunks_alike(lambda: list(Tag.objects.order_by("pk")), lambda: ["play_set__notes"], more_queries=1)


def test_an_unsaved_object_has_no_notes(theatre: None) -> None:
    def chunk() -> list[Person]:
        return [Person(name="unsaved"), *Person.objects.order_by("pk")]

    expected, _ = outcome(models.prefetch_related_objects, chunk(), "notes")
    if expected is None:
        assert_chunks_alike(chunk, lambda: ["notes"])
    else:
        assert_same_error(chunk, lambda: ["notes"])


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


# --- rows of several classes, remembered


@pytest.fixture
def remarks() -> None:
    """On customers and on tickets, whose keys are the same."""
    for kind, model in enumerate((Customer, Ticket)):
        content_type = ContentType.objects.get_for_model(model)
        for key in range(1, 5):
            model.objects.create(id=key, name=f"{model.__name__} {key}")
            for number in range(key):
                pk = kind * 100 + key * 10 + number
                Remark.objects.create(id=pk, name=f"remark {pk}", content_type=content_type, object_id=key)


def remarks_on(*classes: type[models.Model]) -> list[Remark]:
    types = ContentType.objects.get_for_models(*classes).values()
    return list(Remark.objects.filter(content_type__in=types).order_by("pk"))


def assert_alike(prefetch: MemoizedPrefetch, *classes: type[models.Model], queries: int) -> list[Any]:
    """Processes the remarks on these classes with so many queries, and compares them with Django's."""
    ours, theirs = remarks_on(*classes), remarks_on(*classes)
    with query_count(queries):
        prefetch.process_chunk(ours)
    models.prefetch_related_objects(theirs, "subject__remarks")
    Comparison().graphs(ours, theirs)
    return ours


def test_remarks_on_memoized_rows_of_several_classes_are_remembered(remarks: None) -> None:
    prefetch = MemoizedPrefetch("subject__remarks")
    for queries in (2 + 1, 0, 0):
        assert_alike(prefetch, Customer, Ticket, queries=queries)


def test_remarks_on_memoized_rows_and_on_those_of_another_class(remarks: None) -> None:
    prefetch = MemoizedPrefetch("subject__remarks")
    for classes, queries in (([Customer], 2), ([Customer, Ticket], 2), ([Customer, Ticket], 0)):
        assert_alike(prefetch, *classes, queries=queries)


def test_a_remark_on_a_memoized_row_moves(remarks: None) -> None:
    """The row has remarks, but they are not its own any more: what was read for other classes does not tell its own."""
    prefetch = MemoizedPrefetch("subject__remarks")
    chunk = assert_alike(prefetch, Customer, queries=2)
    moved = next(one for one in chunk if one.object_id == 3).subject.remarks.all()[0]
    moved.object_id = 99
    moved.save()
    for queries in (2 + 2, 0):
        assert_alike(prefetch, Customer, Ticket, queries=queries)
