"""memoized_objects and through_model_source_target_cache: mappings that users' own tests read."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import Prefetch

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.bookshop.models import Author, Book, Category, Publisher
from tests.python.catalogue.models import Series, Shelf, Volume
from tests.python.conftest import Bookshop
from tests.python.queries import no_queries, query_count

LINKS = "Book_categories_book_id_category_id"


def books_of(*authors: Author) -> list[Book]:
    return [Book(author_id=author.pk) for author in authors]


def categories_config(**kwargs: Any) -> MemoizedPrefetchConfig:
    return MemoizedPrefetchConfig(
        model=Category,
        attributes=["categories"],
        is_many_to_many=True,
        through_model=Book.categories.through,
        source_field="book_id",
        target_field="category_id",
        **kwargs,
    )


@pytest.fixture
def prefetch() -> MemoizedPrefetch:
    return MemoizedPrefetch(MemoizedPrefetchConfig(Author, ["author"], lru_cache_size=3))


def test_rows_by_primary_key(bookshop: Bookshop, prefetch: MemoizedPrefetch) -> None:
    memo = prefetch.memoized_objects[Author]
    assert dict(memo) == {}
    prefetch.process_chunk(books_of(*bookshop.authors[:3]))
    a, b, c = bookshop.authors[:3]
    with no_queries():
        assert dict(memo) == {a.pk: a, b.pk: b, c.pk: c}
        assert len(memo) == 3
        assert a.pk in memo
        assert bookshop.authors[4].pk not in memo
        assert memo[a.pk] == a
        assert memo.get(a.pk) == a
        assert memo.get(bookshop.authors[4].pk) is None
        assert memo.get(bookshop.authors[4].pk, "nothing") == "nothing"
        with pytest.raises(KeyError):
            memo[bookshop.authors[4].pk]
        assert type(memo[a.pk]) is Author
        assert set(memo.keys()) == {a.pk, b.pk, c.pk}
        assert memo.keys() == list(memo)
        assert memo.values() == [memo[key] for key in memo]
        assert memo.items() == [(key, memo[key]) for key in memo]


def test_most_recently_used_first(bookshop: Bookshop, prefetch: MemoizedPrefetch) -> None:
    a, b, c = bookshop.authors[:3]
    prefetch.process_chunk(books_of(a, b, c))
    assert prefetch.memoized_objects[Author].keys() == [c.pk, b.pk, a.pk]
    prefetch.process_chunk(books_of(a))
    assert prefetch.memoized_objects[Author].keys() == [a.pk, c.pk, b.pk]


def test_recency_within_a_chunk_is_that_of_the_last_use(bookshop: Bookshop, prefetch: MemoizedPrefetch) -> None:
    a, b, c = bookshop.authors[:3]
    prefetch.process_chunk(books_of(a, b, c, b, a))
    assert prefetch.memoized_objects[Author].keys() == [a.pk, b.pk, c.pk]


def test_the_last_used_are_kept(bookshop: Bookshop, prefetch: MemoizedPrefetch) -> None:
    prefetch.process_chunk(books_of(*bookshop.authors))
    assert set(prefetch.memoized_objects[Author].keys()) == {author.pk for author in bookshop.authors[3:]}
    assert prefetch.memoized_objects[Author].get_size() == 3


def test_reading_is_no_use(bookshop: Bookshop, prefetch: MemoizedPrefetch) -> None:
    a, b, c, d = bookshop.authors[:4]
    prefetch.process_chunk(books_of(a, b, c))
    memo = prefetch.memoized_objects[Author]
    assert memo[a.pk]
    assert memo.get(a.pk)
    assert dict(memo)
    prefetch.process_chunk(books_of(d))
    assert a.pk not in memo
    assert set(memo.keys()) == {b.pk, c.pk, d.pk}


def test_set_size_smaller_evicts_the_least_recently_used(bookshop: Bookshop, prefetch: MemoizedPrefetch) -> None:
    a, b, c = bookshop.authors[:3]
    prefetch.process_chunk(books_of(a, b, c))
    memo = prefetch.memoized_objects[Author]
    memo.set_size(1)
    assert memo.get_size() == 1
    prefetch.process_chunk(books_of(c))
    assert memo.keys() == [c.pk]
    memo.set_size(5)
    prefetch.process_chunk(books_of(*bookshop.authors))
    assert len(memo) == memo.get_size() == 5


@pytest.mark.parametrize("size", [0, -1, "3"])
def test_set_size_refuses_what_a_config_refuses(prefetch: MemoizedPrefetch, size: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        prefetch.memoized_objects[Author].set_size(size)
    assert prefetch.memoized_objects[Author].get_size() == 3


def test_absences_are_invisible() -> None:
    Shelf.objects.create(number=1, room="here")
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Shelf, ["shelf"]))
    prefetch.process_chunk([Volume(shelf_id=key) for key in (1, 2, 3)])
    memo = prefetch.memoized_objects[Shelf]
    assert memo.keys() == [1]
    assert len(memo) == len(memo.values()) == len(memo.items()) == 1
    assert 2 not in memo


def test_keys_are_primary_keys_also_under_a_to_field() -> None:
    series = Series.objects.create(code="A", number=7, name="a")
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Series, ["series"]))
    prefetch.process_chunk([Volume(series_id="A")])
    assert dict(prefetch.memoized_objects[Series]) == {series.pk: series}


def test_models_are_the_configured_ones(bookshop: Bookshop) -> None:
    configs = [MemoizedPrefetchConfig(Author, ["author"]), categories_config()]
    prefetch = MemoizedPrefetch(*configs)
    assert set(prefetch.memoized_objects) == {Author, Category}
    assert Publisher not in prefetch.memoized_objects
    with pytest.raises(KeyError):
        prefetch.memoized_objects[Publisher]
    assert prefetch.memoized_objects_configs == {Author: configs[0], Category: configs[1]}
    assert prefetch.memoized_objects_configs[Author] is configs[0]


def test_what_is_not_there(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author", "categories")
    prefetch.process_chunk(list(Book.objects.all()))
    rows, links = prefetch.memoized_objects, prefetch.through_model_source_target_cache
    views: list[tuple[Any, Any, str]] = [
        (rows, Publisher, r"there is no Publisher\. There are: Author, Category\."),
        (rows, "author", r"there is no 'author'; did you mean Author\? There are: Author, Category\."),
        (links, LINKS.lower(), f"there is no '{LINKS.lower()}'; did you mean '{LINKS}'\\? There are: {LINKS}\\."),
        (MemoizedPrefetch("author").memoized_objects, Author, r"there is no Author\. There are: none\."),
    ]
    for view, name, message in views:
        with pytest.raises(KeyError, match=message):
            view[name]
        assert name not in view
        assert view.get(name) is None


def test_models_of_lookups(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author", "categories")
    prefetch.process_chunk(list(Book.objects.all()))
    assert {author.pk for author in prefetch.memoized_objects[Author].values()} == {
        book.author_id for book in bookshop.books
    }
    assert len(prefetch.memoized_objects[Category]) == 4


def test_links_by_the_originals_name(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(categories_config(lru_cache_size=100))
    books = prefetch.process_chunk(list(Book.objects.order_by("pk")))
    links = prefetch.through_model_source_target_cache[LINKS]
    with no_queries():
        assert set(links.keys()) >= {book.pk for book in books if book.categories.all()}
        for book in books:
            assert list(links.get(book.pk, [])) == [category.pk for category in book.categories.all()]
        assert all(isinstance(targets, list) for targets in links.values())
    assert links.get_size() == 100


def test_links_are_bounded_by_sources(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(categories_config(lru_cache_size=2))
    books = list(Book.objects.exclude(categories=None).distinct().order_by("pk"))
    prefetch.process_chunk(books)
    links = prefetch.through_model_source_target_cache[LINKS]
    assert links.get_size() == 2
    assert set(links.keys()) == {book.pk for book in books[-2:]}


def test_links_of_a_many_to_many_without_explicit_arguments(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Category, ["categories"]))
    prefetch.process_chunk(list(Book.objects.all()))
    assert LINKS in prefetch.through_model_source_target_cache


@pytest.mark.parametrize("when", ["before", "between", "cleared"])
def test_links_and_rows_each_keep_the_size_that_is_set(bookshop: Bookshop, when: str) -> None:
    prefetch = MemoizedPrefetch(categories_config())
    books = Book.objects.order_by("pk")
    if when != "before":
        prefetch.process_chunk(books[:4])
    if when == "cleared":
        prefetch.clear()
    links, rows = prefetch.through_model_source_target_cache[LINKS], prefetch.memoized_objects[Category]
    rows.set_size(2)
    assert (links.get_size(), rows.get_size()) == (10_000, 2)
    links.set_size(3)
    assert (links.get_size(), rows.get_size()) == (3, 2)
    kept = {name: table.kept for name, table in prefetch.plan(Book.objects.all()).tables.items()}
    prefetch.process_chunk(books)
    assert (len(links), len(rows)) == (3, 2)
    assert {name: table.bound for name, table in prefetch.stats().tables.items()} == kept
    prefetch.clear()
    prefetch.process_chunk(books.all())
    assert (len(links), len(rows)) == (links.get_size(), rows.get_size()) == (3, 2)


def test_views_before_the_first_chunk(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(categories_config(lru_cache_size=9), MemoizedPrefetchConfig(Author, ["author"]))
    assert prefetch.memoized_objects[Author].get_size() == 10_000
    assert dict(prefetch.memoized_objects[Author]) == {}
    assert dict(prefetch.through_model_source_target_cache.get(LINKS, {})) == {}
    prefetch.memoized_objects[Author].set_size(1)
    prefetch.process_chunk(list(Book.objects.all()))
    assert len(prefetch.memoized_objects[Author]) == 1


def test_sizes_by_name_of_the_table(bookshop: Bookshop) -> None:
    names = {"Author": 2, "Publisher (queryset)": None, "Book.categories links": 3, "Category": 4}
    lookups = ["author", Prefetch("publisher", Publisher.objects.all()), "categories"]
    prefetch = MemoizedPrefetch(*lookups, lru_cache_size=names, model=Book)

    def sizes() -> list[int | None]:
        rows = prefetch.memoized_objects
        links = prefetch.through_model_source_target_cache[LINKS]
        return [rows[Author].get_size(), rows[Publisher].get_size(), links.get_size(), rows[Category].get_size()]

    assert sizes() == [2, None, 3, 4]
    before = {name: table.bound for name, table in prefetch.stats().tables.items()}
    assert before == names
    prefetch.process_chunk(list(Book.objects.all()))
    assert sizes() == [2, None, 3, 4]
    assert {name: table.bound for name, table in prefetch.stats().tables.items()} == names
    assert len(prefetch.memoized_objects[Author]) == 2
    prefetch.memoized_objects[Author].set_size(5)
    assert sizes() == [5, None, 3, 4]


def test_a_size_of_a_config_comes_before_those_by_name(bookshop: Bookshop) -> None:
    config = MemoizedPrefetchConfig(Author, ["author"], lru_cache_size=3)
    prefetch = MemoizedPrefetch(config, "publisher", lru_cache_size={"Author": 1, "Publisher": 2})
    prefetch.process_chunk(list(Book.objects.all()))
    views = prefetch.memoized_objects
    assert [views[model].get_size() for model in (Author, Publisher)] == [3, 2]
    assert [len(views[model]) for model in (Author, Publisher)] == [3, 2]


def test_prefetch_all_is_seen_at_once(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Publisher, ["publisher"], prefetch_all=True))
    assert len(prefetch.memoized_objects[Publisher]) == len(bookshop.publishers)
    prefetch.clear()
    assert len(prefetch.memoized_objects[Publisher]) == 0
    with query_count(1 + 1):
        prefetch.process_chunk(Book.objects.all())
    assert len(prefetch.memoized_objects[Publisher]) == len(bookshop.publishers)
