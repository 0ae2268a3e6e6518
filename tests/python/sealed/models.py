"""Models of django-seal."""

from __future__ import annotations

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models
from seal.models import SealableModel


class Editor(SealableModel):
    name = models.CharField(max_length=50)


class Subject(SealableModel):
    name = models.CharField(max_length=50)

    class Meta:
        ordering = ["-name"]


class Journal(SealableModel):
    name = models.CharField(max_length=50)
    editor = models.ForeignKey(Editor, on_delete=models.CASCADE, null=True, related_name="journals")
    subjects = models.ManyToManyField(Subject, related_name="journals")
    code = models.CharField(max_length=20, unique=True, null=True)
    archivist_id = models.IntegerField(null=True)  # of an editor, and no foreign key
    remarks = GenericRelation("Remark")


class Registration(SealableModel):
    journal = models.OneToOneField(Journal, on_delete=models.CASCADE, related_name="registration")


class Article(SealableModel):
    title = models.CharField(max_length=50)
    journal = models.ForeignKey(Journal, on_delete=models.CASCADE, related_name="articles")
    reviewer = models.ForeignKey(Editor, on_delete=models.CASCADE, null=True, related_name="reviewed")
    subjects = models.ManyToManyField(Subject, related_name="articles")
    coded = models.ForeignKey(Journal, on_delete=models.CASCADE, to_field="code", null=True, related_name="+")

    @property
    def paper(self) -> Journal:
        return self.journal


class Clipping(models.Model):
    """Not sealable itself, its relation is."""

    article = models.ForeignKey(Article, on_delete=models.CASCADE, related_name="clippings")


class Remark(SealableModel):
    content_type = models.ForeignKey(ContentType, on_delete=models.CASCADE)
    object_id = models.IntegerField()
    subject = GenericForeignKey()
