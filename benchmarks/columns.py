"""Rows of the table of editions, read through other models: one column each, or with code of their own."""

from __future__ import annotations

import gc
from time import perf_counter
from typing import Any

from django.db import connection, models
from django.db.models.signals import post_init

from .bookshop.models import Edition, EditionColumns
from .instances import as_it_is, built_natively, tuples
from .outcome import RECEIVER, Outcome

TABLE = Edition._meta.db_table
COLUMNS = {
    "text": "title",
    "uuid": "number",
    "decimal": "price",
    "datetime": "added",
    "date": "published",
    "boolean": "in_print",
    "json": "details",
}
PLAIN = ("title", "subtitle", "language", "slug", "blurb", "weight", "pages")
ROUNDS = 3


def model_of(name: str, columns: tuple[str, ...]) -> type[models.Model]:
    """A model of the key and some columns of an edition."""
    meta = type("Meta", (), {"app_label": "bookshop", "db_table": TABLE, "managed": False})
    fields = {column: Edition._meta.get_field(column).clone() for column in columns}
    return type(name, (models.Model,), {"__module__": __name__, "Meta": meta, **fields})


class EditionOfItsOwn(EditionColumns):
    class Meta:
        app_label = "bookshop"
        db_table = TABLE
        managed = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_new = False


def run(workload: str, contender: str) -> Outcome:
    outcome = Outcome()
    connection.ensure_connection()
    with connection.execute_wrapper(outcome):
        if workload == "columns":
            for figure, column in COLUMNS.items():
                one_column(figure, column, contender, outcome)
        elif workload == "rows-receiver":
            with_receiver(contender, outcome)
        else:
            outcome.add("seconds", seconds_of(EditionOfItsOwn, contender, outcome))
    return outcome


def seconds_of(model: type[models.Model], contender: str, outcome: Outcome) -> float:
    """The best of some rounds: short ones are disturbed more."""
    queryset = model.objects.all()
    best = float("inf")
    for _ in range(ROUNDS):
        read = as_it_is if contender == "django" else built_natively
        gc.collect()
        start = perf_counter()
        rows = tuples(queryset) if contender == "raw" else list(read(queryset.all()))
        best = min(best, perf_counter() - start)
        outcome.checksum = sum(row[0] if contender == "raw" else row.pk for row in rows)
        del rows
    return best


def one_column(figure: str, column: str, contender: str, outcome: Outcome) -> None:
    seconds = seconds_of(model_of(f"Edition{figure.title()}", (column,)), contender, outcome)
    outcome.add(figure, seconds / Edition.objects.count() * 1e6)


def with_receiver(contender: str, outcome: Outcome) -> None:
    model = model_of("EditionWithReceiver", PLAIN)

    def receive(instance: Any, **_: Any) -> None:
        instance.title_before = instance.title

    post_init.connect(receive, sender=model)
    outcome.add("seconds", seconds_of(model, contender, outcome))
    post_init.disconnect(receive, sender=model)
    rows = list(model.objects.all())
    start = perf_counter()
    for row in rows:
        receive(signal=post_init, sender=model, instance=row)
    outcome.add(RECEIVER, perf_counter() - start)
