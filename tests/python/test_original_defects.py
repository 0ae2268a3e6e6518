"""What version 0.1.2 did wrong, each in the words of its behaviour. All of it fails there."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError, connections
from django.db.models import Prefetch, Value

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.archive.models import Label as MuseumLabel
from tests.python.archive.models import Labelling as MuseumLabelling
from tests.python.bookshop.models import Author, Book, Category, Publisher, Review
from tests.python.catalogue.models import (
    CountingText,
    Country,
    Label,
    Labelling,
    Person,
    Series,
    Shelf,
    Signature,
    Signed,
    Tag,
    Volume,
)
from tests.python.conftest import Bookshop, fill_bookshop
from tests.python.graph import assert_same_as_django
from tests.python.queries import django_prefetch, no_queries, query_count


def all_books() -> list[Book]:
    return list(Book.objects.order_by("pk"))


def all_volumes() -> list[Volume]:
    return list(Volume.objects.order_by("pk"))


def categories_config(**kwargs: Any) -> MemoizedPrefetchConfig:
    return MemoizedPrefetchConfig(
        model=Category,
        attributes=["categories"],
        is_many_to_many=True,
        through_model=Book.categories.through,
        source_field="book_id",
        target_field="category_id",
        **kwargs,
    )


def through_config(model: Any, attribute: str, through: Any, source: str, target: str) -> MemoizedPrefetchConfig:
    return MemoizedPrefetchConfig(model, [attribute], None, False, 10_000, True, through, source, target)


def process(prefetch: MemoizedPrefetch, chunk: Any) -> Any:
    """The original returned nothing."""
    returned = prefetch.process_chunk(chunk)
    return chunk if returned is None else returned


def test_many_to_many_lists_are_complete_when_the_memo_is_smaller_than_the_chunk(bookshop: Bookshop) -> None:
    """Lists came out truncated or empty, without an error."""
    prefetch = MemoizedPrefetch(categories_config(lru_cache_size=4))
    for _ in range(2):
        books = process(prefetch, all_books())
        theirs = all_books()
        django_prefetch(theirs, ["categories"])
        for our, their in zip(books, theirs):
            assert sorted(c.pk for c in our.categories.all()) == sorted(c.pk for c in their.categories.all())
    assert_same_as_django(all_books, "categories", prefetch)


@pytest.mark.parametrize("method", ["count", "first", "exists", "index", "filter", "order_by", "values_list"])
def test_many_to_many_is_a_queryset(bookshop: Bookshop, method: str) -> None:
    """It was a set, without any of a queryset's methods."""
    reads = {
        "count": lambda qs: qs.count(),
        "first": lambda qs: qs.first(),
        "exists": lambda qs: qs.exists(),
        "index": lambda qs: qs[0] in list(qs),
        "filter": lambda qs: sorted(c.pk for c in qs.filter(pk__gt=0)),
        "order_by": lambda qs: list(qs.order_by("-pk")),
        "values_list": lambda qs: sorted(qs.values_list("pk", flat=True)),
    }
    ours, theirs = all_books(), all_books()
    MemoizedPrefetch(categories_config()).process_chunk(ours)
    django_prefetch(theirs, ["categories"])
    assert reads[method](ours[4].categories.all()) == reads[method](theirs[4].categories.all())
    assert_same_as_django(all_books, "categories", MemoizedPrefetch(categories_config()))


def test_manager_method_on_a_prefetched_many_to_many(bookshop: Bookshop) -> None:
    """`book.categories.count()` raised AttributeError."""
    ours = all_books()
    MemoizedPrefetch(categories_config()).process_chunk(ours)
    with no_queries():
        assert ours[4].categories.count() == 4


def test_many_to_many_is_in_the_related_models_order() -> None:
    """Meta.ordering got lost."""
    volume = Volume.objects.create(title="v")
    for i in range(20):
        Labelling.objects.create(volume=volume, label=Label.objects.create(text=f"label {(i * 7) % 20:02}"))
    prefetch = MemoizedPrefetch(through_config(Label, "labels", Labelling, "volume_id", "label_id"))
    for _ in range(2):
        [volume] = process(prefetch, all_volumes())
        texts = [label.text for label in volume.labels.all()]
        assert texts == sorted(texts)
        assert len(texts) == 20
    assert_same_as_django(all_volumes, "labels", prefetch)


def test_many_to_many_over_an_existing_prefetch(bookshop: Bookshop) -> None:
    """`'QuerySet' object has no attribute 'add'`."""

    def chunk() -> list[Book]:
        books = all_books()
        django_prefetch(books[:6], ["categories"])
        return books

    ours = chunk()
    Book.categories.through.objects.create(book=bookshop.books[4], category=bookshop.categories[4])
    MemoizedPrefetch(categories_config()).process_chunk(ours)
    with no_queries():
        assert ours[4].categories.count() == 4, "left alone, as Django leaves it"
    assert_same_as_django(chunk, "categories", MemoizedPrefetch(categories_config()))


def test_sources_without_links_are_not_asked_for_again() -> None:
    """Every chunk queried for them."""
    books = [Book(pk=pk) for pk in range(1, 4)]
    prefetch = MemoizedPrefetch(categories_config())
    for queries in (1, 0, 0):
        with query_count(queries):
            prefetch.process_chunk(books)
        books = [Book(pk=pk) for pk in range(1, 4)]
    assert_same_as_django(lambda: [Book(pk=pk) for pk in range(1, 4)], "categories", prefetch)


def test_only_the_chunks_own_targets_are_asked_for(bookshop: Bookshop) -> None:
    """The targets of every remembered source were, and so evicted ones that nobody needs."""
    first, second = bookshop.books[2], bookshop.books[4]
    first.categories.set(bookshop.categories[:2])
    second.categories.set(bookshop.categories[2:4])
    prefetch = MemoizedPrefetch(categories_config(lru_cache_size=2))
    prefetch.process_chunk([Book(pk=first.pk)])
    prefetch.process_chunk([Book(pk=second.pk)])
    again = [Book(pk=second.pk)]
    with no_queries():
        prefetch.process_chunk(again)
    assert_same_as_django(lambda: [Book.objects.get(pk=second.pk)], "categories", prefetch)


def test_more_many_to_many_sources_than_the_database_has_parameters() -> None:
    """`too many SQL variables`."""
    count = 260_000 if connections["default"].vendor == "sqlite" else 70_000
    category = Category.objects.create(name="only")
    shop = fill_bookshop("other", books=1)
    shop.books[0].categories.set([])
    Category.objects.using("other").create(pk=category.pk + 100, name="there")
    Book.categories.through.objects.using("other").create(book=shop.books[0], category_id=category.pk + 100)
    names, first = [field.attname for field in Book._meta.concrete_fields], shop.books[0].pk
    books = [Book.from_db("other", names, [first + i, *[None] * (len(names) - 1)]) for i in range(count)]
    MemoizedPrefetch(categories_config()).process_chunk(books)
    with no_queries():
        assert [c.pk for c in books[0].categories.all()] == [category.pk + 100]
        assert not books[-1].categories.all()


def test_foreign_key_to_a_row_that_is_gone_is_none() -> None:
    """KeyError, and the chunk was lost."""
    Shelf.objects.create(number=1, room="here")
    Volume.objects.create(title="a", shelf_id=1)
    Volume.objects.create(title="b", shelf_id=2)
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Shelf, ["shelf"]))
    for _ in range(2):
        assert_same_as_django(all_volumes, "shelf", prefetch)


def test_row_outside_the_configs_queryset_is_none(bookshop: Bookshop) -> None:
    """A bare `KeyError: 1`."""
    queryset = Author.objects.exclude(name__startswith="author 2")
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Author, ["translator"], queryset=queryset))
    for _ in range(2):
        for book in process(prefetch, all_books()):
            with no_queries():
                assert book.translator is None or not book.translator.name.startswith("author 2")
    assert_same_as_django(
        all_books, [Prefetch("translator", Author.objects.exclude(name__startswith="author 2"))], prefetch
    )


def test_foreign_key_by_to_field() -> None:
    """ValueError or KeyError: it asked for primary keys."""
    Series.objects.create(code="S1", number=1, name="one")
    Volume.objects.create(title="v", series_id="S1")
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Series, ["series"]))
    for _ in range(2):
        assert_same_as_django(all_volumes, "series", prefetch)


def test_foreign_key_by_to_field_is_not_mistaken_for_a_primary_key() -> None:
    """Where the values overlap with primary keys, it attached the wrong row."""
    first = Series.objects.create(code="a", number=-1, name="first")
    second = Series.objects.create(code="b", number=first.pk, name="second")
    Volume.objects.create(title="v", numbered_series_id=first.pk)
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Series, ["numbered_series"]))
    [volume] = process(prefetch, all_volumes())
    assert volume.numbered_series.pk == second.pk
    assert_same_as_django(all_volumes, "numbered_series", prefetch)


def test_chunk_whose_primary_key_is_not_called_id() -> None:
    """AttributeError: it read `obj.id`."""
    volume = Volume.objects.create(title="v")
    country = Country.objects.create(code="se", name="Sweden")
    volume.countries.add(country)
    prefetch = MemoizedPrefetch(
        through_config(Volume, "sold_volumes", Volume.countries.through, "country_id", "volume_id")
    )
    for _ in range(2):
        assert_same_as_django(lambda: list(Country.objects.all()), "sold_volumes", prefetch)


def test_prefetch_all_of_a_model_whose_primary_key_is_not_called_id() -> None:
    """AttributeError at construction."""
    Country.objects.create(code="se", name="Sweden")
    Volume.objects.create(title="v", country_id="se")
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Country, ["country"], prefetch_all=True))
    assert_same_as_django(all_volumes, "country", prefetch)


@pytest.mark.parametrize("attribute", ["shelf", "country"])
def test_keys_that_are_false_are_keys(attribute: str) -> None:
    """0 and "" were skipped."""
    Shelf.objects.create(number=0, room="cellar")
    Country.objects.create(code="", name="nowhere")
    Volume.objects.create(title="v", shelf_id=0, country_id="")
    model = {"shelf": Shelf, "country": Country}[attribute]
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(model, [attribute]))
    for _ in range(2):
        [volume] = process(prefetch, all_volumes())
        with no_queries():
            assert getattr(volume, attribute).pk in (0, "")
    assert_same_as_django(all_volumes, attribute, prefetch)


def test_generator_is_not_lost(bookshop: Bookshop) -> None:
    """It was consumed, and nothing assigned, without an error."""
    books = all_books()
    MemoizedPrefetch(MemoizedPrefetchConfig(Author, ["author"])).process_chunk(book for book in books)
    with no_queries():
        assert [book.author.pk for book in books] == [book.author_id for book in bookshop.books]
    assert_same_as_django(
        lambda: iter(all_books()), "author", MemoizedPrefetch(MemoizedPrefetchConfig(Author, ["author"]))
    )


def test_string_of_attributes_is_refused() -> None:
    """`attributes="author"` read the attributes a, u, t, h, o and r."""
    with pytest.raises(TypeError, match=r"\['author'\]"):
        MemoizedPrefetchConfig(Author, "author")


def test_misspelt_attribute_is_named_with_what_there_is(bookshop: Bookshop) -> None:
    """`'Book' object has no attribute 'autor_id'`, and not before the first chunk."""
    with pytest.raises(AttributeError, match="did you mean 'author'"):
        MemoizedPrefetch(MemoizedPrefetchConfig(Author, ["autor"])).process_chunk(all_books())
    with pytest.raises(AttributeError, match="did you mean 'author'"):
        MemoizedPrefetch(MemoizedPrefetchConfig(Author, ["autor"]), model=Book)


def test_foreign_key_and_many_to_many_to_one_model() -> None:
    """One config per model: ValueError."""
    people = [Person.objects.create(name=f"person {i}") for i in range(3)]
    people[0].substitutes.add(*people)
    Person.objects.filter(pk=people[0].pk).update(mentor=people[1])
    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Person, ["mentor"]),
        through_config(Person, "substitutes", Person.substitutes.through, "from_person_id", "to_person_id"),
    )
    for _ in range(2):
        assert_same_as_django(lambda: list(Person.objects.order_by("pk")), ["mentor", "substitutes"], prefetch)


def test_two_querysets_of_one_model(bookshop: Bookshop) -> None:
    """One config per model: ValueError."""

    def querysets() -> dict[str, Any]:
        return {name: Author.objects.annotate(mark=Value(name)) for name in ("author", "translator")}

    prefetch = MemoizedPrefetch(*(MemoizedPrefetchConfig(Author, [name], qs) for name, qs in querysets().items()))
    for _ in range(2):
        assert_same_as_django(all_books, [Prefetch(name, qs) for name, qs in querysets().items()], prefetch)


def test_chunk_of_another_database() -> None:
    """ValueError: rows were always read from the default one."""
    fill_bookshop("other")
    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Author, ["author", "translator"]), MemoizedPrefetchConfig(Publisher, ["publisher"])
    )
    for _ in range(2):
        assert_same_as_django(
            lambda: list(Book.objects.using("other").order_by("pk")), ["author", "translator", "publisher"], prefetch
        )


def test_equal_keys_in_two_databases() -> None:
    """One memo for both gave rows of the wrong database."""
    for alias in ("default", "other"):
        Tag.objects.using(alias).create(pk=1, word=f"of {alias}")
        Volume.objects.using(alias).create(pk=1, title="v").tags.add(Tag.objects.using(alias).get())
    prefetch = MemoizedPrefetch(through_config(Tag, "tags", Volume.tags.through, "volume_id", "tag_id"))
    for alias in ("default", "other", "default"):
        [volume] = process(prefetch, [Volume.objects.using(alias).get()])
        assert [tag.word for tag in volume.tags.all()] == [f"of {alias}"]
    for alias in ("other", "default"):
        assert_same_as_django(lambda alias=alias: [Volume.objects.using(alias).get()], "tags", prefetch)


def test_intermediates_of_a_nested_path_are_fetched_together(bookshop: Bookshop) -> None:
    """One query for each object."""
    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Publisher, ["book.publisher"]), MemoizedPrefetchConfig(Author, ["book__author"])
    )
    reviews = list(Review.objects.order_by("pk"))
    with query_count(3):
        prefetch.process_chunk(reviews)
    assert_same_as_django(lambda: list(Review.objects.order_by("pk")), ["book__publisher", "book__author"], prefetch)


def test_size_is_as_configured_after_an_exception(bookshop: Bookshop) -> None:
    """The memo stayed enlarged: 6 rows, 5 configured."""
    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Author, ["author"], lru_cache_size=2), MemoizedPrefetchConfig(Publisher, ["publisher"])
    )
    queries = iter([False, True])

    def second_fails(execute: Any, *args: Any) -> Any:
        if next(queries, False):
            raise OperationalError("gone")
        return execute(*args)

    books = all_books()
    with connections["default"].execute_wrapper(second_fails), pytest.raises(OperationalError):
        prefetch.process_chunk(books)
    for model, size in ((Author, 2), (Publisher, 10_000)):
        assert prefetch.memoized_objects[model].get_size() == size
        assert len(prefetch.memoized_objects[model]) <= size
    assert_same_as_django(all_books, ["author", "publisher"], prefetch)


def test_chunk_does_not_visit_the_whole_memo() -> None:
    """All remembered keys were copied for each chunk."""
    Signature.objects.bulk_create([Signature(text=f"signature {i}") for i in range(500)])
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Signature, ["signature"]))
    prefetch.process_chunk([Signed(signature_id=f"signature {i}") for i in range(500)])
    chunk = [Signed(signature_id="signature 7")]
    CountingText.hashed = 0
    with no_queries():
        prefetch.process_chunk(chunk)
    assert CountingText.hashed < 50
    chunk = [Signed(signature_id="signature 7"), Signed(signature_id="nobody")]
    prefetch.process_chunk(chunk)
    assert CountingText.hashed < 100
    assert chunk[0].signature.text == "signature 7"
    assert_same_as_django(
        lambda: [Signed(signature_id="signature 7"), Signed(signature_id="nobody")], "signature", prefetch
    )


def test_through_models_of_one_name_in_two_applications() -> None:
    """They shared one cache of links."""
    volume = Volume.objects.create(title="v")
    # Equal primary keys on both sides would hide a mistake.
    labels = [Label.objects.create(text=f"library {i}") for i in range(3)]
    museum_labels = [MuseumLabel.objects.create(text=f"museum {i}") for i in range(3)]
    Labelling.objects.create(volume=volume, label=labels[0])
    MuseumLabelling.objects.create(volume=volume, label=museum_labels[2])
    prefetch = MemoizedPrefetch(
        through_config(Label, "labels", Labelling, "volume_id", "label_id"),
        through_config(MuseumLabel, "museum_labels", MuseumLabelling, "volume_id", "label_id"),
    )
    for _ in range(2):
        [volume] = process(prefetch, all_volumes())
        assert [label.text for label in volume.labels.all()] == ["library 0"]
        assert [label.text for label in volume.museum_labels.all()] == ["museum 2"]
    assert_same_as_django(all_volumes, ["labels", "museum_labels"], prefetch)
