"""docs/monitoring.md: figures that a program exports, and the cells of a notebook."""

from __future__ import annotations

import ast
import inspect
import sys
import types
from typing import Any

import pytest
from django.db import connections

from tests.python.bookshop import models
from tests.python.bookshop.models import Book
from tests.python.conftest import Bookshop
from tests.python.databases import on_one_database
from tests.python.documents import examples
from tests.python.documents.running import BOOKS, CHUNK, run, stored_books
from tests.python.queries import run_async

PROMETHEUS = examples("docs/monitoring.md", "Prometheus", CHUNK)
OPEN_TELEMETRY = examples("docs/monitoring.md", "OpenTelemetry", CHUNK)
JUPYTER = examples("docs/monitoring.md", "Jupyter", CHUNK)


def test_prometheus(bookshop: Bookshop) -> None:
    from prometheus_client import REGISTRY

    names = run(PROMETHEUS[0])[2]
    stats = names["prefetch"].stats()
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
    prefetch = run(OPEN_TELEMETRY[0])[2]["prefetch"]
    list(prefetch.chunks(Book.objects.all(), CHUNK))
    data = reader.get_metrics_data()
    [metric] = data.resource_metrics[0].scope_metrics[0].metrics
    points = {point.attributes["figure"]: point.value for point in metric.data.data_points}
    assert points["misses"] == prefetch.stats().tables["Author"].misses > 0


async def run_cell(cell: str, names: dict[str, Any]) -> Any:
    """Runs a cell as a notebook does, in the thread of an event loop; returns the value of its last line."""
    tree = ast.parse(cell)
    last = tree.body[-1]
    if isinstance(last, ast.Expr):
        tree.body[-1] = ast.copy_location(ast.Assign([ast.Name("_", ast.Store())], last.value), last)
    names["_"] = None
    code = compile(ast.fix_missing_locations(tree), "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    waiting = eval(code, names)
    if inspect.iscoroutine(waiting):
        await waiting
    return names["_"]


@on_one_database
# The matplotlib for Python 3.9 uses old names of pyparsing.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:matplotlib")
@pytest.mark.django_db(databases=["default", "other"], transaction=True)
def test_notebook(bookshop: Bookshop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The cells in an event loop; `make third-party` runs them in Jupyter's own kernel."""
    monkeypatch.delenv("DJANGO_ALLOW_ASYNC_UNSAFE", raising=False)
    monkeypatch.setitem(sys.modules, "shop", types.ModuleType("shop"))
    monkeypatch.setitem(sys.modules, "shop.models", models)
    names: dict[str, Any] = {}
    set_up, plan, loop, asynchronous = JUPYTER

    async def cells() -> list[Any]:
        try:
            return [await run_cell(cell, names) for cell in (set_up, plan, loop)]
        finally:
            # The event loop has connections of its own. Django's close() leaves SQLite in memory open.
            for one in connections.all(initialized_only=True):
                if one.connection is not None:
                    one.connection.close()

    async def without_permission() -> Any:
        monkeypatch.delenv("DJANGO_ALLOW_ASYNC_UNSAFE")
        return await run_cell(asynchronous, names)

    _, shown_plan, stats = run_async(cells())
    expected = stored_books()
    assert names["authors"] == {book.author.name for book in expected}
    assert f"{BOOKS} rows of Book" in shown_plan._repr_html_()
    assert stats._repr_html_().startswith("<pre>")
    assert stats.relations["author"].requests == BOOKS
    assert " rows" in capsys.readouterr().err  # the bar
    assert (stats.relations["author"].queries, stats.relations["publisher"].queries) == (2, 1)
    assert run_async(without_permission()) == f"{expected[0].title}, {expected[0].author.name}"
    assert names["titles"] == [f"{book.title}, {book.author.name}" for book in expected]
