from __future__ import annotations

import dataclasses
import json
import pickle
from typing import Any

import pytest
from django.db.models import Count

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig, Stats
from tests.python.bookshop.models import Book, Category, Publisher, Review
from tests.python.catalogue.models import Shelf, Volume
from tests.python.conftest import Bookshop
from tests.python.queries import captured_queries


def all_books() -> list[Book]:
    return list(Book.objects.order_by("pk"))


def test_nothing_yet() -> None:
    stats = MemoizedPrefetch("author", "book.publisher", lru_cache_size=7).stats()
    assert {"author", "book__publisher"} <= set(stats.relations)
    one = stats.relations["author"]
    assert (one.requests, one.hits, one.misses, one.fetched, one.missing, one.evicted, one.queries, one.size) == (
        0,
    ) * 8
    assert one.hit_rate == 0
    assert one.bound == 7
    assert stats.queries == 0


def test_foreign_keys(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author")
    keys = [book.author_id for book in all_books()]
    prefetch.process_chunk(all_books()[:4])
    prefetch.process_chunk(all_books()[2:])
    one = prefetch.stats().relations["author"]
    first, second = keys[:4], keys[2:]
    assert one.requests == len(first) + len(second)
    assert one.misses == len(set(keys))
    assert one.hits == len(set(first) & set(second))
    assert one.hit_rate == pytest.approx(one.hits / (one.hits + one.misses))
    assert one.fetched == len(set(keys))
    assert (one.missing, one.evicted, one.queries) == (0, 0, 2)
    assert (one.size, one.bound) == (len(set(keys)), 10_000)
    assert (one.path, one.reason) == ("native", None) or not one.reason


def test_null_keys_and_attached_relations_do_not_ask(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("translator")
    books = all_books()
    asked = sum(book.translator_id is not None for book in books)
    prefetch.process_chunk(books)
    prefetch.process_chunk(books)
    assert prefetch.stats().relations["translator"].requests == asked


def test_missing_rows() -> None:
    Shelf.objects.create(number=1, room="here")
    prefetch = MemoizedPrefetch("shelf")
    for _ in range(2):
        prefetch.process_chunk([Volume(shelf_id=key) for key in (1, 2, 3)])
    one = prefetch.stats().relations["shelf"]
    assert (one.fetched, one.missing, one.misses, one.hits, one.queries, one.size) == (1, 2, 3, 3, 1, 3)


def test_evicted_rows(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author", lru_cache_size=2)
    prefetch.process_chunk([Book(author_id=author.pk) for author in bookshop.authors[:5]])
    one = prefetch.stats().relations["author"]
    assert (one.fetched, one.evicted, one.size, one.bound) == (5, 3, 2, 2)


def test_unbounded(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author", lru_cache_size=None)
    prefetch.process_chunk(all_books())
    assert prefetch.stats().relations["author"].bound is None


def test_queries_are_all_that_ran(bookshop: Bookshop) -> None:
    lookups = ["author", "translator", "publisher", "categories"]
    prefetch = MemoizedPrefetch(*lookups, lru_cache_size=2)
    ran = 0
    for chunk in (all_books()[:5], all_books()[5:], all_books()):
        with captured_queries() as queries:
            prefetch.process_chunk(chunk)
        ran += len(queries)
    stats = prefetch.stats()
    assert stats.queries == ran
    assert sum(one.queries for one in stats.relations.values()) == ran


def test_queries_of_nested_paths_are_all_that_ran(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("book__author", "book__categories")
    with captured_queries() as queries:
        prefetch.process_chunk(list(Review.objects.all()))
    stats = prefetch.stats()
    assert stats.queries == len(queries) - 1
    assert stats.relations["book"].fetched == len({review.book_id for review in bookshop.reviews})


def test_prefetch_all_counts_its_query(bookshop: Bookshop) -> None:
    with captured_queries() as queries:
        prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Publisher, ["publisher"], prefetch_all=True))
        prefetch.process_chunk([Book(publisher_id=bookshop.publishers[0].pk)])
    assert prefetch.stats().queries == len(queries) == 1


def test_tables_sum_their_relations(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author", "translator")
    prefetch.process_chunk(all_books())
    stats = prefetch.stats()
    [table] = [one for label, one in stats.tables.items() if "Author" in label or "author" in label]
    for name in ("requests", "fetched", "queries"):
        assert getattr(table, name) == sum(getattr(one, name) for one in stats.relations.values()), name
    assert table.size == len({key for b in all_books() for key in (b.author_id, b.translator_id) if key is not None})


def test_a_snapshot_does_not_change(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author")
    before = prefetch.stats()
    prefetch.process_chunk(all_books())
    assert before.relations["author"].requests == 0
    assert prefetch.stats().relations["author"].requests > 0
    with pytest.raises((AttributeError, TypeError, dataclasses.FrozenInstanceError)):
        before.relations["author"].requests = 5


def test_as_dict_is_plain(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author", "categories")
    prefetch.process_chunk(all_books())
    plain = prefetch.stats().as_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["queries"] == prefetch.stats().queries == 3
    assert plain["relations"]["author"]["fetched"] == prefetch.stats().relations["author"].fetched


def test_names_that_are_not_there(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author")
    prefetch.process_chunk(all_books())
    stats = pickle.loads(pickle.dumps(prefetch.stats()))
    for names in (stats.tables, stats.advice, (stats + stats).tables, Stats.from_dict(stats.as_dict()).tables):
        with pytest.raises(KeyError, match=r"there is no 'author'; did you mean 'Author'\? There are: Author"):
            names["author"]
    with pytest.raises(KeyError, match="there is no 'Author'; did you mean 'author'"):
        stats.relations["Author"]
    assert Stats.from_dict(stats.as_dict()).as_dict() == {**stats.as_dict(), "advice": {}}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda values: {}, ValueError, "Stats.from_dict: expected the fields relations, tables, .*, got none"),
        (lambda values: [values], TypeError, r"Stats.from_dict: expected what as_dict\(\) returned, got a list"),
        (lambda values: {**values, "time": None}, TypeError, r"Stats.from_dict: time: expected .*, got None"),
        (lambda values: {**values, "time": {"loop": 1}}, ValueError, "time: expected the fields .*, got loop"),
        (
            lambda values: {**values, "tables": {"A": {"x": 1}}},
            ValueError,
            "tables: 'A': expected the fields .*, got x",
        ),
        (lambda values: {**values, "relations": 5}, TypeError, r"relations: expected what as_dict\(\) returned, got 5"),
        (lambda values: {**values, "memory": {}}, ValueError, "memory: expected the fields memory, .*, got none"),
    ],
)
def test_from_what_as_dict_did_not_return(change: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Stats.from_dict(change(MemoizedPrefetch("author", memory="1 MB").stats().as_dict()))


def test_two_can_be_added(bookshop: Bookshop) -> None:
    one, two = MemoizedPrefetch("author"), MemoizedPrefetch("author", "publisher")
    for prefetch in (one, two):
        prefetch.process_chunk(all_books())
    total = one.stats() + two.stats()
    assert total.queries == 1 + 2
    assert total.relations["author"].requests == 2 * len(bookshop.books)
    assert total.relations["publisher"].requests == len(bookshop.books)
    assert one.stats().relations["author"].requests == len(bookshop.books)
    assert sum([one.stats(), two.stats(), one.stats()]).queries == 1 + 2 + 1
    with pytest.raises(TypeError):
        one.stats() + 1
    with pytest.raises(TypeError):
        1 + one.stats()


def test_printed_it_names_every_relation_and_figure(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author", "categories", lru_cache_size=1234)
    prefetch.process_chunk(all_books())
    report = str(prefetch.stats())
    for text in ("author", "categories", "hits", "misses", "fetched", "missing", "evicted", "queries", "1,234"):
        assert text in report, text
    assert len(report.splitlines()) >= 3
    assert max(map(len, report.splitlines())) <= 120


def test_fallback_names_its_reason(bookshop: Bookshop, caplog: pytest.LogCaptureFixture) -> None:
    """A queryset whose rows depend on the other keys asked for cannot be remembered."""
    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Category, ["categories"], Category.objects.annotate(n=Count("books")))
    )
    with caplog.at_level("INFO", logger="django_memoized_prefetch"):
        for _ in range(3):
            prefetch.process_chunk(all_books())
    one = prefetch.stats().relations["categories"]
    assert one.path == "django"
    assert one.reason
    assert "categories" in one.reason
    assert one.queries == 3
    assert one.reason in str(prefetch.stats())
    assert len(caplog.records) == 1, "said once, not once per chunk"


def test_memo_that_evicts_more_than_it_hits_is_reported_once(
    bookshop: Bookshop, caplog: pytest.LogCaptureFixture
) -> None:
    prefetch = MemoizedPrefetch("author", lru_cache_size=1)
    with caplog.at_level("WARNING", logger="django_memoized_prefetch"):
        for _ in range(30):
            prefetch.process_chunk([Book(author_id=author.pk) for author in bookshop.authors])
    assert len(caplog.records) == 1
    assert "author" in caplog.text


def test_nothing_is_logged_per_chunk(bookshop: Bookshop, caplog: pytest.LogCaptureFixture) -> None:
    prefetch = MemoizedPrefetch("author", "translator", "publisher", "categories")
    with caplog.at_level("INFO", logger="django_memoized_prefetch"):
        for _ in range(30):
            prefetch.process_chunk(all_books())
    assert not caplog.records
