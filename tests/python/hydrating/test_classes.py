"""Classes whose instances are more than their columns build them by their own code, also if they become so later."""

from __future__ import annotations

import gc
import logging
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
from django.db import models
from django.db.models import Model
from django.db.models import base as base_module
from django.db.models.fields.files import FileDescriptor, ImageFileDescriptor
from django.db.models.fields.related_descriptors import ForeignKeyDeferredAttribute
from django.db.models.signals import post_init, pre_init
from django.dispatch import Signal
from django.test.utils import isolate_apps

from django_memoized_prefetch import memoized
from django_memoized_prefetch._hydrating import eligibility
from tests.python.archive import models as archive
from tests.python.archive.models import Box, MeasuredPicture, Picture, Room
from tests.python.conftest import rows_of_a_module
from tests.python.databases import SQLITE, only_on
from tests.python.graph import are_identical, assert_identical
from tests.python.hydrating.building import OWN, SOME, check, fill_archives, outcome, stock

filled = rows_of_a_module(fill_archives)


# --- classes that are more than their columns


WITH_OWN_CODE = {
    "WithInit": "custom __init__",
    "WithFromDb": "custom from_db",
    "WithStaticFromDb": "custom from_db",
    "WithSetattr": "custom __setattr__ or __getattribute__",
    "WithGetattribute": "custom __setattr__ or __getattribute__",
    "WithNew": "custom __new__",
    "WithMetaclass": "custom metaclass __call__",
    "Unfinished": "the class is abstract, or its instances have no __dict__",
    "WithMixinBehind": "a base class after Model has an __init__",
    "WithMixinBefore": "custom __init__",
    "WithDescriptor": "custom descriptor Loud",
    "WithProperty": "custom descriptor property",
    "WithKeyDescriptor": "custom descriptor CountingKey",
    "WithOwnCache": "custom field CautiousForeignKey",
    "WithState": "custom _state or __dict__",
}


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    caplog.set_level(logging.INFO, "django_memoized_prefetch")
    eligibility._reported.clear()
    yield lambda: [record.getMessage() for record in caplog.records if record.name == "django_memoized_prefetch"]
    eligibility._reported.clear()


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("name", WITH_OWN_CODE)
def test_classes_that_do_more_build_their_instances(name: str, said: Callable[[], list[str]]) -> None:
    model = getattr(archive, name)
    queryset = model._base_manager.order_by("pk")
    check(lambda built: list(built(queryset.all())), OWN)
    assert len(said()) == 1, "the reason is given once"
    assert name in said()[0]
    assert WITH_OWN_CODE[name] in said()[0]
    if any(field.name == "box" for field in model._meta.fields):
        # The boxes and rooms are built natively all the same.
        _, _, own = outcome(lambda: list(memoized(queryset.all())))
        check(lambda built: list(built(queryset.select_related("box__room"))), own)


@pytest.mark.usefixtures("filled")
def test_pictures_that_post_init_measures() -> None:
    assert post_init.has_listeners(MeasuredPicture)
    check(lambda built: list(built(Picture.objects.order_by("pk"))))
    check(lambda built: list(built(MeasuredPicture.objects.order_by("pk"))))


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("signal", [pre_init, post_init])
def test_receivers_that_come_and_go(signal: Any) -> None:
    seen: list[Any] = []

    def receiver(instance: Any = None, **kwargs: Any) -> None:
        if instance is None:
            seen.append(kwargs["args"][0])
        else:
            state = {**vars(instance._state)}
            seen.append((instance.pk, kwargs["sender"], sorted(vars(instance)), state, instance._state.adding))

    def use(queryset: Any) -> Any:
        seen.clear()
        return [*queryset, *seen]

    boxes, rooms = Box.objects.select_related("room"), Room.objects.all()
    # The receivers of pre_init get the values before there is an instance: the model's own code has to call them.
    by_rooms, by_all = (OWN, OWN) if signal is pre_init else (0, 0)
    before = check(lambda built: use(built(boxes.all())))
    signal.connect(receiver, sender=Room)
    try:
        assert not are_identical(check(lambda built: use(built(boxes.all())), by_rooms), before)
        check(lambda built: use(built(rooms.all())), by_all)
    finally:
        signal.disconnect(receiver, sender=Room)
    check(lambda built: use(built(rooms.all())))
    signal.connect(receiver)
    try:
        check(lambda built: use(built(boxes.all())), by_all)
        check(lambda built: use(built(boxes.all().defer("room__number"))), by_all)
    finally:
        signal.disconnect(receiver)
    assert_identical(check(lambda built: use(built(boxes.all()))), before)


@pytest.mark.usefixtures("filled")
def test_receivers_see_one_row_after_another() -> None:
    """A receiver runs when the loop asks for the next row, not when the rows before it are built."""
    events: list[Any] = []

    def receiver(instance: Any, **_: Any) -> None:
        events.append(("built", instance.pk))

    def use(built: Any) -> list[Any]:
        events.clear()
        events.extend(("used", room.pk) for room in built(Room.objects.order_by("pk")).iterator(chunk_size=2))
        return list(events)

    post_init.connect(receiver, sender=Room)
    try:
        first, second = Room.objects.order_by("pk")[:2]
        assert check(use)[:3] == [("built", first.pk), ("used", first.pk), ("built", second.pk)]
    finally:
        post_init.disconnect(receiver, sender=Room)


@pytest.mark.usefixtures("filled")
def test_receivers_that_fail_replace_the_state_or_query() -> None:
    second = Room.objects.order_by("pk")[1].pk

    def fail(instance: Any, **_: Any) -> None:
        if instance.pk == second:
            raise ValueError(str(instance.pk))

    def replace(instance: Any, **_: Any) -> None:
        instance._state = type(instance._state)()
        instance._state.replaced = True

    def query(instance: Any, **_: Any) -> None:
        instance.others = [other.pk for other in Box.objects.filter(room_id=instance.pk).order_by("pk")]

    def use(built: Any) -> list[Any]:
        got = []
        try:
            rooms = built(Room.objects.order_by("pk")).iterator(chunk_size=2)
            got.extend((room.pk, vars(room._state), vars(room).get("others")) for room in rooms)
        except ValueError as error:
            got.append(str(error))
        return got

    for receiver in (fail, replace, query):
        post_init.connect(receiver, sender=Room)
        try:
            check(use, SOME if receiver is query else 0)
        finally:
            post_init.disconnect(receiver, sender=Room)


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("change", ["connects", "disconnects", "exchanges", "dies", "is muted", "comes later in line"])
def test_receivers_that_change_while_rows_are_read(change: str) -> None:
    """The receivers of each row are those that `send()` would have called for it."""
    events: list[Any] = []

    class Other:
        def receive(self, instance: Any, **_: Any) -> None:
            events.append(("other", instance.pk))

    def use(built: Any) -> list[Any]:
        events.clear()
        others, rows = [Other()], []

        def receiver(instance: Any, **_: Any) -> None:
            rows.append(instance.pk)
            events.append(("receiver", instance.pk))
            if len(rows) == 2:
                act()

        def act() -> None:
            if change in ("connects", "exchanges"):
                others.append(Other())
                post_init.connect(others[-1].receive, sender=Room)
            if change in ("disconnects", "exchanges", "comes later in line"):
                post_init.disconnect(others[0].receive, sender=Room)
            if change == "comes later in line":
                post_init.connect(others[0].receive, sender=Room)
            if change == "dies":
                others.clear()
                gc.collect()
            if change == "is muted":
                post_init.receivers = []
                post_init.sender_receivers_cache.clear()

        before = post_init.receivers
        post_init.connect(receiver, sender=Room)
        post_init.connect(others[0].receive, sender=Room)
        try:
            list(built(Room.objects.order_by("pk")))
        finally:
            if change == "is muted":  # otherwise a dead receiver would come back
                post_init.receivers = before
            post_init.disconnect(receiver, sender=Room)
            for other in others:
                post_init.disconnect(other.receive, sender=Room)
            others.clear()
            gc.collect()
        return list(events)

    assert len(check(use)) >= 4


@pytest.mark.usefixtures("filled")
@pytest.mark.since("5.0")
def test_asynchronous_receivers() -> None:
    seen: list[Any] = []

    async def receive(instance: Any, **_: Any) -> None:
        seen.append(instance.pk)

    def use(built: Any) -> list[Any]:
        seen.clear()
        return [*built(Room.objects.all()), *seen]

    post_init.connect(receive, sender=Room)
    try:
        check(use)
    finally:
        post_init.disconnect(receive, sender=Room)


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("name", ["send", "_live_receivers"])
def test_patched_signals_are_followed(name: str) -> None:
    """As Sentry patches them."""
    seen: list[Any] = []
    stock = getattr(Signal, name)

    def patched(self: Any, *arguments: Any, **named: Any) -> Any:
        seen.append(name)
        return stock(self, *arguments, **named)

    def receive(**_: Any) -> None:
        seen.append("receiver")

    def use(built: Any) -> list[Any]:
        seen.clear()
        return [
            *built(Room.objects.all()),
            *(one for one in seen if one == "receiver"),
            len(seen) > len(Room.objects.all()),
        ]

    post_init.connect(receive, sender=Room)
    try:
        with mock.patch.object(Signal, name, patched):
            check(use, OWN)
    finally:
        post_init.disconnect(receive, sender=Room)


def given_a_mark(function: Any) -> Any:
    def marked(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = function(self, *args, **kwargs)
        (self if result is None else result).__dict__["marked"] = True
        return result

    return marked


class MarkedDescriptor:
    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__["marked"] = value


CHANGES: dict[str, Callable[[], Any]] = {
    "from_db": lambda: mock.patch.object(Room, "from_db", classmethod(given_a_mark(Model.from_db.__func__))),
    "from_db of Model": lambda: mock.patch.object(Model, "from_db", classmethod(given_a_mark(Model.from_db.__func__))),
    "__init__": lambda: mock.patch.object(Room, "__init__", given_a_mark(Model.__init__)),
    "__init__ of Model": lambda: mock.patch.object(Model, "__init__", given_a_mark(Model.__init__)),
    "__setattr__": lambda: mock.patch.object(Room, "__setattr__", given_a_mark(object.__setattr__), create=True),
    "a column": lambda: mock.patch.object(Room, "number", MarkedDescriptor()),
    "metaclass": lambda: mock.patch.object(base_module.ModelBase, "__call__", given_a_mark(type.__call__), create=True),
    "ModelState": lambda: mock.patch.object(base_module, "ModelState", type("State", (base_module.ModelState,), {})),
}


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("change", CHANGES)
def test_classes_that_change_after_their_first_use(change: str) -> None:
    def use(built: Any) -> Any:
        return list(built(Room.objects.all()))

    before = check(use)
    with CHANGES[change]():
        changed_ours, changed_theirs = outcome(lambda: use(memoized)), outcome(lambda: use(stock))
        assert_identical(changed_ours[:2], changed_theirs[:2])
        assert not are_identical(changed_ours[0], before), "the change changes nothing"
    assert_identical(check(use), before)


@pytest.mark.usefixtures("filled")
def test_a_foreign_key_descriptor_that_changes_after_its_first_use() -> None:
    def use(built: Any) -> Any:
        return list(built(Box.objects.all()))

    before = check(use)
    with mock.patch.object(ForeignKeyDeferredAttribute, "__set__", MarkedDescriptor.__set__):
        assert not are_identical(check(use, OWN), before)
    assert_identical(check(use), before)


@pytest.mark.usefixtures("filled")
def test_descriptors_that_change_their_class() -> None:
    # As django-seal does when it starts.
    class Marked(ForeignKeyDeferredAttribute):
        def __set__(self, instance: Any, value: Any) -> None:
            super().__set__(instance, value)
            instance.__dict__["marked"] = True

    descriptor = Box.__dict__["room_id"]
    before = check(lambda built: list(built(Box.objects.all())))
    descriptor.__class__ = Marked
    try:
        assert not are_identical(check(lambda built: list(built(Box.objects.all())), OWN), before)
    finally:
        descriptor.__class__ = ForeignKeyDeferredAttribute
    assert_identical(check(lambda built: list(built(Box.objects.all()))), before)


@only_on(SQLITE)  # elsewhere, one of the caches that hold 256 classes at most may have it for a while
def test_a_class_is_not_kept_alive(filled: None) -> None:
    """As those of a migration's apps, which nobody refers to after it."""

    def read() -> weakref.ref[Any]:
        with isolate_apps("tests.python.archive"):

            class OldBox(models.Model):
                name = models.CharField(max_length=20)

                class Meta:
                    app_label = "archive"
                    db_table = Box._meta.db_table

        assert len(memoized(OldBox.objects.all())) == Box.objects.count() > 0
        return weakref.ref(OldBox)

    kept = read()
    gc.collect()
    assert kept() is None


@pytest.mark.since("5.2")  # before, each model with an image has a receiver of post_init
def test_files_are_stored_without_their_descriptor(filled: None) -> None:
    """The engine pauses garbage collection while it builds rows, so no Python code may run."""
    setters = {FileDescriptor.__set__.__code__, ImageFileDescriptor.__set__.__code__}
    called: list[Any] = []
    Picture.objects.create(image="picture.png", title="")
    sys.setprofile(lambda frame, event, _: called.append(frame.f_code) if event == "call" else None)
    try:
        pictures = list(memoized(Picture.objects.all()))
    finally:
        sys.setprofile(None)
    assert len(pictures) == Picture.objects.count() > 0
    assert not setters.intersection(called)
