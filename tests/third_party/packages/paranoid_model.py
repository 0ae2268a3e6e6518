"""Deleted rows stay. A manager's all(), filter() and get() leave them out, each in its own way."""

from __future__ import annotations

from django.db import models
from django.db.models import Prefetch
from django.utils import timezone
from paranoid_model.models import Paranoid

from tests.third_party.frame import Situation


class Person(Paranoid):
    name = models.CharField(max_length=9)


class Tag(Paranoid):
    class Meta:
        base_manager_name = "objects"


class Phone(Paranoid):
    owner = models.ForeignKey(Person, models.CASCADE, related_name="phones")
    tag = models.ForeignKey(Tag, models.CASCADE, related_name="phones")


class Call(models.Model):
    phone = models.ForeignKey(Phone, models.CASCADE, related_name="calls")
    people = models.ManyToManyField(Person, related_name="calls")


def rows() -> None:
    persons = [Person.objects.create(name=f"p{at}") for at in range(5)]
    tags = [Tag.objects.create() for _ in range(3)]
    phones = [Phone.objects.create(owner=persons[at % 5], tag=tags[at % 3]) for at in range(7)]
    for at in range(9):
        Call.objects.create(phone=phones[at * 2 % 7]).people.set([persons[at % 5], persons[0]])
    for one in (persons[1], tags[1], phones[2]):
        models.QuerySet(type(one)).filter(pk=one.pk).update(deleted_at=timezone.now())


def calls() -> models.QuerySet[Call]:
    return Call.objects.order_by("pk")


def people() -> models.QuerySet[Person]:
    return Person.objects.all().order_by("pk")


def phones() -> models.QuerySet[Phone]:
    return Phone.objects.all().order_by("pk")


SITUATIONS = [
    Situation("foreign key", phones, "owner"),
    Situation("foreign key of a plain model", calls, "phone"),
    Situation("hidden by the base manager", phones, "tag"),
    Situation("back", people, "phones", read=lambda one: one.phones.count()),
    Situation("many-to-many", calls, "people"),
    Situation("many-to-many, back", people, "calls__phone"),
    Situation("below a memo", calls, "phone__owner__phones", "people__phones"),
    Situation("with the deleted", lambda: Person.objects.all(with_deleted=True).order_by("pk"), "phones"),
    Situation("a queryset", people, lambda: Prefetch("phones", Phone.objects.all(with_deleted=True))),
    Situation("to_attr", calls, lambda: Prefetch("people", Person.objects.all(), to_attr="some")),
]
