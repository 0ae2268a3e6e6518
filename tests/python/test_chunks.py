"""What process_chunk accepts, and what it returns."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chunkator import chunkator, chunkator_page

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.archive.models import Exhibit
from tests.python.archive.models import Label as MuseumLabel
from tests.python.bookshop.models import Author, Book, Publisher, Review
from tests.python.catalogue.models import Country, Genre, Item, Map, Volume
from tests.python.conftest import Bookshop
from tests.python.graph import assert_alike, assert_same_as_django
from tests.python.queries import captured_queries, django_prefetch, no_queries, query_count

LOOKUPS = ["author", "translator", "publisher", "categories"]


def all_books() -> list[Book]:
    return list(Book.objects.order_by("pk"))


def test_list_is_returned_itself(bookshop: Bookshop) -> None:
    books = all_books()
    kept = list(books)
    assert MemoizedPrefetch(*LOOKUPS).process_chunk(books) is books
    assert all(book is before for book, before in zip(books, kept))


def test_tuple_is_returned_itself(bookshop: Bookshop) -> None:
    books = tuple(all_books())
    assert MemoizedPrefetch(*LOOKUPS).process_chunk(books) is books
    assert_same_as_django(lambda: tuple(all_books()), LOOKUPS, MemoizedPrefetch(*LOOKUPS))


def test_queryset_is_evaluated_in_place(bookshop: Bookshop) -> None:
    books = Book.objects.order_by("pk")
    with query_count(1 + 1 + 1 + 2):
        returned = MemoizedPrefetch(*LOOKUPS).process_chunk(books)
    with no_queries():
        assert [book.pk for book in books] == [book.pk for book in bookshop.books]
        assert all(book is other for book, other in zip(books, returned))
        assert len(returned) == len(books)
        assert all(book.author.name for book in books)
    assert_same_as_django(lambda: Book.objects.order_by("pk"), LOOKUPS, MemoizedPrefetch(*LOOKUPS))


def test_evaluated_queryset_is_not_queried_again(bookshop: Bookshop) -> None:
    books = Book.objects.order_by("pk")
    loaded = list(books)
    with query_count(4) as queries:
        MemoizedPrefetch(*LOOKUPS).process_chunk(books)
    assert queries.of(Book) == 0 or len(queries) == 4
    with no_queries():
        assert all(book is before for book, before in zip(books, loaded))
        assert loaded[0].author.pk


def test_queryset_with_its_own_prefetch_related(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("translator", "publisher")
    for _ in range(2):
        books = Book.objects.order_by("pk").prefetch_related("author", "categories")
        prefetch.process_chunk(books)
        theirs = Book.objects.order_by("pk").prefetch_related("author", "categories", "translator", "publisher")
        assert_alike(books, theirs, LOOKUPS)


def test_sliced_queryset_is_a_chunk(bookshop: Bookshop) -> None:
    assert_same_as_django(lambda: Book.objects.order_by("pk")[2:7], LOOKUPS, MemoizedPrefetch(*LOOKUPS))


def test_generator_comes_back_as_a_list(bookshop: Bookshop) -> None:
    returned = MemoizedPrefetch(*LOOKUPS).process_chunk(book for book in all_books())
    assert isinstance(returned, list)
    assert len(returned) == len(bookshop.books)
    assert_same_as_django(lambda: iter(all_books()), LOOKUPS, MemoizedPrefetch(*LOOKUPS))


def test_iterator_of_a_queryset(bookshop: Bookshop) -> None:
    assert_same_as_django(
        lambda: Book.objects.order_by("pk").iterator(chunk_size=5), LOOKUPS, MemoizedPrefetch(*LOOKUPS)
    )


def test_other_iterables(bookshop: Bookshop) -> None:
    def once() -> Iterator[Book]:
        yield from all_books()

    for iterable in (once(), {book.pk: book for book in all_books()}.values(), filter(None, all_books())):
        returned = MemoizedPrefetch("author").process_chunk(iterable)
        assert isinstance(returned, list)
        with no_queries():
            assert all(book.author.pk == book.author_id for book in returned)


def test_an_iterator_that_fails_leaves_nothing_behind(bookshop: Bookshop) -> None:
    def broken() -> Iterator[Book]:
        yield from all_books()[:3]
        raise RuntimeError("the source broke")

    prefetch = MemoizedPrefetch("author")
    with pytest.raises(RuntimeError, match="the source broke"):
        prefetch.process_chunk(broken())
    assert_same_as_django(all_books, "author", prefetch)


def test_raw_queryset(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(*LOOKUPS)
    for _ in range(2):
        assert_same_as_django(lambda: Book.objects.raw("select * from bookshop_book order by id"), LOOKUPS, prefetch)
    raw = Book.objects.raw("select * from bookshop_book order by id")
    returned = MemoizedPrefetch("author").process_chunk(raw)
    with no_queries():
        assert all(book is other for book, other in zip(raw, returned))


@pytest.mark.parametrize("empty", [[], (), iter(()), "queryset"])
def test_empty_chunk(bookshop: Bookshop, empty: object) -> None:
    prefetch = MemoizedPrefetch(*LOOKUPS)
    chunk = Book.objects.none() if empty == "queryset" else empty
    with no_queries():
        assert list(prefetch.process_chunk(chunk)) == []
    assert_same_as_django(all_books, LOOKUPS, prefetch)


def test_empty_chunk_between_others(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(*LOOKUPS)
    prefetch.process_chunk(all_books())
    prefetch.process_chunk([])
    books = [Book(pk=b.pk, author_id=b.author_id, publisher_id=b.publisher_id) for b in bookshop.books]
    with no_queries():
        prefetch.process_chunk(books)


def test_the_same_object_twice(bookshop: Bookshop) -> None:
    def chunk() -> list[Book]:
        books = all_books()
        return [books[4], books[1], books[4], books[4]]

    prefetch = MemoizedPrefetch(*LOOKUPS)
    for _ in range(2):
        assert_same_as_django(chunk, LOOKUPS, prefetch)


def test_two_instances_of_one_row(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(*LOOKUPS)
    for _ in range(2):
        first, *_, last = assert_same_as_django(lambda: [*all_books(), *all_books()], LOOKUPS, prefetch)
        assert first is not last
        assert first.author is not None


def test_the_same_list_again(bookshop: Bookshop) -> None:
    books = all_books()
    prefetch = MemoizedPrefetch(*LOOKUPS)
    prefetch.process_chunk(books)
    authors = [book.author for book in books]
    with no_queries():
        prefetch.process_chunk(books)
    assert all(book.author is author for book, author in zip(books, authors))


@pytest.mark.parametrize("how", ["defer", "only", "raw"])
def test_deferred_foreign_keys_cost_one_query_for_the_column(bookshop: Bookshop, how: str) -> None:
    def chunk() -> list[Book]:
        if how == "defer":
            return list(Book.objects.order_by("pk").defer("author", "publisher"))
        if how == "only":
            return list(Book.objects.order_by("pk").only("title", "translator"))
        return list(Book.objects.raw("select id, title, translator_id from bookshop_book order by id"))

    lookups = ["author", "translator", "publisher"]
    books = chunk()
    with captured_queries() as queries:
        MemoizedPrefetch(*lookups).process_chunk(books)
    # One for both columns or one each, then authors and publishers. Django makes one for each column of each object.
    assert queries.of(Book) <= 2
    assert (queries.of(Author), queries.of(Publisher)) == (1, 1)
    with no_queries():
        assert [book.author.pk for book in books] == [book.author_id for book in bookshop.books]
        assert [book.publisher_id for book in books] == [book.publisher_id for book in bookshop.books]
        assert [book.author_id for book in books] == [book.author_id for book in bookshop.books]
    theirs = chunk()
    django_prefetch(theirs, lookups)
    for our, their in zip(books, theirs):
        assert our.get_deferred_fields() == their.get_deferred_fields()
        with no_queries():
            assert (our.author, our.translator, our.publisher) == (their.author, their.translator, their.publisher)


def test_partly_deferred_chunk(bookshop: Bookshop) -> None:
    books = [*Book.objects.order_by("pk")[:6], *Book.objects.order_by("pk").defer("author")[6:]]
    with query_count(2):
        MemoizedPrefetch("author").process_chunk(books)
    with no_queries():
        assert [book.author.pk for book in books] == [book.author_id for book in bookshop.books]


def test_deferred_key_of_a_row_that_is_gone(bookshop: Bookshop) -> None:
    def chunk() -> list[Book]:
        return list(Book.objects.order_by("pk").defer("author"))

    ours, theirs = chunk(), chunk()
    Book.objects.filter(pk=bookshop.books[3].pk).delete()
    with pytest.raises(Book.DoesNotExist):
        django_prefetch(theirs, ["author"])
    prefetch = MemoizedPrefetch("author")
    with pytest.raises(Book.DoesNotExist):
        prefetch.process_chunk(ours)
    assert_same_as_django(all_books, "author", prefetch)


def test_deferred_intermediate_key(bookshop: Bookshop) -> None:
    def chunk() -> list[Review]:
        return list(Review.objects.order_by("pk").defer("book"))

    reviews = chunk()
    with captured_queries() as queries:
        MemoizedPrefetch("book__author").process_chunk(reviews)
    assert len(queries) == 3
    with no_queries():
        assert [review.book.author.pk for review in reviews] == [review.book.author_id for review in reviews]


def mixed_chunk() -> list[object]:
    volumes, exhibits = list(Volume.objects.order_by("pk")), list(Exhibit.objects.order_by("pk"))
    return [row for pair in zip(volumes, exhibits) for row in pair]


@pytest.fixture
def mixed_rows() -> None:
    countries = [Country.objects.create(code=f"c{i}", name=f"country {i}") for i in range(4)]
    labels = [MuseumLabel.objects.create(text=f"label {9 - i}") for i in range(4)]
    for i in range(4):
        Volume.objects.create(title=f"volume {i}", country=countries[i % 3])
        exhibit = Exhibit.objects.create(title=f"exhibit {i}", country=countries[(i + 1) % 4])
        exhibit.labels.add(*labels[: i + 1])


@pytest.mark.parametrize("as_config", [True, False])
def test_mixed_classes_with_one_attribute(mixed_rows: None, as_config: bool) -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Country, ["country"]) if as_config else "country")
    for _ in range(2):
        assert_same_as_django(mixed_chunk, "country", prefetch)


def test_mixed_classes_share_one_memo_and_one_query(mixed_rows: None) -> None:
    chunk = mixed_chunk()
    with query_count(1):
        MemoizedPrefetch("country").process_chunk(chunk)


def test_mixed_classes_whose_many_to_manys_lead_to_different_models(mixed_rows: None) -> None:
    """`labels` of a volume are the catalogue's, those of an exhibit the museum's; equal keys, different rows."""
    from tests.python.catalogue.models import Label, Labelling

    for volume in Volume.objects.all():
        for i in range(2):
            Labelling.objects.create(volume=volume, label=Label.objects.create(text=f"of {volume.pk}, {i}"))
    prefetch = MemoizedPrefetch("labels", "country")
    for _ in range(2):
        assert_same_as_django(mixed_chunk, ["labels", "country"], prefetch)


def test_mixed_parents_and_children() -> None:
    genres = [Genre.objects.create(name=f"genre {i}") for i in range(3)]
    for i in range(3):
        Map.objects.create(name=f"map {i}").genres.add(*genres[i:])
        Item.objects.create(name=f"item {i}").genres.add(*genres[:i])
    prefetch = MemoizedPrefetch("genres")
    for _ in range(2):
        assert_same_as_django(lambda: [*Item.objects.order_by("pk"), *Map.objects.order_by("pk")], "genres", prefetch)


def test_class_that_first_appears_in_a_later_chunk(mixed_rows: None) -> None:
    prefetch = MemoizedPrefetch("country")
    assert_same_as_django(lambda: list(Volume.objects.order_by("pk")), "country", prefetch)
    assert_same_as_django(lambda: list(Exhibit.objects.order_by("pk")), "country", prefetch)


@pytest.mark.parametrize("size", [1, 5, 12, 100])
def test_chunkator_page(bookshop: Bookshop, size: int) -> None:
    prefetch = MemoizedPrefetch(*LOOKUPS, lru_cache_size=3)
    ours = []
    for page in chunkator_page(Book.objects.all(), size):
        prefetch.process_chunk(page)
        ours.extend(page)
    theirs = all_books()
    django_prefetch(theirs, LOOKUPS)
    assert_alike(ours, theirs, LOOKUPS)


def test_chunkator_over_single_rows(bookshop: Bookshop) -> None:
    ours = MemoizedPrefetch(*LOOKUPS).process_chunk(chunkator(Book.objects.all(), 5))
    theirs = all_books()
    django_prefetch(theirs, LOOKUPS)
    assert_alike(ours, theirs, LOOKUPS)


def test_one_list_with_three_foreign_keys_to_one_table() -> None:
    from tests.python.catalogue.models import Branch, Transfer

    branches = [Branch.objects.create(name=f"branch {i}") for i in range(5)]
    for i in range(20):
        Transfer.objects.create(origin=branches[i % 5], via=branches[(i + 1) % 5], destination=branches[(i + 2) % 5])
    paths = ["origin", "via", "destination"]
    ours, theirs = list(Transfer.objects.order_by("pk")), list(Transfer.objects.order_by("pk"))
    with query_count(3):
        django_prefetch(theirs, paths)
    with query_count(1):
        MemoizedPrefetch(*paths).process_chunk(ours)
    assert_alike(ours, theirs, paths)
