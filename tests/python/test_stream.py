"""chunks(): the lists, one behind the other, are the queryset, whether it is read in pages or by one cursor."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import gc
import threading
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import django
import pytest
from django.db import OperationalError, connection, connections, models, transaction
from django.db.models import Count, Exists, F, FilteredRelation, Max, OuterRef, Prefetch, Q, Subquery, Value, Window
from django.db.models.expressions import RawSQL
from django.db.models.functions import Lower, RowNumber
from django.db.models.lookups import GreaterThanOrEqual
from django.db.models.query import ModelIterable
from django.db.models.sql import Query
from django.test import override_settings

from django_memoized_prefetch import MemoizedPrefetch, Progress, memoized
from tests.python.archive.models import Box, ListedRoom, PaintedVase, Room, Seal, Sheet, Statue, Traced, Vase, WithInit
from tests.python.archive.rows import fill_archive
from tests.python.bookshop.models import Author, Book, Category, Publisher, Review
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
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.dump import built_by_django, dump
from tests.python.everything.models import City, Note
from tests.python.oracle import assert_alike, captured_queries, no_queries, query_count, run_async
from tests.python.sealed.models import Article, Editor, Journal

if django.VERSION >= (5, 2):
    from tests.python.archive.models import Cell

LOOKUPS = ("author", "translator", "publisher", "categories")
PAGES = "in pages by primary key"


def stream(queryset: Any, chunk_size: int = 5, **options: Any) -> tuple[list[Any], str]:
    """The rows, and how they were read."""
    prefetch = MemoizedPrefetch()
    chunks = list(prefetch.chunks(queryset, chunk_size, **options))
    assert all(len(chunk) == chunk_size for chunk in chunks[:-1])
    assert all(0 < len(chunk) <= chunk_size for chunk in chunks)
    [how] = prefetch.stats().streams.values()
    return [row for chunk in chunks for row in chunk], how


def expected(queryset: Any) -> list[Any]:
    return list(queryset if queryset.ordered else queryset.order_by("pk"))


def keys(rows: Any) -> list[Any]:
    return [row.pk for row in rows]


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
    "model's ordering": (lambda: Genre.objects.all(), "it is ordered by rank, -name"),
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
    "join over a generic relation": (
        lambda: City.objects.filter(notes__rank__gte=0).order_by("pk"),
        "it joins everything_note, which may have several rows per object",
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


@pytest.fixture
def all_rows(bookshop: Bookshop, other_bookshop: Bookshop) -> None:
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


@pytest.mark.parametrize("chunk_size", [1, 2, 1000])
@pytest.mark.parametrize("name", IN_PAGES)
def test_in_pages(all_rows: None, name: str, chunk_size: int) -> None:
    queryset = IN_PAGES[name]()
    rows, how = stream(queryset, chunk_size)
    assert how == PAGES
    assert dump(rows) == dump(expected(queryset.all()))
    assert rows or name in ("no rows", "none")


@pytest.mark.parametrize("name", IN_PAGES)
def test_by_cursor_when_asked_for(all_rows: None, name: str) -> None:
    queryset = IN_PAGES[name]().all()
    queryset = queryset if queryset.ordered else queryset.order_by("pk")
    rows, how = stream(queryset, 2, mode="cursor")
    assert how == "by one cursor: it was asked for"
    assert dump(rows) == dump(list(queryset))


@pytest.mark.parametrize("chunk_size", [1, 3, 1000])
@pytest.mark.parametrize("name", BY_CURSOR)
def test_by_cursor(all_rows: None, name: str, chunk_size: int) -> None:
    make, reason = BY_CURSOR[name]
    if name == "intersection" and not connection.features.supports_select_intersection:
        pytest.skip("the database has none")
    rows, how = stream(make(), chunk_size)
    assert how.startswith(f"by one cursor: {reason}")
    assert dump(rows) == dump(list(make()))
    assert rows


@pytest.mark.parametrize("name", BY_CURSOR)
def test_obstacles_are_named(all_rows: None, name: str) -> None:
    make, reason = BY_CURSOR[name]
    for option in ({"mode": "pages"}, {"after": FIRST_KEY}):
        with no_queries_but_of(make), pytest.raises(ValueError, match=r"needs pages, and .* cannot be read in pages: "):
            MemoizedPrefetch().chunks(make(), **option)
        with pytest.raises(ValueError, match="pages") as caught:
            MemoizedPrefetch().chunks(make(), **option)
        assert reason in str(caught.value)


@contextmanager
def no_queries_but_of(make: Callable[[], Any]) -> Iterator[None]:
    with captured_queries() as queries:
        make()
    with query_count(len(queries)):
        yield


def test_locked_rows(all_rows: None) -> None:
    with transaction.atomic():
        queryset = Book.objects.select_for_update().order_by("pk")
        rows, how = stream(queryset, 5)
        assert how == "by one cursor: it locks its rows"
        assert dump(rows) == dump(list(queryset))


def test_random_order(all_rows: None) -> None:
    rows, how = stream(Book.objects.order_by("?"))
    assert how == "by one cursor: it is ordered by ?"
    assert sorted(keys(rows)) == keys(Book.objects.order_by("pk"))


def test_distinct_on(all_rows: None) -> None:
    if not connection.features.can_distinct_on_fields:
        pytest.skip("the database has none")
    queryset = Book.objects.order_by("author", "-pk").distinct("author")
    rows, how = stream(queryset, 2)
    assert how == "by one cursor: it is distinct"
    assert dump(rows) == dump(list(queryset))


def test_key_without_an_order(all_rows: None) -> None:
    with mock.patch.object(type(Country._meta.pk), "get_lookup", return_value=None):
        rows, how = stream(Country.objects.all())
    assert how == "by one cursor: the database cannot compare code"
    assert len(rows) == 8


def test_annotation_that_gives_several_rows(bookshop: Bookshop) -> None:
    several = Value(1)
    several.set_returning = True
    rows, how = stream(Book.objects.annotate(several=several))
    assert how == "by one cursor: an annotation may return several rows per object"
    assert len(rows) == 12


def test_pages_ask_by_key_alone(bookshop: Bookshop) -> None:
    """Nothing joined, and no page asked for behind the last one."""
    with captured_queries() as queries:
        assert [len(chunk) for chunk in MemoizedPrefetch().chunks(Book.objects.all(), 5)] == [5, 5, 2]
    assert len(queries) == 3
    assert not any("OFFSET" in sql or "JOIN" in sql or "COUNT" in sql for sql in queries.sql)
    with query_count(2):
        assert [len(chunk) for chunk in MemoizedPrefetch().chunks(Book.objects.all(), 6)] == [6, 6]
    with query_count(1):
        assert [len(chunk) for chunk in MemoizedPrefetch().chunks(Book.objects.all(), 12)] == [12]


def test_one_statement_by_cursor(bookshop: Bookshop) -> None:
    for queryset in (Book.objects.order_by("title"), Book.objects.all()):
        with captured_queries() as queries:
            assert len(list(MemoizedPrefetch().chunks(queryset, 5, mode="cursor"))) == 3
        assert queries.of(Book) == 1


def test_the_queryset_stays_as_it_is(bookshop: Bookshop) -> None:
    queryset = Book.objects.filter(pk__gt=0).prefetch_related("author")
    before = {name: value for name, value in vars(queryset).items() if name != "_query"}
    sql = str(queryset.query)
    for mode in ("pages", "cursor"):
        list(MemoizedPrefetch("publisher").chunks(queryset, 5, mode=mode))
    assert {name: value for name, value in vars(queryset).items() if name != "_query"} == before
    assert str(queryset.query) == sql
    assert queryset._result_cache is None
    with captured_queries() as queries:
        rows = list(queryset)
    assert queries.of(Author) == 1
    assert len(rows) == 12


def test_an_evaluated_queryset_is_read_anew(bookshop: Bookshop) -> None:
    queryset = Book.objects.order_by("pk")
    before = list(queryset)
    Book.objects.filter(pk=FIRST_KEY).update(title="changed")
    rows, _ = stream(queryset)
    assert rows[0].title == "changed"
    assert all(one is other for one, other in zip(queryset, before))


# --- rows that come and go


def test_rows_deleted_while_streaming(bookshop: Bookshop) -> None:
    seen = []
    for chunk in MemoizedPrefetch().chunks(Book.objects.order_by("pk"), 3):
        seen += keys(chunk)
        for book in chunk:
            book.delete()
        chunk.clear()
    assert seen == [FIRST_KEY + i for i in range(12)]
    assert not Book.objects.exists()


def test_rows_deleted_ahead_are_not_seen_in_pages(bookshop: Bookshop) -> None:
    chunks = MemoizedPrefetch().chunks(Book.objects.all(), 3)
    assert keys(next(chunks)) == [FIRST_KEY, FIRST_KEY + 1, FIRST_KEY + 2]
    Book.objects.filter(pk__in=[FIRST_KEY + 2, FIRST_KEY + 3, FIRST_KEY + 4]).delete()
    assert keys(next(chunks)) == [FIRST_KEY + 5, FIRST_KEY + 6, FIRST_KEY + 7]


def test_rows_inserted_ahead_are_seen_in_pages(bookshop: Bookshop) -> None:
    def insert(pk: int) -> None:
        Country.objects.create(code=f"{pk:03}", name="new")

    for pk in (10, 20, 30, 40):
        insert(pk)
    chunks = MemoizedPrefetch().chunks(Country.objects.all(), 2)
    seen = keys(next(chunks))
    insert(5)
    insert(25)
    seen += [key for chunk in chunks for key in keys(chunk)]
    assert seen == ["010", "020", "025", "030", "040"]


def test_keys_changed_by_the_loop(bookshop: Bookshop) -> None:
    seen = []
    for chunk in MemoizedPrefetch().chunks(Book.objects.order_by("-pk"), 4):
        seen += keys(chunk)
        for book in chunk:
            book.pk = None
    assert seen == [FIRST_KEY + i for i in reversed(range(12))]


def test_a_key_that_comes_again_is_an_error(bookshop: Bookshop) -> None:
    """As of a database that compares otherwise than it orders: it would never end."""
    Country.objects.bulk_create(Country(code=code, name="") for code in "abc")
    chunks = MemoizedPrefetch().chunks(Country.objects.all(), 2)
    with mock.patch.object(Country._meta.pk, "get_lookup", return_value=GreaterThanOrEqual):
        next(chunks)
        with pytest.raises(ValueError, match="the database returned row 'b' after itself; use mode=\"cursor\""):
            next(chunks)


# --- related rows


@pytest.mark.parametrize("mode", ["pages", "cursor"])
def test_lookups_of_both(bookshop: Bookshop, mode: Any) -> None:
    prefetch = MemoizedPrefetch("author", "translator")
    queryset = Book.objects.order_by("pk").prefetch_related("publisher", "categories")
    with captured_queries() as queries:
        rows = [book for chunk in prefetch.chunks(queryset, 3, mode=mode) for book in chunk]
    assert_alike(rows, list(queryset.prefetch_related("author", "translator")), LOOKUPS)
    assert queries.of(Publisher) == 1
    assert queries.of(Author) <= 2
    assert len({id(book.publisher) for book in rows}) == 3
    assert prefetch.stats().relations["publisher"].hits > 0


@pytest.mark.parametrize("mode", ["pages", "cursor"])
def test_prefetch_objects_of_the_queryset(bookshop: Bookshop, mode: Any) -> None:
    def queryset() -> Any:
        good = Prefetch("reviews", Review.objects.filter(rating__gt=2).order_by("pk"), to_attr="good")
        return Book.objects.order_by("pk").prefetch_related(good, "author__books")

    rows = [book for chunk in MemoizedPrefetch("publisher").chunks(queryset(), 5, mode=mode) for book in chunk]
    theirs = list(queryset().prefetch_related("publisher"))
    assert_alike(rows, theirs, ["author", "publisher"], lambda book: [review.pk for review in book.good])


@pytest.mark.parametrize("mode", ["pages", "cursor"])
def test_memoized_querysets(bookshop: Bookshop, mode: Any) -> None:
    inner, prefetch = MemoizedPrefetch("translator"), MemoizedPrefetch("categories")
    queryset = memoized(Book.objects.order_by("pk").prefetch_related("author"), inner).filter(pk__gt=FIRST_KEY)
    rows = [book for chunk in prefetch.chunks(queryset, 4, mode=mode) for book in chunk]
    lookups = ("author", "translator", "categories")
    assert_alike(rows, list(Book.objects.order_by("pk").filter(pk__gt=FIRST_KEY).prefetch_related(*lookups)), lookups)
    assert inner.stats().relations["translator"].requests > 0
    shared = [book for chunk in inner.chunks(queryset, 4, mode=mode) for book in chunk]
    assert_alike(
        shared, list(Book.objects.filter(pk__gt=FIRST_KEY).order_by("pk").prefetch_related(*lookups[:2])), lookups[:2]
    )


@pytest.mark.parametrize("mode", ["pages", "cursor"])
def test_rows_are_built_natively(bookshop: Bookshop, mode: Any) -> None:
    prefetch = MemoizedPrefetch("author", "categories")
    for queryset in (Book.objects.order_by("pk"), memoized(Book.objects.order_by("pk"))):
        _, by_django = built_by_django(functools.partial(list, prefetch.chunks(queryset, 5, mode=mode)))
        assert by_django == 0


@pytest.mark.parametrize("make", [lambda: Article.objects.seal(), lambda: Article.objects.seal().order_by("title")])
def test_sealed_rows_stay_sealed(all_rows: None, make: Callable[[], Any]) -> None:
    prefetch = MemoizedPrefetch("journal__editor")
    articles = [article for chunk in prefetch.chunks(make().select_related("reviewer"), 2) for article in chunk]
    assert dump([type(article) for article in articles]) == dump([Article] * 7)
    assert all(article._state.sealed for article in articles)
    with no_queries():
        assert {article.journal.editor.name for article in articles} == {"editor"}
    assert keys(articles) == keys(expected(make()))


class OwnWayQuerySet(models.QuerySet):
    def _prefetch_related_objects(self) -> None:
        super()._prefetch_related_objects()
        for row in self._result_cache:
            row.attached = "its own way"


class StreamingQuerySet(models.QuerySet):
    def iterator(self, chunk_size: int = 1) -> Iterator[Any]:
        for row in super().iterator(chunk_size):
            row.streamed = chunk_size, row.author.name if Book.author.is_cached(row) else None
            yield row


class FilteringQuerySet(models.QuerySet):
    def filter(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("not to be asked for anything but its rows")


class AddingQuerySet(models.QuerySet):
    def titled(self, title: str) -> Any:
        return self.filter(title=title)


def test_queryset_classes_with_their_own_ways(bookshop: Bookshop) -> None:
    rows, how = stream(OwnWayQuerySet(Book).prefetch_related("author"))
    assert how == "by one cursor: OwnWayQuerySet has its own _prefetch_related_objects()"
    assert len(rows) == 12
    assert all(Book.author.is_cached(row) for row in rows)
    rows, how = stream(StreamingQuerySet(Book), 7)
    assert how == "by one cursor: StreamingQuerySet has its own iterator()"
    assert {row.streamed for row in rows} == {(7, None)}
    rows, how = stream(StreamingQuerySet(Book).prefetch_related("author"), 7)
    assert {row.streamed for row in rows} == {(7, author.name) for author in bookshop.authors[:5]}
    rows, how = stream(FilteringQuerySet(Book), 7)
    assert how == "by one cursor: FilteringQuerySet has its own filter()"
    assert sorted(keys(rows)) == keys(Book.objects.order_by("pk"))
    rows, how = stream(AddingQuerySet(Book), 7)
    assert how == PAGES
    assert keys(rows) == keys(Book.objects.order_by("pk"))


class Replicas:
    """Reads go to one of several databases, another one each time."""

    def __init__(self) -> None:
        self.asked = 0

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        if model is not Book:
            return None
        self.asked += 1
        return ("other", "default")[self.asked % 2]


@pytest.mark.parametrize("mode", ["pages", "cursor"])
def test_one_stream_reads_one_database(bookshop: Bookshop, other_bookshop: Bookshop, mode: Any) -> None:
    router = Replicas()
    with override_settings(DATABASE_ROUTERS=[router]):
        for alias in ("default", "other"):
            chunks = MemoizedPrefetch("author").chunks(Book.objects.order_by("pk"), 5, mode=mode)
            rows = [book for chunk in chunks for book in chunk]
            assert {book._state.db for book in rows} == {"other" if router.asked % 2 == 0 else "default"}
            assert keys(rows) == keys(Book.objects.using("default").order_by("pk")), alias
    assert router.asked == 2


@pytest.mark.since("6.1")
def test_peers_are_those_of_one_page(bookshop: Bookshop) -> None:
    from django.db.models import FETCH_PEERS

    chunks = MemoizedPrefetch("author").chunks(Book.objects.fetch_mode(FETCH_PEERS), 5)
    for chunk in chunks:
        with query_count(1):
            assert all(book.publisher.pk == book.publisher_id and book.author.name for book in chunk)


# --- raw querysets, lists and other iterables


def test_raw_querysets(bookshop: Bookshop) -> None:
    raw = Book.objects.raw("SELECT * FROM bookshop_book WHERE id > %s ORDER BY title", [FIRST_KEY])
    for queryset in (raw, raw.prefetch_related("author", "categories"), raw.using("default")):
        prefetch = MemoizedPrefetch("publisher")
        rows = [book for chunk in prefetch.chunks(queryset, 4) for book in chunk]
        theirs = list(
            Book.objects.raw(raw.raw_query, [FIRST_KEY]).prefetch_related("publisher", "author", "categories")
        )
        assert keys(rows) == keys(theirs)
        if queryset._prefetch_related_lookups:
            assert_alike(rows, theirs, ["publisher", "author", "categories"])
        assert prefetch.stats().streams == {"Book": "by one cursor: it is raw SQL"}
        assert queryset._result_cache is None
    with pytest.raises(ValueError, match="after needs pages, and Book cannot be read in pages: it is raw SQL"):
        MemoizedPrefetch().chunks(raw, after=1)


def test_lists_and_other_iterables(bookshop: Bookshop) -> None:
    books = list(Book.objects.order_by("pk"))
    for make in (lambda: books, lambda: tuple(books), lambda: iter(books), lambda: (book for book in books)):
        chunks = list(MemoizedPrefetch("author").chunks(make(), 5))
        assert [len(chunk) for chunk in chunks] == [5, 5, 2]
        assert all(type(chunk) is list for chunk in chunks)
        assert all(one is other for one, other in zip([book for chunk in chunks for book in chunk], books))
        with no_queries():
            assert all(book.author.pk == book.author_id for book in books)
    assert list(MemoizedPrefetch("author").chunks([])) == []


def test_an_iterable_is_read_no_further_than_needed(bookshop: Bookshop) -> None:
    taken = []

    def source() -> Iterator[Book]:
        try:
            for book in Book.objects.order_by("pk"):
                taken.append(book.pk)
                yield book
        finally:
            taken.append("closed")

    chunks: Any = MemoizedPrefetch("author").chunks(source(), 4)
    assert taken == []
    next(chunks)
    assert len(taken) == 4
    chunks.close()
    assert taken[4:] == ["closed"]


# --- going on behind a row


@pytest.mark.parametrize("name", IN_PAGES)
def test_every_row_is_a_place_to_go_on_from(all_rows: None, name: str) -> None:
    rows = expected(IN_PAGES[name]().all())
    for i, row in enumerate(rows):
        rest, _ = stream(IN_PAGES[name](), 2, after=row.pk)
        assert keys(rest) == keys(rows[i + 1 :])


def test_checkpoints_are_keys_as_they_come_back(all_rows: None) -> None:
    assert keys(stream(Book.objects.all(), after=str(FIRST_KEY + 9))[0]) == [FIRST_KEY + 10, FIRST_KEY + 11]
    assert keys(stream(Sheet.objects.all(), after=str(uuid.UUID(int=4)))[0]) == [uuid.UUID(int=5)]
    # A row that is gone by now, and the ends.
    Book.objects.filter(pk=FIRST_KEY + 10).delete()
    assert keys(stream(Book.objects.all(), after=FIRST_KEY + 10)[0]) == [FIRST_KEY + 11]
    assert stream(Book.objects.all(), after=2**62)[0] == []
    assert len(stream(Book.objects.order_by("-pk"), after=2**62)[0]) == 11
    if django.VERSION >= (5, 2):
        assert keys(stream(Cell.objects.all(), after=[1, "0"])[0]) == [(1, 1)]


def test_a_run_that_was_stopped_goes_on(bookshop: Bookshop) -> None:
    done: list[int] = []
    checkpoint: list[Any] = [None]

    def run(stop_at: int | None) -> None:
        def save(progress: Progress) -> None:
            checkpoint[0] = progress.last_pk

        for chunk in MemoizedPrefetch("author").chunks(Book.objects.all(), 3, after=checkpoint[0], progress=save):
            for number, book in enumerate(chunk):
                if book.pk == stop_at and number == 1:
                    raise RuntimeError("stopped")
            done.extend(keys(chunk))

    with pytest.raises(RuntimeError, match="stopped"):
        run(FIRST_KEY + 4)
    assert checkpoint == [FIRST_KEY + 2], "what the loop did not come to the end of is not done"
    run(None)
    assert done == [FIRST_KEY + i for i in range(12)]


# --- progress


def progress_of(queryset: Any, chunk_size: int = 4, **options: Any) -> list[Progress]:
    seen: list[Progress] = []
    for _ in MemoizedPrefetch("author").chunks(queryset, chunk_size, progress=seen.append, **options):
        pass
    return seen


def test_progress_is_told_of_each_chunk(bookshop: Bookshop) -> None:
    seen = progress_of(Book.objects.all())
    assert [one.rows for one in seen] == [4, 8, 12]
    assert [one.last_pk for one in seen] == [FIRST_KEY + 3, FIRST_KEY + 7, FIRST_KEY + 11]
    assert [one.fraction for one in seen] == [3 / 11, 7 / 11, 1.0]
    assert seen[0].seconds < seen[1].seconds < seen[2].seconds
    assert seen[0].eta == pytest.approx(seen[0].seconds * 8 / 3)
    assert seen[2].eta == 0
    assert [one.stats.relations["author"].requests for one in seen] == [4, 8, 12]
    with pytest.raises(dataclasses.FrozenInstanceError):
        seen[0].rows = 1  # type: ignore[misc]


def test_progress_is_told_when_the_loop_comes_back(bookshop: Bookshop) -> None:
    events: list[Any] = []
    for chunk in MemoizedPrefetch().chunks(Book.objects.all(), 5, progress=lambda one: events.append(one.rows)):
        events.append(f"chunk of {len(chunk)}")
        chunk.clear()
    assert events == ["chunk of 5", 5, "chunk of 5", 10, "chunk of 2", 12]


def test_progress_never_counts_rows(bookshop: Bookshop) -> None:
    for options in ({}, {"mode": "cursor"}):
        for queryset in (Book.objects.all(), Book.objects.order_by("-pk"), Book.objects.order_by("title")):
            with captured_queries() as queries:
                progress_of(queryset, **options)
            assert not any("COUNT(" in sql.upper() for sql in queries.sql)
            assert queries.of(Book) <= 6, "four pages or one statement, and two for the ends"


def fractions(queryset: Any, chunk_size: int = 4, **options: Any) -> list[float | None]:
    return [one.fraction for one in progress_of(queryset, chunk_size, **options)]


def test_fractions(all_rows: None) -> None:
    assert fractions(Book.objects.order_by("-pk")) == [3 / 11, 7 / 11, 1.0]
    assert fractions(Book.objects.filter(pk__lt=FIRST_KEY + 5), 3) == [2 / 4, 1.0]
    assert fractions(Book.objects.filter(pk=FIRST_KEY)) == [1.0]
    assert fractions(Book.objects.none()) == []
    assert fractions(Book.objects.order_by("pk"), mode="cursor") == [3 / 11, 7 / 11, 1.0]
    assert fractions(Book.objects.all(), mode="cursor") == [None, None, None], "in whatever order they come"
    assert fractions(Book.objects.order_by("title")) == [None, None, None]
    assert fractions(Book.objects.order_by("title"), total=16) == [0.25, 0.5, 0.75]
    assert fractions(Book.objects.all(), total=6) == [4 / 6, 1.0, 1.0]
    assert fractions(Book.objects.all(), total=0) == [1.0, 1.0, 1.0]
    assert fractions(Book.objects.raw("SELECT * FROM bookshop_book"), total=12) == [4 / 12, 8 / 12, 1.0]
    assert fractions(list(Book.objects.all())) == [4 / 12, 8 / 12, 1.0]
    assert fractions(Book.objects.iterator()) == [None, None, None]
    assert [one.eta for one in progress_of(Book.objects.order_by("title"))] == [None, None, None]


def test_fractions_by_other_keys(all_rows: None) -> None:
    def of(queryset: Any) -> list[float | None]:
        seen: list[Progress] = []
        list(MemoizedPrefetch().chunks(queryset, 4, progress=seen.append))
        return [one.fraction for one in seen]

    assert of(Country.objects.all()) == [None, None]
    assert of(Sheet.objects.all()) == [None, None]
    assert of(Shelf.objects.all()) == [3 / 5, 1.0]
    assert of(Card.objects.all())[-1] == 1.0
    assert of(Vase.objects.all())[-1] == 1.0
    if django.VERSION >= (5, 2):
        assert of(Cell.objects.all()) == [None]


def test_the_fraction_of_a_run_that_goes_on(bookshop: Bookshop) -> None:
    seen = progress_of(Book.objects.all(), 2, after=FIRST_KEY + 7)
    assert [one.rows for one in seen] == [2, 4]
    assert [one.fraction for one in seen] == [9 / 11, 1.0]
    assert seen[0].eta == pytest.approx(seen[0].seconds)


def test_rows_that_come_later_do_not_exceed_the_whole(bookshop: Bookshop) -> None:
    seen: list[float | None] = []
    add = True
    for _ in MemoizedPrefetch().chunks(Shelf.objects.all(), 1, progress=lambda one: seen.append(one.fraction)):
        pass
    for number in range(3):
        Shelf.objects.create(number=number, room="")
    for _ in MemoizedPrefetch().chunks(Shelf.objects.all(), 1, progress=lambda one: seen.append(one.fraction)):
        if add:
            Shelf.objects.create(number=100, room="")
            add = False
    assert seen == [0.0, 0.5, 1.0, 1.0]


def test_a_bar(bookshop: Bookshop, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ({}, {"mode": "cursor"}, {"total": 12}):
        for _ in MemoizedPrefetch("author").chunks(Book.objects.all(), 4, progress=True, **options):
            pass
        drawn = capsys.readouterr().err
        assert drawn.endswith("\n"), "it is closed"
        last = drawn.rpartition("\r")[2]
        assert "12" in last
        assert "rows/s" in last
        assert "58% hits" in last
        assert ("100%" in last) == ("mode" not in options)


def test_a_bar_is_closed_however_the_loop_ends(bookshop: Bookshop, capsys: pytest.CaptureFixture[str]) -> None:
    from tqdm.auto import tqdm

    with pytest.raises(KeyboardInterrupt):
        fail_in_the_loop(lambda: MemoizedPrefetch().chunks(Book.objects.all(), progress=True), KeyboardInterrupt)
    assert not getattr(tqdm, "_instances", ())
    chunks: Any = MemoizedPrefetch().chunks(Book.objects.all(), 4, progress=True)
    next(chunks)
    assert len(tqdm._instances) == 1
    chunks.close()
    assert not tqdm._instances
    failing = MemoizedPrefetch(scope=mock.Mock(side_effect=OperationalError))
    with pytest.raises(OperationalError):
        list(failing.chunks(Book.objects.all(), 4, progress=True))
    assert not tqdm._instances


def test_without_tqdm_the_extra_is_named(bookshop: Bookshop) -> None:
    with mock.patch.dict("sys.modules", {"tqdm": None, "tqdm.auto": None}):
        with pytest.raises(ImportError, match=r'pip install "django-memoized-prefetch\[progress\]"'):
            MemoizedPrefetch().chunks(Book.objects.all(), progress=True)
        assert len(progress_of(Book.objects.all())) == 3


def test_no_progress(bookshop: Bookshop, capsys: pytest.CaptureFixture[str]) -> None:
    for progress in (None, False):
        with query_count(3):
            list(MemoizedPrefetch().chunks(Book.objects.all(), 5, progress=progress))
    assert capsys.readouterr().err == ""


# --- nothing stays open


class Cursors:
    """The cursors from which a stream reads, by whatever name, on the server or not."""

    def __init__(self) -> None:
        self._taken: list[Any] = []

    def take(self, make: Callable[[], Any]) -> Callable[[], Any]:
        def taking() -> Any:
            wrapper = make()
            self._taken.append(wrapper.cursor)
            return wrapper

        return taking

    @property
    def open(self) -> int:
        named = 0
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM pg_cursors WHERE name LIKE '%django%'")
                named = cursor.fetchone()[0]
        still = sum(is_open(cursor) for cursor in self._taken)
        assert named <= still
        return still


def is_open(cursor: Any) -> bool:
    if connection.vendor == "postgresql":
        return not cursor.closed
    try:
        cursor.fetchone()
    except connection.Database.ProgrammingError:
        return False
    return True


@pytest.fixture
def cursors() -> Iterator[Cursors]:
    """Those that are meant to be read bit by bit."""
    cursors = Cursors()
    with mock.patch.object(connection, "chunked_cursor", cursors.take(connection.chunked_cursor)):
        yield cursors


# WithInit: Django builds its rows.
def by_cursor(model: Any, **options: Any) -> Any:
    queryset = model.objects.order_by("name" if model is WithInit else "title")
    return MemoizedPrefetch(**options).chunks(queryset, 1)


def fail_in_the_loop(chunks: Callable[[], Any], error: type[BaseException]) -> None:
    for _ in chunks():
        raise error


@pytest.mark.parametrize("model", [Book, WithInit])
@pytest.mark.django_db(databases=["default", "other"], transaction=True)
class TestNothingStaysOpen:
    @pytest.fixture(autouse=True)
    def _rows(self, bookshop: Bookshop) -> None:
        Box.objects.create(pk=1, name="box")
        WithInit.objects.bulk_create(WithInit(name=f"{i}") for i in range(5))

    def test_at_the_end(self, cursors: Cursors, model: Any) -> None:
        for _ in by_cursor(model):
            assert cursors.open == 1
        assert cursors.open == 0

    def test_after_break(self, cursors: Cursors, model: Any) -> None:
        for _ in by_cursor(model):
            break
        assert cursors.open == 0

    def test_after_close(self, cursors: Cursors, model: Any) -> None:
        chunks = by_cursor(model)
        next(chunks)
        assert cursors.open == 1
        chunks.close()
        assert cursors.open == 0

    def test_when_it_is_released(self, cursors: Cursors, model: Any) -> None:
        chunks = by_cursor(model)
        next(chunks)
        del chunks
        assert cursors.open == 0

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_after_an_exception_of_the_loop(self, cursors: Cursors, model: Any, error: Any) -> None:
        with pytest.raises(error):
            fail_in_the_loop(lambda: by_cursor(model), error)
        assert cursors.open == 0

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_after_an_exception_while_attaching(self, cursors: Cursors, model: Any, error: Any) -> None:
        with pytest.raises(error) as caught:
            list(by_cursor(model, scope=mock.Mock(side_effect=error)))
        # The traceback holds the frames, as a debugger or a log does.
        assert cursors.open == 0, caught

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_after_an_exception_while_building(self, cursors: Cursors, model: Any, error: Any) -> None:
        built = (
            "django.db.models.base.ModelState"
            if model is WithInit
            else "django_memoized_prefetch._hydrating.plan.Hydrator"
        )
        with mock.patch(built, side_effect=error), pytest.raises(error) as caught:
            list(by_cursor(model))
        assert cursors.open == 0, caught

    def test_after_an_exception_of_progress(self, cursors: Cursors, model: Any) -> None:
        def fail(_: Progress) -> None:
            raise RuntimeError("no progress")

        queryset = model.objects.order_by("name" if model is WithInit else "title")
        with pytest.raises(RuntimeError, match="no progress") as caught:
            list(MemoizedPrefetch().chunks(queryset, 1, progress=fail))
        assert cursors.open == 0, caught

    def test_asynchronously(self, model: Any) -> None:
        closed: list[int] = []

        async def read() -> None:
            chunks: Any = MemoizedPrefetch().achunks(model.objects.order_by("pk"), 1, mode="cursor")
            async for _ in chunks:
                break
            await chunks.aclose()
            closed.append(await in_thread(named_cursors))

        run_async(read())
        assert closed == [0]


def named_cursors() -> int:
    if connection.vendor != "postgresql":
        return 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_cursors WHERE name LIKE '%django%'")
        return int(cursor.fetchone()[0])


def test_pages_open_no_cursor_to_be_read_bit_by_bit(bookshop: Bookshop, cursors: Cursors) -> None:
    list(MemoizedPrefetch().chunks(Book.objects.all(), 2))
    assert cursors._taken == []


@pytest.mark.parametrize("mode", ["pages", "cursor"])
def test_spent_chunks_are_released(bookshop: Bookshop, mode: Any) -> None:
    gc.collect()
    gc.disable()
    try:
        spent: list[weakref.ref[Any]] = []
        for chunk in MemoizedPrefetch("author", "categories").chunks(Book.objects.all(), 2, mode=mode):
            assert not any(one() for one in spent[:-2]), "no chunk before the previous one"
            spent += [weakref.ref(book) for book in chunk]
            del chunk
            assert sum(one() is not None for one in spent) <= 3
    finally:
        gc.enable()
    assert not any(one() for one in spent)


# --- asynchronous


async def in_thread(function: Callable[[], Any]) -> Any:
    from asgiref.sync import sync_to_async

    return await sync_to_async(function)()


@pytest.mark.django_db(databases=["default", "other"], transaction=True)
@pytest.mark.parametrize("mode", ["pages", "cursor"])
def test_asynchronous_chunks(bookshop: Bookshop, mode: Any) -> None:
    seen: list[tuple[int, Any]] = []

    async def read() -> tuple[list[list[Any]], Any]:
        thread = await in_thread(threading.get_ident)

        def note(progress: Progress) -> None:
            seen.append((progress.rows, threading.get_ident() == thread))

        queryset = Book.objects.order_by("pk").prefetch_related("categories")
        chunks = MemoizedPrefetch("author").achunks(queryset, 5, progress=note, mode=mode)
        return [chunk async for chunk in chunks], MemoizedPrefetch().achunks([], 1)

    chunks, _ = run_async(read())
    assert [len(chunk) for chunk in chunks] == [5, 5, 2]
    assert seen == [(5, True), (10, True), (12, True)]
    theirs = Book.objects.order_by("pk").prefetch_related("categories", "author")
    assert_alike([book for chunk in chunks for book in chunk], list(theirs), ["author", "categories"])


@pytest.mark.parametrize("in_the_loop", [True, False])
def test_a_cancelled_asynchronous_stream_is_closed(in_the_loop: bool) -> None:
    """Cancelled in the body of the loop, or while a thread reads the next chunk."""
    reached, go_on = threading.Event(), threading.Event()
    closed: list[int] = []

    def source() -> Iterator[Book]:
        try:
            yield Book()
            reached.set()
            assert go_on.wait(60)
            yield Book()
        finally:
            closed.append(threading.get_ident())

    async def read() -> int:
        chunks: Any = MemoizedPrefetch().achunks(source(), 1)
        try:
            async for _ in chunks:
                if in_the_loop:
                    reached.set()
                    await asyncio.sleep(3600)
        finally:
            await chunks.aclose()
        return 0

    async def cancelled() -> int:
        thread: int = await in_thread(threading.get_ident)
        task = asyncio.ensure_future(read())
        while not reached.is_set():
            await asyncio.sleep(0.01)
        task.cancel()
        asyncio.get_running_loop().call_later(0.05, go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        return thread

    assert [run_async(cancelled())] == closed


def test_asynchronous_errors_come_at_once() -> None:
    with pytest.raises(ValueError, match="chunk_size must be at least 1"):
        MemoizedPrefetch().achunks(Book.objects.all(), 0)


# --- errors

WRONG: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "values": (
        lambda: {"queryset": Book.objects.values()},
        TypeError,
        "instances, got one of ValuesIterable; rows of v",
    ),
    "values_list": (lambda: {"queryset": Book.objects.values_list("pk")}, TypeError, "got one of ValuesListIterable"),
    "flat": (lambda: {"queryset": Book.objects.values_list("pk", flat=True)}, TypeError, "FlatValuesListIterable"),
    "dates": (lambda: {"queryset": Genre.objects.dates("added", "year")}, TypeError, "FlatValuesListIterable"),
    "model": (
        lambda: {"queryset": Book},
        TypeError,
        "expected a queryset, a manager, or an iterable of model instances",
    ),
    "text": (lambda: {"queryset": "books"}, TypeError, "instances, got 'books'"),
    "None": (lambda: {"queryset": None}, TypeError, "instances, got None"),
    "no rows at a time": (lambda: {"chunk_size": 0}, ValueError, "chunk_size must be at least 1, got 0"),
    "fractional size": (lambda: {"chunk_size": 2.5}, TypeError, "chunk_size must be an integer, got 2.5"),
    "flag as size": (lambda: {"chunk_size": True}, TypeError, "chunk_size must be an integer, got True"),
    "total": (lambda: {"total": -1}, ValueError, "total must be at least 0, got -1"),
    "text total": (lambda: {"total": "12"}, TypeError, "total must be an integer, got '12'"),
    "mode": (lambda: {"mode": "page"}, ValueError, 'mode must be "pages", "cursor" or None, got \'page\''),
    "progress": (lambda: {"progress": "bar"}, TypeError, "progress must be True, a callable or None, got 'bar'"),
    "after": (lambda: {"after": "x"}, ValueError, r"after must be a primary key of Book \(id\), got 'x'"),
    "after an instance": (lambda: {"after": Book(pk=1)}, ValueError, r"primary key of Book \(id\), got <Book: Book"),
    "after a list": (lambda: {"after": [1]}, ValueError, r"primary key of Book \(id\), got \[1\]"),
    "after by cursor": (
        lambda: {"after": 1, "mode": "cursor"},
        ValueError,
        'after needs pages, and Book cannot be read in pages: mode="cursor" was asked for',
    ),
    "after in a list": (
        lambda: {"queryset": [], "after": 1},
        ValueError,
        "after and mode are for querysets, got a list",
    ),
    "mode of a list": (lambda: {"queryset": [], "mode": "cursor"}, ValueError, "are for querysets, got a list"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_at_once(name: str) -> None:
    options, error, message = WRONG[name]
    with no_queries(), pytest.raises(error, match=message):
        MemoizedPrefetch().chunks(**{"queryset": Book.objects.all(), **options()})


@pytest.mark.since("5.2")
@pytest.mark.parametrize("after", [1, "ab", (1,), (1, 2, 3), (1, "x")])
def test_wrong_keys_of_several_columns(after: Any) -> None:
    with pytest.raises(ValueError, match=r"after must be a primary key of Cell \(row, column\), got"):
        MemoizedPrefetch().chunks(Cell.objects.all(), after=after)


def test_lookups_that_do_not_fit(bookshop: Bookshop) -> None:
    with pytest.raises(AttributeError, match="autor"):
        next(MemoizedPrefetch("autor").chunks(Book.objects.all()))
    with pytest.raises(TypeError, match="expected model instances, got 1"):
        next(MemoizedPrefetch("author").chunks([1]))


# --- what stats() says


def test_stats_say_how_it_was_read(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author")
    list(prefetch.chunks(Book.objects.all()))
    assert prefetch.stats().streams == {"Book": PAGES}
    assert "Book: read in pages by primary key" in str(prefetch.stats())
    list(prefetch.chunks(Book.objects.order_by("title")))
    assert prefetch.stats().as_dict()["streams"] == {"Book": "by one cursor: it is ordered by title"}
    other = MemoizedPrefetch("book")
    list(other.chunks(Review.objects.all()))
    assert set((prefetch.stats() + other.stats()).streams) == {"Book", "Review"}
    assert connections["default"].in_atomic_block
