"""The recipe of docs/monitoring.md for notebooks, in Jupyter's own kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests.python.documents import ROOT, examples
from tests.third_party.frame import Situation

SITUATIONS: list[Situation] = []
CELLS = examples("docs/monitoring.md", "Jupyter", 3)
SETTINGS = """
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["shop"]
"""
MODELS = """
from django.db import models


class Author(models.Model):
    name = models.TextField()


class Publisher(models.Model):
    name = models.TextField()


class Book(models.Model):
    title = models.TextField()
    author = models.ForeignKey(Author, models.CASCADE)
    publisher = models.ForeignKey(Publisher, models.CASCADE)
"""
ROWS = """
from django.core.management import call_command
from shop.models import Author, Book, Publisher

call_command("migrate", run_syncdb=True, verbosity=0)
authors = [Author.objects.create(name=f"a{at}") for at in range(4)]
publisher = Publisher.objects.create(name="p")
for at in range(10):
    Book.objects.create(title=f"b{at}", author=authors[at % 4], publisher=publisher)
"""
STOCK = """
[f"{book.title}, {book.author.name}" for book in Book.objects.order_by("pk")] == titles, sorted(authors)
"""


def rows() -> None:
    """The notebook has a database of its own."""


def run(directory: Path, cells: list[str]) -> list[Any]:
    """The outputs of each cell."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    path = os.pathsep.join([str(directory), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(directory)}})
    client.execute(env=environment)
    return [cell.outputs for cell in notebook.cells]


def shown(outputs: list[Any], kind: str) -> str:
    """What a cell shows as its value, or writes to a stream."""
    return "".join(one.get("data", {}).get(kind, "") or one.get("text", "") for one in outputs)


def notebook() -> Iterator[tuple[str, Any, Any]]:
    with TemporaryDirectory() as name:
        directory = Path(name)
        shop = directory / "shop"
        shop.mkdir()
        for file, text in (("__init__", ""), ("settings", SETTINGS), ("models", MODELS)):
            (shop / f"{file}.py").write_text(text)
        set_up, plan, loop, asynchronous = CELLS
        outputs = run(directory, [set_up, ROWS, plan, loop, asynchronous, STOCK])
        _, _, planned, looped, first, same = outputs
        if "10 rows of Book" not in shown(planned, "text/html"):
            yield "the plan", "<pre>", planned
        if "author" not in shown(looped, "text/html"):
            yield "the stats", "<pre>", looped
        if "application/vnd.jupyter.widget-view+json" not in str(looped):
            yield "the bar", "a widget", looped
        if shown(first, "text/plain") != "'b0, a0'":
            yield "the first title", "b0, a0", first
        if shown(same, "text/plain") != "(True, ['a0', 'a1', 'a2', 'a3'])":
            yield "the rows", "the same", same

        forbidden = set_up.replace('os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"\n', "")
        own = plan.replace("prefetch.plan(Book.objects.all(), chunk_size=3)", "")
        if shown(run(directory, [forbidden, own, asynchronous])[2], "text/plain") != "'b0, a0'":
            yield "asynchronously", "no need of permission", ""
        try:
            run(directory, [forbidden, plan])
        except CellExecutionError as error:
            if "SynchronousOnlyOperation" not in str(error):
                yield "without permission", "SynchronousOnlyOperation", str(error)
        else:
            yield "without permission", "SynchronousOnlyOperation", "no error"


RECIPES = {"notebook": notebook}
