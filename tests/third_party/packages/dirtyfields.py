"""Rows that know what has changed since they were read: each stores its state when it is made."""

from __future__ import annotations

from dirtyfields import DirtyFieldsMixin
from django.db import models
from django.db.models import Prefetch

from tests.third_party.frame import Situation


class Author(DirtyFieldsMixin, models.Model):
    name = models.CharField(max_length=9)


class Book(DirtyFieldsMixin, models.Model):
    ENABLE_M2M_CHECK = True
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    readers = models.ManyToManyField(Author, related_name="read")


class Review(models.Model):
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
    return Book.objects.order_by("pk")


def reviews() -> models.QuerySet[Review]:
    return Review.objects.order_by("pk")


def changed(author: Author) -> object:
    return [author.is_dirty(), author._original_state]


SITUATIONS = [
    # With ENABLE_M2M_CHECK a book runs a query when it is built: more=1.
    Situation("foreign key", books, "author", read=lambda book: changed(book.author), more=1),
    Situation("many-to-many", books, "readers", read=lambda book: [*map(changed, book.readers.all())], more=1),
    Situation("back", lambda: Author.objects.order_by("pk"), "books", "read", read=changed),
    Situation("below a memo", reviews, "book__author__books", "book__readers"),
    Situation(
        "not all columns", lambda: books().defer("author"), "readers", read=lambda book: book._original_state, more=1
    ),
    Situation("to_attr", reviews, lambda: Prefetch("book__readers", Author.objects.only("pk"), to_attr="some")),
    Situation("changed", books, "author", read=lambda book: book.get_dirty_fields(check_relationship=True), more=1),
]
