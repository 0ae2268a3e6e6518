"""One MemoizedPrefetch used by threads, greenlets, coroutines, forked and spawned processes, and by itself."""

from __future__ import annotations

import asyncio
import copy
import multiprocessing
import os
import pickle
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections
from django.db.models.signals import post_init

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig, Stats, _engine, memoized
from tests.python import workers
from tests.python.bookshop.models import Author, Book
from tests.python.conftest import Bookshop
from tests.python.graph import assert_same_as_django
from tests.python.isolated import isolated
from tests.python.queries import query_count, run_async
from tests.python.workers import counts_of
from tests.python.workshop.models import Customer, Part, Repair
from tests.python.workshop.rows import MORE_LOOKUPS, djangos_reading, key, reading, repairs, workshop_prefetch

PyTask: Any = asyncio.tasks._PyTask  # type: ignore[attr-defined]
RANGES = [(start, start + 12) for start in range(0, 60, 12)]
ALL = (0, 60)


def check_counts(prefetch: MemoizedPrefetch, requests: int) -> None:
    """`requests`: of each relation that every repair was asked for, with a key."""
    relations = prefetch.stats().relations
    for path, one in relations.items():
        assert one.misses == one.fetched + one.missing, path
        assert one.hits + one.misses <= one.requests, path
    assert relations["customer"].requests == requests


def each_ends_well(tasks: list[Callable[[], None]]) -> None:
    """Each in a thread of its own, with a connection of its own."""
    failures: list[str] = []
    start = threading.Barrier(len(tasks))

    def run(task: Callable[[], None]) -> None:
        try:
            start.wait(30)
            task()
        except BaseException:
            failures.append(traceback.format_exc())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a thread does not end"
    assert not failures, "\n".join(failures)


@isolated(in_file=True)
@pytest.mark.parametrize("size", [3, 1000])
def test_eight_threads(size: int) -> None:
    expected = {bounds: djangos_reading(repairs(*bounds), more=True) for bounds in RANGES}
    prefetch = workshop_prefetch(size, *MORE_LOOKUPS)
    rounds = 3

    def task(number: int) -> Callable[[], None]:
        def work() -> None:
            for step in range(rounds * len(RANGES)):
                bounds = RANGES[(number + step) % len(RANGES)]
                chunk = prefetch.process_chunk(repairs(*bounds))
                # A row that all chunks share gets what hangs on it from another thread, in between anew, once evicted.
                assert reading(chunk, more=True, queries=size == 3) == expected[bounds]

        return work

    each_ends_well([task(number) for number in range(8)])
    check_counts(prefetch, 8 * rounds * 60)
    if size == 1000:
        customers = prefetch.memoized_objects[Customer]
        assert len(customers) == 20
        assert prefetch.stats().tables["Customer"].fetched == 20  # also for the owners of bicycles
    else:
        assert len(prefetch.memoized_objects[Customer]) == size, "something stays pinned"


@isolated(in_file=True)
def test_threads_that_clear_invalidate_and_resize() -> None:
    expected = {bounds: djangos_reading(repairs(*bounds), more=True) for bounds in RANGES}
    prefetch = workshop_prefetch(1000, *MORE_LOOKUPS)
    ended = threading.Event()

    def meddle() -> None:
        number = 0
        # The pause leaves the others their turns. Without one, the test took 35 s on an idle machine.
        while not ended.wait(0.0005):
            number += 1
            prefetch.invalidate(Part, [key(number % 10)])
            prefetch.invalidate(Customer)
            prefetch.memoized_objects[Part].set_size(number % 7 + 1)
            prefetch.stats()
            list(prefetch.memoized_objects[Part])
            if number % 3 == 0:
                prefetch.clear()

    def work() -> None:
        for step in range(3 * len(RANGES)):
            bounds = RANGES[step % len(RANGES)]
            assert reading(prefetch.process_chunk(repairs(*bounds)), more=True, queries=True) == expected[bounds]

    remaining = [3]
    lock = threading.Lock()

    def counted() -> None:
        try:
            work()
        finally:
            with lock:
                remaining[0] -= 1
                if remaining[0] == 0:
                    ended.set()

    each_ends_well([counted, counted, counted, meddle])
    check_counts(prefetch, 3 * 3 * 60)


@isolated()
def test_two_greenlets() -> None:
    """They take turns at every statement, within the same chunk's fetches."""
    import gevent

    expected = {bounds: djangos_reading(repairs(*bounds), more=True) for bounds in RANGES}
    prefetch = workshop_prefetch(5, *MORE_LOOKUPS)
    turns: list[int] = []

    def switching(execute: Any, *arguments: Any) -> Any:
        gevent.sleep(0)
        turns.append(id(gevent.getcurrent()))
        return execute(*arguments)

    def task(number: int) -> None:
        for step in range(len(RANGES)):
            bounds = RANGES[(number + step) % len(RANGES)]
            chunk = repairs(*bounds)
            prefetch.process_chunk(chunk)
            for one in chunk:
                # Nobody else's chunk has begun since in this greenlet, and what is the other's is the other's.
                assert one.ticket is None or one.ticket.repair.pk == one.pk
            assert reading(chunk, more=True) == expected[bounds]

    with connection.execute_wrapper(switching):
        greenlets = [gevent.spawn(task, number) for number in range(2)]
        gevent.joinall(greenlets, timeout=60, raise_error=True)
    assert all(one.successful() for one in greenlets)
    changes = sum(one != other for one, other in zip(turns, turns[1:]))
    assert changes > 20, f"only {changes} turns"
    check_counts(prefetch, 2 * 60)


@isolated(in_file=True)
def test_chunks_of_threads_that_have_ended_are_let_go() -> None:
    """The reverse sides of one-to-ones hold the latest chunk of each thread, while there is that thread."""
    import gc
    import weakref

    prefetch = MemoizedPrefetch("ticket")
    dead: list[weakref.ref[Any]] = []

    def work() -> None:
        dead.extend(weakref.ref(one) for one in prefetch.process_chunk(repairs(1, 5)))

    each_ends_well([work])
    assert dead
    prefetch.process_chunk(repairs(20, 22))
    gc.collect()
    assert not any(one() for one in dead)


@isolated()
def test_a_handler_that_processes_a_chunk_within_a_fetch() -> None:
    expected = {bounds: djangos_reading(repairs(*bounds)) for bounds in RANGES}
    prefetch = workshop_prefetch(4)
    inner: list[Any] = []
    calls = 0

    def handler(**_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls <= 6:
            bounds = RANGES[calls % len(RANGES)]
            inner.append((bounds, reading(prefetch.process_chunk(repairs(*bounds)))))

    post_init.connect(handler, sender=Part)
    try:
        chunk = prefetch.process_chunk(repairs(*RANGES[1]))
    finally:
        post_init.disconnect(handler, sender=Part)
    assert reading(chunk) == expected[RANGES[1]]
    assert len(inner) == 6
    for bounds, shown in inner:
        assert shown == expected[bounds]
    assert len(prefetch.memoized_objects[Customer]) <= 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@isolated(in_file=True)
def test_a_forked_child_starts_with_nothing() -> None:
    prefetch = workshop_prefetch(1000, *MORE_LOOKUPS)
    prefetch.process_chunk(repairs(*ALL))
    before = prefetch.stats().as_dict()
    remembered = [id(row) for row in prefetch.memoized_objects[Customer].values()]
    assert remembered
    connections.close_all()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        problem = "it did not end"
        try:
            counts = [counts_of(one) for one in prefetch.stats().relations.values()]
            assert not any(any(one.values()) for one in counts), f"counters of the parent: {counts}"
            assert all(one.size == 0 for one in prefetch.stats().relations.values())
            assert not any(prefetch.memoized_objects.values())
            for bounds in RANGES:
                chunk = repairs(*bounds)
                prefetch.process_chunk(chunk)
                assert reading(chunk, more=True) == djangos_reading(repairs(*bounds), more=True)
            assert prefetch.stats().relations["customer"].fetched == 20
            check_counts(prefetch, 60)
            problem = ""
        except BaseException:
            problem = traceback.format_exc()
        finally:
            os.write(writer, problem.encode()[-4000:])
            os._exit(1 if problem else 0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        problem = answer.read()
    assert os.waitpid(child, 0)[1] == 0, problem
    assert prefetch.stats().as_dict() == before
    assert [id(row) for row in prefetch.memoized_objects[Customer].values()] == remembered
    chunk = repairs(*ALL)
    with query_count(0):
        MemoizedPrefetch().process_chunk(chunk)
    assert reading(prefetch.process_chunk(chunk), more=True) == djangos_reading(repairs(*ALL), more=True)
    assert prefetch.stats().relations["customer"].fetched == before["relations"]["customer"]["fetched"]


@isolated(in_file=True)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_of_four_processes(method: str) -> str:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {method}")
    single = workshop_prefetch(1000)
    expected = [reading(single.process_chunk(repairs(*bounds))) for bounds in RANGES]
    assert expected == [djangos_reading(repairs(*bounds)) for bounds in RANGES]
    workers.prefetch = workshop_prefetch(1000)
    workers.prefetch.process_chunk(repairs(*ALL))  # which a forked child must not count
    connections.close_all()
    with multiprocessing.get_context(method).Pool(4, workers.set_up, (method == "spawn",)) as pool:
        answers = pool.map(workers.work, RANGES, chunksize=1)
        pool.close()
        pool.join()
    assert [ours for ours, *_ in answers] == expected
    assert [theirs for _, theirs, *_ in answers] == expected
    # The last answer of each process has all that it counted.
    latest: dict[int, Stats] = {}
    for _, _, stats, pid in answers:
        known = latest.get(pid)
        if known is None or stats.relations["customer"].requests > known.relations["customer"].requests:
            latest[pid] = stats
    everything = sum(latest.values())
    for path, one in single.stats().relations.items():
        total = everything.relations[path]
        for name, count in counts_of(total).items():
            assert count == sum(counts_of(stats.relations[path])[name] for stats in latest.values()), (path, name)
        if "__" not in path and path != "parts":
            assert total.requests == one.requests, path
        assert total.fetched >= one.fetched, path
        assert total.misses == total.fetched + total.missing, path
    assert everything.queries == sum(stats.queries for stats in latest.values())
    return f"{len(latest)} processes"


# --- asyncio


@isolated(in_file=True)
def test_coroutines() -> None:
    expected = {bounds: djangos_reading(repairs(*bounds), more=True) for bounds in RANGES}
    prefetch = workshop_prefetch(5, *MORE_LOOKUPS)
    chunks = {bounds: repairs(*bounds) for bounds in RANGES}
    threads: set[int] = set()

    def here(execute: Any, *arguments: Any) -> Any:
        threads.add(threading.get_ident())
        return execute(*arguments)

    async def both() -> None:
        assert await prefetch.aprocess_chunk(chunks[RANGES[0]]) is chunks[RANGES[0]]
        await asyncio.gather(*(prefetch.aprocess_chunk(chunks[bounds]) for bounds in RANGES[1:3]))
        tasks = [asyncio.ensure_future(prefetch.aprocess_chunk(chunks[bounds])) for bounds in RANGES[3:]]
        await asyncio.gather(*tasks)
        with pytest.raises(TypeError, match="at index 1"):
            await prefetch.aprocess_chunk([chunks[RANGES[0]][0], None])  # type: ignore[list-item]

    from asgiref.sync import async_to_sync

    with connection.execute_wrapper(here):
        # The thread of the caller, in which the connection is that has the wrapper.
        async_to_sync(both)()
    assert threads == {threading.get_ident()}, "queries ran in another thread than Django's"
    for bounds, chunk in chunks.items():
        assert reading(chunk, more=True) == expected[bounds]
    check_counts(prefetch, 60)


@isolated(in_file=True)
def test_coroutines_follow_one_to_ones_back() -> None:
    """Reading one back runs no query, which a coroutine must not, whatever other coroutines process meanwhile."""
    prefetch = MemoizedPrefetch("ticket")
    family = memoized(Repair.objects.order_by("pk").prefetch_related("ticket"))

    async def by_chunk(bounds: tuple[int, int]) -> int:
        chunk = await prefetch.aprocess_chunk(await sync_to_async(repairs)(*bounds))
        return await follow(chunk)

    async def by_chunks(bounds: tuple[int, int]) -> int:
        start, end = bounds
        queryset = Repair.objects.filter(pk__gte=key(start), pk__lt=key(end))
        return sum([await follow(chunk) async for chunk in prefetch.achunks(queryset, chunk_size=4)])

    async def by_iterator(bounds: tuple[int, int]) -> int:
        start, end = bounds
        queryset = family.filter(pk__gte=key(start), pk__lt=key(end))
        return sum([await follow([repair]) async for repair in queryset.aiterator(chunk_size=4)])

    async def follow(chunk: Sequence[Repair]) -> int:
        await asyncio.sleep(0.01)  # others go on
        tickets = [repair.ticket for repair in chunk if repair.ticket is not None]
        assert all(ticket.repair in chunk for ticket in tickets)
        return len(tickets)

    async def together() -> None:
        for way in (by_chunk, by_chunks, by_iterator):
            assert all(await asyncio.gather(*map(way, RANGES))), way

    run_async(together())


@isolated(in_file=True)
def test_tasks_of_another_class() -> None:
    """As task factories make them."""
    prefetch = MemoizedPrefetch("ticket")

    async def each(bounds: tuple[int, int]) -> None:
        await prefetch.aprocess_chunk(await sync_to_async(repairs)(*bounds))

    def make(loop: Any, coroutine: Any, **given: Any) -> Any:
        return PyTask(coroutine, loop=loop, **given)

    async def together() -> None:
        asyncio.get_running_loop().set_task_factory(make)
        await asyncio.gather(*map(each, RANGES))

    run_async(together())
    assert prefetch.stats().relations["ticket"].requests


# --- copies


class OwnPrefetch(MemoizedPrefetch):
    pass


def a_scope() -> str:
    return "one"


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_keep_what_was_configured_and_nothing_that_was_remembered(
    bookshop: Bookshop, how: Callable[[Any], Any]
) -> None:
    def all_books() -> list[Book]:
        return list(Book.objects.order_by("pk"))

    config = MemoizedPrefetchConfig(Author, ["author", "translator"], lru_cache_size=2)
    prefetch = OwnPrefetch(config, "publisher", model=Book, lru_cache_size=3, scope=a_scope, invalidate_on_change=True)
    prefetch.process_chunk(all_books())
    other = how(prefetch)
    assert type(other) is OwnPrefetch
    assert repr(other) == repr(prefetch)
    assert not any(any(counts_of(one).values()) or one.size for one in other.stats().relations.values())
    assert {path: one.bound for path, one in other.stats().relations.items()} == {
        path: one.bound for path, one in prefetch.stats().relations.items()
    }
    assert len(other.memoized_objects[Author]) == 0
    assert other.memoized_objects[Author].get_size() == 2
    remembered = [row.pk for row in prefetch.memoized_objects[Author].values()]
    assert_same_as_django(all_books, ["author", "translator", "publisher"], other)
    assert [row.pk for row in prefetch.memoized_objects[Author].values()] == remembered
    assert prefetch.stats().relations["author"].requests == len(all_books())
    for author in bookshop.authors:
        author.name = "renamed"
        author.save()
    assert_same_as_django(all_books, ["author", "translator", "publisher"], other)
    with pytest.raises(AttributeError, match="Repair"):
        other.process_chunk([Repair(id=1)])


class OfAuthors(MemoizedPrefetch):
    """Takes other arguments than its base class, and has an attribute of its own."""

    def __init__(self, size: int) -> None:
        super().__init__("author", lru_cache_size=size)
        self.notes = {"size": size}


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_of_a_subclass_with_its_own_arguments(bookshop: Bookshop, how: Callable[[Any], Any]) -> None:
    prefetch = OfAuthors(2)
    prefetch.process_chunk(list(Book.objects.all()))
    other = how(prefetch)
    assert type(other) is OfAuthors
    assert other.notes == {"size": 2}
    assert other.stats().relations["author"].bound == 2
    assert other.stats().relations["author"].requests == 0


def test_tables_are_no_part_of_a_pickle(bookshop: Bookshop) -> None:
    for table in (_engine.Memo(None, "id"), _engine.Links(None), _engine.Chunk()):
        with pytest.raises(TypeError):
            pickle.dumps(table)
