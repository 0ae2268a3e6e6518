"""Keys that somebody else chooses: all with one hash, without a hash, and comparing them runs code."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.db import models

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.oracle import captured_queries
from tests.python.test_key_columns import labels_and_items, on_both

# hash(UUID) is that of its int, which is the int modulo this.
MODULUS = 2**61 - 1


class Alike(str):
    """Text whose hash is everybody's. Counts how often it is compared."""

    __slots__ = ()
    comparisons = 0

    def __hash__(self) -> int:
        return 7

    def __eq__(self, other: object) -> bool:
        Alike.comparisons += 1
        return str.__eq__(self, other)


class AlikeField(models.TextField):
    def from_db_value(self, value: Any, *args: Any) -> Any:
        return None if value is None else Alike(value)

    def get_prep_value(self, value: Any) -> Any:
        return None if value is None else str.__str__(value)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        return self.get_prep_value(value)


@on_both
@pytest.mark.parametrize("prefetch_all", [False, True])
def test_keys_that_hash_alike_cost_what_the_chunk_costs(prefetch_all: bool) -> None:
    size, chunks = 10, 40
    with labels_and_items(AlikeField(unique=True), AlikeField()) as (label, item):
        codes = [f"code {number}" for number in range(size * chunks)]
        label.objects.bulk_create([label(code=code) for code in codes])
        item.objects.bulk_create([item(label_id=code) for code in codes])
        prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(label, ["label"], prefetch_all=prefetch_all))
        paid = []
        items = list(item.objects.order_by("pk"))
        for start in range(0, len(items), size):
            Alike.comparisons = 0
            chunk = prefetch.process_chunk(items[start : start + size])
            paid.append(Alike.comparisons)
            assert [one.label.code for one in chunk] == codes[start : start + size]
        # Django compares size**2 / 2 times. Here some dicts of the chunk's keys, and sixteen remembered ones.
        assert max(paid[1:]) <= size * (8 * size + 6 * 16)
        assert len(prefetch.memoized_objects[label]) <= 16


@on_both
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


@on_both
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


@on_both
@pytest.mark.parametrize("asked", EQUALS)
@pytest.mark.parametrize("remembered", [name for name in EQUALS if name != "no subclass"])
def test_an_absence_is_found_by_whatever_its_key_is_equal_to(remembered: str, asked: str) -> None:
    key = uuid.UUID(int=3 * MODULUS + 5)
    first, second = EQUALS[remembered](key), EQUALS[asked](key)
    if {first: 1}.get(second) is None:
        pytest.skip("they are not equal")
    with labels_and_items(models.UUIDField(unique=True), models.UUIDField()) as (_, item):
        prefetch = MemoizedPrefetch("label")
        with captured_queries() as queries:
            for asked_for in (first, second):
                [one] = prefetch.process_chunk([item(label_id=asked_for)])
                assert one.label is None
        assert len(queries) == 1


@on_both
def test_a_uuid_without_a_number_raises_its_own_error() -> None:
    with labels_and_items(models.UUIDField(unique=True), models.UUIDField()) as (label, item):
        label.objects.create(code=uuid.UUID(int=1))
        prefetch = MemoizedPrefetch("label")
        with pytest.raises(AttributeError, match="int"):
            prefetch.process_chunk([item(label_id=nobodys())])
        [one] = prefetch.process_chunk([item(label_id=uuid.UUID(int=1))])
        assert one.label.code == uuid.UUID(int=1)


@on_both
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
