"""docs/recipes.md: the examples read what Django reads, with the queries that they promise."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from rest_framework.test import APIRequestFactory

from tests.python.bookshop.models import Author, Book, Publisher
from tests.python.conftest import FIRST_KEY, Bookshop, fill_bookshop
from tests.python.documents import examples
from tests.python.documents.running import (
    BOOKS,
    CHUNK,
    CHUNKS,
    MODELS,
    assert_queries,
    csv_lines,
    lines,
    run,
    run_as_program,
    stored_books,
)
from tests.python.isolated import isolated
from tests.python.queries import captured_queries, query_count

COMMAND = examples("docs/recipes.md", "A management command that can be stopped", CHUNK)
PROCESSES = examples("docs/recipes.md", "Several processes", CHUNK)
IMPORT_EXPORT = examples("docs/recipes.md", "django-import-export", CHUNK)
REST_FRAMEWORK = examples("docs/recipes.md", "Django REST framework", CHUNK)
CHUNKATOR = examples("docs/recipes.md", "chunkator", CHUNK)
TENANTS = examples("docs/recipes.md", "A loop over tenants", CHUNK)


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
        printed = run_as_program(example, directory)
        files = sorted(directory.glob("*.csv"))
        assert [line for file in files for line in file.read_text().splitlines()] == expected
    assert len(files) == BOOKS  # more parts are asked for
    (publishers,) = (line.split() for line in printed.splitlines() if line.startswith("publisher "))
    assert publishers[1] == str(BOOKS)


def test_import_export(bookshop: Bookshop) -> None:
    (example,) = IMPORT_EXPORT
    printed, queries, _ = run(example)
    expected = [f"{book.title},{book.author.name},{book.publisher.name}" for book in stored_books()]
    assert list(filter(None, printed)) == ["title,author,publisher", *expected]
    assert_queries(queries, books=1 + CHUNKS, authors=2, publishers=1)


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
