"""What chunks() tells of its progress."""

from __future__ import annotations

import dataclasses
from typing import Any
from unittest import mock

import django
import pytest
from django.db import OperationalError

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.bookshop.models import Book
from tests.python.catalogue.models import Shelf
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.queries import captured_queries, query_count

if django.VERSION >= (5, 2):
    pass
from tests.python.streaming.reading import fail_in_the_loop, progress_of


def test_progress_is_told_of_each_chunk(bookshop: Bookshop) -> None:
    seen = progress_of(Book.objects.all())
    assert [one.rows for one in seen] == [4, 8, 12]
    assert [one.last_pk for one in seen] == [FIRST_KEY + 3, FIRST_KEY + 7, FIRST_KEY + 11]
    assert [one.fraction for one in seen] == [3 / 11, 7 / 11, 1.0]
    assert seen[0].seconds < seen[1].seconds < seen[2].seconds
    assert seen[0].eta == pytest.approx(seen[0].seconds * 8 / 3)
    assert seen[2].eta == 0
    assert [one.stats.relations["author"].requests for one in seen] == [4, 8, 12]
    with pytest.raises(dataclasses.FrozenInstanceError):
        seen[0].rows = 1  # type: ignore[misc]


def test_progress_is_told_when_the_loop_comes_back(bookshop: Bookshop) -> None:
    events: list[Any] = []
    for chunk in MemoizedPrefetch().chunks(Book.objects.all(), 5, progress=lambda one: events.append(one.rows)):
        events.append(f"chunk of {len(chunk)}")
        chunk.clear()
    assert events == ["chunk of 5", 5, "chunk of 5", 10, "chunk of 2", 12]


def test_progress_never_counts_rows(bookshop: Bookshop) -> None:
    for options in ({}, {"mode": "cursor"}):
        for queryset in (Book.objects.all(), Book.objects.order_by("-pk"), Book.objects.order_by("title")):
            with captured_queries() as queries:
                progress_of(queryset, **options)
            assert not any("COUNT(" in sql.upper() for sql in queries.sql)
            assert queries.of(Book) <= 6, "four pages or one statement, and two for the ends"


def test_the_fraction_of_a_run_that_goes_on(bookshop: Bookshop) -> None:
    seen = progress_of(Book.objects.all(), 2, after=FIRST_KEY + 7)
    assert [one.rows for one in seen] == [2, 4]
    assert [one.fraction for one in seen] == [9 / 11, 1.0]
    assert seen[0].eta == pytest.approx(seen[0].seconds)


def test_rows_that_come_later_do_not_exceed_the_whole(bookshop: Bookshop) -> None:
    seen: list[float | None] = []
    add = True
    for _ in MemoizedPrefetch().chunks(Shelf.objects.all(), 1, progress=lambda one: seen.append(one.fraction)):
        pass
    for number in range(3):
        Shelf.objects.create(number=number, room="")
    for _ in MemoizedPrefetch().chunks(Shelf.objects.all(), 1, progress=lambda one: seen.append(one.fraction)):
        if add:
            Shelf.objects.create(number=100, room="")
            add = False
    assert seen == [0.0, 0.5, 1.0, 1.0]


def test_a_bar(bookshop: Bookshop, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ({}, {"mode": "cursor"}, {"total": 12}):
        for _ in MemoizedPrefetch("author").chunks(Book.objects.all(), 4, progress=True, **options):
            pass
        drawn = capsys.readouterr().err
        assert drawn.endswith("\n"), "it is closed"
        last = drawn.rpartition("\r")[2]
        assert "12" in last
        assert "rows/s" in last
        assert "58% hits" in last
        assert ("100%" in last) == ("mode" not in options)


def test_a_bar_is_closed_however_the_loop_ends(bookshop: Bookshop, capsys: pytest.CaptureFixture[str]) -> None:
    from tqdm.auto import tqdm

    with pytest.raises(KeyboardInterrupt):
        fail_in_the_loop(lambda: MemoizedPrefetch().chunks(Book.objects.all(), progress=True), KeyboardInterrupt)
    assert not getattr(tqdm, "_instances", ())
    chunks: Any = MemoizedPrefetch().chunks(Book.objects.all(), 4, progress=True)
    next(chunks)
    assert len(tqdm._instances) == 1
    chunks.close()
    assert not tqdm._instances
    failing = MemoizedPrefetch(scope=mock.Mock(side_effect=OperationalError))
    with pytest.raises(OperationalError):
        list(failing.chunks(Book.objects.all(), 4, progress=True))
    assert not tqdm._instances


def test_without_tqdm_the_extra_is_named(bookshop: Bookshop) -> None:
    with mock.patch.dict("sys.modules", {"tqdm": None, "tqdm.auto": None}):
        with pytest.raises(ImportError, match=r'pip install "django-memoized-prefetch\[progress\]"'):
            MemoizedPrefetch().chunks(Book.objects.all(), progress=True)
        assert len(progress_of(Book.objects.all())) == 3


def test_no_progress(bookshop: Bookshop, capsys: pytest.CaptureFixture[str]) -> None:
    for progress in (None, False):
        with query_count(3):
            list(MemoizedPrefetch().chunks(Book.objects.all(), 5, progress=progress))
    assert capsys.readouterr().err == ""
