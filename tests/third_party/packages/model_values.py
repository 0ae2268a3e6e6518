"""A queryset to subscript and iterate by columns, and a manager whose subscript reads the columns of one row."""

from __future__ import annotations

from django.db import models
from django.db.models import Prefetch
from model_values import F, Manager, QuerySet

from tests.third_party.frame import Situation


class Author(models.Model):
    name = models.CharField(max_length=9)
    age = models.IntegerField()
    objects = Manager()

    class Meta:
        ordering = ["name"]


class Book(models.Model):
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    readers = models.ManyToManyField(Author, related_name="read")
    objects = Manager()


class Review(models.Model):
    book = models.ForeignKey(Book, models.CASCADE, related_name="reviews")


def rows() -> None:
    authors = [Author.objects.create(name=f"a{9 - at}", age=at) for at in range(5)]
    books = []
    for at in range(7):
        books.append(Book.objects.create(author=authors[at % 5]))
        books[-1].readers.set([authors[at % 5], authors[(at + 1) % 5]])
    for at in range(8):
        Review.objects.create(book=books[at * 2 % 7])


def books() -> QuerySet:
    return Book.objects.order_by("pk")


def authors() -> QuerySet:
    return Author.objects.order_by("pk")


SITUATIONS = [
    Situation("foreign key", books, "author"),
    Situation("many-to-many", books, "readers", read=lambda book: [*book.readers.all()["name"]]),
    Situation("back", authors, "books", "read", read=lambda author: [*author.books.all()["id"]]),
    Situation("filtered", lambda: authors().filter(F.age > 0), "books"),
    Situation("annotated", lambda: authors().annotate(older=F.age + 1), "read__author"),
    Situation("below a memo", lambda: Review.objects.order_by("pk"), "book__author__books", "book__readers"),
    Situation("a queryset", books, lambda: Prefetch("readers", Author.objects.filter(F.age > 1))),
    Situation("to_attr", books, lambda: Prefetch("readers", Author.objects.annotate(older=F.age + 1), to_attr="some")),
    Situation("sorted", lambda: authors().annotate(older=F.age + 1).order_by("-older"), "books"),
]
