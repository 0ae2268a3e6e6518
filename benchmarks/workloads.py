"""What can be run: workloads, and the contenders of each."""

from __future__ import annotations

from dataclasses import dataclass

ORIGINAL_VERSION = "0.1.2"
CONTENDERS = {
    "raw": "raw cursor, tuples only",
    "django": "Django, prefetch_related",
    "select_related": "Django, select_related",
    "original": f"original package {ORIGINAL_VERSION}",
    "this": "this package",
    "memoized": "this package, memoized(queryset)",
}


@dataclass(frozen=True)
class Workload:
    title: str
    module: str
    contenders: tuple[str, ...]
    unit: str
    minutes_long: tuple[str, ...] = ()  # contenders that run once only, unless asked for more


WORKLOADS = {
    "fk": Workload(
        "Stream books, read author, translator (half are null) and publisher",
        "streaming",
        ("raw", "django", "select_related", "original", "this", "memoized"),
        "s",
    ),
    "m2m": Workload(
        "Stream books, read categories", "streaming", ("raw", "django", "original", "this", "memoized"), "s"
    ),
    "nested": Workload(
        "Stream reviews, read book.author and book.publisher",
        "streaming",
        ("raw", "django", "select_related", "original", "this", "memoized"),
        "s",
        minutes_long=("original",),
    ),
    "chunk-fk": Workload(
        "process_chunk alone, memo warm: three foreign keys, none null",
        "process_chunk",
        ("django", "original", "this"),
        "us",
    ),
    "chunk-m2m": Workload(
        "process_chunk alone, memo warm, links new: many-to-many, two targets per object on average",
        "process_chunk",
        ("django", "original", "this"),
        "us",
    ),
    "chunk-kinds": Workload(
        "process_chunk alone, links and reverse rows new: five lookups over four kinds of relation",
        "process_chunk",
        ("django", "this"),
        "us",
    ),
    "one-list": Workload(
        "One list of 20 objects with three foreign keys to one table, a new MemoizedPrefetch each time",
        "process_chunk",
        ("django", "original", "this"),
        "us",
    ),
}
