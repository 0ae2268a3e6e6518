"""How many rows each table keeps: by its name, or what `plan.sizes()` finds for an amount of memory."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.bookshop.models import Author, Book, Publisher
from tests.python.conftest import Bookshop
from tests.python.lookahead.library import fill_library
from tests.python.lookahead.runs import assert_told, run
from tests.python.queries import query_count
from tests.python.theatre.models import City, Note, Person, Play


def test_sizes_by_table() -> None:
    fill_library(5)
    prefetch = MemoizedPrefetch("author", "publisher", lru_cache_size={"Author": 4})
    plan = prefetch.plan(Book.objects.all(), 10)
    assert (plan.tables["Author"].kept, plan.tables["Publisher"].kept) == (4, 10_000)
    stats = run(prefetch, Book.objects.all(), 10)
    assert_told(plan, stats)
    assert (stats.tables["Author"].bound, stats.tables["Publisher"].bound) == (4, 10_000)


def test_a_size_for_a_table_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    fill_library(5)
    sizes = {"Auther": 4, "Publisher": 3, "Book.categories links": 2}
    run(MemoizedPrefetch("author", "publisher", "categories", lru_cache_size=sizes), Book.objects.all(), 50)
    warnings = [record.getMessage() for record in caplog.records if "no table" in record.getMessage()]
    assert warnings == ["lru_cache_size: there is no table 'Auther'; did you mean 'Author'?"]
    caplog.clear()
    Book.objects.update(translator=None)
    run(MemoizedPrefetch("translator", lru_cache_size={"Author": 4}), Book.objects.all(), 50)
    assert not [record for record in caplog.records if "no table" in record.getMessage()]


def test_sizes_for_the_models_of_a_generic_foreign_key(caplog: pytest.LogCaptureFixture) -> None:
    city = City.objects.create(code="a", name="a")
    types = [None, *(ContentType.objects.get_for_model(model) for model in (Person, Play))]
    for key, content_type in enumerate([*types] * 3):
        Person.objects.create(pk=key, name="somebody", hometown=city)
        Note.objects.create(pk=key, content_type=content_type, object_id=key)
    sizes = {"Person": 2, "City": 4, "Play": 3, "Locker": 1, "Person.friends links": 1, "Plai": 5}
    stats = run(MemoizedPrefetch("target__hometown", lru_cache_size=sizes), Note.objects.order_by("pk"), 2)
    warnings = [record.getMessage() for record in caplog.records if "no table" in record.getMessage()]
    assert warnings == ["lru_cache_size: there is no table 'Plai'; did you mean 'Play'?"]
    assert {name: table.bound for name, table in stats.tables.items()} == {"Person": 2, "Play": 3, "City": 4}
    assert stats.relations["target"].bound == 2 + 3


@pytest.mark.parametrize(
    ("memory", "error", "message"),
    [
        ("20 apples", ValueError, "'20 apples'"),
        ("", ValueError, "must be bytes or a text"),
        (0, ValueError, "must be positive"),
        (20, ValueError, r'sizes: memory must be at least 10 kB.* write "20 MB"'),
        (True, TypeError, "must be a number of bytes"),
        (1.5, TypeError, "must be a number of bytes"),
    ],
)
def test_wrong_amounts(bookshop: Bookshop, memory: Any, error: type[Exception], message: str) -> None:
    plan = MemoizedPrefetch("author").plan(Book.objects.all())
    with pytest.raises(error, match=message):
        plan.sizes(memory)


def test_sizes_for_an_amount_of_memory() -> None:
    fill_library(10)
    plan = MemoizedPrefetch("author", "publisher").plan(Book.objects.all(), 10)
    with query_count(2):
        enough = plan.sizes("1 MB")
    assert enough == {name: table.enough for name, table in plan.tables.items()}
    weight = 2_000
    few = plan.sizes(10 * weight)
    assert set(few) == {"Author", "Publisher"}
    assert 2 <= sum(few.values()) < sum(enough.values())
    best = sum(plan.tables[name].fetched_with(size) for name, size in few.items())
    for authors in range(1, sum(few.values())):
        split = {"Author": authors, "Publisher": sum(few.values()) - authors}
        # Rows of both tables weigh nearly the same here.
        assert best <= 1.1 * sum(plan.tables[name].fetched_with(size) for name, size in split.items())
    stats = run(MemoizedPrefetch("author", "publisher", lru_cache_size=few), Book.objects.all(), 10)
    assert {name: table.bound for name, table in stats.tables.items()} == few


def test_rows_weigh_what_they_weigh_in_their_database() -> None:
    fill_library(10)
    prefetch = MemoizedPrefetch("author", "publisher")
    sizes = prefetch.plan(Book.objects.all(), 10).sizes(20_000)
    for model in (Author, Publisher, Book):
        model.objects.using("other").bulk_create(model.objects.all())
    Author.objects.update(name="long" * 50)
    assert prefetch.plan(Book.objects.all(), 10).sizes(20_000) != sizes
    assert prefetch.plan(Book.objects.using("other"), 10).sizes(20_000) == sizes


def test_sizes_of_a_part_use_the_rest_of_the_memory() -> None:
    fill_library(15, books=1200, authors=300)
    paths = ("author", "publisher", "categories")
    part = MemoizedPrefetch(*paths).plan(Book.objects.all(), 20, rows=120)
    sizes = part.sizes("1 MB")
    assert all(sizes[name] >= table.enough for name, table in part.tables.items())
    # Many more authors than there were among the first rows, and in proportion as many publishers.
    assert sizes["Author"] > 3 * part.tables["Author"].distinct
    ratio = part.tables["Author"].distinct / part.tables["Publisher"].distinct
    assert sizes["Author"] / sizes["Publisher"] == pytest.approx(ratio, rel=0.2)
    # The links of the run's own rows never come back.
    assert sizes["Book.categories links"] == 1
    stats = run(MemoizedPrefetch(*paths, lru_cache_size=sizes), Book.objects.all(), 20)
    whole = MemoizedPrefetch(*paths).plan(Book.objects.all(), 20)
    assert {name: stats.tables[name].misses for name in sizes} == {
        name: table.distinct for name, table in whole.tables.items()
    }
    budgeted = MemoizedPrefetch(*paths).plan(Book.objects.all(), 20, rows=120).sizes(40_000)
    assert sum(budgeted.values()) < 200


def test_all_rows_leave_the_rest_of_the_memory() -> None:
    fill_library(15)
    plan = MemoizedPrefetch("author", "publisher").plan(Book.objects.all(), 20, rows=1_000)
    assert plan.sizes("1 MB") == {name: table.enough for name, table in plan.tables.items()}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (20, r"sizes: no key comes back in a later chunk of the first 20 rows, which are 1 chunk of 20, .* rows=400"),
        (7, r"the first 7 rows, which are 1 chunk of 20, so .*: plan more rows, such as rows=400, or all\."),
    ],
)
def test_one_chunk_tells_no_sizes(rows: int, message: str) -> None:
    fill_library(16)
    plan = MemoizedPrefetch("author", "publisher").plan(Book.objects.all(), 20, rows=rows)
    with query_count(0), pytest.raises(ValueError, match=message):
        plan.sizes("1 MB")
