"""Foreign keys whose rows are those of a queryset."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import Prefetch

from tests.python.conftest import rows_of_a_module
from tests.python.prefetching import SIZES, TO_ONE_ROWS, alike, plays
from tests.python.theatre.models import Person, Play, Role
from tests.python.theatre.rows import fill_theatre

theatre = rows_of_a_module(lambda: fill_theatre(5, 5))
pytestmark = pytest.mark.usefixtures("theatre")


@SIZES
@pytest.mark.parametrize("rows", TO_ONE_ROWS.values(), ids=TO_ONE_ROWS)
@pytest.mark.parametrize("path", ["author", "sequel_of__author"])
def test_querysets_of_foreign_keys(path: str, rows: Any, size: int | None) -> None:
    alike(plays, lambda: Prefetch(path, rows()), size=size, more_queries=1)


def test_deferred_foreign_keys() -> None:
    def chunk() -> list[Play]:
        return list(Play.objects.only("name").order_by("pk"))

    alike(chunk, lambda: Prefetch("author", Person.objects.filter(rank__gte=1)), "sequel_of")
    alike(chunk, lambda: Prefetch("roles", Role.objects.only("name")), "author__written")
