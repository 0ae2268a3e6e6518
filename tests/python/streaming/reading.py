"""What chunks() gives of a queryset, and how it read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django_memoized_prefetch import MemoizedPrefetch, Progress

LOOKUPS = ("author", "translator", "publisher", "categories")


PAGES = "in pages by primary key"


def stream(queryset: Any, chunk_size: int = 5, **options: Any) -> tuple[list[Any], str]:
    """The rows, and how they were read."""
    prefetch = MemoizedPrefetch()
    chunks = list(prefetch.chunks(queryset, chunk_size, **options))
    assert all(len(chunk) == chunk_size for chunk in chunks[:-1])
    assert all(0 < len(chunk) <= chunk_size for chunk in chunks)
    [how] = prefetch.stats().streams.values()
    return [row for chunk in chunks for row in chunk], how


def expected(queryset: Any) -> list[Any]:
    return list(queryset if queryset.ordered else queryset.order_by("pk"))


def keys(rows: Any) -> list[Any]:
    return [row.pk for row in rows]


# --- progress


def progress_of(queryset: Any, chunk_size: int = 4, **options: Any) -> list[Progress]:
    seen: list[Progress] = []
    for _ in MemoizedPrefetch("author").chunks(queryset, chunk_size, progress=seen.append, **options):
        pass
    return seen


def fractions(queryset: Any, chunk_size: int = 4, **options: Any) -> list[float | None]:
    return [one.fraction for one in progress_of(queryset, chunk_size, **options)]


def fail_in_the_loop(chunks: Callable[[], Any], error: type[BaseException]) -> None:
    for _ in chunks():
        raise error


# --- asynchronous


async def in_thread(function: Callable[[], Any]) -> Any:
    from asgiref.sync import sync_to_async

    return await sync_to_async(function)()
