"""The whole job: stream a table in chunks and read the related rows of each row.

All contenders but `raw` read their objects with the same loop. `original` and `this` are the same code in two
environments. `this` processes chunks of objects that Django built; `chunks` and `memoized` build them natively.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from time import perf_counter
from typing import Any, Callable

from chunkator import chunkator_page
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.db.models import Model

from .bookshop.models import Author, Book, Category, Edition, Publisher, Review
from .outcome import UNREAD, Outcome
from .readers import pass_over, read_book_categories, read_book_keys, read_editions, read_reviews

CHUNK = 2_000
AUTHORS_KEPT = 20_000  # All of them: with fewer, every contender that remembers reads some authors more than once.


@dataclass(frozen=True)
class Job:
    """
    One workload.

    configs: Arguments of MemoizedPrefetchConfig, in the form of version 0.1.2.
    kept: The `lru_cache_size` of all tables.
    """

    model: type[Model]
    lookups: tuple[str, ...]
    read: Callable[[Any], int]
    raw: Callable[[], int]
    configs: Callable[[], list[dict[str, Any]]]
    kept: int | None = AUTHORS_KEPT
    also_unread: bool = False  # also measured without the user's own loop


def table(cursor: CursorWrapper, columns: str, name: str) -> dict[int, tuple]:
    cursor.execute(f"SELECT {columns} FROM bookshop_{name}")
    return {row[0]: row for row in cursor}


def fk_raw() -> int:
    checksum = 0
    with connection.cursor() as cursor:
        authors = table(cursor, "id, name, email", "author")
        publishers = table(cursor, "id, name, country", "publisher")
        cursor.execute("SELECT id, title, isbn, author_id, translator_id, publisher_id FROM bookshop_book")
        for book, _, _, author, translator, publisher in cursor:
            checksum += book * (authors[author][0] + publishers[publisher][0])
            if translator is not None:
                checksum += book * authors[translator][0]
    return checksum


def m2m_raw() -> int:
    checksum = 0
    with connection.cursor() as cursor:
        categories = table(cursor, "id, name", "category")
        cursor.execute(
            "SELECT b.id, b.title, b.isbn, bc.category_id FROM bookshop_book b"
            " LEFT JOIN bookshop_book_categories bc ON bc.book_id = b.id"
        )
        for book, _, _, category in cursor:
            if category is not None:
                checksum += book * categories[category][0]
    return checksum


def nested_raw() -> int:
    checksum = 0
    with connection.cursor() as cursor:
        authors = table(cursor, "id, name, email", "author")
        publishers = table(cursor, "id, name, country", "publisher")
        books = table(cursor, "id, author_id, publisher_id", "book")
        cursor.execute("SELECT id, book_id, rating, comment FROM bookshop_review")
        for review, book, _, _ in cursor:
            _, author, publisher = books[book]
            checksum += review * (authors[author][0] + publishers[publisher][0])
    return checksum


def wide_raw() -> int:
    """Converts only the columns that the loop reads."""
    columns = [field.column for field in Edition._meta.concrete_fields]
    at = columns.index
    key, pages, price, published, details = map(at, ("id", "pages", "price", "published", "details"))
    illustrator, publisher, shelf = map(at, ("illustrator_id", "publisher_id", "shelf_id"))
    checksum = 0
    with connection.cursor() as cursor:
        authors = table(cursor, "id, name, email", "author")
        publishers = table(cursor, "id, name, country", "publisher")
        categories = table(cursor, "id, name", "category")
        cursor.execute(f"SELECT {', '.join(columns)} FROM bookshop_edition")
        for row in cursor:
            related = authors[row[illustrator]][0] + publishers[row[publisher]][0] + categories[row[shelf]][0]
            day = row[published]
            year = day.year if isinstance(day, date) else int(day[:4])
            checksum += row[key] * related + row[pages] + int(row[price]) + year + json.loads(row[details])["copies"]
    return checksum


JOBS = {
    "fk": Job(
        Book,
        ("author", "translator", "publisher"),
        read_book_keys,
        fk_raw,
        lambda: [
            {"model": Author, "attributes": ["author", "translator"], "lru_cache_size": AUTHORS_KEPT},
            {"model": Publisher, "attributes": ["publisher"], "prefetch_all": True},
        ],
    ),
    "m2m": Job(
        Book,
        ("categories",),
        read_book_categories,
        m2m_raw,
        lambda: [
            {
                "model": Category,
                "attributes": ["categories"],
                "is_many_to_many": True,
                "through_model": Book.categories.through,
                "source_field": "book_id",
                "target_field": "category_id",
            }
        ],
        kept=10_000,
        also_unread=True,
    ),
    "nested": Job(
        Review,
        ("book__author", "book__publisher"),
        read_reviews,
        nested_raw,
        lambda: [
            {"model": Publisher, "attributes": ["book.publisher"]},
            {"model": Author, "attributes": ["book__author"], "lru_cache_size": AUTHORS_KEPT},
        ],
    ),
    "wide": Job(
        Edition,
        ("illustrator", "publisher", "shelf"),
        read_editions,
        wide_raw,
        lambda: [
            {"model": Author, "attributes": ["illustrator"], "lru_cache_size": AUTHORS_KEPT},
            {"model": Publisher, "attributes": ["publisher"], "prefetch_all": True},
            {"model": Category, "attributes": ["shelf"], "prefetch_all": True},
        ],
    ),
}

# What a contender returns: iterables of rows whose related rows are at hand. Either many chunks, or one stream of all.
Rows = Iterable[Iterable[Any]]


def django(job: Job, _: Outcome) -> Rows:
    return [job.model.objects.prefetch_related(*job.lookups).iterator(chunk_size=CHUNK)]


def select_related(job: Job, _: Outcome) -> Rows:
    return [job.model.objects.select_related(*job.lookups).iterator(chunk_size=CHUNK)]


def fetch_peers(job: Job, _: Outcome) -> Rows:
    from django.db.models import FETCH_PEERS

    # In chunks: under iterator() each row comes alone and runs its own queries.
    return chunkator_page(job.model.objects.fetch_mode(FETCH_PEERS), CHUNK)


def auto_prefetch(job: Job, _: Outcome) -> Rows:
    from .auto_prefetch_bookshop import models

    return chunkator_page(getattr(models, job.model.__name__).objects.all(), CHUNK)  # in chunks as above


def process_chunk(job: Job, _: Outcome) -> Rows:
    from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig

    prefetch = MemoizedPrefetch(*(MemoizedPrefetchConfig(**config) for config in job.configs()))
    for chunk in chunkator_page(job.model.objects.all(), CHUNK):
        prefetch.process_chunk(chunk)
        yield chunk


def chunks(job: Job, outcome: Outcome) -> Rows:
    from django_memoized_prefetch import MemoizedPrefetch

    prefetch = MemoizedPrefetch(*job.lookups, lru_cache_size=job.kept)
    yield from prefetch.chunks(job.model.objects.all(), chunk_size=CHUNK)
    outcome.memo_bytes = sum(advice.bytes for advice in prefetch.stats().advice.values())


def memoized(job: Job, _: Outcome) -> Rows:
    from django_memoized_prefetch import memoized

    rows = memoized(job.model.objects.prefetch_related(*job.lookups), lru_cache_size=job.kept)
    return [rows.iterator(chunk_size=CHUNK)]


def memoized_all(job: Job, outcome: Outcome) -> Rows:
    return memoized(replace(job, kept=None), outcome)


CONTENDERS: dict[str, Callable[[Job, Outcome], Rows]] = {
    "django": django,
    "select_related": select_related,
    "fetch_peers": fetch_peers,
    "auto_prefetch": auto_prefetch,
    "original": process_chunk,
    "this": process_chunk,
    "chunks": chunks,
    "memoized": memoized,
    "memoized-all": memoized_all,
}


def run(workload: str, contender: str) -> Outcome:
    job, outcome = JOBS[workload], Outcome()
    connection.ensure_connection()

    def stream(read: Callable[[Iterable[Any]], int]) -> int:
        if contender == "raw":
            return job.raw()
        return sum(map(read, CONTENDERS[contender](job, outcome)))

    with connection.execute_wrapper(outcome):
        start = perf_counter()
        outcome.checksum = stream(job.read)
        outcome.add("seconds", perf_counter() - start)
    if job.also_unread and contender != "raw":
        gc.collect()
        start = perf_counter()
        stream(pass_over)
        outcome.add(UNREAD, perf_counter() - start)
    return outcome
