"""Keys of every type that can be cut go to a worker as JSON and come back as they were."""

from __future__ import annotations

import datetime
import json
import pickle
import uuid
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import django
import pytest
from django.apps.registry import Apps
from django.db import models

from django_memoized_prefetch import MemoizedPrefetch, Partition, partitions
from tests.python.databases import POSTGRESQL, SQLITE, only_on
from tests.python.own_models import committed_tables, own_tables, tables

KEYS: dict[str, tuple[Any, list[Any]]] = {
    "moment": (
        models.DateTimeField,
        [datetime.datetime(2024, 5, day, 4, 5, 6, day, tzinfo=datetime.timezone.utc) for day in range(1, 21)],
    ),
    "date": (models.DateField, [datetime.date(2024, 5, day) for day in range(1, 21)]),
    "time": (models.TimeField, [datetime.time(number, 30, 0, 7) for number in range(20)]),
    "duration": (
        models.DurationField,
        [datetime.timedelta(days=number - 5, microseconds=number) for number in range(20)],
    ),
    "decimal": (
        lambda **options: models.DecimalField(max_digits=9, decimal_places=4, **options),
        [Decimal(number * 17 - 90) / 8 for number in range(20)],
    ),
    "float": (models.FloatField, [number / 3 - 2 for number in range(20)]),
    "huge": (models.BigIntegerField, [2**63 - 1 - number**3 for number in range(20)]),
    "address": (models.GenericIPAddressField, [f"10.0.{number}.1" for number in range(20)]),
    "truth": (models.BooleanField, [False, True]),
    "bytes": (models.BinaryField, [bytes([number, 255, 0]) for number in range(20)]),
}


# MariaDB and MySQL make no key of such a column.
BYTES = pytest.param("bytes", marks=only_on(SQLITE, POSTGRESQL))


@own_tables
@pytest.mark.parametrize("name", [*(name for name in KEYS if name != "bytes"), BYTES])
def test_keys_of_every_type(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    field, values = KEYS[name]

    class Keyed(models.Model):
        key = field(primary_key=True)

        class Meta:
            apps = Apps()
            app_label = "keyed"

    with tables(Keyed):
        Keyed._default_manager.bulk_create(Keyed(pk=value) for value in values)
        check(Keyed, values, 3, monkeypatch)


def check(model: Any, keys: list[Any], count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row is in one part, and parts come back from JSON and from pickle as they were."""
    for everything in (model._default_manager.all(), model._default_manager.order_by("-pk")):
        parts = partitions(everything, count)
        assert [part.of(everything).count() for part in parts] == [part.rows for part in parts]
        assert max(part.rows for part in parts) - min(part.rows for part in parts) <= 1
        given = [
            row.pk for part in parts for chunk in MemoizedPrefetch().chunks(part.of(everything), 4) for row in chunk
        ]
        assert sorted(given) == sorted(keys)
        monkeypatch.setattr(
            "django_memoized_prefetch._partitions.partition.apps", SimpleNamespace(get_model=lambda _: model)
        )
        messages = json.loads(json.dumps([part.as_dict() for part in parts], allow_nan=False))
        again = [Partition.from_dict(message) for message in messages]
        assert again == pickle.loads(pickle.dumps(parts)) == pickle.loads(pickle.dumps(again)) == parts
        assert [part.name for part in again] == [part.name for part in parts]


COMPOSITE: dict[str, list[tuple[Any, ...]]] = {
    "truth": [(truth, number) for truth in (False, True) for number in range(30)],
    "bytes": [(bytes([number, 255]), number) for number in range(60)],
    "relation": [(uuid.uuid5(uuid.NAMESPACE_OID, str(number)), number) for number in range(60)],
}

if django.VERSION >= (5, 2):

    @committed_tables
    @pytest.mark.parametrize("name", ["truth", "relation", BYTES])
    def test_composite_keys(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        registry = Apps()

        class Target(models.Model):
            key = models.UUIDField(primary_key=True)

            class Meta:
                apps = registry
                app_label = "keyed"

        class Keyed(models.Model):
            pk = models.CompositePrimaryKey("first_id" if name == "relation" else "first", "number")
            first: Any = {
                "truth": models.BooleanField,
                "bytes": models.BinaryField,
                "relation": lambda: models.ForeignKey(Target, models.CASCADE),
            }[name]()
            number = models.IntegerField()

            class Meta:
                apps = registry
                app_label = "keyed"

        with tables(Target, Keyed):
            if name == "relation":
                Target._default_manager.bulk_create(Target(key=key) for key, _ in COMPOSITE[name])
            Keyed._default_manager.bulk_create(Keyed(pk=key) for key in COMPOSITE[name])
            check(Keyed, COMPOSITE[name], 10, monkeypatch)


def test_infinity(monkeypatch: pytest.MonkeyPatch) -> None:
    class Keyed(models.Model):
        key = models.FloatField(primary_key=True)

        class Meta:
            apps = Apps()
            app_label = "keyed"

    monkeypatch.setattr(
        "django_memoized_prefetch._partitions.partition.apps", SimpleNamespace(get_model=lambda _: Keyed)
    )
    part = Partition("run", 0, 1, float("-inf"), float("inf"), 3, "keyed.Keyed", "", "")
    message = json.dumps(part.as_dict(), allow_nan=False)
    assert Partition.from_dict(json.loads(message)) == part
