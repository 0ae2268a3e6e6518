"""docs/streaming.md."""

from __future__ import annotations

from pathlib import Path

import pytest
from asgiref.sync import async_to_sync

from tests.python.bookshop.models import Author, Review
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.documents import examples
from tests.python.documents.running import CHUNK, CHUNKS, assert_queries, lines, run

MEMOIZED = examples("docs/streaming.md", "A queryset as it is", CHUNK)
CONFIGS = examples("docs/streaming.md", "Your own chunks", CHUNK)
STREAMING = examples("docs/streaming.md", "Streaming in chunks", CHUNK)
ASYNC = examples("docs/streaming.md", "In async code", CHUNK)


def test_queryset_as_it_is(bookshop: Bookshop) -> None:
    (example,) = MEMOIZED
    printed, queries, _ = run(example)
    reviews = Review.objects.order_by("pk").filter(rating__gte=4).select_related("book__author")
    assert sorted(printed) == sorted(f"{review.book.title} {review.book.author.name}" for review in reviews)
    assert (queries.of(Review), queries.of(Author), len(queries)) == (1, 2, 3)


def test_configs(bookshop: Bookshop) -> None:
    (example,) = CONFIGS
    printed, queries, _ = run(example)
    assert printed == lines("author", "publisher")
    assert_queries(queries, books=CHUNKS + 1, authors=2, publishers=1)


def test_streaming_in_chunks(bookshop: Bookshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, checkpointed = STREAMING
    printed, queries, _ = run(loop)
    assert printed == lines("author", "publisher")
    assert_queries(queries, books=CHUNKS, authors=2, publishers=1)

    monkeypatch.chdir(tmp_path)
    checkpoint, exported = tmp_path / "books.checkpoint", tmp_path / "books.txt"
    checkpoint.write_text(str(FIRST_KEY + 4))
    run(checkpointed)
    assert exported.read_text().splitlines() == lines("author", "publisher")[5:]
    assert checkpoint.read_text() == str(FIRST_KEY + 11)
    checkpoint.unlink()
    exported.unlink()
    run(checkpointed)
    assert exported.read_text().splitlines() == lines("author", "publisher")


def test_async(bookshop: Bookshop) -> None:
    (example,) = ASYNC
    *_, names = run(example)
    names["export_all"] = async_to_sync(names["export_all"])
    printed, queries, _ = run("export_all()", **names)
    assert printed == lines("author", "publisher")
    assert_queries(queries, books=CHUNKS, authors=2, publishers=1)
