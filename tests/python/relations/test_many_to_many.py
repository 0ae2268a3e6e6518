"""Many-to-many relations: what is read and remembered of links and targets, and what may be done with the rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.bookshop.models import Book, Category
from tests.python.catalogue.models import Genre, Notice, Person, Tag, Volume
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.graph import assert_same_as_django
from tests.python.queries import captured_queries, django_prefetch, no_queries, query_count


def categories_config(**kwargs: Any) -> MemoizedPrefetchConfig:
    """All three explicit arguments, as the original wants them."""
    return MemoizedPrefetchConfig(
        Category,
        ["categories"],
        is_many_to_many=True,
        through_model=Book.categories.through,
        source_field="book_id",
        target_field="category_id",
        **kwargs,
    )


def all_books() -> list[Book]:
    return list(Book.objects.order_by("pk"))


def all_volumes() -> list[Volume]:
    return list(Volume.objects.order_by("pk"))


@pytest.fixture
def volumes() -> list[Volume]:
    return Volume.objects.bulk_create([Volume(title=f"volume {i}") for i in range(5)])


@pytest.mark.parametrize("ways", ["explicit", "config", "lookup"])
@pytest.mark.parametrize("size", [1, 3, 10_000, None])
def test_forward_is_that_of_django(bookshop: Bookshop, ways: str, size: int | None) -> None:
    prefetch = {
        "explicit": lambda: MemoizedPrefetch(categories_config(lru_cache_size=size)),
        "config": lambda: MemoizedPrefetch(MemoizedPrefetchConfig(Category, ["categories"], lru_cache_size=size)),
        "lookup": lambda: MemoizedPrefetch("categories", lru_cache_size=size),
    }[ways]()
    keys = [book.pk for book in bookshop.books]
    for chunk in (keys[:5], keys[3:9], keys, keys[:5]):
        assert_same_as_django(
            lambda chunk=chunk: list(Book.objects.filter(pk__in=chunk).order_by("pk")),
            "categories",
            prefetch,
            read=lambda book: sorted(category.name for category in book.categories.all()),
        )


@pytest.mark.parametrize("source", ["book_id", "book"])
def test_explicit_fields_may_be_columns_or_relations(bookshop: Bookshop, source: str) -> None:
    config = MemoizedPrefetchConfig(
        Category,
        ["categories"],
        None,
        False,
        100,
        True,
        Book.categories.through,
        source,
        source.replace("book", "category"),
    )
    assert_same_as_django(all_books, "categories", MemoizedPrefetch(config))


@pytest.mark.parametrize("as_config", [True, False])
def test_reverse_is_that_of_django(bookshop: Bookshop, as_config: bool) -> None:
    prefetch = (
        MemoizedPrefetch(
            MemoizedPrefetchConfig(
                Book,
                ["books"],
                is_many_to_many=True,
                through_model=Book.categories.through,
                source_field="category_id",
                target_field="book_id",
            )
        )
        if as_config
        else MemoizedPrefetch("books", model=Category)
    )
    for _ in range(2):
        assert_same_as_django(lambda: list(Category.objects.order_by("pk")), "books", prefetch)


def test_links_and_targets_are_remembered(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("categories")
    with query_count(2):
        prefetch.process_chunk([Book(pk=book.pk) for book in bookshop.books])
    with no_queries():
        prefetch.process_chunk([Book(pk=book.pk) for book in bookshop.books])


def test_only_new_sources_ask_for_links(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("categories")
    prefetch.process_chunk(all_books()[:10])
    rest = all_books()[8:]
    with query_count(1):  # links of the two new ones; their categories are known
        prefetch.process_chunk(rest)


@pytest.mark.parametrize(
    "left_out", [[], [4], range(1, 12), range(1, 11)], ids=["none", "one", "all but one", "but two"]
)
def test_sources_that_are_neighbours_ask_for_a_range(bookshop: Bookshop, left_out: Sequence[int]) -> None:
    def chunk() -> list[Book]:
        return [book for number, book in enumerate(Book.objects.order_by("-pk")) if number not in left_out]

    assert_same_as_django(chunk, "categories", MemoizedPrefetch("categories"))
    books = chunk()
    with captured_queries() as queries:
        MemoizedPrefetch("categories").process_chunk(books)
    keys = {book.pk for book in books}
    assert ("BETWEEN" in queries.sql[0]) == (len(keys) == max(keys) - min(keys) + 1 > 1)


def test_a_link_from_between_two_neighbours_is_no_ones(bookshop: Bookshop) -> None:
    table, category = Book.categories.through._meta.db_table, bookshop.categories[0].pk
    with connection.cursor() as cursor, connection.constraint_checks_disabled():
        # SQLite stores it like that; elsewhere it becomes an integer.
        cursor.execute(f"INSERT INTO {table} (book_id, category_id) VALUES (%s, %s)", [FIRST_KEY + 1.5, category])
        assert_same_as_django(all_books, "categories", MemoizedPrefetch("categories"))
        cursor.execute(f"DELETE FROM {table} WHERE book_id = %s", [FIRST_KEY + 1.5])


def test_sources_without_links_are_remembered() -> None:
    books = [Book(pk=pk) for pk in (1, 2, 3)]
    prefetch = MemoizedPrefetch("categories")
    with query_count(1):  # nothing is linked, so nothing is fetched
        prefetch.process_chunk(books)
    again = [Book(pk=pk) for pk in (3, 2, 1)]
    with no_queries():
        prefetch.process_chunk(again)
        assert [list(book.categories.all()) for book in again] == [[], [], []]


def test_order_of_the_related_model(volumes: list[Volume]) -> None:
    genres = [Genre.objects.create(name=name, rank=rank) for name, rank in (("b", 1), ("a", 1), ("c", 0), ("d", 2))]
    for i, volume in enumerate(volumes):
        volume.genres.add(*genres[i % 2 :])
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Genre, ["genres"], lru_cache_size=2))
    for _ in range(2):
        [first, *_] = assert_same_as_django(all_volumes, "genres", prefetch)
        assert [genre.name for genre in first.genres.all()] == ["c", "b", "a", "d"]


def test_order_survives_targets_that_were_already_remembered(volumes: list[Volume]) -> None:
    genres = [Genre.objects.create(name=f"genre {i}", rank=-i) for i in range(4)]
    volumes[0].genres.add(genres[0], genres[3])
    volumes[1].genres.add(*genres)
    prefetch = MemoizedPrefetch("genres")
    for volume in volumes[:2]:
        assert_same_as_django(lambda volume=volume: [Volume.objects.get(pk=volume.pk)], "genres", prefetch)


def test_rows_that_the_default_manager_hides_are_absent(volumes: list[Volume]) -> None:
    notices = [Notice.everything.create(text=f"notice {9 - i}", withdrawn=bool(i % 2)) for i in range(5)]
    for volume in volumes:
        volume.notices.add(*notices)
    for prefetch in (MemoizedPrefetch("notices"), MemoizedPrefetch(MemoizedPrefetchConfig(Notice, ["notices"]))):
        for _ in range(2):
            [first, *_] = assert_same_as_django(all_volumes, "notices", prefetch)
            assert len(first.notices.all()) == 3


def test_a_hidden_row_reached_by_foreign_key_stays_hidden_in_the_many_to_many(volumes: list[Volume]) -> None:
    hidden = Notice.everything.create(text="hidden", withdrawn=True)
    volumes[0].notices.add(hidden)
    Volume.objects.filter(pk=volumes[0].pk).update(notice=hidden)
    prefetch = MemoizedPrefetch("notice", "notices")
    for _ in range(2):
        [first, *_] = assert_same_as_django(all_volumes, ["notice", "notices"], prefetch)
        assert first.notice == hidden
        assert not first.notices.all()


def test_foreign_key_and_many_to_many_share_the_rows_of_one_table(volumes: list[Volume]) -> None:
    """One table, one memo: a row that came by one relation is not fetched for the other."""
    tags = [Tag.objects.create(word=f"tag {i}") for i in range(2)]
    volumes[0].tags.add(*tags)
    people = [Person.objects.create(name="a"), Person.objects.create(name="b")]
    people[0].colleagues.add(people[1])
    Person.objects.filter(pk=people[0].pk).update(mentor=people[1])
    prefetch = MemoizedPrefetch("mentor", "colleagues")
    with query_count(1 + 2):  # the chunk; persons once, links once
        prefetch.process_chunk(Person.objects.filter(pk=people[0].pk))


def test_existing_prefetch_is_left_alone(bookshop: Bookshop) -> None:
    def chunk() -> list[Book]:
        books = all_books()
        django_prefetch(books[:4], ["categories"])
        Book.categories.through.objects.all()
        return books

    prefetch = MemoizedPrefetch("categories")
    for _ in range(2):
        assert_same_as_django(chunk, "categories", prefetch)


def test_existing_prefetch_keeps_its_queryset(bookshop: Bookshop) -> None:
    [book, plain] = bookshop.books[4], bookshop.books[3]
    book = Book.objects.get(pk=book.pk)
    django_prefetch([book], ["categories"])
    queryset = book.categories.all()
    plain = Book.objects.get(pk=plain.pk)
    MemoizedPrefetch("categories").process_chunk([book, plain])
    assert book.categories.all() is queryset
    with no_queries():
        assert plain.categories.count() == 3


def test_the_result_is_a_queryset_of_the_managers_class(bookshop: Bookshop) -> None:
    [book] = MemoizedPrefetch("categories").process_chunk([Book.objects.get(pk=bookshop.books[4].pk)])
    with no_queries():
        result = book.categories.all()
        assert isinstance(result, QuerySet)
        assert result.model is Category
        assert result.db == "default"
        assert len(result) == result.count() == book.categories.count() == 4
        assert result.exists()
        assert result[0] in result
        assert [category.pk for category in result[1:3]] == [category.pk for category in list(result)[1:3]]


def test_changing_the_relation_of_a_processed_object_works(bookshop: Bookshop) -> None:
    [book] = MemoizedPrefetch("categories").process_chunk([Book.objects.get(pk=bookshop.books[4].pk)])
    extra = Category.objects.create(name="extra")
    before = {category.pk for category in book.categories.all()}
    book.categories.add(extra)
    assert {category.pk for category in book.categories.all()} == before | {extra.pk}
    book.categories.set([extra])
    assert list(book.categories.all()) == [extra]
    book.categories.clear()
    assert not book.categories.all()
