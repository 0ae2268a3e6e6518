"""Keys that are objects: they print as text, and equal integers, text and each other."""

from __future__ import annotations

from django.db import models
from django.db.models import Prefetch
from hashid_field import BigHashidAutoField, HashidAutoField, HashidField

from tests.third_party.frame import Situation


class Author(models.Model):
    id = HashidAutoField(primary_key=True)
    code = HashidField(unique=True, prefix="c-")


class Tag(models.Model):
    id = BigHashidAutoField(primary_key=True, prefix="tag_")


class Book(models.Model):
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    by_code = models.ForeignKey(Author, models.CASCADE, to_field="code", related_name="coded", null=True)
    tags = models.ManyToManyField(Tag, related_name="books")


class Review(models.Model):
    id = HashidAutoField(primary_key=True)
    book = models.ForeignKey(Book, models.CASCADE, related_name="reviews")


def rows() -> None:
    authors = [Author.objects.create(code=10 * at) for at in range(1, 5)]
    tags = [Tag.objects.create() for _ in range(3)]
    books = []
    for at in range(7):
        books.append(Book.objects.create(author=authors[at % 4], by_code=authors[at % 3] if at else None))
        books[-1].tags.set([tags[at % 3], tags[0]])
    for at in range(8):
        Review.objects.create(book=books[at * 2 % 7])


def books() -> models.QuerySet[Book]:
    return Book.objects.order_by("pk")


def reviews() -> models.QuerySet[Review]:
    return Review.objects.order_by("pk")


SITUATIONS = [
    Situation("foreign key", books, "author", read=lambda book: (book.author_id, book.author.pk.id)),
    Situation("foreign key by another column", books, "by_code__coded"),
    Situation("many-to-many", books, "tags", read=lambda book: [str(tag.pk) for tag in book.tags.all()]),
    Situation("back", lambda: Author.objects.order_by("pk"), "books", "coded__tags"),
    Situation("many-to-many, back", lambda: Author.objects.order_by("-pk"), "books__tags__books"),
    Situation("rows with such a key", reviews, "book"),
    Situation("below a memo", reviews, "book__author__books", "book__tags__books"),
    Situation("a queryset", books, lambda: Prefetch("author", Author.objects.exclude(code=20))),
    Situation("to_attr", books, lambda: Prefetch("tags", Tag.objects.order_by("-pk"), to_attr="sorted")),
]
