"""Querysets that are kept with their rows in Redis (here a fake one), and patched querysets and managers."""

from __future__ import annotations

from typing import Any

from cacheops import invalidate_all
from django.db import models
from django.db.models import Count, Prefetch

from tests.third_party.frame import Situation

# Unpickled rows have it.
IGNORED = {"_django_version"}


class Author(models.Model):
    name = models.CharField(max_length=9)

    class Meta:
        ordering = ["name"]


class Book(models.Model):
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    readers = models.ManyToManyField(Author, related_name="read")


class Review(models.Model):
    book = models.ForeignKey(Book, models.CASCADE, related_name="reviews")


def rows() -> None:
    authors = [Author.objects.create(name=f"a{9 - at}") for at in range(4)]
    books = []
    for at in range(7):
        books.append(Book.objects.create(author=authors[at % 4]))
        books[-1].readers.set([authors[at % 4], authors[(at + 1) % 4]])
    for at in range(8):
        Review.objects.create(book=books[at * 2 % 7])


def clear() -> None:
    invalidate_all()


def books() -> models.QuerySet[Book]:
    return Book.objects.order_by("pk")


def reviews() -> models.QuerySet[Review]:
    return Review.objects.order_by("pk")


CASES: list[tuple[Any, ...]] = [
    ("foreign key", books, "author"),
    ("back", lambda: Author.objects.all(), "books", "read"),
    ("many-to-many", books, "readers"),
    ("below a memo", reviews, "book__author__books", "book__readers"),
    ("a queryset", books, lambda: Prefetch("readers", Author.objects.annotate(n=Count("books")))),
    ("a queryset that is kept", books, lambda: Prefetch("author", Author.objects.cache())),
    ("one that is not", books, lambda: Prefetch("author", Author.objects.nocache())),
    ("rows that are kept", lambda: books().cache(ops=["fetch"]), "author", "reviews"),
    ("rows that are kept for long", lambda: books().cache(timeout=9999), "readers__read"),
    ("to_attr", reviews, lambda: Prefetch("book__readers", Author.objects.filter(name__gt="a7"), to_attr="some")),
    ("select_related", lambda: reviews().select_related("book").cache(), "book__author"),
]
# With some rows in memory, ours ask for fewer rows, which is another query than the cached one.
SITUATIONS = [
    *(Situation(f"{name}, cold", *rest, more=1) for name, *rest in CASES),
    *(Situation(f"{name}, warm", *rest, more=1, warm=True) for name, *rest in CASES),
]
