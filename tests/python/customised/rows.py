"""Rows of every relation of an item, and what a reader sees of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.db import models

from tests.python.customised.models import (
    Backward,
    Item,
    Knowing,
    Label,
    Loud,
    Note,
    OrderedLink,
    Owned,
    Place,
    PlaceLink,
    Ranked,
    Renamed,
    Speaker,
    Status,
    Swapped,
    TextKey,
    Twice,
)

NAMES = {
    Status: "status",
    Ranked: "ranked",
    Owned: "owned",
    Loud: "loud",
    Twice: "twice",
    TextKey: "text_key",
    Renamed: "renamed",
}


def fill_items() -> None:
    """Every relation, of nine items, to some of four rows; item i leads to row i modulo 4, and to others."""
    statuses = [Status.objects.create(status="old" if i == 2 else "live") for i in range(4)]
    ranked = [Ranked.objects.create() for _ in range(4)]
    owned = [Owned.objects.create(tenant="a") for _ in range(4)]
    loud = [Loud.objects.create() for _ in range(4)]
    twice = [Twice.objects.create(number=i + 1) for i in range(4)]
    text_keys = [TextKey.objects.create(number=i + 1) for i in range(4)]
    knowing = [Knowing.objects.create() for _ in range(4)]
    backward = [Backward.objects.create() for _ in range(4)]
    swapped = [Swapped.objects.create(name=f"n{i}") for i in range(4)]
    places = [Place.objects.create(owner=owned[3 - i]) for i in range(4)]
    for i, place in enumerate(places):
        place.owners.set({owned[i], owned[0]})
    renamed = [Renamed.objects.create(number=i + 1) for i in range(4)]
    for i in range(9):
        at, other = i % 4, (i + 1 + i // 4) % 4
        item = Item.objects.create(
            status=statuses[at],
            ranked=ranked[at],
            owned=owned[at],
            loud=loud[at],
            twice=twice[at],
            text_key=text_keys[at],
            home=places[at],
            renamed=renamed[at],
        )
        for name, rows in {
            "statuses": statuses,
            "many_ranked": ranked,
            "many_knowing": knowing,
            "many_owned": owned,
            "many_loud": loud,
            "backward": backward,
            "swapped": swapped,
        }.items():
            getattr(item, name).set({rows[at], rows[other]})
        for position in range(3):
            PlaceLink.objects.create(item=item, place=places[(at + position) % 4], position=(position * 2) % 3)
            Note.objects.create(item=item, stars=position)
        OrderedLink.objects.create(item=item, place=places[at])
        Item.many_renamed.through.objects.create(item=item, renamed_id=other + 1)
        Label.objects.create(item=item)
        Speaker.objects.create(item=item, place=places[other])


def rows_of(value: Any) -> Any:
    """What an attribute gives, as far as it can be compared: the rows' columns and annotations."""
    if value is None:
        return None
    if isinstance(value, models.Model):
        columns = {name: held for name, held in vars(value).items() if not name.startswith("_")}
        return type(value).__name__, columns
    return [rows_of(row) for row in (value if isinstance(value, list) else value.all())]


def follow(one: Any, path: str) -> Any:
    name, _, rest = path.partition("__")
    value = getattr(one, name)
    if not rest:
        return rows_of(value)
    rows = [value] if isinstance(value, models.Model) else [] if value is None else list(value.all())
    return [(rows_of(row), follow(row, rest)) for row in rows]


def chunks_of(rows: list[Any]) -> Iterator[list[Any]]:
    """Three chunks of a run: others, some again, and all of them."""
    yield rows[:3]
    yield rows[2:5]
    yield rows


def answer(process: Callable[[list[Any]], Any], make: Callable[[], Any], read: Callable[[Any], Any]) -> list[Any]:
    seen: list[Any] = []
    for chunk in chunks_of([one.pk for one in make()]):
        objects = list(make().filter(pk__in=chunk))
        try:
            process(objects)
            seen.append([read(one) for one in objects])
        except (KeyError, ValueError, AttributeError, TypeError) as error:
            seen.append(type(error))
    return seen


LOOKUPS = [
    *NAMES.values(),
    *("statuses", "many_ranked", "many_knowing", "many_owned", "many_loud", "backward", "swapped", "places", "linked"),
    *("renamed", "many_renamed"),
    *("labels", "notes_of_it", "notes__item__status", "notes_of_it__item", "speakers", "places__custom_place_links"),
]
