"""A bicycle workshop: one streamed model with every kind of relation, so that a chunk uses all of the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models

from tests.django_suites.own import take_for_own


class Word(str):
    """A key whose hash and comparison are written in Python, and can be made to do anything."""

    on_hash: Callable[[], Any] | None = None
    on_eq: Callable[[], Any] | None = None

    def __hash__(self) -> int:
        if Word.on_hash is not None:
            Word.on_hash()
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        if Word.on_eq is not None:
            Word.on_eq()
        return super().__eq__(other)


class WordField(models.CharField):
    def from_db_value(self, value: str | None, expression: object, connection: object) -> Word | None:
        return None if value is None else Word(value)

    def get_prep_value(self, value: Any) -> Any:
        return None if value is None else str.__str__(value)


# A field of its own is left to Django otherwise, and the engine would see no keys that run Python code.
take_for_own(WordField.from_db_value)
take_for_own(WordField.get_prep_value)


class Keyed(models.Model):
    """Keys beyond those that Python keeps an object for, so that every reference to one can be counted."""

    id = models.BigIntegerField(primary_key=True)
    name = models.CharField(max_length=50)

    class Meta:
        abstract = True


class Region(Keyed):
    pass


class Supplier(Keyed):
    region = models.ForeignKey(Region, on_delete=models.CASCADE, related_name="suppliers")


class Skill(Keyed):
    pass


class Mechanic(Keyed):
    skills = models.ManyToManyField(Skill, related_name="mechanics")


class Customer(Keyed):
    remarks = GenericRelation("Remark")
    region = models.ForeignKey(Region, on_delete=models.CASCADE, null=True, related_name="customers")


class Bicycle(Keyed):
    frame = models.CharField(max_length=20, unique=True)
    owner = models.ForeignKey(Customer, on_delete=models.CASCADE, null=True, related_name="bicycles")


class Depot(models.Model):
    uuid = models.UUIDField(primary_key=True)
    name = models.CharField(max_length=50)


class Stage(models.Model):
    word = WordField(max_length=20, primary_key=True)


class Ticket(Keyed):
    remarks = GenericRelation("Remark")


class Part(Keyed):
    supplier = models.ForeignKey(Supplier, on_delete=models.CASCADE, null=True, related_name="parts")

    class Meta:
        ordering = ["-name"]


class LegacyInvoice(Keyed):
    """Nothing refers to it by a foreign key."""


class Repair(Keyed):
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="repairs")
    mechanic = models.ForeignKey(Mechanic, on_delete=models.CASCADE, null=True, related_name="repairs")
    inspector = models.ForeignKey(Mechanic, on_delete=models.CASCADE, null=True, related_name="inspections")
    bicycle = models.ForeignKey(
        Bicycle, on_delete=models.CASCADE, to_field="frame", null=True, related_name="repairs", db_constraint=False
    )
    depot = models.ForeignKey(Depot, on_delete=models.CASCADE, null=True, related_name="repairs", db_constraint=False)
    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, null=True, related_name="repairs", db_constraint=False)
    ticket = models.OneToOneField(
        Ticket, on_delete=models.CASCADE, null=True, related_name="repair", db_constraint=False
    )
    region = models.ForeignKey(Region, on_delete=models.CASCADE, null=True, related_name="repairs")
    parts = models.ManyToManyField(Part, related_name="repairs")
    stages = models.ManyToManyField(Stage, related_name="passed_by")
    invoice_id = models.BigIntegerField(null=True)
    # What the repair is a consequence of: a bicycle, another repair's part, nothing, or what is gone.
    cause_type = models.ForeignKey(ContentType, on_delete=models.CASCADE, null=True)
    cause_id = models.BigIntegerField(null=True)
    cause = GenericForeignKey("cause_type", "cause_id")
    remarks = GenericRelation("Remark")


class Campaign(Keyed):
    repairs = models.ManyToManyField(Repair, related_name="campaigns")


class Photo(Keyed):
    repair = models.ForeignKey(Repair, on_delete=models.CASCADE, null=True, related_name="photos")

    class Meta:
        ordering = ["-name"]


class Warranty(Keyed):
    repair = models.OneToOneField(Repair, on_delete=models.CASCADE, null=True, related_name="warranty")


class Remark(Keyed):
    content_type = models.ForeignKey(ContentType, on_delete=models.CASCADE)
    object_id = models.BigIntegerField()
    subject = GenericForeignKey()

    class Meta:
        ordering = ["name"]
