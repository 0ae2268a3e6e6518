"""memoized() breaks nothing of the queryset that it is given."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from django.db import models
from django.db.models import Count, Prefetch
from django.db.models.query import ModelIterable, ValuesIterable

from django_memoized_prefetch import MemoizedPrefetch, memoized
from tests.python.archive.models import Traced, TracedQuerySet, WithFromDb, WithInit
from tests.python.archive.rows import fill_archive
from tests.python.bookshop.models import Author, Book, Review
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.customised.models import Article, Editor, Journal, Subject
from tests.python.graph import assert_alike, assert_identical
from tests.python.memoized.books import books
from tests.python.queries import built_by_django, query_count

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
    assert [one.title for one in queryset.raw("SELECT * FROM bookshop_book WHERE id = %s", [book.pk])] == ["made"]
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


def test_rows_that_their_model_builds(bookshop: Bookshop) -> None:
    fill_archive()
    for model, calls in ((WithFromDb, 3), (WithInit, 0)):  # of Model.from_db, without which a constructor is called
        queryset = model.objects.order_by("pk").prefetch_related("box")
        rows, by_django = built_by_django(lambda made=queryset: list(memoized(made)))
        assert_alike(rows, queryset, ["box"])
        assert (len(rows), by_django) == (3, calls)


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


@pytest.mark.parametrize("path", ["author.books", "author__", "", "a b"])
def test_paths_that_django_refuses(bookshop: Bookshop, path: str) -> None:
    queryset = Book.objects.prefetch_related(path)
    for rows in (queryset, memoized(queryset)):
        with pytest.raises(AttributeError):
            list(rows.iterator(chunk_size=5))


@pytest.mark.parametrize(
    ("rows", "lookup"),
    [
        (Book.objects, Prefetch("author", to_attr="its__author")),
        (Author.objects, Prefetch("books", to_attr="its__all")),
    ],
)
def test_a_to_attr_of_several_names(bookshop: Bookshop, rows: Any, lookup: Any) -> None:
    """Django takes each name for a step of the path."""

    def read(queryset: Any) -> Any:
        try:
            return [[*vars(row), *row._state.fields_cache] for row in queryset.iterator(chunk_size=5)]
        except AttributeError as error:
            return str(error)

    queryset = rows.order_by("pk").prefetch_related(lookup)
    assert read(memoized(queryset)) == read(queryset)
