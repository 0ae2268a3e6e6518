"""No cursor stays open and no chunk is kept, however a stream ends, also an asynchronous one."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import django
import pytest
from django.db import connection

from django_memoized_prefetch import MemoizedPrefetch, Progress
from tests.python.archive.models import Box, WithInit
from tests.python.bookshop.models import Book
from tests.python.conftest import Bookshop
from tests.python.graph import assert_alike
from tests.python.queries import run_async

if django.VERSION >= (5, 2):
    pass
from tests.python.streaming.reading import fail_in_the_loop, in_thread

# --- nothing stays open


class Cursors:
    """The cursors from which a stream reads, by whatever name, on the server or not."""

    def __init__(self) -> None:
        self._taken: list[Any] = []

    def take(self, make: Callable[[], Any]) -> Callable[[], Any]:
        def taking() -> Any:
            wrapper = make()
            self._taken.append(wrapper.cursor)
            return wrapper

        return taking

    @property
    def open(self) -> int:
        named = 0
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM pg_cursors WHERE name LIKE '%django%'")
                named = cursor.fetchone()[0]
        still = sum(is_open(cursor) for cursor in self._taken)
        assert named <= still
        return still


def is_open(cursor: Any) -> bool:
    if connection.vendor == "postgresql":
        return not cursor.closed
    if connection.vendor == "mysql":
        return cursor.connection is not None
    try:
        cursor.fetchone()
    except connection.Database.ProgrammingError:
        return False
    return True


@pytest.fixture
def cursors() -> Iterator[Cursors]:
    """Those that are meant to be read bit by bit."""
    cursors = Cursors()
    with mock.patch.object(connection, "chunked_cursor", cursors.take(connection.chunked_cursor)):
        yield cursors


# WithInit: Django builds its rows.
def by_cursor(model: Any, **options: Any) -> Any:
    queryset = model.objects.order_by("name" if model is WithInit else "title")
    return MemoizedPrefetch(**options).chunks(queryset, 1)


@pytest.mark.parametrize("model", [Book, WithInit])
@pytest.mark.django_db(databases=["default", "other"], transaction=True)
class TestNothingStaysOpen:
    @pytest.fixture(autouse=True)
    def _rows(self, bookshop: Bookshop) -> None:
        Box.objects.create(pk=1, name="box")
        WithInit.objects.bulk_create(WithInit(name=f"{i}") for i in range(5))

    def test_at_the_end(self, cursors: Cursors, model: Any) -> None:
        for _ in by_cursor(model):
            assert cursors.open == 1
        assert cursors.open == 0

    def test_after_break(self, cursors: Cursors, model: Any) -> None:
        for _ in by_cursor(model):
            break
        assert cursors.open == 0

    def test_after_close(self, cursors: Cursors, model: Any) -> None:
        chunks = by_cursor(model)
        next(chunks)
        assert cursors.open == 1
        chunks.close()
        assert cursors.open == 0

    def test_when_it_is_released(self, cursors: Cursors, model: Any) -> None:
        chunks = by_cursor(model)
        next(chunks)
        del chunks
        assert cursors.open == 0

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_after_an_exception_of_the_loop(self, cursors: Cursors, model: Any, error: Any) -> None:
        with pytest.raises(error):
            fail_in_the_loop(lambda: by_cursor(model), error)
        assert cursors.open == 0

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_after_an_exception_while_attaching(self, cursors: Cursors, model: Any, error: Any) -> None:
        with pytest.raises(error) as caught:
            list(by_cursor(model, scope=mock.Mock(side_effect=error)))
        # The traceback holds the frames, as a debugger or a log does.
        assert cursors.open == 0, caught

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_after_an_exception_while_building(self, cursors: Cursors, model: Any, error: Any) -> None:
        built = (
            "django.db.models.base.ModelState"
            if model is WithInit
            else "django_memoized_prefetch._hydrating.plan.Hydrator"
        )
        with mock.patch(built, side_effect=error), pytest.raises(error) as caught:
            list(by_cursor(model))
        assert cursors.open == 0, caught

    def test_after_an_exception_of_progress(self, cursors: Cursors, model: Any) -> None:
        def fail(_: Progress) -> None:
            raise RuntimeError("no progress")

        queryset = model.objects.order_by("name" if model is WithInit else "title")
        with pytest.raises(RuntimeError, match="no progress") as caught:
            list(MemoizedPrefetch().chunks(queryset, 1, progress=fail))
        assert cursors.open == 0, caught

    def test_asynchronously(self, model: Any) -> None:
        closed: list[int] = []

        async def read() -> None:
            chunks: Any = MemoizedPrefetch().achunks(model.objects.order_by("pk"), 1, mode="cursor")
            async for _ in chunks:
                break
            await chunks.aclose()
            closed.append(await in_thread(named_cursors))

        run_async(read())
        assert closed == [0]


def named_cursors() -> int:
    if connection.vendor != "postgresql":
        return 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_cursors WHERE name LIKE '%django%'")
        return int(cursor.fetchone()[0])


def test_pages_open_no_cursor_to_be_read_bit_by_bit(bookshop: Bookshop, cursors: Cursors) -> None:
    list(MemoizedPrefetch().chunks(Book.objects.all(), 2))
    assert cursors._taken == []


@pytest.mark.parametrize("mode", ["pages", "cursor"])
def test_spent_chunks_are_released(bookshop: Bookshop, mode: Any) -> None:
    gc.collect()
    gc.disable()
    try:
        spent: list[weakref.ref[Any]] = []
        for chunk in MemoizedPrefetch("author", "categories").chunks(Book.objects.all(), 2, mode=mode):
            assert not any(one() for one in spent[:-2]), "no chunk before the previous one"
            spent += [weakref.ref(book) for book in chunk]
            del chunk
            assert sum(one() is not None for one in spent) <= 3
    finally:
        gc.enable()
    assert not any(one() for one in spent)


@pytest.mark.django_db(databases=["default", "other"], transaction=True)
@pytest.mark.parametrize("mode", ["pages", "cursor"])
def test_asynchronous_chunks(bookshop: Bookshop, mode: Any) -> None:
    seen: list[tuple[int, Any]] = []

    async def read() -> tuple[list[list[Any]], Any]:
        thread = await in_thread(threading.get_ident)

        def note(progress: Progress) -> None:
            seen.append((progress.rows, threading.get_ident() == thread))

        queryset = Book.objects.order_by("pk").prefetch_related("categories")
        chunks = MemoizedPrefetch("author").achunks(queryset, 5, progress=note, mode=mode)
        return [chunk async for chunk in chunks], MemoizedPrefetch().achunks([], 1)

    chunks, _ = run_async(read())
    assert [len(chunk) for chunk in chunks] == [5, 5, 2]
    assert seen == [(5, True), (10, True), (12, True)]
    theirs = Book.objects.order_by("pk").prefetch_related("categories", "author")
    assert_alike([book for chunk in chunks for book in chunk], list(theirs), ["author", "categories"])


@pytest.mark.parametrize("in_the_loop", [True, False])
def test_a_cancelled_asynchronous_stream_is_closed(in_the_loop: bool) -> None:
    """Cancelled in the body of the loop, or while a thread reads the next chunk."""
    reached, go_on = threading.Event(), threading.Event()
    closed: list[int] = []

    def source() -> Iterator[Book]:
        try:
            yield Book()
            reached.set()
            assert go_on.wait(60)
            yield Book()
        finally:
            closed.append(threading.get_ident())

    async def read() -> int:
        chunks: Any = MemoizedPrefetch().achunks(source(), 1)
        try:
            async for _ in chunks:
                if in_the_loop:
                    reached.set()
                    await asyncio.sleep(3600)
        finally:
            await chunks.aclose()
        return 0

    async def cancelled() -> int:
        thread: int = await in_thread(threading.get_ident)
        task = asyncio.ensure_future(read())
        while not reached.is_set():
            await asyncio.sleep(0.01)
        task.cancel()
        asyncio.get_running_loop().call_later(0.05, go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        return thread

    assert [run_async(cancelled())] == closed
