"""MemoizedPrefetchConfig is the dataclass that it was."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest
from django.db.models import QuerySet

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.bookshop.models import Author, Book, Category
from tests.python.conftest import Bookshop
from tests.python.graph import assert_same_as_django
from tests.python.queries import no_queries, query_count


def test_fields_in_their_order_and_with_their_defaults() -> None:
    fields = {field.name: field.default for field in dataclasses.fields(MemoizedPrefetchConfig)}
    assert list(fields)[:9] == [
        "model",
        "attributes",
        "queryset",
        "prefetch_all",
        "lru_cache_size",
        "is_many_to_many",
        "through_model",
        "source_field",
        "target_field",
    ]
    assert fields["queryset"] is None
    assert fields["prefetch_all"] is False
    assert fields["lru_cache_size"] == 10_000
    assert fields["is_many_to_many"] is False
    assert fields["through_model"] is fields["source_field"] is fields["target_field"] is None


def test_positional_arguments() -> None:
    through = Book.categories.through
    queryset = Category.objects.all()
    config = MemoizedPrefetchConfig(
        Category, ["categories"], queryset, True, 5, True, through, "book_id", "category_id"
    )
    assert config.model is Category
    assert config.attributes == ["categories"]
    assert config.queryset is queryset
    assert config.prefetch_all is True
    assert config.lru_cache_size == 5
    assert config.is_many_to_many is True
    assert config.through_model is through
    assert (config.source_field, config.target_field) == ("book_id", "category_id")


def test_equality_and_repr() -> None:
    assert MemoizedPrefetchConfig(Author, ["author"]) == MemoizedPrefetchConfig(Author, ["author"])
    assert MemoizedPrefetchConfig(Author, ["author"]) != MemoizedPrefetchConfig(Author, ["translator"])
    assert MemoizedPrefetchConfig(Author, ["author"]) != MemoizedPrefetchConfig(Author, ["author"], lru_cache_size=5)
    assert repr(MemoizedPrefetchConfig(Author, ["author"])).startswith("MemoizedPrefetchConfig(model=")
    with no_queries():
        repr(MemoizedPrefetchConfig(Author, ["author"], queryset=Author.objects.all()))


def test_replace_and_its_validation() -> None:
    config = MemoizedPrefetchConfig(Author, ["author"])
    assert dataclasses.replace(config, lru_cache_size=5) == MemoizedPrefetchConfig(Author, ["author"], lru_cache_size=5)
    with pytest.raises(ValueError, match="lru_cache_size"):
        dataclasses.replace(config, lru_cache_size=0)


def test_copies() -> None:
    config = MemoizedPrefetchConfig(Author, ["author"], lru_cache_size=5)
    assert copy.copy(config) == config
    assert pickle.loads(pickle.dumps(config)) == config


def test_attributes_may_be_a_tuple(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Author, ("author", "translator")))
    assert_same_as_django(lambda: list(Book.objects.order_by("pk")), ["author", "translator"], prefetch)


def test_get_queryset_is_the_models_or_the_given_one() -> None:
    assert MemoizedPrefetchConfig(Author, ["author"]).get_queryset().model is Author
    queryset = Author.objects.filter(name="x")
    assert str(MemoizedPrefetchConfig(Author, ["author"], queryset).get_queryset().query) == str(queryset.query)


def test_dataclass_subclass(bookshop: Bookshop) -> None:
    @dataclasses.dataclass
    class ForEmail(MemoizedPrefetchConfig):
        domain: str = "example.com"

        def __post_init__(self) -> None:
            super().__post_init__()
            self.note = f"only {self.domain}"

        def get_queryset(self) -> QuerySet:
            return super().get_queryset().filter(email__endswith=self.domain)

    config = ForEmail(Author, ["author", "translator"], domain="example.com")
    assert config.note == "only example.com"
    assert_same_as_django(lambda: list(Book.objects.order_by("pk")), ["author", "translator"], MemoizedPrefetch(config))


def test_one_config_in_two_prefetches(bookshop: Bookshop) -> None:
    config = MemoizedPrefetchConfig(Author, ["author"])
    for _ in range(2):
        with query_count(1 + 1):
            MemoizedPrefetch(config).process_chunk(Book.objects.all())


def test_configs_and_lookups_mixed(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Author, ["author"], lru_cache_size=2), "translator", "publisher", lru_cache_size=50
    )
    assert_same_as_django(lambda: list(Book.objects.order_by("pk")), ["author", "translator", "publisher"], prefetch)
    # The config and the lookup share the authors' memo; of several sizes the largest holds.
    assert prefetch.stats().relations["author"].bound == prefetch.stats().relations["translator"].bound == 50


def test_copies_of_a_prefetch_keep_what_is_configured_but_not_what_is_remembered(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Author, ["author"], lru_cache_size=3), "categories")
    prefetch.process_chunk(list(Book.objects.all()))
    for again in (copy.copy(prefetch), copy.deepcopy(prefetch), pickle.loads(pickle.dumps(prefetch))):
        assert len(again.memoized_objects[Author]) == 0
        assert again.memoized_objects[Author].get_size() == 3
        assert_same_as_django(lambda: list(Book.objects.order_by("pk")), ["author", "categories"], again)
