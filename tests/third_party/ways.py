"""Our ways to prefetch in chunks, each with the way of Django that gives the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import prefetch_related_objects

from tests.third_party.frame import Situation

CHUNK = 2
Rows = Callable[[Situation], Iterator[Any]]


@dataclass(frozen=True)
class Way:
    """
    Args:
        chunked: Whether the rows come in chunks of two. Otherwise all of them are one chunk.
        pages: Whether each chunk is a query of its own, with one more query to find the end.
    """

    name: str
    ours: Rows
    django: Rows
    chunked: bool = True
    pages: bool = False

    def more_queries(self, many_to_many: int, rows: int) -> int:
        """How many queries more than Django's are documented."""
        chunks = -(-rows // CHUNK) if self.chunked else 1
        return many_to_many * chunks + (chunks + 1 if self.pages else 0)


def django_iterator(situation: Situation) -> Iterator[Any]:
    yield from situation.queryset().prefetch_related(*situation.lookups()).iterator(chunk_size=CHUNK)


def django_list(situation: Situation) -> Iterator[Any]:
    yield from list(situation.queryset().prefetch_related(*situation.lookups()))


def django_chunks(situation: Situation) -> Iterator[Any]:
    rows = list(situation.queryset())
    lookups = situation.lookups()
    for at in range(0, len(rows), CHUNK):
        chunk = rows[at : at + CHUNK]
        prefetch_related_objects(chunk, *lookups)
        yield from chunk


def our_ways() -> list[Way]:
    """It imports this package, so that runs of Django alone are without it."""
    from django_memoized_prefetch import MemoizedPrefetch, memoized

    def iterator(size: int) -> Rows:
        def rows(situation: Situation) -> Iterator[Any]:
            queryset = situation.queryset().prefetch_related(*situation.lookups())
            yield from memoized(queryset, lru_cache_size=size).iterator(chunk_size=CHUNK)

        return rows

    def whole(situation: Situation) -> Iterator[Any]:
        yield from list(memoized(situation.queryset().prefetch_related(*situation.lookups())))

    def chunks(size: int) -> Rows:
        def rows(situation: Situation) -> Iterator[Any]:
            prefetch = MemoizedPrefetch(*situation.lookups(), lru_cache_size=size)
            for chunk in prefetch.chunks(situation.queryset(), CHUNK):
                yield from chunk

        return rows

    def own_lookups(situation: Situation) -> Iterator[Any]:
        queryset = situation.queryset().prefetch_related(*situation.lookups())
        for chunk in MemoizedPrefetch().chunks(queryset, CHUNK):
            yield from chunk

    def process(size: int) -> Rows:
        def rows(situation: Situation) -> Iterator[Any]:
            prefetch = MemoizedPrefetch(*situation.lookups(), lru_cache_size=size)
            rows = list(situation.queryset())
            for at in range(0, len(rows), CHUNK):
                yield from prefetch.process_chunk(rows[at : at + CHUNK])

        return rows

    def again(situation: Situation) -> Iterator[Any]:
        """Processes a list whose related rows are in memory from an earlier list."""
        prefetch = MemoizedPrefetch(*situation.lookups())
        first = list(situation.queryset())
        rows = list(situation.queryset())
        prefetch.process_chunk(first)
        yield from prefetch.process_chunk(rows)

    def django_again(situation: Situation) -> Iterator[Any]:
        for _ in range(2):
            rows = list(situation.queryset())
            if rows:
                prefetch_related_objects(rows, *situation.lookups())
        yield from rows

    return [
        Way("memoized iterator", iterator(10_000), django_iterator),
        Way("memoized iterator, tiny", iterator(1), django_iterator),
        Way("memoized list", whole, django_list, chunked=False),
        Way("chunks", chunks(10_000), django_iterator, pages=True),
        Way("chunks, tiny", chunks(1), django_iterator, pages=True),
        Way("chunks, own lookups", own_lookups, django_iterator, pages=True),
        Way("process_chunk", process(10_000), django_chunks),
        Way("process_chunk, tiny", process(1), django_chunks),
        Way("process_chunk again", again, django_again, chunked=False),
    ]


def django_ways() -> list[Way]:
    """Django in our place, which must make no difference."""
    return [
        Way("iterator", django_iterator, django_iterator),
        Way("list", django_list, django_list, chunked=False),
        Way("prefetch_related_objects", django_chunks, django_chunks),
    ]
