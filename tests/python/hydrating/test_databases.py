"""Rows built by the engine: which database they come from, asynchronously, and one that fails among them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db.models import F
from django.test import override_settings

from django_memoized_prefetch import memoized
from tests.python.archive import models as archive
from tests.python.archive.models import Box, Room, Sheet, WithUndecidedKey
from tests.python.archive.rows import KEY, fill_archive, insert
from tests.python.graph import are_identical, assert_identical
from tests.python.hydrating.building import check, stock
from tests.python.queries import run_async


@pytest.mark.django_db(databases=["default", "other"], transaction=True)
def test_asynchronous_ways() -> None:
    fill_archive()
    sources = {"aiterator": lambda queryset: queryset.aiterator(chunk_size=3), "aiter": lambda queryset: queryset}
    for source in sources.values():

        async def read(queryset: Any, source: Any = source) -> Any:
            return [box async for box in source(queryset)]

        ours = run_async(read(memoized(Box.objects.select_related("room"))))
        theirs = run_async(read(Box.objects.select_related("room")))
        assert_identical(ours, theirs)
        assert len(ours) == 8


class RandomReplica:
    """As in Django's own documentation, but taking turns."""

    def __init__(self) -> None:
        self.asked = 0

    def db_for_read(self, model: Any, **hints: Any) -> str:
        self.asked += 1
        return ["default", "other"][self.asked % 2]

    def allow_relation(self, *arguments: Any, **hints: Any) -> bool:
        return True


@pytest.mark.parametrize("model", [Room, archive.WithInit])
def test_a_router_is_asked_once(model: Any) -> None:
    fill_archive()
    fill_archive("other")
    routers = [RandomReplica(), RandomReplica()]
    results = []
    for router, built in zip(routers, (stock, memoized)):
        with override_settings(DATABASE_ROUTERS=[router]):
            results.append([list(built(model.objects.order_by("pk"))) for _ in range(2)])
    for ours, theirs in zip(*results):
        assert_identical(ours, theirs)
    assert not are_identical(*results[0])
    assert routers[0].asked == routers[1].asked == 2


@pytest.mark.parametrize("broken", [0, 1, 4, 7])
@pytest.mark.parametrize("composite", [False, pytest.param(True, marks=pytest.mark.since("5.2"))])
def test_rows_before_one_that_fails_are_given(broken: int, composite: bool) -> None:
    for number in range(8):
        Sheet.objects.create(uuid=uuid.UUID(int=number), distance=-1 if number == broken else number)
    columns = {"key": F("pk")} if composite else {}

    def read(built: Any, chunk_size: int | None) -> Any:
        queryset = built(Sheet.objects.annotate(**columns))
        read: list[Any] = []
        try:
            for sheet in queryset.iterator(chunk_size=chunk_size):
                read.append(sheet)  # noqa: PERF402
        except ValueError as error:
            return [*read, str(error)]
        raise AssertionError("no row failed")

    for chunk_size in (None, 3):
        given = check(lambda built, chunk_size=chunk_size: read(built, chunk_size))
        assert len(given) == broken + 1


def test_insertions_of_undecided_keys_are_as_django_has_them() -> None:
    insert("default", archive.UndecidedTarget, ["key"], ["a"])
    insert("default", WithUndecidedKey, ["id", "name", "target_id"], [KEY, "name", "a"])
    [row] = memoized(WithUndecidedKey.objects.all())
    assert "fields_cache" not in vars(row._state)


def test_an_iterable_that_is_no_models_iterable_is_kept() -> None:
    Box.objects.create(pk=KEY, name="box")
    for values in (Box.objects.values("pk"), Box.objects.values_list("pk", "name")):
        assert_identical(list(memoized(values)), list(values))
        assert memoized(values)._iterable_class is values._iterable_class
