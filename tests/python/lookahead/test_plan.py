"""`plan()` tells what a run then does: rows fetched from every table, and statements."""

from __future__ import annotations

import random
from itertools import chain
from typing import Any

import pytest
from django.db import connection
from django.db.models import Count, FilteredRelation, Prefetch, Q

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig, memoized
from tests.python.bookshop.models import Author, Book, Publisher, Review
from tests.python.catalogue.models import Genre, Volume
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.lookahead.library import fill_library
from tests.python.lookahead.runs import assert_told, run
from tests.python.queries import captured_queries, query_count
from tests.python.turns import EVERY, by_turns, examples
from tests.python.workshop.models import Repair
from tests.python.workshop.rows import fill_workshop

# Every path to one row or by links that `plan` can tell, of three models.
PATHS: dict[Any, list[str]] = {
    Repair: [
        *("customer", "customer__region", "mechanic", "mechanic__skills", "inspector", "inspector__skills"),
        *("bicycle", "bicycle__owner", "bicycle__owner__region", "depot", "stage", "ticket", "region"),
        *("parts", "parts__supplier", "parts__supplier__region", "stages"),
    ],
    Book: ["author", "translator", "publisher", "categories"],
    Review: ["book", "book__author", "book__translator", "book__publisher", "book__categories"],
}


def untold_links(rows: Any, path: str) -> bool:
    """Whether it is a slice on MySQL or MariaDB, which take no LIMIT in a subquery to join the slice with its links."""
    if not rows.query.is_sliced or connection.features.allow_sliced_subqueries_with_in:
        return False
    assert MemoizedPrefetch(path).plan(rows).untold == {path: "the queryset cannot be joined with the links"}
    return True


@pytest.mark.parametrize("seed", range(examples(24 if EVERY else 12)))
@pytest.mark.parametrize("model", PATHS)
def test_what_a_run_fetches(model: Any, seed: int) -> None:
    fill_workshop() if model is Repair else fill_library(seed)
    pick = random.Random(seed)
    paths = pick.sample(PATHS[model], pick.randint(1, 4))
    size, chunk_size = pick.choice([1, 2, 3, 5, 10, 30, None]), pick.choice([1, 2, 3, 7, 20, 1000])
    prefetch = MemoizedPrefetch(*paths, lru_cache_size=size)
    plan = prefetch.plan(model.objects.all(), chunk_size)
    assert not plan.untold
    assert prefetch.stats().queries == 0
    assert_told(plan, run(prefetch, model.objects.all(), chunk_size))
    for name, table in plan.tables.items():
        for other in chain(*by_turns([(1, 8), (2, 16), (4, 64)], seed)):
            if not table.depends:
                at_other = MemoizedPrefetch(*paths, lru_cache_size=other).plan(model.objects.all(), chunk_size)
                assert table.fetched_with(other) == at_other.tables[name].fetched
            assert table.distinct <= table.optimal_with(other) <= table.fetched_with(other)


@pytest.mark.parametrize(
    "rows",
    [
        lambda: Book.objects.filter(author__name__gt="2"),
        lambda: Book.objects.order_by("-pk"),
        lambda: Book.objects.order_by("publisher_id", "pk"),
        lambda: Book.objects.order_by("pk")[10:90],
        lambda: Book.objects.filter(categories__name__gt="5").distinct().order_by("pk"),
        lambda: Book.objects.annotate(n=Count("categories")).order_by("pk"),
        lambda: Book.objects.only("title").order_by("pk"),
        lambda: Book.objects.defer("author").order_by("pk"),
        lambda: Book.objects.none(),
        lambda: Book.objects,
        lambda: memoized(Book.objects.order_by("pk")),
    ],
)
def test_of_any_queryset(rows: Any) -> None:
    fill_library(1)
    paths = ["author", "translator", "publisher"]
    if not untold_links(rows().all(), "categories"):
        paths.append("categories")
    prefetch = MemoizedPrefetch(*paths, lru_cache_size=5)
    plan = prefetch.plan(rows(), 20)
    assert not plan.untold
    stats = run(prefetch, rows(), 20)
    if plan.rows:
        assert_told(plan, stats)
    assert plan.rows == len(list(rows().all()))


@pytest.mark.parametrize(
    "rows",
    [
        lambda rows: rows,
        lambda rows: rows[3:90],
        lambda rows: rows.distinct(),
        lambda rows: rows.annotate(n=Count("categories")),
    ],
)
@pytest.mark.parametrize("relation", ["reviews", "author", "translator"])
def test_of_filtered_relations_that_are_selected(rows: Any, relation: str) -> None:
    """Django joins them when it compiles the query. The join may have several rows per object, or leave some out."""
    fill_library(1)
    good = FilteredRelation(relation, condition=Q(**{f"{relation}__pk__gt": FIRST_KEY + 9}))
    queryset = rows(Book.objects.annotate(good=good).select_related("good").order_by("pk"))
    expected = len(list(queryset.all()))
    assert expected != 150 or relation == "translator"
    prefetch = MemoizedPrefetch("author", "publisher", lru_cache_size=5)
    plan = prefetch.plan(queryset.all(), 20)
    assert (plan.rows, dict(plan.untold)) == (expected, {})
    assert_told(plan, run(prefetch, queryset.all(), 20))
    links = MemoizedPrefetch("categories", lru_cache_size=5)
    plan = links.plan(queryset.all(), 20)
    stats = run(links, queryset.all(), 20)
    if plan.untold:
        assert plan.untold == {"categories": "the queryset cannot be joined with the links"}
    else:
        assert plan.rows == expected
        assert_told(plan, stats)


def test_of_an_order_through_a_relation() -> None:
    fill_library(1)
    rows = Book.objects.order_by("author__name", "pk")
    # Without links: the database may give those of one row in any order.
    prefetch = MemoizedPrefetch("author", "translator", "publisher", lru_cache_size=5)
    assert_told(prefetch.plan(rows, 20), run(prefetch, rows, 20))


@pytest.mark.parametrize("order", [("title",), ("-title",), ("title", "-pk"), ()])
@pytest.mark.parametrize("size", [2, None])
def test_of_an_order_with_ties(order: tuple[str, ...], size: int | None) -> None:
    """The rows that links lead to have an order of their own, which interleaves the links of equal objects."""
    genres = Genre.objects.bulk_create(Genre(pk=FIRST_KEY + i, name=f"{i}", rank=i) for i in range(4))
    for i in range(12):
        volume = Volume.objects.create(pk=FIRST_KEY + i, title=f"{i % 2}")
        volume.genres.set(genres[: i % 4 + 1])
    rows = Volume.objects.order_by(*order)
    prefetch = MemoizedPrefetch("genres", lru_cache_size=size)
    plan = prefetch.plan(rows, 3)
    assert plan.rows == 12
    stats = run(prefetch, rows.order_by(*order, "pk"), 3)
    assert plan.tables["Volume.genres links"].asked == stats.tables["Volume.genres links"].requests == 12
    assert_told(plan, stats)


def test_lookups_of_the_queryset_are_told_too() -> None:
    fill_library(2)
    rows = Review.objects.prefetch_related("book__author").order_by("pk")
    prefetch = MemoizedPrefetch("book__publisher", lru_cache_size=10)
    assert_told(prefetch.plan(rows, 25), run(prefetch, rows, 25))
    alone = MemoizedPrefetch(lru_cache_size=10)
    plan = alone.plan(memoized(rows, alone), 25)
    for _ in memoized(rows, alone).iterator(chunk_size=25):
        pass
    assert_told(plan, alone.stats())


def test_lookups_that_are_given_twice() -> None:
    fill_library(12)
    for size in (3, 20, None):
        prefetch = MemoizedPrefetch("book__publisher", "book__author", lru_cache_size=size)
        rows = Review.objects.prefetch_related("book", "book__author").order_by("pk")
        plan = prefetch.plan(rows, 25)
        assert not plan.untold
        assert_told(plan, run(prefetch, rows, 25))


def test_lookups_with_a_memory_of_their_own() -> None:
    fill_library(12)
    apart = ("publisher", Prefetch("author", Author.objects.filter(name__gt="2")))
    for size in (3, 20, None):
        prefetch = MemoizedPrefetch("translator", lru_cache_size=size)
        rows = Book.objects.prefetch_related(*apart).order_by("pk")
        plan = prefetch.plan(rows, 25)
        assert not plan.untold
        assert_told(plan, run(prefetch, rows, 25))
    plan = MemoizedPrefetch("author").plan(Book.objects.prefetch_related(*apart))
    assert plan.untold == {"author": "another lookup attaches rows of its own there"}


def test_configs_and_lookups_with_one_table_keep_the_larger_number() -> None:
    fill_library(17)
    for number in (2, 9):
        config = MemoizedPrefetchConfig(Author, ["author"], lru_cache_size=number)
        prefetch = MemoizedPrefetch(config, "translator", lru_cache_size=5)
        plan = prefetch.plan(Book.objects.all(), 10)
        assert plan.tables["Author"].kept == max(number, 5)
        assert_told(plan, run(prefetch, Book.objects.all(), 10))


def test_what_is_attached_to_objects_is_not_asked_for() -> None:
    fill_library(14)
    books = list(Book.objects.select_related("author").order_by("pk")[:30]) + list(Book.objects.order_by("-pk")[:30])
    prefetch = MemoizedPrefetch("author", "publisher", lru_cache_size=4)
    assert_told(prefetch.plan(books, 7), run(prefetch, books, 7))


def test_links_below_what_no_join_gives() -> None:
    fill_workshop()
    for rows in (Repair.objects.order_by("pk")[:50], Repair.objects.distinct().order_by("pk")):
        paths = ["mechanic__skills", "inspector__skills"]
        if not untold_links(rows, "parts"):
            paths.append("parts__supplier")
        prefetch = MemoizedPrefetch(*paths, lru_cache_size=3)
        plan = prefetch.plan(rows, 7)
        assert not plan.untold
        assert_told(plan, run(prefetch, rows, 7))
    fill_library(15)
    none = Prefetch("book", Book.objects.filter(isbn="no such book"))
    prefetch = MemoizedPrefetch(none, "book__categories")
    assert_told(prefetch.plan(Review.objects.all(), 7), run(prefetch, Review.objects.all(), 7))


def test_a_chunk_of_any_size() -> None:
    fill_library(16)
    plan = MemoizedPrefetch("author").plan(Book.objects.all(), 2**70)
    assert plan.chunks == 1
    assert plan.tables["Author"].fetched == plan.tables["Author"].distinct


def test_a_prefetch_object_with_a_queryset() -> None:
    fill_library(3)
    some = Book.objects.filter(isbn__gt="4")
    more = ("book__author", "book__categories", Prefetch("book__publisher", to_attr="house"))
    lookups = (Prefetch("book", some), *more)
    prefetch = MemoizedPrefetch(*lookups, lru_cache_size=7)
    plan = prefetch.plan(Review.objects.all(), 10)
    assert not plan.untold
    assert_told(plan, run(prefetch, Review.objects.all(), 10))
    # The books' keys cannot be joined: a join would show books that the queryset hides. They and the links are read.
    assert plan.statements == 4


def test_two_tables_of_one_name_count_together() -> None:
    fill_workshop()
    lookups = ("inspector", Prefetch("mechanic__skills", to_attr="skill_list"))
    for size in (1, 3, None):
        prefetch = MemoizedPrefetch(*lookups, lru_cache_size=size)
        plan = prefetch.plan(Repair.objects.all(), 7)
        assert_told(plan, run(prefetch, Repair.objects.all(), 7))
        mechanics = plan.tables["Mechanic"]
        assert mechanics.optimal_with(3) <= mechanics.fetched_with(3)
        assert mechanics.fetched_with(None) == mechanics.distinct == mechanics.optimal_with(None)


def test_configs_and_keys_without_a_relation() -> None:
    fill_library(4)
    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Author, ["author", "translator"], lru_cache_size=3),
        MemoizedPrefetchConfig(Publisher, ["publisher"], lru_cache_size=2),
    )
    assert_told(prefetch.plan(Book.objects.all(), 10), run(prefetch, Book.objects.all(), 10))


def test_it_reads_keys_alone() -> None:
    fill_library(6)
    prefetch = MemoizedPrefetch("author", "translator", "publisher", "categories")
    with captured_queries() as queries:
        plan = prefetch.plan(Book.objects.all())
    assert len(queries) == plan.statements == 2
    for sql in queries.sql:
        assert "title" not in sql
        assert "name" not in sql
    with query_count(1):
        plan = MemoizedPrefetch("book__author").plan(Review.objects.all())
    assert plan.statements == 1
    with query_count(0):
        str(plan)
        plan.as_dict()


def test_the_first_rows() -> None:
    fill_library(7)
    for paths in (("author", "publisher"), ("author", "categories"), ("categories",)):
        plan = MemoizedPrefetch(*paths, lru_cache_size=5).plan(Book.objects.order_by("pk"), 20, rows=70)
        assert plan.rows == 70
        assert str(plan).startswith("the first 70 rows of Book, in 4 chunks of 20")
        prefetch = MemoizedPrefetch(*paths, lru_cache_size=5)
        assert_told(plan, run(prefetch, Book.objects.order_by("pk")[:70], 20))


@pytest.mark.parametrize("huge", [2**31, 2**63 - 1, 2**63, 2**70])
def test_numbers_beyond_those_of_databases(bookshop: Bookshop, huge: int) -> None:
    for rows in (Book.objects.order_by("pk"), list(Book.objects.order_by("pk"))):
        plan = MemoizedPrefetch("author").plan(rows, huge, rows=huge)
        assert (plan.rows, plan.tables["Author"].fetched) == (12, 5)
        assert str(plan).startswith("12 rows of Book, in 1 chunk")


def test_objects_and_raw_sql() -> None:
    fill_library(8)
    prefetch = MemoizedPrefetch("author", "publisher", lru_cache_size=5)
    books = list(Book.objects.order_by("pk"))
    plan = prefetch.plan(books, 20)
    assert_told(plan, run(prefetch, books, 20))
    raw = Book.objects.raw(f"SELECT * FROM {Book._meta.db_table} ORDER BY id")
    prefetch = MemoizedPrefetch("author", "categories", lru_cache_size=5)
    plan = prefetch.plan(raw, 20)
    assert plan.tables["Author"].fetched == run(prefetch, raw, 20).tables["Author"].misses
    assert plan.untold == {"categories": "its objects are not in a queryset that could be joined with the links"}


def test_other_chunk_sizes_and_orders() -> None:
    fill_library(9)
    plan = MemoizedPrefetch("author", "publisher", lru_cache_size=4).plan(Book.objects.all(), 10)
    for size, fetched in plan.by_chunk_size((1, 10, 50)).items():
        prefetch = MemoizedPrefetch("author", "publisher", lru_cache_size=4)
        stats = run(prefetch, Book.objects.all(), size)
        assert fetched == {name: table.misses for name, table in stats.tables.items()}
    orders = plan.by_order()
    assert list(orders) == ["author_id", "publisher_id"]
    for name, fetched in orders.items():
        prefetch = MemoizedPrefetch("author", "publisher", lru_cache_size=4)
        stats = run(prefetch, Book.objects.order_by(name, "pk"), 10)
        assert fetched == {name: table.misses for name, table in stats.tables.items()}


def test_the_report(bookshop: Bookshop) -> None:
    plan = MemoizedPrefetch("author", "publisher", lru_cache_size=2).plan(Book.objects.all(), 4)
    lines = str(plan).splitlines()
    assert lines[:3] == ["12 rows of Book, in 3 chunks of 4", "6 queries for related rows", ""]
    assert lines[3].split() == ["asked", "distinct", "kept", "fetched", "optimum", "enough"]
    assert lines[4].split() == ["Author", "12", "5", "2", "10", "8", "5"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: MemoizedPrefetch("auther").plan(Book.objects.all()), AttributeError, "did you mean 'author'"),
        (lambda: MemoizedPrefetch("author").plan(5), TypeError, "plan: expected a queryset, a manager, or an iterable"),
        (lambda: MemoizedPrefetch("author").plan([]), TypeError, "plan: expected model instances, got no object"),
        (lambda: MemoizedPrefetch("author").plan(Book.objects.values()), TypeError, "got one of ValuesIterable"),
        (lambda: MemoizedPrefetch("author").plan(Book.objects.all(), 0), ValueError, "plan: chunk_size must be at"),
        (
            lambda: MemoizedPrefetch("author").plan(Book.objects.all(), rows=0),
            ValueError,
            "plan: rows must be at least",
        ),
        (lambda: MemoizedPrefetch("author").plan(Book.objects.all(), progress=3), TypeError, "plan: progress must be"),
        (
            lambda: MemoizedPrefetch(memory="9 MB").plan(Book.objects.all()),
            ValueError,
            "with memory= the run itself chooses",
        ),
        (
            lambda: MemoizedPrefetch("author").plan(Book.objects.all()).by_chunk_size([0]),
            ValueError,
            "must be at least 1",
        ),
        (lambda: MemoizedPrefetch(lru_cache_size={"Author": 0}), ValueError, r"lru_cache_size\['Author'\] must be"),
        (lambda: MemoizedPrefetch(lru_cache_size={Author: 1}), TypeError, "names of tables"),
    ],
)
def test_wrong_calls(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_table_that_is_not_there(bookshop: Bookshop) -> None:
    tables = MemoizedPrefetch("author", "publisher").plan(Book.objects.all(), 4).tables
    with pytest.raises(KeyError, match=r"there is no 'author'; did you mean 'Author'\? There are: Author, Publisher"):
        tables["author"]
    with pytest.raises(KeyError, match=r"there is no 'zzz'\. There are: Author, Publisher"):
        tables["zzz"]
    assert tables.get("author") is None


def test_without_lookups(bookshop: Bookshop) -> None:
    message = r"plan: there are no lookups.* give them to MemoizedPrefetch, or to the queryset's prefetch_related\(\)"
    for rows in (Book.objects, list(Book.objects.all())):
        with query_count(0), pytest.raises(ValueError, match=message):
            MemoizedPrefetch().plan(rows)
    with query_count(0), pytest.raises(ValueError, match=message):
        MemoizedPrefetch(MemoizedPrefetchConfig(Author, [])).plan(Book.objects.all())


def test_progress() -> None:
    fill_library(11, books=1200)
    rows = []
    MemoizedPrefetch("author").plan(Book.objects.all(), progress=lambda progress: rows.append(progress.rows))
    assert rows[-1] == 1200
    assert rows == sorted(rows)
    assert len(rows) > 1


def test_two_databases(bookshop: Bookshop, other_bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author", "categories", lru_cache_size=2)
    rows = Book.objects.using("other").all()
    assert_told(prefetch.plan(rows, 3), run(prefetch, rows, 3))
