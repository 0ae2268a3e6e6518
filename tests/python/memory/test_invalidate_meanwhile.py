"""Rows that change while a chunk is being processed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread, current_thread, main_thread
from time import sleep
from typing import Any

import pytest
from django.db import connection
from django.db.models.signals import post_init

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.bookshop.models import Author, Book, Category, Publisher, Review
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.graph import assert_same_as_django
from tests.python.memory.changes import Once, all_books, all_reviews, every_moment, rename


@pytest.mark.parametrize("model", [Author, Publisher, Category, Book])
def test_rows_read_before_a_change_serve_the_running_chunk_only(bookshop: Bookshop, model: Any) -> None:
    lookups = ["book__author", "book__publisher", "book__categories", "book__translator"]
    column = "title" if model is Book else "name"
    statements = every_moment(
        lambda: MemoizedPrefetch(*lookups),
        lambda: list(Review.objects.filter(pk__lt=FIRST_KEY + 1)),
        all_reviews,
        lookups,
        lambda number: rename(model, **{column: f"version {number}"}),
        lambda prefetch: prefetch.invalidate(model),
    )
    assert statements >= 5


def test_remembered_rows_that_get_a_stale_one_attached(bookshop: Bookshop) -> None:
    """The book is remembered already; the publisher, read before it changed, is attached to it after the change."""
    prefetch = MemoizedPrefetch("book__publisher")
    prefetch.process_chunk(all_reviews())
    rename(Publisher, name="older")
    prefetch.invalidate(Publisher)
    reviews = all_reviews()

    def change() -> None:
        rename(Publisher)
        prefetch.invalidate(Publisher)

    once = Once(1, change)
    with connection.execute_wrapper(once):
        prefetch.process_chunk(reviews)
    assert once.statements == 1
    assert {review.book.publisher.name for review in reviews} == {"older"}, "the running chunk has what it read"
    assert len(prefetch.memoized_objects[Publisher]) == 0, "and nothing of it is remembered"
    assert_same_as_django(all_reviews, ["book__publisher"], prefetch)


def test_a_failed_chunk_within_which_rows_changed(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("book__publisher", "book__author")
    prefetch.process_chunk(all_reviews()[:4])

    def change() -> None:
        rename(Publisher)
        prefetch.invalidate(Publisher)
        raise ZeroDivisionError

    for number in (1, 2):
        rename(Publisher, name=f"before {number}")
        prefetch.invalidate(Publisher)
        reviews = all_reviews()
        with pytest.raises(ZeroDivisionError), connection.execute_wrapper(Once(number, change)):
            prefetch.process_chunk(reviews)
        assert_same_as_django(all_reviews, ["book__publisher", "book__author"], prefetch)
        prefetch.clear()


def test_rows_that_change_while_all_are_read(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Publisher, ["publisher"], prefetch_all=True))
    prefetch.clear()

    def change(**_: Any) -> None:
        """When the first row is built, all have come from the database."""
        post_init.disconnect(change, sender=Publisher)
        rename(Publisher)
        prefetch.invalidate(Publisher)

    books = all_books()
    post_init.connect(change, sender=Publisher)
    prefetch.process_chunk(books)
    assert not post_init.disconnect(change, sender=Publisher), "it was called"
    assert_same_as_django(all_books, ["publisher"], prefetch)


class Slow:
    """Attached to a remembered row, it holds up the thread that looks for stale rows, as a large memory does."""

    def __init__(self) -> None:
        self.is_reached = Event()

    @property
    def __class__(self) -> Any:
        if current_thread() is not main_thread():
            self.is_reached.set()
            sleep(0.3)
        return Slow


@contextmanager
def forgetting(slow: Slow, forget: Callable[[], Any]) -> Iterator[None]:
    thread = Thread(target=forget)
    thread.start()
    assert slow.is_reached.wait(10)
    yield
    thread.join(10)
    assert not thread.is_alive()


def test_a_chunk_that_begins_while_another_thread_forgets(bookshop: Bookshop) -> None:
    """It would attach the stale publisher to a book that the other thread does not know of."""
    publisher = bookshop.publishers[0]
    Book.objects.update(publisher=publisher)
    prefetch = MemoizedPrefetch("book__publisher")
    first, *others = all_reviews()
    [review] = prefetch.process_chunk([first])
    review.book.slow = slow = Slow()
    rename(Publisher)
    with forgetting(slow, lambda: prefetch.invalidate(Publisher)):
        prefetch.process_chunk(others)
    assert {review.book.publisher.name for review in prefetch.process_chunk(all_reviews())} == {"renamed"}


def test_a_chunk_finds_what_its_own_thread_has_saved(bookshop: Bookshop) -> None:
    """Another thread has begun a chunk since, and is about to forget the old row."""
    prefetch = MemoizedPrefetch("author", invalidate_on_change=True)
    kept = prefetch.process_chunk(all_books())
    kept[0].author.slow = slow = Slow()
    for author in Author.objects.all():
        author.name = "renamed"
        author.save()
    with forgetting(slow, lambda: prefetch.process_chunk([])):
        assert_same_as_django(all_books, "author", prefetch)
