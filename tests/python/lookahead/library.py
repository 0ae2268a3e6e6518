"""A bookshop of any size whose keys repeat unevenly."""

from __future__ import annotations

import random

from tests.python.bookshop.models import Author, Book, Category, Publisher, Review
from tests.python.conftest import FIRST_KEY


def fill_library(seed: int, books: int = 150, authors: int = 40) -> None:
    pick = random.Random(seed)
    for model, count in ((Author, authors), (Publisher, 12), (Category, 15)):
        model.objects.bulk_create(model(pk=FIRST_KEY + i, name=f"{i}") for i in range(count))

    def some(count: int) -> int:
        return FIRST_KEY + int(count * pick.random() ** 2)

    Book.objects.bulk_create(
        Book(
            pk=FIRST_KEY + i,
            title=str(i),
            isbn=str(i),
            author_id=some(authors),
            translator_id=some(authors) if pick.random() < 0.5 else None,
            publisher_id=some(12),
        )
        for i in range(books)
    )
    links = {(FIRST_KEY + pick.randrange(books), some(15)) for _ in range(books * 2)}
    Book.categories.through.objects.bulk_create(
        Book.categories.through(book_id=book, category_id=category) for book, category in sorted(links)
    )
    Review.objects.bulk_create(
        Review(pk=FIRST_KEY + i, book_id=some(books), rating=i % 5, comment=str(i)) for i in range(books * 2)
    )
