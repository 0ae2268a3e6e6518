"""Versions of rows, with generic foreign keys to these, and a queryset for the versions of one object."""

from __future__ import annotations

import reversion
from django.contrib.auth.models import User
from django.db import models
from django.db.models import Prefetch
from reversion.models import Revision, Version

from tests.third_party.frame import Situation


@reversion.register()
class Author(models.Model):
    name = models.CharField(max_length=9)


@reversion.register(follow=["author"])
class Book(models.Model):
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    title = models.CharField(max_length=9)


def rows() -> None:
    user = User.objects.create_user("u")
    authors = [Author.objects.create(name=f"a{at}") for at in range(3)]
    for at in range(9):
        with reversion.create_revision():
            book = Book.objects.filter(pk=at % 4 + 1).first() or Book(author=authors[at % 3])
            book.title = f"t{at}"
            book.save()
            reversion.set_user(user)


def versions() -> models.QuerySet[Version]:
    return Version.objects.order_by("pk")


SITUATIONS = [
    Situation("versions", versions, "object", "revision__user", read=lambda version: version.field_dict),
    Situation("versions, and below", versions, "content_type", "revision__version_set"),
    Situation("revisions", lambda: Revision.objects.order_by("pk"), "version_set__object", "user"),
    Situation("revisions in order", lambda: Revision.objects.all(), "version_set"),
    Situation("of a model", lambda: Version.objects.get_for_model(Book).order_by("pk"), "revision", "object__author"),
    Situation("of an object", lambda: Version.objects.get_for_object(Author.objects.get(pk=1)), "object__books"),
    Situation(
        "to_attr",
        lambda: Revision.objects.order_by("pk"),
        lambda: Prefetch("version_set", Version.objects.get_for_model(Author), to_attr="authors"),
    ),
]
