"""Every reference to what a MemoizedPrefetch remembers: those that the garbage collector can see, and those that count."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from typing import Any

from django.db.models import Model, QuerySet
from django.db.models.base import ModelState

from django_memoized_prefetch._engine import Links, Memo

_CONTAINERS = (dict, list, tuple, set, Model, ModelState, QuerySet)


def _holds(candidate: Any) -> bool:
    """Whether rows and keys may be referred to from there, and what that means is known."""
    if isinstance(candidate, type):
        return False
    return isinstance(candidate, _CONTAINERS) or type(candidate).__module__.startswith("django_memoized_prefetch")


def _reachable(roots: tuple[Any, ...]) -> list[Any]:
    found, known = list(roots), {id(root) for root in roots}
    for holder in found:
        for referent in gc.get_referents(holder):
            if id(referent) not in known and _holds(referent):
                known.add(id(referent))
                found.append(referent)
    return found


def tables(prefetch: Any) -> list[Any]:
    """The engine's tables."""
    return [one for one in _reachable((prefetch,)) if isinstance(one, (Memo, Links))]


def remembered(prefetch: Any) -> list[Any]:
    """Every row and key that the engine's tables hold, once."""
    return list(
        {
            id(one): one for table in tables(prefetch) for one in gc.get_referents(table) if one is not type(table)
        }.values()
    )


def _counts(objects: list[Any]) -> list[int]:
    return [sys.getrefcount(one) for one in objects]


# By the list, the loop and the call.
_OWN = _counts([object()])[0]


def unexplained(objects: list[Any], *roots: Any) -> list[str]:
    """
    The objects that more or fewer references count for than lead to them from the roots.

    Args:
        objects: To which nobody else refers but the roots, and this list, once.
    """
    seen: Counter[int] = Counter()
    for holder in _reachable(roots):
        seen.update(map(id, gc.get_referents(holder)))
    return [
        f"{type(one).__name__} {one!r}: {count - _OWN} references, {seen[id(one)]} explained"
        for one, count in zip(objects, _counts(objects))
        if count - _OWN != seen[id(one)]
    ]
