"""docs/recipes.md: a response that is sent while the table is read, and an export in parts."""

from __future__ import annotations

import asyncio
import csv
import gc
import io
import types
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.test import AsyncClient, Client
from django.urls import path

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.bookshop.models import Author, Book, Publisher
from tests.python.conftest import Bookshop
from tests.python.documents import examples
from tests.python.documents.running import BOOKS, CHUNK, CHUNKS, assert_queries, run
from tests.python.queries import Queries, captured_queries

RESPONSE = examples("docs/recipes.md", "A streaming CSV response", CHUNK)
IN_PARTS = examples("docs/recipes.md", "django-import-export in the background", CHUNK)
PARTS = 4


def stock_csv() -> tuple[bytes, Queries]:
    """What Django alone writes."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["title", "author", "publisher"])
    with captured_queries() as queries:
        for book in Book.objects.order_by("pk").prefetch_related("author", "publisher").iterator(chunk_size=CHUNK):
            writer.writerow([book.title, book.author.name, book.publisher.name])
    assert_queries(queries, books=1, authors=CHUNKS, publishers=CHUNKS)
    return file.getvalue().encode(), queries


def serve(settings: Any, view: Callable[..., Any]) -> None:
    urls: Any = types.ModuleType("urls")
    urls.urlpatterns = [path("books.csv", view)]
    settings.ROOT_URLCONF = urls


def test_streaming_response(bookshop: Bookshop, settings: Any) -> None:
    *_, names = run(RESPONSE[0])
    serve(settings, names["export"])
    with captured_queries() as queries:
        response: Any = Client().get("/books.csv")
        assert len(queries) == 0, "they run while the response is sent"
        sent = list(response.streaming_content)
    expected, _ = stock_csv()
    assert b"".join(sent) == expected
    assert len(sent) == 1 + CHUNKS
    assert_queries(queries, books=CHUNKS, authors=2, publishers=1)
    assert response["Content-Disposition"] == 'attachment; filename="books.csv"'


def test_a_client_that_disconnects(bookshop: Bookshop) -> None:
    *_, names = run(RESPONSE[0])
    response = names["export"](None)
    with captured_queries() as queries:
        content = iter(response.streaming_content)
        assert [next(content), next(content)]
        response.close()
        assert list(content) == []
    assert_queries(queries, books=1, authors=1, publishers=1)


def test_an_error_while_the_response_is_sent(bookshop: Bookshop) -> None:
    Book.objects.filter(pk=bookshop.books[-1].pk).update(title="the last")
    *_, names = run(RESPONSE[0])

    class Echo:
        def write(self, line: str) -> str:
            assert "the last" not in line
            return line

    names["Echo"] = Echo
    response, sent = names["export"](None), []
    with pytest.raises(AssertionError):
        sent.extend(response.streaming_content)
    assert len(sent) == CHUNKS  # the first line, and all chunks but the last
    assert list(response.streaming_content) == []


@pytest.fixture
def transaction_across_requests() -> Iterator[None]:
    """As for the test client: a request does not close the connection whose transaction the test is in."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.mark.since_python("3.10")
class TestAsynchronously:
    def names(self, settings: Any) -> dict[str, Any]:
        response, asynchronous = RESPONSE
        *_, names = run(response)
        *_, names = run(asynchronous, **names)
        serve(settings, names["aexport"])
        return names

    def test_all_is_sent(self, bookshop: Bookshop, settings: Any) -> None:
        self.names(settings)

        async def read() -> list[bytes]:
            response: Any = await AsyncClient().get("/books.csv")
            return [part async for part in response.streaming_content]

        with captured_queries() as queries:
            sent = async_to_sync(read)()
        expected, _ = stock_csv()
        assert b"".join(sent) == expected
        assert len(sent) == 1 + CHUNKS
        assert_queries(queries, books=CHUNKS, authors=2, publishers=1)

    @pytest.mark.since("5.0")
    @pytest.mark.usefixtures("transaction_across_requests")
    def test_a_client_that_disconnects(self, bookshop: Bookshop, settings: Any) -> None:
        names, closed = self.names(settings), []

        class Watched(MemoizedPrefetch):
            async def achunks(self, *args: Any, **keywords: Any) -> AsyncIterator[Any]:
                try:
                    async for chunk in super().achunks(*args, **keywords):
                        yield chunk
                finally:
                    closed.append(True)

        names["MemoizedPrefetch"] = Watched
        bodies: list[bytes] = []

        async def disconnect() -> None:
            received = asyncio.Event()
            messages = iter([{"type": "http.request"}])

            async def receive() -> dict[str, Any]:
                for message in messages:
                    return message
                await received.wait()
                return {"type": "http.disconnect"}

            async def send(message: dict[str, Any]) -> None:
                bodies.append(message.get("body", b""))
                if b"book 0" in bodies[-1]:
                    received.set()
                    await asyncio.sleep(60)  # what takes so long is the client

            scope = {"type": "http", "method": "GET", "path": "/books.csv", "headers": [], "query_string": b""}
            await ASGIHandler()(scope, receive, send)
            gc.collect()
            for _ in range(500):
                if not closed:
                    await asyncio.sleep(0.01)

        with captured_queries() as queries:
            async_to_sync(disconnect)()
        assert closed == [True]
        assert len(list(filter(None, bodies))) == 2
        assert_queries(queries, books=1, authors=1, publishers=1)


def test_import_export_in_parts(bookshop: Bookshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    defining, looping = IN_PARTS
    *_, names = run(defining.replace("64", str(PARTS)))
    _, queries, _ = run(looping, **names)
    lookups = ("author", "publisher")
    stock = names["BookResource"]().export(Book.objects.order_by("pk").prefetch_related(*lookups))
    written = tmp_path / "export" / "books-2026-11-27.csv"
    assert written.read_bytes().decode() == stock.csv
    assert len(stock) == BOOKS
    assert len(list(written.parent.glob("*-of-4-*.csv"))) == PARTS
    assert (queries.of(Author), queries.of(Publisher)) == (2, 1)

    names["memoized"] = lambda queryset, prefetch: queryset.prefetch_related(*lookups)
    _, queries, _ = run(looping.replace("books-2026-11-27", "stock"), **names)
    assert (queries.of(Author), queries.of(Publisher)) == (PARTS, PARTS)
    assert (tmp_path / "export" / "stock.csv").read_bytes() == written.read_bytes()

    next(written.parent.glob("books-2026-11-27-2-of-4-*.csv")).unlink()
    with pytest.raises(FileNotFoundError):
        names["join"]("books-2026-11-27")
