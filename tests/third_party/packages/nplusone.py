"""Warnings of relations that are read row by row, or prefetched and not read. It patches Django's internals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import models
from django.db.models import Prefetch
from nplusone.core.profiler import Profiler

from tests.third_party.frame import Situation


class Author(models.Model):
    name = models.CharField(max_length=9)


class Book(models.Model):
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


@contextmanager
def profiled() -> Iterator[None]:
    """Raises if relations are read row by row, or prefetched in vain."""
    with Profiler():
        yield


def books() -> models.QuerySet[Book]:
    return Book.objects.order_by("pk")


def reviews() -> models.QuerySet[Review]:
    return Review.objects.order_by("pk")


SITUATIONS = [
    Situation("foreign key", books, "author", around=profiled),
    Situation("back", lambda: Author.objects.order_by("pk"), "books", "read", around=profiled),
    Situation("many-to-many", books, "readers", around=profiled),
    Situation("below a memo", reviews, "book__author__books", "book__readers", around=profiled),
    Situation("a queryset", books, lambda: Prefetch("readers", Author.objects.filter(name__gt="a0")), around=profiled),
    Situation("to_attr, outside", reviews, lambda: Prefetch("book__readers", to_attr="some")),
    Situation("not prefetched", books, read=lambda book: book.author.name, around=profiled),
    Situation("outside", reviews, "book__author__books", "book__readers"),
]
