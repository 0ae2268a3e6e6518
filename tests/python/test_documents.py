"""Every example of README.md and docs/ is run: it reads what Django reads, with the queries that it promises."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from chunkator import chunkator_page
from django.core.management import call_command
from django.db import connection
from django.db.models import Prefetch
from django_elasticsearch_dsl.registries import DocumentRegistry
from rest_framework.test import APIRequestFactory

import django_memoized_prefetch
from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig, memoized
from tests.python.bookshop.models import Author, Book, Category, Publisher, Review
from tests.python.catalogue.models import Branch, Country, Transfer
from tests.python.conftest import FIRST_KEY, Bookshop, fill_bookshop
from tests.python.documents import DOCUMENTS, examples, sections, taken
from tests.python.isolated import isolated
from tests.python.queries import Queries, captured_queries, no_queries, query_count

CHUNK, BOOKS, REVIEWS = 3, 12, 24
CHUNKS = BOOKS // CHUNK
MODELS = {model.__name__: model for model in (Author, Book, Category, Publisher, Review)}

FIRST = examples("README.md", "django-memoized-prefetch", CHUNK)
MEMOIZED = examples("README.md", "A queryset as it is", CHUNK)
CONFIGS = examples("README.md", "Chunks", CHUNK)
STREAMING = examples("README.md", "Streaming in chunks", CHUNK)
LOOKUPS = examples("README.md", "Any lookup")
MANY_TO_MANY = examples("README.md", "Many-to-many")
NESTED = examples("README.md", "Nested", CHUNK)
ONE_LIST = examples("README.md", "One list")
ADVICE = examples("README.md", "What it did")
API = examples("README.md", "API")
VERSION_0_1 = examples("docs/migrating.md", "From version 0.1.2", CHUNK)
ITERATOR = examples("docs/migrating.md", "From `prefetch_related().iterator()`", CHUNK)
SELECT_RELATED = examples("docs/migrating.md", "From `select_related`", CHUNK)
PEERS = examples("docs/migrating.md", "From `FETCH_PEERS`", CHUNK)
DICTIONARIES = examples("docs/migrating.md", "From dictionaries made by hand", CHUNK)
COMMAND = examples("docs/recipes.md", "A management command that can be stopped", CHUNK)
PROCESSES = examples("docs/recipes.md", "Several processes", CHUNK)
IMPORT_EXPORT = examples("docs/recipes.md", "django-import-export", CHUNK)
ELASTICSEARCH = examples("docs/recipes.md", "django-elasticsearch-dsl", CHUNK)
REST_FRAMEWORK = examples("docs/recipes.md", "Django REST framework", CHUNK)
CHUNKATOR = examples("docs/recipes.md", "chunkator", CHUNK)
TENANTS = examples("docs/recipes.md", "A loop over tenants", CHUNK)
PROMETHEUS = examples("docs/recipes.md", "Prometheus", CHUNK)
OPEN_TELEMETRY = examples("docs/recipes.md", "OpenTelemetry", CHUNK)
BEFORE_THE_RUN = examples("docs/sizes.md", "Before the run", CHUNK)
SIZES = examples("docs/sizes.md", "From memory to sizes", CHUNK)
ONE_AMOUNT = examples("docs/sizes.md", "One amount for all tables", CHUNK)
AFTER_THE_RUN = examples("docs/sizes.md", "After the run", CHUNK)
PICTURE = examples("docs/sizes.md", "As a picture", CHUNK)


def run(example: str, **names: Any) -> tuple[list[str], Queries, dict[str, Any]]:
    """The lines that an example printed, its queries, and its variables."""
    variables: dict[str, Any] = {"__name__": "example", **MODELS, **names}
    with contextlib.redirect_stdout(io.StringIO()) as printed, captured_queries() as queries:
        exec(compile(example, "example", "exec"), variables)
    return printed.getvalue().splitlines(), queries, variables


def assert_queries(queries: Queries, *, books: int, authors: int, publishers: int) -> None:
    assert (queries.of(Book), queries.of(Author), queries.of(Publisher)) == (books, authors, publishers)


def lines(*names: str) -> list[str]:
    """What the examples print: the title and a name from each of the rows."""
    return [" ".join([book.title, *(getattr(book, name).name for name in names)]) for book in stored_books()]


def stored_books() -> list[Book]:
    return list(Book.objects.order_by("pk").select_related("author", "translator", "publisher"))


def test_every_example_is_run() -> None:
    assert taken == {(document, heading) for document in DOCUMENTS for heading in sections(document)}


# --- README.md

NAMES = {
    "MemoizedPrefetch": MemoizedPrefetch,
    "MemoizedPrefetchConfig": MemoizedPrefetchConfig,
    "Prefetch": Prefetch,
    "chunkator_page": chunkator_page,
    "memoized": memoized,
}


def test_first_example(bookshop: Bookshop) -> None:
    before, after = FIRST
    expected, queries, _ = run(before)
    assert expected == lines("author", "publisher")
    assert_queries(queries, books=1, authors=2 * CHUNKS, publishers=CHUNKS)
    printed, queries, _ = run(after)
    assert printed == expected
    assert_queries(queries, books=1, authors=2, publishers=1)


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


def test_any_lookup(bookshop: Bookshop) -> None:
    (example,) = LOOKUPS
    *_, variables = run(example, **NAMES)
    books = variables["prefetch"].process_chunk(stored_books())
    good = Review.objects.filter(rating__gte=4).order_by("pk")
    expected = [(list(good.filter(book=book)), set(Book.objects.filter(author=book.author_id))) for book in books]
    with no_queries():
        found = [(sorted(book.good_reviews, key=lambda one: one.pk), set(book.author.books.all())) for book in books]
    assert found == expected


def test_many_to_many(bookshop: Bookshop) -> None:
    (example,) = MANY_TO_MANY
    *_, variables = run(example, **NAMES)
    expected = [set(book.categories.all()) for book in stored_books()]
    books = list(Book.objects.order_by("pk"))
    with query_count(2):
        variables["prefetch"].process_chunk(books)
    with no_queries():
        assert [set(book.categories.all()) for book in books] == expected


def test_nested(bookshop: Bookshop) -> None:
    (example,) = NESTED
    _, queries, variables = run(example, **NAMES)
    assert len(queries) <= (REVIEWS // CHUNK + 1) + 3 * (REVIEWS // CHUNK)
    with no_queries():
        assert all(review.book.author.name and review.book.publisher.name for review in variables["chunk"])


def test_one_list() -> None:
    (example,) = ONE_LIST
    country = Country.objects.create(code="se", name="Sweden")
    branches = [Branch.objects.create(name=name, country=country) for name in ("north", "south", "west")]
    Transfer.objects.create(origin=branches[0], via=branches[1], destination=branches[2])
    _, queries, variables = run(example, **NAMES, Transfer=Transfer, Branch=Branch)
    assert len(queries) == 2
    (transfer,) = variables["transfers"]
    with no_queries():
        assert [transfer.origin, transfer.via, transfer.destination] == branches


def test_advice(bookshop: Bookshop) -> None:
    (example,) = ADVICE
    prefetch = MemoizedPrefetch("author")
    list(prefetch.chunks(Book.objects.all(), CHUNK))
    _, queries, variables = run(example, prefetch=prefetch)
    assert len(queries) == 0
    assert variables["advice"].enough == 5


def test_signatures() -> None:
    (example,) = API
    documented = dict(re.findall(r"^(?:    )?(\.?\w+)(\(.*?\))", example, re.DOTALL | re.MULTILINE))
    for name, arguments in documented.items():
        given = getattr(MemoizedPrefetch if name[0] == "." else django_memoized_prefetch, name.lstrip("."))
        parameters = list(inspect.signature(given).parameters.values())
        if name[0] == ".":
            parameters = parameters[1:]
        signature = inspect.Signature([one.replace(annotation=inspect.Parameter.empty) for one in parameters])
        assert " ".join(arguments.replace("10_000", "10000").split()) == str(signature).replace("'", '"'), name


# --- docs/migrating.md


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


# --- docs/recipes.md


def csv_lines() -> list[str]:
    return [f"{book.title};{book.author.name};{book.publisher.name}" for book in stored_books()]


def test_management_command(bookshop: Bookshop, tmp_path: Path) -> None:
    (example,) = COMMAND
    *_, variables = run(example)
    command_class, output = variables["Command"], tmp_path / "books.csv"
    checkpoint = tmp_path / "books.checkpoint"

    class StoppedLate(io.StringIO):
        """Where the command writes how far it is; the second time that it does, it is stopped."""

        def write(self, text: str) -> int:
            if self.tell():
                raise KeyboardInterrupt
            return super().write(text)

    with pytest.raises(KeyboardInterrupt):
        call_command(command_class(), output, stdout=io.StringIO(), stderr=StoppedLate())
    assert checkpoint.read_text() == str(FIRST_KEY + 2 * CHUNK - 1)
    said = io.StringIO()
    with captured_queries() as queries:
        call_command(command_class(), output, stdout=said, stderr=io.StringIO())
    assert output.read_text().splitlines() == csv_lines()
    assert not checkpoint.exists()
    assert queries.of(Publisher) == 1
    assert "Book: read in pages by primary key" in said.getvalue()


@isolated(in_file=True)
def test_several_processes() -> None:
    import tempfile

    with connection.schema_editor() as editor:
        for model in MODELS.values():
            editor.create_model(model)
    fill_bookshop()
    expected = csv_lines()
    connection.close()
    (example,) = PROCESSES
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        shop = directory / "shop"
        shop.mkdir()
        (shop / "__init__.py").touch()
        (shop / "models.py").write_text("from tests.python.bookshop.models import *\n")
        (directory / "export.py").write_text(example)
        path = os.pathsep.join([name, os.environ["PYTHONPATH"]])
        done = subprocess.run(
            [sys.executable, "export.py"],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "tests.python.settings"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        files = sorted(directory.glob("books-*.csv"))
        assert [line for file in files for line in file.read_text().splitlines()] == expected
    assert len(files) == 4
    (publishers,) = (line.split() for line in done.stdout.splitlines() if line.startswith("publisher "))
    assert publishers[1] == str(BOOKS)


def test_import_export(bookshop: Bookshop) -> None:
    (example,) = IMPORT_EXPORT
    printed, queries, _ = run(example)
    expected = [f"{book.title},{book.author.name},{book.publisher.name}" for book in stored_books()]
    assert list(filter(None, printed)) == ["title,author,publisher", *expected]
    assert_queries(queries, books=1 + CHUNKS, authors=2, publishers=1)


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


def test_rest_framework(bookshop: Bookshop, settings: Any) -> None:
    listed, streamed = REST_FRAMEWORK
    *_, variables = run(listed)
    expected = [
        {
            "id": book.pk,
            "title": book.title,
            "author": book.author.name,
            "translator": book.translator and book.translator.name,
            "publisher": book.publisher.name,
        }
        for book in stored_books()
    ]
    settings.REST_FRAMEWORK = {"UNAUTHENTICATED_USER": None}  # django.contrib.auth is not installed here
    view = variables["BookList"].as_view()
    for _ in range(2):  # each request reads anew
        with query_count(1 + 2) as queries:
            response = view(APIRequestFactory().get("/"))
        assert_queries(queries, books=1, authors=1, publishers=1)
        assert response.data == expected
    *_, variables = run(streamed, **variables)
    with captured_queries() as queries:
        assert list(variables["all_books"]()) == expected
    assert_queries(queries, books=1, authors=2, publishers=1)


def test_chunkator(bookshop: Bookshop) -> None:
    (example,) = CHUNKATOR
    printed, queries, _ = run(example)
    assert printed == lines("author", "publisher")
    # After the last full page it asks for one more.
    assert_queries(queries, books=CHUNKS + 1, authors=2, publishers=1)


def test_a_database_for_each_tenant(bookshop: Bookshop, other_bookshop: Bookshop) -> None:
    # The first is of django-tenants: it runs in tests/python/tenants.
    _, example = TENANTS
    printed, queries, _ = run(example)
    expected = [
        f"{alias} {book.title} {book.author.name} {book.publisher.name}"
        for alias in ("default", "other")
        for book in Book.objects.using(alias).order_by("pk").select_related("author", "publisher")
    ]
    assert printed == expected
    assert any("author 0 of other" in line for line in printed)
    assert (queries.of(Author), queries.of(Publisher)) == (2 * 2, 2)


# --- docs/sizes.md


def test_how_large_the_memory_should_be(bookshop: Bookshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, figures = BEFORE_THE_RUN
    output, queries, names = run(before)
    assert len(queries) == 1
    assert "\n".join(output).startswith("12 rows of Book, in 4 chunks of 3")
    run(figures, **names)
    names = run(SIZES[0], **names)[2]
    assert names["sizes"] == {"Author": 5, "Publisher": 3}
    planned = names["plan"].queries
    stats = [names["prefetch"].stats() for _ in names["prefetch"].chunks(Book.objects.all(), CHUNK)][-1]
    assert stats.queries == planned
    output, queries, names = run(ONE_AMOUNT[0], **names)
    assert any("of 200.0 MB used" in line for line in output)
    run(AFTER_THE_RUN[0], **names)
    monkeypatch.chdir(tmp_path)
    run(PICTURE[0], **names)
    assert "<svg" in (tmp_path / "curves.svg").read_text()


def test_prometheus(bookshop: Bookshop) -> None:
    from prometheus_client import REGISTRY

    prefetch = MemoizedPrefetch("author")
    run(PROMETHEUS[0], prefetch=prefetch)
    stats = prefetch.stats()
    labels = {"run": "books", "table": "Author", "figure": "hits"}
    assert REGISTRY.get_sample_value("prefetch", labels) == stats.tables["Author"].hits > 0
    labels = {"run": "books", "table": "", "figure": "seconds_fetching"}
    assert REGISTRY.get_sample_value("prefetch", labels) == stats.time.fetching > 0


def test_open_telemetry(bookshop: Bookshop) -> None:
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))
    prefetch = MemoizedPrefetch("author")
    run(OPEN_TELEMETRY[0], prefetch=prefetch)
    list(prefetch.chunks(Book.objects.all(), CHUNK))
    data = reader.get_metrics_data()
    [metric] = data.resource_metrics[0].scope_metrics[0].metrics
    points = {point.attributes["figure"]: point.value for point in metric.data.data_points}
    assert points["misses"] == prefetch.stats().tables["Author"].misses > 0
