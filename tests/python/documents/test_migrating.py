"""docs/migrating.md: each example, before and after."""

from __future__ import annotations

import pytest

from tests.python.bookshop.models import Author, Book, Publisher, Review
from tests.python.conftest import Bookshop
from tests.python.documents import examples
from tests.python.documents.running import BOOKS, CHUNK, CHUNKS, REVIEWS, assert_queries, lines, run

VERSION_0_1 = examples("docs/migrating.md", "From version 0.1.2", CHUNK)
ITERATOR = examples("docs/migrating.md", "From `prefetch_related().iterator()`", CHUNK)
SELECT_RELATED = examples("docs/migrating.md", "From `select_related`", CHUNK)
PEERS = examples("docs/migrating.md", "From `FETCH_PEERS`", CHUNK)
DICTIONARIES = examples("docs/migrating.md", "From dictionaries made by hand", CHUNK)


def test_from_version_0_1(bookshop: Bookshop) -> None:
    before, after = VERSION_0_1
    expected, queries, _ = run(before)
    assert len(expected) == BOOKS
    assert queries.of(Publisher) == 1
    assert queries.of(Author) <= 2
    printed, queries, _ = run(after)
    assert printed == expected
    assert queries.of(Book) == queries.of(Publisher) == 1
    assert queries.of(Author) <= 2


def test_from_prefetch_related_with_iterator(bookshop: Bookshop) -> None:
    before, after, with_stats = ITERATOR
    expected, queries, _ = run(before)
    assert expected == lines("author", "publisher")
    assert_queries(queries, books=1, authors=2 * CHUNKS, publishers=CHUNKS)
    printed, queries, _ = run(after)
    assert printed == expected
    # Of the four chunks the first two bring every author.
    assert_queries(queries, books=1, authors=2, publishers=1)
    printed, queries, _ = run(with_stats)
    assert printed[:BOOKS] == lines("author")
    assert_queries(queries, books=1, authors=2, publishers=0)
    assert printed[-2] == "Author: 20,000 kept, 5 would have done"


def test_from_select_related(bookshop: Bookshop) -> None:
    before, after, both = SELECT_RELATED
    expected, queries, _ = run(before)
    assert len(queries) == 1
    # A join gives them in any order.
    assert sorted(expected) == sorted(lines("author", "publisher"))
    printed, queries, variables = run(after)
    assert sorted(printed) == sorted(expected)
    assert_queries(queries, books=1, authors=2, publishers=1)
    built = list(variables["books"])
    assert len({id(book.author) for book in built}) == len({book.author_id for book in built}) < BOOKS
    printed, queries, _ = run(both)
    stored = Review.objects.order_by("pk").select_related("book__author")
    assert sorted(printed) == sorted(f"{one.rating} {one.book.title} {one.book.author.name}" for one in stored)
    assert (queries.of(Review), queries.of(Book), queries.of(Author)) == (1, 0, len(queries) - 1)
    assert len(queries) < 1 + REVIEWS // CHUNK


@pytest.mark.since("6.1")
def test_from_fetch_peers(bookshop: Bookshop) -> None:
    before, after, in_chunks = PEERS
    expected, queries, _ = run(before)
    assert expected == lines("author", "publisher")
    assert_queries(queries, books=1, authors=BOOKS, publishers=BOOKS)
    printed, queries, _ = run(after)
    assert printed == expected
    assert_queries(queries, books=1, authors=2, publishers=1)
    printed, queries, variables = run(in_chunks)
    assert printed == expected
    assert (queries.of(Author), queries.of(Publisher)) == (2, CHUNKS)
    assert variables["prefetch"].stats().streams == {"Book": "in pages by primary key"}


def test_from_dictionaries(bookshop: Bookshop) -> None:
    before, after = DICTIONARIES
    expected, queries, _ = run(before)
    assert expected == lines("author", "publisher")
    assert_queries(queries, books=1, authors=5, publishers=1)
    printed, queries, variables = run(after)
    assert printed == expected
    assert (queries.of(Author), queries.of(Publisher)) == (2, 1)
    assert variables["prefetch"].stats().tables["Author"].bound == 50_000
