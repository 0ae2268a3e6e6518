"""Reverse one-to-one relations: the row that refers to an object of a chunk."""

from __future__ import annotations

from typing import Any

import django
import pytest
from django.db.models import F, Prefetch, prefetch_related_objects

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.catalogue.models import Card, Locker, Member
from tests.python.conftest import rows_of_a_module
from tests.python.customised.models import Article, Editor, Journal, Registration
from tests.python.graph import assert_chunks_alike, assert_same_as_django
from tests.python.prefetching import SIZES, alike, people
from tests.python.queries import no_queries
from tests.python.theatre.models import ListedWork, Opera, Passport, Person, Work
from tests.python.theatre.rows import fill_theatre

theatre = rows_of_a_module(lambda: fill_theatre(7, 5))
pytestmark = pytest.mark.usefixtures("theatre")


def everyone() -> list[Person]:
    return list(Person.objects.order_by("pk"))


def all_of(model: Any) -> Any:
    return lambda: list(model._base_manager.order_by("pk"))


@SIZES
@pytest.mark.parametrize(
    ("model", "lookup"),
    [(Person, "passport"), (Person, "locker"), (Work, "opera"), (ListedWork, "opera"), (Opera, "work_ptr")],
)
def test_one_to_one_relations(theatre: None, model: Any, lookup: str, size: int | None) -> None:
    assert_chunks_alike(all_of(model), lambda: [lookup], size=size)


def test_rows_that_are_missing_raise_what_django_raises(theatre: None) -> None:
    Passport.objects.filter(pk=2).delete()
    person, other = everyone()[1], everyone()[1]
    prefetch_related_objects([other], "passport")
    for _ in range(2):
        MemoizedPrefetch("passport").process_chunk([person])
        with no_queries(), pytest.raises(Person.passport.RelatedObjectDoesNotExist) as ours:
            _ = person.passport
        with no_queries(), pytest.raises(Person.passport.RelatedObjectDoesNotExist) as theirs:
            _ = other.passport
        assert str(ours.value) == str(theirs.value)


def test_what_a_one_to_one_led_from_is_there(theatre: None) -> None:
    """The way back is not fetched: Django has nothing against another queryset for it then."""
    assert_chunks_alike(
        lambda: list(Opera.objects.order_by("pk")),
        lambda: ["work_ptr", "work_ptr__opera", Prefetch("work_ptr__opera", Opera.objects.all())],
    )


def test_a_deferred_column_of_a_child_drops_its_parent(theatre: None) -> None:
    """Django reads the key anew with the column, and drops the row that it leads to."""
    assert_chunks_alike(
        lambda: list(ListedWork._base_manager.select_related("opera").order_by("pk")), lambda: ["opera__composer"]
    )


def test_unsaved_objects_of_a_one_to_one(theatre: None) -> None:
    assert_chunks_alike(lambda: [Person(name="unsaved"), *everyone()], lambda: ["hometown"])


# --- django-seal


@pytest.fixture
def journals() -> list[Journal]:
    editors = [Editor.objects.create(name=f"editor {i}") for i in range(3)]
    journals = [Journal.objects.create(name=f"journal {i}", editor=editors[i % 2]) for i in range(4)]
    for journal in journals[:3]:
        Registration.objects.create(journal=journal)
        Article.objects.create(title="one", journal=journal, reviewer=editors[0])
    return journals


def test_reverse_one_to_one_of_a_sealed_chunk(journals: list[Journal]) -> None:
    prefetch = MemoizedPrefetch("registration")
    for _ in range(2):
        sealed = prefetch.process_chunk(list(Journal.objects.seal().order_by("pk")))
        with no_queries():
            assert [hasattr(journal, "registration") for journal in sealed] == [True, True, True, False]
    # django-seal 1.7.1 itself cannot prefetch a one-to-one on Django 6.1: there is nothing to compare with.
    if django.VERSION < (6, 1):
        assert_chunks_alike(lambda: list(Journal.objects.seal().order_by("pk")), lambda: ["registration"])


def test_reverse_one_to_one() -> None:
    lockers = [Locker.objects.create(place=f"place {i}") for i in range(3)]
    members = [Member.objects.create(name=f"member {i}", locker=lockers[i] if i else None) for i in range(3)]
    Card.objects.create(member=members[0])
    for lookup, model in (("member", Locker), ("card", Member), ("member__card", Locker)):
        prefetch = MemoizedPrefetch(lookup)
        for _ in range(2):
            assert_same_as_django(lambda model=model: list(model.objects.order_by("pk")), lookup, prefetch)


@SIZES
@pytest.mark.parametrize("path", ["locker", "mentor__locker"])
def test_querysets_of_reverse_one_to_one_relations(path: str, size: int | None) -> None:
    locker = Person.locker.related.related_model
    alike(people, lambda: Prefetch(path, locker.objects.filter(rank__gte=1)), size=size)
    alike(people, lambda: Prefetch(path, locker.objects.annotate(more=F("rank") + 1).select_related("holder")))
