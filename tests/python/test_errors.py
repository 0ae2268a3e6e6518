"""What is wrong is said: what was expected, what came, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.exceptions import FieldError
from django.db import models
from django.db.models import prefetch_related_objects
from django.test.utils import isolate_apps

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig, Partition, memoized, partitions
from tests.python.archive.models import Named, WithInit
from tests.python.bookshop.models import Author, Book, Category, Publisher, Review
from tests.python.catalogue.models import Volume
from tests.python.conftest import Bookshop
from tests.python.graph import assert_same_as_django
from tests.python.queries import no_queries

LOOKUPS = ["author", "translator", "publisher", "categories"]


def all_books() -> list[Book]:
    return list(Book.objects.order_by("pk"))


def remembered(prefetch: MemoizedPrefetch) -> dict[str, Any]:
    """What can be read of the memory from outside."""
    return {
        "rows": {model.__name__: sorted(map(str, view)) for model, view in prefetch.memoized_objects.items()},
        "links": {name: sorted(map(str, view)) for name, view in prefetch.through_model_source_target_cache.items()},
        "sizes": {path: (one.size, one.bound) for path, one in prefetch.stats().relations.items()},
    }


def warmed(*lookups: Any) -> MemoizedPrefetch:
    """With a first chunk behind it, so that there is something to lose."""
    prefetch = MemoizedPrefetch(*(lookups or LOOKUPS))
    prefetch.process_chunk(all_books()[:3])
    return prefetch


@contextmanager
def refused(prefetch: MemoizedPrefetch, error: Any, *parts: str) -> Iterator[None]:
    """The block raises with all parts in the message, and the memory is as before."""
    before = remembered(prefetch)
    with pytest.raises(error) as raised:
        yield
    for part in parts:
        assert part in str(raised.value), f"{part!r} is not in {str(raised.value)!r}"
    assert remembered(prefetch) == before


# --- names


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


# --- configs


def test_a_string_instead_of_a_list_of_attributes() -> None:
    with pytest.raises(TypeError, match=r"list of names, got the string 'author'; write \['author'\]"):
        MemoizedPrefetchConfig(Author, "author")


@pytest.mark.parametrize("attributes", [None, 7, [7], [None], ["author", 3]])
def test_attributes_that_are_no_names(attributes: Any) -> None:
    with pytest.raises(TypeError, match="attributes must be a list of names"):
        MemoizedPrefetchConfig(Author, attributes)


@pytest.mark.parametrize("model", [None, "bookshop.Author", int, Author(name="x")])
def test_model_that_is_no_model(model: Any) -> None:
    with pytest.raises(TypeError, match="model"):
        MemoizedPrefetchConfig(model, ["author"])


@pytest.mark.parametrize(("model", "queryset"), [(models.Model, Author.objects), (Named, WithInit.objects)])
def test_model_without_a_table(model: Any, queryset: Any) -> None:
    with pytest.raises(TypeError, match=f"model must have a table, got {model.__name__}"):
        MemoizedPrefetchConfig(model, ["author"])
    # If there is a queryset, it says where the rows are.
    MemoizedPrefetchConfig(model, ["author"], queryset.all())


@pytest.mark.parametrize("value", ["yes", "no", "", [1], 2])
@pytest.mark.parametrize("name", ["prefetch_all", "is_many_to_many"])
def test_flag_that_is_neither_true_nor_false(name: str, value: Any) -> None:
    where = r"MemoizedPrefetchConfig\(Author, \['author'\]\)"
    with no_queries(), pytest.raises(TypeError, match=f"{where}: {name} must be True or False, got "):
        MemoizedPrefetchConfig(Author, ["author"], **{name: value})


@pytest.mark.parametrize("value", [None, 0, False])
def test_flag_that_is_false(value: Any) -> None:
    MemoizedPrefetchConfig(Author, ["author"], prefetch_all=value, is_many_to_many=value)


@pytest.mark.parametrize("size", [0, -1, -10_000])
@pytest.mark.parametrize(
    "make",
    [
        lambda size: MemoizedPrefetchConfig(Author, ["author"], lru_cache_size=size),
        lambda size: MemoizedPrefetch("author", lru_cache_size=size),
    ],
)
def test_size_that_is_too_small(make: Callable[[Any], Any], size: int) -> None:
    with pytest.raises(ValueError, match=f"lru_cache_size.*{size}"):
        make(size)


@pytest.mark.parametrize("size", ["10", 1.5, 10.0, [1]])
@pytest.mark.parametrize(
    "make",
    [
        lambda size: MemoizedPrefetchConfig(Author, ["author"], lru_cache_size=size),
        lambda size: MemoizedPrefetch("author", lru_cache_size=size),
    ],
)
def test_size_that_is_no_int(make: Callable[[Any], Any], size: Any) -> None:
    with pytest.raises(TypeError, match="lru_cache_size"):
        make(size)


@pytest.mark.parametrize(
    ("config", "attribute", "leads_to"),
    [
        (lambda: MemoizedPrefetchConfig(Publisher, ["author"]), "Book.author", "Author"),
        (lambda: MemoizedPrefetchConfig(Author, ["author", "publisher"]), "Book.publisher", "Publisher"),
        (lambda: MemoizedPrefetchConfig(Author, ["categories"]), "Book.categories", "Category"),
    ],
)
def test_model_that_does_not_match_the_attribute(
    bookshop: Bookshop, config: Callable[[], MemoizedPrefetchConfig], attribute: str, leads_to: str
) -> None:
    with pytest.raises(ValueError, match=f"{attribute} leads to {leads_to}, not {config().model.__name__}"):
        MemoizedPrefetch(config(), model=Book)
    prefetch = MemoizedPrefetch(config())
    with refused(prefetch, ValueError, attribute, leads_to):
        prefetch.process_chunk(all_books())


def test_model_that_does_not_match_at_the_end_of_a_path(bookshop: Bookshop) -> None:
    with pytest.raises(ValueError, match=r"Book\.author leads to Author, not Publisher"):
        MemoizedPrefetch(MemoizedPrefetchConfig(Publisher, ["book.author"]), model=Review)


def test_queryset_of_another_model() -> None:
    with no_queries(), pytest.raises((TypeError, ValueError), match=r"Author.*Publisher"):
        MemoizedPrefetchConfig(Author, ["author"], queryset=Publisher.objects.all())


@pytest.mark.parametrize(
    "queryset",
    [
        lambda: Author.objects.values("name"),
        lambda: Author.objects.values_list("name", flat=True),
        lambda: Author.objects.values_list("name", named=True),
    ],
)
def test_queryset_of_no_instances(queryset: Callable[[], Any]) -> None:
    with no_queries(), pytest.raises((TypeError, ValueError), match=r"values\(\)"):
        MemoizedPrefetchConfig(Author, ["author"], queryset=queryset())


@pytest.mark.parametrize("queryset", [[], "all", Author, Author.objects])
def test_queryset_that_is_none(queryset: Any) -> None:
    with pytest.raises(TypeError, match="queryset must be a QuerySet"):
        MemoizedPrefetchConfig(Author, ["author"], queryset=queryset)


def test_sliced_queryset() -> None:
    with no_queries(), pytest.raises((TypeError, ValueError), match=r"slice.*prefetch_all"):
        MemoizedPrefetchConfig(Author, ["author"], queryset=Author.objects.all()[:5])
    with no_queries():
        MemoizedPrefetchConfig(Author, ["author"], queryset=Author.objects.all()[:5], prefetch_all=True)


def test_models_have_to_be_unique() -> None:
    with pytest.raises(ValueError, match=r"Models have to be unique\."):
        MemoizedPrefetch(MemoizedPrefetchConfig(Author, ["author"]), MemoizedPrefetchConfig(Author, ["translator"]))
    queryset = Author.objects.all()
    with pytest.raises(ValueError, match=r"Models have to be unique\."):
        MemoizedPrefetch(
            MemoizedPrefetchConfig(Author, ["author"], queryset),
            MemoizedPrefetchConfig(Author, ["translator"], queryset),
        )


@pytest.mark.parametrize("missing", ["through_model", "source_field", "target_field"])
def test_many_to_many_needs_all_three_arguments(missing: str) -> None:
    arguments: dict[str, Any] = {
        "through_model": Book.categories.through,
        "source_field": "book_id",
        "target_field": "category_id",
    }
    del arguments[missing]
    with pytest.raises(ValueError, match=r"^For many-to-many relationships, .* must be provided: ") as raised:
        MemoizedPrefetchConfig(Category, ["categories"], is_many_to_many=True, **arguments)
    assert f": MemoizedPrefetchConfig(Category, ['categories']) lacks {missing}. " in str(raised.value)


def test_many_to_many_alone() -> None:
    message = r"lacks through_model, source_field, target_field\. .*leave out is_many_to_many"
    with pytest.raises(ValueError, match=message):
        MemoizedPrefetchConfig(Category, ["categories"], is_many_to_many=True)


@pytest.mark.parametrize("changed", [{"source_field": "boook_id"}, {"target_field": "nonsense"}])
def test_many_to_many_with_fields_that_the_through_model_does_not_have(
    bookshop: Bookshop, changed: dict[str, str]
) -> None:
    arguments: dict[str, Any] = {
        "is_many_to_many": True,
        "through_model": Book.categories.through,
        "source_field": "book_id",
        "target_field": "category_id",
        **changed,
    }
    with pytest.raises((AttributeError, FieldError, ValueError)) as raised:
        MemoizedPrefetch(MemoizedPrefetchConfig(Category, ["categories"], **arguments), model=Book)
    assert next(iter(changed.values())) in str(raised.value)


@pytest.mark.parametrize("scope", [1, "tenant"])
def test_scope_that_is_not_callable(scope: Any) -> None:
    with pytest.raises(TypeError, match="scope"):
        MemoizedPrefetch("author", scope=scope)


@pytest.mark.parametrize("model", ["bookshop.Book", 1, Book(title="x")])
def test_chunk_model_that_is_no_model(model: Any) -> None:
    with pytest.raises(TypeError, match="model"):
        MemoizedPrefetch("author", model=model)


# --- chunks


@pytest.mark.parametrize("bad", [None, 5, "book", {"id": 1}, object(), Book])
@pytest.mark.parametrize("index", [0, 2, 5])
def test_objects_that_are_no_model_instances(bookshop: Bookshop, bad: Any, index: int) -> None:
    prefetch = warmed()
    books: list[Any] = all_books()[:5]
    books.insert(index, bad)
    with no_queries(), refused(prefetch, TypeError, f"index {index}", "instance", type(bad).__name__):
        prefetch.process_chunk(books)
    del books[index]
    prefetch.process_chunk(books)
    assert_same_as_django(all_books, LOOKUPS, prefetch)


@pytest.mark.parametrize(
    "rows", [lambda: Book.objects.values(), lambda: Book.objects.values_list("pk"), lambda: list(Book.objects.values())]
)
def test_rows_of_values(bookshop: Bookshop, rows: Callable[[], Any]) -> None:
    prefetch = warmed()
    with refused(prefetch, TypeError, "index 0", "values"):
        prefetch.process_chunk(rows())
    assert_same_as_django(all_books, LOOKUPS, prefetch)


@pytest.mark.parametrize("bad", [None, 5, Book])
def test_chunk_that_is_no_iterable(bookshop: Bookshop, bad: Any) -> None:
    prefetch = warmed()
    with refused(prefetch, TypeError, "process_chunk"):
        prefetch.process_chunk(bad)


def test_one_object_instead_of_a_list(bookshop: Bookshop) -> None:
    prefetch = warmed()
    with refused(prefetch, TypeError, "process_chunk"):
        prefetch.process_chunk(bookshop.books[0])


@pytest.mark.parametrize("place", [0, 1, -1])
def test_unsaved_object_under_a_many_to_many(bookshop: Bookshop, place: int) -> None:
    with pytest.raises(ValueError, match=r"id|saved") as theirs:
        prefetch_related_objects([Book(title="unsaved")], "categories")
    prefetch = warmed("categories")
    books = all_books()
    unsaved = Book(title="unsaved", author=bookshop.authors[0], publisher=bookshop.publishers[0])
    books.insert(place % (len(books) + 1), unsaved)
    with refused(prefetch, theirs.type, "Book"):
        prefetch.process_chunk(books)
    unsaved.save()
    prefetch.process_chunk(books)
    with no_queries():
        assert not unsaved.categories.all()
        assert sum(book.categories.count() for book in books)


def test_unsaved_object_under_a_nested_many_to_many(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("book__categories")
    review = Review(book=Book(title="unsaved"))
    with pytest.raises(ValueError, match="Book"):
        prefetch.process_chunk([review])
    assert_same_as_django(lambda: list(Review.objects.order_by("pk")), "book__categories", prefetch)


def test_class_without_the_attribute_in_a_mixed_chunk(bookshop: Bookshop) -> None:
    prefetch = warmed()
    chunk: list[Any] = [*all_books(), Volume.objects.create(title="no author")]
    with refused(prefetch, AttributeError, "'author'", "Volume"):
        prefetch.process_chunk(chunk)
    assert_same_as_django(all_books, LOOKUPS, prefetch)


def test_key_that_cannot_be_hashed(bookshop: Bookshop) -> None:
    prefetch = warmed()
    with refused(prefetch, TypeError, "unhashable"):
        prefetch.process_chunk([*all_books(), Book(pk=99, author_id=[1])])
    assert_same_as_django(all_books, LOOKUPS, prefetch)


def test_key_that_the_database_refuses() -> None:
    def chunk(*extra: Any) -> list[Volume]:
        return [Volume(pk=1, shelf_id=1), *extra]

    bad = Volume(pk=2, shelf_id="not a number")
    with pytest.raises(Exception, match="number") as theirs:
        prefetch_related_objects(chunk(bad), "shelf")
    prefetch = MemoizedPrefetch("shelf")
    with pytest.raises(theirs.type):
        prefetch.process_chunk(chunk(bad))
    assert_same_as_django(chunk, "shelf", prefetch)


@isolate_apps("tests.python.bookshop")
def test_a_config_for_another_model_of_that_name(bookshop: Bookshop) -> None:
    """As a migration's historical models have the names of the real ones."""

    class Author(models.Model):
        class Meta:
            app_label = "bookshop"

    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Author, ["author"]))
    expected = (
        r"leads to tests\.python\.bookshop\.models\.Author, not tests\.python\.test_errors\.Author; in a migration"
    )
    with pytest.raises(ValueError, match=expected):
        prefetch.process_chunk(bookshop.books)
