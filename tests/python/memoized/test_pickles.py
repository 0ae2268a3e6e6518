"""memoized() querysets that are pickled and copied."""

from __future__ import annotations

import copy
import copyreg
import functools
import pickle
from typing import Any

import pytest
from django.db import models

from django_memoized_prefetch import MemoizedPrefetch, memoized
from tests.python.bookshop.models import Author, Book
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.databases import on_one_database
from tests.python.graph import assert_alike
from tests.python.memoized.classes import Remembering
from tests.python.memoized.ways import LOOKUPS, queryset_of
from tests.python.queries import captured_queries, query_count

pytestmark = on_one_database

# --- pickles


class Made(models.QuerySet):
    """Is mixed into other queryset classes, and made again from the one below it."""

    def __reduce__(self) -> Any:
        return made_again, (type(self).__bases__[0],), self.__getstate__()


@functools.cache
def made_of(cls: Any) -> Any:
    return Made if cls is models.QuerySet else type(f"Made{cls.__name__}", (cls, Made), {})


def made_again(cls: Any) -> Any:
    return made_of(cls)()


class Frozen(models.QuerySet):
    """Is pickled without its rows."""

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_result_cache": None, "_prefetch_done": False}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


class Replaced(models.QuerySet):
    """Leaves nothing of what was there before."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state


class Counted(models.QuerySet):
    """Changes itself while it is pickled."""

    count_of_pickles = 0

    def __getstate__(self) -> dict[str, Any]:
        self.count_of_pickles += 1
        state: dict[str, Any] = super().__getstate__()
        return state


class Parent(models.QuerySet):
    """Its rows know it."""

    def _fetch_all(self) -> None:
        is_first = self._result_cache is None
        super()._fetch_all()
        for row in self._result_cache if is_first else ():
            row.found_in = self


class Reduced(models.QuerySet):
    def __reduce_ex__(self, protocol: Any) -> Any:
        return Reduced, (self.model, self.query)


class Registered(models.QuerySet):
    """Is pickled by a function that the interpreter knows for it."""


copyreg.pickle(Registered, lambda queryset: (Registered, (queryset.model, queryset.query)))  # type: ignore[arg-type]


PICKLED = [models.QuerySet, Made, made_of(Remembering), Frozen, Replaced, Counted, Parent, Reduced, Registered]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("cls", PICKLED)
def test_a_class_that_pickles_its_own_way(bookshop: Bookshop, cls: Any, protocol: int) -> None:
    for is_evaluated in (False, True):
        made = []
        for wrap in (lambda queryset: queryset, memoized):
            queryset = wrap(queryset_of(cls, True))
            if is_evaluated:
                list(queryset)
            with captured_queries() as queries:
                copied = pickle.loads(pickle.dumps(queryset, protocol))
            made.append((queryset, copied, len(queries)))
        (theirs, their_copy, their_count), (ours, our_copy, our_count) = made
        assert our_count <= their_count + 1, "a many-to-many takes two"
        assert our_copy.__class__ is their_copy.__class__
        assert (ours._result_cache is None) == (theirs._result_cache is None)
        assert (our_copy._result_cache is None) == (their_copy._result_cache is None)
        assert getattr(ours, "count_of_pickles", 0) == getattr(theirs, "count_of_pickles", 0)
        assert sorted(name for name in vars(our_copy) if not name.startswith("_memoized_prefetch_")) == sorted(
            vars(their_copy)
        )
        if cls is Parent:
            for copied in (our_copy, their_copy):
                assert all(vars(row).pop("found_in") is copied for row in copied)
        if cls not in (Reduced, Registered):
            assert_alike(our_copy, their_copy, LOOKUPS)
        assert [row.pk for row in our_copy.all()] == [row.pk for row in their_copy.all()]


def test_a_local_class_with_a_factory_is_pickled(bookshop: Bookshop) -> None:
    local = made_of(type("Local", (models.QuerySet,), {}))
    for queryset in (local(Book), memoized(local(Book))):
        with pytest.raises((AttributeError, pickle.PicklingError), match="Local"):
            pickle.dumps(queryset)
    queryset = memoized(made_of(Remembering)(Book).marked("here"))
    copied = pickle.loads(pickle.dumps(queryset))
    assert (copied._mark, copied.filter(pk__gt=0)._mark) == ("here", "here")
    assert type(copied).__name__ == "MadeRemembering"


def test_an_unpickled_queryset_is_memoized(bookshop: Bookshop) -> None:
    for cls in (models.QuerySet, Made, made_of(Remembering)):
        queryset = pickle.loads(pickle.dumps(memoized(queryset_of(cls, False)))).prefetch_related("author")
        with captured_queries() as queries:
            list(queryset.iterator(chunk_size=1))
        assert queries.of(Author) == 5


def test_a_copy_shares_what_is_remembered(bookshop: Bookshop) -> None:
    queryset = memoized(Book.objects.prefetch_related("author"))
    list(queryset)
    for copied in (copy.copy(queryset), copy.deepcopy(queryset)):
        with query_count(1):
            list(copied.all())
    assert copy.copy(queryset)._result_cache is not None
    with query_count(0):
        assert copy.deepcopy(queryset)._result_cache is None


def test_pickling_reads_the_memoized_way(bookshop: Bookshop) -> None:
    for cls in (models.QuerySet, Made):
        queryset = memoized(cls(Book).prefetch_related("author"), MemoizedPrefetch("publisher"))
        list(queryset)
        with query_count(1):
            copied = pickle.loads(pickle.dumps(queryset.filter(pk__gt=FIRST_KEY)))
        with query_count(0):
            assert all(row.author.pk and row.publisher.pk for row in copied)
