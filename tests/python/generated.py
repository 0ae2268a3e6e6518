"""What tests of generated cases share: how many are tried, a theatre for each, and the comparison with Django."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import reset_queries, transaction
from django.db.models import prefetch_related_objects
from hypothesis import HealthCheck, event, reject, settings

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.graph import Comparison
from tests.python.lookups import Rows, Wanted, by_chance, is_ordered_attribute
from tests.python.queries import outcome
from tests.python.theatre.rows import NOTED, fill_theatre
from tests.python.turns import examples


def example_count(count: int) -> int:
    """How many examples are tried where a run tries `count` of them, unless PROPERTY_EXAMPLES says another number."""
    return int(os.environ.get("PROPERTY_EXAMPLES") or examples(count))


def property_settings(count: int) -> Any:
    """
    Tries `count` examples, the same ones in every run; or PROPERTY_EXAMPLES, others each time.

    `make properties` tries 10,000.
    """
    return settings(
        max_examples=example_count(count),
        deadline=None,
        derandomize="PROPERTY_EXAMPLES" not in os.environ,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def theatre(*arguments: Any, then: Callable[[], None] = lambda: None, **named: Any) -> Iterator[None]:
    """A theatre that is gone afterwards. The arguments are those of `fill_theatre`; `then` ends the filling."""
    reset_queries()
    with transaction.atomic():
        fill_theatre(*arguments, **named)
        then()
        yield
        transaction.set_rollback(True)


Process = Callable[[list[Any]], object]


def as_given(lookups: list[Wanted], size: int | None) -> list[Any]:
    """The lookups as MemoizedPrefetch takes them. Gives the example up if a Prefetch refuses its arguments."""
    try:
        return [lookup.given(size) for lookup in lookups]
    except Exception:
        event("a Prefetch refuses its arguments")
        reject()


def processing(given: list[Any], lookups: list[Wanted], **options: Any) -> Process:
    """
    What processes a chunk. If MemoizedPrefetch refuses the lookups, it raises that error each time, as Django would.

    Gives the example up if `prefetch_all` reads a queryset that fails: Django reads it only if there is need.
    """
    try:
        return MemoizedPrefetch(*given, **options).process_chunk
    except Exception as error:
        whole = [lookup.rows for lookup in lookups if lookup.as_config == "all" and isinstance(lookup.rows, Rows)]
        if type(error) in [type(outcome(list, rows.make())[0]) for rows in whole]:
            event("prefetch_all cannot be read")
            reject()
        return partial(_refuse, error)


def _refuse(error: Exception, _: list[Any]) -> None:
    raise error


def compare(process: Process, lookups: list[Wanted], ours: list[Any], theirs: list[Any]) -> tuple[list[str], list[str]]:
    """Processes ours, and theirs by Django: they are alike, or fail alike. Returns the queries of both."""
    expected, their_queries = outcome(prefetch_related_objects, theirs, *[lookup.make() for lookup in lookups])
    error, queries = outcome(process, ours)
    assert type(error) is type(expected), f"{error!r} instead of {expected!r}"
    if expected is None:
        event("compared")
        Comparison(is_ordered_attribute, by_chance(lookups)).graphs(ours, theirs)
        return queries, their_queries
    event(f"raises {type(expected).__name__}")
    return [], []


def make_content_types() -> None:
    for model in NOTED:
        ContentType.objects.get_for_model(model)
