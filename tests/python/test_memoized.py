"""memoized(queryset) is the queryset that it was made of, except for its queries."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from django.db import models
from django.db.models import Count, Prefetch, Q
from django.db.models.query import ModelIterable, ValuesIterable

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig, memoized
from tests.python.archive.models import Box, Room, Traced, TracedQuerySet, WithInit
from tests.python.archive.rows import fill_archive
from tests.python.bookshop.models import Author, Book, Publisher, Review
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.customised.models import Article, Editor, Journal, Subject
from tests.python.graph import assert_alike, assert_identical
from tests.python.queries import built_by_django, captured_queries, query_count, run_async

LOOKUPS = ("author", "translator", "publisher", "categories")


def books() -> Any:
    return Book.objects.order_by("pk").prefetch_related(*LOOKUPS)


def same_as_django(
    use: Callable[[Any], Any], queryset: Callable[[], Any], paths: tuple[str, ...] = LOOKUPS
) -> list[Any]:
    """What `use` makes of the queryset and of the memoized one."""
    theirs = list(use(queryset()))
    ours = list(use(memoized(queryset())))
    assert_alike(ours, theirs, paths)
    return ours


WAYS: dict[str, Callable[[Any], Any]] = {
    "list": lambda queryset: queryset,
    "iterator": lambda queryset: queryset.iterator(chunk_size=5),
    "iterator of one": lambda queryset: queryset.iterator(chunk_size=1),
    "iterator of all": lambda queryset: queryset.iterator(chunk_size=1000),
    "filter": lambda queryset: queryset.filter(author__pk__gt=FIRST_KEY),
    "exclude": lambda queryset: queryset.exclude(translator=None),
    "all": lambda queryset: queryset.all(),
    "slice": lambda queryset: queryset[2:7],
    "stepped slice": lambda queryset: queryset[2:11:3],
    "index": lambda queryset: [queryset[3]],
    "get": lambda queryset: [queryset.get(pk=FIRST_KEY + 2)],
    "first": lambda queryset: [queryset.first()],
    "last": lambda queryset: [queryset.last()],
    "in_bulk": lambda queryset: queryset.in_bulk([FIRST_KEY + 3, FIRST_KEY]).values(),
    "order_by": lambda queryset: queryset.order_by("-pk"),
    "reverse": lambda queryset: queryset.reverse(),
    "distinct": lambda queryset: queryset.filter(categories__isnull=False).distinct(),
    "using": lambda queryset: queryset.using("other"),
    "annotate": lambda queryset: queryset.annotate(n=Count("reviews")),
    "select_related": lambda queryset: queryset.select_related("publisher"),
    "only": lambda queryset: queryset.only("title"),
    "defer": lambda queryset: queryset.defer("author", "title"),
    "or": lambda queryset: queryset.filter(pk=FIRST_KEY) | Book.objects.filter(pk=FIRST_KEY + 1),
    "and": lambda queryset: queryset.filter(pk__gt=FIRST_KEY) & Book.objects.filter(pk__lt=FIRST_KEY + 5),
    "union": lambda queryset: (
        queryset.filter(pk=FIRST_KEY).order_by().union(Book.objects.filter(pk=FIRST_KEY + 1)).order_by("pk")
    ),
    "complex filter": lambda queryset: queryset.complex_filter(Q(pk__gt=FIRST_KEY + 4)),
    "none": lambda queryset: queryset.none(),
    "empty": lambda queryset: queryset.filter(title="?"),
    "copied": copy.copy,
    "deeply copied": copy.deepcopy,
    "pickled": lambda queryset: pickle.loads(pickle.dumps(queryset)),
    "twice": lambda queryset: [*queryset.all(), *queryset.all()],
    "memoized again": lambda queryset: memoized(queryset),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_ask_gives_what_django_gives(bookshop: Bookshop, other_bookshop: Bookshop, way: str) -> None:
    rows = same_as_django(WAYS[way], books)
    assert rows or way in ("none", "empty")


KEEPING = ["filter", "all", "order_by", "annotate", "select_related", "or", "and", "deeply copied", "memoized again"]


@pytest.mark.parametrize("way", KEEPING)
def test_what_is_made_of_it_stays_memoized(bookshop: Bookshop, way: str) -> None:
    queryset = memoized(books())
    made = WAYS[way](queryset)
    assert isinstance(made, models.QuerySet)
    _, by_django = built_by_django(lambda: list(made.iterator(chunk_size=2)))
    assert by_django == 0
    with captured_queries() as queries:
        rows = list(made.iterator(chunk_size=1))
    assert len(queries) == 1, f"{len(rows)} rows asked for more than themselves: {queries.sql}"


def test_related_rows_are_read_once_in_one_run(bookshop: Bookshop) -> None:
    with captured_queries() as django_queries:
        list(books().iterator(chunk_size=3))
    with captured_queries() as queries:
        rows = list(memoized(books()).iterator(chunk_size=3))
    assert len(rows) == 12
    assert len(django_queries) == 1 + 4 * 4
    assert queries.of(Book) == 1, "one statement for the stream"
    assert queries.of(Publisher) == 1
    assert queries.of(Author) <= 2
    assert len({id(row.publisher) for row in rows}) == 3


def test_one_statement_serves_the_whole_stream(bookshop: Bookshop) -> None:
    iterator = memoized(books()).iterator(chunk_size=4)
    first = next(iterator)
    Book.objects.filter(pk=FIRST_KEY + 1).update(title="changed")
    assert first.pk == FIRST_KEY
    with captured_queries() as queries:
        rest = list(iterator)
    assert queries.of(Book) == 0
    assert len(rest) == 11


def test_lookups_added_later_are_memoized(bookshop: Bookshop) -> None:
    queryset = memoized(Book.objects.order_by("pk"))
    with query_count(1):
        list(queryset)
    list(queryset.prefetch_related("author"))
    with query_count(1):
        [book.author.name for book in queryset.prefetch_related("author")]
    with query_count(1):
        list(queryset.prefetch_related("author").prefetch_related(None))
    same_as_django(lambda queryset: queryset.prefetch_related("publisher"), books, (*LOOKUPS, "publisher"))


def test_without_lookups_rows_are_built_natively(bookshop: Bookshop) -> None:
    rows, by_django = built_by_django(lambda: list(memoized(Book.objects.order_by("pk"))))
    assert by_django == 0
    assert_identical(rows, list(Book.objects.order_by("pk")))


def test_every_call_remembers_for_itself(bookshop: Bookshop) -> None:
    list(memoized(Book.objects.prefetch_related("author")))
    Author.objects.update(name="changed")
    first = memoized(Book.objects.prefetch_related("author"))
    assert {book.author.name for book in first} == {"changed"}
    Author.objects.update(name="changed again")
    assert {book.author.name for book in first.all()} == {"changed"}
    assert {book.author.name for book in memoized(first)} == {"changed again"}


def test_all_lookups_share_what_is_remembered(bookshop: Bookshop) -> None:
    queryset = memoized(Review.objects.all())
    list(queryset.prefetch_related("book__author"))
    with captured_queries() as queries:
        list(queryset.prefetch_related("book__translator"))
        list(queryset.prefetch_related("book"))
    assert queries.of(Book) == 0
    assert queries.of(Author) <= 1


# --- prefetch=


def test_the_lookups_of_a_given_prefetch_are_added(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Author, ["author"]), "categories")
    queryset = memoized(Book.objects.order_by("pk").prefetch_related("publisher"), prefetch)
    for rows in (list(queryset), list(queryset.iterator(chunk_size=5)), [queryset.first()]):
        theirs = Book.objects.order_by("pk").prefetch_related("author", "categories", "publisher")[: len(rows)]
        assert_alike(rows, theirs, ["author", "categories", "publisher"])
    with query_count(1):
        list(queryset.all())
    plain = list(memoized(Book.objects.order_by("pk"), prefetch).iterator())
    assert_alike(plain, Book.objects.order_by("pk").prefetch_related("author", "categories"), ["author", "categories"])
    stats = prefetch.stats()
    assert stats.relations["publisher"].fetched == 3
    assert stats.relations["author"].fetched == 5
    assert stats.relations["publisher"].hits > 3


def test_a_given_prefetch_shares_its_memory(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch()
    reviews = list(memoized(Review.objects.prefetch_related("book__author"), prefetch))
    translated = memoized(Book.objects.prefetch_related("translator"), prefetch)
    with captured_queries() as queries:
        rows = list(translated)
    assert queries.of(Author) <= 1
    shared = {id(review.book.author) for review in reviews}
    assert shared & {id(book.translator) for book in rows if book.translator is not None}
    assert set(prefetch.stats().relations) == {"book", "book__author", "translator"}
    prefetch.clear()
    with captured_queries() as queries:
        list(translated.all())
    assert queries.of(Author) == 1


def test_a_given_prefetch_is_freed_with_its_memory(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author")
    rows = list(memoized(Book.objects.prefetch_related("publisher"), prefetch))
    gc.collect()
    gc.disable()
    try:
        dead = [weakref.ref(prefetch), weakref.ref(rows[0].publisher), weakref.ref(rows[0].author)]
        del prefetch, rows
        assert [one() for one in dead] == [None] * 3
    finally:
        gc.enable()


def test_the_memory_of_a_queryset_ends_with_it(bookshop: Bookshop) -> None:
    queryset = memoized(Book.objects.prefetch_related("publisher", "categories"))
    later = queryset.filter(pk__gt=0)
    dead = [weakref.ref(book.publisher) for book in later.iterator(chunk_size=2)]
    assert all(one() is not None for one in dead)
    gc.collect()
    gc.disable()
    try:
        del queryset, later
        assert not any(one() for one in dead)
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("given_first", [True, False])
def test_a_forked_child_starts_with_nothing_remembered(bookshop: Bookshop, given_first: bool) -> None:
    prefetch = MemoizedPrefetch()
    queryset = memoized(Book.objects.prefetch_related("publisher"), prefetch)
    list(queryset)
    session = prefetch._session
    memory = session.memory
    session._pid -= 1  # as it is seen in a child
    list(queryset.all()) if given_first else prefetch.process_chunk([])
    assert session.memory is not memory


# --- what it must not break


def test_rows_of_values_are_plain(bookshop: Bookshop) -> None:
    queryset = memoized(books(), MemoizedPrefetch("author"))
    assert list(queryset.values("title")) == list(books().values("title"))
    assert list(queryset.values_list("title", "author")) == list(books().values_list("title", "author"))
    assert list(queryset.values_list("pk", flat=True).iterator(chunk_size=3)) == list(
        books().values_list("pk", flat=True)
    )
    assert queryset.values("pk")._iterable_class is ValuesIterable
    assert list(memoized(Book.objects.values("pk"))) == list(Book.objects.values("pk"))
    assert next(iter(queryset.values_list("pk", named=True))).pk == FIRST_KEY


def test_other_statements_work(bookshop: Bookshop) -> None:
    queryset = memoized(books())
    assert queryset.count() == 12
    assert queryset.exists()
    assert queryset.aggregate(n=Count("pk")) == {"n": 12}
    assert queryset.contains(Book(pk=FIRST_KEY))
    assert list(Review.objects.filter(book__in=queryset.filter(pk=FIRST_KEY))) == list(
        Review.objects.filter(book__pk=FIRST_KEY)
    )
    assert str(queryset.query) == str(books().query)
    assert repr(queryset) == repr(books())
    assert queryset.explain()
    assert queryset.filter(pk=FIRST_KEY).update(title="new") == 1
    assert queryset.get(pk=FIRST_KEY).title == "new"
    reviews = Review.objects.filter(book__pk=FIRST_KEY).count()
    assert queryset.filter(pk=FIRST_KEY).delete() == (1 + reviews, {"bookshop.Book": 1, "bookshop.Review": reviews})
    book = queryset.create(title="made", isbn="1", author=bookshop.authors[0], publisher=bookshop.publishers[0])
    assert book in queryset.all()
    assert [one.title for one in queryset.raw('SELECT * FROM "bookshop_book" WHERE id = %s', [book.pk])] == ["made"]
    assert queryset.get_or_create(title="made")[1] is False


def test_it_looks_like_the_queryset(bookshop: Bookshop) -> None:
    class BookQuerySet(models.QuerySet):
        def titled(self, title: str) -> Any:
            return self.filter(title=title)

    manager = BookQuerySet.as_manager()
    manager.model = Book
    queryset = memoized(manager.all().prefetch_related("author"))
    assert isinstance(queryset, BookQuerySet)
    assert type(queryset).__name__ == "BookQuerySet"
    assert type(queryset).__module__ == BookQuerySet.__module__
    with query_count(2):
        assert queryset.titled(bookshop.books[1].title).get().author == bookshop.books[1].author
    assert issubclass(queryset._iterable_class, ModelIterable)
    again = models.Manager.from_queryset(type(queryset))()
    again.model = Book
    assert [book.pk for book in again.titled(bookshop.books[0].title)] == [FIRST_KEY]
    assert memoized(bookshop.authors[0].books).count() == bookshop.authors[0].books.count()


def test_the_given_queryset_stays_as_it_is(bookshop: Bookshop) -> None:
    queryset = books()
    before = dict(vars(queryset))
    list(memoized(queryset).filter(pk__gt=0))
    assert vars(queryset) == before
    assert type(queryset) is models.QuerySet
    list(queryset)
    with query_count(0):
        list(queryset)


def test_a_pickled_queryset_works_without_its_memory(bookshop: Bookshop) -> None:
    queryset = memoized(books(), MemoizedPrefetch("reviews"))
    list(queryset)
    copied = pickle.loads(pickle.dumps(queryset))
    with query_count(0):
        assert [book.author.name for book in copied] == [book.author.name for book in queryset]
        assert [list(book.reviews.all()) for book in copied] == [list(book.reviews.all()) for book in queryset]
    Author.objects.update(name="changed")
    rows, by_django = built_by_django(lambda: list(copied.all()))
    assert by_django == 0
    assert {book.author.name for book in rows} == {"changed"}
    assert {book.author.name for book in queryset.all()} != {"changed"}
    unevaluated = pickle.loads(pickle.dumps(queryset.all().query))
    assert str(unevaluated) == str(queryset.query)


def test_a_queryset_class_with_an_iterable_of_its_own() -> None:
    fill_archive()
    queryset = memoized(Traced.objects.order_by("pk").prefetch_related("box"))
    assert isinstance(queryset, TracedQuerySet)
    for made in (
        queryset,
        queryset.filter(pk__gt=0),
        pickle.loads(pickle.dumps(queryset)).all(),
        queryset.iterator(chunk_size=2),
    ):
        rows = list(made)
        assert_alike(rows, Traced.objects.order_by("pk").prefetch_related("box"), ["box"])
        assert all(row.traced for row in rows)
    _, by_django = built_by_django(lambda: list(queryset.all()))
    assert by_django == 0


def test_a_class_with_its_own_way_to_attach_keeps_it(bookshop: Bookshop) -> None:
    class OwnQuerySet(models.QuerySet):
        def _iterator(self, use_chunked_fetch: bool, chunk_size: int | None) -> Any:
            for book in super()._iterator(use_chunked_fetch, chunk_size):
                book.own = True
                yield book

    queryset = OwnQuerySet(Book).order_by("pk").prefetch_related("author")
    rows, by_django = built_by_django(lambda: list(memoized(queryset).iterator(chunk_size=4)))
    assert by_django == len(rows) + sum(len({book.author_id for book in rows[at : at + 4]}) for at in (0, 4, 8))
    assert_identical(rows, list(queryset.iterator(chunk_size=4)))
    with pytest.raises(ValueError, match=r"memoized: OwnQuerySet has its own _iterator\(\)"):
        memoized(queryset, MemoizedPrefetch("publisher"))


def test_sealed_querysets_stay_sealed() -> None:
    editor = Editor.objects.create(name="editor")
    journal = Journal.objects.create(name="journal", editor=editor)
    subject = Subject.objects.create(name="subject")
    for title in "abc":
        Article.objects.create(title=title, journal=journal, reviewer=editor).subjects.add(subject)

    def articles() -> Any:
        return Article.objects.order_by("pk").seal().prefetch_related("journal", "subjects")

    queryset = memoized(articles())
    for made in (queryset, queryset.filter(pk__gt=0), pickle.loads(pickle.dumps(queryset))):
        rows, by_django = built_by_django(lambda made=made: list(made))
        assert by_django == 0
        assert all(article._state.sealed for article in rows)
        assert [list(article.subjects.all()) for article in rows] == [[subject]] * 3
        assert [article.journal for article in rows] == [journal] * 3
    assert_identical(list(memoized(Article.objects.order_by("pk").seal())), list(Article.objects.order_by("pk").seal()))
    assert all(row._state.sealed for row in memoized(Article.objects.all()).seal().iterator(chunk_size=2))


def test_rows_that_django_has_to_build(bookshop: Bookshop) -> None:
    fill_archive()
    queryset = WithInit.objects.order_by("pk").prefetch_related("box")
    rows, by_django = built_by_django(lambda: list(memoized(queryset)))
    assert_alike(rows, queryset, ["box"])
    assert by_django == len(rows) == 3


def test_prefetch_objects_are_those_of_django(bookshop: Bookshop) -> None:
    odd = Prefetch("author__books", Book.objects.filter(pk=FIRST_KEY + 5), to_attr="odd_books")
    shared = memoized(Book.objects.order_by("pk"))
    few = shared.prefetch_related("author", Prefetch("author__books", Book.objects.filter(pk=FIRST_KEY)))
    others = shared.prefetch_related("author", Prefetch("author__books", Book.objects.filter(pk=FIRST_KEY + 6)))
    for made, pk in ((few, FIRST_KEY), (others, FIRST_KEY + 6), (few.all(), FIRST_KEY)):
        found = {book.pk for row in made for book in row.author.books.all()}
        assert found == {pk}
    for row in shared.prefetch_related("author"):
        assert row.author.books.count() == len(row.author.books.all()) >= 2
    for row in shared.prefetch_related(odd):
        assert {book.pk for book in row.author.odd_books} <= {FIRST_KEY + 5}
    prefetch = MemoizedPrefetch("author")
    list(memoized(few, prefetch))
    for row in memoized(Book.objects.all(), prefetch):
        assert row.author.books.count() == len(row.author.books.all()) >= 2


# --- asynchronous


@pytest.mark.django_db(databases=["default", "other"], transaction=True)
def test_asynchronous_iteration(bookshop: Bookshop) -> None:
    queryset = memoized(books())

    async def read() -> list[list[Any]]:
        streamed = [book async for book in queryset.aiterator(chunk_size=5)]
        listed = [book async for book in queryset.all()]
        plain = [book async for book in queryset.prefetch_related(None).aiterator(chunk_size=5)]
        return [streamed, listed, plain]

    rows = run_async(read())
    for some in rows[:2]:
        assert_alike(some, list(books()), LOOKUPS)
    assert [book.pk for book in rows[2]] == [book.pk for book in books()]
    assert len({id(book.publisher) for some in rows[:2] for book in some}) == 3

    async def wrong() -> None:
        async for _ in queryset.aiterator(chunk_size=0):
            pass

    with pytest.raises(ValueError, match="strictly positive"):
        run_async(wrong())


# --- errors


def test_bad_arguments_say_so() -> None:
    with pytest.raises(TypeError, match=r"memoized: expected a queryset or a manager, got \[\] of type list"):
        memoized([])  # type: ignore[type-var]
    with pytest.raises(TypeError, match=r"memoized: prefetch must be a MemoizedPrefetch, got 'author'"):
        memoized(Book.objects.all(), "author")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match=r"memoized: lru_cache_size must be a positive int or None, got 0"):
        memoized(Book.objects.all(), lru_cache_size=0)
    with pytest.raises(ValueError, match="strictly positive"):
        memoized(books()).iterator(chunk_size=0)


@pytest.mark.since("5.0")
def test_an_iterator_with_lookups_needs_a_chunk_size(bookshop: Bookshop) -> None:
    with pytest.raises(ValueError, match="chunk_size must be provided"):
        memoized(books()).iterator()
    assert len(list(memoized(Book.objects.all()).iterator())) == 12


def test_a_failing_chunk_can_be_read_again(bookshop: Bookshop) -> None:
    queryset = memoized(books().prefetch_related("autor"))
    for _ in range(2):
        with pytest.raises(AttributeError, match="autor"):
            list(queryset)
    assert_alike(list(memoized(books())), list(books()), LOOKUPS)


def test_its_size_bounds_what_is_remembered(bookshop: Bookshop) -> None:
    def author_queries(**arguments: Any) -> int:
        queryset = memoized(Book.objects.order_by("pk").prefetch_related("author"), **arguments)
        with captured_queries() as queries:
            assert_alike(
                list(queryset.iterator(chunk_size=1)),
                list(Book.objects.order_by("pk").prefetch_related("author")),
                ["author"],
            )
        return queries.of(Author) - 1

    assert author_queries() == 5
    assert author_queries(lru_cache_size=None) == 5
    assert author_queries(lru_cache_size=1) == 12


def test_boxes_of_the_archive_read_alike() -> None:
    fill_archive()
    same_as_django(
        lambda queryset: queryset.iterator(chunk_size=3),
        lambda: Box.objects.prefetch_related("room", "labelled", "inside__inside", "seal", "contents__room"),
        ("room", "labelled", "inside__inside", "seal", "contents__room"),
    )
    same_as_django(lambda queryset: queryset, lambda: Room.objects.prefetch_related("boxes__seal"), ("boxes__seal",))
