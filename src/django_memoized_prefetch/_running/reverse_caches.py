"""
Reverse one-to-one caches of remembered rows that lead to objects of a chunk.

They are the chunk's: when its user begins the next one, they are taken off again, so that a remembered row keeps no
object alive.
"""

from __future__ import annotations

import sys
from threading import Thread, current_thread
from typing import Any
from weakref import ref

from .._engine import detach_reverse

# By id of the row and name: the row, and the chunk's object that it leads to.
Lent = dict[tuple[int, str], tuple[Any, Any]]


class ReverseCaches:
    """Of the latest chunk of each user."""

    def __init__(self) -> None:
        self._by_user: dict[int, tuple[ref[Any], Lent]] = {}

    def of_user(self) -> Lent:
        """Those of the chunk that is running here."""
        user = current_user()
        return self._by_user.setdefault(id(user), (ref(user), {}))[1]

    def end_previous_chunk(self) -> None:
        """The chunk before is no longer this user's current one, nor that of users that are gone."""
        user = current_user()
        for number, (reference, lent) in list(self._by_user.items()):
            other = reference()
            if other is user or is_over(other):
                self._by_user.pop(number, None)
                detach_reverse(lent)

    def detach_all(self) -> None:
        while self._by_user:
            detach_reverse(self._by_user.popitem()[1][1])

    def places(self) -> set[tuple[int, str]]:
        """All of them, by id of the row and name."""
        return {place for _, lent in list(self._by_user.values()) for place in list(lent)}


def current_user() -> Any:
    """Of those that may use an instance at the same time, threads and the greenlets of one, the one that is running."""
    greenlet = sys.modules.get("greenlet")
    return current_thread() if greenlet is None else greenlet.getcurrent()


def is_over(user: Any) -> bool:
    return user is None or (not user.is_alive() if isinstance(user, Thread) else bool(user.dead))
