"""Pictures of the curves: what is drawn, and what is said without matplotlib."""

from __future__ import annotations

import sys

import pytest

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.bookshop.models import Book
from tests.python.databases import on_one_database
from tests.python.lookahead.library import fill_library

pytestmark = on_one_database

figure = pytest.importorskip("matplotlib.figure")


def test_of_a_plan() -> None:
    fill_library(1)
    plan = MemoizedPrefetch("author", "publisher", lru_cache_size=4).plan(Book.objects.all(), 10)
    ax = plan.plot()
    author, optimum, in_use, enough = ax.lines[:4]
    table = plan.tables["Author"]
    assert [round(y) for y in author.get_ydata()] == [table.fetched_with(int(x)) for x in author.get_xdata()]
    assert [round(y) for y in optimum.get_ydata()] == [table.optimal_with(int(x)) for x in optimum.get_xdata()]
    assert (list(in_use.get_xdata()), list(in_use.get_ydata())) == ([4], [table.fetched])
    assert (list(enough.get_xdata()), list(enough.get_ydata())) == ([table.enough], [table.distinct])
    texts = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert texts == ["Author", "Publisher", "size in use", "size that would do", "thin: the optimum"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("entries kept between chunks", "keys fetched")


def test_of_a_run() -> None:
    fill_library(2)
    prefetch = MemoizedPrefetch("author", "publisher", lru_cache_size=4)
    for _ in prefetch.chunks(Book.objects.all(), 10):
        pass
    stats = prefetch.stats()
    own = figure.Figure().add_subplot()
    assert stats.plot(own) is own
    line = own.lines[0]
    assert [round(y) for y in line.get_ydata()] == [
        stats.advice["Author"].fetched_with(int(x)) for x in line.get_xdata()
    ]
    assert [text.get_text() for text in own.get_legend().get_texts()][:2] == ["Author", "Publisher"]


def test_in_notebooks() -> None:
    fill_library(3)
    prefetch = MemoizedPrefetch("author")
    plan = prefetch.plan(Book.objects.all(), 10)
    for _ in prefetch.chunks(Book.objects.all(), 10):
        pass
    for one in (plan, prefetch.stats()):
        html = one._repr_html_()
        assert html.startswith("<pre>")
        assert "<svg" in html
        assert "Author" in html


def test_of_nothing() -> None:
    assert MemoizedPrefetch("author").plan(Book.objects.all()).plot() is not None
    assert MemoizedPrefetch("author").stats().plot() is not None


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    fill_library(4)
    plan = MemoizedPrefetch("author").plan(Book.objects.all())
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "django-memoized-prefetch\[plot\]"'):
        plan.plot()
    assert "<svg" not in plan._repr_html_()
