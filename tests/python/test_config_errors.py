"""What is wrong with a config is said: when it is made, or when it is known which model its attributes are of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import FieldError
from django.db import models
from django.test.utils import isolate_apps

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.archive.models import Named, WithInit
from tests.python.bookshop.models import Author, Book, Category, Publisher, Review
from tests.python.conftest import Bookshop
from tests.python.queries import no_queries
from tests.python.refusals import all_books, refused


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


@isolate_apps("tests.python.bookshop")
def test_a_config_for_another_model_of_that_name(bookshop: Bookshop) -> None:
    """As a migration's historical models have the names of the real ones."""

    class Author(models.Model):
        class Meta:
            app_label = "bookshop"

    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Author, ["author"]))
    expected = (
        r"leads to tests\.python\.bookshop\.models\.Author, "
        r"not tests\.python\.test_config_errors\.Author; in a migration"
    )
    with pytest.raises(ValueError, match=expected):
        prefetch.process_chunk(bookshop.books)
