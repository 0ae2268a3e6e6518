"""Errors if relations are read row by row: patched descriptors and querysets notice it."""

from __future__ import annotations

from django.db import models
from django.db.models import Prefetch
from zeal import zeal_context, zeal_ignore

from tests.third_party.frame import Situation


class Author(models.Model):
    name = models.CharField(max_length=9)


class Profile(models.Model):
    author = models.OneToOneField(Author, models.CASCADE, related_name="profile")


class Book(models.Model):
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    readers = models.ManyToManyField(Author, related_name="read")
    title = models.CharField(max_length=9)


class Review(models.Model):
    book = models.ForeignKey(Book, models.CASCADE, related_name="reviews")


def rows() -> None:
    authors = [Author.objects.create(name=f"a{at}") for at in range(4)]
    for author in authors[:3]:
        Profile.objects.create(author=author)
    books = []
    for at in range(7):
        books.append(Book.objects.create(author=authors[at % 4], title=f"b{at}"))
        books[-1].readers.set([authors[at % 4], authors[(at + 1) % 4]])
    for at in range(8):
        Review.objects.create(book=books[at * 2 % 7])


def books() -> models.QuerySet[Book]:
    return Book.objects.order_by("pk")


def reviews() -> models.QuerySet[Review]:
    return Review.objects.order_by("pk")


SITUATIONS = [
    Situation(name, *rest, around=zeal_context, **more)
    for name, rest, more in (
        ("foreign key", [books, "author"], {"read": lambda book: book.author.name}),
        ("back", [lambda: Author.objects.order_by("pk"), "books", "read"], {}),
        ("one-to-one", [lambda: Author.objects.order_by("pk"), "profile"], {}),
        ("many-to-many", [books, "readers"], {"read": lambda book: len(book.readers.all())}),
        ("below a memo", [reviews, "book__author__books", "book__readers__profile"], {}),
        ("a queryset", [books, lambda: Prefetch("readers", Author.objects.filter(name__gt="a0"))], {}),
        ("to_attr", [reviews, lambda: Prefetch("book__readers", to_attr="some")], {}),
        ("not prefetched", [books], {"read": lambda book: book.author.name}),
        ("not prefetched, many-to-many", [books], {"read": lambda book: len(book.readers.all())}),
        ("not prefetched below", [reviews, "book"], {"read": lambda review: review.book.author.name}),
        ("deferred", [lambda: books().defer("title"), "author"], {"read": lambda book: book.title}),
        ("filtered when read", [books, "readers"], {"read": lambda book: book.readers.filter(pk=1).exists()}),
    )
]
SITUATIONS += [
    Situation("ignored", books, "readers", read=lambda book: book.author.name, around=zeal_ignore),
]
