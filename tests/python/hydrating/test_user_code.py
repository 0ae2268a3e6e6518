"""Code of the user that runs while rows are built: when it runs, what it may do, and how it may fail."""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
from django.db.models import F
from django.db.models.query import ModelIterable
from django.db.models.signals import post_init

from django_memoized_prefetch import MemoizedPrefetch, memoized
from tests.python.archive.models import Box, Room, Seal, Sheet
from tests.python.conftest import rows_of_a_module
from tests.python.hydrating.building import OWN, check, fill_archives, stock

filled = rows_of_a_module(fill_archives)
pytestmark = pytest.mark.usefixtures("filled")


@contextmanager
def received(receive: Callable[..., None], sender: Any) -> Iterator[None]:
    post_init.connect(receive, sender=sender)
    try:
        yield
    finally:
        post_init.disconnect(receive, sender=sender)


def release(error: BaseException | None) -> None:
    """Clears the frames of an error, which hold a cursor on the server."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__


READS: dict[str, Callable[[Any], Any]] = {
    "list": list,
    "iterator": lambda queryset: list(queryset.iterator()),
    "chunks of an iterator": lambda queryset: list(queryset.prefetch_related("boxes").iterator(chunk_size=2)),
    "chain": lambda queryset: list(itertools.chain(queryset)),
}


@pytest.mark.parametrize("read", READS)
def test_a_stop_iteration_is_not_the_end_of_the_rows(read: str) -> None:
    """A coroutine that awaits the rows would even wait for ever if one came out of list()."""
    third = Room.objects.order_by("pk")[2].pk

    def receive(instance: Any, **_: Any) -> None:
        if instance.pk == third:
            next(iter([]))

    def use(made: Any) -> Any:
        with pytest.raises(RuntimeError, match="StopIteration") as caught:
            READS[read](made(Room.objects.order_by("pk")))
        said = str(caught.value), type(caught.value.__cause__)
        release(caught.value)
        return said

    with received(receive, Room):
        assert use(memoized) == use(stock)


def test_a_stop_iteration_of_a_related_row() -> None:
    def receive(instance: Any, **_: Any) -> None:
        next(iter([]))

    with received(receive, Room):
        for made in (memoized, stock):
            with pytest.raises(RuntimeError, match="StopIteration") as caught:
                list(made(Box.objects.prefetch_related("room")))
            release(caught.value)
        for mode in ("pages", "cursor"):
            with pytest.raises(RuntimeError, match="StopIteration") as caught:
                list(MemoizedPrefetch().chunks(Room.objects.all(), 2, mode=mode))
            release(caught.value)


def test_receivers_that_the_receivers_of_others_connect() -> None:
    seen: list[str] = []

    def of_box(instance: Any, **_: Any) -> None:
        seen.append(f"box {instance.pk}")

    def of_room(instance: Any, **_: Any) -> None:
        seen.append(f"room {instance.pk}")
        post_init.connect(of_box, sender=Box)

    def use(made: Any) -> Any:
        seen.clear()
        with received(of_room, Room):
            rows = list(made(Box.objects.select_related("room").order_by("pk")))
        post_init.disconnect(of_box, sender=Box)
        return [*rows, *seen]

    check(use)


def test_fields_convert_when_their_row_is_asked_for() -> None:
    events: list[Any] = []
    field: Any = type(Sheet._meta.get_field("distance"))
    stock_method = field.from_db_value

    def convert(self: Any, value: Any, *arguments: Any) -> Any:
        events.append("converted")
        return stock_method(self, value, *arguments)

    def use(made: Any) -> Any:
        events.clear()
        for sheet in made(Sheet.objects.order_by("uuid")).iterator():
            events.append(sheet.pk)
            if len(events) == 4:
                break
        return list(events)

    with mock.patch.object(field, "from_db_value", convert):
        assert check(use)[0] == "converted"


def test_annotations_that_a_property_takes() -> None:
    events: list[Any] = []
    taking = property(lambda self: events[-1], lambda self, value: events.append(("set", value)))

    def use(made: Any) -> Any:
        events.clear()
        rooms = made(Room.objects.annotate(taken=F("number")).order_by("pk")).iterator()
        events.extend(room.pk for room in rooms)
        return list(events)

    with mock.patch.object(Room, "taken", taking, create=True):
        assert check(use)[0][0] == "set"


def test_a_from_db_that_returns_none() -> None:
    def nothing(cls: Any, *arguments: Any, **named: Any) -> None:
        return None

    def use(made: Any) -> Any:
        return [(seal.pk, vars(seal._state)["fields_cache"]) for seal in made(Seal.objects.select_related("box"))]

    with mock.patch.object(Box, "from_db", classmethod(nothing)):
        check(use, OWN)


def test_iterables_with_methods_named_like_ours() -> None:
    class Batches(ModelIterable):
        def all_rows(self) -> str:
            return "my own"

        def chunks(self, size: int) -> str:
            return "my own"

        _result = None

    def use(made: Any) -> Any:
        queryset = Room.objects.order_by("pk").prefetch_related("boxes")
        queryset._iterable_class = Batches
        return list(made(queryset)), list(made(queryset).iterator(chunk_size=2))

    theirs, ours = use(stock), use(memoized)
    assert ours == theirs


def test_a_descriptor_that_only_deletes() -> None:
    class Undeletable:
        def __delete__(self, instance: Any) -> None:
            raise AttributeError

    with mock.patch.object(Room, "number", Undeletable()):
        check(lambda made: list(made(Room.objects.none())))
        check(lambda made: [room.pk for room in made(Room.objects.defer("number"))], OWN)


def test_a_patched_cache_of_fields_is_used() -> None:
    from django.db.models.fields.mixins import FieldCacheMixin

    seen: list[Any] = []
    stock_method = FieldCacheMixin.set_cached_value

    def patched(self: Any, instance: Any, value: Any) -> None:
        seen.append(value)
        stock_method(self, instance, value)

    def use(made: Any) -> Any:
        seen.clear()
        return [*made(Box.objects.select_related("room")), *seen]

    with mock.patch.object(FieldCacheMixin, "set_cached_value", patched):
        check(use)
