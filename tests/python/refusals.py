"""What is refused: the error says what is wrong, and the memory is as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.bookshop.models import Book

LOOKUPS = ["author", "translator", "publisher", "categories"]


def all_books() -> list[Book]:
    return list(Book.objects.order_by("pk"))


def remembered(prefetch: MemoizedPrefetch) -> dict[str, Any]:
    """What can be read of the memory from outside."""
    return {
        "rows": {model.__name__: sorted(map(str, view)) for model, view in prefetch.memoized_objects.items()},
        "links": {name: sorted(map(str, view)) for name, view in prefetch.through_model_source_target_cache.items()},
        "sizes": {path: (one.size, one.bound) for path, one in prefetch.stats().relations.items()},
    }


def warmed(*lookups: Any) -> MemoizedPrefetch:
    """With a first chunk behind it, so that there is something to lose."""
    prefetch = MemoizedPrefetch(*(lookups or LOOKUPS))
    prefetch.process_chunk(all_books()[:3])
    return prefetch


@contextmanager
def refused(prefetch: MemoizedPrefetch, error: Any, *parts: str) -> Iterator[None]:
    """The block raises with all parts in the message, and the memory is as before."""
    before = remembered(prefetch)
    with pytest.raises(error) as raised:
        yield
    for part in parts:
        assert part in str(raised.value), f"{part!r} is not in {str(raised.value)!r}"
    assert remembered(prefetch) == before
