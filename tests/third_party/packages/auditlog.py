"""A log of changes, reached by the package's own generic relation."""

from __future__ import annotations

from auditlog.models import AuditlogHistoryField, LogEntry
from auditlog.registry import auditlog
from django.db import models
from django.db.models import Prefetch

from tests.third_party.frame import Situation


class Author(models.Model):
    name = models.CharField(max_length=9)
    history = AuditlogHistoryField()


class Book(models.Model):
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    id = models.CharField(max_length=9, primary_key=True)
    history = AuditlogHistoryField(pk_indexable=False)


auditlog.register(Author)
auditlog.register(Book)


def rows() -> None:
    authors = [Author.objects.create(name=f"a{at}") for at in range(5)]
    for at in range(8):
        Book.objects.create(id=f"b{at}", author=authors[at * 2 % 5])
        authors[at % 5].name += "x"
        authors[at % 5].save()


def books() -> models.QuerySet[Book]:
    return Book.objects.order_by("pk")


def authors() -> models.QuerySet[Author]:
    return Author.objects.order_by("pk")


SITUATIONS = [
    Situation("history", authors, "history", read=lambda author: author.history.latest().pk),
    Situation("history, by text", books, "history", read=lambda book: [e.changes_dict for e in book.history.all()]),
    Situation("history below a memo", books, "author__history__content_type", "author__books__history"),
    Situation("entries", lambda: LogEntry.objects.order_by("pk"), "content_type", "actor", read=str),
    Situation("entries of an object", lambda: LogEntry.objects.get_for_model(Author).order_by("pk"), "content_type"),
    Situation("to_attr", books, lambda: Prefetch("author__history", LogEntry.objects.filter(action=1), to_attr="some")),
]
