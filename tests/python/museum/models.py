"""A second application whose through model is called like one in the catalogue."""

from __future__ import annotations

from django.db import models

from tests.python.catalogue.models import Volume


class Label(models.Model):
    text = models.CharField(max_length=50)

    class Meta:
        ordering = ["text"]


class Labelling(models.Model):
    volume = models.ForeignKey(Volume, on_delete=models.CASCADE, related_name="museum_labellings")
    label = models.ForeignKey(Label, on_delete=models.CASCADE)


class Exhibit(models.Model):
    """The same names as in the catalogue, with other targets: chunks of mixed classes."""

    title = models.CharField(max_length=50)
    country = models.ForeignKey("catalogue.Country", on_delete=models.CASCADE, null=True, related_name="exhibits")
    labels = models.ManyToManyField(Label, related_name="exhibits")
