"""`Runs`: the memories of this process, one for each run."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import Any, Callable

# How many runs are remembered: those used last. So a worker that lives for months holds no more.
MAX_RUNS = 2


class Runs:
    """
    The memories of this process, by run. A forked child begins without any.

    Its lock is held while a memory is made, so that the threads of a process make one.
    """

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):
            # Another thread of the parent may hold the lock for ever.
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.RLock()  # make() may ask for the memory of another run
        self._made: OrderedDict[Any, Any] = OrderedDict()  # the one used last at the end

    def memory_of(self, run: Any, make: Callable[[], Any]) -> Any:
        """What `make()` returned when this process first asked for the run."""
        with self._lock:
            if run not in self._made:
                self._made[run] = make()
            self._made.move_to_end(run)
            while len(self._made) > MAX_RUNS:
                self._made.popitem(last=False)
            return self._made[run]


RUNS = Runs()
