"""Subclasses by content type: a queryset that casts its rows when it is evaluated."""

from __future__ import annotations

from django.db import models
from django.db.models import Prefetch
from polymodels.models import PolymorphicModel

from tests.third_party.frame import Situation


class Home(models.Model):
    pass


class Thing(PolymorphicModel):
    home = models.ForeignKey(Home, models.CASCADE, related_name="things")


class Chair(Thing):
    legs = models.IntegerField(default=4)


class Table(Thing):
    width = models.IntegerField(default=9)


class Move(models.Model):
    thing = models.ForeignKey(Thing, models.CASCADE, related_name="moves")
    chair = models.ForeignKey(Chair, models.CASCADE, related_name="chair_moves")
    things = models.ManyToManyField(Thing, related_name="all_moves")


def rows() -> None:
    homes = [Home.objects.create() for _ in range(4)]
    things = [(Thing, Chair, Table)[at % 3].objects.create(home=homes[at % 4]) for at in range(7)]
    for at in range(8):
        move = Move.objects.create(thing=things[at % 7], chair=things[1 + 3 * (at % 2)])
        move.things.set([things[at % 7], things[(at + 2) % 7]])


def things() -> models.QuerySet[Thing]:
    return Thing.objects.order_by("pk")


def moves() -> models.QuerySet[Move]:
    return Move.objects.order_by("pk")


SITUATIONS = [
    Situation("rows", things, "home"),
    Situation("subclasses", lambda: things().select_subclasses(), "home"),
    Situation("some subclasses", lambda: things().select_subclasses(Chair, Table), "moves", "all_moves"),
    Situation("exclude_subclasses", lambda: Thing.objects.filter(pk__gt=0).select_subclasses().order_by("-pk"), "home"),
    Situation("cast when read", things, "home", read=lambda thing: thing.type_cast()),
    Situation("foreign key", moves, "thing", "chair__home"),
    Situation("foreign key to subclasses", moves, lambda: Prefetch("thing", Thing.objects.select_subclasses())),
    Situation("many-to-many, to_attr", moves, lambda: Prefetch("things", Thing.objects.all(), to_attr="all")),
    Situation(
        "back", lambda: Home.objects.order_by("pk"), lambda: Prefetch("things", Thing.objects.select_subclasses())
    ),
    Situation("below a memo", moves, "thing__home__things", "things__moves"),
]
