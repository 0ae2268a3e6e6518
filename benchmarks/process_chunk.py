"""`process_chunk` alone: what it costs per object once everything that it may remember is in memory.

Samples are microseconds, one per chunk. Django builds a chunk's objects before the clock starts. Every chunk is new:
the targets are in the memo, but the objects and their links were never seen, because processing a chunk for the second
time measures nothing that a user would do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

from chunkator import chunkator_page
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.db.models import prefetch_related_objects

from .bookshop.models import Author, Book, Category, Panel, Publisher
from .outcome import Outcome
from .readers import read_book_categories, read_book_keys
from .streaming import AUTHORS_KEPT, CHUNK

LIST_LENGTH = 20
LISTS = 500


class TimedCursor(CursorWrapper):
    """Adds up the seconds spent in the database: running the statement and taking its rows as tuples.

    SQLite runs a query while its rows are taken, so timing `execute` alone would charge most of it to the caller.
    """

    seconds = 0.0

    @classmethod
    def timed(cls, call: Callable[..., Any], *args: Any) -> Any:
        start = perf_counter()
        try:
            return call(*args)
        finally:
            cls.seconds += perf_counter() - start

    def execute(self, sql: str, params: Any = None) -> Any:
        return self.timed(super().execute, sql, params)

    def fetchone(self) -> Any:
        return self.timed(super().__getattr__("fetchone"))

    def fetchmany(self, *args: int) -> Any:
        return self.timed(super().__getattr__("fetchmany"), *args)

    def fetchall(self) -> Any:
        return self.timed(super().__getattr__("fetchall"))

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fetchall())


def keys_django() -> Outcome:
    return keys(lambda chunk: prefetch_related_objects(chunk, "author", "translator", "publisher"))


def keys_memoized() -> Outcome:
    from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig

    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Author, ["author", "translator"], prefetch_all=True, lru_cache_size=AUTHORS_KEPT),
        MemoizedPrefetchConfig(Publisher, ["publisher"], prefetch_all=True),
    )
    outcome = keys(prefetch.process_chunk)
    if outcome.queries:
        raise RuntimeError(f"the memo was not warm: {outcome.queries} queries")
    return outcome


def keys(process_chunk: Callable[[list[Book]], object]) -> Outcome:
    outcome = Outcome()
    # Translated books only, so that all three keys are set and none is skipped for free.
    for chunk in chunkator_page(Book.objects.filter(translator__isnull=False), CHUNK):
        with connection.execute_wrapper(outcome):
            start = perf_counter()
            process_chunk(chunk)
            seconds = perf_counter() - start
        outcome.add("per object and key", seconds * 1e6 / len(chunk) / 3)
        outcome.checksum += read_book_keys(chunk)
    return outcome


def links_django() -> Outcome:
    return links(lambda chunk: prefetch_related_objects(chunk, "categories"))


def links_memoized() -> Outcome:
    from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig

    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(
            model=Category,
            attributes=["categories"],
            prefetch_all=True,
            is_many_to_many=True,
            through_model=Book.categories.through,
            source_field="book_id",
            target_field="category_id",
        )
    )
    outcome = links(prefetch.process_chunk)
    chunks = len(outcome.samples["per object"])
    if outcome.queries != chunks:
        raise RuntimeError(f"the link query of every chunk was expected: {outcome.queries} queries, {chunks} chunks")
    return outcome


def links(process_chunk: Callable[[list[Book]], object]) -> Outcome:
    # The link query's own time is the time in the cursor. The rest is the contender's, even Django's compiling of the
    # query. The time of Django's values_list() of the same links is for comparison only.
    connection.make_cursor = lambda cursor: TimedCursor(cursor, connection)
    through = Book.categories.through.objects
    outcome = Outcome()
    for chunk in chunkator_page(Book.objects.all(), CHUNK):
        with connection.execute_wrapper(outcome):
            TimedCursor.seconds = 0.0
            start = perf_counter()
            process_chunk(chunk)
            seconds = perf_counter() - start
            query_seconds = TimedCursor.seconds
        ids = [book.id for book in chunk]
        start = perf_counter()
        list(through.filter(book_id__in=ids).values_list("book_id", "category_id"))
        values_list_seconds = perf_counter() - start
        outcome.add("per object", seconds * 1e6 / len(chunk))
        outcome.add("without the query", (seconds - query_seconds) * 1e6 / len(chunk))
        outcome.add("the query", query_seconds * 1e6 / len(chunk))
        outcome.add("values_list() of the links", values_list_seconds * 1e6 / len(chunk))
        outcome.checksum += read_book_categories(chunk)
    return outcome


KINDS = ("author", "publisher", "categories", "reviews", "cover")
KINDS_CHUNKS = 50


def kinds_django() -> Outcome:
    return kinds("per object", lambda: lambda chunk: prefetch_related_objects(chunk, *KINDS), warm=False)


def kinds_memoized() -> Outcome:
    from django_memoized_prefetch import MemoizedPrefetch

    def warm() -> Callable[[list[Book]], object]:
        # The first chunks load all 20,000 authors, 500 publishers and 300 categories.
        return MemoizedPrefetch(*KINDS, model=Book, lru_cache_size=AUTHORS_KEPT).process_chunk

    def cold() -> Callable[[list[Book]], object]:
        return lambda chunk: MemoizedPrefetch(*KINDS, model=Book).process_chunk(chunk)

    outcome = kinds("per object", warm, warm=True)
    return kinds("per object, cold", cold, warm=False, outcome=outcome)


def kinds(
    figure: str,
    construct: Callable[[], Callable[[list[Book]], object]],
    *,
    warm: bool,
    outcome: Outcome | None = None,
) -> Outcome:
    """Five lookups over four kinds of relation: foreign keys, many-to-many, reverse foreign key and one-to-one."""
    outcome = outcome or Outcome()
    process_chunk = construct()
    for number, chunk in enumerate(chunkator_page(Book.objects.all(), CHUNK)):
        if number == KINDS_CHUNKS * (2 if warm else 1):
            break
        start = perf_counter()
        process_chunk(chunk)
        seconds = perf_counter() - start
        if warm and number < KINDS_CHUNKS:
            continue
        with connection.execute_wrapper(outcome):
            outcome.add(figure, seconds * 1e6 / len(chunk))
    return outcome


def one_list_django() -> Outcome:
    return one_list(lambda: None, lambda _, panels: prefetch_related_objects(panels, "moderator", "guest", "critic"))


def one_list_memoized() -> Outcome:
    from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig

    return one_list(
        lambda: MemoizedPrefetch(MemoizedPrefetchConfig(Author, ["moderator", "guest", "critic"])),
        lambda prefetch, panels: prefetch.process_chunk(panels),
    )


def one_list(construct: Callable[[], Any], process: Callable[[Any, list[Panel]], object]) -> Outcome:
    outcome = Outcome()
    for panels in lists_of_panels():
        with connection.execute_wrapper(outcome):
            start = perf_counter()
            prefetch = construct()
            constructed = perf_counter()
            process(prefetch, panels)
            end = perf_counter()
        outcome.add("per list", (end - start) * 1e6)
        if prefetch is not None:
            outcome.add("construction per relation", (constructed - start) * 1e6 / 3)
        outcome.checksum += sum(panel.id * (panel.moderator.id + panel.guest.id + panel.critic.id) for panel in panels)
    return outcome


def lists_of_panels() -> Iterator[list[Panel]]:
    lists = 0
    while lists < LISTS:
        for panels in chunkator_page(Panel.objects.all(), LIST_LENGTH):
            yield panels
            lists += 1


RUNS: dict[tuple[str, str], Callable[[], Outcome]] = {
    ("chunk-fk", "django"): keys_django,
    ("chunk-fk", "original"): keys_memoized,
    ("chunk-fk", "this"): keys_memoized,
    ("chunk-m2m", "django"): links_django,
    ("chunk-m2m", "original"): links_memoized,
    ("chunk-m2m", "this"): links_memoized,
    ("chunk-kinds", "django"): kinds_django,
    ("chunk-kinds", "this"): kinds_memoized,
    ("one-list", "django"): one_list_django,
    ("one-list", "original"): one_list_memoized,
    ("one-list", "this"): one_list_memoized,
}


def run(workload: str, contender: str) -> Outcome:
    return RUNS[workload, contender]()
