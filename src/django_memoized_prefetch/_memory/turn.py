"""`Turn`: lets the threads that share a memory fetch one after the other."""

from __future__ import annotations

import threading
from contextlib import suppress

# After so many seconds a thread fetches for itself: the other may wait for a lock of the database that this one holds.
PATIENCE = 2


class Turn:
    """
    `with turn:` waits until no other thread fetches for one table, and then finds what that one has fetched.

    Without it, threads that begin together would fetch the same rows. The thread that has it may enter it again.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire(timeout=PATIENCE)

    def __exit__(self, *_: object) -> None:
        with suppress(RuntimeError):  # this thread has lost its patience
            self._lock.release()
