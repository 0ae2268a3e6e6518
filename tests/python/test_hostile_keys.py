"""Keys that hash alike, are equal to others, cannot be hashed, and sizes that are huge."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.db import models

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig, memoized
from django_memoized_prefetch._engine import Chunk, Counters, ForeignKeySpec, Links, Memo
from tests.python.bookshop.models import Author, Book, Category
from tests.python.conftest import Bookshop
from tests.python.engine_rows import Holder, Key, Row
from tests.python.graph import assert_same_as_django
from tests.python.own_models import own_tables
from tests.python.queries import captured_queries
from tests.python.test_key_columns import labels_and_items

# hash(UUID) is that of its int, which is the int modulo this.
MODULUS = 2**61 - 1


def chunk_of(memo: Memo, keys: list[Any], fetch: Any = lambda keys: [Row(key) for key in keys]) -> list[Any]:
    """The rows that the engine attaches to objects with these keys."""
    holders = [Holder(key) for key in keys]
    chunk = Chunk()
    try:
        relation = ForeignKeySpec("key", "row", None, Counters(), None, True)
        with chunk.to_one(memo, [(holders, [relation], False)], {}) as rows:
            assert not rows.collect()
            if missing := rows.missing():
                rows.admit(fetch(missing))
            rows.attach()
    finally:
        chunk.close()
    return [holder._state.fields_cache["row"] for holder in holders]


@pytest.mark.parametrize("loaded", [0, 400])
@pytest.mark.parametrize("size", [5, 20])
def test_keys_that_hash_alike_cost_what_the_chunk_costs(size: int, loaded: int) -> None:
    memo = Memo(None, "id")
    assert memo.load([Row(Key(number)) for number in range(loaded)], memo.generation) == min(loaded, 16)
    for start in range(0, 400, size):
        Key.comparisons = 0
        rows = chunk_of(memo, [Key(number) for number in range(start, start + size)])
        # In a dict of its own: size**2 / 2. Here each is looked up in the memo, among those missed before it, and when
        # its row comes; sixteen are remembered.
        assert Key.comparisons <= size * (2 * size + 3 * 17)
        assert [row.id.number for row in rows] == list(range(start, start + size))
        assert len(memo) <= 16


@own_tables
def test_of_uuids_of_one_hash_some_are_remembered() -> None:
    keys = [uuid.UUID(int=number * MODULUS + 5) for number in range(60)]
    with labels_and_items(models.UUIDField(unique=True), models.UUIDField()) as (label, item):
        label.objects.bulk_create([label(code=key) for key in keys])
        for prefetch_all in (False, True):
            prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(label, ["label"], prefetch_all=prefetch_all))
            for start in range(0, 60, 20):
                items = prefetch.process_chunk([item(label_id=key) for key in keys[start : start + 20]])
                assert [one.label.code for one in items] == keys[start : start + 20]
            with captured_queries() as queries:
                # Rows that are read before are remembered from the last one on.
                remembered = keys[-16:] if prefetch_all else keys[:16]
                prefetch.process_chunk([item(label_id=key) for key in remembered])
            assert len(queries) == 0


@own_tables
@pytest.mark.parametrize("size", [3, 50])
def test_uuids_of_one_hash_find_their_rows(size: int) -> None:
    keys = [uuid.UUID(int=number * MODULUS + 5) for number in range(100)]
    assert len({hash(key) for key in keys}) == 1
    with labels_and_items(models.UUIDField(unique=True), models.UUIDField()) as (label, item):
        label.objects.bulk_create([label(code=key) for key in keys[:80]])
        for _ in range(2):
            item.objects.bulk_create([item(label_id=key) for key in keys])
        items = list(item.objects.order_by("pk"))
        prefetch = MemoizedPrefetch("label")
        for _ in range(2):
            for start in range(0, len(items), size):
                prefetch.process_chunk(items[start : start + size])
            assert [one.label and one.label.code for one in items] == [*keys[:80], *[None] * 20] * 2
            items = list(item.objects.order_by("pk"))
        assert prefetch.stats().relations["label"].hits > 0


class PlainUUID(uuid.UUID):
    pass


class SwappedUUID(uuid.UUID):
    """Equal to the UUID whose number is one less, as its hash says."""

    def __hash__(self) -> int:
        return hash(self.int - 1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, uuid.UUID) and self.int - 1 == other.int


class Foreign:
    """No UUID, but equal to one."""

    def __init__(self, key: uuid.UUID) -> None:
        self.key = key

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return self.key == other


def nobodys() -> Any:
    """A UUID without a number, whose hash raises."""
    return object.__new__(uuid.UUID)


EQUALS = {
    "itself": lambda key: key,
    "another": lambda key: uuid.UUID(int=key.int),
    "a subclass": lambda key: PlainUUID(int=key.int),
    "a subclass of its own mind": lambda key: SwappedUUID(int=key.int + 1),
    "no subclass": Foreign,
}


@own_tables
@pytest.mark.parametrize("asked", EQUALS)
def test_a_row_is_found_by_whatever_its_key_is_equal_to(asked: str) -> None:
    key, other = (uuid.UUID(int=number * MODULUS + 5) for number in (3, 4))
    with labels_and_items(models.UUIDField(unique=True), models.UUIDField()) as (label, item):
        label.objects.bulk_create([label(code=key), label(code=other)])
        prefetch = MemoizedPrefetch("label")
        [first] = prefetch.process_chunk([item(label_id=key)])
        second, third = prefetch.process_chunk([item(label_id=EQUALS[asked](key)), item(label_id=other)])
        assert second.label is first.label
        assert third.label.code == other


def are_equal(remembered: str, asked: str) -> bool:
    """Whether a dict finds by one what it has by the other."""
    key = uuid.UUID(int=3 * MODULUS + 5)
    return {EQUALS[remembered](key): 1}.get(EQUALS[asked](key)) is not None


PAIRS = [(first, second) for first in EQUALS if first != "no subclass" for second in EQUALS if are_equal(first, second)]


@own_tables
@pytest.mark.parametrize(("remembered", "asked"), PAIRS)
def test_an_absence_is_found_by_whatever_its_key_is_equal_to(remembered: str, asked: str) -> None:
    key = uuid.UUID(int=3 * MODULUS + 5)
    first, second = EQUALS[remembered](key), EQUALS[asked](key)
    with labels_and_items(models.UUIDField(unique=True), models.UUIDField()) as (_, item):
        prefetch = MemoizedPrefetch("label")
        with captured_queries() as queries:
            for asked_for in (first, second):
                [one] = prefetch.process_chunk([item(label_id=asked_for)])
                assert one.label is None
        assert len(queries) == 1


@own_tables
def test_a_uuid_without_a_number_raises_its_own_error() -> None:
    with labels_and_items(models.UUIDField(unique=True), models.UUIDField()) as (label, item):
        label.objects.create(code=uuid.UUID(int=1))
        prefetch = MemoizedPrefetch("label")
        with pytest.raises(AttributeError, match="int"):
            prefetch.process_chunk([item(label_id=nobodys())])
        [one] = prefetch.process_chunk([item(label_id=uuid.UUID(int=1))])
        assert one.label.code == uuid.UUID(int=1)


@own_tables
def test_numbers_of_one_value_are_one_key() -> None:
    with labels_and_items(models.DecimalField(max_digits=30, decimal_places=0, unique=True), models.TextField()) as (
        label,
        item,
    ):
        label.objects.create(code=Decimal(1))
        big = 5 * MODULUS + 1  # its hash is 1 too
        label.objects.create(code=Decimal(big))
        items = [item(label_id=key) for key in (1, True, Decimal(1), 1.0, big, Decimal(big))]
        prefetch = MemoizedPrefetch("label")
        for one in items:
            prefetch.process_chunk([one])
        assert len({id(one.label) for one in items[:4]}) == 1
        assert items[4].label is items[5].label is not items[0].label


def djangos_error(objects: list[Any], lookup: str) -> str:
    with pytest.raises(TypeError) as djangos:
        models.prefetch_related_objects(objects, lookup)
    return str(djangos.value)


@own_tables
def test_an_unhashable_key_is_a_type_error_and_memory_stays() -> None:
    text = {"max_length": 9}
    with labels_and_items(models.CharField(unique=True, **text), models.CharField(**text)) as (label, item):
        label.objects.bulk_create(label(code=code) for code in ("a", "b", "c"))
        good = list(label.objects.order_by("code"))
        prefetch = MemoizedPrefetch("label")
        prefetch.process_chunk([item(label_id="a")])
        message = djangos_error([item(label_id=[1, 2])], "label")
        assert "unhashable type: 'list'" in message
        for bad in ([item(label_id=[1, 2])], [item(label_id="b"), item(label_id={"x": 1}), item(label_id="a")]):
            with pytest.raises(TypeError, match=r"unhashable type: '(list|dict)'"):
                prefetch.process_chunk(bad)
            assert prefetch.memoized_objects[label].values() == good[:1]
        with captured_queries() as queries:
            [one] = prefetch.process_chunk([item(label_id="a")])
        assert (one.label, len(queries)) == (good[0], 0)
        two, three = prefetch.process_chunk([item(label_id="b"), item(label_id="c")])
        assert [two.label, three.label] == good[1:]


def test_a_row_with_an_unhashable_key_is_a_type_error_and_memory_stays() -> None:
    memo = Memo(None, "id")
    [first] = chunk_of(memo, ["a"])
    with pytest.raises(TypeError, match="unhashable type: 'list'"):
        chunk_of(memo, ["c", "a", "b"], lambda keys: [Row("c"), Row(["b"])])
    assert memo.rows() == [("a", first)]
    with pytest.raises(TypeError, match="unhashable type: 'list'"):
        memo.load([Row(["b"])], memo.generation)
    assert chunk_of(memo, ["a"]) == [first]


@pytest.mark.parametrize("size", [2**63 - 2, sys.maxsize])
def test_a_huge_size_keeps_all(size: int, bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Author, ["author"], lru_cache_size=size), "categories")
    assert_same_as_django(lambda: list(Book.objects.order_by("pk")), ["author", "categories"], prefetch)
    assert prefetch.memoized_objects[Author].get_size() == size
    prefetch.memoized_objects[Category].set_size(size)
    assert prefetch.memoized_objects[Category].get_size() == size
    assert_same_as_django(lambda: list(Book.objects.order_by("pk")), ["author", "categories"], prefetch)
    assert prefetch.stats().as_dict()
    assert str(prefetch.stats())


@pytest.mark.parametrize("size", [2**63 - 2, sys.maxsize])
def test_prefetch_all_with_a_huge_size(size: int, bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Author, ["author"], lru_cache_size=size, prefetch_all=True))
    assert_same_as_django(lambda: list(Book.objects.order_by("pk")), ["author"], prefetch)


@pytest.mark.parametrize("size", [2**63, 2**64 - 1, 2**64, 2**200])
def test_a_size_that_no_machine_has_is_a_value_error(size: int) -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Author, ["author"]))
    for refused in (
        lambda: MemoizedPrefetchConfig(Author, ["author"], lru_cache_size=size),
        lambda: MemoizedPrefetch("author", lru_cache_size=size),
        lambda: memoized(Book.objects.all(), lru_cache_size=size),
        lambda: prefetch.memoized_objects[Author].set_size(size),
    ):
        with pytest.raises(ValueError, match="lru_cache_size must be at most"):
            refused()
    assert prefetch.memoized_objects[Author].get_size() == 10_000


@pytest.mark.parametrize("table", [lambda bound: Memo(bound, "id"), Links])
def test_bounds_of_the_engine(table: Any) -> None:
    for bound, kept in ((None, None), (0, 0), (5, 5), (2**63, 2**63), (2**64 - 1, None), (2**64, None), (2**300, None)):
        made = table(bound)
        assert made.bound == kept
        made.bound = 3
        made.bound = bound
        assert made.bound == kept
    for bound, error in ((-1, ValueError), (-(2**70), ValueError), (1.5, TypeError), ("5", TypeError)):
        with pytest.raises(error, match="bound must"):
            table(bound)
        with pytest.raises(error, match="bound must"):
            made.bound = bound
    assert (made.rows if hasattr(made, "rows") else made.items)(2**64) == []


@pytest.fixture(autouse=True)
def _no_hooks() -> Iterator[None]:
    yield
    Holder.hook = Key.hook = None


def test_steps_of_a_pass_come_in_their_order() -> None:
    relation = ForeignKeySpec("key", "row", None, Counters(), None, True)
    memo, chunk, holders = Memo(2, "id"), Chunk(), [Holder(Key(1))]
    with chunk.to_one(memo, [(holders, [relation], False)], {}) as rows:
        for step in (rows.missing, rows.attach, rows.collect_loaded, lambda: rows.admit([])):
            with pytest.raises(RuntimeError, match="the steps of a pass are collect, missing"):
                step()
        with pytest.raises(RuntimeError, match="another pass of this chunk has not ended"):
            chunk.to_one(memo, [(holders, [relation], False)], {})
        rows.collect()
        assert [key.number for key in rows.missing()] == [1]
        with pytest.raises(RuntimeError):
            rows.attach()
        rows.admit([Row(Key(1))])
    assert len(memo) == 0, "it was not attached: it has failed"
    with pytest.raises(RuntimeError):
        rows.attach()
    chunk.close()
    assert chunk_of(memo, [Key(1)])[0].id == Key(1)


def test_a_step_that_failed_cannot_be_taken_again() -> None:
    relation = ForeignKeySpec("key", "row", None, Counters(), None, True)
    memo, chunk = Memo(None, "id"), Chunk()
    memo.load([Row(Key(1))], memo.generation)
    with chunk.to_one(memo, [([Holder(Key(2))], [relation], False)], {}) as rows:
        Key.hook = lambda: 1 / 0
        with pytest.raises(ZeroDivisionError):
            rows.collect()
        Key.hook = None
        for step in (rows.collect, rows.missing, rows.attach):
            with pytest.raises(RuntimeError, match="the steps of a pass"):
                step()
    chunk.close()
    assert [key.number for key, _ in memo.rows()] == [1]


def test_a_pass_that_is_dropped_has_failed() -> None:
    relation = ForeignKeySpec("key", "row", None, Counters(), None, True)
    memo, chunk = Memo(2, "id"), Chunk()
    rows = chunk.to_one(memo, [([Holder(Key(1))], [relation], False)], {})
    rows.collect()
    rows.admit([Row(key) for key in rows.missing()])
    assert len(memo) == 1
    del rows
    assert len(memo) == 0
    chunk.to_one(memo, [([], [relation], False)], {}).__exit__(None, None, None)
    chunk.close()
