"""The three ways to stream flights with their related rows. Each yields flights that are ready for the job."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from django.db.models import Prefetch

from django_memoized_prefetch import MemoizedPrefetch, memoized

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from flights.models import Flight

T = TypeVar("T")

# The same for all. Not the usual 2,000, in which up to 1,240 different planes fly: Django 5.2's prefetch_related fails
# on SQLite above 1,000 keys ("Expression tree is too large"). In 1,000 flights there are at most 805.
CHUNK_SIZE = 1_000


def in_chunks(rows: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, CHUNK_SIZE)):
        yield chunk


# The demo prints everything from here on. With `to_attr`, `dest.served_by` is a list. To read `dest.airlines.all()`
# instead, Django would make a manager and take 7 us in the job's own loop, for every flight of every contender.
RELATIONS = ("origin", "dest", "plane", "carrier", Prefetch("dest__airlines", to_attr="served_by"))


def with_django(flights: QuerySet[Flight]) -> Iterator[Flight]:
    yield from flights.prefetch_related(*RELATIONS).iterator(chunk_size=CHUNK_SIZE)


def with_process_chunk(flights: QuerySet[Flight]) -> Generator[Flight, None, Any]:
    """Change nothing: a loop over chunks stays as it is, and one call is added."""
    prefetch = MemoizedPrefetch(*RELATIONS)
    for chunk in in_chunks(flights.iterator(chunk_size=CHUNK_SIZE)):
        prefetch.process_chunk(chunk)
        yield from chunk
    return prefetch.stats()


def with_memoized(flights: QuerySet[Flight]) -> Iterator[Flight]:
    """Change one line: the queryset is wrapped."""
    yield from memoized(flights.prefetch_related(*RELATIONS)).iterator(chunk_size=CHUNK_SIZE)
