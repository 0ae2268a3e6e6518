"""What one does later with the queryset that is attached for a relation to many: what Django's queryset would do."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import router, transaction
from django.db.models import Prefetch, QuerySet, prefetch_related_objects
from django.test import override_settings

from django_memoized_prefetch import MemoizedPrefetch, memoized
from tests.python.bookshop.models import Author, Book, Category
from tests.python.conftest import Bookshop
from tests.python.databases import on_one_database
from tests.python.queries import captured_queries
from tests.python.workshop.models import Customer
from tests.python.workshop.rows import fill_workshop

pytestmark = on_one_database

Attach = Callable[[list[Any], Any], Any]


def by_django(rows: list[Any], lookup: Any) -> list[Any]:
    prefetch_related_objects(rows, lookup)
    return rows


def by_memo(rows: list[Any], lookup: Any) -> list[Any]:
    return MemoizedPrefetch(lookup).process_chunk(rows)


def by_memoized(rows: list[Any], lookup: Any) -> list[Any]:
    queryset = QuerySet(type(rows[0])).order_by("pk").prefetch_related(lookup)
    return list(memoized(queryset).iterator(chunk_size=5))


OURS = pytest.mark.parametrize("ours", [by_memo, by_memoized])


def rows_of(model: Any) -> list[Any]:
    return list(model._base_manager.order_by("pk"))


# --- lookups of the queryset that was given


@OURS
@pytest.mark.parametrize(
    ("model", "relation", "inner"),
    [
        (Author, "books", Prefetch("categories", to_attr="its_categories")),
        (Category, "books", Prefetch("categories", to_attr="its_categories")),
        (Author, "books", "categories"),
        (Category, "books", "author__books"),
    ],
)
def test_a_filter_prefetches_what_the_given_queryset_does(
    bookshop: Bookshop, ours: Attach, model: Any, relation: str, inner: Any
) -> None:
    def read(attach: Attach) -> Any:
        rows = attach(rows_of(model), Prefetch(relation, Book.objects.order_by("pk").prefetch_related(inner)))
        with captured_queries() as queries:
            found = [
                (book.pk, [one.pk for one in getattr(book, "its_categories", book.categories.all())])
                for row in rows
                for book in getattr(row, relation).filter(pk__gt=0)
            ]
        return found, len(queries)

    assert read(ours) == read(by_django)


# --- an object whose key changes


def filter_after_it_is_copied(row: Any, relation: str) -> Any:
    attached = getattr(row, relation).all()
    row.pk = None
    row._state.adding = True
    return sorted(one.pk for one in attached.filter(pk__gt=0))


def filter_after_the_copy_is_saved(row: Any, relation: str) -> Any:
    row.pk = None
    row._state.adding = True
    row.save()
    return sorted(one.pk for one in getattr(row, relation).filter(pk__gt=0))


def filter_with_the_key_of_another(row: Any, relation: str) -> Any:
    row.pk += 1
    return sorted(one.pk for one in getattr(row, relation).filter(pk__gt=0))


def whose_rows_they_are(row: Any, relation: str) -> Any:
    before = row.pk
    row.pk += 1
    found = list(getattr(row, relation).filter(pk__gt=0))
    return [
        (name, value is row, value.pk - before)
        for one in found
        for name, value in sorted(one._state.fields_cache.items())
    ]


@pytest.mark.parametrize(
    "use",
    [filter_after_it_is_copied, filter_after_the_copy_is_saved, filter_with_the_key_of_another, whose_rows_they_are],
)
@pytest.mark.parametrize(
    ("model", "relation"), [(Book, "categories"), (Category, "books"), (Author, "books"), (Customer, "remarks")]
)
@OURS
def test_they_are_those_of_the_key_that_it_had(
    bookshop: Bookshop, ours: Attach, model: Any, relation: str, use: Any
) -> None:
    fill_workshop(repairs=3)

    def read(attach: Attach) -> Any:
        row = attach(rows_of(model)[:3], relation)[0]
        try:
            with transaction.atomic():
                return use(row, relation)
        except Exception as error:
            return type(error)

    assert read(ours) == read(by_django)


# --- an object that is gone


class AsksForAColumn:
    def db_for_read(self, model: Any, **hints: Any) -> None:
        if isinstance(one := hints.get("instance"), Book):
            assert one.title


class AsksForAnAttribute:
    def db_for_read(self, model: Any, **hints: Any) -> None:
        if isinstance(one := hints.get("instance"), Book):
            assert getattr(one, "tenant", None) == 7 or not one.is_known


@pytest.fixture(params=[AsksForAColumn, AsksForAnAttribute])
def asking_router(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Book, "is_known", False, raising=False)
    with override_settings(DATABASE_ROUTERS=[request.param()]):
        yield


@pytest.mark.usefixtures("asking_router")
@pytest.mark.parametrize("attach", [by_django, by_memo])
def test_a_router_may_ask_it_for_anything(bookshop: Bookshop, attach: Attach) -> None:
    rows = rows_of(Book)
    for row in rows:
        row.tenant, row.is_known = 7, True
    attached = [row.categories.all() for row in attach(rows, "categories")]
    expected = [[one.pk for one in queryset] for queryset in attached]
    rows.clear()
    del row
    gc.collect()
    with captured_queries() as queries:
        assert [[one.pk for one in queryset.filter(pk__gt=0).order_by("pk")] for queryset in attached] == expected
    assert len(queries) == len(attached)
    assert router.routers
