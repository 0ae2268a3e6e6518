"""Models with a second model for their past, reached by a descriptor, and foreign keys to rows as they were."""

from __future__ import annotations

from datetime import datetime, timezone

from django.db import models
from django.db.models import Prefetch
from simple_history.models import HistoricalRecords, HistoricForeignKey, HistoricOneToOneField

from tests.third_party.frame import Situation

BEFORE = datetime(2020, 1, 1, tzinfo=timezone.utc)
THEN = datetime(2020, 2, 1, tzinfo=timezone.utc)
AFTER = datetime(2020, 3, 1, tzinfo=timezone.utc)


class Writer(models.Model):
    name = models.CharField(max_length=9)
    history = HistoricalRecords(related_name="past")


class Text(models.Model):
    writer = HistoricForeignKey(Writer, models.CASCADE, related_name="texts")
    readers = models.ManyToManyField(Writer, related_name="read")
    history = HistoricalRecords(m2m_fields=[readers])


class Cover(models.Model):
    text = HistoricOneToOneField(Text, models.CASCADE, related_name="cover")
    history = HistoricalRecords()


def saved(instance: models.Model, date: datetime) -> models.Model:
    instance._history_date = date
    instance.save()
    return instance


def rows() -> None:
    writers = [saved(Writer(name=f"w{at}"), BEFORE) for at in range(3)]
    texts = []
    for at in range(6):
        texts.append(saved(Text(writer=writers[at % 3]), BEFORE))
        texts[-1].readers.set([writers[at % 3], writers[(at + 1) % 3]])
        if at % 2:
            saved(Cover(text=texts[-1]), BEFORE)
    for writer in writers:
        writer.name += " new"
        saved(writer, AFTER)
    for at, text in enumerate(texts):
        text.writer = writers[(at + 1) % 3]
        saved(text, AFTER)


def texts() -> models.QuerySet[Text]:
    return Text.objects.order_by("pk")


def past_texts() -> models.QuerySet[models.Model]:
    return Text.history.order_by("pk")


SITUATIONS = [
    Situation("history", texts, "history", raises=True),
    Situation("history by its related name", lambda: Writer.objects.order_by("-texts__pk"), "past"),
    Situation("foreign key", texts, "writer", "writer__past"),
    Situation("many-to-many", texts, "readers", read=lambda text: text.history.count()),
    Situation("one-to-one, back", texts, "cover", "writer__texts__cover"),
    Situation("past rows", past_texts, "writer", "history_user"),
    Situation("past rows, and one of theirs that cannot be", past_texts, "readers", raises=True),
    Situation("past rows with what is before them", past_texts, "writer__past", read=lambda one: one.prev_record),
    Situation("past rows, and the rows", past_texts, "history_relation", raises=True),
    Situation("as they were", lambda: Text.history.as_of(THEN).order_by("pk"), "writer"),
    Situation("as they were, back", lambda: Text.history.as_of(THEN).order_by("pk"), "writer__texts__cover"),
    Situation("as they were, and a one-to-one", lambda: Text.history.as_of(THEN).order_by("pk"), "cover", raises=True),
    Situation(
        "as they were, many-to-many", lambda: Text.history.as_of(THEN).order_by("pk"), "readers", raises=True, more=1
    ),
    Situation("as they are", lambda: Text.history.as_of(AFTER).order_by("pk"), "writer__texts"),
    Situation("the latest of each", lambda: Text.history.latest_of_each().order_by("pk"), "writer"),
    Situation("a queryset", texts, lambda: Prefetch("writer", Writer.history.as_of(THEN))),
    Situation("to_attr", texts, lambda: Prefetch("writer__past", Writer.history.order_by("-pk"), to_attr="before")),
]
