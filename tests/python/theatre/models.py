"""A theatre: one schema with every kind of relation and of key that Django has."""

from __future__ import annotations

import uuid
from typing import Any

import django
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models


def loose(to: Any, **options: Any) -> Any:
    """A nullable foreign key whose row may be gone."""
    return models.ForeignKey(to, models.DO_NOTHING, null=True, db_constraint=False, **options)


class City(models.Model):
    """A text key."""

    code = models.CharField(max_length=10, primary_key=True)
    name = models.CharField(max_length=20)
    rank = models.IntegerField(default=0)
    notes = GenericRelation("Note", related_query_name="city")


class Person(models.Model):
    name = models.CharField(max_length=20)
    rank = models.IntegerField(default=0)
    hometown = loose(City, related_name="inhabitants")
    mentor = loose("self", related_name="pupils")
    friends = models.ManyToManyField("self")
    idols = models.ManyToManyField("self", symmetrical=False, related_name="fans")
    notes = GenericRelation("Note", related_query_name="person")


class Passport(models.Model):
    """The relation is the primary key."""

    person = models.OneToOneField(Person, models.DO_NOTHING, primary_key=True, db_constraint=False)
    name = models.CharField(max_length=20)
    rank = models.IntegerField(default=0)
    issued_in = loose(City, related_name="+")


class Locker(models.Model):
    """A UUID key."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=20)
    rank = models.IntegerField(default=0)
    holder = models.OneToOneField(Person, models.DO_NOTHING, null=True, db_constraint=False, related_name="locker")
    notes = GenericRelation("Note", related_query_name="locker")


class OpenManager(models.Manager):
    def get_queryset(self) -> models.QuerySet[Any]:
        return super().get_queryset().filter(closed=False)


class Company(models.Model):
    """The default manager hides rows, the base manager does not."""

    name = models.CharField(max_length=20)
    rank = models.IntegerField(default=0)
    closed = models.BooleanField(default=False)
    seat = loose(City, related_name="companies")

    objects = OpenManager()
    everything = models.Manager()

    class Meta:
        ordering = ["rank", "-name"]


class Sponsor(models.Model):
    """The base manager hides rows."""

    name = models.CharField(max_length=20)
    rank = models.IntegerField(default=0)
    closed = models.BooleanField(default=False)

    objects = models.Manager()
    open_ones = OpenManager()

    class Meta:
        base_manager_name = "open_ones"


class Tag(models.Model):
    name = models.CharField(max_length=20)
    rank = models.IntegerField(default=0)


class Genre(models.Model):
    name = models.CharField(max_length=20)
    rank = models.IntegerField(default=0)

    class Meta:
        ordering = ["-rank", "name"]


class Prop(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=20)
    rank = models.IntegerField(default=0)


class Play(models.Model):
    name = models.CharField(max_length=20)
    rank = models.IntegerField(default=0)
    code = models.CharField(max_length=10, unique=True)
    author = loose(Person, related_name="written")
    director = loose(Person, related_name="directed")
    city = loose(City)
    company = loose(Company, related_name="plays")
    sponsor = loose(Sponsor, related_name="plays")
    sequel_of = loose("self", to_field="code", related_name="sequels")
    tags = models.ManyToManyField(Tag)
    genres = models.ManyToManyField(Genre, related_name="plays")
    props = models.ManyToManyField(Prop, related_query_name="used_in")
    cities = models.ManyToManyField(City, related_name="shown_plays")
    companies = models.ManyToManyField(Company, related_name="shown_plays")
    cast = models.ManyToManyField(Person, through="Role", through_fields=("play", "person"), related_name="plays_in")
    notes = GenericRelation("Note", related_query_name="play")

    @property
    def writer(self) -> Any:
        return self.author


class CreditedManager(models.Manager):
    def get_queryset(self) -> models.QuerySet[Any]:
        return super().get_queryset().filter(credited=True)


class Role(models.Model):
    """One person may play several roles in one play. Django ignores this manager when it follows the many-to-many."""

    name = models.CharField(max_length=20)
    rank = models.IntegerField(default=0)
    credited = models.BooleanField(default=True)
    play = models.ForeignKey(Play, models.DO_NOTHING, related_name="roles", db_constraint=False)
    person = models.ForeignKey(Person, models.DO_NOTHING, related_name="roles", db_constraint=False)
    understudy = loose(Person, related_name="understudied")

    objects = CreditedManager()


class Note(models.Model):
    """Keys of every type in one text column."""

    name = models.CharField(max_length=20)
    rank = models.IntegerField(default=0)
    writer = loose(Person)
    content_type = models.ForeignKey(ContentType, models.CASCADE, null=True)
    object_id = models.CharField(max_length=40, null=True)
    target = GenericForeignKey()


class Work(models.Model):
    name = models.CharField(max_length=20)
    rank = models.IntegerField(default=0)
    composer = loose(Person, related_name="works")
    tags = models.ManyToManyField(Tag, related_name="works")


class Opera(Work):
    """Multi-table inheritance: a row of its own and one of Work."""

    acts = models.IntegerField(default=3)
    librettist = loose(Person, related_name="operas")
    genres = models.ManyToManyField(Genre, related_name="operas")


class ListedWork(Work):
    class Meta:
        proxy = True


class Review(models.Model):
    name = models.CharField(max_length=20)
    rank = models.IntegerField(default=0)
    work = loose(Work, related_name="reviews")
    opera = loose(Opera, related_name="opera_reviews")
    listed = loose(ListedWork, related_name="listings")


class Seat(models.Model):
    """A key of two columns, where Django has those."""

    if django.VERSION >= (5, 2):
        pk = models.CompositePrimaryKey("hall", "number")
    hall = models.IntegerField()
    number = models.IntegerField()
    name = models.CharField(max_length=20)
    rank = models.IntegerField(default=0)
    subscriber = loose(Person, related_name="seats")

    class Meta:
        unique_together = [("hall", "number")]


class Ticket(models.Model):
    name = models.CharField(max_length=20)
    rank = models.IntegerField(default=0)
    hall = models.IntegerField()
    number = models.IntegerField()
    seat = models.ForeignObject(
        Seat, models.CASCADE, from_fields=["hall", "number"], to_fields=["hall", "number"], related_name="tickets"
    )
    play = loose(Play, related_name="tickets")
