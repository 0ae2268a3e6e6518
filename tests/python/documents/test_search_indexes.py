"""docs/search-indexes.md: the recipes write what the packages alone write, with the queries that they promise."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from django_elasticsearch_dsl.registries import DocumentRegistry

from tests.python.conftest import Bookshop
from tests.python.databases import on_one_database
from tests.python.documents import ROOT, examples
from tests.python.documents.running import BOOKS, CHUNK, CHUNKS, assert_queries, run, stored_books
from tests.python.indexing import PACKAGES
from tests.python.queries import captured_queries

ELASTICSEARCH = examples("docs/search-indexes.md", "django-elasticsearch-dsl", CHUNK)
for heading, _ in PACKAGES.values():
    examples("docs/search-indexes.md", heading)


def test_elasticsearch_dsl(bookshop: Bookshop) -> None:
    (example,) = ELASTICSEARCH
    *_, variables = run(example)
    document = DocumentRegistry().register_document(variables["BookDocument"])()
    with captured_queries() as queries:
        prepared = [document.prepare(book) for book in document.get_indexing_queryset()]
    assert prepared == [
        {"title": book.title, "author": {"name": book.author.name}, "publisher": {"name": book.publisher.name}}
        for book in stored_books()
    ]
    assert_queries(queries, books=1, authors=2, publishers=1)


def in_a_process(test: Callable[..., None]) -> Callable[..., None]:
    """For packages that need settings of their own: each runs in a process and a database of its own."""
    return on_one_database(pytest.mark.django_db(databases=[])(test))


def indexed(package: str) -> tuple[dict[str, int], dict[str, int]]:
    """How often the recipe and the package alone read each table, if both write the same documents."""
    command = [sys.executable, "-m", "tests.python.indexing", package]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    recipe, stock = found["memoized"], found["stock"]
    documents = recipe.pop("documents")
    assert documents == stock.pop("documents")
    assert len(documents) == BOOKS
    assert len({str(one) for one in documents}) == BOOKS
    return recipe, stock


@in_a_process
@pytest.mark.parametrize(
    # haystack counts once; opensearch-dsl counts before it asks for confirmation, and when it begins.
    ("package", "counts"),
    [("haystack", 1), ("opensearch", 2)],
)
def test_slices(package: str, counts: int) -> None:
    recipe, stock = indexed(package)
    assert (stock["Book"], stock["Author"], stock["Publisher"]) == (counts + CHUNKS, CHUNKS, CHUNKS)
    assert (recipe["Book"], recipe["Author"], recipe["Publisher"]) == (counts + CHUNKS, 2, 1)
    assert recipe["queries"] == recipe["Book"] + 2 + 1


@in_a_process
def test_watson() -> None:
    recipe, stock = indexed("watson")
    assert (stock["Author"], stock["Publisher"]) == (BOOKS, BOOKS)
    # A page for each chunk, and the search for entries of books that are gone.
    assert (recipe["Book"], recipe["Author"], recipe["Publisher"]) == (CHUNKS + 1, 2, 1)
    assert recipe["queries"] < stock["queries"]


@in_a_process
@pytest.mark.since_python("3.10")
def test_wagtail() -> None:
    """`make third-party` runs the same recipe with Wagtail itself."""
    recipe, stock = indexed("wagtail")
    # Wagtail joins the authors.
    assert (stock["Category"], stock["Author"]) == (CHUNKS, 0)
    assert (recipe["Category"], recipe["Author"]) == (2, 0)
