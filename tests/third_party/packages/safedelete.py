"""Deleted rows stay, and are hidden when querysets are evaluated."""

from __future__ import annotations

from django.db import models
from django.db.models import Prefetch
from safedelete.config import DELETED_INVISIBLE, DELETED_VISIBLE_BY_PK, SOFT_DELETE_CASCADE
from safedelete.managers import SafeDeleteManager
from safedelete.models import SafeDeleteModel

from tests.third_party.frame import Situation


class Invisible(SafeDeleteManager):
    _safedelete_visibility = DELETED_INVISIBLE


class VisibleByKey(SafeDeleteManager):
    _safedelete_visibility = DELETED_VISIBLE_BY_PK


class Author(SafeDeleteModel):
    name = models.CharField(max_length=9)
    _safedelete_policy = SOFT_DELETE_CASCADE

    class Meta:
        ordering = ["pk"]


class Genre(SafeDeleteModel):
    name = models.CharField(max_length=9)
    objects = VisibleByKey()

    class Meta:
        ordering = ["pk"]


class Publisher(SafeDeleteModel):
    objects = Invisible()

    class Meta:
        base_manager_name = "objects"


class Book(SafeDeleteModel):
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    publisher = models.ForeignKey(Publisher, models.CASCADE, related_name="books")
    genres = models.ManyToManyField(Genre, related_name="books")


class Review(models.Model):
    book = models.ForeignKey(Book, models.CASCADE, related_name="reviews")
    readers = models.ManyToManyField(Author, related_name="reviews")


def rows() -> None:
    authors = [Author.objects.create(name=f"a{at}") for at in range(4)]
    genres = [Genre.objects.create(name=f"g{at}") for at in range(4)]
    publishers = [Publisher.objects.create() for _ in range(3)]
    books = []
    for at in range(8):
        books.append(Book.objects.create(author=authors[at % 4], publisher=publishers[at % 3]))
        books[-1].genres.set([genres[at % 4], genres[(at + 1) % 4]])
    for at in range(8):
        Review.objects.create(book=books[at * 3 % 8]).readers.set([authors[at % 4], authors[0]])
    for one in (genres[2], publishers[1], books[5]):
        one.delete()
    # Its books stay, but the author that they refer to is hidden.
    models.QuerySet(Author).filter(pk=authors[1].pk).update(deleted=books[5].deleted)


def books() -> models.QuerySet[Book]:
    return Book.objects.order_by("pk")


def reviews() -> models.QuerySet[Review]:
    return Review.objects.order_by("pk")


SITUATIONS = [
    Situation("foreign key", books, "author"),
    Situation("hidden by the base manager", books, "publisher"),
    Situation("many-to-many", books, "genres", read=lambda book: book.genres.count()),
    Situation("back", lambda: Author.objects.all(force_visibility=30), "books"),
    Situation("all of them", lambda: Book.all_objects.order_by("pk"), "author__books", "genres"),
    Situation("deleted ones", lambda: Author.objects.order_by("pk").all(force_visibility=30), "books__genres"),
    Situation("below a hidden row", reviews, "book__author", "book__genres"),
    Situation("many-to-many of a plain model", reviews, "readers__books"),
    Situation("to_attr", books, lambda: Prefetch("genres", to_attr="kinds")),
    Situation("a queryset", reviews, lambda: Prefetch("book", Book.objects.all())),
    Situation("a queryset of all", books, lambda: Prefetch("genres", Genre.all_objects.all(), to_attr="kinds")),
    Situation("a queryset of the deleted", books, lambda: Prefetch("author", Author.deleted_objects.all())),
    Situation("visible by key", books, lambda: Prefetch("genres", Genre.objects.filter(pk__gt=1), to_attr="later")),
]
