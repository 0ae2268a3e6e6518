"""Keys that are not as the database returns them, and fields and orders of the project's own."""

from __future__ import annotations

import datetime
import functools
import uuid
from typing import Any

import pytest
from django.db import connection, models
from django.db.models import F, prefetch_related_objects
from django.db.models.expressions import OrderBy
from django.test.utils import isolate_apps

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.bookshop.models import Book
from tests.python.conftest import Bookshop
from tests.python.databases import MARIADB
from tests.python.own_models import check, committed_tables, outcome, pks, tables

KEYS = {
    "integer as text": (models.IntegerField, 7, "7"),
    "integer as a float": (models.IntegerField, 7, 7.0),
    "integer as bytes": (models.IntegerField, 7, b"7"),
    "UUID as text": (models.UUIDField, uuid.UUID(int=7), str(uuid.UUID(int=7))),
    "UUID as an integer": (models.UUIDField, uuid.UUID(int=7), 7),
    "text as an integer": (functools.partial(models.CharField, max_length=9), "7", 7),
    "date as text": (models.DateField, datetime.date(2020, 2, 3), "2020-02-03"),
    "address in another spelling": (models.GenericIPAddressField, "::1", "0:0::1"),
    "float as text": (models.FloatField, 1.5, "1.5"),
    "moment": (models.DateTimeField, datetime.datetime(2020, 2, 3, 4, tzinfo=datetime.timezone.utc), None),
    "duration": (models.DurationField, datetime.timedelta(days=1), None),
}


def process_with(prefetch: MemoizedPrefetch, objects: list[Any], _: Any) -> None:
    prefetch.process_chunk(objects)


@committed_tables
@isolate_apps("tests.python.bookshop")
@pytest.mark.parametrize("name", KEYS)
def test_an_object_whose_key_is_of_another_type(name: str) -> None:
    key, stored, given = KEYS[name]

    class Tag(models.Model):
        class Meta:
            app_label = "bookshop"

    class Page(models.Model):
        code = key(primary_key=True)
        tags = models.ManyToManyField(Tag)

        class Meta:
            app_label = "bookshop"

    class Remark(models.Model):
        page = models.ForeignKey(Page, models.DO_NOTHING, related_name="remarks", db_constraint=False)
        only = models.OneToOneField(Page, models.DO_NOTHING, related_name="only", db_constraint=False, null=True)

        class Meta:
            app_label = "bookshop"

    with tables(Tag, Page, Remark):
        tags = [Tag.objects.create() for _ in range(3)]
        page = Page.objects.create(code=stored)
        page.tags.set(tags[1:])
        Remark.objects.create(page=page, only=page)
        odd = stored if given is None else given
        for make in (
            lambda: [Page(code=odd)],
            lambda: [Page(code=odd), *Page.objects.all()],
            lambda: [*Page.objects.all(), Page(code=odd), Page(code=odd)],
        ):
            for lookup in ("tags", "remarks", "only"):
                read = (lambda one: one.only.pk) if lookup == "only" else pks(lookup)
                check(make, lookup, read)
                for prefetch in (MemoizedPrefetch(lookup, lru_cache_size=1), MemoizedPrefetch(lookup)):
                    for objects in (make(), make()[::-1], make()):
                        expected = outcome(prefetch_related_objects, lambda o=objects: o[:], [lookup], read)
                        for one in objects:  # as they were
                            one.__dict__.pop("_prefetched_objects_cache", None)
                            one._state.fields_cache.clear()
                        process = functools.partial(process_with, prefetch)
                        assert outcome(process, lambda o=objects: o[:], [lookup], read) == expected, lookup
        check(lambda: [Remark(only_id=odd)], "only", lambda one: one.only)
        check(lambda: [Remark(only_id=odd), *Remark.objects.all()], "only", lambda one: one.only)


@committed_tables
@isolate_apps("tests.python.bookshop")
def test_a_field_that_names_another_column_than_its_class() -> None:
    class Code(models.CharField):  # type: ignore[type-arg]
        def get_internal_type(self) -> str:
            return "UUIDField"

    class Tag(models.Model):
        code = Code(primary_key=True, max_length=40)

        class Meta:
            app_label = "bookshop"

    class Page(models.Model):
        tags = models.ManyToManyField(Tag)

        class Meta:
            app_label = "bookshop"

    keys: list[Any] = [uuid.UUID(int=number) for number in range(5)]
    if connection.vendor == MARIADB and not connection.features.has_native_uuid_field:
        keys = [key.hex for key in keys]  # its char(32) takes no more
    with tables(Tag, Page):
        Tag.objects.bulk_create(Tag(code=key) for key in keys)
        page = Page.objects.create()
        page.tags.set(keys[1:])
        check(lambda: list(Page.objects.all()), "tags", lambda one: [tag.pk for tag in one.tags.order_by("pk")])
        check(lambda: list(Page.objects.all()), "tags", lambda one: {str(tag.pk) for tag in one.tags.all()})
        for order in ("pk", "-pk"):
            expected = [tag.pk for tag in Tag.objects.order_by(order)]
            chunks = MemoizedPrefetch().chunks(Tag.objects.order_by(order), 2)
            assert [tag.pk for chunk in chunks for tag in chunk] == expected


@committed_tables
@isolate_apps("tests.python.bookshop")
def test_pages_of_a_key_that_is_compared_in_its_own_way() -> None:
    class WithoutCase(models.lookups.GreaterThan):
        def as_sql(self, compiler: Any, connection: Any) -> Any:
            left, first = self.process_lhs(compiler, connection)
            right, second = self.process_rhs(compiler, connection)
            return f"lower({left}) > lower({right})", [*first, *second]

    class Key(models.CharField):  # type: ignore[type-arg]
        pass

    Key.register_lookup(WithoutCase)

    class Word(models.Model):
        text = Key(max_length=9, primary_key=True)

        class Meta:
            app_label = "bookshop"

    with tables(Word):
        Word.objects.bulk_create(Word(text=text) for text in ["a", "B", "c", "D", "e", "10", "9", "8"])
        for queryset in (Word.objects.order_by("pk"), Word.objects.order_by("-pk"), Word.objects.all()):
            ordered = queryset if queryset.ordered else queryset.order_by("pk")
            chunks = MemoizedPrefetch().chunks(ordered, 2)
            assert [word.pk for chunk in chunks for word in chunk] == [word.pk for word in ordered]


class Other(F):
    pass


class OtherOrder(OrderBy):
    template = "%(expression)s + 0 %(ordering)s"


@pytest.mark.parametrize(
    "order", [Other("pk"), OtherOrder(F("pk"), descending=True), OrderBy(Other("pk"))], ids=["F", "OrderBy", "both"]
)
def test_an_order_of_a_class_of_its_own_is_no_order_by_the_key(bookshop: Bookshop, order: Any) -> None:
    queryset = Book.objects.order_by(order)
    prefetch = MemoizedPrefetch()
    assert [book.pk for chunk in prefetch.chunks(queryset.all(), 5) for book in chunk] == [one.pk for one in queryset]
    with pytest.raises(ValueError, match="it is ordered by"):
        next(iter(prefetch.chunks(queryset.all(), 5, mode="pages")))
