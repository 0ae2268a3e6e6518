"""Rows of the archive: with every kind of value, null, and keys of rows that are not there."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import Any

import django
from django.db import connections

from tests.python.archive import models
from tests.python.archive.models import (
    Box,
    KeyedByUuid,
    MeasuredPicture,
    PaintedVase,
    Picture,
    Piece,
    Reading,
    Restoration,
    Room,
    Seal,
    Sheet,
    Statue,
    UndecidedTarget,
    Vase,
    WithUndecidedKey,
)

KEY = 10_000_000


def fill_archive(alias: str = "default") -> None:
    def make(model: Any, **values: Any) -> Any:
        return model.objects.using(alias).create(**values)

    rooms = [make(Room, pk=KEY + i, number=i, label=f"room {i} of {alias}") for i in range(4)]
    boxes: list[Any] = []
    for i in range(8):
        boxes.append(
            make(
                Box,
                pk=KEY + i,
                room_id=[rooms[i % 3].pk, None, KEY + 999, rooms[0].pk][i % 4],
                labelled_id=[rooms[i % 4].label, None, "nowhere"][i % 3],
                inside=boxes[i // 2] if i % 3 else None,
                name=f"box {i}",
            )
        )
    for box in boxes[:3]:
        make(Seal, box=box, colour="red")
    for i in range(6):
        make(Sheet, uuid=uuid.UUID(int=i), box=boxes[i] if i % 2 else None, **(values(i) if i % 3 else {}))
        make(KeyedByUuid, pk=KEY + i, sheet_id=[uuid.UUID(int=i), None, uuid.UUID(int=99)][i % 3])
    make(Picture, pk=KEY, image="pictures/one.png", title="one")
    make(Picture, pk=KEY + 1, image="", title="")
    MeasuredPicture.objects.using(alias).bulk_create([MeasuredPicture(pk=KEY, width=7)])
    for i in range(2):
        make(Piece, pk=KEY + i, name=f"piece {i}", room=rooms[i] if i else None)
        make(Vase, pk=KEY + 10 + i, name=f"vase {i}", room=rooms[i], height=i, box=boxes[i] if i else None)
        make(PaintedVase, pk=KEY + 20 + i, name=f"painted {i}", height=i, box=boxes[i], colour="blue")
        make(Statue, pk=KEY + 30 + i, name=f"statue {i}", room=rooms[i])
    for i, piece in enumerate(Piece.objects.using(alias)):
        vase = Vase.objects.using(alias).filter(pk=piece.pk).first()
        make(Restoration, pk=KEY + i, piece=piece, vase=vase)
    if django.VERSION >= (5, 0):
        make(models.Shouted, pk=KEY, word="archive")
    if django.VERSION >= (5, 2):
        for i in range(4):
            make(models.Cell, row=i // 2, column=i % 2, room=rooms[i] if i else None, value=f"cell {i}")
    for model in special_models():
        # By SQL: what their instances do is the test's matter.
        names = ["id", "name", "box_id"] if any(f.name == "box" for f in model._meta.fields) else ["id", "name"]
        for i in range(3):
            insert(alias, model, names, [KEY + i, f"name {i}", [boxes[i].pk, None, boxes[i].pk][i]][: len(names)])
    for i in range(2):
        insert(alias, UndecidedTarget, ["key"], [f"key {i}"])
        insert(alias, WithUndecidedKey, ["id", "name", "target_id"], [KEY + i, f"name {i}", ["key 0", None][i]])


def special_models() -> list[Any]:
    return [
        model
        for name, model in vars(models).items()
        if (name.startswith("With") and name != "WithUndecidedKey") or name in ("Unfinished", "Traced")
    ]


def insert(alias: str, model: Any, names: list[str], values: list[Any]) -> None:
    quote = connections[alias].ops.quote_name
    columns = ", ".join(map(quote, names))
    places = ", ".join(["%s"] * len(names))
    with connections[alias].cursor() as cursor:
        cursor.execute(f"INSERT INTO {quote(model._meta.db_table)} ({columns}) VALUES ({places})", values)


def values(i: int) -> dict[str, Any]:
    return {
        "big": 2**62 + i,
        "small": -i,
        "positive": i,
        "flag": bool(i % 2),
        "ratio": i / 3,
        "price": decimal.Decimal(i) / 8,
        "day": datetime.date(2020, 1, 1 + i),
        "moment": datetime.datetime(2020, 1, 1, 12, 30, i, 1000 * i, tzinfo=datetime.timezone.utc),
        "hour": datetime.time(12, 30, i, 5),
        "took": datetime.timedelta(days=i, microseconds=7),
        "data": {"list": [1, None, {"deep": "\u00e9"}], "number": i},
        "raw": bytes(range(i)),
        "text": "x" * i,
        "slug": f"slug-{i}",
        "mail": "a@example.com",
        "link": "https://example.com",
        "address": "2001:db8::1" if i % 2 else "10.0.0.1",
        "other_key": uuid.UUID(int=2**100 + i),
        "document": f"files/{i}.txt",
        "path": "/tmp/x",
        "distance": Reading(i),
    }
