"""Classes whose instances are more than their columns are built by Django, also when they become so later."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
from django.db.models import Model
from django.db.models import base as base_module
from django.db.models.fields.related_descriptors import ForeignKeyDeferredAttribute
from django.db.models.signals import post_init, pre_init

from django_memoized_prefetch import memoized
from django_memoized_prefetch._hydrating import eligibility
from tests.python.archive import models as archive
from tests.python.archive.models import Box, MeasuredPicture, Picture, Room
from tests.python.conftest import rows_of_a_module
from tests.python.graph import are_identical, assert_identical
from tests.python.hydrating.building import ALL, check, fill_archives, outcome, stock

filled = rows_of_a_module(fill_archives)


# --- classes that are more than their columns


BY_DJANGO = {
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
    "MeasuredPicture": "post_init has receivers",
}


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    caplog.set_level(logging.INFO, "django_memoized_prefetch")
    eligibility._reported.clear()
    yield lambda: [record.getMessage() for record in caplog.records if record.name == "django_memoized_prefetch"]
    eligibility._reported.clear()


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("name", BY_DJANGO)
def test_classes_that_do_more_are_left_to_django(name: str, said: Callable[[], list[str]]) -> None:
    model = getattr(archive, name)
    queryset = model._base_manager.order_by("pk")
    check(lambda built: list(built(queryset.all())), ALL)
    assert len(said()) == 1, "the reason is given once"
    assert name in said()[0]
    assert BY_DJANGO[name] in said()[0]
    if any(field.name == "box" for field in model._meta.fields):
        check(lambda built: list(built(queryset.select_related("box__room"))), ALL)


@pytest.mark.usefixtures("filled")
def test_a_picture_is_left_to_django_where_post_init_measures_it() -> None:
    is_measured = post_init.has_listeners(Picture)
    check(lambda built: list(built(Picture.objects.order_by("pk"))), ALL if is_measured else 0)
    check(lambda built: list(built(MeasuredPicture.objects.order_by("pk"))), ALL)


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("signal", [pre_init, post_init])
def test_receivers_that_come_and_go(signal: Any) -> None:
    seen: list[Any] = []

    def receiver(instance: Any = None, **kwargs: Any) -> None:
        seen.append(kwargs["args"][0] if instance is None else instance.pk)

    def use(queryset: Any) -> Any:
        seen.clear()
        return [*queryset, *seen]

    boxes, rooms = Box.objects.select_related("room"), Room.objects.all()
    before = check(lambda built: use(built(boxes.all())))
    signal.connect(receiver, sender=Room)
    try:
        # Only what select_related reads is left to Django.
        assert not are_identical(check(lambda built: use(built(boxes.all())), 4), before)
        check(lambda built: use(built(rooms.all())), ALL)
    finally:
        signal.disconnect(receiver, sender=Room)
    check(lambda built: use(built(rooms.all())))
    signal.connect(receiver)
    try:
        check(lambda built: use(built(boxes.all())), ALL)
    finally:
        signal.disconnect(receiver)
    assert_identical(check(lambda built: use(built(boxes.all()))), before)


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
        assert not are_identical(check(use, ALL), before)
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
        assert not are_identical(check(lambda built: list(built(Box.objects.all())), ALL), before)
    finally:
        descriptor.__class__ = ForeignKeyDeferredAttribute
    assert_identical(check(lambda built: list(built(Box.objects.all()))), before)
