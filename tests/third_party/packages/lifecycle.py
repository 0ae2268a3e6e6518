"""Hooks of rows. The rows store their state when they are made."""

from __future__ import annotations

from django.db import models
from django.db.models import Prefetch
from django_lifecycle import AFTER_SAVE, LifecycleModel, hook

from tests.third_party.frame import Situation


class Author(LifecycleModel):
    name = models.CharField(max_length=9)
    saved = 0

    @hook(AFTER_SAVE, when="name", has_changed=True)
    def count(self) -> None:
        self.saved += 1


class Book(LifecycleModel):
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


def state(author: Author) -> list[object]:
    return [author.initial_value("name"), author.has_changed("name"), author.saved]


SITUATIONS = [
    Situation("foreign key", books, "author", read=lambda book: (state(book.author), book.initial_value("author_id"))),
    Situation("many-to-many", books, "readers", read=lambda book: [*map(state, book.readers.all())]),
    Situation("back", lambda: Author.objects.order_by("pk"), "books", "read", read=state),
    Situation("below a memo", reviews, "book__author__books", "book__readers"),
    Situation("not all columns", lambda: books().only("pk"), "readers"),
    Situation("to_attr", reviews, lambda: Prefetch("book__readers", Author.objects.only("pk"), to_attr="some")),
]
