"""Runs each path whose instructions are counted once: `python -m benchmarks.instructions.hot_paths DATABASE LIBRARY`.

Run under callgrind. Prints, as a line of JSON, how many objects each path processed.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.bookshop.data import set_up

CHUNK = 2_000
LINKED, LINKS = 200, 20


def main(database: str, library: str) -> None:
    set_up(database)
    from django.db import connection, transaction

    collect = ctypes.CDLL(library)
    connection.make_cursor = lambda cursor: uncounted(collect)(cursor, connection)

    @contextmanager
    def counted(name: str) -> Iterator[None]:
        gc.collect()
        gc.disable()  # when it runs depends on everything before
        collect.collect_start()
        yield
        collect.collect_stop(name.encode())
        gc.enable()

    objects = {}
    with transaction.atomic():
        for name, path in paths().items():
            objects[name] = path(lambda name=name: counted(name))
        transaction.set_rollback(True)
    print(json.dumps(objects))


def uncounted(collect: ctypes.CDLL) -> Any:
    """The class of cursors whose work in the driver is not counted."""
    from django.db.backends.utils import CursorWrapper

    class UncountedCursor(CursorWrapper):
        def driver(self, call: Callable[..., Any], *args: Any) -> Any:
            collect.collect_toggle()
            try:
                return call(*args)
            finally:
                collect.collect_toggle()

        def execute(self, sql: str, params: Any = None) -> Any:
            return self.driver(self.cursor.execute, *((sql,) if params is None else (sql, params)))

        def fetchone(self) -> Any:
            return self.driver(self.cursor.fetchone)

        def fetchmany(self, *args: int) -> Any:
            return self.driver(self.cursor.fetchmany, *args)

        def fetchall(self) -> Any:
            return self.driver(self.cursor.fetchall)

        def __iter__(self) -> Iterator[Any]:
            return iter(self.fetchall())

    return UncountedCursor


def paths() -> dict[str, Callable[[Callable[[], Any]], int]]:
    """By name: a function that does the counted work in the block it opens, and returns the number of objects."""
    from django.db import connection

    from benchmarks.bookshop.models import Book, Category
    from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig, memoized

    def process(prefetch: MemoizedPrefetch, objects: list[Any], counted: Any) -> None:
        """Counts the second half of the objects, after processing the first half."""
        half = len(objects) // 2
        prefetch.process_chunk(objects[:half])
        chunk = objects[half:]
        with counted():
            prefetch.process_chunk(chunk)

    def books() -> list[Any]:
        return list(Book.objects.order_by("pk")[: 2 * CHUNK])

    def foreign_keys(counted: Any) -> int:
        process(MemoizedPrefetch("author", "translator", "publisher", lru_cache_size=None), books(), counted)
        return CHUNK

    def many_to_many(counted: Any) -> int:
        process(MemoizedPrefetch(MemoizedPrefetchConfig(Category, ["categories"], prefetch_all=True)), books(), counted)
        return CHUNK

    def reverse(counted: Any) -> int:
        process(MemoizedPrefetch("reviews"), books(), counted)
        return CHUNK

    def hydrate(*related: str) -> Callable[[Any], int]:
        def path(counted: Any) -> int:
            books = Book.objects.order_by("pk")
            queryset = memoized(books.select_related(*related) if related else books)[:CHUNK]
            for _ in range(2):
                list(queryset.all())
            queryset = queryset.all()
            with counted():
                list(queryset)
            return CHUNK

        return path

    def link_rows(counted: Any) -> int:
        """So many links that little else counts."""
        first = Book.objects.order_by("-pk")[0].pk + 1
        keys = list(Category.objects.order_by("pk").values_list("pk", flat=True)[:LINKS])
        book = Book.objects.get(pk=1)
        both = range(first, first + 2 * LINKED)
        Book.objects.bulk_create(
            Book(pk=pk, title="", isbn="", author_id=book.author_id, publisher_id=book.publisher_id) for pk in both
        )
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO bookshop_book_categories (book_id, category_id) VALUES (%s, %s)",
                [(pk, key) for pk in both for key in keys],
            )
        prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Category, ["categories"], prefetch_all=True))
        process(prefetch, list(Book.objects.filter(pk__gte=first)), counted)
        return LINKED * LINKS

    return {
        "process_chunk: three foreign keys, per object": foreign_keys,
        "process_chunk: many-to-many, per object": many_to_many,
        "process_chunk: reverse, per object": reverse,
        "hydrate: plain, per row": hydrate(),
        "hydrate: select_related of two, per row": hydrate("author", "publisher"),
        "link rows, per link": link_rows,
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
