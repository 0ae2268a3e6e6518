"""The job end to end: stream a table in chunks and read what is related to every row.

`original` and `this` are the same code in two environments; `memoized` is `this` over a queryset whose rows the engine
builds, where Django builds those of all others. All contenders but `raw` read their objects with the same
loop; each function returns a checksum of the related rows that it read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter

from chunkator import chunkator_page
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.db.models import Model, QuerySet

from .bookshop.models import Author, Book, Category, Publisher, Review
from .outcome import Outcome

Rows = Callable[[QuerySet], QuerySet]

CHUNK = 2_000
AUTHORS_KEPT = 20_000  # All of them: with fewer, every contender that remembers reads some authors more than once.


def read_book_keys(books: Iterable[Book]) -> int:
    checksum = 0
    for book in books:
        checksum += book.id * (book.author.id + book.publisher.id)
        translator = book.translator
        if translator is not None:
            checksum += book.id * translator.id
    return checksum


def read_book_categories(books: Iterable[Book]) -> int:
    checksum = 0
    for book in books:
        for category in book.categories.all():
            checksum += book.id * category.id
    return checksum


def read_reviews(reviews: Iterable[Review]) -> int:
    checksum = 0
    for review in reviews:
        book = review.book
        checksum += review.id * (book.author.id + book.publisher.id)
    return checksum


def table(cursor: CursorWrapper, columns: str, name: str) -> dict[int, tuple]:
    cursor.execute(f"SELECT {columns} FROM bookshop_{name}")
    return {row[0]: row for row in cursor}


def fk_raw() -> int:
    checksum = 0
    with connection.cursor() as cursor:
        authors = table(cursor, "id, name, email", "author")
        publishers = table(cursor, "id, name, country", "publisher")
        cursor.execute("SELECT id, title, isbn, author_id, translator_id, publisher_id FROM bookshop_book")
        for book, _, _, author, translator, publisher in cursor:
            checksum += book * (authors[author][0] + publishers[publisher][0])
            if translator is not None:
                checksum += book * authors[translator][0]
    return checksum


def fk_django() -> int:
    books = Book.objects.prefetch_related("author", "translator", "publisher")
    return read_book_keys(books.iterator(chunk_size=CHUNK))


def fk_select_related() -> int:
    books = Book.objects.select_related("author", "translator", "publisher")
    return read_book_keys(books.iterator(chunk_size=CHUNK))


def as_it_is(queryset: QuerySet) -> QuerySet:
    return queryset


def built_natively(queryset: QuerySet) -> QuerySet:
    from django_memoized_prefetch import memoized

    return memoized(queryset)


def fk_memoized(rows: Rows = as_it_is) -> int:
    from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig

    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Author, ["author", "translator"], lru_cache_size=AUTHORS_KEPT),
        MemoizedPrefetchConfig(Publisher, ["publisher"], prefetch_all=True),
    )
    return stream(rows(Book.objects.all()), prefetch.process_chunk, read_book_keys)


def m2m_raw() -> int:
    checksum = 0
    with connection.cursor() as cursor:
        categories = table(cursor, "id, name", "category")
        cursor.execute(
            "SELECT b.id, b.title, b.isbn, bc.category_id FROM bookshop_book b"
            " LEFT JOIN bookshop_book_categories bc ON bc.book_id = b.id"
        )
        for book, _, _, category in cursor:
            if category is not None:
                checksum += book * categories[category][0]
    return checksum


def m2m_django() -> int:
    return read_book_categories(Book.objects.prefetch_related("categories").iterator(chunk_size=CHUNK))


def m2m_memoized(rows: Rows = as_it_is) -> int:
    from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig

    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(
            model=Category,
            attributes=["categories"],
            is_many_to_many=True,
            through_model=Book.categories.through,
            source_field="book_id",
            target_field="category_id",
        )
    )
    return stream(rows(Book.objects.all()), prefetch.process_chunk, read_book_categories)


def nested_raw() -> int:
    checksum = 0
    with connection.cursor() as cursor:
        authors = table(cursor, "id, name, email", "author")
        publishers = table(cursor, "id, name, country", "publisher")
        books = table(cursor, "id, author_id, publisher_id", "book")
        cursor.execute("SELECT id, book_id, rating, comment FROM bookshop_review")
        for review, book, _, _ in cursor:
            _, author, publisher = books[book]
            checksum += review * (authors[author][0] + publishers[publisher][0])
    return checksum


def nested_django() -> int:
    reviews = Review.objects.prefetch_related("book__author", "book__publisher")
    return read_reviews(reviews.iterator(chunk_size=CHUNK))


def nested_select_related() -> int:
    reviews = Review.objects.select_related("book__author", "book__publisher")
    return read_reviews(reviews.iterator(chunk_size=CHUNK))


def nested_memoized(rows: Rows = as_it_is) -> int:
    from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig

    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Publisher, ["book.publisher"]),
        MemoizedPrefetchConfig(Author, ["book__author"], lru_cache_size=AUTHORS_KEPT),
    )
    return stream(rows(Review.objects.all()), prefetch.process_chunk, read_reviews)


def stream(
    queryset: QuerySet, process_chunk: Callable[[list[Model]], object], read: Callable[[list[Model]], int]
) -> int:
    checksum = 0
    for chunk in chunkator_page(queryset, CHUNK):
        process_chunk(chunk)
        checksum += read(chunk)
    return checksum


RUNS: dict[tuple[str, str], Callable[[], int]] = {
    ("fk", "raw"): fk_raw,
    ("fk", "django"): fk_django,
    ("fk", "select_related"): fk_select_related,
    ("fk", "original"): fk_memoized,
    ("fk", "this"): fk_memoized,
    ("fk", "memoized"): lambda: fk_memoized(built_natively),
    ("m2m", "raw"): m2m_raw,
    ("m2m", "django"): m2m_django,
    ("m2m", "original"): m2m_memoized,
    ("m2m", "this"): m2m_memoized,
    ("m2m", "memoized"): lambda: m2m_memoized(built_natively),
    ("nested", "raw"): nested_raw,
    ("nested", "django"): nested_django,
    ("nested", "select_related"): nested_select_related,
    ("nested", "original"): nested_memoized,
    ("nested", "this"): nested_memoized,
    ("nested", "memoized"): lambda: nested_memoized(built_natively),
}


def run(workload: str, contender: str) -> Outcome:
    outcome = Outcome()
    connection.ensure_connection()
    with connection.execute_wrapper(outcome):
        start = perf_counter()
        outcome.checksum = RUNS[workload, contender]()
        outcome.add("seconds", perf_counter() - start)
    return outcome
