"""docs/relations.md."""

from __future__ import annotations

from tests.python.bookshop.models import Book, Review
from tests.python.catalogue.models import Branch, Country, Transfer
from tests.python.conftest import Bookshop
from tests.python.documents import examples
from tests.python.documents.running import CHUNK, REVIEWS, run, stored_books
from tests.python.queries import no_queries, query_count

LOOKUPS = examples("docs/relations.md", "Any lookup")
MANY_TO_MANY = examples("docs/relations.md", "Many-to-many")
NESTED = examples("docs/relations.md", "Nested", CHUNK)
ONE_LIST = examples("docs/relations.md", "One list")


def test_any_lookup(bookshop: Bookshop) -> None:
    (example,) = LOOKUPS
    *_, variables = run(example)
    books = variables["prefetch"].process_chunk(stored_books())
    good = Review.objects.filter(rating__gte=4).order_by("pk")
    expected = [(list(good.filter(book=book)), set(Book.objects.filter(author=book.author_id))) for book in books]
    with no_queries():
        found = [(sorted(book.good_reviews, key=lambda one: one.pk), set(book.author.books.all())) for book in books]
    assert found == expected


def test_many_to_many(bookshop: Bookshop) -> None:
    (example,) = MANY_TO_MANY
    *_, variables = run(example)
    expected = [set(book.categories.all()) for book in stored_books()]
    books = list(Book.objects.order_by("pk"))
    with query_count(2):
        variables["prefetch"].process_chunk(books)
    with no_queries():
        assert [set(book.categories.all()) for book in books] == expected


def test_nested(bookshop: Bookshop) -> None:
    (example,) = NESTED
    _, queries, variables = run(example)
    assert len(queries) <= (REVIEWS // CHUNK + 1) + 3 * (REVIEWS // CHUNK)
    with no_queries():
        assert all(review.book.author.name and review.book.publisher.name for review in variables["chunk"])


def test_one_list() -> None:
    (example,) = ONE_LIST
    country = Country.objects.create(code="se", name="Sweden")
    branches = [Branch.objects.create(name=name, country=country) for name in ("north", "south", "west")]
    Transfer.objects.create(origin=branches[0], via=branches[1], destination=branches[2])
    _, queries, variables = run(example, Transfer=Transfer, Branch=Branch)
    assert len(queries) == 2
    (transfer,) = variables["transfers"]
    with no_queries():
        assert [transfer.origin, transfer.via, transfer.destination] == branches
