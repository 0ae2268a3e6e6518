"""Any chunks, sizes and lookups over one set of rows: what Django attaches, and never more memory than configured."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.bookshop.models import Author, Book, Category, Publisher, Review
from tests.python.catalogue.models import Contribution, Country, Genre, Person, Series, Shelf, Volume
from tests.python.conftest import fill_bookshop
from tests.python.graph import assert_same_as_django
from tests.python.queries import captured_queries
from tests.python.turns import examples

BOOKS, REVIEWS, VOLUMES = 12, 24, 12
# The rows are made once per test and only read by its examples.
READS = settings(
    max_examples=examples(60),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SIZES = st.sampled_from([1, 2, 3, 7, 10_000, None])


def chunks_of(count: int) -> st.SearchStrategy[list[list[int]]]:
    """Chunks of places in a table; repeated rows are chunks like others."""
    return st.lists(st.lists(st.integers(0, count - 1), max_size=12), min_size=1, max_size=5)


def subset(names: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), min_size=1, max_size=len(names), unique=True)


def run(model: Any, prefetch: MemoizedPrefetch, chunks: list[list[int]], lookups: list[str]) -> None:
    keys = list(model.objects.order_by("pk").values_list("pk", flat=True))
    for places in chunks:

        def chunk(places: list[int] = places) -> list[Any]:
            # One instance for each place, also of a repeated row.
            return [model.objects.get(pk=keys[place]) for place in places]

        assert_same_as_django(chunk, lookups, prefetch)
        stats = prefetch.stats()
        for path, one in stats.relations.items():
            assert one.bound is None or one.size <= one.bound, path
            assert one.misses == one.fetched + one.missing, path
            assert one.hits + one.misses <= one.requests, path


@pytest.fixture
def shop() -> None:
    fill_bookshop(books=BOOKS)


@READS
@given(chunks=chunks_of(BOOKS), lookups=subset(["author", "translator", "publisher", "categories"]), size=SIZES)
def test_books(shop: None, chunks: list[list[int]], lookups: list[str], size: int | None) -> None:
    run(Book, MemoizedPrefetch(*lookups, lru_cache_size=size), chunks, lookups)


@READS
@given(chunks=chunks_of(BOOKS), sizes=st.tuples(SIZES, SIZES, SIZES), everything=st.booleans())
def test_books_by_configs(shop: None, chunks: list[list[int]], sizes: tuple[Any, Any, Any], everything: bool) -> None:
    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Author, ["author", "translator"], lru_cache_size=sizes[0]),
        MemoizedPrefetchConfig(Publisher, ["publisher"], prefetch_all=everything, lru_cache_size=sizes[1]),
        MemoizedPrefetchConfig(
            Category,
            ["categories"],
            is_many_to_many=True,
            through_model=Book.categories.through,
            source_field="book_id",
            target_field="category_id",
            lru_cache_size=sizes[2],
        ),
    )
    run(Book, prefetch, chunks, ["author", "translator", "publisher", "categories"])


@READS
@given(
    chunks=chunks_of(REVIEWS),
    lookups=subset(["book__author", "book__translator", "book__publisher", "book__categories"]),
    size=SIZES,
)
def test_reviews(shop: None, chunks: list[list[int]], lookups: list[str], size: int | None) -> None:
    run(Review, MemoizedPrefetch(*lookups, lru_cache_size=size), chunks, lookups)


@pytest.fixture
def library() -> None:
    """Null, missing, false, textual and repeated keys, and duplicate links."""
    for code in ("", "no", "se"):
        Country.objects.create(code=code, name=f"country {code}")
    for number in (0, 1, 2):
        Shelf.objects.create(number=number, room=f"room {number}")
    series = [Series.objects.create(code=f"S{i}", number=3 - i, name=f"series {i}") for i in range(3)]
    genres = [Genre.objects.create(name=f"genre {i}", rank=i % 2) for i in range(5)]
    people = [Person.objects.create(name=f"person {i}") for i in range(3)]
    for i in range(VOLUMES):
        volume = Volume.objects.create(
            title=f"volume {i}",
            country_id=["", "no", "se", None, "gone"][i % 5],
            shelf_id=[0, 1, 2, 99, None, 98][i % 6],
            series_id=["S0", "S1", "gone", None][i % 4],
            numbered_series_id=[1, 2, 3, 4, None][i % 5],
            plain_series_id=series[i % 3].pk,
        )
        volume.genres.add(*genres[: i % 5])
        for j in range(i % 4):
            Contribution.objects.create(volume=volume, person=people[(i * j) % 3], role=str(j))


@READS
@given(
    chunks=chunks_of(VOLUMES),
    lookups=subset(
        ["country", "shelf", "series", "numbered_series", "plain_series", "genres", "contributors", "notice"]
    ),
    size=SIZES,
)
def test_volumes(library: None, chunks: list[list[int]], lookups: list[str], size: int | None) -> None:
    run(Volume, MemoizedPrefetch(*lookups, lru_cache_size=size), chunks, lookups)


@READS
@given(chunks=chunks_of(BOOKS))
def test_an_unbounded_memo_reads_every_row_once(shop: None, chunks: list[list[int]]) -> None:
    prefetch = MemoizedPrefetch("author", "translator", "publisher", "categories", lru_cache_size=None)
    keys = list(Book.objects.order_by("pk").values_list("pk", flat=True))
    for places in chunks:
        books = [Book.objects.get(pk=keys[place]) for place in places]
        with captured_queries() as queries:
            prefetch.process_chunk(books)
        assert len(queries) <= 4
    stats = prefetch.stats()
    authors = {key for i in {p for c in chunks for p in c} for key in _authors(keys[i])}
    assert stats.relations["author"].fetched + stats.relations["translator"].fetched == len(authors)


def _authors(key: int) -> set[int]:
    book = Book.objects.get(pk=key)
    return {author for author in (book.author_id, book.translator_id) if author is not None}
