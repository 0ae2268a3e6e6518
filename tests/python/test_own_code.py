"""Code of the project's own, where Django's own is expected: managers, late patches, rows, queryset classes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models import F, Func, Prefetch, QuerySet, prefetch_related_objects, query
from django.db.models.fields import related_descriptors
from django.db.models.fields.related import ForeignObject
from django.db.models.fields.related_lookups import RelatedIn
from django.test.utils import isolate_apps
from django.utils.functional import SimpleLazyObject

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig, memoized
from tests.python.bookshop.models import Author, Book, Category
from tests.python.conftest import Bookshop
from tests.python.databases import on_one_database
from tests.python.own_models import check, own_tables, pks, tables

pytestmark = on_one_database

# --- managers


@own_tables
@isolate_apps("tests.python.bookshop")
@pytest.mark.parametrize("by_config", [False, True])
def test_a_filtered_base_manager_beside_a_plain_default_one(by_config: bool) -> None:
    class Live(models.Manager):  # type: ignore[type-arg]
        def get_queryset(self) -> Any:
            return super().get_queryset().filter(live=True)

    class Tag(models.Model):
        live = models.BooleanField(default=True)
        objects = models.Manager()
        alive = Live()

        class Meta:
            app_label = "bookshop"
            base_manager_name = "alive"

    class Page(models.Model):
        tags = models.ManyToManyField(Tag)
        first = models.ForeignKey(Tag, models.DO_NOTHING, related_name="pages")

        class Meta:
            app_label = "bookshop"

    with tables(Tag, Page):
        dead, live = Tag.objects.create(live=False), Tag.objects.create()
        page = Page.objects.create(first=live)
        page.tags.set([dead, live])
        assert check(lambda: list(Page.objects.all()), "tags", pks("tags")) == [[dead.pk, live.pk]]
        # One object has both: rows of the base manager are no rows of the default one.
        prefetch = MemoizedPrefetch("first", "tags")
        if by_config:
            prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Tag, ["first"]), "tags")
        for _ in range(2):
            [ours] = prefetch.process_chunk(list(Page.objects.all()))
            assert ours.first == live
            assert pks("tags")(ours) == [dead.pk, live.pk]


def test_a_manager_with_a_method_of_its_own_on_the_instance(bookshop: Bookshop) -> None:
    manager = Category._base_manager
    with mock.patch.object(manager, "get_queryset", return_value=QuerySet(Category).none()):
        check(lambda: list(Book.objects.order_by("pk")), "categories", pks("categories"))


@pytest.mark.parametrize("is_warm", [False, True])
def test_the_class_of_all_managers_is_patched(bookshop: Bookshop, is_warm: bool) -> None:
    def make() -> list[Any]:
        return list(QuerySet(Author).order_by("pk"))

    def read(one: Any) -> Any:
        return [book.pk for book in one.books.all()]

    if is_warm:
        check(make, "books", read)

    def backwards(self: Any) -> Any:
        return QuerySet(self.model, using=self._db).order_by("-pk")

    with mock.patch.object(models.Manager, "get_queryset", backwards, create=True):
        answer = check(make, "books", read)
    assert answer[0] == sorted(answer[0], reverse=True)


# --- what comes later than the first use


class NeverIn(RelatedIn):
    def as_sql(self, compiler: Any, connection: Any) -> Any:
        sql, parameters = super().as_sql(compiler, connection)
        return f"({sql} AND 1 = 0)", parameters


def test_a_lookup_that_is_registered_later(bookshop: Bookshop) -> None:
    def make() -> list[Any]:
        return list(Author.objects.order_by("pk"))

    before = check(make, "books", pks("books"))
    models.ForeignKey.register_lookup(NeverIn)
    try:
        assert check(make, "books", pks("books")) == [[]] * len(before)
    finally:
        models.ForeignKey._unregister_lookup(NeverIn)
    assert check(make, "books", pks("books")) == before


# Functions that a prefetch of the lookup calls; some Django versions lack one.
LATE = {
    "author": [
        (ForeignObject, "get_local_related_value"),
        (models.ForeignKey, "get_foreign_related_value"),
        (models.IntegerField, "get_prep_value"),
        (models.BigAutoField, "get_db_prep_value"),
    ],
    "categories": [
        (models.ForeignKey, "get_foreign_related_value"),
        (models.IntegerField, "get_prep_value"),
        (models.BigAutoField, "get_db_prep_value"),
        (related_descriptors, "_filter_prefetch_queryset"),
        (query, "get_related_populators"),
    ],
}


@pytest.mark.parametrize(
    ("lookup", "owner", "name"),
    [(lookup, owner, name) for lookup, all_of in LATE.items() for owner, name in all_of if hasattr(owner, name)],
)
def test_a_function_that_is_patched_later_is_called(bookshop: Bookshop, lookup: str, owner: Any, name: str) -> None:
    original = getattr(owner, name)

    def make() -> list[Any]:
        return list(Book.objects.order_by("pk"))

    def calls(attach: Callable[..., Any]) -> int:
        called = 0

        def counting(*arguments: Any, **options: Any) -> Any:
            nonlocal called
            called += 1
            return original(*arguments, **options)

        objects = make()
        with mock.patch.object(owner, name, counting, create=True):
            attach(objects)
        return called

    MemoizedPrefetch(lookup).process_chunk(make())
    djangos = calls(lambda objects: prefetch_related_objects(objects, lookup))
    assert djangos > 0, "otherwise this shows nothing"
    assert calls(lambda objects: MemoizedPrefetch(lookup).process_chunk(objects)) >= djangos


# --- rows


@own_tables
@isolate_apps("tests.python.bookshop")
def test_generic_rows_that_change_their_class(monkeypatch: pytest.MonkeyPatch) -> None:
    class Animal(models.Model):
        kind = models.CharField(max_length=5)

        class Meta:
            app_label = "bookshop"

        @classmethod
        def from_db(cls, *arguments: Any, **options: Any) -> Any:
            one = super().from_db(*arguments, **options)
            one.__class__ = Dog if one.kind == "dog" else Animal
            return one

    class Dog(Animal):
        class Meta:
            app_label = "bookshop"
            proxy = True

    class Link(models.Model):
        type = models.ForeignKey(ContentType, models.DO_NOTHING, db_constraint=False)
        number = models.IntegerField()
        to = GenericForeignKey("type", "number")
        animal = models.ForeignKey(Animal, models.DO_NOTHING)

        class Meta:
            app_label = "bookshop"

    with tables(Animal, Link):
        of_animals = ContentType.objects.get_for_model(Animal)
        monkeypatch.setattr(ContentType, "model_class", lambda self: Animal)  # which is in no app's registry
        for kind in ("dog", "cat"):
            animal = Animal.objects.create(kind=kind)
            Link.objects.create(type=of_animals, number=animal.pk, animal=animal)

        def read(one: Any) -> Any:
            return [(type(row).__name__, row and row.pk) for row in one._state.fields_cache.values()]

        answer = check(lambda: list(Link.objects.order_by("pk")), "to", read)
        assert answer == [[("NoneType", None)], [("Animal", answer[1][0][1])]]
        # A row that a foreign key led to is there in any class.
        for lookups in (("animal", "to"), ("to", "animal")):
            prefetch = MemoizedPrefetch(*lookups)
            for _ in range(2):
                theirs = list(Link.objects.order_by("pk"))
                prefetch_related_objects(theirs, *lookups)
                ours = prefetch.process_chunk(list(Link.objects.order_by("pk")))
                assert [read(one) for one in ours] == [read(one) for one in theirs]


@own_tables
@isolate_apps("tests.python.bookshop")
def test_deferred_keys_of_a_model_that_loads_in_its_own_way() -> None:
    class Short(QuerySet):  # type: ignore[type-arg]
        def values_list(self, *names: Any, **options: Any) -> Any:
            return super().values_list("pk", flat=True)

    class Writer(models.Model):
        class Meta:
            app_label = "bookshop"

    class Whole(models.Model):
        writer = models.ForeignKey(Writer, models.DO_NOTHING)
        title = models.CharField(max_length=9)

        class Meta:
            app_label = "bookshop"

        def refresh_from_db(self, using: Any = None, fields: Any = None, **options: Any) -> None:
            # As Django's documentation shows it: all deferred fields at once.
            if fields is not None and set(fields) & (deferred := self.get_deferred_fields()):
                fields = set(fields) | deferred
            super().refresh_from_db(using, fields, **options)

    class Listed(models.Model):
        writer = models.ForeignKey(Writer, models.DO_NOTHING)
        objects = Short.as_manager()

        class Meta:
            app_label = "bookshop"
            base_manager_name = "objects"

    with tables(Writer, Whole, Listed):
        writer = Writer.objects.create()
        Whole.objects.create(writer=writer, title="one")
        Listed.objects.create(writer=writer)
        assert check(
            lambda: list(Whole.objects.only("pk")), "writer", lambda one: (one.__dict__["title"], one.writer)
        ) == [("one", writer)]
        assert check(lambda: list(Listed.objects.only("pk")), "writer", lambda one: one.writer) == [writer]


class RankedByItself(Func):
    arity = 0

    def as_sql(self, *_: Any, **__: Any) -> Any:
        return "ROW_NUMBER() OVER (ORDER BY 1)", []


class RankedByTemplate(Func):
    template = "ROW_NUMBER() OVER (ORDER BY 1)"


NUMBER = {"output_field": models.IntegerField()}


@pytest.mark.parametrize(
    "rank",
    [
        Func(template="ROW_NUMBER() OVER (ORDER BY 1)", **NUMBER),
        Func(F("pk"), function="COUNT", over="OVER ()", template="%(function)s(%(expressions)s) %(over)s", **NUMBER),
        Func(function="COUNT(*) OVER ", **NUMBER),
        RankedByTemplate(**NUMBER),
        RankedByItself(**NUMBER),
        RankedByItself(**NUMBER) + 1,
    ],
    ids=["template", "argument", "function", "class", "own SQL", "part of an expression"],
)
@pytest.mark.parametrize("lookup", ["author", "categories"])
def test_a_window_that_is_written_as_text(bookshop: Bookshop, lookup: str, rank: Any) -> None:
    model = {"author": Author, "categories": Category}[lookup]
    queryset = model.objects.annotate(rank=rank).order_by("pk")
    prefetch = MemoizedPrefetch(Prefetch(lookup, queryset))

    def ranks(book: Book) -> list[Any]:
        rows = [book.author] if lookup == "author" else book.categories.all()
        return [(row.pk, row.rank) for row in rows]  # type: ignore[attr-defined]

    for start in (0, 3, 6):
        theirs = list(Book.objects.order_by("pk")[start : start + 4])
        prefetch_related_objects(theirs, Prefetch(lookup, queryset))
        ours = prefetch.process_chunk(list(Book.objects.order_by("pk")[start : start + 4]))
        assert [ranks(one) for one in ours] == [ranks(one) for one in theirs]


# --- queryset classes that look at themselves


def logged(function: Any) -> Any:
    @functools.wraps(function)
    def call(self: Any, *arguments: Any) -> Any:
        return function(self, *arguments)

    return call


class Decorated(QuerySet):  # type: ignore[type-arg]
    @logged
    def is_exact(self) -> bool:
        return type(self) is Decorated


class ByDefault(QuerySet):  # type: ignore[type-arg]
    def is_exact(self, of: Any = type) -> bool:
        return of(self) is ByDefault  # type: ignore[no-any-return]


class Mentions(QuerySet):  # type: ignore[type-arg]
    def is_exact(self, one: Any = None) -> bool:
        return isinstance(one, type) or one is None

    def kind(self) -> Any:
        return type


class Keeping(QuerySet):  # type: ignore[type-arg]
    @property
    def _result_cache(self) -> Any:
        return self.__dict__.get("_kept")

    @_result_cache.setter
    def _result_cache(self, rows: Any) -> None:
        self.__dict__["_kept"] = rows

    def is_exact(self) -> bool:
        return self.filter(pk__gt=0).exists()


@own_tables
@isolate_apps("tests.python.bookshop")
@pytest.mark.parametrize("cls", [Decorated, ByDefault, Mentions, Keeping])
def test_a_class_that_looks_at_itself(cls: Any) -> None:
    class Writer(models.Model):
        class Meta:
            app_label = "bookshop"

    class Pen(models.Model):
        writer = models.ForeignKey(Writer, models.DO_NOTHING, related_name="pens")
        objects = cls.as_manager()

        class Meta:
            app_label = "bookshop"

    with tables(Writer, Pen):
        pen = Pen.objects.create(writer=Writer.objects.create())
        assert check(lambda: list(Writer.objects.all()), "pens", lambda one: one.pens.all().is_exact()) == [True]
        assert check(lambda: list(Writer.objects.all()), "pens", lambda one: list(one.pens.filter(pk=pen.pk))) == [
            [pen]
        ]
        assert memoized(Pen.objects.all()).is_exact()
        assert list(memoized(Pen.objects.prefetch_related("writer"))) == [pen]


# --- lists without lookups


@own_tables
def test_a_config_without_attributes_and_objects_that_are_djangos() -> None:
    author = Author.objects.create(name="one")
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Author, []))
    lazy = SimpleLazyObject(lambda: author)
    assert prefetch.process_chunk([lazy]) == [author]
