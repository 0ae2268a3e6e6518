"""`for_run()`: one memory for each run and process, shared by its threads. `take_stats()`: what each part did."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import threading
import weakref
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, connections
from django.db.models import Prefetch

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig, Partition, Stats, memoized, partitions
from django_memoized_prefetch._partitions.runs import RUNS
from tests.python.bookshop.models import Author, Book, Publisher, Review
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.databases import on_one_database
from tests.python.documents import sections
from tests.python.isolated import isolated
from tests.python.queries import captured_queries
from tests.python.test_concurrency import each_ends_well
from tests.python.workshop.models import Customer
from tests.python.workshop.rows import MORE_LOOKUPS, djangos_reading, reading, repairs, workshop_prefetch


@pytest.fixture(autouse=True)
def no_runs() -> None:
    RUNS._forget()


def make() -> MemoizedPrefetch:
    return MemoizedPrefetch("author", "publisher")


def test_parts_of_a_run_share_a_memory(bookshop: Bookshop) -> None:
    parts = partitions(Book.objects, 6)
    with captured_queries() as queries:
        found = {id(MemoizedPrefetch.for_run(part, make)) for part in parts}
        for part in parts:
            for chunk in MemoizedPrefetch.for_run(part, make).chunks(part.of(Book.objects)):
                assert all(book.author.name and book.publisher.name for book in chunk)
    assert len(found) == 1
    # Three of six parts bring every author, and two every publisher.
    assert (queries.of(Author), queries.of(Publisher), queries.of(Book), len(queries)) == (3, 2, 6, 6 + 3 + 2)


def test_memoized_uses_it(bookshop: Bookshop) -> None:
    parts = partitions(Book.objects, 6)
    with captured_queries() as queries:
        for part in parts:
            for book in memoized(part.of(Book.objects), MemoizedPrefetch.for_run(part, make)).iterator(chunk_size=5):
                assert book.author.name
    assert queries.of(Author) == 3


@pytest.mark.parametrize("run", ["nightly", None])
def test_another_run_finds_nothing_of_the_first(bookshop: Bookshop, run: str | None) -> None:
    first = MemoizedPrefetch.for_run(partitions(Book.objects, 6, run=run)[0], make)
    first.process_chunk(list(Book.objects.all()))
    second = MemoizedPrefetch.for_run(partitions(Book.objects, 6, run=run)[0], make)
    assert second is not first
    assert not second.memoized_objects
    assert second.stats().queries == 0


def test_by_name() -> None:
    first = MemoizedPrefetch.for_run("nightly", make)
    assert MemoizedPrefetch.for_run("nightly", make) is first
    assert MemoizedPrefetch.for_run("weekly", make) is not first
    assert MemoizedPrefetch.for_run("nightly", make) is first


def test_two_runs_are_kept() -> None:
    """A worker that lives for months does not grow."""
    made: list[weakref.ref[Any]] = []

    def noted() -> MemoizedPrefetch:
        made.append(weakref.ref(one := MemoizedPrefetch("author")))
        return one

    for run in range(100):
        MemoizedPrefetch.for_run(f"run {run - 1}", noted)
        MemoizedPrefetch.for_run(f"run {run}", noted)
    assert len(made) == 101
    gc.collect()
    assert sum(one() is not None for one in made) == 2


def test_a_subclass_has_its_own() -> None:
    class Ours(MemoizedPrefetch):
        pass

    stock, ours = MemoizedPrefetch.for_run("nightly", make), Ours.for_run("nightly", Ours)
    assert type(ours) is Ours
    assert stock is not ours
    with pytest.raises(TypeError, match=r"^for_run: make must return a Ours, got a MemoizedPrefetch\.$"):
        Ours.for_run("weekly", make)


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match=r"^for_run: run must be a Partition or the name of a run, got 5"):
        MemoizedPrefetch.for_run(5, make)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^for_run: make must be a callable without arguments, got a M"):
        MemoizedPrefetch.for_run("nightly", make())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^for_run: make must return a MemoizedPrefetch, got None"):
        MemoizedPrefetch.for_run("nightly", lambda: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(ZeroDivisionError):
        MemoizedPrefetch.for_run("nightly", lambda: 1 / 0)  # type: ignore[arg-type,return-value]
    assert MemoizedPrefetch.for_run("nightly", make).stats().queries == 0


def test_the_pages_example(bookshop: Bookshop) -> None:
    [example] = sections("docs/scale-out.md")["Cutting a table"]
    names: dict[str, Any] = {"Book": Book}
    exec(compile(example.replace("price__gt", "pk__gt"), "example", "exec"), names)
    assert names["chunk"] == list(Book.objects.order_by("pk"))[:1]  # 12 books are in 12 parts
    assert names["stats"].tables["Author"].requests == 1


@on_one_database
def test_threads_make_one() -> None:
    made: list[MemoizedPrefetch] = []
    all_here = threading.Barrier(8)

    def slowly() -> MemoizedPrefetch:
        made.append(MemoizedPrefetch.for_run("inner", make))  # and one within the other
        threading.Event().wait(0.1)
        return make()

    found: list[Any] = []

    def ask() -> None:
        all_here.wait(30)
        found.append(MemoizedPrefetch.for_run("outer", slowly))

    each_ends_well([ask] * 8)
    assert len(made) == 1
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


def test_coroutines_share_a_memory(bookshop: Bookshop) -> None:
    parts = partitions(Book.objects, 6)

    async def read(some: list[Partition]) -> list[int]:
        keys = []
        for part in some:
            async for chunk in MemoizedPrefetch.for_run(part, make).achunks(part.of(Book.objects)):
                keys += [book.pk for book in chunk if book.author.name and book.publisher.name]
        return keys

    async def together() -> list[list[int]]:
        return await asyncio.gather(read(parts[::2]), read(parts[1::2]))

    keys = async_to_sync(together)()
    assert sorted(keys[0] + keys[1]) == [book.pk for book in Book.objects.order_by("pk")]
    assert MemoizedPrefetch.for_run(parts[0], make).stats().tables["Author"].fetched == len(
        {book.author_id for book in Book.objects.all()}
    )


@on_one_database
def test_a_run_does_not_wait_for_another() -> None:
    found: list[Any] = []

    def slowly() -> MemoizedPrefetch:
        each_ends_well([lambda: found.append(MemoizedPrefetch.for_run("other", make))])
        return make()

    MemoizedPrefetch.for_run("first", slowly)
    assert found == [MemoizedPrefetch.for_run("other", make)]


def test_make_that_asks_for_its_own_run() -> None:
    inner: list[MemoizedPrefetch] = []

    def ask() -> MemoizedPrefetch:
        inner.append(MemoizedPrefetch.for_run("nightly", make))
        return make()

    assert [MemoizedPrefetch.for_run("nightly", ask)] == inner


@isolated(in_file=True)
def test_eight_threads_read_all_rows_once() -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Customer, ["customer"], prefetch_all=True))
    prefetch.clear()
    asked: list[str] = []

    def watch(execute: Any, sql: str, *arguments: Any) -> Any:
        if 'FROM "workshop_customer"' in sql:
            asked.append(sql)
        return execute(sql, *arguments)

    def work() -> None:
        with connection.execute_wrapper(watch):
            prefetch.process_chunk(repairs(0, 3))

    each_ends_well([work] * 8)
    assert len(asked) == 1, asked


@isolated(in_file=True)
def test_eight_threads_fetch_what_one_would() -> None:
    ranges = [(start, start + 3) for start in range(0, 60, 3)]
    expected = {bounds: djangos_reading(repairs(*bounds), more=True) for bounds in ranges}
    alone = workshop_prefetch(1000, *MORE_LOOKUPS)
    for bounds in ranges:
        alone.process_chunk(repairs(*bounds))

    def worker() -> None:
        for bounds in ranges:
            prefetch = MemoizedPrefetch.for_run("nightly", lambda: workshop_prefetch(1000, *MORE_LOOKUPS))
            assert reading(prefetch.process_chunk(repairs(*bounds)), more=True) == expected[bounds]

    each_ends_well([worker] * 8)
    together = MemoizedPrefetch.for_run("nightly", make)
    fetched = {name: table.fetched for name, table in together.stats().tables.items()}
    expected_of_one = {name: table.fetched for name, table in alone.stats().tables.items()}
    assert fetched == expected_of_one, (fetched, expected_of_one)
    assert fetched["Customer"] == len(together.memoized_objects[Customer]) == 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@isolated(in_file=True)
def test_a_forked_child_begins_empty() -> None:
    """Also if another thread held the lock when the process was forked."""
    first = MemoizedPrefetch.for_run("nightly", workshop_of_all)
    first.process_chunk(repairs(0, 60))
    inside, over = threading.Event(), threading.Event()

    def slowly() -> MemoizedPrefetch:
        inside.set()
        over.wait(30)
        return make()

    holder = threading.Thread(target=MemoizedPrefetch.for_run, args=("another", slowly))
    holder.start()
    inside.wait(30)
    connections.close_all()
    child = os.fork()
    if not child:
        again = MemoizedPrefetch.for_run("nightly", workshop_of_all)
        os._exit(0 if again is not first and not len(again.memoized_objects[Customer]) else 1)
    _, status = os.waitpid(child, 0)
    over.set()
    holder.join(30)
    assert status == 0
    assert MemoizedPrefetch.for_run("nightly", workshop_of_all) is first


def workshop_of_all() -> MemoizedPrefetch:
    return workshop_prefetch(1000)


# --- stats of each part


def test_the_sum_over_parts_is_the_whole(bookshop: Bookshop) -> None:
    parts = partitions(Book.objects, 6)
    prefetch = MemoizedPrefetch("author", "categories", "author__books", lru_cache_size=3)
    told: list[Stats] = []
    for part in parts:
        for _ in prefetch.chunks(part.of(Book.objects.prefetch_related("publisher")), 1):
            pass
        told.append(prefetch.take_stats())
    whole, summed = prefetch.stats(), sum(told[1:], told[0])
    assert all(one.tables["Author"].requests == 2 for one in told)
    assert summed.relations == whole.relations
    assert summed.tables == whole.tables
    assert summed.queries == whole.queries
    assert (summed.streams, summed.built) == (whole.streams, whole.built)
    for name, advice in whole.advice.items():
        assert summed.advice[name].as_dict() == advice.as_dict(), name
        assert all(summed.advice[name].fetched_with(size) == advice.fetched_with(size) for size in range(1, 8))
    assert summed.time.total == pytest.approx(whole.time.total)
    nothing = prefetch.take_stats()
    assert nothing.queries == 0
    assert nothing.tables["Author"].requests == 0
    assert sum([*told, nothing]).tables == whole.tables  # type: ignore[arg-type,union-attr]


def test_with_an_amount_of_memory(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author", memory="1 MB")
    told = []
    for part in partitions(Book.objects, 3):
        list(prefetch.chunks(part.of(Book.objects)))
        told.append(prefetch.take_stats())
    summed = sum(told[1:], told[0])
    assert summed.memory == prefetch.stats().memory
    assert summed.memory is not None
    assert summed.memory.memory == 1_000_000
    assert str(told[-1])


def test_querysets_with_prefetch_objects_are_counted_when_they_are_dropped(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("publisher")
    told = []
    for number in range(8):
        books = Book.objects.prefetch_related(Prefetch("reviews", Review.objects.filter(pk__gt=number)))
        list(prefetch.chunks(books, 5))
        told.append(prefetch.take_stats())
    assert all(one.relations["reviews"].queries > 0 for one in told)
    assert sum(told[1:], told[0]).relations["reviews"].queries == prefetch.stats().relations["reviews"].queries == 8 * 3


@on_one_database
def test_as_dict_and_back(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author", "categories", memory="5 MB")
    list(prefetch.chunks(Book.objects.filter(pk__gt=FIRST_KEY), 4))
    stats = prefetch.stats()
    again = Stats.from_dict(json.loads(json.dumps(stats.as_dict())))
    assert again.advice == {}
    expected = {**stats.as_dict(), "advice": {}}
    assert again.as_dict() == expected
    assert sum([again, again]).queries == 2 * stats.queries  # type: ignore[union-attr]
    assert (stats - stats).queries == 0
    with pytest.raises(TypeError):
        stats - 1  # type: ignore[operator]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@isolated(in_file=True)
def test_a_forked_child_tells_its_own() -> None:
    prefetch = workshop_of_all()
    prefetch.process_chunk(repairs(0, 60))
    prefetch.take_stats()
    connections.close_all()
    child = os.fork()
    if not child:
        prefetch.process_chunk(repairs(0, 60))
        told = prefetch.take_stats()
        os._exit(0 if told.relations == prefetch.stats().relations and told.queries else 1)
    assert os.waitpid(child, 0)[1] == 0
    connection.close()
