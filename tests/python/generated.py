"""What tests of generated cases have in common: how many examples are tried, and a theatre for each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import reset_queries, transaction
from hypothesis import HealthCheck, settings

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


def make_content_types() -> None:
    for model in NOTED:
        ContentType.objects.get_for_model(model)
