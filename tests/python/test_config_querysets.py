"""`queryset=` of a config: Django's own Prefetch with that queryset is the oracle."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import Count, F, Prefetch, QuerySet, Value, Window, prefetch_related_objects
from django.db.models.functions import Concat, RowNumber, Upper

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.bookshop.models import Author, Book, Category, Publisher, Review
from tests.python.catalogue.models import Branch, Country, Notice, Person, Transfer, Volume
from tests.python.conftest import Bookshop
from tests.python.graph import Comparison, assert_same_as_django
from tests.python.queries import no_queries, query_count


def all_books() -> list[Book]:
    return list(Book.objects.order_by("pk"))


def all_reviews() -> list[Review]:
    return list(Review.objects.order_by("pk"))


def snapshot(queryset: QuerySet) -> dict[str, Any]:
    return {
        "tree": (repr(queryset.query.where), sorted(queryset.query.annotations), sorted(queryset.query.alias_map)),
        "hints": dict(queryset._hints),
        "db": queryset._db,
        "evaluated": queryset._result_cache is not None,
        "lookups": tuple(getattr(lookup, "prefetch_to", lookup) for lookup in queryset._prefetch_related_lookups),
    }


AUTHOR_QUERYSETS = {
    "all": lambda: Author.objects.all(),
    "filter": lambda: Author.objects.exclude(name__startswith="author 1"),
    "filter to nothing": lambda: Author.objects.filter(name="nobody"),
    "none": lambda: Author.objects.none(),
    "annotate": lambda: Author.objects.annotate(loud=Upper("name"), address=Concat("name", "name")),
    "annotate expression": lambda: Author.objects.annotate(double=F("pk") * 2),
    "aggregate": lambda: Author.objects.annotate(written=Count("books")),
    "only": lambda: Author.objects.only("name"),
    "defer": lambda: Author.objects.defer("email"),
    "order": lambda: Author.objects.order_by("-name"),
    "prefetch": lambda: Author.objects.prefetch_related("books"),
    "prefetch with a queryset": lambda: Author.objects.prefetch_related(
        Prefetch("books", Book.objects.filter(isbn__gt="3").order_by("-isbn"))
    ),
    "distinct": lambda: Author.objects.distinct(),
    "extra": lambda: Author.objects.extra(select={"one": "1"}),
}


@pytest.mark.parametrize("name", AUTHOR_QUERYSETS)
@pytest.mark.parametrize("size", [2, 10_000])
def test_to_one(bookshop: Bookshop, name: str, size: int) -> None:
    queryset = AUTHOR_QUERYSETS[name]()
    before = snapshot(queryset)
    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Author, ["author", "translator"], queryset=queryset, lru_cache_size=size)
    )
    keys = [book.pk for book in bookshop.books]
    for chunk in (keys[:4], keys[2:], keys):
        rows = assert_same_as_django(
            lambda chunk=chunk: list(Book.objects.filter(pk__in=chunk).order_by("pk")),
            [Prefetch("author", AUTHOR_QUERYSETS[name]()), Prefetch("translator", AUTHOR_QUERYSETS[name]())],
            prefetch,
        )
        if name.startswith("prefetch"):
            with no_queries():
                observed = [[book.pk for book in row.author.books.all()] for row in rows]
            ordered = AUTHOR_QUERYSETS[name]().in_bulk()
            for row, books in zip(rows, observed):
                assert sorted(books) == sorted(book.pk for book in ordered[row.author_id].books.all())
    assert snapshot(queryset) == before


def test_select_related() -> None:
    country = Country.objects.create(code="se", name="Sweden")
    branches = [Branch.objects.create(name=f"branch {i}", country=country if i else None) for i in range(3)]
    Transfer.objects.create(origin=branches[0], destination=branches[1])
    Transfer.objects.create(origin=branches[1], via=branches[0], destination=branches[2])
    queryset = Branch.objects.select_related("country")
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Branch, ["origin", "via", "destination"], queryset=queryset))
    for queries in (1, 0):
        transfers = list(Transfer.objects.order_by("pk"))
        with query_count(queries):
            prefetch.process_chunk(transfers)
        with no_queries():
            assert [t.destination.country.name for t in transfers] == ["Sweden", "Sweden"]
            assert transfers[0].origin.country is None
    assert_same_as_django(
        lambda: list(Transfer.objects.order_by("pk")),
        [Prefetch(name, Branch.objects.select_related("country")) for name in ("origin", "via", "destination")],
        prefetch,
    )


CATEGORY_QUERYSETS = {
    "all": lambda: Category.objects.all(),
    "filter": lambda: Category.objects.exclude(name__startswith="category 1"),
    "order": lambda: Category.objects.order_by("-name"),
    "annotate": lambda: Category.objects.annotate(loud=Upper("name")),
    "only": lambda: Category.objects.only("name"),
    "prefetch": lambda: Category.objects.prefetch_related("books"),
    "aggregate": lambda: Category.objects.annotate(size=Count("books")),
    "filter by the link": lambda: Category.objects.filter(books__isbn__gt="5"),
    "distinct": lambda: Category.objects.order_by("name").distinct(),
    "none": lambda: Category.objects.none(),
}


@pytest.mark.parametrize("name", CATEGORY_QUERYSETS)
def test_to_many(bookshop: Bookshop, name: str) -> None:
    queryset = CATEGORY_QUERYSETS[name]()
    before = snapshot(queryset)
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Category, ["categories"], queryset=queryset, lru_cache_size=3))
    keys = [book.pk for book in bookshop.books]
    for chunk in (keys[:5], keys[3:], keys):
        ours = assert_same_as_django(
            lambda chunk=chunk: list(Book.objects.filter(pk__in=chunk).order_by("pk")),
            [Prefetch("categories", CATEGORY_QUERYSETS[name]())],
            prefetch,
        )
        if queryset.query.order_by:
            for book in ours:
                names = [category.name for category in book.categories.all()]
                assert names == sorted(names, reverse=queryset.query.order_by[0].startswith("-"))
    assert snapshot(queryset) == before


def test_nested_leaf(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Author, ["book__author"], queryset=Author.objects.exclude(name__startswith="author 2")),
        MemoizedPrefetchConfig(Publisher, ["book.publisher"], queryset=Publisher.objects.annotate(loud=Upper("name"))),
    )
    for _ in range(2):
        assert_same_as_django(
            all_reviews,
            [
                Prefetch("book__author", Author.objects.exclude(name__startswith="author 2")),
                Prefetch("book__publisher", Publisher.objects.annotate(loud=Upper("name"))),
            ],
            prefetch,
            read=lambda review: review.book.publisher.loud,
        )


def test_two_querysets_of_one_table_do_not_mix(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Author, ["author"], queryset=Author.objects.annotate(mark=Value("first"))),
        MemoizedPrefetchConfig(Author, ["translator"], queryset=Author.objects.annotate(mark=Value("second"))),
    )
    for _ in range(2):
        books = prefetch.process_chunk(all_books())
        with no_queries():
            assert {book.author.mark for book in books} == {"first"}
            assert {book.translator.mark for book in books if book.translator} == {"second"}
        assert_same_as_django(
            all_books,
            [
                Prefetch("author", Author.objects.annotate(mark=Value("first"))),
                Prefetch("translator", Author.objects.annotate(mark=Value("second"))),
            ],
            prefetch,
        )


def test_one_queryset_object_in_two_relations_is_one_query(bookshop: Bookshop) -> None:
    books = all_books()
    queryset = Author.objects.annotate(loud=Upper("name"))
    with query_count(1):
        MemoizedPrefetch(MemoizedPrefetchConfig(Author, ["author", "translator"], queryset)).process_chunk(books)


def test_a_row_that_the_queryset_leaves_out_is_remembered_as_missing(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Author, ["translator"], queryset=Author.objects.filter(name="nobody"))
    )
    books = all_books()
    with query_count(1):
        prefetch.process_chunk(books)
    books = all_books()
    with no_queries():
        prefetch.process_chunk(books)
        assert {book.translator for book in books} == {None}


def test_get_queryset_of_a_subclass_is_what_queries_are_built_from(bookshop: Bookshop) -> None:
    class Marked(MemoizedPrefetchConfig):
        def get_queryset(self) -> QuerySet:
            return super().get_queryset().annotate(mark=Value("marked")).exclude(name__startswith="author 0")

    prefetch = MemoizedPrefetch(Marked(Author, ["author", "translator"]))
    for _ in range(2):
        assert_same_as_django(
            all_books,
            [
                Prefetch(name, Author.objects.annotate(mark=Value("marked")).exclude(name__startswith="author 0"))
                for name in ("author", "translator")
            ],
            prefetch,
        )


def test_get_queryset_of_a_subclass_with_a_many_to_many(bookshop: Bookshop) -> None:
    class Marked(MemoizedPrefetchConfig):
        def get_queryset(self) -> QuerySet:
            return super().get_queryset().annotate(mark=Value("marked"))

    prefetch = MemoizedPrefetch(Marked(Category, ["categories"]))
    for _ in range(2):
        assert_same_as_django(
            all_books, [Prefetch("categories", Category.objects.annotate(mark=Value("marked")))], prefetch
        )


def test_get_queryset_of_a_subclass_with_lookups_whose_rows_depend_on_each_other(bookshop: Bookshop) -> None:
    def numbered() -> QuerySet:
        rows = Book.objects.annotate(number=Window(RowNumber(), order_by="pk"))
        return Author.objects.prefetch_related(Prefetch("books", rows))

    class Numbered(MemoizedPrefetchConfig):
        def get_queryset(self) -> QuerySet:
            return numbered()

    prefetch = MemoizedPrefetch(Numbered(Author, ["author"]))
    for start in range(0, 12, 2):
        ours, theirs = (all_books()[start : start + 2] for _ in range(2))
        prefetch.process_chunk(ours)
        prefetch_related_objects(theirs, Prefetch("author", numbered()))
        Comparison().graphs(ours, theirs)


def test_a_filtered_queryset_does_not_leak_into_a_plain_relation(bookshop: Bookshop) -> None:
    """Both relations lead to one table; the rows of the filtered one must not answer for the other."""
    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Author, ["author"], queryset=Author.objects.filter(name="nobody")), "translator"
    )
    for _ in range(2):
        assert_same_as_django(
            all_books, [Prefetch("author", Author.objects.filter(name="nobody")), "translator"], prefetch
        )


def test_queryset_with_another_manager() -> None:
    hidden = Notice.everything.create(text="hidden", withdrawn=True)
    volume = Volume.objects.create(title="v", notice=hidden)
    volume.notices.add(hidden)
    for manager in (Notice.objects, Notice.everything):
        prefetch = MemoizedPrefetch(
            MemoizedPrefetchConfig(Notice, ["notice"], queryset=manager.all()),
            MemoizedPrefetchConfig(Notice, ["notices"], queryset=manager.all()),
        )
        for _ in range(2):
            assert_same_as_django(
                lambda: list(Volume.objects.all()),
                [Prefetch("notice", manager.all()), Prefetch("notices", manager.all())],
                prefetch,
            )


def test_queryset_that_prefetches_what_is_also_configured(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Book, ["book"], queryset=Book.objects.prefetch_related("author")),
        MemoizedPrefetchConfig(Author, ["book__translator", "book__author"]),
    )
    for _ in range(2):
        assert_same_as_django(
            all_reviews,
            [Prefetch("book", Book.objects.prefetch_related("author")), "book__translator", "book__author"],
            prefetch,
        )


def test_queryset_on_a_self_relation() -> None:
    mentor = Person.objects.create(name="mentor")
    hidden = Person.objects.create(name="hidden")
    Person.objects.create(name="a", mentor=mentor)
    Person.objects.create(name="b", mentor=hidden)
    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Person, ["mentor"], queryset=Person.objects.exclude(name="hidden"))
    )
    for _ in range(2):
        assert_same_as_django(
            lambda: list(Person.objects.order_by("pk")),
            [Prefetch("mentor", Person.objects.exclude(name="hidden"))],
            prefetch,
        )


@pytest.mark.parametrize("config_first", [False, True])
@pytest.mark.parametrize("chooses", [False, True])
def test_a_config_and_a_prefetch_of_one_relation(bookshop: Bookshop, chooses: bool, config_first: bool) -> None:
    """As with two lookups of one path in Django: the first decides, and the second must not choose rows."""

    def chosen() -> QuerySet:
        return Author.objects.exclude(name__startswith="author 1")

    def in_order(config: Any) -> list[Any]:
        prefetch = Prefetch("author", chosen())
        return [config, prefetch] if config_first else [prefetch, config]

    config = MemoizedPrefetchConfig(Author, ["author"], queryset=chosen() if chooses else None)
    prefetch = MemoizedPrefetch(*in_order(config))
    if chooses or config_first:
        with pytest.raises(ValueError, match="already seen with a different queryset"):
            prefetch.process_chunk(all_books())
    else:
        assert_same_as_django(all_books, in_order("author"), prefetch)
