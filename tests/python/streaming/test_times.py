"""Where the time of a run goes, and the line that is logged at its end."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest
from django.db import connection

from django_memoized_prefetch import MemoizedPrefetch, Stats, Times, memoized
from django_memoized_prefetch._streaming.progress import Progress, postfix_of
from tests.python.bookshop.models import Author, Book
from tests.python.conftest import Bookshop
from tests.python.databases import on_one_database

pytestmark = on_one_database

NAP = 0.02


def read_by_chunks(prefetch: MemoizedPrefetch) -> Any:
    for chunk in prefetch.chunks(Book.objects.prefetch_related("publisher"), chunk_size=4):
        yield from chunk


def read_by_memoized(prefetch: MemoizedPrefetch) -> Any:
    return memoized(Book.objects.prefetch_related("publisher"), prefetch).iterator(chunk_size=4)


@pytest.fixture(params=[read_by_chunks, read_by_memoized])
def read(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_the_users_loop(bookshop: Bookshop, read: Any) -> None:
    prefetch = MemoizedPrefetch("author")
    for _ in read(prefetch):
        time.sleep(NAP)
    times = prefetch.stats().time
    assert 12 * NAP <= times.loop <= times.total
    assert times.total - times.loop < 12 * NAP


def test_reading_and_fetching(bookshop: Bookshop, read: Any) -> None:
    prefetch = MemoizedPrefetch("author")

    def slow(execute: Any, sql: str, *arguments: Any) -> Any:
        time.sleep(NAP if "author" in sql.partition("FROM")[2] else 3 * NAP)
        return execute(sql, *arguments)

    with connection.execute_wrapper(slow):
        list(read(prefetch))
    times, queries = prefetch.stats().time, prefetch.stats().relations["author"].queries
    assert times.fetching >= queries * NAP
    assert times.reading >= 3 * NAP
    # As long as what was slept would be there, if it were counted there; a pause of a busy machine is shorter.
    assert times.attaching < queries * NAP
    assert times.building < 3 * NAP


def test_building(bookshop: Bookshop, read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db.models.signals import post_init

    def nap(**_: Any) -> None:
        time.sleep(NAP)

    post_init.connect(nap, sender=Author, weak=False)
    try:
        prefetch = MemoizedPrefetch("author")
        list(read(prefetch))
        assert prefetch.stats().time.fetching >= 5 * NAP  # related rows are built while they are fetched
        assert prefetch.stats().time.building < 5 * NAP
    finally:
        post_init.disconnect(nap, sender=Author)


def test_added_and_shown() -> None:
    times = Times(1, 2, 3, 0, 4) + Times(loop=2.0)
    assert times.total == 12
    assert str(times) == "time: 12.0 s, reading 8%, building 17%, fetching 25%, loop 50%"
    assert str(Times()) == "time: none"
    stats = Stats({}, {}, time=times) + Stats({}, {}, time=times)
    assert stats.time.loop == 12
    assert stats.as_dict()["time"]["building"] == 4
    assert str(stats).splitlines()[-1].startswith("time: 24.0 s")


def test_progress_has_hit_rates_and_times(bookshop: Bookshop) -> None:
    seen: list[Progress] = []
    prefetch = MemoizedPrefetch("author", "publisher")
    for _ in prefetch.chunks(Book.objects.all(), chunk_size=4, progress=seen.append):
        time.sleep(NAP)
    assert seen[-1].hit_rates == {name: table.hit_rate for name, table in prefetch.stats().tables.items()}
    assert 0 < seen[-1].hit_rates["Author"] < 1
    assert seen[0].stats.time.loop < seen[-1].stats.time.loop
    assert "% hits" in postfix_of(seen[-1])
    assert postfix_of(seen[-1]).endswith("% of the time")


def test_a_line_at_the_end_of_a_run(bookshop: Bookshop, read: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="django_memoized_prefetch"):
        list(read(MemoizedPrefetch("author")))
    assert not [record for record in caplog.records if record.name.endswith(".runs")]
    with caplog.at_level(logging.INFO, logger="django_memoized_prefetch.runs"):
        list(read(MemoizedPrefetch("author")))
    [line] = [record.getMessage() for record in caplog.records if record.name.endswith(".runs")]
    assert line.startswith("Book: 12 rows, ")
    assert "queries for related rows; Author " in line
    assert "loop" in line
