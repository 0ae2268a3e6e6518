"""invalidate(): what is forgotten, and that nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import models
from django.db.models import Prefetch

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.bookshop.models import Author, Book, Category, Publisher, Review
from tests.python.catalogue.models import Item, ListedItem, Loan, Map, Member, Person, VisitingMember
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.databases import on_one_database
from tests.python.graph import assert_alike, assert_same_as_django
from tests.python.memory.changes import all_books, all_reviews, rename, unchanged
from tests.python.queries import django_prefetch, no_queries, query_count
from tests.python.workshop.models import (
    Bicycle,
    Customer,
    Keyed,
    Mechanic,
    Part,
    Photo,
    Region,
    Remark,
    Skill,
    Stage,
    Supplier,
    Ticket,
    Warranty,
)
from tests.python.workshop.rows import (
    MORE_LOOKUPS,
    djangos_reading,
    fill_workshop,
    key,
    reading,
    repairs,
    workshop_prefetch,
)

pytestmark = on_one_database


@pytest.fixture
def workshop() -> None:
    fill_workshop(repairs=20)


BOOKS = {
    "author": (Author, 2),
    "translator": (Author, 1),
    "categories": (Category, 1),
    "publisher": (Publisher, 1),
}


@pytest.mark.parametrize("which", ["one", "all"])
@pytest.mark.parametrize("lookup", BOOKS)
def test_changed_rows_are_read_again(bookshop: Bookshop, lookup: str, which: str) -> None:
    model, number = BOOKS[lookup]
    prefetch = MemoizedPrefetch("author", "translator", "categories", "publisher")
    old = prefetch.process_chunk(all_books())
    with unchanged(old):
        changed = FIRST_KEY + number
        rename(model, *([changed] if which == "one" else []))
        prefetch.invalidate(model, [changed] if which == "one" else None)
        assert_same_as_django(all_books, ["author", "translator", "categories", "publisher"], prefetch)


def test_only_what_is_needed_is_read_again(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author", "translator", "categories", "publisher")
    prefetch.process_chunk(all_books())
    books = all_books()
    prefetch.invalidate(Author, [FIRST_KEY + 1])
    before = prefetch.stats().tables["Author"].fetched
    with query_count(1) as queries:
        prefetch.process_chunk(books)
    assert queries.of(Author) == 1
    assert prefetch.stats().tables["Author"].fetched == before + 1
    # The links that mention a category, and the category; the links of other books stay.
    books = all_books()
    before_links = prefetch.stats().tables["Book.categories links"].misses
    prefetch.invalidate(Category, [FIRST_KEY + 3])
    mentioning = Book.objects.filter(categories=FIRST_KEY + 3).count()
    assert 0 < mentioning < len(books)
    with query_count(2):
        prefetch.process_chunk(books)
    assert prefetch.stats().tables["Book.categories links"].misses == before_links + mentioning
    books = all_books()
    prefetch.invalidate(Publisher, [4711])
    prefetch.invalidate(Publisher, [])
    prefetch.invalidate(Review)
    with query_count(0):
        prefetch.process_chunk(books)


def test_what_nested_rows_show_is_read_again_and_nothing_else(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("book__author", "book__publisher", "book__categories")
    paths = ["book__author", "book__publisher", "book__categories"]
    old = prefetch.process_chunk(all_reviews())
    rename(Publisher, FIRST_KEY + 1)
    reviews = all_reviews()
    with unchanged(old):
        prefetch.invalidate(Publisher, [FIRST_KEY + 1])
        with query_count(1) as queries:
            prefetch.process_chunk(reviews)
    assert queries.of(Publisher) == 1
    theirs = all_reviews()
    django_prefetch(theirs, paths)
    assert_alike(reviews, theirs, paths)
    # Where nothing changed the remembered rows are still the same instances.
    for one, other in zip(old, reviews):
        assert one.book.author is other.book.author
        assert (one.book is other.book) == (one.book.publisher_id != FIRST_KEY + 1)


@pytest.mark.parametrize(
    ("model", "number"),
    [
        *((Region, 2), (Supplier, 2), (Skill, 3), (Mechanic, 3), (Customer, 4), (Bicycle, 4), (Part, 3), (Ticket, 4)),
        *((Photo, 3), (Warranty, 2), (Remark, 5)),
    ],
)
@pytest.mark.parametrize("which", ["one", "all"])
def test_every_relation_several_levels_deep(workshop: None, model: Any, number: int, which: str) -> None:
    prefetch = workshop_prefetch(1000, *MORE_LOOKUPS)
    old = prefetch.process_chunk(repairs(0, 20))
    shown = reading(old, more=True)
    before = djangos_reading(repairs(0, 20), more=True)
    assert shown == before
    rename(model, *([key(number)] if which == "one" else []))
    prefetch.invalidate(model, [key(number)] if which == "one" else None)
    expected = djangos_reading(repairs(0, 20), more=True)
    assert expected != before
    chunk = prefetch.process_chunk(repairs(0, 20))
    assert reading(chunk, more=True) == expected
    assert reading(old, more=True) == before, "what the user has is not changed"
    again = repairs(0, 20)
    prefetch.process_chunk(again)
    assert reading(again, more=True) == expected


def test_rows_within_a_row_by_select_related(bookshop: Bookshop) -> None:
    queryset = Book.objects.select_related("publisher", "author")
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Book, ["book"], queryset))
    old = prefetch.process_chunk(all_reviews())
    rename(Publisher, FIRST_KEY + 1)
    reviews = all_reviews()
    with unchanged(old):
        prefetch.invalidate(Publisher, [FIRST_KEY + 1])
        with query_count(1) as queries:
            prefetch.process_chunk(reviews)
    assert queries.of(Book) == 1
    lookup = Prefetch("book", queryset)
    theirs = all_reviews()
    django_prefetch(theirs, [lookup])
    assert_alike(reviews, theirs, ["book__publisher", "book__author"])


def test_what_the_user_loaded_from_a_shared_row_is_read_again(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("book")
    old = prefetch.process_chunk(all_reviews())
    assert {review.book.publisher.name for review in old}  # loaded one by one, and kept on the shared rows
    rename(Publisher)
    prefetch.invalidate(Publisher)
    reviews = prefetch.process_chunk(all_reviews())
    assert {review.book.publisher.name for review in reviews} == {"renamed"}


def test_to_attr_everywhere(bookshop: Bookshop) -> None:
    def lookups() -> list[Any]:
        return [
            Prefetch("book", to_attr="subject"),
            Prefetch("subject__categories", Category.objects.filter(pk__gt=0), to_attr="genres"),
            Prefetch("subject__author", to_attr="writer"),
        ]

    def read(review: Review) -> Any:
        subject = review.subject
        return subject.title, sorted(one.name for one in subject.genres), subject.writer.name

    prefetch = MemoizedPrefetch(*lookups())

    def check() -> None:
        ours, theirs = prefetch.process_chunk(all_reviews()), all_reviews()
        django_prefetch(theirs, lookups())
        with query_count(0):
            assert [read(one) for one in ours] == [read(one) for one in theirs]

    check()
    for model in (Category, Author, Book):
        rename(model, FIRST_KEY + 2, **({"title": "renamed"} if model is Book else {}))
        prefetch.invalidate(model, [FIRST_KEY + 2])
        check()
    Book.objects.get(pk=FIRST_KEY).categories.set([FIRST_KEY + 2])  # it had none
    prefetch.invalidate(Book.categories.through)
    check()


def test_proxies_and_inherited_tables() -> None:
    donor = Person.objects.create(name="donor")
    found = Map.objects.create(name="old map", scale=1, donor=donor)
    member = Member.objects.create(name="Ann")
    Loan.objects.create(item_id=found.pk, listed_item_id=found.pk, map=found, borrower=member)
    lookups = ["item", "listed_item", "map", "borrower", "map__donor"]
    prefetch = MemoizedPrefetch(*lookups)

    def chunk() -> list[Loan]:
        return list(Loan.objects.all())

    assert_same_as_django(chunk, lookups, prefetch)
    for number, model in enumerate((Item, ListedItem, Map, None)):
        Item.objects.update(name=f"name {number}")
        Map.objects.update(scale=number)
        if model is None:
            prefetch.invalidate(Person)
            continue
        prefetch.invalidate(model, [found.pk])
        assert_same_as_django(chunk, lookups, prefetch)
    prefetch.invalidate(Map)
    rename(Member)
    prefetch.invalidate(VisitingMember, [member.pk])
    assert_same_as_django(chunk, lookups, prefetch)


def test_prefetch_all_and_clear(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Publisher, ["publisher"], prefetch_all=True), "author")
    prefetch.process_chunk(all_books())
    rename(Publisher, FIRST_KEY + 1)
    prefetch.invalidate(Publisher, [FIRST_KEY + 1])
    assert_same_as_django(all_books, ["publisher", "author"], prefetch)
    rename(Publisher)
    rename(Author)
    prefetch.clear()
    prefetch.invalidate(Publisher)
    assert_same_as_django(all_books, ["publisher", "author"], prefetch)


def test_each_database_and_scope(bookshop: Bookshop, other_bookshop: Bookshop) -> None:
    scope = ["first"]
    prefetch = MemoizedPrefetch("author", scope=lambda: scope[0])
    chunks: dict[Any, Callable[[], list[Book]]] = {
        alias: (lambda alias=alias: list(Book.objects.using(alias).order_by("pk"))) for alias in ("default", "other")
    }
    for name in ("first", "second"):
        scope[0] = name
        for chunk in chunks.values():
            prefetch.process_chunk(chunk())
    for alias in chunks:
        Author.objects.using(alias).update(name=f"renamed in {alias}")
    prefetch.invalidate(Author, [author.pk for author in bookshop.authors])
    for name in ("first", "second"):
        scope[0] = name
        for chunk in chunks.values():
            assert_same_as_django(chunk, ["author"], prefetch)


# --- arguments


def test_keys_as_a_form_or_a_url_gives_them(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author")
    prefetch.process_chunk(all_books())
    rename(Author)
    prefetch.invalidate(Author, [str(author.pk) for author in bookshop.authors])
    assert_same_as_django(all_books, ["author"], prefetch)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("Author",), TypeError, "model must be a model class"),
        ((Author(),), TypeError, "model must be a model class"),
        ((int,), TypeError, "model must be a model class"),
        ((models.Model,), TypeError, "model must be a model class"),
        ((Keyed,), TypeError, "Keyed, which is abstract"),
        ((Author, 3), TypeError, r"write \[3\]"),
        ((Author, "3"), TypeError, r"write \['3'\]"),
        ((Author, b"3"), TypeError, "iterable of primary keys"),
        ((Author, [Author(pk=3)]), TypeError, "give its pk"),
        ((Author, ["three"]), ValueError, "not all primary keys of Author"),
    ],
)
def test_wrong_arguments(bookshop: Bookshop, arguments: Any, error: type[Exception], words: str) -> None:
    prefetch = MemoizedPrefetch("author")
    prefetch.process_chunk(all_books())
    with pytest.raises(error, match=words):
        prefetch.invalidate(*arguments)
    books = all_books()
    with query_count(0):
        prefetch.process_chunk(books)


def test_keys_that_no_row_has_and_before_the_first_chunk(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author")
    prefetch.invalidate(Author)
    prefetch.invalidate(Author, iter([1, 2]))
    prefetch.process_chunk(all_books())
    prefetch.invalidate(Author, [None, -1])
    prefetch.invalidate(Stage, ["a word"])
    assert_same_as_django(all_books, ["author"], prefetch)


def test_what_only_select_related_brings_is_read_with_its_row(bookshop: Bookshop) -> None:
    """Another lookup attaches the same relation to rows of another table."""

    def books() -> list[Review]:
        return list(Review.objects.order_by("pk"))

    lookups = [Prefetch("book", Book.objects.select_related("publisher"))]
    prefetch = MemoizedPrefetch(*lookups)
    other = MemoizedPrefetch(
        *lookups, Prefetch("book__author__books", Book.objects.order_by("pk")), "book__author__books__publisher"
    )
    for one in (prefetch, other):
        one.process_chunk(books())
        publisher = bookshop.publishers[0]
        publisher.name += " renamed"
        publisher.save()
        one.invalidate(Publisher, [publisher.pk])
        reviews = one.process_chunk(books())
        with no_queries():
            names = {review.book.publisher.name for review in reviews}
        assert publisher.name in names
