"""The workloads that can be run, and the contenders of each."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Callable

ORIGINAL_VERSION = "0.1.2"
# Their names in the rows of a table.
CONTENDERS = {
    "raw": "raw cursor, tuples only",
    "django": "Django `prefetch_related().iterator()`",
    "select_related": "Django `select_related().iterator()`",
    "fetch_peers": "Django `FETCH_PEERS`, chunkator",
    "auto_prefetch": "django-auto-prefetch, chunkator",
    "sqlalchemy": "SQLAlchemy `selectinload`, `yield_per`",
    "original": f"version {ORIGINAL_VERSION}, chunkator",
    "this": "this, `process_chunk`, chunkator",
    "chunks": "this, `chunks`",
    "memoized": "this, `memoized`",
    "memoized-all": "this, `memoized`, all books kept",
}
OURS = ("this", "chunks", "memoized", "memoized-all")


@dataclass(frozen=True)
class Workload:
    name: str  # a short one, for the head of a column
    title: str
    module: str
    contenders: tuple[str, ...]
    unit: str
    minutes_long: tuple[str, ...] = ()  # contenders that run only once unless asked for more
    labels: tuple[tuple[str, str], ...] = ()  # of contenders whose name in CONTENDERS does not fit here

    def label(self, contender: str) -> str:
        return dict(self.labels).get(contender, CONTENDERS[contender])


STREAMING = tuple(name for name in CONTENDERS if name != "memoized-all")
TO_MANY = ("raw", "django", "sqlalchemy", "original", "this", "chunks", "memoized")
ROWS = ("raw", "django", "memoized")
PLAIN_ROWS = ("django", "memoized")
PLAIN = (("django", "Django"), ("memoized", "this, `memoized`"))
ON_A_LIST = (
    ("django", "Django `prefetch_related_objects`"),
    ("original", f"version {ORIGINAL_VERSION}"),
    ("this", "this, `process_chunk`"),
)

WORKLOADS = {
    "fk": Workload(
        "foreign keys",
        "Stream books, read author, translator (half are null) and publisher; 20,000 rows of each table kept",
        "streaming",
        STREAMING,
        "s",
    ),
    "m2m": Workload(
        "many-to-many",
        "Stream books, read categories; 10,000 rows of each table kept",
        "streaming",
        TO_MANY,
        "s",
    ),
    "nested": Workload(
        "nested",
        "Stream reviews, read book.author and book.publisher; 20,000 rows of each table kept, a tenth of the books",
        "streaming",
        (*STREAMING, "memoized-all"),
        "s",
        minutes_long=("original",),
    ),
    "wide": Workload(
        "wide",
        "Stream editions of 20 columns, read illustrator, publisher and shelf; 20,000 rows of each table kept",
        "streaming",
        STREAMING,
        "s",
    ),
    "rows": Workload("rows", "list() of all books, nothing related", "instances", ROWS, "s", labels=PLAIN),
    "rows-wide": Workload("wide rows", "list() of all editions, nothing related", "instances", ROWS, "s", labels=PLAIN),
    "columns": Workload(
        "columns",
        "list() of a key and one column of an edition, for each type of column: microseconds per row",
        "columns",
        ROWS,
        "us",
        labels=PLAIN,
    ),
    "rows-receiver": Workload(
        "rows with a receiver",
        "list() of eight plain columns of all editions, with a receiver of post_init",
        "columns",
        PLAIN_ROWS,
        "s",
        labels=PLAIN,
    ),
    "rows-own": Workload(
        "rows with an own __init__",
        "list() of all editions, their model with an __init__ of its own",
        "columns",
        PLAIN_ROWS,
        "s",
        labels=PLAIN,
    ),
    "bytes": Workload("bytes", "Memory of an instance", "instances", ("django", "memoized"), "bytes", labels=PLAIN),
    "chunk-fk": Workload(
        "process_chunk, keys",
        "process_chunk alone, memo warm: three foreign keys, none null",
        "process_chunk",
        ("django", "original", "this"),
        "us",
        labels=ON_A_LIST,
    ),
    "chunk-m2m": Workload(
        "process_chunk, links",
        "process_chunk alone, memo warm, links new: many-to-many, two targets per object on average",
        "process_chunk",
        ("django", "original", "this"),
        "us",
        labels=ON_A_LIST,
    ),
    "chunk-kinds": Workload(
        "process_chunk, kinds",
        "process_chunk alone, links and reverse rows new: five lookups over four kinds of relation",
        "process_chunk",
        ("django", "this"),
        "us",
        labels=ON_A_LIST,
    ),
    "one-list": Workload(
        "one list",
        "One list of 20 objects with three foreign keys to one table, a new MemoizedPrefetch each time",
        "process_chunk",
        ("django", "original", "this"),
        "us",
        labels=ON_A_LIST,
    ),
}


def is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def has_fetch_modes() -> bool:
    import django

    return django.VERSION >= (6, 1)


# Contenders that cannot run everywhere: whether they can run here, and what they need.
NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "fetch_peers": (has_fetch_modes, "Django 6.1"),
    "auto_prefetch": (lambda: is_installed("auto_prefetch"), "django-auto-prefetch"),
    "sqlalchemy": (lambda: is_installed("sqlalchemy"), "SQLAlchemy"),
}
