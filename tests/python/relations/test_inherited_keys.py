"""Relations that a multi-table child inherits: Django reads the parent's key from the child's own primary key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import models
from django.db.models import prefetch_related_objects
from django.test.utils import isolate_apps

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.databases import on_one_database
from tests.python.own_models import OfBookshop, check, outcome, own_tables, tables
from tests.python.queries import captured_queries

pytestmark = [on_one_database, own_tables]

TO_ONE_AND_REVERSE = ["cards", "badge", "place_ptr", "signs", "seal", "place_ptr__signs"]
MANY_TO_MANY = ["tags", "stamps"]


@pytest.fixture
def shop_class() -> Iterator[Any]:
    """Shop is a Venue, and a Venue is a Place. Each has relations of its own."""
    with isolate_apps("tests.python.bookshop"):

        class Tag(OfBookshop):
            pass

        class Place(OfBookshop):
            stamps = models.ManyToManyField(Tag, related_name="+")

        class Venue(Place):
            tags = models.ManyToManyField(Tag, related_name="venues")

            class Meta:
                app_label = "bookshop"

        class Shop(Venue):
            class Meta:
                app_label = "bookshop"

        class Sign(OfBookshop):
            place = models.ForeignKey(Place, models.CASCADE, related_name="signs")

        class Seal(OfBookshop):
            place = models.OneToOneField(Place, models.CASCADE, related_name="seal")

        class Card(OfBookshop):
            venue = models.ForeignKey(Venue, models.CASCADE, related_name="cards")

        class Badge(OfBookshop):
            venue = models.OneToOneField(Venue, models.CASCADE, related_name="badge")

        with tables(Tag, Place, Venue, Shop, Sign, Seal, Card, Badge):
            for _ in range(2):
                shop = Shop.objects.create()
                tag = Tag.objects.create()
                shop.tags.add(tag)
                shop.stamps.add(tag)
                for model in (Sign, Seal):
                    model.objects.create(place=shop)  # type: ignore[attr-defined]
                for model in (Card, Badge):
                    model.objects.create(venue=shop)  # type: ignore[attr-defined]
            yield Shop


def read(lookup: str) -> Any:
    def of(one: Any) -> Any:
        for name in lookup.split("__"):
            one = getattr(one, name)
        return [row.pk for row in one.all()] if hasattr(one, "all") else one.pk

    return of


@pytest.mark.filterwarnings("ignore:Passing unsaved model instances")  # Django 4.2
@pytest.mark.parametrize("lookup", [*TO_ONE_AND_REVERSE, *MANY_TO_MANY])
def test_a_copy_without_a_primary_key(shop_class: Any, lookup: str) -> None:
    """The keys of its parents are still those of the row that was copied."""

    def plain() -> list[Any]:
        return list(shop_class.objects.order_by("pk"))

    def copied() -> list[Any]:
        first, second = plain()
        second.pk = None
        return [first, second]

    prefetch = MemoizedPrefetch(lookup)
    for make in (plain, copied, plain):
        expected = outcome(prefetch_related_objects, make, [lookup], read(lookup))
        assert outcome(lambda objects, _: prefetch.process_chunk(objects), make, [lookup], read(lookup)) == expected


@pytest.mark.parametrize("lookup", [*TO_ONE_AND_REVERSE, *MANY_TO_MANY])
def test_deferred_links_to_parents(shop_class: Any, lookup: str) -> None:
    """Only the child's own key is loaded. That is all it takes."""

    def pks_only() -> list[Any]:
        return list(shop_class.objects.only("pk").order_by("pk"))

    theirs, ours = pks_only(), pks_only()
    with captured_queries() as by_django:
        prefetch_related_objects(theirs, lookup)
    with captured_queries() as by_us:
        MemoizedPrefetch(lookup).process_chunk(ours)
    with captured_queries() as none:
        assert [read(lookup)(one) for one in ours] == [read(lookup)(one) for one in theirs]
    assert len(by_us) <= len(by_django) + (lookup in MANY_TO_MANY)  # it takes two queries for one
    assert len(none) == 0


@pytest.mark.parametrize("lookup", ["signs", "stamps", "seal"])
@pytest.mark.parametrize("order", [1, -1])
def test_parents_and_children_in_one_list(shop_class: Any, lookup: str, order: int) -> None:
    """They share a query, although each class has its key under another name."""
    venue_class = shop_class.__base__
    place_class = venue_class.__base__

    def mixed() -> list[Any]:
        [first, second] = shop_class.objects.order_by("pk")
        rows = [first, venue_class.objects.get(pk=second.pk), place_class.objects.get(pk=second.pk)]
        return rows[::order]

    theirs, ours = mixed(), mixed()
    with captured_queries() as by_django:
        prefetch_related_objects(theirs, lookup)
    with captured_queries() as by_us:
        MemoizedPrefetch(lookup).process_chunk(ours)
    assert [read(lookup)(one) for one in ours] == [read(lookup)(one) for one in theirs]
    assert len(by_us) <= len(by_django) + (lookup in MANY_TO_MANY)


@isolate_apps("tests.python.bookshop")
@pytest.mark.parametrize("lookup", ["signs", "seal", "tags", "place", "place__signs", "shop_ptr", "shop_ptr__tags"])
def test_a_parent_between_with_a_primary_key_of_its_own(lookup: str) -> None:
    """A cafe's primary key is that of its shop, and not that of its place."""

    class Place(OfBookshop):
        pass

    class Shop(Place):
        number = models.IntegerField(primary_key=True)
        place = models.OneToOneField(Place, models.CASCADE, parent_link=True)

        class Meta:
            app_label = "bookshop"

    class Cafe(Shop):
        class Meta:
            app_label = "bookshop"

    class Tag(OfBookshop):
        places = models.ManyToManyField(Place, related_name="tags")

    class Sign(OfBookshop):
        place = models.ForeignKey(Place, models.CASCADE, related_name="signs")

    class Seal(OfBookshop):
        place = models.OneToOneField(Place, models.CASCADE, related_name="seal")

    with tables(Place, Shop, Cafe, Tag, Sign, Seal):
        Place.objects.create(id=7)
        Cafe.objects.create(id=50, number=7)
        for pk in (7, 50):
            Sign.objects.create(place_id=pk)
            Seal.objects.create(place_id=pk)
            Tag.objects.create().places.add(pk)

        check(lambda: list(Cafe.objects.all()), lookup, read(lookup))
