"""Every way to use a queryset, and what comes of it."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Callable
from typing import Any

import django
from django.core.paginator import Paginator
from django.db import models
from django.db.models.query import ModelIterable

from django_memoized_prefetch import memoized
from tests.python.bookshop.models import Book, Review
from tests.python.conftest import FIRST_KEY
from tests.python.memoized.classes import LabelledIterable, calls
from tests.python.queries import run_async

LOOKUPS = ("author", "categories")


async def streamed(queryset: Any) -> list[Any]:
    return [row async for row in queryset.aiterator(chunk_size=3)]


async def awaited(queryset: Any) -> list[Any]:
    return [row async for row in queryset]


WAYS: dict[str, Callable[[Any], Any]] = {
    "list": lambda queryset: queryset,
    "twice": lambda queryset: [*queryset, *queryset],
    "iterator": lambda queryset: queryset.iterator(chunk_size=3),
    "asynchronous": lambda queryset: run_async(awaited(queryset)),
    "filter": lambda queryset: queryset.filter(author__pk__gt=FIRST_KEY),
    "clones of clones": lambda queryset: queryset.filter(pk__gt=FIRST_KEY).order_by("-pk").exclude(translator=None),
    "slice": lambda queryset: queryset[2:7],
    "stepped slice": lambda queryset: queryset[2:11:3],
    "index": lambda queryset: [queryset[3]],
    "index of rows": lambda queryset: [len(queryset) and queryset[3]],
    "length": lambda queryset: [len(queryset), bool(queryset), queryset.count(), queryset.exists()],
    "values": lambda queryset: queryset.values("pk", "title"),
    "values_list": lambda queryset: queryset.values_list("title", flat=True).iterator(chunk_size=5),
    "get": lambda queryset: [queryset.get(pk=FIRST_KEY + 2)],
    "first and last": lambda queryset: [queryset.first(), queryset.last()],
    "in_bulk": lambda queryset: queryset.in_bulk([FIRST_KEY + 3, FIRST_KEY]).values(),
    "or": lambda queryset: queryset.filter(pk=FIRST_KEY) | Book.objects.filter(pk=FIRST_KEY + 1),
    "or, from the right": lambda queryset: Book.objects.filter(pk=FIRST_KEY + 1) | queryset.filter(pk=FIRST_KEY),
    "and": lambda queryset: queryset.filter(pk__gt=FIRST_KEY) & queryset.filter(pk__lt=FIRST_KEY + 5),
    "union": lambda queryset: (
        queryset.filter(pk=FIRST_KEY).order_by().union(Book.objects.filter(pk=FIRST_KEY + 1)).order_by("pk")
    ),
    "subquery": lambda queryset: Review.objects.filter(book__in=queryset.filter(pk=FIRST_KEY)),
    "paginator": lambda queryset: [row for page in Paginator(queryset, 5) for row in page],
    "representation": lambda queryset: [repr(queryset), str(queryset.query)],
    "copied": copy.copy,
    "deeply copied": copy.deepcopy,
    "deeply copied rows": lambda queryset: [len(queryset), *copy.deepcopy(queryset)],
    "pickled": lambda queryset: pickle.loads(pickle.dumps(queryset)),
    "pickled rows": lambda queryset: [len(queryset), *pickle.loads(pickle.dumps(queryset))],
    "pickled, filtered": lambda queryset: pickle.loads(pickle.dumps(queryset)).filter(pk__gt=FIRST_KEY + 1),
    "pickled, first protocol": lambda queryset: pickle.loads(pickle.dumps(queryset, 0)),
    "pickled by Python": lambda queryset: pickle._loads(pickle._dumps(queryset)),  # type: ignore[attr-defined]
    "its state": lambda queryset: [
        sorted(name for name in queryset.__getstate__() if not name.startswith("_memoized_prefetch_")),
        queryset._result_cache,
    ],
    "its class": lambda queryset: [queryset.__class__, type(queryset).__name__, isinstance(queryset, models.QuerySet)],
    "own methods": lambda queryset: [
        getattr(queryset, name)() for name in ("is_bare", "titles") if hasattr(queryset, name)
    ],
    "own marks": lambda queryset: [
        queryset.marked("here").filter(pk=FIRST_KEY)._mark if hasattr(queryset, "marked") else None
    ],
    "other names": lambda queryset: [getattr(queryset, name, None) for name in ("_stock_class", "_memoizes")],
}


if django.VERSION >= (5, 0):
    WAYS["asynchronous stream"] = lambda queryset: run_async(streamed(queryset))


def plain(value: Any) -> Any:
    """What can be compared; of a row its label too, and whether what is related to it was attached."""
    if isinstance(value, models.Model):
        attached = (
            [Book.author.is_cached(value), *getattr(value, "_prefetched_objects_cache", ())]
            if (isinstance(value, Book))
            else []
        )
        return type(value), value.pk, getattr(value, "label", None), attached
    if isinstance(value, (models.QuerySet, list)):
        return [plain(one) for one in value]
    return value


def outcome(use: Callable[[Any], Any], queryset: Any) -> tuple[Any, list[Any]]:
    """What `use` gives, and what the class did for it; an error is one too."""
    calls.clear()
    try:
        rows: Any = [plain(row) for row in use(queryset)]
    except Exception as error:
        rows = type(error), str(error)
    done = list(calls)
    calls.clear()
    return rows, done


def queryset_of(cls: Any, lookups: bool) -> Any:
    queryset = cls(Book).order_by("pk")
    return queryset.prefetch_related(*LOOKUPS) if lookups else queryset


ASYNCHRONOUS = [way for way in WAYS if way.startswith("asynchronous")]


def same_in_both(cls: Any, way: str, use: Callable[[Any], Any], lookups: bool) -> None:
    theirs, their_calls = outcome(use, queryset_of(cls, lookups))
    memoized_queryset = memoized(queryset_of(cls, lookups))
    ours, our_calls = outcome(use, memoized_queryset)
    assert ours == theirs, way
    assert our_calls == their_calls, way
    assert not isinstance(theirs, tuple), f"{way}: {theirs}"


# --- classes that are mixed into instances


class Mixin:
    """As packages have it that work with querysets of any class."""

    def init_mixin(self) -> None:
        self.mixed = True

    def _fetch_all(self) -> None:
        calls.append("mixin fetches")
        super()._fetch_all()  # type: ignore[misc]

    def _clone(self) -> Any:
        clone = super()._clone()  # type: ignore[misc]
        clone.mixed = self.mixed
        return clone

    @property
    def _iterable_class(self) -> Any:
        stored = vars(self)["_iterable_class"]
        return LabelledIterable if stored is ModelIterable else stored

    @_iterable_class.setter
    def _iterable_class(self, iterable_class: Any) -> None:
        vars(self)["_iterable_class"] = iterable_class

    def __reduce__(self) -> Any:
        return remix, (self.__class__.__bases__[1],), self.__getstate__()  # type: ignore[attr-defined]


@functools.cache
def mixed_with(cls: Any) -> Any:
    return type(f"Mixed{cls.__name__}", (Mixin, cls), {})


def mix_into(queryset: Any) -> Any:
    if not isinstance(queryset, Mixin):
        queryset.__class__ = mixed_with(queryset.__class__)
        queryset.init_mixin()
    return queryset


def remix(cls: Any) -> Any:
    return mix_into(cls())
