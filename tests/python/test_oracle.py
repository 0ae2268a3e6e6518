"""What Oracle would be sent: what Django makes of the same conditions. No server takes part, see `stub_oracle`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db.models import prefetch_related_objects

from django_memoized_prefetch import MemoizedPrefetch, memoized, partitions
from tests.python.bookshop.models import Author, Book, Category, Publisher, Review
from tests.python.catalogue.models import Series, Volume
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.databases import on_one_database
from tests.python.graph import assert_same_as_django
from tests.python.stub_oracle import ALIAS, Oracle, Statement, oracle

# Django 4.2 knows the former driver only.
pytestmark = [on_one_database, pytest.mark.since("5.2")]
MANY = 2_500
LONGEST_LIST = 1_000


@pytest.fixture
def sent(db: None) -> Iterator[Oracle]:
    with oracle() as sent:
        yield sent


@pytest.fixture
def many_books() -> None:
    """As many authors, books, links and reviews."""
    keys = range(FIRST_KEY, FIRST_KEY + MANY)
    publisher = Publisher.objects.create(name="one", country="SE")
    Author.objects.bulk_create(Author(pk=key, name=f"author {key}") for key in keys)
    Category.objects.bulk_create(Category(pk=key, name=f"category {key}") for key in keys)
    Book.objects.bulk_create(Book(pk=key, title=f"book {key}", author_id=key, publisher=publisher) for key in keys)
    links = Book.categories.through
    links.objects.bulk_create(links(book_id=key, category_id=key) for key in keys)
    Review.objects.bulk_create(Review(pk=key, book_id=key, rating=1, comment="") for key in keys)


def books() -> list[Book]:
    return list(Book.objects.using(ALIAS).order_by("pk"))


def condition(statement: Statement) -> tuple[str, list[Any]]:
    """What is read of which tables, whatever its columns, and the parameters, whatever their order."""
    return statement.sql.partition(" FROM ")[2], sorted(statement.parameters.values())


def by_key(model: Any) -> Callable[[Oracle], Statement]:
    """Django's statement for the rows of all these keys."""

    def ask(sent: Oracle) -> Statement:
        list(model.objects.using(ALIAS).filter(pk__in=range(FIRST_KEY, FIRST_KEY + MANY)))
        [statement] = sent.taken()
        return statement

    return ask


def by_prefetch(model: Any, lookup: str) -> Callable[[Oracle], Statement]:
    """Django's statement for the rows that refer to these."""

    def ask(sent: Oracle) -> Statement:
        prefetch_related_objects(model.objects.using(ALIAS).order_by("pk"), lookup)
        return sent.taken()[-1]

    return ask


# Django's prefetch asks for the rows of a foreign key with a chain of ORs, because Oracle compares no tuples. Of a
# many-to-many it reads links and rows at once.
CONDITIONS = {
    "author": [by_key(Author)],
    "reviews": [by_prefetch(Book, "reviews")],
    "categories": [by_prefetch(Book, "categories"), by_key(Category)],
    "author__books": [by_key(Author), by_prefetch(Author, "books")],
}


@pytest.mark.parametrize("lookup", CONDITIONS)
def test_lists_of_keys_are_split_as_by_django(many_books: None, sent: Oracle, lookup: str) -> None:
    expected = [condition(ask(sent)) for ask in CONDITIONS[lookup]]
    chunk = books()
    sent.taken()
    MemoizedPrefetch(lookup, lru_cache_size=MANY).process_chunk(chunk)
    statements = sent.taken()
    assert [condition(statement) for statement in statements] == expected
    for statement in statements:
        assert [len(keys) for keys in statement.lists] == [LONGEST_LIST, LONGEST_LIST, MANY - 2 * LONGEST_LIST]
        assert sorted(key for keys in statement.lists for key in keys) == [*range(FIRST_KEY, FIRST_KEY + MANY)]


@pytest.mark.parametrize("lookups", [["author", "translator"], ["categories"], ["reviews"], ["author__books__reviews"]])
def test_what_comes_back_is_attached_as_by_django(bookshop: Bookshop, sent: Oracle, lookups: list[str]) -> None:
    prefetch = MemoizedPrefetch(*lookups)
    for _ in range(2):
        assert_same_as_django(books, lookups, prefetch)


def test_foreign_keys_to_one_table_share_a_list(bookshop: Bookshop, sent: Oracle) -> None:
    chunk = books()
    sent.taken()
    MemoizedPrefetch("author", "translator").process_chunk(chunk)
    [statement] = sent.taken()
    assert [sorted(keys) for keys in statement.lists] == [[FIRST_KEY + i for i in range(5)]]


def test_pages(bookshop: Bookshop, sent: Oracle) -> None:
    queryset = Book.objects.using(ALIAS).filter(publisher__name__gte="p")
    for order, sign in (("pk", "gt"), ("-pk", "lt")):
        ordered = queryset.order_by(order)
        expected, last = [], None
        for _ in range(3):
            page = ordered if last is None else ordered.filter(**{f"pk__{sign}": last})
            rows = list(page[:6])
            last = rows[:5][-1].pk
            expected += sent.taken()
        assert all(one.sql.endswith(" FETCH FIRST 6 ROWS ONLY") for one in expected)
        chunks = [[book.pk for book in chunk] for chunk in MemoizedPrefetch().chunks(ordered, 5)]
        assert [(one.sql, one.parameters) for one in sent.taken()] == [(one.sql, one.parameters) for one in expected]
        keys = [FIRST_KEY + i for i in range(12)][:: 1 if sign == "gt" else -1]
        assert chunks == [keys[:5], keys[5:10], keys[10:]]


def test_parts(bookshop: Bookshop, sent: Oracle) -> None:
    queryset = Book.objects.using(ALIAS).order_by("pk")
    parts = partitions(queryset, 3)
    counted, *hops = sent.taken()
    assert "COUNT(*)" in counted.sql
    first = queryset.values_list("id", flat=True)
    expected = [first[3:4], first.filter(pk__gt=FIRST_KEY + 3)[3:4]]
    for keys in expected:
        list(keys)
    djangos = sent.taken()
    assert [(one.sql, one.parameters) for one in hops] == [(one.sql, one.parameters) for one in djangos]
    assert all(one.sql.endswith(" OFFSET 3 ROWS FETCH FIRST 1 ROWS ONLY") for one in hops)
    assert [part.upto for part in parts] == [FIRST_KEY + 3, FIRST_KEY + 7, None]


def test_memoized(bookshop: Bookshop, sent: Oracle) -> None:
    queryset = Book.objects.using(ALIAS).order_by("title").prefetch_related("author", "categories")
    expected = [(book.title, book.author.name, sorted(one.name for one in book.categories.all())) for book in queryset]
    rows = memoized(queryset).iterator(chunk_size=5)
    assert [(one.title, one.author.name, sorted(row.name for row in one.categories.all())) for one in rows] == expected


def volumes() -> list[Volume]:
    return list(Volume.objects.using(ALIAS).order_by("pk"))


def test_an_empty_text_is_none(sent: Oracle) -> None:
    """Such a key finds nothing, and where a text cannot be NULL, Django reads NULL as an empty text."""
    Series.objects.bulk_create(Series(code=code, number=number, name="") for number, code in enumerate(["", "a", "b"]))
    Volume.objects.bulk_create(Volume(title="", series_id=code) for code in ("", "a", "b", "", None))
    assert [volume.series_id for volume in volumes()] == [None, "a", "b", None, None]
    assert sorted(one.code for one in Series.objects.using(ALIAS)) == ["", "a", "b"]

    def with_keys_by_hand() -> list[Volume]:
        made = [Volume(pk=number, series_id=key) for number, key in enumerate(["", "a", "", "none"])]
        for volume in made:
            volume._state.db = ALIAS
        return made

    for make in (volumes, with_keys_by_hand):
        prefetch = MemoizedPrefetch("series")
        for _ in range(2):
            assert_same_as_django(make, ["series"], prefetch)
    sent.taken()
    chunk = MemoizedPrefetch("series").process_chunk(with_keys_by_hand())
    assert [one.series and one.series.code for one in chunk] == [None, "a", None, None]
    [statement] = sent.taken()
    assert [sorted(map(str, keys)) for keys in statement.lists] == [["None", "a", "none"]]
    sent.taken()
    prefetch_related_objects(series := list(Series.objects.using(ALIAS).order_by("number")), "volumes")
    again = list(Series.objects.using(ALIAS).order_by("number"))
    sent.taken()
    MemoizedPrefetch("volumes").process_chunk(again)
    assert [len(one.volumes.all()) for one in again] == [len(one.volumes.all()) for one in series] == [0, 1, 1]
