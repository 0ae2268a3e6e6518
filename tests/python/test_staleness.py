"""What a memo remembers of rows that change: it is a snapshot, but never a wrong row."""

from __future__ import annotations

import pytest

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.bookshop.models import Author, Book, Category, Publisher, Review
from tests.python.catalogue.models import Series, Volume
from tests.python.conftest import Bookshop
from tests.python.graph import assert_same_as_django
from tests.python.queries import no_queries, query_count


def all_books() -> list[Book]:
    return list(Book.objects.order_by("pk"))


def test_a_memo_is_a_snapshot(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author")
    prefetch.process_chunk(all_books())
    Author.objects.update(name="renamed")
    books = all_books()
    with no_queries():
        prefetch.process_chunk(books)
    assert "renamed" not in {book.author.name for book in books}


def test_a_change_to_a_shared_instance_shows_in_later_chunks(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author")
    books = prefetch.process_chunk(all_books())
    books[0].author.name = "changed by hand"
    again = prefetch.process_chunk(all_books())
    assert again[0].author.name == "changed by hand"


def test_clear_forgets_rows_absences_and_links(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author", "translator", "categories")
    old = prefetch.process_chunk(all_books())
    names = [book.author.name for book in old]
    Author.objects.update(name="renamed")
    Category.objects.update(name="renamed")
    for book in Book.objects.all():
        book.categories.set(bookshop.categories[4:])
    prefetch.clear()
    assert not prefetch.stats().relations["author"].size
    assert_same_as_django(all_books, ["author", "translator", "categories"], prefetch)
    with no_queries():
        assert [book.author.name for book in old] == names, "objects that the user has are not changed"


def test_clear_before_the_first_chunk_and_twice(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author")
    prefetch.clear()
    prefetch.clear()
    assert_same_as_django(all_books, "author", prefetch)


def test_clear_keeps_the_counters(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author")
    prefetch.process_chunk(all_books())
    before = prefetch.stats().relations["author"]
    prefetch.clear()
    after = prefetch.stats().relations["author"]
    assert (after.requests, after.fetched, after.queries) == (before.requests, before.fetched, before.queries)


def test_prefetch_all_is_read_again_after_clear(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Publisher, ["publisher"], prefetch_all=True))
    Publisher.objects.update(name="renamed")
    prefetch.clear()
    books = all_books()
    with query_count(1):
        prefetch.process_chunk(books)
    assert {book.publisher.name for book in books} == {"renamed"}
    books = all_books()
    with no_queries():
        prefetch.process_chunk(books)


def test_a_deleted_shared_row_is_not_attached_again(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("translator")
    unused = bookshop.authors[5]
    [book] = prefetch.process_chunk([Book(pk=1000, translator_id=unused.pk)])
    Book.objects.filter(translator=unused).update(translator=None)
    book.translator.delete()
    assert book.translator.pk is None
    assert_same_as_django(lambda: [Book(pk=1001, translator_id=unused.pk), *all_books()], "translator", prefetch)


@pytest.mark.parametrize("lookup", ["author", "categories", "book__author", "book", "book__categories"])
def test_deleted_shared_rows_of_every_kind(bookshop: Bookshop, lookup: str) -> None:
    def chunk() -> list[Book] | list[Review]:
        return list((Review if lookup.startswith("book") else Book).objects.order_by("pk"))

    prefetch = MemoizedPrefetch(lookup)
    for obj in prefetch.process_chunk(chunk())[4:7]:
        target: object = obj
        for name in lookup.split("__"):
            target = getattr(target, name)
        if lookup.endswith("categories"):
            target = next(iter(target.all()), None)
        if target is not None and target.pk is not None:
            target.delete()
    assert_same_as_django(chunk, lookup, prefetch)


@pytest.mark.parametrize("lookup", ["author", "categories", "book__author", "book"])
def test_a_shared_row_saved_as_a_new_one(bookshop: Bookshop, lookup: str) -> None:
    """`pk = None; save()` makes the shared instance another row."""

    def chunk() -> list[Book] | list[Review]:
        return list((Review if lookup.startswith("book") else Book).objects.order_by("pk"))

    prefetch = MemoizedPrefetch(lookup)
    target: object = prefetch.process_chunk(chunk())[4]
    for name in lookup.split("__"):
        target = getattr(target, name)
    if lookup == "categories":
        target = target.all()[0]
    old = target.pk
    target.pk = None
    target.save()
    assert target.pk != old
    assert_same_as_django(chunk, lookup, prefetch)
    if lookup == "author":
        # The new row is found under its own key, too.
        assert_same_as_django(lambda: [Book(pk=1, author_id=target.pk)], "author", prefetch)


def test_a_shared_row_whose_target_field_changed() -> None:
    """The row is another key's now; the memo compares on every hit."""
    Series.objects.create(code="A", number=1, name="first")

    def chunk() -> list[Volume]:
        return [Volume(pk=1, series_id="A")]

    prefetch = MemoizedPrefetch("series")
    [volume] = prefetch.process_chunk(chunk())
    volume.series.code = "B"
    volume.series.save()
    assert_same_as_django(chunk, "series", prefetch)
    assert_same_as_django(lambda: [Volume(pk=2, series_id="B")], "series", prefetch)


def test_a_shared_row_whose_key_was_changed_by_hand(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author")
    books = prefetch.process_chunk(all_books())
    books[0].author.pk = 4711
    again = assert_same_as_django(all_books, "author", prefetch)
    assert again[0].author.pk == again[0].author_id


def test_deleting_all_rows(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("translator", "categories")
    books = prefetch.process_chunk(all_books())
    for book in books:
        for category in book.categories.all():
            if category.pk is not None:
                category.delete()
    assert_same_as_django(all_books, ["translator", "categories"], prefetch)


def test_objects_of_earlier_chunks_keep_their_rows(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author", "categories", lru_cache_size=1)
    first = prefetch.process_chunk(all_books()[:6])
    expected = [(book.author.name, sorted(category.name for category in book.categories.all())) for book in first]
    prefetch.process_chunk(all_books()[6:])
    with no_queries():
        assert [
            (book.author.name, sorted(category.name for category in book.categories.all())) for book in first
        ] == expected
