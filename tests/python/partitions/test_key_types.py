"""Keys of every type that can be cut go to a worker as JSON and come back as they were."""

from __future__ import annotations

import datetime
import json
import pickle
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps.registry import Apps
from django.db import models

from django_memoized_prefetch import MemoizedPrefetch, Partition, partitions
from tests.python.own_models import own_tables, tables

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


@own_tables
@pytest.mark.parametrize("name", KEYS)
def test_keys_of_every_type(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    field, values = KEYS[name]

    class Keyed(models.Model):
        key = field(primary_key=True)

        class Meta:
            apps = Apps()
            app_label = "keyed"

    with tables(Keyed):
        everything: Any = Keyed._default_manager.all()
        everything.bulk_create(Keyed(pk=value) for value in values)
        parts = partitions(everything, 3)
        assert [part.of(everything).count() for part in parts] == [part.rows for part in parts]
        given = [
            row.pk for part in parts for chunk in MemoizedPrefetch().chunks(part.of(everything), 4) for row in chunk
        ]
        assert sorted(given) == sorted(values)
        monkeypatch.setattr(
            "django_memoized_prefetch._partitions.partition.apps", SimpleNamespace(get_model=lambda _: Keyed)
        )
        messages = json.loads(json.dumps([part.as_dict() for part in parts]))
        again = [Partition.from_dict(message) for message in messages]
        assert again == pickle.loads(pickle.dumps(parts)) == pickle.loads(pickle.dumps(again)) == parts
