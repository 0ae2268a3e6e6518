from __future__ import annotations

import pytest

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.bookshop.models import Author, Book, Category, Publisher, Review
from tests.python.catalogue.models import Branch, Copy, Country, Person, Transfer, Volume
from tests.python.conftest import Bookshop
from tests.python.graph import assert_alike, assert_same_as_django
from tests.python.queries import captured_queries, django_prefetch, no_queries, query_count


def all_reviews() -> list[Review]:
    return list(Review.objects.order_by("pk"))


@pytest.mark.parametrize("separator", [".", "__"])
@pytest.mark.parametrize("size", [1, 2, 10_000])
def test_path_ending_in_a_foreign_key(bookshop: Bookshop, separator: str, size: int) -> None:
    for prefetch in (
        MemoizedPrefetch(
            MemoizedPrefetchConfig(Publisher, [f"book{separator}publisher"], lru_cache_size=size),
            MemoizedPrefetchConfig(
                Author, [f"book{separator}author", f"book{separator}translator"], lru_cache_size=size
            ),
        ),
        MemoizedPrefetch(
            *(f"book{separator}{name}" for name in ("publisher", "author", "translator")), lru_cache_size=size
        ),
    ):
        keys = [review.pk for review in bookshop.reviews]
        for start in range(0, len(keys), 7):
            assert_same_as_django(
                lambda chunk=keys[start : start + 7]: list(Review.objects.filter(pk__in=chunk).order_by("pk")),
                ["book__publisher", "book__author", "book__translator"],
                prefetch,
            )


@pytest.mark.parametrize("path", ["book.categories", "book__categories"])
def test_path_ending_in_a_many_to_many(bookshop: Bookshop, path: str) -> None:
    explicit = MemoizedPrefetchConfig(
        Category,
        [path],
        is_many_to_many=True,
        through_model=Book.categories.through,
        source_field="book_id",
        target_field="category_id",
        lru_cache_size=3,
    )
    for prefetch in (
        MemoizedPrefetch(explicit),
        MemoizedPrefetch(MemoizedPrefetchConfig(Category, [path])),
        MemoizedPrefetch(path),
    ):
        for _ in range(2):
            assert_same_as_django(all_reviews, "book__categories", prefetch)


def test_path_through_a_many_to_many(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("categories__books")
    for _ in range(2):
        assert_same_as_django(lambda: list(Book.objects.order_by("pk")), "categories__books", prefetch)


def test_path_through_a_many_to_many_to_a_foreign_key(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("books__author")
    for _ in range(2):
        assert_same_as_django(lambda: list(Category.objects.order_by("pk")), "books__author", prefetch)


def test_intermediates_are_fetched_in_one_batch_and_remembered(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("book__publisher", "book__author", "book__translator")
    reviews = all_reviews()
    with query_count(3) as queries:
        prefetch.process_chunk(reviews)
    assert (queries.of(Book), queries.of(Publisher), queries.of(Author)) == (1, 1, 1)
    reviews = all_reviews()
    with no_queries():
        prefetch.process_chunk(reviews)
        assert all(review.book.author.name for review in reviews)


def test_intermediates_join_the_memo_of_their_own_table(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("book", "book__author")
    prefetch.process_chunk(all_reviews())
    assert dict(prefetch.memoized_objects[Book]).keys() == {review.book_id for review in bookshop.reviews}


def test_intermediates_of_a_config_without_one_of_their_own(bookshop: Bookshop) -> None:
    """The original's nested example: nobody configured books."""
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Publisher, ["book.publisher"]))
    reviews = all_reviews()
    with query_count(2):
        prefetch.process_chunk(reviews)
    with no_queries():
        assert all(review.book.publisher.name for review in reviews)


def test_intermediates_preloaded_by_select_related(bookshop: Bookshop) -> None:
    def chunk() -> list[Review]:
        return list(Review.objects.select_related("book").order_by("pk"))

    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Publisher, ["book.publisher"]))
    reviews = chunk()
    books = [review.book for review in reviews]
    with query_count(1) as queries:
        prefetch.process_chunk(reviews)
    assert queries.of(Book) == 0
    assert all(review.book is book for review, book in zip(reviews, books)), "what the user loaded stays"
    for _ in range(2):
        assert_same_as_django(chunk, "book__publisher", prefetch)


def test_some_intermediates_preloaded(bookshop: Bookshop) -> None:
    """What lies below the preloaded ones is left out when others in the list are not, as Django leaves it out."""

    def chunk() -> list[Review]:
        reviews = all_reviews()
        for review in reviews[::3]:
            assert review.book.pk
        return reviews

    paths = ["book__publisher", "book__categories"]
    prefetch = MemoizedPrefetch(*paths)
    for _ in range(2):
        ours, theirs = chunk(), chunk()
        prefetch.process_chunk(ours)
        django_prefetch(theirs, paths)
        assert_alike(
            [review for i, review in enumerate(ours) if i % 3],
            theirs_below := [review for i, review in enumerate(theirs) if i % 3],
            paths,
        )
        assert_alike(ours, theirs, ["book"])
        assert len(theirs_below) < len(ours)
        for mine, django in zip(ours[::3], theirs[::3]):
            assert mine.book._state.fields_cache == django.book._state.fields_cache == {}


def test_whole_path_preloaded(bookshop: Bookshop) -> None:
    reviews = list(Review.objects.select_related("book__publisher"))
    with no_queries():
        MemoizedPrefetch("book__publisher").process_chunk(reviews)


def test_null_and_missing_intermediates() -> None:
    country = Country.objects.create(code="se", name="Sweden")
    volume = Volume.objects.create(title="here", country=country)
    without = Volume.objects.create(title="nowhere")
    Copy.objects.create(barcode="a", volume=volume)
    Copy.objects.create(barcode="b", volume=without)
    Copy.objects.create(barcode="c", volume_id=without.pk + 1)
    for prefetch in (
        MemoizedPrefetch(MemoizedPrefetchConfig(Country, ["volume.country"])),
        MemoizedPrefetch("volume__country"),
    ):
        for _ in range(2):
            assert_same_as_django(lambda: list(Copy.objects.order_by("pk")), "volume__country", prefetch)


def test_all_intermediates_null() -> None:
    branch = Branch.objects.create(name="only")
    Transfer.objects.create(origin=branch, destination=branch)
    prefetch = MemoizedPrefetch("via__country", "volume__country", "origin__country")
    for _ in range(2):
        assert_same_as_django(
            lambda: list(Transfer.objects.all()), ["via__country", "volume__country", "origin__country"], prefetch
        )


def test_several_paths_through_one_table_are_one_query_per_table() -> None:
    countries = [Country.objects.create(code=str(i), name=f"country {i}") for i in range(3)]
    branches = [Branch.objects.create(name=f"branch {i}", country=countries[i % 3]) for i in range(6)]
    volume = Volume.objects.create(title="v", country=countries[0])
    for i in range(5):
        Transfer.objects.create(volume=volume, origin=branches[i], via=branches[0], destination=branches[i + 1])
    paths = ["origin__country", "via__country", "destination__country"]

    def chunk() -> list[Transfer]:
        return list(Transfer.objects.order_by("pk"))

    prefetch = MemoizedPrefetch(*paths)
    transfers = chunk()
    with query_count(2) as queries:
        prefetch.process_chunk(transfers)
    assert (queries.of(Branch), queries.of(Country)) == (1, 1)
    assert_same_as_django(
        chunk, [*paths, "volume__country"], MemoizedPrefetch(*paths, "volume__country", lru_cache_size=1)
    )


def test_four_levels() -> None:
    country = Country.objects.create(code="se", name="Sweden")
    person = Person.objects.create(name="top")
    for i in range(4):
        person = Person.objects.create(name=f"person {i}", mentor=person)
    assert country.pk
    prefetch = MemoizedPrefetch("mentor__mentor__mentor__mentor", lru_cache_size=1)
    for _ in range(2):
        assert_same_as_django(lambda: list(Person.objects.order_by("-pk")), "mentor__mentor__mentor__mentor", prefetch)


def test_an_intermediate_shared_with_an_earlier_chunk_gets_the_later_relation(bookshop: Bookshop) -> None:
    """A row that came by a shorter path is a hit on the longer one and still needs what lies below it."""
    prefetch = MemoizedPrefetch("book", "book__author")
    prefetch.process_chunk(all_reviews()[:3])
    assert_same_as_django(all_reviews, ["book", "book__author"], prefetch)


def test_evicted_rows_below_a_remembered_intermediate_stay_attached(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Book, ["book"], lru_cache_size=100),
        MemoizedPrefetchConfig(Author, ["book__author"], lru_cache_size=1),
    )
    for _ in range(3):
        assert_same_as_django(all_reviews, ["book", "book__author"], prefetch)
    reviews = all_reviews()
    with captured_queries() as queries:
        prefetch.process_chunk(reviews)
    assert queries.of(Book) == 0


def test_the_order_of_configs_does_not_matter(bookshop: Bookshop) -> None:
    configs = [
        MemoizedPrefetchConfig(Author, ["book__author"]),
        MemoizedPrefetchConfig(Book, ["book"]),
        MemoizedPrefetchConfig(Publisher, ["book.publisher"]),
    ]
    for order in (configs, configs[::-1]):
        reviews = all_reviews()
        with query_count(3):
            MemoizedPrefetch(*order).process_chunk(reviews)
        assert_same_as_django(all_reviews, ["book", "book__author", "book__publisher"], MemoizedPrefetch(*order))
