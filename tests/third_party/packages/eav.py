"""Attributes stored as rows: an entity made with each row, a generic relation, and a queryset class of the package."""

from __future__ import annotations

import eav
from django.db import models
from django.db.models import Prefetch
from eav.models import Attribute, Value

from tests.third_party.frame import Situation

# It remembers what was read through it. What is read is compared anyway.
IGNORED = {"eav"}


class Patient(models.Model):
    name = models.CharField(max_length=9)


class Visit(models.Model):
    patient = models.ForeignKey(Patient, models.CASCADE, related_name="visits")
    others = models.ManyToManyField(Patient, related_name="all_visits")


def ready() -> None:
    eav.register(Patient)


def rows() -> None:
    for name, datatype in (("age", Attribute.TYPE_INT), ("town", Attribute.TYPE_TEXT)):
        Attribute.objects.create(name=name, datatype=datatype)
    patients = [Patient.objects.create(name=f"p{at}", eav__age=at, eav__town=f"t{at % 2}") for at in range(5)]
    for at in range(8):
        Visit.objects.create(patient=patients[at % 5]).others.set([patients[at % 5], patients[0]])


def patients() -> models.QuerySet[Patient]:
    return Patient.objects.order_by("pk")


def visits() -> models.QuerySet[Visit]:
    return Visit.objects.order_by("pk")


def attributes(patient: Patient) -> list[object]:
    return [patient.eav.age, patient.eav.town]


SITUATIONS = [
    Situation("values", patients, "eav_values__attribute", read=attributes),
    Situation("filtered by them", lambda: Patient.objects.filter(eav__age__gte=0).order_by("pk"), "eav_values"),
    Situation("not prefetched", visits, "patient", read=lambda visit: attributes(visit.patient)),
    Situation("below a foreign key", visits, "patient__eav_values", read=lambda visit: attributes(visit.patient)),
    Situation("below a many-to-many", visits, "others__eav_values__attribute"),
    Situation("values themselves", lambda: Value.objects.order_by("pk"), "entity_pk_int__visits", "attribute"),
    Situation("to_attr", visits, lambda: Prefetch("patient__eav_values", Value.objects.order_by("-pk"), to_attr="all")),
]
