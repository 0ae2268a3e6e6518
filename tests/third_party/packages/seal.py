"""Rows that refuse to read what was not prefetched."""

from __future__ import annotations

from django.db import models
from django.db.models import Prefetch
from seal.models import SealableModel

from tests.third_party.frame import Situation


class Author(SealableModel):
    name = models.CharField(max_length=9)


class Book(SealableModel):
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    readers = models.ManyToManyField(Author, related_name="read")


class Review(SealableModel):
    book = models.ForeignKey(Book, models.CASCADE, related_name="reviews")


def rows() -> None:
    authors = [Author.objects.create(name=f"a{at}") for at in range(4)]
    books = []
    for at in range(7):
        books.append(Book.objects.create(author=authors[at % 4]))
        books[-1].readers.set([authors[at % 4], authors[(at + 1) % 4]])
    for at in range(8):
        Review.objects.create(book=books[at * 2 % 7])


def books() -> models.QuerySet[Book]:
    return Book.objects.order_by("pk").seal()


def reviews() -> models.QuerySet[Review]:
    return Review.objects.order_by("pk").seal()


SITUATIONS = [
    Situation("foreign key", books, "author", read=lambda book: book.author.name),
    Situation("many-to-many", books, "readers", read=lambda book: len(book.readers.all())),
    Situation("back", lambda: Author.objects.order_by("pk").seal(), "books", "read"),
    Situation("below a memo", reviews, "book__author__books", "book__readers"),
    Situation("not prefetched", books, read=lambda book: len(book.readers.all())),
    Situation("not prefetched below", reviews, "book", read=lambda review: len(review.book.readers.all())),
    Situation(
        "sealed below",
        lambda: Review.objects.order_by("pk"),
        lambda: Prefetch("book", Book.objects.seal()),
        read=lambda review: review.book.author_id,
    ),
    Situation("to_attr", reviews, lambda: Prefetch("book__readers", Author.objects.seal(), to_attr="some")),
]
