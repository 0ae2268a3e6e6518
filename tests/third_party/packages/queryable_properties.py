"""Properties that a queryset can select, filter by, and set on its rows. Queryset classes are made with mixins."""

from __future__ import annotations

from django.db import models
from django.db.models import Count, Prefetch
from django.db.models.functions import Upper
from queryable_properties.managers import QueryablePropertiesManager
from queryable_properties.properties import (
    AnnotationProperty,
    RelatedExistenceCheckProperty,
    ValueCheckProperty,
    queryable_property,
)

from tests.third_party.frame import Situation


class Author(models.Model):
    name = models.CharField(max_length=9)
    shout = AnnotationProperty(Upper("name"))
    is_first = ValueCheckProperty("name", "a0")
    has_books = RelatedExistenceCheckProperty("books")
    objects = QueryablePropertiesManager()

    @queryable_property(annotation_based=True)
    @classmethod
    def many(cls) -> Count:
        return Count("books")


class Book(models.Model):
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    authors = models.ManyToManyField(Author, related_name="all_books")
    pages = models.IntegerField()
    objects = QueryablePropertiesManager()

    @queryable_property(cached=True)
    def is_long(self) -> bool:
        return self.pages > 3

    @is_long.annotater  # type: ignore[no-redef]
    @classmethod
    def is_long(cls) -> models.Case:
        return models.Case(models.When(pages__gt=3, then=True), default=False, output_field=models.BooleanField())


def rows() -> None:
    authors = [Author.objects.create(name=f"a{at}") for at in range(5)]
    for at in range(8):
        book = Book.objects.create(author=authors[at % 4], pages=at)
        book.authors.set([authors[at % 4], authors[(at + 1) % 5]])


def books() -> models.QuerySet[Book]:
    return Book.objects.order_by("pk")


def authors() -> models.QuerySet[Author]:
    return Author.objects.order_by("pk")


def properties(author: Author) -> list[object]:
    return [author.shout, author.is_first, author.has_books, author.many]


SITUATIONS = [
    Situation("not selected", authors, "books", read=properties),
    Situation("selected", lambda: authors().select_properties("shout", "is_first"), "books", read=properties),
    Situation(
        "selected with a join", lambda: authors().select_properties("has_books", "many"), "books", read=properties
    ),
    Situation("selected, cached", lambda: books().select_properties("is_long"), "author", read=lambda one: one.is_long),
    Situation("filtered", lambda: authors().filter(shout__gt="A0"), "books", read=properties),
    Situation("ordered", lambda: Author.objects.order_by("-shout"), "all_books", read=properties),
    Situation(
        "foreign key",
        books,
        lambda: Prefetch("author", Author.objects.select_properties("shout")),
        read=lambda book: properties(book.author),
    ),
    Situation(
        "many-to-many",
        books,
        lambda: Prefetch("authors", authors().select_properties("shout", "many")),
        read=lambda book: [*map(properties, book.authors.all())],
    ),
    Situation(
        "to_attr",
        books,
        lambda: Prefetch("authors", authors().select_properties("has_books"), to_attr="some"),
        read=lambda book: [*map(properties, book.some)],
    ),
    Situation(
        "back", authors, lambda: Prefetch("books", Book.objects.select_properties("is_long").filter(is_long=True))
    ),
    Situation(
        "below a memo",
        books,
        "author__books",
        lambda: Prefetch("author__all_books", Book.objects.select_properties("is_long"), to_attr="lengths"),
    ),
    Situation("plain", books, "author", "authors__books", read=lambda book: properties(book.author)),
]
