"""Several databases at once, routers, and key lists longer than any database takes."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from django.db import connection, connections, models, transaction
from django.db.models import Prefetch
from django.test import override_settings

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.bookshop.models import Author, Book, Category, Publisher, Review
from tests.python.conftest import Bookshop
from tests.python.databases import MARIADB
from tests.python.graph import assert_same_as_django
from tests.python.queries import captured_queries, no_queries, query_count
from tests.python.turns import EVERY

LOOKUPS = ["author", "translator", "publisher", "categories"]
ALIASES = ["default", "other"]


def all_books(alias: str) -> list[Book]:
    return list(Book.objects.using(alias).order_by("pk"))


def everything() -> MemoizedPrefetch:
    return MemoizedPrefetch(
        MemoizedPrefetchConfig(Author, ["author", "translator"]),
        MemoizedPrefetchConfig(Publisher, ["publisher"], prefetch_all=True),
        MemoizedPrefetchConfig(
            Category,
            ["categories"],
            is_many_to_many=True,
            through_model=Book.categories.through,
            source_field="book_id",
            target_field="category_id",
        ),
    )


@pytest.mark.parametrize("alias", ALIASES)
def test_rows_come_from_the_chunks_database(bookshop: Bookshop, other_bookshop: Bookshop, alias: str) -> None:
    prefetch = everything()
    for _ in range(2):
        books = assert_same_as_django(lambda: all_books(alias), LOOKUPS, prefetch)
        assert {book.author._state.db for book in books} == {alias}
        assert all(alias in book.author.name for book in books)
        assert {category._state.db for book in books for category in book.categories.all()} == {alias}


def test_two_databases_in_turn_do_not_mix(bookshop: Bookshop, other_bookshop: Bookshop) -> None:
    for prefetch in (everything(), MemoizedPrefetch(*LOOKUPS, lru_cache_size=2)):
        for alias in ["default", "other", "default", "other", "other", "default"]:
            books = assert_same_as_django(lambda alias=alias: all_books(alias), LOOKUPS, prefetch)
            assert all(alias in book.author.name and alias in book.publisher.name for book in books)


def test_each_database_is_remembered_for_itself(bookshop: Bookshop, other_bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(*LOOKUPS)
    for alias in ALIASES:
        prefetch.process_chunk(all_books(alias))
    for alias in ALIASES:
        books = all_books(alias)
        with no_queries():
            prefetch.process_chunk(books)


def test_absences_are_remembered_per_database(other_bookshop: Bookshop) -> None:
    key = other_bookshop.authors[0].pk
    assert not Author.objects.filter(pk=key).exists()
    prefetch = MemoizedPrefetch("translator")
    assert prefetch.process_chunk([Book(translator_id=key)])[0].translator is None
    book = Book(translator_id=key)
    book._state.db = "other"
    assert prefetch.process_chunk([book])[0].translator == other_bookshop.authors[0]


def test_views_show_the_database_of_the_latest_chunk(bookshop: Bookshop, other_bookshop: Bookshop) -> None:
    prefetch = everything()
    for alias in ["default", "other", "default"]:
        prefetch.process_chunk(all_books(alias))
        assert {author._state.db for author in prefetch.memoized_objects[Author].values()} == {alias}


def test_nested_rows_come_from_the_chunks_database(bookshop: Bookshop, other_bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("book__author", "book__categories")
    for alias in ["other", "default", "other"]:
        assert_same_as_django(
            lambda alias=alias: list(Review.objects.using(alias).order_by("pk")),
            ["book__author", "book__categories"],
            prefetch,
        )


def test_queryset_that_names_a_database(bookshop: Bookshop, other_bookshop: Bookshop) -> None:
    """As with Prefetch: the queryset's database is asked, whatever the objects' own is."""
    queryset = Author.objects.using("other")
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Author, ["author"], queryset=queryset))
    for _ in range(2):
        books = assert_same_as_django(
            lambda: all_books("default"), [Prefetch("author", Author.objects.using("other"))], prefetch
        )
        assert {book.author._state.db for book in books} == {"other"}


class ReadsElsewhere:
    """A replica: reads go to `other`."""

    asked: list[dict[str, Any]] = []

    def db_for_read(self, model: type[models.Model], **hints: Any) -> str | None:
        self.asked.append({"model": model, **hints})
        return "other" if model in (Author, Category) else None


def test_router_decides_with_the_first_object_as_hint(bookshop: Bookshop, other_bookshop: Bookshop) -> None:
    with override_settings(DATABASE_ROUTERS=[ReadsElsewhere()]):
        prefetch = MemoizedPrefetch("author", "translator", "publisher")
        for _ in range(2):
            ReadsElsewhere.asked.clear()
            books = all_books("default")
            prefetch.process_chunk(books)
            hinted = {type(asked.get("instance")) for asked in ReadsElsewhere.asked if asked["model"] is Author}
            assert Book in hinted
            assert {book.author._state.db for book in books} == {"other"}
            assert {book.publisher._state.db for book in books} == {"default"}
        assert_same_as_django(lambda: all_books("default"), LOOKUPS, MemoizedPrefetch(*LOOKUPS))


class ReadsReplica:
    def db_for_read(self, model: type[models.Model], **hints: Any) -> str:
        return "other"


@pytest.mark.parametrize("router", [ReadsReplica, ReadsElsewhere])
def test_router_decides_where_a_deferred_key_is_read(bookshop: Bookshop, other_bookshop: Bookshop, router: Any) -> None:
    """A replica lags behind, so that the key is another one there."""
    Book.objects.using("other").update(author=other_bookshop.authors[5])
    with override_settings(DATABASE_ROUTERS=[router()]):
        assert_same_as_django(
            lambda: list(Book.objects.using("default").defer("author").order_by("pk")),
            "author",
            MemoizedPrefetch("author"),
            read=lambda book: (book.author_id, book._state.db),
        )


class Fails:
    def db_for_read(self, model: type[models.Model], **hints: Any) -> str | None:
        raise RuntimeError("no route")


def test_router_that_fails_leaves_everything_as_it_was(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(*LOOKUPS)
    first, second = all_books("default"), all_books("default")
    prefetch.process_chunk(first[:3])
    with override_settings(DATABASE_ROUTERS=[Fails()]), pytest.raises(RuntimeError, match="no route"):
        prefetch.process_chunk(second)
    assert_same_as_django(lambda: all_books("default"), LOOKUPS, prefetch)


def test_objects_of_two_databases_in_one_chunk_follow_the_first(bookshop: Bookshop, other_bookshop: Bookshop) -> None:
    def chunk() -> list[Book]:
        return [*all_books("other")[:3], *all_books("default")[:3]]

    prefetch = MemoizedPrefetch("author", "translator")
    assert_same_as_django(chunk, ["author", "translator"], prefetch)


@pytest.mark.parametrize("scopes", [["a", "b", "a"], [1, None, 1]])
def test_scope_separates_memos(bookshop: Bookshop, scopes: list[Any]) -> None:
    current: list[Any] = [None]
    prefetch = MemoizedPrefetch("author", "categories", scope=lambda: current[0])
    seen = {}
    for scope in scopes:
        current[0] = scope
        Author.objects.update(name=f"for {scope}")
        books = prefetch.process_chunk(all_books("default"))
        if scope in seen:
            assert all(book.author is seen[scope] for book in books if book.author_id == seen[scope].pk)
        else:
            assert {book.author.name for book in books} == {f"for {scope}"}
        seen.setdefault(scope, books[0].author)


def test_scope_is_asked_once_per_chunk(bookshop: Bookshop) -> None:
    asked = []
    prefetch = MemoizedPrefetch(*LOOKUPS, scope=lambda: asked.append(1))
    asked.clear()
    for count in range(1, 4):
        prefetch.process_chunk(all_books("default"))
        assert len(asked) == count


def test_prefetch_all_loads_once_in_every_context(bookshop: Bookshop, other_bookshop: Bookshop) -> None:
    with query_count(1):
        prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Publisher, ["publisher"], prefetch_all=True))
    for queries in (1, 0):
        books = all_books("other")
        with query_count(queries):
            prefetch.process_chunk(books)
        assert_same_as_django(lambda: all_books("other"), "publisher", prefetch)
    books = all_books("default")
    with no_queries():
        prefetch.process_chunk(books)


def test_the_least_recently_used_of_more_than_four_contexts_is_dropped(bookshop: Bookshop) -> None:
    current = [0]
    prefetch = MemoizedPrefetch("author", scope=lambda: current[0])

    def queries_in(scope: int) -> int:
        current[0] = scope
        books = all_books("default")
        with captured_queries() as queries:
            prefetch.process_chunk(books)
        return len(queries)

    assert [queries_in(scope) for scope in (1, 2, 3, 4)] == [1, 1, 1, 1]
    assert [queries_in(scope) for scope in (1, 2, 3, 4)] == [0, 0, 0, 0]
    assert queries_in(5) == 1
    assert [queries_in(scope) for scope in (2, 3, 4, 5)] == [0, 0, 0, 0]
    assert queries_in(1) == 1


# --- more keys than one statement takes

# SQLite takes 250,000 parameters, PostgreSQL 65,535.
MANY = 300_000 if connection.vendor == "sqlite" or EVERY else 90_000


def fill(alias: str, table: str, columns: str, values: str, count: int) -> None:
    # MariaDB stops after 1,000.
    before = f"set statement max_recursive_iterations = {count} for " if connections[alias].vendor == MARIADB else ""
    with connections[alias].cursor() as cursor:
        cursor.execute(
            f"{before}insert into {table} ({columns}) with recursive numbers (i) as "
            f"(select 1 union all select i + 1 from numbers where i < {count}) select {values} from numbers"
        )


def loose_books(alias: str, count: int) -> list[Book]:
    """Objects that look loaded; the test is about the keys they ask for."""
    names = [field.attname for field in Book._meta.concrete_fields]
    return [
        Book.from_db(alias, names, [i if name in ("id", "author_id") else None for name in names])
        for i in range(1, count + 1)
    ]


@pytest.mark.parametrize("alias", ALIASES if EVERY else ALIASES[:1])
def test_more_distinct_foreign_keys_than_parameters(alias: str) -> None:
    # Two of three exist.
    fill(alias, "bookshop_author", "id, name, email", "i, 'a', ''", MANY * 2 // 3)
    books = loose_books(alias, MANY)
    prefetch = MemoizedPrefetch("author", lru_cache_size=1000)
    with captured_queries() as queries:
        prefetch.process_chunk(books)
    assert len(queries) < MANY // 10_000
    with no_queries():
        fields_caches = [book._state.fields_cache["author"] for book in books]
    assert all(author.pk == i for i, author in enumerate(fields_caches[: MANY * 2 // 3], 1))
    assert not any(fields_caches[MANY * 2 // 3 :])
    stats = prefetch.stats().relations["author"]
    assert (stats.misses, stats.fetched, stats.missing) == (MANY, MANY * 2 // 3, MANY // 3)
    assert stats.size <= 1000


@pytest.mark.parametrize("alias", ALIASES if EVERY else ALIASES[1:])
def test_more_sources_of_a_many_to_many_than_parameters(alias: str) -> None:
    links = Book.categories.through
    Category.objects.using(alias).bulk_create([Category(pk=pk, name=f"category {pk}") for pk in range(1, 8)])
    with transaction.atomic(using=alias):
        fill(alias, "bookshop_author", "id, name, email", "i, 'a', ''", 1)
        fill(alias, "bookshop_publisher", "id, name, country", "i, 'p', ''", 1)
        fill(
            alias,
            "bookshop_book",
            "id, title, isbn, author_id, publisher_id",
            "i * 100, 't', 'i', 1, 1",
            MANY // 100,
        )
        fill(alias, links._meta.db_table, "book_id, category_id", "i * 100, 1 + i % 7", MANY // 100)
    books = loose_books(alias, MANY)
    prefetch = MemoizedPrefetch("categories", lru_cache_size=1000)
    with captured_queries() as queries:
        prefetch.process_chunk(books)
    assert len(queries) < MANY // 10_000
    with no_queries():
        for book in books[::50]:
            expected = [] if book.pk % 100 else [1 + book.pk // 100 % 7]
            assert [category.pk for category in book.categories.all()] == expected
    assert prefetch.stats().relations["categories"].size <= 1000


if hasattr(sqlite3.Connection, "setlimit") and connections["default"].vendor == "sqlite":

    @pytest.mark.parametrize("limit", [999, 100])
    def test_the_connections_real_limit_is_respected(limit: int) -> None:
        fill("default", "bookshop_author", "id, name, email", "i, 'a', ''", 2000)
        connection = connections["default"].connection
        before = connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, limit)
        books = loose_books("default", 2500)
        try:
            for lookup in ("author", "categories"):
                with captured_queries() as queries:
                    MemoizedPrefetch(lookup).process_chunk(books)
                # Some parameters may be kept for the rest of the statement.
                assert 2500 / limit <= len(queries) <= 1 + 2500 / (limit * 0.8)
        finally:
            connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, before)
        with no_queries():
            assert all(book.author.pk == book.pk for book in books[:2000])
            assert not any(book.categories.all() for book in books[::100])
