"""References to what a MemoizedPrefetch remembers: those that the garbage collector can see, and those that count."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from typing import Any

from django.db.models import Model, QuerySet
from django.db.models.base import ModelState

from django_memoized_prefetch._engine import Links, Memo

_CONTAINERS = (dict, list, tuple, set, Model, ModelState, QuerySet)


def _holds(kind: type) -> bool:
    """Whether rows and keys may be referred to from objects of this class, and what that means is known."""
    if issubclass(kind, type):
        return False
    return issubclass(kind, _CONTAINERS) or kind.__module__.startswith("django_memoized_prefetch")


def counts(objects: list[Any]) -> list[int]:
    """How often each is referred to, `OWN` included."""
    return [sys.getrefcount(one) for one in objects]


# By the list, the loop and the call, which from Python 3.14 on borrows the loop's.
OWN = counts([object()])[0]


class References:
    """
    What leads to the rows and keys that a MemoizedPrefetch remembers.

    Args:
        roots: Where the references may start: the MemoizedPrefetch, and others that hold its rows or keys.

    tables: The engine's tables.
    """

    def __init__(self, *roots: Any) -> None:
        holders, known = list(roots), {id(root) for root in roots}
        kinds: dict[type, bool] = {}
        self._explained: Counter[int] = Counter()
        for holder in holders:
            for referent in gc.get_referents(holder):
                self._explained[id(referent)] += 1
                kind = type(referent)
                if kind not in kinds:
                    kinds[kind] = _holds(kind)
                if kinds[kind] and id(referent) not in known:
                    known.add(id(referent))
                    holders.append(referent)
        self.tables = [one for one in holders if isinstance(one, (Memo, Links))]

    def held(self) -> list[Any]:
        """Every row and key that the tables hold, once."""
        held = {id(one): one for table in self.tables for one in gc.get_referents(table) if one is not type(table)}
        return list(held.values())

    def wrong(self) -> list[str]:
        """The rows and keys that more or fewer references count for than lead to them from the roots."""
        held = self.held()
        return [
            f"{type(one).__name__} {one!r}: {count - OWN} references, {self._explained[id(one)]} explained"
            for one, count in zip(held, counts(held))
            if count - OWN != self._explained[id(one)]
        ]
