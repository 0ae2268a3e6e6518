"""Runs examples, and what their tests compare with."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.python.bookshop.models import Author, Book, Category, Publisher, Review
from tests.python.queries import Queries, captured_queries

CHUNK, BOOKS, REVIEWS = 3, 12, 24
CHUNKS = BOOKS // CHUNK
MODELS = {model.__name__: model for model in (Author, Book, Category, Publisher, Review)}


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


def csv_lines() -> list[str]:
    return [f"{book.title};{book.author.name};{book.publisher.name}" for book in stored_books()]


def run_as_program(example: str, directory: Path) -> str:
    """What an example prints as a program of its own, which finds the bookshop's models in `shop`."""
    shop = directory / "shop"
    shop.mkdir()
    (shop / "__init__.py").touch()
    (shop / "models.py").write_text("from tests.python.bookshop.models import *\n")
    (directory / "program.py").write_text(example)
    path = os.pathsep.join([str(directory), os.environ["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "tests.python.child_settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
