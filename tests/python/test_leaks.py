"""Every Python reference is accounted for, and a spent chunk is freed by reference counting alone."""

from __future__ import annotations

import gc
import itertools
import sys
import warnings
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models import Model, Prefetch

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from django_memoized_prefetch._engine import Chunk, Counters, Links, Memo, ToManySpec, ToOneSpec
from tests.python.isolated import isolated
from tests.python.references import OWN, References
from tests.python.references import counts as counted
from tests.python.turns import EVERY
from tests.python.workshop.models import (
    Bicycle,
    Customer,
    Depot,
    Mechanic,
    Part,
    Photo,
    Region,
    Remark,
    Repair,
    Stage,
    Ticket,
    Warranty,
    Word,
)
from tests.python.workshop.rows import LOOKUPS, MORE_LOOKUPS, djangos_reading, reading, repairs, workshop_prefetch

# The 60 repairs come again after this many chunks: what is remembered is then what it was.
PERIOD = 5
CHUNK = 12
# Up to Python 3.10 a function gets a cache of its own when it is called for the 1,024th time. In the first half of the
# chunks, this happens to all that are called for each chunk.
CACHES_LATE = sys.version_info < (3, 11)
# A leak in each chunk shows in any number of them; one in every tenth chunk, in so many.
CHUNKS = 2_400 if CACHES_LATE else 1_000 if EVERY else 200
# Blocks that are no leak.
SLACK = 20 if CACHES_LATE else 5


def process(prefetch: MemoizedPrefetch, number: int) -> list[Repair]:
    start = number % PERIOD * CHUNK
    return prefetch.process_chunk(repairs(start, start + CHUNK))


NUMBERS = itertools.count()


def settled_blocks() -> int:
    """Blocks of memory in use, without those that Python and sqlite3 let go of only from time to time."""
    gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sys._clear_type_cache()  # it holds on to names, of attributes that Django makes up anew for each query
    cursor = connection.connection.cursor()
    sweep(lambda: cursor.execute(f"SELECT {next(NUMBERS)}"), 150)  # 100 statements are kept for reuse
    cursor.close()
    sweep(lambda: connection.connection.cursor().close(), 0)
    return sys.getallocatedblocks()


def sweep(use: Callable[[], Any], least: int) -> None:
    """Until the list is swept that sqlite3 has of what was used: that is after every 200."""
    for number in range(least + 201):
        before = sys.getallocatedblocks()
        use()
        if number >= least and sys.getallocatedblocks() < before - 50:
            break


def assert_settles(one_round: Callable[[], Any], what: str) -> list[int]:
    """Rounds until one takes no more memory; a leak in each goes on for ever. What Python caches by use ends."""
    blocks = [settled_blocks()]
    for _ in range(25):
        one_round()
        blocks.append(settled_blocks())
        if blocks[-1] - blocks[-2] <= 5:
            return blocks
    raise AssertionError(f"{what}, again and again: {blocks}")


def counts(objects: list[Any]) -> dict[str, int]:
    return {f"{number}: {type(one).__name__}": sys.getrefcount(one) for number, one in enumerate(objects)}


def differences(before: dict[str, int], after: dict[str, int]) -> dict[str, tuple[int, int]]:
    return {name: (count, after[name]) for name, count in before.items() if after[name] != count}


def engine_objects() -> Counter[str]:
    """Those that the garbage collector tracks."""
    kinds = (Memo, Links, ToManySpec, ToOneSpec, Counters, Chunk, MemoizedPrefetch)
    return Counter(type(one).__name__ for one in gc.get_objects() if issubclass(type(one), kinds))


def package_objects() -> Counter[str]:
    """Those of the package's Python classes."""
    gc.collect()
    kinds = [type(one) for one in gc.get_objects()]
    return Counter(kind.__qualname__ for kind in kinds if str(kind.__module__).startswith("django_memoized_prefetch"))


@isolated()
@pytest.mark.parametrize("size", [15, 1000])
def test_many_chunks_leave_exact_reference_counts(size: int) -> str:
    queryset = Customer.objects.select_related("region")
    parts = Part.objects.filter(pk__gt=0)
    own = [
        MemoizedPrefetchConfig(Customer, ["customer"], queryset, lru_cache_size=size),
        MemoizedPrefetchConfig(Part, ["parts"], parts, lru_cache_size=size),
    ]
    lookups = [lookup for lookup in LOOKUPS if lookup not in ("customer", "customer__region", "parts")]
    models = [Customer, Region, Depot, Stage, Repair]
    given = [*own, *(config.attributes for config in own), queryset, parts, Word, *models]
    columns = [field.attname for field in Repair._meta.concrete_fields]
    stored = list(Repair.objects.order_by("pk").values_list(*columns))

    def process(prefetch: MemoizedPrefetch, number: int) -> None:
        start = number % PERIOD * CHUNK
        prefetch.process_chunk([Repair.from_db("default", columns, row) for row in stored[start : start + CHUNK]])

    for number in range(PERIOD):  # what Django itself keeps of the first use
        process(MemoizedPrefetch(*own, *lookups, lru_cache_size=size), number)
    settled_blocks()
    untouched = counts(given)
    prefetch = MemoizedPrefetch(*own, *lookups, lru_cache_size=size)
    # Counted at one place in the period, so that the same rows are remembered.
    for number in range(2 * PERIOD + 1):
        process(prefetch, number)
    settled_blocks()
    settled = counts(given)
    for number in range(2 * PERIOD + 1, CHUNKS // 2 + 1):
        process(prefetch, number)
    blocks = settled_blocks()
    for number in range(CHUNKS // 2 + 1, CHUNKS + 1):
        process(prefetch, number)
    growth = settled_blocks() - blocks
    references = References(prefetch, stored)
    held = references.held()
    rows = [one for one in held if isinstance(one, Model)]
    assert len(rows) >= 40, f"only {len(rows)} rows are remembered"
    assert len(held) - len(rows) >= 40, f"only {len(held) - len(rows)} keys are remembered"
    del rows, held
    assert not (wrong := references.wrong()), "\n".join(wrong)
    assert not (wrong := differences(settled, counts(given))), f"after 10 and after {CHUNKS} chunks: {wrong}"
    assert growth <= SLACK, f"{growth} blocks more after chunk {CHUNKS} than after half of them"
    if size == 15:
        assert prefetch.stats().relations["ticket"].evicted > 5 * CHUNKS, "a test of evictions without any"

    del prefetch, references
    gc.collect()
    assert not (wrong := differences(untouched, counts(given))), f"before and after the MemoizedPrefetch: {wrong}"
    return f"{growth} blocks more in {CHUNKS // 2} chunks"


@isolated()
def test_reference_counts_in_plain_numbers() -> None:
    prefetch = MemoizedPrefetch("depot", "stages", "bicycle__owner", lru_cache_size=1000)
    for number in range(PERIOD):
        process(prefetch, number)
    gc.collect()
    checked = 0
    for table in References(prefetch).tables:
        if not isinstance(table, Memo):
            continue
        depots = [pair for pair in table.rows() if isinstance(pair[1], Depot)]
        keys, rows = map(list, zip(*depots)) if depots else ([], [])
        assert all(key is row.uuid for key, row in depots), "a row is remembered under its own key"
        del depots
        assert set(counted(rows)) <= {OWN + 1}, "a row: by the memo"
        assert set(counted(keys)) <= {OWN + 2}, "a key: by the memo and by the row"
        owners = [row.owner for _, row in table.rows() if isinstance(row, Bicycle) and row.owner is not None]
        assert set(counted(owners)) <= {OWN + 2}, "a nested row: by its memo and by the one row it hangs on"
        checked += len(rows) + len(owners)
    assert checked == 6 + 11, checked


@isolated()
@pytest.mark.parametrize("size", [3, 1000])
def test_a_spent_chunk_is_freed_by_reference_counts_alone(size: int) -> str:
    # Without select_related(), for which Django before 6.0 leaves garbage of its own.
    customers, parts = Customer.objects.filter(pk__gt=0), Part.objects.filter(pk__gt=0)
    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Customer, ["customer"], customers, lru_cache_size=size),
        MemoizedPrefetchConfig(Region, ["region"], prefetch_all=True),
        MemoizedPrefetchConfig(Part, ["parts"], parts, lru_cache_size=size),
        *(name for name in LOOKUPS if name not in ("customer", "customer__region", "region", "parts", "ticket")),
        lru_cache_size=size,
    )
    for number in range(PERIOD):
        process(prefetch, number)
    gc.collect()
    gc.disable()
    spent = 0
    for number in range(PERIOD):
        chunk = process(prefetch, number)
        dead = [weakref.ref(one) for one in chunk]
        dead += [weakref.ref(relation.all()) for one in chunk for relation in (one.parts, one.stages, one.campaigns)]
        del chunk
        alive = [one() for one in dead if one() is not None]
        assert not alive, f"{len(alive)} objects are alive, for example by {gc.get_referrers(alive[0])}"
        spent += len(dead)
    garbage = gc.collect()
    assert garbage == 0, f"{garbage} objects were left to the cyclic collector"
    for queryset in (customers, parts):
        assert queryset._result_cache is None
        assert queryset._hints == {}
    return f"{spent} objects"


@isolated()
@pytest.mark.parametrize("size", [15, 1000])
def test_many_chunks_with_rows_that_refer_to_their_objects(size: int) -> str:
    """Reverse and generic rows are in cycles with their objects, as Django's are: what is left is for the collector."""
    queryset = Photo.objects.filter(pk__gt=0)
    lookups = [*MORE_LOOKUPS, Prefetch("photos", queryset, to_attr="own_photos")]
    prefetch = MemoizedPrefetch(*lookups, lru_cache_size=size)
    given = [queryset, Photo, Warranty, Remark, Repair, *lookups]
    for number in range(2 * PERIOD + 1):
        process(prefetch, number)
    settled_blocks()
    settled = counts(given)
    for number in range(2 * PERIOD + 1, CHUNKS // 2 + 1):
        process(prefetch, number)
    blocks = settled_blocks()
    for number in range(CHUNKS // 2 + 1, CHUNKS + 1):
        process(prefetch, number)
    growth = settled_blocks() - blocks
    references = References(prefetch)
    assert len(references.held()) >= 20
    assert not (wrong := references.wrong()), "\n".join(wrong)
    del references
    assert not (wrong := differences(settled, counts(given))), f"after 10 and after {CHUNKS} chunks: {wrong}"
    assert growth <= SLACK, f"{growth} blocks more after chunk {CHUNKS} than after half of them"
    assert queryset._result_cache is None
    assert queryset._hints == {}
    chunk = process(prefetch, 0)
    alive = [weakref.ref(row) for one in chunk for row in (one, *one.photos.all(), *one.own_photos, *one.remarks.all())]
    del chunk
    prefetch.process_chunk([])
    gc.collect()
    assert not any(one() for one in alive), "what refers to a chunk's object is remembered"
    return f"{growth} blocks more in {CHUNKS // 2} chunks"


@isolated()
def test_chunks_of_a_generic_foreign_key_leave_nothing() -> str:
    prefetch = MemoizedPrefetch("cause", "remarks__subject")
    chunks = [repairs(number * CHUNK, (number + 1) * CHUNK) for number in range(PERIOD)]
    assert len({repair.cause_type_id for repair in itertools.chain(*chunks)}) >= 3  # null, and two models
    del chunks
    for number in range(PERIOD):
        process(prefetch, number)
    before = package_objects()
    assert before["GenericTarget"] >= 3
    for number in range(3 * PERIOD):
        process(prefetch, number)
    assert (now := package_objects()) == before, now - before
    return f"{sum(before.values())} objects of the package"


@isolated()
def test_a_chunk_with_one_to_ones_is_freed_when_it_is_the_current_one_no_more() -> None:
    prefetch = workshop_prefetch(1000)
    for number in range(PERIOD):
        process(prefetch, number)
    gc.collect()
    gc.disable()
    for number in range(PERIOD):
        chunk = process(prefetch, number)
        assert any(one.ticket is not None and one.ticket.repair is one for one in chunk)
        dead = [weakref.ref(one) for one in chunk]
        del chunk
        process(prefetch, number + 1)
        assert not any(one() for one in dead), "the chunk before the latest one is alive"
    chunk = process(prefetch, 0)
    dead = [weakref.ref(one) for one in chunk]
    del chunk
    prefetch.clear()
    assert not any(one() for one in dead), "clear() keeps the latest chunk alive"
    assert gc.collect() == 0


@isolated()
def test_what_was_evicted_or_cleared_is_freed() -> None:
    gc.disable()
    prefetch = workshop_prefetch(4)
    process(prefetch, 0)
    first = [weakref.ref(row) for _, row in prefetch.memoized_objects[Ticket].items()]
    assert len(first) >= 3  # and a missing one
    process(prefetch, 1)
    assert not any(one() for one in first), "an evicted row is alive"
    rows = [
        weakref.ref(one) for one in References(prefetch).held() if isinstance(one, (Customer, Bicycle, Part, Mechanic))
    ]
    assert len(rows) >= 12
    prefetch.clear()
    assert not any(one() for one in rows), "a cleared row is alive"
    assert sum(map(len, References(prefetch).tables)) == 0


@isolated()
def test_dropping_a_memoized_prefetch_frees_all_of_the_engine() -> str:
    def use() -> list[weakref.ref[Any]]:
        prefetch = workshop_prefetch(8)
        process(prefetch, 0)
        process(prefetch, 1)
        return [
            weakref.ref(prefetch),
            *(weakref.ref(one) for one in References(prefetch).held() if isinstance(one, Customer)),
        ]

    def twenty() -> None:
        for _ in range(20):
            dead = use()
        gc.collect()
        assert not any(one() for one in dead)
        assert (now := engine_objects()) == before, f"{before} before, {now} now"

    use()
    gc.collect()
    before = engine_objects()
    twenty()
    blocks = assert_settles(twenty, "more blocks after 20 further MemoizedPrefetch objects")
    held = workshop_prefetch(8)
    process(held, 0)
    assert engine_objects() - before, "nothing of the engine was seen in the first place"
    return f"{blocks}"


@isolated()
def test_dropping_a_memoized_prefetch_frees_its_rows_at_once() -> None:
    gc.disable()
    # Without the one-to-one, whose rows refer to the latest chunk as Django's do.
    prefetch = MemoizedPrefetch(*(name for name in LOOKUPS if name != "ticket"))
    process(prefetch, 0)
    assert len(prefetch.memoized_objects[Customer]) == CHUNK
    rows = [weakref.ref(one) for one in References(prefetch).held() if isinstance(one, Model)]
    assert len(rows) > 40
    dead = weakref.ref(prefetch)
    del prefetch
    assert dead() is None
    assert not any(one() for one in rows), "rows wait for the cyclic collector"


@isolated()
@pytest.mark.parametrize("through", ["row", "key of a row", "key of a link", "to-many relation"])
def test_a_cycle_through_the_engine_is_collected(through: str) -> None:
    prefetch = MemoizedPrefetch("stage" if through == "key of a row" else "stages", lru_cache_size=100)
    chunk = process(prefetch, 0)
    if through == "row":
        next(one for one in References(prefetch).held() if isinstance(one, Stage)).user = prefetch
    elif through == "to-many relation":
        pass  # it calls back what holds it
    else:
        table = next(
            one for one in References(prefetch).tables if isinstance(one, Links if through == "key of a link" else Memo)
        )
        if isinstance(table, Memo):
            key = next(key for key, _ in table.rows() if isinstance(key, Word))
        else:
            key = next(target for _, targets in table.items() for target in targets)
        assert isinstance(key, Word)
        key.user = prefetch
        del table, key
    dead = weakref.ref(prefetch)
    before = engine_objects()
    assert before["Memo"] >= 1
    del chunk, prefetch
    gc.collect()
    assert dead() is None
    after = engine_objects()
    assert not after, after


@isolated()
def test_failing_chunks_leak_nothing() -> str:
    prefetch = workshop_prefetch(5)
    bad = repairs(0, CHUNK)[:3]
    unsaved = Repair(customer_id=bad[0].customer_id)

    def failing(statement: int) -> Any:
        ran = 0

        def wrapper(execute: Any, *arguments: Any) -> Any:
            nonlocal ran
            ran += 1
            if ran == statement:
                raise OperationalError("refused")
            return execute(*arguments)

        return wrapper

    def raising() -> None:
        raise ZeroDivisionError

    def round_of_failures() -> int:
        failures = 0
        for statement in range(1, 24):
            prefetch.clear()
            with suppress(OperationalError), connection.execute_wrapper(failing(statement + 1)):
                process(prefetch, statement)
                continue
            failures += 1
        for hook in ("on_hash", "on_eq"):
            setattr(Word, hook, raising)
            try:
                process(prefetch, 1)
            except ZeroDivisionError:
                failures += 1
            finally:
                setattr(Word, hook, None)
        for wrong in ([*bad, unsaved], [*bad, None], [*bad, Part(id=1)]):
            with suppress(ValueError, TypeError, AttributeError):
                prefetch.process_chunk(wrong)
                continue
            failures += 1
        prefetch.clear()
        return failures

    failures = round_of_failures()
    assert failures >= 15, f"only {failures} failures"
    blocks = assert_settles(
        lambda: [round_of_failures() for _ in range(6)], f"more blocks after {6 * failures} failures"
    )
    chunk = process(prefetch, 0)
    assert reading(chunk) == djangos_reading(repairs(0, CHUNK))
    del chunk
    references = References(prefetch)
    assert len(references.held()) > 40
    assert not (wrong := references.wrong()), "\n".join(wrong)
    return f"{failures} failures a round, {blocks}"
