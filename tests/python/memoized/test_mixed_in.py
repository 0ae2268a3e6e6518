"""Classes that are mixed into instances of memoized() querysets."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import models

from django_memoized_prefetch import memoized
from tests.python.bookshop.models import Book
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.databases import on_one_database
from tests.python.memoized.classes import CLASSES
from tests.python.memoized.ways import ASYNCHRONOUS, WAYS, Mixin, mix_into, mixed_with, outcome, queryset_of
from tests.python.queries import built_by_django, query_count

pytestmark = on_one_database


def mix_into_type(queryset: Any) -> Any:
    """By the type, which is a private one."""
    queryset.__class__ = mixed_with(type(queryset))
    queryset.init_mixin()
    return queryset


@pytest.mark.parametrize("name", ["QuerySet", "Remembering", "Labelling", "LabellingInTurn", "OfType", "Setting"])
def test_a_class_mixed_into_an_instance(bookshop: Bookshop, name: str) -> None:
    for way, use in WAYS.items():
        if way in ASYNCHRONOUS or way == "or, from the right":
            continue
        for before, after in ((mix_into, memoized), (memoized, mix_into)):
            theirs, their_calls = outcome(use, mix_into(queryset_of(CLASSES[name], True)))
            queryset = after(before(queryset_of(CLASSES[name], True)))
            ours, our_calls = outcome(use, queryset)
            assert (ours, our_calls) == (theirs, their_calls), way
            assert queryset.mixed
            assert isinstance(queryset, Mixin)


def test_a_class_mixed_into_the_type_of_an_instance(bookshop: Bookshop) -> None:
    for way, use in WAYS.items():
        if way in ASYNCHRONOUS or way in ("or, from the right", "its class", "copied") or "pickled" in way:
            continue
        theirs = outcome(use, mix_into_type(queryset_of(models.QuerySet, True)))
        ours = outcome(use, mix_into_type(memoized(queryset_of(models.QuerySet, True))))
        assert ours == theirs, way


def test_what_was_mixed_in_stays_memoized(bookshop: Bookshop) -> None:
    queryset = mix_into(memoized(Book.objects.order_by("pk").prefetch_related("author")))
    rows, _ = built_by_django(lambda: list(queryset.iterator(chunk_size=1)))
    assert {row.label for row in rows} == {f"row {row.pk}" for row in rows}
    with query_count(1):
        list(queryset.filter(pk__gt=FIRST_KEY).iterator(chunk_size=1))


def test_a_class_that_does_not_fit_is_djangos_error() -> None:
    class Other:
        __slots__ = ("value",)

    for queryset in (Book.objects.all(), memoized(Book.objects.all())):
        with pytest.raises(TypeError, match="object layout differs"):
            queryset.__class__ = Other
    assert memoized(Book.objects.all()).__class__ is models.QuerySet
