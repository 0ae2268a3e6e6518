"""What `plan()` leaves out, and why: it says so, and what it tells of the rest still holds."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import Prefetch
from django.db.models.functions import Random

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.bookshop.models import Author, Book, Publisher, Review
from tests.python.catalogue.models import Tag, Volume
from tests.python.lookahead.library import fill_library
from tests.python.lookahead.runs import run
from tests.python.workshop.models import Repair
from tests.python.workshop.rows import fill_workshop

BOTH = {"categories", "some"}


@pytest.mark.parametrize(
    ("rows", "lookups", "untold"),
    [
        (lambda: Book.objects.annotate(r=Random()).order_by("r"), ("author",), {"author"}),
        (lambda: Book.objects.distinct(), ("author",), {"author"}),
        (lambda: Author.objects.first().books.all(), ("author", "publisher"), {"author"}),
        (lambda: list(Review.objects.all()), ("book__author", "book"), {"book__author"}),
        (lambda: list(Book.objects.all()), ("categories",), {"categories"}),
        (lambda: Book.objects.filter(categories__pk__gt=0).order_by("pk")[3:40], ("categories",), {"categories"}),
        (lambda: Book.objects.all(), (Prefetch("categories", to_attr="some"), "categories"), BOTH),
        (
            lambda: Review.objects.all(),
            (Prefetch("book", Book.objects.only("title")), "book__author"),
            {"book__author"},
        ),
        (lambda: Book.objects.extra(where=["isbn > '3'"]).order_by("pk"), ("author", "categories"), {"categories"}),
        (lambda: Review.objects.all(), (Prefetch("book", Book.objects.none()), "book__author"), set()),
        (
            lambda: Book.objects.all(),
            ("translator", Prefetch("publisher", Publisher.objects.distinct()), "publisher__books__author"),
            {"translator", "publisher", "publisher__books", "publisher__books__author"},
        ),
    ],
)
def test_what_is_left_out(rows: Any, lookups: Any, untold: set[str]) -> None:
    fill_library(18)
    plan = MemoizedPrefetch(*lookups, lru_cache_size=4).plan(rows(), 10)
    assert set(plan.untold) == untold
    prefetch = MemoizedPrefetch(*lookups, lru_cache_size=4)
    stats = run(prefetch, rows(), 10)
    for name, table in plan.tables.items():
        assert table.fetched == (stats.tables[name].misses if name in stats.tables else 0)


def test_what_shares_a_table_with_something_untold_is_not_told() -> None:
    fill_library(13)
    config = MemoizedPrefetchConfig(Author, ["author"], prefetch_all=True)
    plan = MemoizedPrefetch(config, "translator", "publisher").plan(Book.objects.all(), 20)
    assert plan.untold == {
        "author": "prefetch_all reads its rows before the first chunk",
        "translator": "it shares Author with author, of which nothing is told",
    }
    assert list(plan.tables) == ["Publisher"]
    assert MemoizedPrefetch("author").plan(Book.objects.order_by("?")).untold == {
        "author": "the rows come in random order"
    }


def test_what_cannot_be_told_is_said() -> None:
    fill_workshop()
    plan = MemoizedPrefetch("photos", "cause", "customer", "warranty").plan(Repair.objects.all())
    assert set(plan.untold) == {"photos", "cause", "warranty", "customer"}
    assert "customer: not told, it shares Customer with cause, of which nothing is told" in str(plan)
    assert set(MemoizedPrefetch("photos", "customer").plan(Repair.objects.all()).untold) == {"photos"}
    assert "cause: not told, the values of its rows decide where it leads" in str(plan)
    assert "photos: not told, its rows refer to the object, so each is read once, whatever is kept" in str(plan)
    plan = MemoizedPrefetch("customer__region").plan(Repair.objects.select_related("customer"))
    assert plan.untold == {
        "customer": "it comes along with the rows",
        "customer__region": "it is below customer",
    }


@pytest.mark.filterwarnings("ignore:Calling select_related.. with no arguments is deprecated")  # from Django 6.1 on
@pytest.mark.parametrize(
    ("rows", "lookups", "selected"),
    [
        (lambda: Book.objects.select_related(), ("publisher", "translator", "categories"), {"publisher"}),
        (lambda: Tag.objects.select_related(), ("volume_set",), set()),
        (lambda: Review.objects.select_related(), ("book", "book__author"), {"book", "book__author"}),
    ],
)
def test_what_comes_along_without_names(rows: Any, lookups: Any, selected: set[str]) -> None:
    fill_library(18)
    Tag.objects.create()
    plan = MemoizedPrefetch(*lookups).plan(rows(), 10)
    assert set(plan.untold) == selected
    stats = run(MemoizedPrefetch(*lookups), rows(), 10)
    assert {path for path in lookups if not stats.relations[path].queries} == selected
    assert plan.queries == stats.queries


def test_without_anything_to_tell() -> None:
    fill_library(19)
    text = str(MemoizedPrefetch("author").plan(Book.objects.order_by("?")))
    assert text == "of Book nothing can be told\n\nauthor: not told, the rows come in random order"


def test_what_cannot_be_told_of_other_models() -> None:
    paths = [one.name for one in Volume._meta.get_fields() if one.is_relation and not one.auto_created]
    plan = MemoizedPrefetch(*paths).plan(Volume.objects.all())
    assert set(plan.untold) < set(paths)
    assert plan.rows == 0
    assert str(plan).startswith("0 rows of Volume, in 0 chunks of 2,000")


def test_lookups_of_the_queryset_that_go_on_from_rows_of_another_table() -> None:
    fill_library(6)
    plan = MemoizedPrefetch(Prefetch("book", Book.objects.order_by("pk"))).plan(
        Review.objects.prefetch_related("book__author"), 10
    )
    assert plan.untold == {"book": "another lookup attaches rows of its own there", "book__author": "it is below book"}


def test_lookups_of_the_queryset_below_what_is_not_told() -> None:
    fill_library(6)
    plan = MemoizedPrefetch("categories").plan(
        Book.objects.order_by("pk").prefetch_related("categories__books__categories"), 10
    )
    assert plan.untold.keys() >= {"categories__books", "categories__books__categories"}
    stats = run(MemoizedPrefetch("categories"), Book.objects.prefetch_related("categories__books__categories"), 10)
    assert {name: table.fetched for name, table in plan.tables.items()} == {
        name: stats.tables[name].misses for name in plan.tables
    }
