"""For the self-check: an engine that attaches wrong rows. The tests have to notice it."""

from __future__ import annotations

from typing import Any

from django_memoized_prefetch import MemoizedPrefetch


def attach_nothing() -> None:
    """Attaches only None and empty collections to the objects of a chunk."""
    process_chunk = MemoizedPrefetch.process_chunk

    def broken(self: MemoizedPrefetch, objects: Any) -> Any:
        rows = process_chunk(self, objects)
        for row in rows:
            row._state.fields_cache = dict.fromkeys(row._state.fields_cache)
            for collection in getattr(row, "_prefetched_objects_cache", {}).values():
                collection._result_cache = []
        return rows

    MemoizedPrefetch.process_chunk = broken  # type: ignore[method-assign]
