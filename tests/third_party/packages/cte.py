"""Queries with common table expressions, also recursive ones, from the package's queryset class or Django's."""

from __future__ import annotations

from typing import Any

import django_cte
from django.db import models
from django.db.models import F, Prefetch, Sum, Value

from tests.third_party.frame import Situation

# Version 2 no longer needs a manager.
IS_NEW = hasattr(django_cte, "with_cte")


class Region(models.Model):
    name = models.CharField(max_length=9)
    parent = models.ForeignKey("self", models.CASCADE, null=True, related_name="children")
    if not IS_NEW:
        objects = django_cte.CTEManager()


class Order(models.Model):
    region = models.ForeignKey(Region, models.CASCADE, related_name="orders")
    regions = models.ManyToManyField(Region, related_name="all_orders")
    amount = models.IntegerField()
    if not IS_NEW:
        objects = django_cte.CTEManager()


def rows() -> None:
    regions: list[Region] = []
    for at in range(5):
        regions.append(Region.objects.create(name=f"r{at}", parent=regions[at // 2] if at else None))
    for at in range(9):
        Order.objects.create(region=regions[at % 5], amount=at).regions.set([regions[at % 5], regions[at % 3]])


def with_totals(orders: Any) -> Any:
    sums = Order.objects.values("region_id").annotate(total=Sum("amount"))
    if IS_NEW:
        cte = django_cte.CTE(sums)
        queryset = django_cte.with_cte(cte, select=cte.join(orders, region=cte.col.region_id))
    else:
        cte = django_cte.With(sums)
        queryset = cte.join(orders, region=cte.col.region_id).with_cte(cte)
    return queryset.annotate(total=cte.col.total)


def tree() -> Any:
    def step(cte: Any) -> Any:
        first = Region.objects.filter(parent=None).values("id", depth=Value(0, models.IntegerField()))
        below = cte.join(Region, parent=cte.col.id).values("id", depth=cte.col.depth + Value(1))
        return first.union(below, all=True)

    cte = (django_cte.CTE if IS_NEW else django_cte.With).recursive(step)
    if IS_NEW:
        queryset = django_cte.with_cte(cte, select=cte.join(Region, id=cte.col.id))
    else:
        queryset = cte.join(Region, id=cte.col.id).with_cte(cte)
    return queryset.annotate(depth=cte.col.depth)


def orders() -> models.QuerySet[Order]:
    return Order.objects.order_by("pk")


def regions() -> models.QuerySet[Region]:
    return Region.objects.order_by("pk")


SITUATIONS = [
    Situation("rows", lambda: with_totals(Order.objects.all()).order_by("pk"), "region", "regions"),
    Situation("rows in another order", lambda: with_totals(Order.objects.all()).order_by("total", "-pk"), "region"),
    Situation("a tree", lambda: tree().order_by("pk"), "parent", "orders"),
    Situation("a tree by depth", lambda: tree().order_by("-depth", "pk"), "children__orders"),
    Situation(
        "filtered", lambda: with_totals(Order.objects.all()).filter(total__gt=F("amount")).order_by("pk"), "region"
    ),
    Situation("foreign key", orders, lambda: Prefetch("region", tree())),
    Situation("foreign key, to_attr", orders, lambda: Prefetch("region", tree(), to_attr="where")),
    Situation("many-to-many", orders, lambda: Prefetch("regions", tree().order_by("-depth", "pk"))),
    Situation("back", regions, lambda: Prefetch("orders", with_totals(Order.objects.all()))),
    Situation("back, many-to-many", regions, lambda: Prefetch("all_orders", with_totals(Order.objects.all()), "o")),
    Situation("below a memo", orders, "region__parent", lambda: Prefetch("region__children", tree(), to_attr="below")),
    Situation("plain", orders, "region__orders", "regions"),
]
