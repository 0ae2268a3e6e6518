"""Foreign keys that, when one row reads them, are fetched for all rows of its queryset."""

from __future__ import annotations

import auto_prefetch
from django.db import models
from django.db.models import Prefetch

from tests.third_party.frame import Situation

# The rows that came together. What is fetched for them shows in the queries of reading.
IGNORED = {"_peers"}


class Author(auto_prefetch.Model):
    name = models.CharField(max_length=9)

    class Meta(auto_prefetch.Model.Meta):
        pass


class Profile(auto_prefetch.Model):
    author = auto_prefetch.OneToOneField(Author, models.CASCADE, related_name="profile")

    class Meta(auto_prefetch.Model.Meta):
        pass


class Book(auto_prefetch.Model):
    author = auto_prefetch.ForeignKey(Author, models.CASCADE, related_name="books")
    readers = models.ManyToManyField(Author, related_name="read")

    class Meta(auto_prefetch.Model.Meta):
        pass


class Review(auto_prefetch.Model):
    book = auto_prefetch.ForeignKey(Book, models.CASCADE, related_name="reviews")

    class Meta(auto_prefetch.Model.Meta):
        pass


def rows() -> None:
    authors = [Author.objects.create(name=f"a{at}") for at in range(4)]
    for author in authors[:3]:
        Profile.objects.create(author=author)
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


SITUATIONS = [
    Situation("foreign key", books, "author", read=lambda book: book.author.name),
    Situation("not prefetched", books, read=lambda book: book.author.name),
    Situation("not prefetched below", reviews, "book", read=lambda review: review.book.author.name),
    Situation(
        "not prefetched, by a queryset",
        reviews,
        lambda: Prefetch("book", Book.objects.filter(pk__gt=2)),
        read=lambda review: review.book and review.book.author.name,
    ),
    Situation("one-to-one, back", lambda: Author.objects.order_by("pk"), "profile"),
    Situation(
        "one-to-one, back, not prefetched", books, "author", read=lambda book: getattr(book.author, "profile", None)
    ),
    Situation(
        "back", lambda: Author.objects.order_by("pk"), "books", read=lambda one: [b.author for b in one.books.all()]
    ),
    Situation(
        "many-to-many",
        books,
        "readers",
        read=lambda book: [getattr(one, "profile", None) for one in book.readers.all()],
    ),
    Situation("below a memo", reviews, "book__author__books", "book__readers"),
    Situation("to_attr", reviews, lambda: Prefetch("book__readers", to_attr="some")),
]
