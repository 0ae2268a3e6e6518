"""
Tests with more cases than every run has time for take them by turns: each run takes the same ones.

EVERY=1 takes all of them, as `make every` does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
EVERY = os.environ.get("EVERY") == "1"
# The first database has each test. What is tried at random is tried less often on the others.
ON_FIRST_DATABASE = not os.environ.get("DATABASE_URL")


def examples(on_first: int) -> int:
    """How many random examples a test tries: as many on the first database, and a third of them on another."""
    return on_first if EVERY or ON_FIRST_DATABASE else on_first // 3


def by_turns(values: Sequence[T], turn: int) -> Sequence[T]:
    """All values, or the one whose turn it is. Over the cases of a test, each value has its turn."""
    return values if EVERY else [values[turn % len(values)]]
