"""What `stats()` says of other sizes is what runs at these sizes do."""

from __future__ import annotations

import functools
import json
import pickle
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections

from django_memoized_prefetch import Advice, MemoizedPrefetch, MemoizedPrefetchConfig, Stats, memoized
from django_memoized_prefetch._memory.curve import packed
from tests.python.bookshop.models import Author, Book, Category
from tests.python.catalogue.models import Volume
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.databases import on_one_database
from tests.python.workshop.models import Repair
from tests.python.workshop.rows import fill_workshop, key

pytestmark = on_one_database

SIZES = (1, 2, 7, 19, 20, 21, 40, 55, 200, None)


def fill(authors: int, books: int = 0) -> None:
    Author.objects.bulk_create(Author(pk=FIRST_KEY + i, name=f"author {i}", email="") for i in range(authors))
    rows = [
        Book(pk=FIRST_KEY + i, title="", isbn="", author_id=FIRST_KEY + i % authors, publisher_id=1)
        for i in range(books)
    ]
    Book.objects.bulk_create(rows)
    Category.objects.bulk_create(Category(pk=FIRST_KEY + i, name="") for i in range(30))
    through = Book.categories.through
    through.objects.bulk_create(
        through(book=book, category_id=FIRST_KEY + (i * 7 + j * j) % 30)
        for i, book in enumerate(rows)
        for j in range(i % 4)
    )


@pytest.fixture(autouse=True)
def _no_constraints() -> Iterator[None]:
    with connections["default"].constraint_checks_disabled():
        yield
        Book.objects.all().delete()


def books_of(keys: list[tuple[int, int | None]]) -> list[Book]:
    return [
        Book(author_id=FIRST_KEY + author, translator_id=None if translator is None else FIRST_KEY + translator)
        for author, translator in keys
    ]


def stream(chunks: int, length: int, authors: int, seed: int = 1) -> list[list[tuple[int, int | None]]]:
    """Chunks of keys, of which some are much more frequent than others."""
    chance = random.Random(seed)

    def one() -> int:
        return min(int(chance.expovariate(6 / authors)), authors - 1)

    return [[(one(), None if chance.random() < 0.3 else one()) for _ in range(length)] for _ in range(chunks)]


def read(prefetch: MemoizedPrefetch, chunks: list[list[tuple[int, int | None]]]) -> MemoizedPrefetch:
    for keys in chunks:
        prefetch.process_chunk(books_of(keys))
    return prefetch


def misses(prefetch: MemoizedPrefetch, table: str) -> int:
    return prefetch.stats().tables[table].misses


@pytest.mark.parametrize("length", [1, 4, 30])
def test_of_a_small_table_is_what_runs_at_other_sizes_fetch(length: int) -> None:
    fill(authors=60)
    chunks = stream(400 // length, length, authors=60)
    asked = {key for chunk in chunks for keys in chunk for key in keys if key is not None}

    def run(size: int | None) -> MemoizedPrefetch:
        return read(MemoizedPrefetch("author", "translator", lru_cache_size=size), chunks)

    @functools.cache
    def fetches(size: int | None) -> int:
        return misses(run(size), "Author")

    assert fetches(1) > fetches(20) > fetches(None), "without a difference the test is vacuous"
    for size in (5, 20, 40):
        advice = run(size).stats().advice["Author"]
        assert advice.exact
        assert advice.fetched_with(size) == advice.fetched
        for other in SIZES:
            assert advice.fetched_with(other) == fetches(other), (size, other)
        assert advice.fetched_again == advice.fetched - len(asked)
        assert advice.unavoidable == len(asked)
        assert advice.half == fetches(size // 2)
        assert advice.double == fetches(size * 2)
        assert fetches(advice.enough) == advice.fetched
        assert advice.enough == 1 or fetches(advice.enough - 1) > advice.fetched
        if advice.avoids is None:
            assert advice.fetched_again == 0
        else:
            assert fetches(advice.avoids) == len(asked)
            assert fetches(advice.avoids - 1) > len(asked)


def test_of_a_many_to_many_and_of_its_links() -> None:
    fill(authors=3, books=60)
    chance = random.Random(3)
    chunks = [[FIRST_KEY + chance.randrange(60) for _ in range(8)] for _ in range(40)]

    def read_categories(size: int | None) -> MemoizedPrefetch:
        prefetch = MemoizedPrefetch("categories", lru_cache_size=size)
        for keys in chunks:
            prefetch.process_chunk([Book(pk=key) for key in keys])
        return prefetch

    advice = read_categories(12).stats().advice["Book.categories links"]
    for size in SIZES:
        assert advice.fetched_with(size) == misses(read_categories(size), "Book.categories links"), size
    assert advice.fetched_again > 0
    assert read_categories(12).stats().advice["Category"].fetched > 0


def test_of_a_table_that_two_lookups_of_a_chunk_use_one_after_the_other() -> None:
    """What the first used is there for the second, and what was used least recently gives way, of both."""
    fill_workshop(repairs=20)
    chance = random.Random(4)
    chunks = [[key(chance.randrange(20)) for _ in range(3)] for _ in range(60)]

    def run(size: int) -> Stats:
        prefetch = MemoizedPrefetch("stage", "stages", lru_cache_size=size)
        for keys in chunks:
            prefetch.process_chunk(list(Repair.objects.filter(pk__in=keys)))
        return prefetch.stats()

    fetched = [run(size).tables["Stage"].misses for size in range(1, 10)]
    assert len(set(fetched)) > 4, "sizes must matter"
    for size in (2, 5, 9):
        advice = run(size).advice["Stage"]
        assert [advice.fetched_with(other) for other in range(1, 10)] == fetched, size


def test_absences_take_part() -> None:
    chunks = [[1, 2, 3], [4, 5, 6], [1, 2, 3], [7], [1]]
    results = {}
    for size in (1, 2, 4, 6, 7, 100):
        prefetch = MemoizedPrefetch("shelf", lru_cache_size=size)
        for keys in chunks:
            prefetch.process_chunk([Volume(shelf_id=key) for key in keys])
        results[size] = prefetch.stats()
    advice = results[4].advice["Shelf"]
    for size, stats in results.items():
        assert advice.fetched_with(size) == stats.tables["Shelf"].misses, size


def test_what_was_invalidated_is_not_evicted() -> None:
    fill(authors=6)
    prefetch = read(MemoizedPrefetch("author"), [[(0, None), (1, None)]])
    prefetch.invalidate(Author, [FIRST_KEY])
    read(prefetch, [[(0, None), (1, None)]])
    prefetch.clear()
    read(prefetch, [[(0, None), (1, None)]])
    advice = prefetch.stats().advice["Author"]
    assert (advice.fetched, advice.fetched_again, advice.avoids) == (2 + 1 + 2, 0, None)


def test_rows_that_were_deleted_are_not_evicted() -> None:
    fill(authors=6)
    prefetch = MemoizedPrefetch("author")
    [book] = prefetch.process_chunk(books_of([(0, None)]))
    book.author.delete()
    prefetch.process_chunk(books_of([(0, None)]))
    advice = prefetch.stats().advice["Author"]
    assert (advice.fetched, advice.fetched_again) == (2, 0)


def test_prefetch_all_with_less_room() -> None:
    fill(authors=30)
    chunks = stream(40, 3, authors=30)

    def run(size: int) -> MemoizedPrefetch:
        config = MemoizedPrefetchConfig(
            Author, ["author", "translator"], Author.objects.order_by("pk"), prefetch_all=True, lru_cache_size=size
        )
        return read(MemoizedPrefetch(config), chunks)

    stats = run(30).stats()
    [(name, advice)] = stats.advice.items()
    assert advice.fetched == 0
    for size in (3, 10, 20):
        assert advice.fetched_with(size) == run(size).stats().tables[name].misses > 0, size


def test_of_a_large_table_is_near_what_runs_at_other_sizes_fetch() -> None:
    fill(authors=4_000)
    chunks = stream(150, 200, authors=4_000)
    fetched = {}
    for size in (300, 600, 1_200):
        prefetch = read(MemoizedPrefetch("author", "translator", lru_cache_size=size), chunks)
        fetched[size] = misses(prefetch, "Author")
        if size == 600:
            advice = prefetch.stats().advice["Author"]
    assert not advice.exact
    assert advice.fetched == fetched[600]
    assert advice.half == pytest.approx(fetched[300], rel=0.05)
    assert advice.double == pytest.approx(fetched[1_200], rel=0.05)
    distinct = {key for chunk in chunks for keys in chunk for key in keys if key is not None}
    assert advice.fetched_again == pytest.approx(advice.fetched - len(distinct), rel=0.1)
    assert advice.avoids is not None
    again = misses(
        read(MemoizedPrefetch("author", "translator", lru_cache_size=advice.avoids), chunks), "Author"
    ) - len(distinct)
    assert again < 0.05 * advice.fetched_again, "the size that is said to avoid it does"


def test_bytes() -> None:
    fill(authors=50)
    Author.objects.update(email="x" * 50)
    prefetch = MemoizedPrefetch("author", lru_cache_size=20)
    assert prefetch.stats().advice == {}
    read(prefetch, [[(key, None) for key in range(50)]])
    advice = prefetch.stats().advice["Author"]
    assert advice.entries == 20
    assert 500 < advice.bytes_per_entry < 2_500
    assert advice.bytes_per_entry == advice.bytes // 20
    Author.objects.update(email="x" * 250)
    prefetch.clear()
    assert prefetch.stats().advice["Author"].bytes == 0
    read(prefetch, [[(key, None) for key in range(50)]])
    assert prefetch.stats().advice["Author"].bytes_per_entry == pytest.approx(advice.bytes_per_entry + 200, abs=20)


def test_two_can_be_added() -> None:
    fill(authors=60)
    one, two = stream(30, 10, authors=60, seed=1), stream(30, 10, authors=60, seed=2)

    def run(chunks: list[Any], size: int | None) -> MemoizedPrefetch:
        return read(MemoizedPrefetch("author", lru_cache_size=size), chunks)

    both = run(one, 10).stats() + pickle.loads(pickle.dumps(run(two, 10).stats()))
    advice = both.advice["Author"]
    for size in SIZES:
        expected = sum(misses(run(chunks, size), "Author") for chunks in (one, two))
        assert advice.fetched_with(size) == expected, size
    assert advice.kept == 10
    assert advice.fetched_again == sum(run(chunks, 10).stats().advice["Author"].fetched_again for chunks in (one, two))
    with pytest.raises(TypeError):
        advice + 1


def test_as_dict_is_plain(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author", "categories", lru_cache_size=2)
    for _ in range(3):
        prefetch.process_chunk(list(Book.objects.all()))
    stats = prefetch.stats()
    plain = stats.as_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert set(plain["advice"]) == {"Author", "Category", "Book.categories links"}
    assert plain["advice"]["Author"]["fetched_again"] == stats.advice["Author"].fetched_again > 0


def test_contexts_are_told_of_together(bookshop: Bookshop, other_bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author")
    for alias in ("default", "other"):
        prefetch.process_chunk(list(Book.objects.using(alias)))
    one = prefetch.stats()
    assert one.advice["Author"].fetched == one.tables["Author"].misses == 2 * 5


def test_of_contexts_that_were_dropped_is_kept() -> None:
    fill(authors=6)
    scopes = iter("abcdefgh")
    prefetch = MemoizedPrefetch("author", scope=lambda: next(scopes))
    read(prefetch, [[(0, None), (1, None)]] * 8)
    assert prefetch.stats().advice["Author"].fetched == 16


def test_memos_that_a_queryset_shares_are_told_of_once(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author")
    prefetch.process_chunk(list(Book.objects.all()))
    list(memoized(Book.objects.prefetch_related("author", "publisher"), prefetch))
    advice = prefetch.stats().advice
    assert advice["Author"].fetched == 5
    assert advice["Publisher"].fetched == 3


def test_printed_it_has_a_line_per_table() -> None:
    fill(authors=60)
    prefetch = read(MemoizedPrefetch("author", lru_cache_size=40), [[(key % 8, None)] for key in range(30)])
    assert str(prefetch.stats()).splitlines()[-2] == "Author: 40 kept, 8 would have done"
    read(prefetch, [[(key % 50, None)] for key in range(150)])
    assert (
        str(prefetch.stats()).splitlines()[-2] == "Author: 40 kept; 50 rows were read twice or more; 50 would avoid it"
    )
    unbounded = read(MemoizedPrefetch("author", lru_cache_size=None), [[(1, None)], [(2, None)], [(1, None)]])
    assert str(unbounded.stats()).splitlines()[-2] == "Author: all kept, 2 would have done"
    fits = read(MemoizedPrefetch("author", lru_cache_size=8), [[(key % 8, None)] for key in range(30)])
    assert "would have done" not in str(fits.stats())
    once = read(MemoizedPrefetch("author", lru_cache_size=10), [[(key, None)] for key in range(20)])
    assert str(once.stats()).splitlines()[-2] == "Author: 10 kept, 1 would have done"


def test_an_estimate_of_the_size_in_use_is_not_printed() -> None:
    def report(kept: int) -> str:
        return str(
            Stats({}, {}, advice={"Author": Advice(kept, 5, exact=False, packed=packed([(3_201, 9)]), largest=9_000)})
        )

    assert "Author: 3,300 kept, about 3,210 would have done" in report(3_300)
    assert "Author" not in report(3_205)
    assert "Author" not in str(Stats({}, {}, advice={"Author": Advice(1, 5, exact=False, largest=9_000)}))


def test_estimates_are_printed_as_such() -> None:
    advice = Advice(
        kept=10_000,
        fetched=50_000,
        fetched_again=20_000,
        fetched_twice=18_400,
        exact=False,
        packed=packed([(24_961, 20_000)]),
    )
    assert str(advice) == "10,000 kept; 18,400 rows were read twice or more; about 25,000 would avoid it"
    assert re.fullmatch(
        r"10,000 kept, about 3,210 would have done",
        str(Advice(10_000, 5, exact=False, largest=9_000, packed=packed([(3_201, 9)]))),
    )
