"""The code examples that the original package documents, word for word: what they print and what they query."""

from __future__ import annotations

import contextlib
import io
from textwrap import dedent

import pytest
from chunkator import chunkator_page
from django.db.models import QuerySet

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.bookshop.models import Author, Book, Category, Publisher, Review
from tests.python.conftest import Bookshop
from tests.python.queries import captured_queries, no_queries, query_count

STOCK = """
    for chunk in chunkator_page(Book.objects.all().prefetch_related("author", "translator", "publisher"), 10_000):
        for book in chunk:
            print(book.author.name, book.translator.name if book.translator is not None else None)
            print(book.publisher.name)
"""

BASIC = """
    from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
    from chunkator import chunkator_page

    memoized_prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Author, ["author", "translator"]),
        MemoizedPrefetchConfig(Publisher, ["publisher"], prefetch_all=True),
    )

    for chunk in chunkator_page(Book.objects.all(), 10_000):
        memoized_prefetch.process_chunk(chunk)

        for book in chunk:
            print(book.author.name, book.translator.name if book.translator is not None else None)
            print(book.publisher.name)
"""

NESTED = """
    memoized_prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Publisher, ["book.publisher"]),
        MemoizedPrefetchConfig(Author, ["book__author"]),
    )

    for chunk in chunkator_page(Review.objects.all(), 10000):
        memoized_prefetch.process_chunk(chunk)
        ...
"""

MANY_TO_MANY = """
    from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
    from chunkator import chunkator_page

    # Configure for many-to-many relationships
    memoized_prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(
            model=Category,
            attributes=["categories"],
            is_many_to_many=True,
            through_model=Book.categories.through,
            source_field="book_id",
            target_field="category_id",
        )
    )

    # Process books with their categories
    for chunk in chunkator_page(Book.objects.all(), 10000):
        memoized_prefetch.process_chunk(chunk)

        for book in chunk:
            # Categories are prefetched and available
            category_names = [cat.name for cat in book.categories.all()]
            print(f"Book: {book.title}, Categories: {', '.join(category_names)}")
"""


def run(example: str, chunk_size: int | None = None) -> tuple[str, dict[str, object]]:
    """What the example printed, and its variables. Another chunk size makes more chunks of the few rows here."""
    code = dedent(example)
    if chunk_size is not None:
        code = code.replace("10_000", str(chunk_size)).replace("10000", str(chunk_size))
    variables: dict[str, object] = {
        "Author": Author,
        "Book": Book,
        "Category": Category,
        "MemoizedPrefetch": MemoizedPrefetch,
        "MemoizedPrefetchConfig": MemoizedPrefetchConfig,
        "Publisher": Publisher,
        "Review": Review,
        "chunkator_page": chunkator_page,
    }
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, variables)
    return printed.getvalue(), variables


def chunk_queries(queryset: QuerySet, chunk_size: int) -> int:
    """The queries of the chunked loop itself."""
    with captured_queries() as queries:
        for _ in chunkator_page(queryset, chunk_size):
            pass
    return len(queries)


def test_basic_example_prints_what_stock_django_prints(bookshop: Bookshop) -> None:
    expected, _ = run(STOCK)
    printed, _ = run(BASIC)
    assert printed == expected
    assert len(printed.splitlines()) == 2 * len(bookshop.books)


def test_basic_example_fetches_publishers_once_and_authors_in_one_query(bookshop: Bookshop) -> None:
    with query_count(3) as queries:  # publishers, books, authors
        run(BASIC)
    assert (queries.of(Publisher), queries.of(Book), queries.of(Author)) == (1, 1, 1)


def test_basic_example_in_several_chunks_reads_each_author_once(bookshop: Bookshop) -> None:
    own = chunk_queries(Book.objects.all(), 3)
    with captured_queries() as queries:
        printed, variables = run(BASIC, chunk_size=3)
    assert printed == run(STOCK)[0]
    assert queries.of(Publisher) == 1
    # Of the four chunks the first two bring every author that the books have.
    assert queries.of(Author) == 2
    assert len(queries) == own + 3
    used = {key for book in bookshop.books for key in (book.author_id, book.translator_id) if key is not None}
    assert set(dict(variables["memoized_prefetch"].memoized_objects[Author])) == used


def test_nested_example_makes_at_most_three_queries_per_chunk(bookshop: Bookshop) -> None:
    with query_count(1 + 3) as queries:  # reviews; books, publishers, authors
        run(NESTED)
    assert (queries.of(Book), queries.of(Publisher), queries.of(Author)) == (1, 1, 1)


@pytest.mark.parametrize("chunk_size", [1, 5, 12])
def test_nested_example_in_several_chunks(bookshop: Bookshop, chunk_size: int) -> None:
    with captured_queries() as chunked:
        chunks = sum(1 for _ in chunkator_page(Review.objects.all(), chunk_size))
    with captured_queries() as queries:
        run(NESTED, chunk_size)
    assert len(queries) <= len(chunked) + 3 * chunks
    # There are more reviews than books: what is remembered is not read again.
    assert queries.of(Book) <= len(bookshop.books)
    assert queries.of(Author) <= len(bookshop.authors)
    assert queries.of(Publisher) <= len(bookshop.publishers)


def test_nested_example_attaches_both_ends(bookshop: Bookshop) -> None:
    _, variables = run(NESTED)
    expected = [
        (review.book.publisher.name, review.book.author.name)
        for review in Review.objects.order_by("pk").select_related("book__publisher", "book__author")
    ]
    with no_queries():
        observed = [(review.book.publisher.name, review.book.author.name) for review in variables["chunk"]]
    assert observed == expected


def test_many_to_many_example_prints_every_category(bookshop: Bookshop) -> None:
    printed, _ = run(MANY_TO_MANY)
    lines = printed.splitlines()
    books = Book.objects.order_by("pk").prefetch_related("categories")
    assert len(lines) == len(books) == len(bookshop.books)
    for line, book in zip(lines, books):
        title, names = line[len("Book: ") :].split(", Categories: ")
        assert title == book.title
        assert sorted(filter(None, names.split(", "))) == sorted(category.name for category in book.categories.all())


def test_many_to_many_example_makes_two_queries_per_chunk(bookshop: Bookshop) -> None:
    with query_count(1 + 2):  # books; links, categories
        run(MANY_TO_MANY)


def test_many_to_many_example_in_several_chunks_reads_each_category_once(bookshop: Bookshop) -> None:
    own = chunk_queries(Book.objects.all(), 6)
    with captured_queries() as queries:
        run(MANY_TO_MANY, chunk_size=6)
    # Two chunks ask for links; the first of them brings all categories.
    assert len(queries) == own + 2 + 1


def test_advanced_configuration_example(bookshop: Bookshop) -> None:
    # The documentation writes select_related(...) with a literal ellipsis; a real name stands here.
    from tests.python.catalogue.models import Branch, Country, Transfer

    country = Country.objects.create(code="se", name="Sweden")
    branches = [Branch.objects.create(name=name, country=country) for name in ("north", "south")]
    Transfer.objects.create(origin=branches[0], destination=branches[1])
    config = MemoizedPrefetchConfig(
        model=Branch,
        attributes=["origin", "destination"],
        queryset=Branch.objects.select_related("country"),
        lru_cache_size=5000,
    )
    everything = MemoizedPrefetchConfig(
        model=Country,
        attributes=["country"],
        prefetch_all=True,
    )
    transfers = list(Transfer.objects.all())
    with query_count(1):
        MemoizedPrefetch(config).process_chunk(transfers)
    with no_queries():
        assert transfers[0].origin.country.name == transfers[0].destination.country.name == "Sweden"
    with query_count(1):
        countries = MemoizedPrefetch(everything)
    stored = list(Branch.objects.all())
    with no_queries():
        countries.process_chunk(stored)
        assert {branch.country.name for branch in stored} == {"Sweden"}


def test_several_foreign_keys_to_one_table_outside_a_chunked_loop(bookshop: Bookshop) -> None:
    books = list(Book.objects.all())
    with query_count(1):
        MemoizedPrefetch(MemoizedPrefetchConfig(Author, ["author", "translator"])).process_chunk(books)
    with no_queries():
        assert all(book.author.pk == book.author_id for book in books)
        assert all(book.translator is None or book.translator.pk == book.translator_id for book in books)
