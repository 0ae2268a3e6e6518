"""What worker processes run. They import models only when Django is set up: a spawned process begins with nothing."""

from __future__ import annotations

import os
from typing import Any

prefetch: Any = None


def set_up(spawned: bool) -> None:
    global prefetch
    if spawned:
        import django

        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.python.child_settings"
        django.setup()
    from django.db import connections

    from tests.python.workshop.rows import workshop_prefetch

    connections.close_all()  # a forked process must not use its parent's
    if spawned:
        prefetch = workshop_prefetch(1000)
    else:
        prefetch.memoized_objects  # noqa: B018 - the parent's instance, as it was inherited


def work(bounds: tuple[int, int]) -> tuple[list[Any], list[Any], Any, int]:
    """What the range's repairs show, by this package and by Django, the stats so far, and which process it was."""
    from tests.python.workshop.rows import djangos_reading, reading, repairs

    ours = reading(prefetch.process_chunk(repairs(*bounds)))
    return ours, djangos_reading(repairs(*bounds)), prefetch.stats(), os.getpid()


def counts_of(one: Any) -> dict[str, int]:
    names = ("requests", "hits", "misses", "fetched", "missing", "evicted", "queries")
    return {name: getattr(one, name) for name in names}
