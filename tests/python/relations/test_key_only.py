"""An attribute that is no relation but has an `<attribute>_id`: a plain column that holds the key of a legacy table."""

from __future__ import annotations

import pytest

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.catalogue.models import CardIndexEntry, LegacyRecord
from tests.python.queries import no_queries, query_count


@pytest.fixture(autouse=True)
def records() -> list[LegacyRecord]:
    records = [LegacyRecord.objects.create(text=f"record {i}") for i in range(3)]
    for i in range(5):
        CardIndexEntry.objects.create(heading=f"entry {i}", legacy_id=records[i % 3].pk)
    return records


def entries() -> list[CardIndexEntry]:
    return list(CardIndexEntry.objects.order_by("pk"))


def test_rows_are_attached_as_plain_attributes(records: list[LegacyRecord]) -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(LegacyRecord, ["legacy"]))
    for queries in (1, 0):
        chunk = entries()
        with query_count(queries):
            assert prefetch.process_chunk(chunk) is chunk
        with no_queries():
            assert [entry.legacy for entry in chunk] == [records[i % 3] for i in range(5)]
            assert [entry.legacy.text for entry in chunk] == [records[i % 3].text for i in range(5)]


def test_equals_what_setattr_of_the_row_does(records: list[LegacyRecord]) -> None:
    ours = MemoizedPrefetch(MemoizedPrefetchConfig(LegacyRecord, ["legacy"])).process_chunk(entries())
    theirs = entries()
    rows = LegacyRecord.objects.in_bulk()
    for entry in theirs:
        entry.legacy = rows[entry.legacy_id]
    for our, their in zip(ours, theirs):
        assert vars(our).keys() == vars(their).keys()
        assert our.legacy == their.legacy


def test_null_key_attaches_no_row() -> None:
    CardIndexEntry.objects.create(heading="loose", legacy_id=None)
    *_, last = MemoizedPrefetch(MemoizedPrefetchConfig(LegacyRecord, ["legacy"])).process_chunk(entries())
    assert getattr(last, "legacy", None) is None


def test_missing_row_is_none_and_remembered(records: list[LegacyRecord]) -> None:
    CardIndexEntry.objects.create(heading="dangling", legacy_id=records[-1].pk + 1)
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(LegacyRecord, ["legacy"]))
    for queries in (1, 0):
        chunk = entries()
        with query_count(queries):
            prefetch.process_chunk(chunk)
        assert chunk[-1].legacy is None


def test_size_is_kept(records: list[LegacyRecord]) -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(LegacyRecord, ["legacy"], lru_cache_size=1))
    chunk = prefetch.process_chunk(entries())
    assert [entry.legacy.pk for entry in chunk] == [entry.legacy_id for entry in chunk]
    assert len(prefetch.memoized_objects[LegacyRecord]) == 1


def test_prefetch_all(records: list[LegacyRecord]) -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(LegacyRecord, ["legacy"], prefetch_all=True))
    chunk = entries()
    with no_queries():
        prefetch.process_chunk(chunk)
        assert all(entry.legacy.text for entry in chunk)
