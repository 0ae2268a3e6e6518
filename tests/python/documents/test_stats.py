"""docs/stats.md."""

from __future__ import annotations

import json

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.bookshop.models import Book
from tests.python.conftest import Bookshop
from tests.python.documents import examples
from tests.python.documents.running import BOOKS, CHUNK, run

REPORT = examples("docs/stats.md", "The report")
ADVICE = examples("docs/stats.md", "How large each memory should have been")
PROCESSES = examples("docs/stats.md", "Several processes")


def test_report(bookshop: Bookshop) -> None:
    (example,) = REPORT
    printed, *_ = run(example)
    tables = ["author", "translator", "publisher", "categories", "Author", "Publisher", "Category"]
    counted = [line.split() for line in printed if line.split(" ")[0] in tables]
    assert [name for name, *_ in counted] == tables
    requests, _, misses, *_ = counted[tables.index("publisher")][1:]
    assert (requests, misses) == (str(BOOKS), "0")


def test_advice(bookshop: Bookshop) -> None:
    (example,) = ADVICE
    prefetch = MemoizedPrefetch("author")
    list(prefetch.chunks(Book.objects.all(), CHUNK))
    _, queries, variables = run(example, prefetch=prefetch)
    assert len(queries) == 0
    assert variables["advice"].enough == 5


def test_stats_of_several_processes(bookshop: Bookshop) -> None:
    (example,) = PROCESSES
    prefetch = MemoizedPrefetch("author")
    list(prefetch.chunks(Book.objects.all(), CHUNK))
    *_, variables = run(example, prefetch=prefetch)
    assert json.loads(json.dumps(variables["message"])) == variables["message"]
    assert variables["total"].queries == 2 * prefetch.stats().queries > 0
