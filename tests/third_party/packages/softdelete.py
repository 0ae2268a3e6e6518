"""Deleted rows stay. Managers change their querysets after making them."""

from __future__ import annotations

from django.db import models
from django.db.models import Prefetch
from django.utils import timezone
from softdelete.models import SoftDeleteObject

from tests.third_party.frame import Situation


class Author(SoftDeleteObject, models.Model):
    name = models.CharField(max_length=9)


class Book(SoftDeleteObject, models.Model):
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    readers = models.ManyToManyField(Author, related_name="read")


class Review(models.Model):
    book = models.ForeignKey(Book, models.CASCADE, related_name="reviews")


def rows() -> None:
    authors = [Author.objects.create(name=f"a{at}") for at in range(5)]
    books = []
    for at in range(8):
        books.append(Book.objects.create(author=authors[at % 5]))
        books[-1].readers.set([authors[at % 5], authors[(at + 1) % 5]])
    for at in range(8):
        Review.objects.create(book=books[at * 3 % 8])
    for one in (authors[1], books[3]):
        models.QuerySet(type(one)).filter(pk=one.pk).update(deleted_at=timezone.now())


def books() -> models.QuerySet[Book]:
    return Book.objects.all().order_by("pk")


def authors() -> models.QuerySet[Author]:
    return Author.objects.all().order_by("pk")


def reviews() -> models.QuerySet[Review]:
    return Review.objects.order_by("pk")


SITUATIONS = [
    Situation("foreign key", books, "author"),
    Situation("many-to-many", books, "readers", read=lambda book: book.readers.count()),
    Situation("back", authors, "books", "read"),
    Situation("with the deleted", lambda: Author.objects.all_with_deleted().order_by("pk"), "books"),
    Situation("below a memo", reviews, "book__author__books", "book__readers"),
    Situation("a queryset", reviews, lambda: Prefetch("book", Book.objects.all())),
    Situation("to_attr", reviews, lambda: Prefetch("book__readers", Author.objects.all_with_deleted(), to_attr="all")),
]
