"""The tables of the demo. Their keys are the codes of aviation, and their columns are named as in the data set."""

from __future__ import annotations

from django.db import models


class Airline(models.Model):
    carrier = models.CharField(max_length=2, primary_key=True)
    name = models.CharField(max_length=60)


class Airport(models.Model):
    faa = models.CharField(max_length=3, primary_key=True)
    name = models.CharField(max_length=60)
    lat = models.FloatField()
    lon = models.FloatField()
    alt = models.IntegerField()
    tz = models.IntegerField()
    dst = models.CharField(max_length=1)
    tzone = models.CharField(max_length=40, null=True)
    # The airlines that fly here. Some fly to an airport that is not in the table (see Flight.dest).
    airlines = models.ManyToManyField(Airline, related_name="airports", db_constraint=False)


class Plane(models.Model):
    tailnum = models.CharField(max_length=6, primary_key=True)
    year = models.IntegerField(null=True)
    type = models.CharField(max_length=30)
    manufacturer = models.CharField(max_length=40)
    model = models.CharField(max_length=30)
    engines = models.IntegerField()
    seats = models.IntegerField()
    speed = models.IntegerField(null=True)
    engine = models.CharField(max_length=20)


class Flight(models.Model):
    flight = models.IntegerField()
    time = models.DateTimeField()
    dep_delay = models.IntegerField(null=True)
    arr_delay = models.IntegerField(null=True)
    air_time = models.IntegerField(null=True)
    distance = models.IntegerField()
    carrier = models.ForeignKey(Airline, models.PROTECT, related_name="flights")
    origin = models.ForeignKey(Airport, models.PROTECT, related_name="departures")
    # Real data: four airports (three on Puerto Rico) and 721 planes are missing from their tables, so there are no
    # constraints. With null=True such a flight's `dest` and `plane` are None once they are prefetched.
    dest = models.ForeignKey(Airport, models.DO_NOTHING, related_name="arrivals", null=True, db_constraint=False)
    plane = models.ForeignKey(Plane, models.DO_NOTHING, related_name="flights", null=True, db_constraint=False)
