"""Querysets with every feature that Django has, by how chunks() reads them, and their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import django
from django.db import models
from django.db.models import Count, Exists, F, FilteredRelation, Func, Max, OuterRef, Q, Subquery, Value, Window
from django.db.models.expressions import RawSQL
from django.db.models.functions import Lower, RowNumber
from django.db.models.query import ModelIterable
from django.db.models.sql import Query

from tests.python.archive.models import ListedRoom, PaintedVase, Room, Seal, Sheet, Statue, Traced, Vase, WithInit
from tests.python.archive.rows import fill_archive
from tests.python.bookshop.models import Author, Book, Category, Review
from tests.python.catalogue.models import (
    Card,
    Country,
    Genre,
    Locker,
    Map,
    Member,
    Notice,
    Shelf,
    Signature,
    VisitingMember,
)
from tests.python.conftest import FIRST_KEY, fill_bookshop
from tests.python.customised.models import Article, Editor, Journal
from tests.python.theatre.models import City, Note

if django.VERSION >= (5, 2):
    from tests.python.archive.models import Cell


class Numbered(Func):
    arity = 0

    def as_sql(self, *_: Any, **__: Any) -> Any:
        return "ROW_NUMBER() OVER (ORDER BY id)", []


NUMBER: Any = {"output_field": models.IntegerField()}


# --- every queryset feature


IN_PAGES: dict[str, Callable[[], Any]] = {
    "all": lambda: Book.objects.all(),
    "a manager": lambda: Book.objects,
    "a related manager": lambda: Author.objects.get(pk=FIRST_KEY + 1).books,
    "by key": lambda: Book.objects.order_by("pk"),
    "by the name of the key": lambda: Book.objects.order_by("id"),
    "backwards": lambda: Book.objects.order_by("-pk"),
    "backwards by the name": lambda: Book.objects.order_by("-id"),
    "by an expression": lambda: Book.objects.order_by(F("pk").asc()),
    "by a bare expression": lambda: Book.objects.order_by(F("id")),
    "backwards by an expression": lambda: Book.objects.order_by(F("pk").desc()),
    "reversed": lambda: Book.objects.order_by("pk").reverse(),
    "reversed twice": lambda: Book.objects.order_by("-pk").reverse(),
    "reversed expression": lambda: Book.objects.order_by(F("pk").desc()).reverse(),
    "unordered and reversed": lambda: Book.objects.reverse(),
    "order taken away": lambda: Genre.objects.order_by(),
    "filter": lambda: Book.objects.filter(author__name__contains="author", pk__gt=FIRST_KEY + 1),
    "filter on the key": lambda: Book.objects.filter(pk__lt=FIRST_KEY + 9, pk__in=range(FIRST_KEY, FIRST_KEY + 99)),
    "filter on to-many, inside": lambda: Book.objects.filter(Exists(Review.objects.filter(book=OuterRef("pk")))),
    "a list of keys by subquery": lambda: Book.objects.filter(author__in=Author.objects.filter(pk__gt=FIRST_KEY)),
    "exclude": lambda: Book.objects.exclude(translator=None),
    "exclude over to-many": lambda: Book.objects.exclude(categories__name__contains="3"),
    "or": lambda: Book.objects.filter(Q(pk__lt=FIRST_KEY + 4) | Q(pk__gt=FIRST_KEY + 7)),
    "or of two": lambda: Book.objects.filter(pk__lt=FIRST_KEY + 4) | Book.objects.filter(author__name__endswith="t"),
    "and of two": lambda: Book.objects.filter(pk__lt=FIRST_KEY + 9) & Book.objects.exclude(translator=None),
    "annotate": lambda: Book.objects.annotate(lower=Lower("title"), one=Value(1), publisher_name=F("publisher__name")),
    "alias": lambda: Book.objects.alias(lower=Lower("title")).filter(lower__contains="book"),
    "subquery": lambda: Book.objects.annotate(
        first=Subquery(Review.objects.filter(book=OuterRef("pk")).order_by("pk").values("rating")[:1])
    ),
    "aggregating subquery": lambda: Book.objects.annotate(
        best=Subquery(Review.objects.filter(book=OuterRef("pk")).values("book").annotate(b=Max("rating")).values("b"))
    ),
    "select_related": lambda: Book.objects.select_related("author", "translator"),
    "select_related backwards": lambda: Locker.objects.select_related("member__card"),
    "only": lambda: Book.objects.only("title"),
    "only of a related row": lambda: Book.objects.select_related("author").only("title", "author__name"),
    "defer": lambda: Book.objects.defer("author", "title"),
    "defer the key": lambda: Book.objects.defer("id"),
    "filtered relation to one": lambda: Book.objects.annotate(
        known=FilteredRelation("author", condition=Q(author__name__contains="1"))
    ).filter(known__isnull=False),
    "select_related of a filtered relation to one": lambda: Book.objects.annotate(
        known=FilteredRelation("author", condition=Q(author__name__contains="1"))
    ).select_related("known"),
    "filtered relation to many that nothing uses": lambda: Book.objects.annotate(
        good=FilteredRelation("reviews", condition=Q(reviews__rating__gt=1))
    ).select_related("author"),
    "no rows": lambda: Book.objects.filter(title="?"),
    "none": lambda: Book.objects.none(),
    "model's ordering by key": lambda: Room.objects.all(),
    "model's ordering by key, backwards": lambda: Room.objects.reverse(),
    "proxy": lambda: ListedRoom.objects.all(),
    "proxy of a child": lambda: VisitingMember.objects.all(),
    "child": lambda: Vase.objects.all(),
    "child by its link": lambda: Vase.objects.order_by("-piece_ptr_id"),
    "grandchild": lambda: PaintedVase.objects.select_related("box"),
    "child, only": lambda: Vase.objects.only("name"),
    "child with a link of its own": lambda: Statue.objects.order_by("-pk"),
    "child of another": lambda: Map.objects.filter(name__contains="map"),
    "UUID": lambda: Sheet.objects.all(),
    "UUID backwards": lambda: Sheet.objects.reverse(),
    "text": lambda: Country.objects.all(),
    "text backwards": lambda: Country.objects.order_by("-code"),
    "converted text": lambda: Signature.objects.all(),
    "key that is a relation": lambda: Card.objects.all(),
    "key that is a relation, backwards": lambda: Card.objects.order_by("-member_id"),
    "key from a key that is a relation": lambda: Seal.objects.select_related("box").order_by("-pk"),
    "zero and negative keys": lambda: Shelf.objects.all(),
    "manager that hides rows": lambda: Notice.objects.order_by(),
    "model with its own __init__": lambda: WithInit.objects.all(),
    "using": lambda: Book.objects.using("other"),
}


if django.VERSION >= (5, 2):
    IN_PAGES["several columns"] = lambda: Cell.objects.all()
    IN_PAGES["several columns backwards"] = lambda: Cell.objects.order_by("-pk").select_related("room")
    IN_PAGES["several columns, only"] = lambda: Cell.objects.only("value")


def both(left: Any, right: Any, **options: Any) -> Any:
    return left.union(right, **options)


class LabelledIterable(ModelIterable):
    def __iter__(self) -> Iterator[Any]:
        for row in super().__iter__():
            row.label = f"row {row.pk}"
            yield row


class OwnQuery(Query):
    """Might give any rows."""


def of_labelled_rows(queryset: Any) -> Any:
    queryset._iterable_class = LabelledIterable
    return queryset


BY_CURSOR: dict[str, tuple[Callable[[], Any], str]] = {
    "by a column": (lambda: Book.objects.order_by("-title", "pk"), "it is ordered by -title, pk"),
    "by an expression": (lambda: Book.objects.order_by(Lower("title").desc()), "it is ordered by Lower(F(title))"),
    "by a related column": (lambda: Book.objects.order_by("author__name", "pk"), "it is ordered by author__name, pk"),
    "by key and more": (lambda: Book.objects.order_by("pk", "title"), "it is ordered by pk, title"),
    "model's ordering": (lambda: Genre.objects.all(), "it is ordered by rank, -name (Meta.ordering)"),
    "by a relation that is the key": (lambda: Seal.objects.order_by("box"), "it is ordered by box"),
    "slice": (lambda: Book.objects.order_by("pk")[2:10], "it is sliced"),
    "limit": (lambda: Book.objects.order_by("pk")[:7], "it is sliced"),
    "union": (
        lambda: both(Book.objects.filter(pk__lt=FIRST_KEY + 3), Book.objects.filter(pk__gt=FIRST_KEY + 1)).order_by(
            "title"
        ),
        "it is a union",
    ),
    "union with duplicates": (
        lambda: both(Book.objects.filter(pk__lt=FIRST_KEY + 7), Book.objects.all(), all=True).order_by("id"),
        "it is a union",
    ),
    "intersection": (
        lambda: Book.objects.filter(pk__lt=FIRST_KEY + 9).intersection(Book.objects.all()).order_by("id"),
        "it is a intersection",
    ),
    "distinct": (lambda: Book.objects.distinct().order_by("pk"), "it is distinct"),
    "distinct over to-many": (
        lambda: Book.objects.filter(categories__isnull=False).distinct().order_by("pk"),
        "it is distinct",
    ),
    "extra": (lambda: Book.objects.extra(select={"more": "id + 1"}).order_by("pk"), "it uses extra()"),
    "extra condition": (lambda: Book.objects.extra(where=["id > 0"]).order_by("pk"), "it uses raw SQL"),
    "extra order": (lambda: Book.objects.extra(order_by=["-title"]), "it uses extra()"),
    "raw annotation": (lambda: Book.objects.annotate(more=RawSQL("%s", [1])).order_by("pk"), "it uses raw SQL"),
    "window": (
        lambda: Book.objects.annotate(number=Window(RowNumber(), order_by="title")).order_by("pk"),
        "it uses a window function",
    ),
    "window inside": (
        lambda: Book.objects.annotate(number=Window(RowNumber(), order_by="title") + 1).order_by("pk"),
        "it uses a window function",
    ),
    "window as text": (
        lambda: Book.objects.annotate(number=Func(template="ROW_NUMBER() OVER (ORDER BY id)", **NUMBER)).order_by("pk"),
        "it uses a window function",
    ),
    "window by its own SQL": (
        lambda: Book.objects.annotate(number=Numbered(**NUMBER) + 1).order_by("pk"),
        "it uses Numbered, which writes SQL of its own",
    ),
    "filter on a window": (
        lambda: Book.objects.annotate(number=Window(RowNumber(), order_by="pk")).filter(number__gt=3).order_by("pk"),
        "it uses a window function",
    ),
    "aggregate": (lambda: Book.objects.annotate(n=Count("reviews")).order_by("pk"), "it aggregates"),
    "filter on an aggregate": (
        lambda: Book.objects.alias(n=Count("reviews")).filter(n__gt=1).order_by("pk"),
        "it aggregates",
    ),
    "join over to-many": (
        lambda: Book.objects.filter(reviews__rating__gte=0).order_by("pk"),
        "it joins bookshop_review, which may have several rows per object",
    ),
    "join over many-to-many": (
        lambda: Book.objects.filter(categories__isnull=False).order_by("pk"),
        "it joins bookshop_book_categories, which may have several rows per object",
    ),
    "annotation over to-many": (
        lambda: Book.objects.annotate(category=F("categories__name")).order_by("pk", "category"),
        "it joins bookshop_book_categories, which may have several rows per object",
    ),
    "filtered relation to many": (
        lambda: (
            Book.objects.annotate(good=FilteredRelation("reviews", condition=Q(reviews__rating__gt=1)))
            .filter(good__isnull=False)
            .order_by("pk")
        ),
        "it joins bookshop_review, which may have several rows per object",
    ),
    "select_related of a filtered relation to many": (
        lambda: (
            Book.objects.annotate(good=FilteredRelation("reviews", condition=Q(reviews__rating__gt=1)))
            .select_related("good", "author")
            .order_by("pk", "good__pk")
        ),
        "it joins bookshop_review, which may have several rows per object",
    ),
    "select_related of a filtered many-to-many": (
        lambda: (
            Book.objects.annotate(known=FilteredRelation("categories", condition=Q(categories__name__contains="1")))
            .select_related("known")
            .order_by("pk", "known__pk")
        ),
        "it joins bookshop_book_categories, which may have several rows per object",
    ),
    "join over a generic relation": (
        lambda: City.objects.filter(notes__rank__gte=0).order_by("pk"),
        "it joins theatre_note, which may have several rows per object",
    ),
    "many-to-many manager": (
        lambda: Category.objects.get(pk=FIRST_KEY).books.order_by("pk"),
        "it joins bookshop_book_categories, which may have several rows per object",
    ),
    "own class": (lambda: Traced.objects.order_by("pk"), "TracedQuerySet has its own __init__()"),
    "own iterable": (lambda: of_labelled_rows(Book.objects.order_by("pk")), "LabelledIterable has its own __iter__()"),
    "own query": (lambda: models.QuerySet(Book, OwnQuery(Book)).order_by("pk"), "its query is a OwnQuery"),
    "annotation called pk": (lambda: Review.objects.annotate(pk=F("rating")).order_by("id"), "an annotation is called"),
    "sealed": (lambda: Article.objects.seal().order_by("title"), "it is ordered by title"),
}


def fill_streamed() -> None:
    for alias in ("default", "other"):
        fill_bookshop(alias)
    fill_archive()
    Country.objects.bulk_create(Country(code=code, name=code) for code in ["", "10", "9", "B", "a", "Z", "é", "'%\\"])
    Signature.objects.bulk_create(Signature(text=text) for text in "cabed")
    Shelf.objects.bulk_create(Shelf(number=number, room="x") for number in (-2, 0, 3, -1, 1, 2))
    Genre.objects.bulk_create(Genre(name=f"genre {i}", rank=i % 3) for i in range(7))
    Notice.objects.bulk_create(Notice(text=f"{i}", withdrawn=i % 3 == 0) for i in range(9))
    lockers = [Locker.objects.create(place=f"{i}") for i in range(7)]
    for i, locker in enumerate(lockers[1:]):
        member = Member.objects.create(name=f"{i}", locker=locker)
        if i % 2:
            Card.objects.create(member=member, number=i)
    for code in "ab":
        city = City.objects.create(code=code, name=code)
        Note.objects.bulk_create(Note(name=f"{i}", target=city) for i in range(2))
    for i in range(7):
        Map.objects.create(name=f"map {i}")
    journal = Journal.objects.create(name="journal", editor=Editor.objects.create(name="editor"))
    for i in range(7):
        Article.objects.create(title=f"article {i}", journal=journal)
