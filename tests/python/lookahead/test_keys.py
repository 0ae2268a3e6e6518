"""plan() of models whose primary key has several columns, or belongs to a parent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import models
from django.test.utils import isolate_apps

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.databases import on_one_database
from tests.python.lookahead.runs import run
from tests.python.own_models import OfBookshop, own_tables, tables

pytestmark = [on_one_database, own_tables]


def compare(rows: Any, *lookups: str) -> None:
    plan = MemoizedPrefetch(*lookups).plan(rows, 5)
    stats = run(MemoizedPrefetch(*lookups), rows, 5)
    assert plan.untold == {}
    assert plan.queries == stats.queries
    assert {name: table.fetched for name, table in plan.tables.items()} == {
        name: table.misses for name, table in stats.tables.items()
    }


@pytest.mark.since("5.2")
@isolate_apps("tests.python.bookshop")
@pytest.mark.parametrize(
    "choose",
    [lambda rows: rows, lambda rows: rows.distinct(), lambda rows: rows[:20]],
    ids=["all", "distinct", "slice"],
)
def test_a_composite_key(choose: Callable[[Any], Any]) -> None:
    class Tenant(OfBookshop):
        pass

    class Color(OfBookshop):
        pass

    class User(OfBookshop):
        pk = models.CompositePrimaryKey("tenant_id", "number")
        tenant = models.ForeignKey(Tenant, models.CASCADE)
        number = models.IntegerField()
        color = models.ForeignKey(Color, models.CASCADE)

    with tables(Tenant, Color, User):
        tenants = [Tenant.objects.create() for _ in range(3)]
        colors = [Color.objects.create() for _ in range(2)]
        for number in range(30):
            User.objects.create(tenant=tenants[number % 3], number=number, color=colors[number % 2])
        compare(choose(User.objects.order_by("pk")), "color", "tenant")


@isolate_apps("tests.python.bookshop")
def test_only_some_columns_of_a_child_with_a_key_of_its_own() -> None:
    class Label(OfBookshop):
        pass

    class Place(OfBookshop):
        name = models.CharField(max_length=9)
        labels = models.ManyToManyField(Label)

    class Shop(Place):
        number = models.IntegerField(primary_key=True)
        place = models.OneToOneField(Place, models.CASCADE, parent_link=True)

        class Meta:
            app_label = "bookshop"

    with tables(Label, Place, Shop):
        for number in range(10):
            Shop.objects.create(number=number).labels.add(Label.objects.create())
        compare(Shop.objects.only("name"), "labels")
