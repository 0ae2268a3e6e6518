"""Streams some books with the installed package in every way, and compares them with Django's; needs only these two.

python -I tests/smoke.py [README.md]

It also runs the README's first example with the package. Without an argument, the README is the installed package's.
"""

from __future__ import annotations

import contextlib
import io
import platform
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import django
from django.apps import AppConfig
from django.conf import settings
from django.db import connection, models
from django.test.utils import CaptureQueriesContext

import django_memoized_prefetch
from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig, memoized

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

settings.configure(
    # This file is the application, because the models find each other by that.
    INSTALLED_APPS=[AppConfig("smoke", sys.modules[__name__])],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()

BOOKS, CHUNK = 1000, 100
LOOKUPS = ["author", "translator", "publisher", "categories"]


class Author(models.Model):
    name = models.CharField(max_length=100)

    class Meta:
        app_label = "smoke"


class Publisher(models.Model):
    name = models.CharField(max_length=100)

    class Meta:
        app_label = "smoke"


class Category(models.Model):
    name = models.CharField(max_length=100)

    class Meta:
        app_label = "smoke"


class Book(models.Model):
    title = models.CharField(max_length=100)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    published = models.DateField()
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    translator = models.ForeignKey(Author, models.CASCADE, related_name="+", null=True)
    publisher = models.ForeignKey(Publisher, models.CASCADE)
    categories = models.ManyToManyField(Category)

    class Meta:
        app_label = "smoke"


def fill() -> None:
    with connection.schema_editor() as editor:
        for model in (Author, Publisher, Category, Book):
            editor.create_model(model)
    Author.objects.bulk_create(Author(pk=key, name=f"author {key}") for key in range(1, 51))
    Publisher.objects.bulk_create(Publisher(pk=key, name=f"publisher {key}") for key in range(1, 6))
    Category.objects.bulk_create(Category(pk=key, name=f"category {key}") for key in range(1, 11))
    Book.objects.bulk_create(
        Book(
            pk=key,
            title=f"book {key}",
            price=f"{key}.50",
            published=f"20{key % 100:02}-01-31",
            author_id=key % 50 + 1,
            translator_id=None if key % 3 else key % 49 + 1,
            publisher_id=key % 5 + 1,
        )
        for key in range(1, BOOKS + 1)
    )
    links = Book.categories.through
    links.objects.bulk_create(
        links(book_id=key, category_id=(key + more) % 10 + 1) for key in range(1, BOOKS + 1) for more in range(key % 4)
    )


def told(books: Iterable[Book]) -> list[object]:
    return [
        (
            *(book.title, book.price, book.published, book.author.name, book.publisher.name),
            book.translator.name if book.translator else None,
            [category.name for category in book.categories.all()],
        )
        for book in books
    ]


def by_django() -> Iterator[Book]:
    return Book.objects.prefetch_related(*LOOKUPS).iterator(chunk_size=CHUNK)


def by_memoized() -> Iterator[Book]:
    return memoized(Book.objects.prefetch_related(*LOOKUPS)).iterator(chunk_size=CHUNK)


def by_chunks() -> Iterator[Book]:
    for chunk in MemoizedPrefetch(*LOOKUPS).chunks(Book.objects.all(), chunk_size=CHUNK):
        yield from chunk


def by_process_chunk() -> Iterator[Book]:
    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Author, ["author", "translator"]),
        MemoizedPrefetchConfig(Publisher, ["publisher"], prefetch_all=True),
        MemoizedPrefetchConfig(Category, ["categories"]),
    )
    for first in range(0, BOOKS, CHUNK):
        yield from prefetch.process_chunk(list(Book.objects.order_by("pk")[first : first + CHUNK]))


def counted(way: Callable[[], Iterator[Book]]) -> tuple[list[object], int]:
    with CaptureQueriesContext(connection) as queries:
        found = told(way())
    return found, len(queries)


def first_example(readme: str) -> tuple[list[str], list[str]]:
    """What the README's first example with the package prints, and what it should print."""
    examples = [code for code in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "memoized(" in code]
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(examples[0], "README.md", "exec"), {"Book": Book})
    expected = [f"{book.title} {book.author.name} {book.publisher.name}" for book in Book.objects.order_by("pk")]
    return output.getvalue().splitlines(), expected


def main(arguments: list[str]) -> None:
    package = metadata.metadata("django-memoized-prefetch")
    readme = Path(arguments[0]).read_text(encoding="utf-8") if arguments else str(package.get_payload())
    if django_memoized_prefetch.__version__ != package["Version"]:
        sys.exit(f"imported {django_memoized_prefetch.__version__}, but installed {package['Version']}")
    fill()
    expected, queries = counted(by_django)
    told_queries = [f"Django {queries}"]
    for way in (by_memoized, by_chunks, by_process_chunk):
        found, own_queries = counted(way)
        name = way.__name__[len("by_") :]
        if found != expected:
            sys.exit(f"{name} gives other books than Django")
        if own_queries >= queries:
            sys.exit(f"{name} took {own_queries} queries, Django {queries}")
        told_queries.append(f"{name} {own_queries}")
    printed, expected_lines = first_example(readme)
    if printed != expected_lines:
        sys.exit(f"the README's first example printed {printed[:3]}, expected {expected_lines[:3]}")
    print(
        f"smoke: {platform.python_implementation()} {platform.python_version()}, Django {django.__version__}, "
        f"{package['Name']} {package['Version']}, {platform.machine()} {'-'.join(platform.libc_ver())}: "
        f"{BOOKS} books as by Django in three ways, the README's example too; queries: {', '.join(told_queries)}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
