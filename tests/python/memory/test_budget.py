"""memory=: all tables together stay within an amount of memory, and attach what Django attaches."""

from __future__ import annotations

import json
import operator
import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from sys import getsizeof
from typing import Any

import pytest
from django.db.models import Prefetch

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig, Stats, memoized
from django_memoized_prefetch._memory.curve import best_sizes, hull
from django_memoized_prefetch._memory.weights import Weighing, bytes_of_row
from tests.python.archive.models import Box, Room
from tests.python.bookshop.models import Author, Book, Publisher, Review
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.databases import on_one_database
from tests.python.graph import assert_same_as_django
from tests.python.lookahead.library import fill_library
from tests.python.queries import query_count
from tests.python.workshop.models import Repair
from tests.python.workshop.rows import LOOKUPS, fill_workshop

pytestmark = on_one_database

NESTED = ("book__author", "book__publisher", "book__categories")


def run(rows: Any, *lookups: Any, chunk_size: int = 20, **options: Any) -> tuple[MemoizedPrefetch, list[Stats]]:
    prefetch = MemoizedPrefetch(*lookups, **options)
    return prefetch, [prefetch.stats() for _ in prefetch.chunks(rows, chunk_size)]


@pytest.mark.parametrize("memory", [20_000, 60_000, 150_000, 10**9])
def test_it_holds_after_every_chunk(memory: int) -> None:
    fill_library(1)
    _, seen = run(Review.objects.all(), *NESTED, memory=memory)
    used = [stats.memory.used for stats in seen if stats.memory is not None]
    assert len(used) == len(seen) == 15
    assert all(one <= 1.1 * memory for one in used)
    assert memory == 10**9 or max(used) > 0.5 * memory


@pytest.mark.parametrize("memory", [10_000, 40_000, "1 GB"])
def test_the_same_as_django(memory: Any) -> None:
    fill_workshop()
    prefetch = MemoizedPrefetch(*LOOKUPS, "photos", "remarks", memory=memory)
    keys = list(Repair.objects.order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(keys), 13):

        def chunk(start: int = start) -> list[Repair]:
            return list(Repair.objects.filter(pk__in=keys[start : start + 13]).order_by("pk"))

        assert_same_as_django(chunk, [*LOOKUPS, "photos", "remarks"], prefetch)


def test_what_fits_is_kept() -> None:
    fill_library(2)
    _, (*_, kept) = run(Review.objects.all(), *NESTED, memory="1 GB")
    _, (*_, unbounded) = run(Review.objects.all(), *NESTED, lru_cache_size=None)
    assert {name: table.as_dict() for name, table in kept.tables.items()} == {
        name: table.as_dict() for name, table in unbounded.tables.items()
    }
    assert kept.memory is not None
    assert kept.memory.double == kept.memory.fetched


def test_after_clear_it_holds_and_what_fits_is_kept() -> None:
    fill_library(2, books=600, authors=300)
    small = Book.objects.filter(author__lt=FIRST_KEY + 60)
    _, (*_, fresh) = run(small, "author", memory=100_000)
    for chunks in (2, 4, 6, 8, 12):
        prefetch, _ = run(Book.objects.all(), "author", memory=100_000)
        prefetch.clear()
        for _ in islice(prefetch.chunks(Book.objects.order_by("-pk"), 30), chunks):
            pass
        assert_within(prefetch, 100_000)
    prefetch.clear()
    before = prefetch.stats()
    for _ in prefetch.chunks(small, 20):
        pass
    assert (prefetch.stats() - before).tables["Author"].misses == fresh.tables["Author"].misses


def test_it_holds_with_tables_that_appear_late() -> None:
    fill_library(3, books=600, authors=300)
    for model in (Author, Publisher, Book):
        model.objects.using("other").bulk_create(model.objects.all())
    prefetch = MemoizedPrefetch("author", memory=60_000)
    for _ in prefetch.chunks(Book.objects.all(), 20):
        pass
    for chunk in prefetch.chunks(Book.objects.using("other"), 60):
        assert chunk
    assert_within(prefetch, 60_000)


def assert_within(prefetch: MemoizedPrefetch, memory: int) -> None:
    # `stats()` weighs the tables, so it is not called after every chunk.
    stats = prefetch.stats().memory
    assert stats is not None
    assert stats.used <= memory


def test_tables_that_are_used_more_get_more() -> None:
    fill_library(3, books=400, authors=300)
    _, seen = run(Book.objects.all(), "author", "translator", "publisher", memory=60_000)
    tables = seen[-1].tables
    assert tables["Publisher"].size == 12  # few, and used by every book
    assert 12 < tables["Author"].size < 300
    plan = MemoizedPrefetch("author", "translator", "publisher").plan(Book.objects.all(), 20)
    bound = tables["Author"].bound
    assert tables["Author"].misses <= 1.1 * plan.tables["Author"].fetched_with(bound)


def test_a_size_of_its_own_holds() -> None:
    fill_library(4)
    configs = [MemoizedPrefetchConfig(Author, ["book.author"], lru_cache_size=7)]
    _, seen = run(Review.objects.all(), *configs, "book__publisher", memory=30_000)
    assert seen[-1].tables["Author"].bound == 7
    assert seen[-1].tables["Book"].bound != 7
    configs = [MemoizedPrefetchConfig(Author, ["book.author"], prefetch_all=True, lru_cache_size=60)]
    _, seen = run(Review.objects.all(), *configs, "book__publisher", memory=30_000)
    assert {stats.tables["Author"].size for stats in seen} == {40}
    configs = [MemoizedPrefetchConfig(Author, ["book.author"])]
    _, seen = run(Review.objects.all(), *configs, "book__publisher", memory=10**9)
    assert seen[-1].tables["Author"].bound is None


def test_a_size_that_is_set_holds() -> None:
    fill_library(5)
    prefetch = MemoizedPrefetch("author", "publisher", "categories", memory=20_000)
    prefetch.process_chunk(list(Book.objects.all()[:20]))
    prefetch.memoized_objects[Author].set_size(3)
    for links in prefetch.through_model_source_target_cache.values():
        links.set_size(4)
    for _ in prefetch.chunks(Book.objects.all(), 20):
        pass
    tables = prefetch.stats().tables
    assert tables["Author"].bound == 3
    assert tables["Book.categories links"].bound == 4


def test_querysets_with_prefetch_objects_are_within_it() -> None:
    fill_library(6)
    prefetch = MemoizedPrefetch("author", memory=25_000)
    rows = Book.objects.prefetch_related(Prefetch("publisher", Publisher.objects.all())).order_by("pk")
    for _ in prefetch.chunks(rows, 20):
        pass
    stats = prefetch.stats()
    assert stats.memory is not None
    assert stats.memory.memory == 25_000
    assert stats.memory.used <= 25_000


def test_twice_the_memory_is_what_a_run_with_it_fetches() -> None:
    fill_library(7, books=600, authors=200)
    _, (*_, once) = run(Book.objects.all(), "author", "publisher", memory=30_000)
    _, (*_, twice) = run(Book.objects.all(), "author", "publisher", memory=60_000)
    assert once.memory is not None
    assert twice.memory is not None
    assert once.memory.double < once.memory.fetched
    assert twice.memory.fetched == pytest.approx(once.memory.double, rel=0.15)
    text = str(once)
    assert " kB of 30.0 kB used; with 60.0 kB" in text
    assert once.as_dict()["memory"]["memory"] == 30_000
    assert (once + twice).memory is not None


@pytest.mark.parametrize("operate", [operator.add, operator.sub])
def test_only_stats_are_added(operate: Any) -> None:
    stats = MemoizedPrefetch(memory="20 MB").stats().memory
    for left, right in ((stats, 1), (1, stats)):
        with pytest.raises(TypeError, match="unsupported operand"):
            operate(left, right)


def test_memoized() -> None:
    fill_library(8)
    rows = memoized(Book.objects.prefetch_related("author"), memory="20 kB")
    assert [book.author.pk for book in rows.iterator(chunk_size=20)] == list(
        Book.objects.order_by("pk").values_list("author_id", flat=True)
    )


def test_pickled() -> None:
    prefetch = pickle.loads(pickle.dumps(MemoizedPrefetch("author", memory="20 MB")))
    stats = prefetch.stats().memory
    assert stats is not None
    assert stats.memory == 20_000_000


def test_threads_share_it() -> None:
    fill_library(9)
    prefetch = MemoizedPrefetch("author", "publisher", memory=20_000)
    chunks = [list(Book.objects.all()[start : start + 10]) for start in range(0, 150, 10)]
    Author.objects.first()
    with ThreadPoolExecutor(4) as pool:
        # Rows are at hand: another thread's connection would not see this transaction.
        prefetch.process_chunk(list(Book.objects.all()))
        list(pool.map(lambda chunk: prefetch.stats(), chunks))
    stats = prefetch.stats().memory
    assert stats is not None
    assert stats.used <= 20_000


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MemoizedPrefetch(memory="20 MB", lru_cache_size=5), "give either memory or lru_cache_size"),
        (lambda: MemoizedPrefetch(memory="20 MB", lru_cache_size=None), "give either memory or lru_cache_size"),
        (lambda: MemoizedPrefetch(memory=0), "MemoizedPrefetch: memory must be positive"),
        (lambda: MemoizedPrefetch(memory="lots"), "'lots'"),
        (lambda: MemoizedPrefetch(memory=20), r'MemoizedPrefetch: memory must be at least 10 kB.* got 20,.*"20 MB"'),
        (lambda: MemoizedPrefetch(memory="1.5"), r"""got '1.5', a number of bytes; for megabytes write "1.5 MB"\."""),
        (lambda: MemoizedPrefetch(memory=9_999), "at least 10 kB"),
        (lambda: MemoizedPrefetch(memory="5 kB"), r"""at least 10 kB.* got '5 kB'; write for example "200 MB"\."""),
        (lambda: memoized(Book.objects.all(), memory="lots"), "memoized: memory must be"),
        (lambda: MemoizedPrefetch(memory="1,5 GB"), r"""such as "200 MB" or "1.5 GiB", got '1,5 GB'"""),
        (lambda: memoized(Book.objects.all(), MemoizedPrefetch(), memory="5 MB"), "give it to the MemoizedPrefetch"),
        (lambda: memoized(Book.objects.all(), MemoizedPrefetch(), lru_cache_size=5), "memoized: lru_cache_size is"),
        (lambda: memoized(Book.objects.all(), MemoizedPrefetch(), lru_cache_size=None), "memoized: lru_cache_size is"),
    ],
)
def test_wrong_calls(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("memory", "used", "text"),
    [
        (20_000_000, 1_234_567, "memory: 1.2 MB of 20.0 MB used; with 40.0 MB 0 fewer keys"),
        (20_000, 999, "memory: 999 bytes of 20.0 kB used; with 40.0 kB 0 fewer keys"),
        (600_000, 1, "memory: 1 byte of 600.0 kB used; with 1.2 MB 0 fewer keys"),
    ],
)
def test_small_amounts_are_printed_as_such(memory: int, used: int, text: str) -> None:
    stats = MemoizedPrefetch(memory=memory).stats().memory
    assert stats is not None
    assert str(replace(stats, used=used)).startswith(text)


# --- weights


def test_a_row_that_no_table_holds_weighs_with_those_that_it_is_attached_to(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("book__author", lru_cache_size=None)
    reviews = list(Review.objects.order_by("pk"))
    prefetch.process_chunk(reviews)
    books = {id(review.book): review.book for review in reviews}.values()
    memory = prefetch._session.memory
    assert all(Weighing([memory]).of_row(book) == bytes_of_row(book) for book in books)
    prefetch.memoized_objects[Author].set_size(1)
    prefetch.process_chunk([])
    weighing = Weighing([memory])
    held = {id(row) for _, row in prefetch.memoized_objects[Author].items()}
    authors = {id(book.author): bytes_of_row(book.author) for book in books if id(book.author) not in held}
    hanging = sum(weighing.of_row(book) - bytes_of_row(book) for book in books)
    assert len(authors) == 4
    assert hanging == pytest.approx(sum(authors.values()))


# --- the split


def test_what_json_holds_weighs_too() -> None:
    def weight(value: Any) -> int:
        author = Author(name="n", email="e")
        author.details = value  # type: ignore[attr-defined]
        return bytes_of_row(author)

    item = {"name": "n" * 100, "prices": [1000.5, 2000, None, True]}
    whole = sum(map(getsizeof, [item, *item, *item.values(), 1000.5, 2000]))
    assert weight(item) - weight(None) == whole
    assert weight([item, item]) - weight(None) == whole + getsizeof([item, item]), "what is held twice counts once"
    tracemalloc.start()
    value = json.loads(json.dumps([{"n": f"item {at}", "price": at + 0.5} for at in range(1_000)]))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert weight(value) - weight(None) == pytest.approx(held, rel=0.1)


def test_hull() -> None:
    assert hull([]) == []
    assert hull([(1, 10), (2, 5), (4, 2)]) == [(1, 10), (1, 5), (2, 2)]
    assert hull([(1, 1), (2, 10)]) == [(2, 11)]
    assert hull([(5, 10), (10, 10)], least=5) == [(5, 10)]


def test_best_sizes() -> None:
    curves = [[(1, 100), (10, 20)], [(1, 10), (5, 50)]]
    assert best_sizes(curves, [10, 10], 10**6) == [10, 5]
    assert best_sizes(curves, [10, 10], 60) == [1, 5]
    assert best_sizes(curves, [10, 10], 90) == [4, 5]
    assert best_sizes(curves, [10, 10], 0) == [1, 1]
    assert best_sizes([], [], 100) == []


def test_weighing_loads_no_deferred_key() -> None:
    """Rooms are remembered by their label, and one whose label is deferred is attached to a remembered box."""
    first, other = (Room.objects.create(number=number, label=f"room {number}") for number in (1, 2))
    inner = Box.objects.create(name="inner", room=other)
    Box.objects.create(name="outer", labelled=first, inside=inner)
    lookups = ("labelled", Prefetch("inside__room", Room.objects.only("number")))
    prefetch = MemoizedPrefetch(*lookups, memory="10 MB")
    boxes = list(Box.objects.filter(name="outer"))
    with query_count(3):
        prefetch.process_chunk(boxes)
    assert boxes[0].inside.room.get_deferred_fields() == {"label"}
