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
from tests.python.graph import assert_chunks_alike, assert_same_error
from tests.python.prefetching import SIZES, alike, people
from tests.python.queries import no_queries, outcome
from tests.python.theatre.models import Note, Person, Play, Tag
from tests.python.theatre.rows import NOTED, fill_theatre


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
