"""A memoized queryset in the hands of packages that read tables chunk by chunk and know nothing of it."""

from __future__ import annotations

from typing import Any

from chunkator import chunkator
from django.core.paginator import Paginator
from django_elasticsearch_dsl import Document, fields
from django_elasticsearch_dsl.registries import DocumentRegistry
from import_export.fields import Field
from import_export.resources import ModelResource
from rest_framework import serializers

from django_memoized_prefetch import MemoizedPrefetch, memoized
from tests.python.bookshop.models import Author, Book, Category, Publisher
from tests.python.conftest import Bookshop
from tests.python.queries import captured_queries

LOOKUPS = ("author", "publisher", "categories")
CHUNK, BOOKS = 3, 12
CHUNKS = BOOKS // CHUNK


def books() -> Any:
    return Book.objects.order_by("pk").prefetch_related(*LOOKUPS)


def compare(before: Any, after: Any) -> tuple[int, int]:
    """Both give the same; how many queries each ran."""
    with captured_queries() as django_queries:
        expected = before()
    with captured_queries() as queries:
        given = after()
    assert given == expected
    assert len(given) == BOOKS
    assert django_queries.of(Book) == queries.of(Book)
    # Each author and publisher is read once, and each link.
    assert queries.of(Publisher) == 1
    assert queries.of(Author) <= 2
    return len(django_queries), len(queries)


def memoized_count(queries_for_books: int) -> int:
    """At the most: of links one per chunk, of publishers one, of authors and categories two (a chunk has not all)."""
    return queries_for_books + CHUNKS + 1 + 2 + 2


def test_import_export(bookshop: Bookshop) -> None:
    class BookResource(ModelResource):
        author = Field(attribute="author__name")
        publisher = Field(attribute="publisher__name")
        categories = Field()

        def dehydrate_categories(self, book: Any) -> str:
            return ", ".join(sorted(category.name for category in book.categories.all()))

        def get_queryset(self) -> Any:
            return books()

        class Meta:
            model = Book
            fields = ("title", "author", "publisher", "categories")
            chunk_size = CHUNK

    class MemoizedBookResource(BookResource):
        def get_queryset(self) -> Any:
            return memoized(super().get_queryset())

        class Meta(BookResource.Meta):
            pass

    before, after = compare(lambda: BookResource().export().dict, lambda: MemoizedBookResource().export().dict)
    # The paginator counts, and asks for every page.
    assert before == 1 + CHUNKS * 4
    assert after <= memoized_count(1 + CHUNKS)


def test_elasticsearch_dsl(bookshop: Bookshop) -> None:
    class BookDocument(Document):
        title = fields.TextField()
        author = fields.ObjectField(properties={"name": fields.TextField()})
        publisher = fields.ObjectField(properties={"name": fields.TextField()})
        categories = fields.NestedField(properties={"name": fields.TextField()})

        class Django:
            model = Book
            queryset_pagination = CHUNK
            ignore_signals = True

        def get_queryset(self, *arguments: Any, **keywords: Any) -> Any:
            return books()

    class MemoizedBookDocument(BookDocument):
        def get_queryset(self, *arguments: Any, **keywords: Any) -> Any:
            return memoized(super().get_queryset())

    def indexed(document_class: Any) -> list[Any]:
        document = DocumentRegistry().register_document(document_class)()
        # What is sent to the server.
        prepared = [document.prepare(book) for book in document.get_indexing_queryset()]
        return [{**one, "categories": sorted(map(str, one["categories"]))} for one in prepared]

    before, after = compare(lambda: indexed(BookDocument), lambda: indexed(MemoizedBookDocument))
    assert before == 1 + CHUNKS * 3
    assert after <= memoized_count(1)
    assert indexed(MemoizedBookDocument)[0]["author"] == {"name": bookshop.books[0].author.name}


class NameSerializer(serializers.Serializer):
    name = serializers.CharField()


class BookSerializer(serializers.ModelSerializer):
    author = NameSerializer()
    publisher = NameSerializer()
    categories = serializers.SerializerMethodField()

    def get_categories(self, book: Book) -> list[str]:
        return sorted(category.name for category in book.categories.all())

    class Meta:
        model = Book
        fields = ("id", "title", "author", "publisher", "categories")


def test_rest_framework_list_serializer(bookshop: Bookshop) -> None:
    def pages(queryset: Any) -> list[Any]:
        paginator = Paginator(queryset, CHUNK)
        return [
            one
            for number in paginator.page_range
            for one in BookSerializer(paginator.page(number).object_list, many=True).data
        ]

    before, after = compare(lambda: pages(books()), lambda: pages(memoized(books())))
    assert before == 1 + CHUNKS * 4
    assert after <= memoized_count(1 + CHUNKS)
    assert BookSerializer(memoized(books()), many=True).data == BookSerializer(books(), many=True).data


def test_chunkator(bookshop: Bookshop) -> None:
    def read(queryset: Any) -> list[Any]:
        return [
            (book.title, book.author.name, book.publisher.name, sorted(one.name for one in book.categories.all()))
            for book in chunkator(queryset, CHUNK)
        ]

    before, after = compare(lambda: read(books()), lambda: read(memoized(books())))
    # After the last full page it asks for one more.
    assert before == 1 + CHUNKS * 4
    assert after <= memoized_count(1 + CHUNKS)


def test_stats_of_what_another_package_read(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch()
    list(chunkator(memoized(books(), prefetch), CHUNK))
    relations = prefetch.stats().relations
    assert set(relations) == set(LOOKUPS)
    assert relations["publisher"].queries == 1
    assert relations["publisher"].requests == BOOKS
    assert Category.objects.count() >= relations["categories"].fetched > 0
