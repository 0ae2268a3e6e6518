"""What is wrong with lookups and other arguments is said: what was expected, what came, and where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import Prefetch, prefetch_related_objects

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig, Partition, memoized, partitions
from tests.python.bookshop.models import Author, Book, Review
from tests.python.conftest import Bookshop
from tests.python.queries import no_queries
from tests.python.refusals import all_books, refused
from tests.python.theatre import models as theatre
from tests.python.theatre.models import Work


@pytest.mark.parametrize(
    "make",
    [
        lambda: MemoizedPrefetch("autor"),
        lambda: MemoizedPrefetch(MemoizedPrefetchConfig(Author, ["autor"])),
    ],
)
def test_misspelt_attribute_at_the_first_chunk(bookshop: Bookshop, make: Callable[[], MemoizedPrefetch]) -> None:
    with pytest.raises(AttributeError) as theirs:
        prefetch_related_objects(all_books(), "autor")
    prefetch = make()
    parts = ("'autor'", "Book", "autor_id", "did you mean 'author'?", "author, categories, publisher, ", "translator")
    with refused(prefetch, theirs.type, *parts):
        prefetch.process_chunk(all_books())


@pytest.mark.parametrize(
    "argument",
    ["autor", MemoizedPrefetchConfig(Author, ["autor"]), MemoizedPrefetchConfig(Author, ["author", "autor"])],
)
def test_misspelt_attribute_at_construction_when_the_model_is_known(argument: Any) -> None:
    with no_queries(), pytest.raises(AttributeError, match=r"'autor'.*Book.*autor_id.*did you mean 'author'"):
        MemoizedPrefetch(argument, model=Book)


@pytest.mark.parametrize("path", ["book__autor", "book.autor"])
def test_misspelt_attribute_in_a_nested_path(bookshop: Bookshop, path: str) -> None:
    with pytest.raises(AttributeError, match=r"'autor'.*Book.*did you mean 'author'"):
        MemoizedPrefetch(path, model=Review)
    with pytest.raises(AttributeError, match=r"'autor'.*Book.*did you mean 'author'"):
        MemoizedPrefetch(path).process_chunk(list(Review.objects.all()))
    with pytest.raises(AttributeError, match=r"'boook'.*Review.*did you mean 'book'"):
        MemoizedPrefetch("boook__author", model=Review)


def test_a_relation_of_a_subclass_is_judged_only_where_no_row_can_be_of_that_class() -> None:
    MemoizedPrefetch("librettist", model=Work)  # a chunk may hold operas
    MemoizedPrefetch(Prefetch("work", Work.objects.distinct()), "work__librettist", model=theatre.Review)
    for lookup, model in (("work__librettist", theatre.Review), ("libretist", Work)):
        with pytest.raises(AttributeError, match=r"'libr.*' is not a relation of Work"):
            MemoizedPrefetch(lookup, model=model)


def test_what_is_no_queryset_is_named() -> None:
    for queryset in ([1], Author.objects, Author):
        with pytest.raises(TypeError, match=r"Prefetch\('author'\): expected a queryset, got ") as raised:
            MemoizedPrefetch(Prefetch("author", queryset=queryset))
        assert str(raised.value).endswith(f"{queryset!r}.")


def test_nothing_alike_has_no_suggestion(bookshop: Bookshop) -> None:
    with pytest.raises(AttributeError) as raised:
        MemoizedPrefetch("zzz", model=Book)
    assert "did you mean" not in str(raised.value)
    assert "author" in str(raised.value)


@pytest.mark.parametrize("name", ["title", "pk", "save", "objects", "isbn"])
def test_attribute_that_is_no_relation(bookshop: Bookshop, name: str) -> None:
    with pytest.raises((AttributeError, ValueError)) as raised:
        MemoizedPrefetch(name, model=Book)
    assert f"'{name}'" in str(raised.value)
    assert "author" in str(raised.value)


def test_a_path_below_something_without_relations(bookshop: Bookshop) -> None:
    with pytest.raises(ValueError, match=r"'author__name'.*Author\.name"):
        MemoizedPrefetch("author__name", model=Book)


@pytest.mark.parametrize("path", ["", ".", "__", "author__", "__author", "author..books", "auth or"])
def test_malformed_path(path: str) -> None:
    with pytest.raises(ValueError, match=r"path|name"):
        MemoizedPrefetch(path)
    with pytest.raises(ValueError, match=r"path|name"):
        MemoizedPrefetch(MemoizedPrefetchConfig(Author, [path]))


@pytest.mark.parametrize("argument", [None, 1, Author, b"author", ["author"], Author(name="x")])
def test_argument_that_is_neither_config_nor_name(argument: Any) -> None:
    with pytest.raises(TypeError, match="MemoizedPrefetchConfig"):
        MemoizedPrefetch(argument)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (["author", "publisher"], "got a list; write MemoizedPrefetch('author', 'publisher')."),
        (("author",), "got a tuple; write MemoizedPrefetch('author')."),
        (["author", MemoizedPrefetchConfig(Author, ["author"])], "got a list; write MemoizedPrefetch(*lookups)."),
        ({"author": 1}, "got a dict."),
        ([], "got a list."),
        (Author, "got the class Author."),
        (Author(name="x"), "got an Author."),
        (Book.objects.all(), "got a QuerySet of Book; pass it to chunks()."),
        (Book.objects, "got a Manager of Book; pass it to chunks()."),
        (5, "got 5."),
    ],
)
def test_what_came_in_place_of_lookups(bookshop: Bookshop, argument: Any, message: str) -> None:
    expected = "MemoizedPrefetch: expected lookup strings, Prefetch objects and MemoizedPrefetchConfig objects, "
    with no_queries(), pytest.raises(TypeError) as raised:
        MemoizedPrefetch("publisher", argument)
    assert str(raised.value) == expected + message


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rows: memoized(list(rows)), "memoized: expected a queryset or a manager, got a list."),
        (lambda rows: memoized(rows, rows), "memoized: prefetch must be a MemoizedPrefetch, got a QuerySet of Book; "),
        (lambda rows: partitions(list(rows), 2), "partitions: expected a queryset or a manager, got a list."),
        (lambda rows: MemoizedPrefetch("author").plan(rows[0]), "iterable of model instances, got a Book."),
        (lambda rows: MemoizedPrefetch("author").plan(list(rows.values())), "expected model instances, got a dict"),
        (lambda rows: MemoizedPrefetch("author").chunks(rows[0]), "iterable of model instances, got a Book."),
        (lambda rows: MemoizedPrefetchConfig(rows[0], ["author"]), "model must be a model class, got a Book."),
        (
            lambda rows: MemoizedPrefetchConfig(Book, rows),
            "attributes must be a list of names, got a QuerySet of Book.",
        ),
        (lambda rows: MemoizedPrefetchConfig(Book, ["a", rows]), "must be a list of names, got a list with a QuerySet"),
        (lambda rows: MemoizedPrefetchConfig(Book, ["a"], list(rows)), "queryset must be a QuerySet, got a list."),
        (lambda rows: MemoizedPrefetch("author", model=rows[0]), "model must be a model class, got a Book."),
        (lambda rows: MemoizedPrefetch("author", scope=rows), "without arguments, got a QuerySet of Book."),
        (lambda rows: MemoizedPrefetch.for_run("a", lambda: rows), "must return a MemoizedPrefetch, got a QuerySet of"),
        (lambda rows: MemoizedPrefetch("author").invalidate(rows[0]), "model must be a model class, got a Book."),
        (lambda rows: MemoizedPrefetch("author").chunks(rows, progress=list(rows)), "a callable or None, got a list."),
        (lambda rows: Partition.from_dict(list(rows)), "expected what as_dict() returned, got a list."),
    ],
)
def test_no_rows_are_printed(bookshop: Bookshop, call: Any, message: str) -> None:
    rows = Book.objects.all()
    with pytest.raises(TypeError) as raised:
        call(rows)
    assert message in str(raised.value)
    assert "Book object (" not in str(raised.value)
    assert not {book.title for book in bookshop.books if book.title in str(raised.value)}


@pytest.mark.parametrize("scope", [1, "tenant"])
def test_scope_that_is_not_callable(scope: Any) -> None:
    with pytest.raises(TypeError, match="scope"):
        MemoizedPrefetch("author", scope=scope)


@pytest.mark.parametrize("model", ["bookshop.Book", 1, Book(title="x")])
def test_chunk_model_that_is_no_model(model: Any) -> None:
    with pytest.raises(TypeError, match="model"):
        MemoizedPrefetch("author", model=model)
