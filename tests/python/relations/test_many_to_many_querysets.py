"""Many-to-many relations whose rows are those of a queryset."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import Count, F, FilteredRelation, Prefetch, Q

from tests.python.conftest import rows_of_a_module
from tests.python.graph import assert_same_error
from tests.python.prefetching import SIZES, TO_ONE_ROWS, alike, plays
from tests.python.theatre.models import Company, Genre, Person, Play
from tests.python.theatre.rows import fill_theatre

theatre = rows_of_a_module(lambda: fill_theatre(5, 5))
pytestmark = pytest.mark.usefixtures("theatre")


@SIZES
@pytest.mark.parametrize("rows", TO_ONE_ROWS.values(), ids=TO_ONE_ROWS)
@pytest.mark.parametrize("path", ["cast", "author__friends"])
def test_querysets_of_many_to_many_relations(path: str, rows: Any, size: int | None) -> None:
    alike(plays, lambda: Prefetch(path, rows()), size=size, more_queries=2)


@SIZES
def test_what_a_link_says_of_its_target(size: int | None) -> None:
    """One person may have several roles in one play, and others elsewhere: the annotation is the link's."""
    rows = {
        "annotation": lambda: Person.objects.annotate(of_role=F("roles__rank")),
        "order": lambda: Person.objects.order_by("roles__rank", "pk"),
        "filter": lambda: Person.objects.filter(roles__rank=1),
        "aggregate": lambda: Person.objects.annotate(number=Count("roles")),
        "other table": lambda: Person.objects.annotate(of_play=F("written__rank")),
        "selected": lambda: Person.objects.annotate(
            of_role=FilteredRelation("roles", condition=Q(roles__rank__gt=0))
        ).select_related("of_role"),
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
def test_ordered_targets_and_hidden_rows(size: int | None) -> None:
    alike(plays, lambda: Prefetch("genres", Genre.objects.order_by("name")), size=size, more_queries=1)
    alike(plays, lambda: Prefetch("genres", Genre.objects.order_by()), size=size, more_queries=1)
    alike(plays, lambda: Prefetch("companies", Company.everything.all()), size=size, more_queries=1)
    alike(plays, lambda: Prefetch("company", Company.objects.all()), "companies", size=size, more_queries=1)


def test_a_queryset_that_cannot_be_read_is_refused_also_where_nothing_is_linked() -> None:
    Play.companies.through.objects.all().delete()
    companies = Company.objects.only("id").select_related("seat")
    assert_same_error(plays, lambda: [Prefetch("companies", companies, to_attr="some_a")])
