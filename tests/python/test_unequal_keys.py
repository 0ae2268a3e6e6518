"""Keys that Python finds equal and the database does not: Django attaches the row of each."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any
from unittest import mock

import pytest
from django.db import connection, connections, models
from django.test.utils import isolate_apps

from django_memoized_prefetch import MemoizedPrefetch, memoized
from tests.python.databases import POSTGRESQL, SQLITE, only_on
from tests.python.own_models import OfBookshop, check, outcome, own_tables, pks, tables

pytestmark = own_tables


@only_on(SQLITE, POSTGRESQL)  # MariaDB has no unique JSON
@isolate_apps("tests.python.bookshop")
@pytest.mark.parametrize("chunk_size", [1, 2, 10])
@pytest.mark.parametrize("lookup", ["setting", "setting__uses", "settings"])
def test_json_keys(lookup: str, chunk_size: int) -> None:
    class Setting(OfBookshop):
        value = models.JSONField(unique=True)

    class Use(OfBookshop):
        setting = models.ForeignKey(Setting, models.CASCADE, to_field="value", related_name="uses", db_constraint=False)
        settings = models.ManyToManyField(Setting, through="Link", related_name="+")

    class Link(OfBookshop):
        use = models.ForeignKey(Use, models.CASCADE, related_name="+", db_constraint=False)
        setting = models.ForeignKey(Setting, models.CASCADE, to_field="value", related_name="+", db_constraint=False)

    with tables(Setting, Use, Link):
        unhashable = [[1], {"a": 1}] if lookup == "settings" else []  # Django refuses them as foreign keys
        for number, value in enumerate([1, True, 0, False, "1", *unhashable], 1):
            Setting.objects.create(pk=number, value=value)
            Link.objects.create(use=Use.objects.create(pk=number, setting_id=value), setting_id=value)

        def read(use: Any) -> Any:
            if lookup == "settings":
                return pks("settings")(use)
            return [use.setting.pk] if lookup == "setting" else pks("uses")(use.setting)

        def streamed(wrap: Any) -> Any:
            rows = Use.objects.order_by("pk").prefetch_related(lookup)
            return outcome(lambda _: None, lambda: list(wrap(rows).iterator(chunk_size=chunk_size)), [], read)

        djangos = streamed(lambda rows: rows)
        assert isinstance(djangos, list), "an error says nothing about rows"
        assert streamed(memoized) == djangos


@only_on(POSTGRESQL)  # others return such times in UTC
@isolate_apps("tests.python.bookshop")
def test_two_moments_with_one_local_time() -> None:
    class Tick(OfBookshop):
        at = models.DateTimeField(primary_key=True)
        number = models.IntegerField()

    class Event(OfBookshop):
        tick = models.ForeignKey(Tick, models.CASCADE, related_name="events", db_constraint=False)

    moments = [datetime.datetime(2020, 10, 25, hour, 30, tzinfo=datetime.timezone.utc) for hour in (0, 1)]
    with tables(Tick, Event):
        for number, at in enumerate(moments, 1):
            Event.objects.create(pk=number, tick=Tick.objects.create(at=at, number=number))
        try:
            with mock.patch.dict(connection.settings_dict, TIME_ZONE="Europe/Berlin"):
                in_zone()
                events = list(Event.objects.order_by("pk"))
                assert events[0].tick_id == events[1].tick_id  # type: ignore[attr-defined]
                prefetch = MemoizedPrefetch("tick__events")
                for event in events:
                    prefetch.process_chunk([event])
                assert [event.tick.number for event in events] == [1, 2]
                # Nor do they end a run, as equal keys of a page would.
                chunks = MemoizedPrefetch("events").chunks(Tick.objects.all(), chunk_size=1)
                found = [[(one.number, event.pk) for event in one.events.all()] for [one] in chunks]
                assert sorted(found) == [[(1, 1)], [(2, 2)]]
        finally:
            in_zone()


@only_on(POSTGRESQL)
@isolate_apps("tests.python.bookshop")
def test_array_keys() -> None:
    from django.contrib.postgres.fields import ArrayField

    class Cell(OfBookshop):
        place = ArrayField(models.IntegerField(), primary_key=True)

    class Sheet(OfBookshop):
        cells = models.ManyToManyField(Cell, db_constraint=False)

    with tables(Cell, Sheet):
        for number in range(3):
            sheet = Sheet.objects.create(pk=number + 1)
            for place in ([number, 0], [number, 1]):
                Sheet.cells.through.objects.create(sheet=sheet, cell=Cell.objects.create(place=place))
        found = check(lambda: list(Sheet.objects.order_by("pk")), "cells", pks("cells"))
        assert sorted(found[1]) == [[1, 0], [1, 1]]


@isolate_apps("tests.python.bookshop")
@pytest.mark.parametrize(
    ("column", "keys"),
    [
        pytest.param(
            models.BinaryField(primary_key=True, max_length=8),
            [b"ab", b"cd"],
            marks=only_on(SQLITE, POSTGRESQL),  # MariaDB has no such primary key
            id="bytes",
        ),
        pytest.param(
            models.DecimalField(primary_key=True, max_digits=6, decimal_places=2),
            [Decimal("1.10"), Decimal("2.50")],
            id="decimals",
        ),
    ],
)
def test_links_from_keys_in_a_form_of_the_driver(column: Any, keys: list[Any]) -> None:
    """For bytes on PostgreSQL, and for decimals on SQLite and Django 4.2, Django finds no links."""

    class Tag(OfBookshop):
        pass

    class Tagged(OfBookshop):
        key = column.clone()
        tags = models.ManyToManyField(Tag, db_constraint=False)

    with tables(Tag, Tagged):
        for key in keys:
            Tagged.objects.create(key=key).tags.add(Tag.objects.create())
        djangos = check(lambda: list(Tagged.objects.order_by("pk")), "tags", pks("tags"))
        assert isinstance(djangos, list), "an error says nothing about rows"


def in_zone() -> None:
    """Takes over a changed TIME_ZONE."""
    for name in ("timezone", "timezone_name"):
        vars(connections["default"]).pop(name, None)
    connections["default"].ensure_timezone()
