"""memoized() querysets that are iterated asynchronously."""

from __future__ import annotations

from typing import Any

import pytest

from django_memoized_prefetch import memoized
from tests.python.conftest import Bookshop
from tests.python.graph import assert_alike
from tests.python.memoized.books import LOOKUPS, books
from tests.python.queries import run_async

# --- asynchronous


@pytest.mark.django_db(databases=["default", "other"], transaction=True)
def test_asynchronous_iteration(bookshop: Bookshop) -> None:
    queryset = memoized(books())

    async def read() -> list[list[Any]]:
        streamed = [book async for book in queryset.aiterator(chunk_size=5)]
        listed = [book async for book in queryset.all()]
        plain = [book async for book in queryset.prefetch_related(None).aiterator(chunk_size=5)]
        return [streamed, listed, plain]

    rows = run_async(read())
    for some in rows[:2]:
        assert_alike(some, list(books()), LOOKUPS)
    assert [book.pk for book in rows[2]] == [book.pk for book in books()]
    assert len({id(book.publisher) for some in rows[:2] for book in some}) == 3

    async def wrong() -> None:
        async for _ in queryset.aiterator(chunk_size=0):
            pass

    with pytest.raises(ValueError, match="strictly positive"):
        run_async(wrong())
