"""Fixtures of the Python tests. Every test may use both databases."""

from __future__ import annotations

import gc
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import django
import pytest
from django.db import connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import TestCase

from tests.python.bookshop.models import Author, Book, Category, Publisher, Review


def pytest_collection_finish() -> None:
    """What is there before the first test is not looked at by the collections that tests ask for."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def frozen() -> None:
    """The same again, for modules whose tests ask for a collection each: others before may have made many models."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    not_here = {item for item in items if any(not_for_this_run(mark) for mark in item.iter_markers())}
    if not_here:
        # Not skipped: there is nothing of theirs to test here.
        config.hook.pytest_deselected(items=[item for item in items if item in not_here])
        items[:] = [item for item in items if item not in not_here]
    for item in items:
        if item.get_closest_marker("django_db") is None:
            item.add_marker(pytest.mark.django_db(databases=["default", "other"]))


@pytest.fixture(scope="session", autouse=True)
def flushed_where_filled(django_db_setup: None) -> None:
    """After a test that commits, only filled tables are emptied. PostgreSQL takes half a second to empty all."""
    for alias in connections:
        flush_filled_tables(connections[alias])


@pytest.fixture(scope="session", autouse=True)
def _unchecked_constraints() -> Iterator[None]:
    """Not checked at the end of each test, which takes a quarter of an empty test's 8 ms: its rows are rolled back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TestCase, "_should_check_constraints", lambda *_: False)
        yield


def flush_filled_tables(connection: BaseDatabaseWrapper) -> None:
    flush = connection.ops.sql_flush

    def sql_flush(style: Any, tables: Sequence[str], **options: Any) -> list[str]:
        are_filled = ", ".join(f"EXISTS (SELECT 1 FROM {connection.ops.quote_name(table)})" for table in tables)
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {are_filled}")
            filled = list(itertools.compress(tables, cursor.fetchone()))
        # PostgreSQL wants the tables that refer to them emptied too, even if they are empty.
        return flush(style, filled, **{**options, "allow_cascade": True})

    connection.ops.sql_flush = sql_flush


def pytest_runtest_setup(item: pytest.Item) -> None:
    mark = item.get_closest_marker("django_db")
    if mark is not None and mark.kwargs.get("transaction"):
        is_free = not any(connections[alias].in_atomic_block for alias in connections)
        assert is_free, "it commits, and shares its module with tests that use rows_of_a_module()"


def rows_of_a_module(fill: Callable[[], object]) -> Any:
    """
    A fixture for the rows that all tests of a module begin with.

    They are made once, in transactions that are rolled back at the end of the module. The transactions of each test
    are savepoints in these, so that a test may change the rows, and the next one does not see it.
    """

    @pytest.fixture(scope="module")
    def rows(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
        with ExitStack() as transactions:
            with django_db_blocker.unblock():
                for alias in connections:
                    transactions.enter_context(rolled_back(alias))
                fill()
            yield
            with django_db_blocker.unblock():
                transactions.close()

    return rows


@contextmanager
def rolled_back(alias: str) -> Iterator[None]:
    with transaction.atomic(using=alias):
        yield
        transaction.set_rollback(True, using=alias)


def not_for_this_run(mark: pytest.Mark) -> bool:
    """Whether the test is of a newer Django or Python, or of other databases."""
    if mark.name == "only_on":
        return connection.vendor not in mark.args
    here = {"since": django.VERSION, "since_python": sys.version_info}.get(mark.name)
    return here is not None and tuple(map(int, mark.args[0].split("."))) > here


@dataclass
class Bookshop:
    authors: list[Author]
    publishers: list[Publisher]
    categories: list[Category]
    books: list[Book]
    reviews: list[Review]


# The same keys in every database, whatever its sequences gave out before, and out of their way.
FIRST_KEY = 10_000_000


def fill_bookshop(alias: str = "default", books: int = 12) -> Bookshop:
    """Rows with repeated and missing relations: every third book has no translator, every fifth no categories."""
    authors = [Author(pk=FIRST_KEY + i, name=f"author {i} of {alias}", email=f"{i}@example.com") for i in range(6)]
    publishers = [Publisher(pk=FIRST_KEY + i, name=f"publisher {i} of {alias}", country="SE") for i in range(4)]
    categories = [Category(pk=FIRST_KEY + i, name=f"category {i} of {alias}") for i in range(5)]
    for rows in (authors, publishers, categories):
        type(rows[0]).objects.using(alias).bulk_create(rows)
    shop_books = [
        Book(
            pk=FIRST_KEY + i,
            title=f"book {i} of {alias}",
            isbn=str(i),
            author=authors[i % 5],
            translator=None if i % 3 == 0 else authors[(i * 2) % 6],
            publisher=publishers[i % 3],
        )
        for i in range(books)
    ]
    Book.objects.using(alias).bulk_create(shop_books)
    Book.categories.through.objects.using(alias).bulk_create(
        Book.categories.through(book=book, category=categories[(i + j) % 4])
        for i, book in enumerate(shop_books)
        for j in range(i % 5)
        if j < 4
    )
    reviews = [
        Review(pk=FIRST_KEY + i, book=shop_books[(i * 5) % books], rating=i % 5, comment=f"review {i}")
        for i in range(books * 2)
    ]
    Review.objects.using(alias).bulk_create(reviews)
    return Bookshop(authors, publishers, categories, shop_books, reviews)


@pytest.fixture
def bookshop() -> Bookshop:
    return fill_bookshop()


@pytest.fixture
def other_bookshop() -> Bookshop:
    """The other database has rows with equal keys and different contents."""
    return fill_bookshop("other")
