"""memoized() of queryset classes of every kind: they give, do and keep what they do under Django."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from itertools import chain
from typing import Any
from unittest import mock

import pytest
from django.db import models
from django.db.models import Prefetch

from django_memoized_prefetch import MemoizedPrefetch, memoized
from tests.python.bookshop.models import Author, Book, Category, Review
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.databases import on_one_database
from tests.python.graph import assert_alike
from tests.python.memoized.classes import CLASSES, NOTING, calls
from tests.python.memoized.ways import ASYNCHRONOUS, WAYS, mix_into, outcome, plain, queryset_of, same_in_both
from tests.python.queries import built_by_django, captured_queries, query_count
from tests.python.turns import by_turns

pytestmark = on_one_database


# By turns, so that each class is used in each way, with lookups or without.
SYNCHRONOUS = [way for way in WAYS if way not in ASYNCHRONOUS]
HALVES = [SYNCHRONOUS[::2], SYNCHRONOUS[1::2]]


@pytest.mark.parametrize("lookups", [True, False], ids=["lookups", "no lookups"])
@pytest.mark.parametrize(("turn", "name"), list(enumerate(CLASSES)), ids=CLASSES)
def test_every_class_gives_and_does_what_it_does_under_django(
    bookshop: Bookshop, turn: int, name: str, lookups: bool
) -> None:
    for way in chain(*by_turns(HALVES, turn + lookups)):
        same_in_both(CLASSES[name], way, WAYS[way], lookups)


# --- what stays fast, and what does not


LEFT_TO_DJANGO = {
    "Attending": "Attending has its own __getattribute__()",
    "OfType": "OfType.filter inspects type(self)",
    "OfTypes": "OfTypes.filter inspects type(self)",
    "Registering": "Registering has its own __init_subclass__()",
    "WithMetaclass": "WithMetaclass has its own metaclass Meta",
}


ATTACHED_BY_DJANGO = {
    "LabellingInTurn": "LabellingInTurn has its own _iterator()",
    "LabellingAttached": "LabellingAttached has its own _prefetch_related_objects()",
    **{
        NOTING[name].__name__: f"Noting{name} has its own {name}()"
        for name in ("_iterator", "aiterator", "_prefetch_related_objects")
    },
}


# Of the methods that read rows, each is kept; what the class does with rows may be anything.
BUILT_BY_DJANGO = [
    *("Labelling", "LabellingInTurn", "LabellingBehind", "Reading", "Backwards", "Unattached"),
    *(f"Noting{name}" for name in ("_fetch_all", "_iterator", "iterator", "aiterator", "__iter__", "__aiter__")),
]


NAMES = {cls.__name__: cls for cls in CLASSES.values() if cls is not models.QuerySet}


def read_twice(queryset: Any) -> Any:
    """With chunks of one row, Django asks for the author of each."""
    list(queryset.iterator(chunk_size=1))
    return list(queryset.all().iterator(chunk_size=1))


@pytest.mark.parametrize("name", NAMES)
def test_who_attaches_and_who_builds(bookshop: Bookshop, name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "django_memoized_prefetch"), captured_queries() as queries:
        _, by_django = built_by_django(lambda: read_twice(memoized(NAMES[name](Book).prefetch_related("author"))))
    is_left = name in LEFT_TO_DJANGO
    assert queries.of(Author) == (24 if is_left or name in ATTACHED_BY_DJANGO else 5)
    rows_by_django = 24 if is_left or name in BUILT_BY_DJANGO else 0
    assert by_django == rows_by_django + (24 if is_left or name in ATTACHED_BY_DJANGO else 0)


@pytest.mark.parametrize("name", [*LEFT_TO_DJANGO, *ATTACHED_BY_DJANGO])
def test_lookups_of_a_prefetch_that_would_not_be_seen_are_refused(bookshop: Bookshop, name: str) -> None:
    reason = {**LEFT_TO_DJANGO, **ATTACHED_BY_DJANGO}[name]
    with pytest.raises(ValueError, match="so its rows would bypass prefetch") as caught:
        memoized(NAMES[name](Book), MemoizedPrefetch("author"))
    assert str(caught.value).startswith(f"memoized: {reason}, ")


def test_why_is_said_once(bookshop: Bookshop, caplog: pytest.LogCaptureFixture) -> None:
    class Typed(models.QuerySet):
        def filter(self, *args: Any, **kwargs: Any) -> Any:
            return super().filter(*args, **kwargs) if type(self) is Typed else self.none()

    class Fetching(models.QuerySet):
        def _fetch_all(self) -> None:
            super()._fetch_all()

    class Iterating(models.QuerySet):
        def _iterator(self, *args: Any, **kwargs: Any) -> Any:
            return super()._iterator(*args, **kwargs)

    with caplog.at_level(logging.INFO, "django_memoized_prefetch"):
        for cls in (Typed, Fetching, Iterating):
            for _ in range(3):
                assert len(memoized(cls(Book).prefetch_related("author")).filter(pk__gt=FIRST_KEY)) == 11
    assert caplog.messages == [
        "Querysets of Typed are left to Django. Typed.filter inspects type(self)",
        "Rows are built by Django. Fetching has its own _fetch_all()",
        "Rows are built by Django. Iterating has its own _iterator()",
        "Lookups of Iterating are prefetched by Django for every chunk. Iterating has its own _iterator()",
    ]


def test_what_is_asked_of_types_otherwise_is_no_harm() -> None:
    class Asking(models.QuerySet):
        empty = staticmethod(lambda: type(None))

        def refuse(self, value: Any) -> Any:
            raise TypeError(f"{type(self).__name__}: {type(value) is int}, {type(self).refuse}, {type(None)}")

        @property
        def name(self) -> str:
            return "".join(type(self).__qualname__ for _ in "a")

    class AskingForBases(models.QuerySet):
        @functools.cached_property
        def bases(self) -> Any:
            return [type(self).__bases__ for _ in "a"]

    assert type(memoized(Asking(Book))) is not Asking
    assert memoized(Asking(Book)).name == Asking(Book).name
    assert type(memoized(AskingForBases(Book))) is AskingForBases


# --- Django itself, patched


@pytest.mark.parametrize("name", ["_fetch_all", "_iterator", "_prefetch_related_objects", "iterator", "__iter__"])
def test_what_another_package_has_patched_runs(bookshop: Bookshop, name: str) -> None:
    original = getattr(models.QuerySet, name)

    def patched(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return original(self, *args, **kwargs)

    lookups = name == "_prefetch_related_objects"  # Django reads related rows by the others too
    before = memoized(queryset_of(models.QuerySet, lookups))
    list(before)
    with mock.patch.object(models.QuerySet, name, patched):
        for way in ("list", "iterator", "filter", "pickled rows"):
            same_in_both(models.QuerySet, way, WAYS[way], lookups)
            theirs = outcome(WAYS[way], queryset_of(models.QuerySet, lookups))
            assert outcome(WAYS[way], before.all()) == theirs, way


def test_what_an_instance_has_of_its_own_runs(bookshop: Bookshop) -> None:
    def replaced(queryset: Any) -> Any:
        fetch_all = queryset._fetch_all

        def noted() -> None:
            calls.append("fetched")
            fetch_all()

        queryset._fetch_all = noted
        return queryset

    for way in ("list", "iterator", "filter", "length"):
        theirs = outcome(lambda queryset, way=way: WAYS[way](replaced(queryset)), queryset_of(models.QuerySet, True))
        ours = outcome(
            lambda queryset, way=way: WAYS[way](replaced(queryset)), memoized(queryset_of(models.QuerySet, True))
        )
        assert ours == theirs, way


# --- in other querysets


@pytest.mark.parametrize("name", CLASSES)
def test_in_a_prefetch(bookshop: Bookshop, name: str) -> None:
    if name in ("LabellingInTurn", "OfType"):
        return

    def reviews(wrap: Callable[[Any], Any]) -> list[Any]:
        rows = list(
            Review.objects.order_by("pk").prefetch_related(Prefetch("book", wrap(queryset_of(CLASSES[name], True))))
        )
        calls.clear()
        return [plain(row.book) for row in rows]

    assert reviews(memoized) == reviews(lambda queryset: queryset)


def test_of_managers(bookshop: Bookshop) -> None:
    for make in (lambda: bookshop.authors[0].books, lambda: bookshop.books[4].categories, lambda: Category.objects):
        assert [row.pk for row in memoized(make()).order_by("pk")] == [row.pk for row in make().order_by("pk")]
    categories = list(memoized(bookshop.books[4].categories).prefetch_related("books"))
    assert_alike(categories, list(bookshop.books[4].categories.prefetch_related("books")), ["books"])


def test_what_a_many_to_many_attaches_may_be_mixed_into(bookshop: Bookshop) -> None:
    for book in MemoizedPrefetch("categories").process_chunk(list(Book.objects.all())):
        queryset = book.categories.all()
        assert queryset.__class__ is models.QuerySet
        with query_count(0):
            assert [row.pk for row in mix_into(queryset)] == [row.pk for row in book.categories.all()]
        assert len(queryset.filter(pk__gt=0)) == len(queryset)
