"""Chunks of the theatre through lookups of every kind, compared with what Django attaches."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import Count, Exists, F, OuterRef, Prefetch, Q, Window
from django.db.models.functions import RowNumber

from tests.python.graph import assert_chunks_alike, assert_same_error
from tests.python.theatre.models import Person, Play

SIZES = pytest.mark.parametrize("size", [1, 2, 10_000, None])


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
