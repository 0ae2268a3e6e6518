"""`manage.py plan_prefetch`, also `python -m django_memoized_prefetch plan`: a plan without a line of code."""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldError, ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from django.db.models import Model, QuerySet
from django.db.utils import DatabaseError

from ..._lookahead.plan import Plan, count
from ..._memory.amount import parse_bytes
from ..._prefetch import MemoizedPrefetch
from ..._reports.plot import drawing_classes


class Command(BaseCommand):  # type: ignore[misc]
    help = "Tells what a run over a table would fetch with MemoizedPrefetch, from the keys of its rows alone."
    requires_system_checks: list[str] = []  # as Django declares it

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("model", help="the model that is streamed: app.Model")
        parser.add_argument("lookups", nargs="+", help="relations, as for prefetch_related: author author__country")
        parser.add_argument("--chunk-size", type=int, default=2_000, metavar="N", help="rows of a chunk (2000)")
        parser.add_argument("--lru-cache-size", type=int, metavar="N", help="rows of each table to keep (10000)")
        parser.add_argument("--memory", help='find the sizes that are best within this, such as "200 MB"')
        parser.add_argument("--filter", action="append", default=[], metavar="FIELD=VALUE", help="may be repeated")
        parser.add_argument("--order-by", action="append", default=[], metavar="FIELD", help="may be repeated")
        parser.add_argument("--rows", type=int, metavar="N", help="read only the first rows")
        parser.add_argument("--database", default=None, metavar="ALIAS", help="the database to read from")
        parser.add_argument("--svg", metavar="FILE", help="draw the curves of all tables (needs matplotlib)")
        parser.add_argument("--json", action="store_true", help="print all figures as JSON")

    def handle(self, **options: Any) -> None:
        try:
            rows = rows_of(options)
            size = {} if options["lru_cache_size"] is None else {"lru_cache_size": options["lru_cache_size"]}
            check_first(options)
            prefetch = MemoizedPrefetch(*options["lookups"], **size)
            shows = sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None
            plan = prefetch.plan(rows, options["chunk_size"], rows=options["rows"], progress=shows or None)
            sizes = plan.sizes(options["memory"]) if options["memory"] is not None else None
            self._tell(plan, sizes, options)
        except (AttributeError, FieldError, ImportError, LookupError, TypeError, ValidationError, ValueError) as error:
            message = "; ".join(error.messages) if isinstance(error, ValidationError) else str(error)
            raise CommandError(message) from error
        except (DatabaseError, OSError) as error:
            raise CommandError(f"{type(error).__name__}: {error}") from error

    def _tell(self, plan: Plan, sizes: dict[str, int] | None, options: dict[str, Any]) -> None:
        if options["json"]:
            figures = plan.as_dict() if sizes is None else {**plan.as_dict(), "sizes": sizes}
            self.stdout.write(json.dumps(figures, indent=2))
        else:
            self.stdout.write(str(plan))
            if sizes is not None:
                part = (
                    f" for the first {count(plan.rows, 'row')}; what they leave is shared out" if plan.is_part else ""
                )
                self.stdout.write(f"\nthe best within {options['memory']}{part}: lru_cache_size={sizes}")
        if options["svg"]:
            plan.plot().figure.savefig(options["svg"], format="svg", facecolor="white")
            self.stderr.write(f"The curves are in {options['svg']}.")


def check_first(options: dict[str, Any]) -> None:
    """Raises what would come up only after all keys have been read."""
    if options["memory"] is not None:
        parse_bytes(options["memory"], "--memory")
    if options["svg"]:
        drawing_classes()
        directory = Path(options["svg"]).parent
        if not directory.is_dir():
            msg = f"--svg: there is no directory {directory}."
            raise ValueError(msg)


def rows_of(options: dict[str, Any]) -> QuerySet[Any]:
    """The queryset that the arguments describe."""
    model = model_of(options["model"])
    rows: QuerySet[Any] = model._default_manager.all()
    if options["database"] is not None:
        if options["database"] not in connections:
            msg = f"there is no database {options['database']!r}; databases: {', '.join(connections)}."
            raise ValueError(msg)
        rows = rows.using(options["database"])
    for condition in options["filter"]:
        name, is_given, value = condition.partition("=")
        if not is_given:
            msg = f"--filter must be FIELD=VALUE, such as published__gte=2020-01-01, got {condition!r}."
            raise ValueError(msg)
        rows = rows.filter(**{name: value_of(name, value)})
    return rows.order_by(*options["order_by"]) if options["order_by"] else rows


def model_of(label: str) -> type[Model]:
    """The model of a label, in any case of its letters."""
    try:
        model: type[Model] = apps.get_model(label)
        return model
    except (LookupError, ValueError):
        labels = [model._meta.label for model in apps.get_models()]
        close = difflib.get_close_matches(label, labels, n=1, cutoff=0.5)
        same = [one for one in labels if one.rpartition(".")[2].lower() == label.rpartition(".")[2].lower()]
        hint = f"did you mean {(same or close)[0]!r}?" if same or close else f"models: {', '.join(sorted(labels))}."
        msg = f"there is no model {label!r}; {hint}"
        raise ValueError(msg) from None


def value_of(name: str, value: str) -> Any:
    """The value of a condition. Django converts texts, but not lists and booleans of lookups."""
    if name.endswith(("__in", "__range")):
        return value.split(",")
    if name.endswith("__isnull"):
        if value.lower() not in ("true", "false"):
            msg = f"--filter {name} must be true or false, got {value!r}."
            raise ValueError(msg)
        return value.lower() == "true"
    return value
