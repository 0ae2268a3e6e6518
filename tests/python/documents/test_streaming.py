"""docs/streaming.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asgiref.sync import async_to_sync

from django_memoized_prefetch import MemoizedPrefetch, memoized
from tests.python.bookshop.models import Author, Review
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.documents import examples
from tests.python.documents.running import CHUNK, CHUNKS, assert_queries, lines, run, stored_books

MEMOIZED = examples("docs/streaming.md", "A queryset as it is", CHUNK)
CONFIGS = examples("docs/streaming.md", "Your own chunks", CHUNK)
STREAMING = examples("docs/streaming.md", "Streaming in chunks", CHUNK)
ASYNC = examples("docs/streaming.md", "In async code", CHUNK)
NAMES = {"MemoizedPrefetch": MemoizedPrefetch, "memoized": memoized}


def test_queryset_as_it_is(bookshop: Bookshop) -> None:
    (example,) = MEMOIZED
    printed, queries, _ = run(example, **NAMES)
    reviews = Review.objects.order_by("pk").filter(rating__gte=4).select_related("book__author")
    assert sorted(printed) == sorted(f"{review.book.title} {review.book.author.name}" for review in reviews)
    assert (queries.of(Review), queries.of(Author), len(queries)) == (1, 2, 3)


def test_configs(bookshop: Bookshop) -> None:
    (example,) = CONFIGS
    printed, queries, _ = run(example)
    assert printed == lines("author", "publisher")
    assert_queries(queries, books=CHUNKS + 1, authors=2, publishers=1)


def test_streaming_in_chunks(bookshop: Bookshop, tmp_path: Path) -> None:
    loop, checkpointed = STREAMING
    printed, queries, names = run(loop, **NAMES)
    assert printed == lines("author", "publisher")
    # The first and the last key for the bar, two queries, and the pages.
    assert_queries(queries, books=2 + CHUNKS, authors=2, publishers=1)

    exported: list[Any] = []
    checkpoint = tmp_path / "checkpoint"
    checkpoint.write_text(str(FIRST_KEY + 4))
    run(checkpointed, **{**names, "checkpoint": checkpoint, "export": exported.extend})
    books = stored_books()
    assert exported == books[5:]
    assert checkpoint.read_text() == str(FIRST_KEY + 11)
    checkpoint.unlink()
    run(checkpointed, **{**names, "checkpoint": checkpoint, "export": exported.extend})
    assert exported[7:] == books


def test_async(bookshop: Bookshop) -> None:
    (example,) = ASYNC
    *_, names = run(example, **NAMES)
    names["export_all"] = async_to_sync(names["export_all"])
    printed, queries, _ = run("export_all()", **names)
    assert printed == lines("author", "publisher")
    assert_queries(queries, books=CHUNKS, authors=2, publishers=1)
