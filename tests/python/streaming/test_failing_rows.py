"""Rows that cannot be built: the chunks before them are given, as by Django's iterator(), and then comes the error."""

from __future__ import annotations

import datetime
import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock
from weakref import ref

import pytest
from django.apps.registry import Apps
from django.db import models
from django.db.models.signals import post_init

from django_memoized_prefetch import MemoizedPrefetch, memoized
from tests.python.archive.models import WithInit
from tests.python.bookshop.models import Book
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.databases import SQLITE, only_on
from tests.python.own_models import table

COUNT = 6
# The row that fails: the first, one within a chunk, the one behind a chunk of 2 and of 3, the last.
FAILING = range(COUNT)


class UnbuiltError(Exception):
    pass


def fail(key: Any, failing: int) -> None:
    if key == FIRST_KEY + failing:
        raise UnbuiltError


@contextmanager
def by_a_receiver(failing: int) -> Iterator[Any]:
    def receive(instance: Any, **_: Any) -> None:
        fail(instance.pk, failing)

    post_init.connect(receive, sender=Book)
    try:
        yield Book.objects.all()
    finally:
        post_init.disconnect(receive, sender=Book)


@contextmanager
def by_the_model(failing: int) -> Iterator[Any]:
    WithInit.objects.bulk_create(WithInit(pk=FIRST_KEY + i) for i in range(COUNT))
    init = WithInit.__init__

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        fail(args[0], failing)
        init(self, *args, **kwargs)

    with mock.patch.object(WithInit, "__init__", __init__):
        yield WithInit.objects.all()


class FailingField(models.IntegerField):
    failing = 0

    def from_db_value(self, value: int, *_: Any) -> int:
        fail(value, self.failing)
        return value


@contextmanager
def by_a_converter(failing: int) -> Iterator[Any]:
    field = FailingField()
    field.failing = failing
    yield Book.objects.annotate(number=models.ExpressionWrapper(models.F("pk"), output_field=field))


class Entry(models.Model):
    at = models.DateField()

    class Meta:
        apps = Apps()
        app_label = "legacy"
        db_table = "legacy_entry"
        managed = False


@contextmanager
def by_the_driver(failing: int) -> Iterator[Any]:
    """SQLite's driver converts dates, in all rows that are fetched together."""
    rows = [(FIRST_KEY + i, "2020-02-30" if i == failing else datetime.date(2020, 1, 1)) for i in range(COUNT)]
    with table("legacy_entry", "id integer, at date", rows):
        yield Entry.objects.all()


def read(rows: Iterable[Any]) -> tuple[list[Any], type[Exception] | None]:
    """The keys before the error, and its class."""
    keys = []
    try:
        for row in rows:
            keys.append(row.pk)  # noqa: PERF401
    except Exception as error:
        return keys, type(error)
    return keys, None


def chunks(prefetch: MemoizedPrefetch, queryset: Any, size: int, mode: Any) -> Iterator[Any]:
    return (row for chunk in prefetch.chunks(queryset, size, mode=mode) for row in chunk)


WAYS = [by_a_receiver, by_the_model, by_a_converter, pytest.param(by_the_driver, marks=only_on(SQLITE))]


@pytest.mark.parametrize("order", ["pk", "-pk"])
@pytest.mark.parametrize("size", [1, 2, 3, 10])
@pytest.mark.parametrize("failing", FAILING)
@pytest.mark.parametrize("way", WAYS)
def test_the_chunks_before_are_given(
    bookshop: Bookshop, way: Callable[[int], Any], failing: int, size: int, order: str
) -> None:
    Book.objects.filter(pk__gte=FIRST_KEY + COUNT).delete()
    with way(failing) as queryset:
        ordered = queryset.order_by(order)
        before, error = read(ordered.iterator(chunk_size=size))
        whole = before[: len(before) // size * size]  # as Django gives them if it has to prefetch
        assert error is not None
        assert read(chunks(MemoizedPrefetch(), ordered, size, "cursor")) == (whole, error)
        if way is by_the_driver:  # on Python 3.9, it reads a row ahead, and Django loses one more
            keys = [FIRST_KEY + i for i in range(COUNT)]
            before = keys[:failing] if order == "pk" else keys[:failing:-1]
            whole = before[: len(before) // size * size]
        assert read(chunks(MemoizedPrefetch(), ordered, size, "pages")) == (whole, error)
        if queryset.model is Book:
            assert read(ordered.prefetch_related("author").iterator(chunk_size=size)) == (whole, error)
            assert read(memoized(ordered.prefetch_related("author")).iterator(chunk_size=size)) == (whole, error)


@pytest.mark.parametrize("at", range(1, 8))
def test_an_error_that_does_not_come_again_is_raised(bookshop: Bookshop, at: int) -> None:
    """Such as that of a time limit."""
    built = []

    def receive(instance: Any, **_: Any) -> None:
        built.append(instance.pk)
        if len(built) == at:
            raise UnbuiltError

    Book.objects.filter(pk__gte=FIRST_KEY + COUNT).delete()
    post_init.connect(receive, sender=Book)
    try:
        keys, error = read(chunks(MemoizedPrefetch(), Book.objects.order_by("pk"), 2, "pages"))
    finally:
        post_init.disconnect(receive, sender=Book)
    assert error is UnbuiltError
    assert keys == [FIRST_KEY + i for i in range(len(keys))]


@pytest.mark.parametrize("mode", ["pages", "cursor"])
def test_the_error_is_freed_with_its_last_user(bookshop: Bookshop, mode: Any) -> None:
    """Its traceback holds the rows of a page. If it were part of a cycle, they would stay until the collector runs."""
    gc.disable()
    try:
        with by_a_receiver(2) as queryset:
            rows = chunks(MemoizedPrefetch(), queryset.order_by("pk"), 2, mode)
            with pytest.raises(UnbuiltError) as raised:
                list(rows)
        error = ref(raised.value)
        assert error() is not None
        del raised
        assert error() is None
        assert list(rows) == []
    finally:
        gc.enable()


def test_no_row_of_a_repeated_key_is_lost() -> None:
    """The row that fails has the key of the last one that is given: the next page would begin behind both."""

    built = []

    def receive(instance: Any, **_: Any) -> None:
        built.append(instance.pk)
        if len(built) == 3:
            raise UnbuiltError

    rows = [(key, datetime.date(2020, 1, 1)) for key in (1, 2, 2)]
    post_init.connect(receive, sender=Entry)
    try:
        with table("legacy_entry", "id integer, at date", rows):
            by_cursor = read(chunks(MemoizedPrefetch(), Entry.objects.order_by("pk"), 2, "cursor"))
            assert by_cursor == ([1, 2], UnbuiltError)
            built.clear()
            with pytest.raises(ValueError, match="the database returned several rows with the key 2"):
                list(MemoizedPrefetch().chunks(Entry.objects.order_by("pk"), 2))
    finally:
        post_init.disconnect(receive, sender=Entry)
