"""README.md: it is short, and reads what Django reads with the queries that it promises."""

from __future__ import annotations

import re

from tests.python.bookshop.models import Category
from tests.python.conftest import Bookshop
from tests.python.documents import ROOT, examples
from tests.python.documents.running import CHUNK, CHUNKS, assert_queries, lines, run, stored_books

FIRST = examples("README.md", "django-memoized-prefetch", CHUNK)
IN_A_MINUTE = examples("README.md", "In a minute", CHUNK)


def test_it_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_first_example(bookshop: Bookshop) -> None:
    before, after = FIRST
    expected, queries, _ = run(before)
    assert expected == lines("author", "publisher")
    assert_queries(queries, books=1, authors=2 * CHUNKS, publishers=CHUNKS)
    printed, queries, _ = run(after)
    assert printed == expected
    assert_queries(queries, books=1, authors=2, publishers=1)


def test_in_a_minute(bookshop: Bookshop) -> None:
    (example,) = IN_A_MINUTE
    books = stored_books()
    # Categories have no order of their own.
    expected = [(f"{one.title} {one.author.name}", {each.name for each in one.categories.all()}) for one in books]
    printed, queries, _ = run(example)
    found = [line.rpartition(" [") for line in printed[: len(books)]]
    assert [(before, set(re.findall(r"'(.*?)'", names))) for before, _, names in found] == expected
    assert "by table" in printed
    assert_queries(queries, books=CHUNKS, authors=2, publishers=1)
    assert queries.of(Category) <= CHUNKS
