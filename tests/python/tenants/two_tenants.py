"""A program: two django-tenants schemas whose rows have equal primary keys, processed by one MemoizedPrefetch.

It is a process of its own, because django-tenants needs its own database backend. DATABASE_URL names the server.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.python.tenants.settings"
warnings.simplefilter("error")
django.setup()

import psycopg  # noqa: E402
from django.db import connection  # noqa: E402
from django.db.models import prefetch_related_objects  # noqa: E402
from django_tenants.utils import get_public_schema_name, schema_context, tenant_context  # noqa: E402

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig  # noqa: E402
from tests.python.bookshop.models import Author, Book, Category, Publisher, Review  # noqa: E402
from tests.python.conftest import fill_bookshop  # noqa: E402
from tests.python.documents import examples  # noqa: E402
from tests.python.graph import assert_alike  # noqa: E402
from tests.python.queries import query_count  # noqa: E402
from tests.python.tenants.customers.models import Customer  # noqa: E402

SCHEMAS = ["one", "two"]
LOOKUPS = ["author", "translator", "publisher", "categories"]


@contextmanager
def database() -> Iterator[None]:
    """A database of its own, dropped at the end."""
    settings = connection.settings_dict
    name = settings["NAME"]
    where = {
        "host": settings["HOST"],
        "port": settings["PORT"],
        "user": settings["USER"],
        "password": settings["PASSWORD"],
    }
    with psycopg.connect(
        dbname="postgres", autocommit=True, **{key: value for key, value in where.items() if value}
    ) as server:
        server.execute(f'drop database if exists "{name}"')
        server.execute(f'create database "{name}"')
        try:
            yield
        finally:
            connection.close()
            server.execute(f'drop database "{name}" with (force)')


def create_schemas() -> None:
    for schema in SCHEMAS:
        with connection.cursor() as cursor:
            cursor.execute(f'create schema "{schema}"')
        with schema_context(schema):
            with connection.schema_editor() as editor:
                for model in (Author, Publisher, Category, Book, Review):
                    editor.create_model(model)
            fill_bookshop()
            for model in (Author, Publisher, Category):
                for row in model.objects.all():
                    model.objects.filter(pk=row.pk).update(name=f"{row.name} in {schema}")


def all_books() -> list[Book]:
    return list(Book.objects.order_by("pk"))


def everything() -> MemoizedPrefetch:
    return MemoizedPrefetch(
        MemoizedPrefetchConfig(Author, ["author", "translator"]),
        MemoizedPrefetchConfig(Publisher, ["publisher"], prefetch_all=True),
        MemoizedPrefetchConfig(
            Category,
            ["categories"],
            is_many_to_many=True,
            through_model=Book.categories.through,
            source_field="book_id",
            target_field="category_id",
        ),
    )


def check_equal_keys(make: Callable[[], MemoizedPrefetch], lookups: list[str]) -> None:
    with schema_context("one"):
        prefetch = make()
    for schema in ["one", "two", "one", "two", "two", "one"]:
        with schema_context(schema):
            ours, theirs = all_books(), all_books()
            prefetch.process_chunk(ours)
            assert all(book.author.name.endswith(f" in {schema}") for book in ours), f"not the authors of {schema}"
            prefetch_related_objects(theirs, *lookups)
            assert_alike(ours, theirs, lookups)
            assert all(book.publisher.name.endswith(f" in {schema}") for book in ours)
            assert all(c.name.endswith(f" in {schema}") for book in ours for c in book.categories.all())


def check_each_tenant_is_remembered() -> None:
    prefetch = MemoizedPrefetch(*LOOKUPS)
    for schema in SCHEMAS:
        with tenant_context(Customer(schema_name=schema)):
            prefetch.process_chunk(all_books())
    for schema in SCHEMAS:
        with tenant_context(Customer(schema_name=schema)):
            books = all_books()
            with query_count(0):
                prefetch.process_chunk(books)


def check_nested() -> None:
    prefetch = MemoizedPrefetch("book__author", "book__categories")
    for schema in ["one", "two", "one"]:
        with schema_context(schema):
            reviews = prefetch.process_chunk(list(Review.objects.all()))
            with query_count(0):
                assert all(review.book.author.name.endswith(f" in {schema}") for review in reviews)


def check_absences() -> None:
    with schema_context("two"):
        author = Author.objects.create(name="only in two")
    prefetch = MemoizedPrefetch("translator")
    for schema, found in [("one", None), ("two", author), ("one", None)]:
        with schema_context(schema):
            [book] = prefetch.process_chunk([Book(translator_id=author.pk)])
            assert book.translator == found


def check_documented_loop() -> None:
    example, _ = examples("docs/recipes.md", "A loop over tenants", chunk_size=3)
    with schema_context(get_public_schema_name()):
        with connection.schema_editor() as editor:
            editor.create_model(Customer)
        for schema in SCHEMAS:
            Customer.objects.create(schema_name=schema)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(example, {"Book": Book})
    expected = []
    for schema in SCHEMAS:
        with schema_context(schema):
            books = Book.objects.order_by("pk").select_related("author", "publisher")
            expected += [f"{schema} {book.title} {book.author.name} {book.publisher.name}" for book in books]
    assert printed.getvalue().splitlines() == expected
    assert len(set(expected)) == len(expected) > 12


def main() -> None:
    with database():
        create_schemas()
        check_equal_keys(lambda: MemoizedPrefetch(MemoizedPrefetchConfig(Author, ["author"])), ["author"])
        check_equal_keys(everything, LOOKUPS)
        check_equal_keys(lambda: MemoizedPrefetch(*LOOKUPS, lru_cache_size=2), LOOKUPS)
        check_each_tenant_is_remembered()
        check_nested()
        check_absences()
        check_documented_loop()
    print("both tenants saw their own rows only")


if __name__ == "__main__":
    main()
