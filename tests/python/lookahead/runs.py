"""A run, and whether its plan told what it fetched."""

from __future__ import annotations

from typing import Any

from django_memoized_prefetch import MemoizedPrefetch, Plan, Stats


def run(prefetch: MemoizedPrefetch, rows: Any, chunk_size: int) -> Stats:
    for _ in prefetch.chunks(rows, chunk_size):
        pass
    return prefetch.stats()


def assert_told(plan: Plan, stats: Stats) -> None:
    told = {name: table.fetched for name, table in plan.tables.items() if table.fetched}
    assert told == {name: table.misses for name, table in stats.tables.items() if table.misses}
    assert plan.queries == stats.queries
