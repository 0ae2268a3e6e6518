"""Hidden rows, subclasses, querysets passed through managers, and tracked fields."""

from __future__ import annotations

from django.db import models
from django.db.models import Prefetch
from model_utils import Choices, FieldTracker
from model_utils.fields import StatusField
from model_utils.managers import InheritanceManager, JoinManager, QueryManager
from model_utils.models import SoftDeletableModel, StatusModel, TimeStampedModel

from tests.third_party.frame import Situation


class Place(TimeStampedModel):
    name = models.CharField(max_length=9)
    objects = InheritanceManager()
    tracker = FieldTracker()

    class Meta:
        ordering = ["pk"]


class Bar(Place):
    beers = models.IntegerField()


class Restaurant(Place):
    stars = models.IntegerField()


class Owner(StatusModel):
    STATUS = Choices("active", "gone")
    place = models.ForeignKey(Place, models.CASCADE, related_name="owners")
    tracker = FieldTracker(["status", "place_id"])


class Note(SoftDeletableModel):
    owner = models.ForeignKey(Owner, models.CASCADE, related_name="notes")
    reply_to = models.ForeignKey("self", models.CASCADE, null=True, related_name="replies")


class Hidden(SoftDeletableModel):
    class Meta:
        base_manager_name = "objects"


class Visit(models.Model):
    STATUS = Choices("draft", "public")
    status = StatusField()
    place = models.ForeignKey(Place, models.CASCADE, related_name="visits")
    places = models.ManyToManyField(Place, related_name="all_visits")
    notes = models.ManyToManyField(Note, related_name="visits")
    hidden = models.ForeignKey(Hidden, models.CASCADE)
    objects = models.Manager()
    public = QueryManager(status="public").order_by("-pk")
    joined = JoinManager()

    class Meta:
        default_manager_name = "public"


def rows() -> None:
    places = [
        (Bar if at % 2 else Restaurant).objects.create(name=f"p{at}", **{"beers" if at % 2 else "stars": at})
        for at in range(4)
    ]
    owners = [Owner.objects.create(place=places[at % 3], status="gone" if at == 2 else "active") for at in range(6)]
    notes: list[Note] = []
    for at in range(8):
        notes.append(Note(owner=owners[at % 5], is_removed=at % 4 == 1, reply_to=notes[at // 2] if at else None))
        notes[-1].save()
    hidden = [Hidden(is_removed=at == 1) for at in range(3)]
    for one in hidden:
        one.save()
    for at in range(8):
        visit = Visit(status=("draft", "public")[at % 3 > 0], place=places[at % 4], hidden=hidden[at % 3])
        visit.save()
        visit.places.set([places[at % 4], places[(at + 1) % 4]])
        visit.notes.set([notes[at], notes[(at + 1) % 8]])


def visits() -> models.QuerySet[Visit]:
    return Visit.objects.order_by("pk")


def owners() -> models.QuerySet[Owner]:
    return Owner.objects.order_by("pk")


def subclasses() -> models.QuerySet[Place]:
    return Place.objects.order_by("pk").select_subclasses()


SITUATIONS = [
    Situation("subclasses", subclasses, "owners", read=lambda place: type(place).__name__),
    Situation("subclasses, and a memo", subclasses, "owners__place", "visits"),
    Situation("subclasses by a foreign key", visits, lambda: Prefetch("place", Place.objects.select_subclasses())),
    Situation("subclasses by a many-to-many", visits, lambda: Prefetch("places", subclasses(), to_attr="all")),
    Situation("instances of one", lambda: Place.objects.instance_of(Bar, Restaurant), "visits"),
    Situation("status", lambda: Owner.active.all().order_by("pk"), "place", "notes"),
    Situation("hidden rows, back", owners, "notes"),
    Situation("hidden rows by a foreign key", lambda: Note.available_objects.order_by("pk"), "reply_to", "replies"),
    Situation("hidden rows, many-to-many", visits, "notes"),
    Situation("hidden rows below", visits, "notes__owner__notes"),
    Situation("hidden by the base manager", visits, "hidden"),
    Situation("a manager that is a query", lambda: Place.objects.order_by("pk"), "visits", "all_visits"),
    Situation("tracked", owners, "place", read=lambda one: (one.tracker.previous("status"), one.tracker.changed())),
    Situation("tracked, of fewer columns", lambda: owners().only("place"), "place", read=lambda one: one.pk),
    Situation("tracked below", visits, "place__owners", read=lambda visit: visit.place.tracker.changed()),
    Situation("a queryset", owners, lambda: Prefetch("notes", Note.all_objects.order_by("-pk"), to_attr="all_notes")),
    Situation("available", owners, lambda: Prefetch("notes", Note.available_objects.all())),
]
