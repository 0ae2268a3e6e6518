"""The workshop's rows, a MemoizedPrefetch for all of its relations, and what a reader sees of them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.models import Prefetch, prefetch_related_objects

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.workshop.models import (
    Bicycle,
    Campaign,
    Customer,
    Depot,
    LegacyInvoice,
    Mechanic,
    Part,
    Photo,
    Region,
    Remark,
    Repair,
    Skill,
    Stage,
    Supplier,
    Ticket,
    Warranty,
)

FIRST_KEY = 10**12

# Every kind: to the primary key, to another column, two to one table, null, missing, one-to-one, many-to-many both
# ways, below one and below many, keys that are numbers, texts, UUIDs and the user's own. `invoice` is a loose key.
LOOKUPS = [
    "customer",
    "mechanic",
    "inspector",
    "bicycle",
    "depot",
    "stage",
    "ticket",
    "parts",
    "stages",
    "campaigns",
    "region",
    "customer__region",
    "bicycle__owner",
    "parts__supplier",
    "parts__supplier__region",
    "mechanic__skills",
]

# What refers to a repair, or to a row that is remembered; a generic foreign key; and attributes of the user's own.
# Such rows and what they refer to are in cycles, under Django too.
MORE_LOOKUPS = [
    "photos",
    "warranty",
    "remarks",
    "cause",
    "customer__bicycles",
    "customer__remarks",
    Prefetch("photos", to_attr="photo_list"),
    Prefetch("parts", Part.objects.filter(pk__gt=0), to_attr="part_list"),
    Prefetch("mechanic__skills", to_attr="skill_list"),
]


def key(number: int) -> int:
    return FIRST_KEY + number


def fill_workshop(repairs: int = 60) -> None:
    def make(model: Any, count: int, **values: Any) -> None:
        model.objects.bulk_create(
            model(id=key(i), name=f"{model.__name__} {i}", **{name: value(i) for name, value in values.items()})
            for i in range(count)
        )

    def link(model: Any, field: str, pairs: Iterable[tuple[Any, Any]]) -> None:
        through = getattr(model, field).through
        source = getattr(model, field).field.m2m_field_name()
        target = getattr(model, field).field.m2m_reverse_field_name()
        through.objects.bulk_create(through(**{f"{source}_id": one, f"{target}_id": other}) for one, other in pairs)

    make(Region, 6)
    make(Skill, 6)
    make(Supplier, 5, region_id=lambda i: key(i))
    make(Mechanic, 8)
    make(Customer, 20, region_id=lambda i: None if i % 5 == 0 else key(i % 6))
    make(Bicycle, 15, frame=lambda i: f"frame {i}", owner_id=lambda i: None if i % 4 == 0 else key(i))
    make(Ticket, repairs)
    make(Part, 10, supplier_id=lambda i: None if i % 4 == 0 else key(i % 5))
    make(LegacyInvoice, 7)
    make(Campaign, 7)
    types = ContentType.objects.get_for_models(Bicycle, Part, Customer, Repair)
    Depot.objects.bulk_create(Depot(uuid=uuid.UUID(int=key(i)), name=f"depot {i}") for i in range(6))
    Stage.objects.bulk_create(Stage(word=f"stage {i}") for i in range(6))
    make(
        Repair,
        repairs,
        customer_id=lambda i: key(i % 20),
        mechanic_id=lambda i: None if i % 7 == 0 else key(i % 8),
        inspector_id=lambda i: key((i * 3) % 8),
        bicycle_id=lambda i: None if i % 11 == 0 else f"frame {i % 17}",
        depot_id=lambda i: None if i % 13 == 0 else uuid.UUID(int=key(i % 8)),
        stage_id=lambda i: None if i % 6 == 0 else f"stage {i % 8}",
        ticket_id=lambda i: None if i % 9 == 0 else key(i + 10_000 if i % 10 == 0 else i),
        region_id=lambda i: None if i % 5 == 0 else key(i % 6),
        invoice_id=lambda i: None if i % 8 == 0 else key(i % 9),
        cause_type_id=lambda i: None if i % 5 == 0 else types[Bicycle if i % 2 else Part].pk,
        cause_id=lambda i: None if i % 5 == 0 else key(i % 12),
    )
    make(Photo, repairs, repair_id=lambda i: None if i % 5 == 0 else key(i // 3 * 2))
    make(Warranty, repairs // 2, repair_id=lambda i: key(i * 2))
    make(
        Remark,
        repairs,
        content_type_id=lambda i: types[Repair if i % 3 else Customer].pk,
        object_id=lambda i: key(i // 2),
    )
    numbers = range(repairs)
    link(Repair, "parts", ((key(i), key((i + j * 3) % 10)) for i in numbers for j in range(i % 4)))
    link(Repair, "stages", ((key(i), f"stage {(i + j) % 6}") for i in numbers for j in range(i % 3)))
    link(Campaign, "repairs", ((key((i + j) % 7), key(i)) for i in numbers for j in range(i % 3)))
    link(Mechanic, "skills", ((key(i), key((i + j) % 6)) for i in range(8) for j in range(i % 3)))


def workshop_prefetch(size: int | None, *more: Any) -> MemoizedPrefetch:
    """For all of LOOKUPS and `invoice`; one table is read whole."""
    return MemoizedPrefetch(
        MemoizedPrefetchConfig(Region, ["region", "customer__region"], prefetch_all=True, lru_cache_size=50),
        MemoizedPrefetchConfig(LegacyInvoice, ["invoice"], lru_cache_size=size),
        *(lookup for lookup in LOOKUPS if lookup not in ("region", "customer__region")),
        *more,
        model=Repair,
        lru_cache_size=size,
    )


def repairs(start: int, stop: int) -> list[Repair]:
    return list(Repair.objects.filter(pk__gte=key(start), pk__lt=key(stop)).order_by("pk"))


def reading(chunk: Iterable[Repair], more: bool = False, queries: bool = False) -> list[Any]:
    """
    All that the relations of these repairs show.

    Args:
        more: With those of MORE_LOOKUPS.
        queries: They may be loaded when they are read.
    """

    def no_query(*_: Any) -> None:
        raise AssertionError("reading an attached relation ran a query")

    def name(row: Any) -> Any:
        return None if row is None else (row.pk, row.name)

    def part(row: Part) -> Any:
        supplier = row.supplier
        return name(row), name(supplier), None if supplier is None else name(supplier.region)

    def reading_of(one: Repair) -> tuple[Any, ...]:
        bicycle, mechanic = one.bicycle, one.mechanic
        return (
            one.pk,
            name(one.customer),
            name(one.customer.region),
            name(mechanic),
            None if mechanic is None else sorted(map(name, mechanic.skills.all())),
            name(one.inspector),
            name(bicycle),
            None if bicycle is None else name(bicycle.owner),
            name(one.depot),
            None if one.stage is None else str(one.stage.pk),
            name(one.ticket),
            name(one.region),
            [part(row) for row in one.parts.all()],
            sorted(str(row.pk) for row in one.stages.all()),
            sorted(map(name, one.campaigns.all())),
            name(one.invoice),
        )

    def more_of(one: Repair) -> tuple[Any, ...]:
        mechanic = one.mechanic
        for photo in (*one.photos.all(), *one.photo_list):
            assert photo.repair.pk == one.pk
        return (
            [name(row) for row in one.photos.all()],
            [name(row) for row in one.photo_list],
            name(one.warranty) if hasattr(one, "warranty") else None,
            [name(row) for row in one.remarks.all()],
            name(one.cause),
            sorted((name(row), row.owner.pk) for row in one.customer.bicycles.all()),
            [name(row) for row in one.customer.remarks.all()],
            [name(row) for row in one.part_list],
            None if mechanic is None else sorted(map(name, mechanic.skill_list)),
        )

    with nullcontext() if queries else connection.execute_wrapper(no_query):
        return [(reading_of(one), more_of(one) if more else None) for one in chunk]


def djangos_reading(chunk: Sequence[Repair], more: bool = False) -> list[Any]:
    """The same after Django's own prefetch."""
    prefetch_related_objects(chunk, *LOOKUPS, *(MORE_LOOKUPS if more else ()))
    invoices = LegacyInvoice.objects.in_bulk()
    for one in chunk:
        one.invoice = invoices.get(one.invoice_id)
    return reading(chunk, more)
