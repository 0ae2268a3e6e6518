"""Fields with one column for each language. Managers are patched, and relations may be translated."""

from __future__ import annotations

import pickle

from django.db import models
from django.db.models import Prefetch
from django.utils import translation
from modeltranslation.translator import TranslationOptions, translator

from tests.third_party.frame import Situation


class AuthorQuerySet(models.QuerySet["Author"]):
    def named(self) -> models.QuerySet[Author]:
        return self.exclude(name="")


class Author(models.Model):
    name = models.CharField(max_length=9)
    objects = AuthorQuerySet.as_manager()


class Book(models.Model):
    title = models.CharField(max_length=9)
    authors = models.ManyToManyField(Author, related_name="books")
    author = models.ForeignKey(Author, models.CASCADE, related_name="own_books")


class Place(models.Model):
    book = models.ForeignKey(Book, models.CASCADE, related_name="places")
    cover = models.OneToOneField(Author, models.CASCADE, related_name="place")
    books = models.ManyToManyField(Book, related_name="all_places")


def ready() -> None:
    for model, fields in ((Author, ["name"]), (Book, ["title"]), (Place, ["book", "cover", "books"])):
        translator.register(model, type("Options", (TranslationOptions,), {"fields": fields}))


def rows() -> None:
    authors = [Author.objects.create(name_en=f"en{at}", name_nl="" if at == 1 else f"nl{at}") for at in range(6)]
    books = []
    for at in range(6):
        books.append(Book.objects.create(title_en=f"book {at}", title_nl=f"boek {at}", author=authors[at % 4]))
        books[-1].authors.set([authors[at % 3], authors[at % 5]])
    for at in range(6):
        place = Place.objects.create(
            book_en=books[at], book_nl=books[5 - at], cover_en=authors[at], cover_nl=authors[5 - at]
        )
        place.books_en.set([books[at], books[0]])
        place.books_nl.set([books[5 - at]])


def books() -> models.QuerySet[Book]:
    return Book.objects.order_by("pk")


def places() -> models.QuerySet[Place]:
    return Place.objects.order_by("pk")


def in_dutch(name: str, *given: object, **more: object) -> Situation:
    return Situation(f"{name}, in Dutch", *given, around=lambda: translation.override("nl"), **more)  # type: ignore[arg-type]


def pickled() -> models.QuerySet[Book]:
    queryset = books()
    made: models.QuerySet[Book] = pickle.loads(pickle.dumps(queryset))
    return queryset.model._default_manager.filter(pk__in=[book.pk for book in made]).order_by("pk")


SITUATIONS = [
    make(name, *given, **more)
    for make in (Situation, in_dutch)
    for name, given, more in (
        ("rows", [books, "author"], {"read": lambda book: (book.title, book.author.name)}),
        ("many-to-many", [books, "authors"], {"read": lambda book: [author.name for author in book.authors.all()]}),
        ("ordered by a translated field", [lambda: Author.objects.order_by("name"), "books", "own_books__author"], {}),
        ("a translated foreign key", [places, "book"], {"raises": True}),
        ("of each language", [places, "book_en", "book_nl__author"], {}),
        ("a translated foreign key, back", [books, "places"], {"raises": True}),
        ("back, of each language", [books, "places_en", "places_nl"], {}),
        ("a translated one-to-one", [places, "cover"], {"raises": True}),
        ("a translated one-to-one, back", [lambda: Author.objects.order_by("pk"), "place"], {}),
        ("a translated many-to-many", [places, "books"], {"relates": False}),
        ("a translated many-to-many, back", [books, "all_places"], {"relates": False, "raises": True}),
        ("below a memo", [books, "author__own_books__authors", "places__book_en"], {"raises": True}),
        ("a queryset", [books, lambda: Prefetch("authors", Author.objects.named().order_by("-name"))], {}),
        ("to_attr", [books, lambda: Prefetch("authors", Author.objects.filter(name__gt="n"), "some")], {"relates": 0}),
        ("not all columns", [lambda: books().only("title"), "authors"], {"read": lambda book: book.title}),
        ("pickled", [pickled, "author"], {}),
        ("not rewritten", [lambda: books().rewrite(False), "authors"], {}),
    )
]
