"""The user's loop over the streamed rows, the same for all contenders. It returns a checksum of what it read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def read_book_keys(books: Iterable[Any]) -> int:
    checksum = 0
    for book in books:
        checksum += book.id * (book.author.id + book.publisher.id)
        translator = book.translator
        if translator is not None:
            checksum += book.id * translator.id
    return checksum


def read_book_categories(books: Iterable[Any]) -> int:
    checksum = 0
    for book in books:
        for category in book.categories.all():
            checksum += book.id * category.id
    return checksum


def read_book_category_lists(books: Iterable[Any]) -> int:
    """The same for collections that are lists."""
    checksum = 0
    for book in books:
        for category in book.categories:
            checksum += book.id * category.id
    return checksum


def read_reviews(reviews: Iterable[Any]) -> int:
    checksum = 0
    for review in reviews:
        book = review.book
        checksum += review.id * (book.author.id + book.publisher.id)
    return checksum


def read_editions(editions: Iterable[Any]) -> int:
    checksum = 0
    for edition in editions:
        checksum += edition.id * (edition.illustrator.id + edition.publisher.id + edition.shelf.id)
        checksum += edition.pages + int(edition.price) + edition.published.year + edition.details["copies"]
    return checksum


def pass_over(rows: Iterable[Any]) -> int:
    """Reads nothing, so that only streaming and attaching take time."""
    checksum = 0
    for row in rows:
        checksum += row.id
    return checksum
