"""docs/tutorial.md: one story, run from the top to the bottom."""

from __future__ import annotations

import ast
import csv
import tempfile
from pathlib import Path

import pytest
from django.db import connection

from django_memoized_prefetch import Stats
from tests.python.bookshop import models
from tests.python.conftest import FIRST_KEY, Bookshop, fill_bookshop
from tests.python.documents import examples
from tests.python.documents.running import (
    BOOKS,
    CHUNK,
    CHUNKS,
    MODELS,
    assert_queries,
    run,
    run_as_program,
    stored_books,
)
from tests.python.isolated import isolated

HEADINGS = {
    name: examples("docs/tutorial.md", heading, CHUNK)
    for name, heading in {
        "models": "Tutorial: from `prefetch_related` to a hundred workers",
        "job": "The job",
        "memoized": "Remember the related rows",
        "resumed": "Stop and go on",
        "stats": "Look at what it did",
        "sizes": "Choose the sizes",
        "parts": "Cut the table into parts",
        "processes": "Use several processes",
        "workers": "Use a hundred workers",
    }.items()
}


def rows() -> list[list[str]]:
    """What is in the files."""
    return [
        [str(one.pk), one.title, one.author.name, one.translator.name if one.translator else "", one.publisher.name]
        for one in stored_books()
    ]


def in_file(*paths: Path) -> list[list[str]]:
    found = []
    for path in paths:
        with path.open(newline="") as file:
            found += list(csv.reader(file))
    return found


def statements(source: str) -> set[tuple[str, str]]:
    """The fields of each model."""
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    return {(node.name, ast.unparse(field)) for node in classes for field in node.body}


def test_the_models_are_those_of_the_tests() -> None:
    (example,) = HEADINGS["models"]
    assert statements(example) < statements(Path(models.__file__).read_text())


def test_from_the_job_to_a_hundred_workers(bookshop: Bookshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "books.csv"
    _, queries, names = run(HEADINGS["job"][0])
    assert_queries(queries, books=1, authors=2 * CHUNKS, publishers=CHUNKS)
    assert in_file(output) == rows()
    output.unlink()

    _, queries, names = run(HEADINGS["memoized"][0], **names)
    assert_queries(queries, books=1, authors=2, publishers=1)
    assert in_file(output) == rows()

    printed, _, names = run(HEADINGS["resumed"][0], **names)
    assert printed[-1] == f"{BOOKS} books, 100%"
    assert in_file(output) == rows()
    checkpoint: Path = names["checkpoint"]
    assert not checkpoint.exists()
    output.write_text("written before\n")
    (tmp_path / checkpoint).write_text(str(FIRST_KEY + 4))
    *_, names = run(HEADINGS["resumed"][0], **names)
    assert in_file(output) == [["written before"], *rows()[5:]]

    printed, queries, names = run(HEADINGS["stats"][0], **names)
    assert len(queries) == 0
    assert printed[-1].startswith("time: ")

    plan, sizes = HEADINGS["sizes"]
    printed, _, names = run(plan, **names)
    assert printed[0] == f"{BOOKS} rows of Book, in {CHUNKS} chunks of {CHUNK}"
    *_, names = run(sizes, **names)
    assert names["sizes"] == {"Author": 5, "Publisher": 3}

    printed, queries, names = run(HEADINGS["parts"][0], **names)
    parts = names["parts"]
    assert len(parts) == 8
    assert in_file(*(tmp_path / f"{part.name}.csv" for part in parts)) == rows()
    assert queries.of(models.Publisher) <= len(parts)

    printed, _, names = run(HEADINGS["workers"][0], **names)
    assert printed[0].split()[:2] == ["requests", "hits"]
    assert in_file(*sorted(tmp_path.glob("books-2026-11-27-*.csv"))) == rows()
    assert isinstance(Stats.from_dict(names["json"].loads(names["results"][0])), Stats)


@isolated(in_file=True)
def test_several_processes() -> None:
    with connection.schema_editor() as editor:
        for model in MODELS.values():
            editor.create_model(model)
    fill_bookshop()
    expected = rows()
    connection.close()
    (example,) = HEADINGS["processes"]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        run_as_program(example, directory)
        assert sorted(in_file(*directory.glob("*.csv"))) == sorted(expected)
