"""What is wrong with a chunk is said, and the memory is as before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import prefetch_related_objects

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.bookshop.models import Book, Review
from tests.python.catalogue.models import Volume
from tests.python.conftest import Bookshop
from tests.python.graph import assert_same_as_django
from tests.python.queries import no_queries
from tests.python.refusals import LOOKUPS, all_books, refused, warmed


@pytest.mark.parametrize("bad", [None, 5, "book", {"id": 1}, object(), Book])
@pytest.mark.parametrize("index", [0, 2, 5])
def test_objects_that_are_no_model_instances(bookshop: Bookshop, bad: Any, index: int) -> None:
    prefetch = warmed()
    books: list[Any] = all_books()[:5]
    books.insert(index, bad)
    with no_queries(), refused(prefetch, TypeError, f"index {index}", "instance", type(bad).__name__):
        prefetch.process_chunk(books)
    del books[index]
    prefetch.process_chunk(books)
    assert_same_as_django(all_books, LOOKUPS, prefetch)


@pytest.mark.parametrize(
    "rows", [lambda: Book.objects.values(), lambda: Book.objects.values_list("pk"), lambda: list(Book.objects.values())]
)
def test_rows_of_values(bookshop: Bookshop, rows: Callable[[], Any]) -> None:
    prefetch = warmed()
    with refused(prefetch, TypeError, "index 0", "values"):
        prefetch.process_chunk(rows())
    assert_same_as_django(all_books, LOOKUPS, prefetch)


@pytest.mark.parametrize("bad", [None, 5, Book])
def test_chunk_that_is_no_iterable(bookshop: Bookshop, bad: Any) -> None:
    prefetch = warmed()
    with refused(prefetch, TypeError, "process_chunk"):
        prefetch.process_chunk(bad)


def test_one_object_instead_of_a_list(bookshop: Bookshop) -> None:
    prefetch = warmed()
    with refused(prefetch, TypeError, "process_chunk"):
        prefetch.process_chunk(bookshop.books[0])


@pytest.mark.parametrize("place", [0, 1, -1])
def test_unsaved_object_under_a_many_to_many(bookshop: Bookshop, place: int) -> None:
    with pytest.raises(ValueError, match=r"id|saved") as theirs:
        prefetch_related_objects([Book(title="unsaved")], "categories")
    prefetch = warmed("categories")
    books = all_books()
    unsaved = Book(title="unsaved", author=bookshop.authors[0], publisher=bookshop.publishers[0])
    books.insert(place % (len(books) + 1), unsaved)
    with refused(prefetch, theirs.type, "Book"):
        prefetch.process_chunk(books)
    unsaved.save()
    prefetch.process_chunk(books)
    with no_queries():
        assert not unsaved.categories.all()
        assert sum(book.categories.count() for book in books)


def test_unsaved_object_under_a_nested_many_to_many(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("book__categories")
    review = Review(book=Book(title="unsaved"))
    with pytest.raises(ValueError, match="Book"):
        prefetch.process_chunk([review])
    assert_same_as_django(lambda: list(Review.objects.order_by("pk")), "book__categories", prefetch)


def test_class_without_the_attribute_in_a_mixed_chunk(bookshop: Bookshop) -> None:
    prefetch = warmed()
    chunk: list[Any] = [*all_books(), Volume.objects.create(title="no author")]
    with refused(prefetch, AttributeError, "'author'", "Volume"):
        prefetch.process_chunk(chunk)
    assert_same_as_django(all_books, LOOKUPS, prefetch)


def test_key_that_cannot_be_hashed(bookshop: Bookshop) -> None:
    prefetch = warmed()
    with refused(prefetch, TypeError, "unhashable"):
        prefetch.process_chunk([*all_books(), Book(pk=99, author_id=[1])])
    assert_same_as_django(all_books, LOOKUPS, prefetch)


def test_key_that_the_database_refuses() -> None:
    def chunk(*extra: Any) -> list[Volume]:
        return [Volume(pk=1, shelf_id=1), *extra]

    bad = Volume(pk=2, shelf_id="not a number")
    with pytest.raises(Exception, match="number") as theirs:
        prefetch_related_objects(chunk(bad), "shelf")
    prefetch = MemoizedPrefetch("shelf")
    with pytest.raises(theirs.type):
        prefetch.process_chunk(chunk(bad))
    assert_same_as_django(chunk, "shelf", prefetch)
