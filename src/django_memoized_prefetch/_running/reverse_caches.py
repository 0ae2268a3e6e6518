"""
Manages the reverse one-to-one caches of remembered rows that lead to objects of a chunk.

They are lent to the chunk: when its user begins the next one, they are removed, so that a remembered row keeps no
object alive. A user is a task of asyncio, a greenlet or a thread.
"""

from __future__ import annotations

from typing import Any
from weakref import ref

from .._engine import detach_reverse
from .user import current_user, is_over

# From the row's id and the cache's name to the row and the chunk's object that it leads to.
Lent = dict[tuple[int, str], tuple[Any, Any]]


class ReverseCaches:
    """The reverse caches lent to the latest chunk of each user."""

    def __init__(self) -> None:
        self._by_user: dict[int, tuple[ref[Any], Lent]] = {}

    def of_user(self) -> Lent:
        """Those of the current user's chunk."""
        user = current_user()
        return self._by_user.setdefault(id(user), (ref(user), {}))[1]

    def end_previous_chunk(self) -> None:
        """Removes the caches of this user's previous chunk, and those of users that are gone."""
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
        """All of them, as pairs of row id and cache name."""
        return {place for _, lent in list(self._by_user.values()) for place in list(lent)}
