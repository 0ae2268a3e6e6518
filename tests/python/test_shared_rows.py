"""What users do to shared rows between chunks: rows that are gone or have become others are never attached again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.databases import on_one_database
from tests.python.graph import assert_same_as_django
from tests.python.queries import django_prefetch, no_queries
from tests.python.workshop.models import Bicycle, Customer, Part, Photo, Region, Remark, Repair
from tests.python.workshop.rows import fill_workshop, key, repairs

pytestmark = on_one_database

# By lookup: the way from a chunk's object to a shared row of each kind, and a path that ends there.
ROWS: dict[str, Callable[[Repair], Any]] = {
    "customer": lambda one: one.customer,
    "customer__region": lambda one: one.customer.region,
    "bicycle": lambda one: one.bicycle,
    "depot": lambda one: one.depot,
    "ticket": lambda one: one.ticket,
    "parts": lambda one: one.parts.all()[0] if one.parts.all() else None,
    "parts__supplier": lambda one: one.parts.all()[0].supplier if one.parts.all() else None,
    "campaigns": lambda one: one.campaigns.all()[0] if one.campaigns.all() else None,
    "mechanic__skills": lambda one: (one.mechanic and next(iter(one.mechanic.skills.all()), None)) or None,
    "customer__bicycles": lambda one: next(iter(one.customer.bicycles.all()), None),
    "customer__remarks": lambda one: next(iter(one.customer.remarks.all()), None),
    "cause": lambda one: one.cause,
}


@pytest.fixture(autouse=True)
def workshop() -> None:
    fill_workshop(repairs=20)


def chunk() -> list[Repair]:
    return repairs(0, 20)


def shared_row(objects: list[Repair], lookup: str) -> Any:
    return next(row for row in (ROWS[lookup](one) for one in objects[1:]) if row is not None)


def processed(lookup: str) -> tuple[MemoizedPrefetch, Any]:
    prefetch = MemoizedPrefetch(lookup)
    return prefetch, shared_row(assert_same_as_django(chunk, [lookup], prefetch), lookup)


def without_its_others(prefetch: MemoizedPrefetch, row: Any) -> None:
    """Ends what refers to the row, so that deleting it deletes nothing else, and says so."""
    for related in row._meta.related_objects:
        if related.many_to_many:
            related.through.objects.filter(**{related.field.m2m_reverse_field_name(): row.pk}).delete()
        elif related.field.null:
            related.related_model._base_manager.filter(**{related.field.name: row}).update(**{related.field.name: None})
            prefetch.invalidate(related.related_model)


@pytest.mark.parametrize("lookup", ROWS)
def test_a_deleted_row(lookup: str) -> None:
    prefetch, row = processed(lookup)
    without_its_others(prefetch, row)
    row.delete()
    assert row.pk is None
    assert_same_as_django(chunk, [lookup], prefetch)
    assert_same_as_django(chunk, [lookup], prefetch)


# Not those that refer to a remembered row: such a row cannot be told from one that always had this key.
@pytest.mark.parametrize("lookup", [name for name in ROWS if name not in ("customer__bicycles", "customer__remarks")])
def test_a_row_saved_as_a_new_one(lookup: str) -> None:
    """`pk = None; save()`: the shared instance is another row now, and the old one is still there."""
    prefetch, row = processed(lookup)
    old = row.pk
    row.pk = None
    if isinstance(row, (Bicycle,)):
        row.frame = "new frame"
    if lookup == "depot":
        row.pk = type(old)(int=1)
    else:
        row.id = key(700)
    row.save(force_insert=True)
    assert row.pk != old
    assert type(row)._base_manager.filter(pk=old).exists()
    assert_same_as_django(chunk, [lookup], prefetch)
    assert_same_as_django(chunk, [lookup], prefetch)


@pytest.mark.parametrize("lookup", ROWS)
def test_a_row_whose_primary_key_is_gone_and_not_saved(lookup: str) -> None:
    prefetch, row = processed(lookup)
    row.pk = None
    assert_same_as_django(chunk, [lookup], prefetch)


@pytest.mark.parametrize("lookup", ROWS)
def test_a_row_read_again_by_refresh_from_db(lookup: str) -> None:
    """It drops what is attached to the row and reads its columns: later chunks show both as they are now."""
    prefetch, row = processed(lookup)
    type(row)._base_manager.filter(pk=row.pk).update(name=f"{row.name} changed")
    row.refresh_from_db()
    # Of a row in a collection, the way back is among what it drops.
    again = assert_same_as_django(chunk, [lookup], prefetch, by_chance=["owner"] * (lookup == "customer__bicycles"))
    assert shared_row(again, lookup).name.endswith("changed")


@pytest.mark.parametrize("lookup", ROWS)
def test_a_changed_and_saved_row_shows_in_later_chunks(lookup: str) -> None:
    prefetch, row = processed(lookup)
    row.name += " changed"  # and still in its place among others
    with no_queries():
        later = shared_row(processed_again(prefetch), lookup)
    assert later is row, "until it is saved, too: the row is shared"
    row.save()
    assert shared_row(assert_same_as_django(chunk, [lookup], prefetch), lookup) is row


def processed_again(prefetch: MemoizedPrefetch) -> list[Repair]:
    objects = CHUNKS.pop()
    prefetch.process_chunk(objects)
    return objects


CHUNKS: list[list[Repair]] = []


@pytest.fixture(autouse=True)
def another_chunk(workshop: None) -> None:
    CHUNKS[:] = [chunk()]


def test_the_foreign_key_of_a_shared_row() -> None:
    prefetch = MemoizedPrefetch("customer__region")
    row = prefetch.process_chunk(chunk())[1].customer
    other = Region.objects.get(pk=key(5))
    assert row.region_id != other.pk
    row.region_id = other.pk  # Django forgets what was attached as well
    later = prefetch.process_chunk(chunk())[1].customer
    assert later is row
    with no_queries():
        assert later.region.name == other.name
    row.save()
    assert_same_as_django(chunk, ["customer__region"], prefetch)
    row.region = Region.objects.get(pk=key(4))
    row.save()
    assert_same_as_django(chunk, ["customer__region"], prefetch)
    row.region = None
    row.save()
    assert_same_as_django(chunk, ["customer__region"], prefetch)


def test_the_foreign_key_of_a_row_in_a_collection() -> None:
    """A bicycle below a remembered customer gets another owner: it is in the old collection no more."""
    prefetch = MemoizedPrefetch("customer__bicycles")
    objects = prefetch.process_chunk(chunk())
    customer = next(one.customer for one in objects if one.customer.bicycles.all())
    bicycle = customer.bicycles.all()[0]
    without = next(one.customer for one in objects if one.customer_id == key(0))
    assert not without.bicycles.all()
    bicycle.owner_id = key(700)  # nobody's whose collection is remembered
    Customer.objects.create(id=key(700), name="new")
    bicycle.save()
    assert_same_as_django(chunk, ["customer__bicycles"], prefetch)


def test_the_object_of_a_generic_relations_row() -> None:
    prefetch = MemoizedPrefetch("customer__remarks")
    objects = prefetch.process_chunk(chunk())
    remark = next(one.customer.remarks.all()[0] for one in objects if one.customer.remarks.all())
    remark.object_id = key(700)
    remark.save()
    assert_same_as_django(chunk, ["customer__remarks"], prefetch)


def test_the_target_column_of_a_foreign_key() -> None:
    prefetch = MemoizedPrefetch("bicycle__owner")
    row = shared_row(prefetch.process_chunk(chunk()), "bicycle")
    row.frame = "frame 900"
    row.save()
    assert_same_as_django(chunk, ["bicycle__owner"], prefetch)


@pytest.mark.parametrize("change", ["add", "remove", "set", "clear", "create"])
@pytest.mark.parametrize("lookup", ["parts", "photos", "remarks"])
def test_collections_changed_by_their_manager(lookup: str, change: str) -> None:
    """Of the chunk's own objects; Django drops the collection from the object, and so does this one's."""
    prefetch = MemoizedPrefetch(lookup)
    model = {"parts": Part, "photos": Photo, "remarks": Remark}[lookup]
    for repair in repairs(3, 4):
        getattr(repair, lookup).add(model._base_manager.get(pk=key(1)))  # there is one to remove
    [one] = prefetch.process_chunk(repairs(3, 4))
    [theirs] = repairs(3, 4)
    django_prefetch([theirs], [lookup])
    for repair in (one, theirs):
        manager = getattr(repair, lookup)
        other = model._base_manager.get(pk=key(5))
        if change == "add":
            manager.add(other)
        elif change == "set":
            manager.set([other])
        elif change == "create":
            manager.create(id=key(700 + (repair is theirs)), name="new")
        elif change == "remove" and hasattr(manager, "remove"):
            manager.remove(*manager.all()[:1])
        elif change == "clear":
            manager.clear()
        prefetch.process_chunk([])
    shown = [sorted(row.name for row in getattr(repair, lookup).all()) for repair in (one, theirs)]
    assert shown[0] == shown[1]
    prefetch.invalidate(getattr(Repair, lookup).through if lookup == "parts" else model)
    assert_same_as_django(lambda: repairs(3, 4), [lookup], prefetch)
