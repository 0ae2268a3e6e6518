"""`Runs`: the memories of this process, one for each run."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import Any, Callable

# How many runs are remembered: those used last. So a worker that lives for months holds no more.
MAX_RUNS = 2


class Run:
    """
    The memory of one run.

    lock: Held while it is made, so that the threads of a process make one. Other runs do not wait for it.
    memory: None before it is made.
    """

    __slots__ = ("lock", "memory")

    def __init__(self) -> None:
        self.lock = threading.RLock()  # make() may ask for its own run
        self.memory: Any = None


class Runs:
    """The memories of this process, by run. A forked child begins without any."""

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):
            # Another thread of the parent may hold the lock for ever.
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._runs: OrderedDict[Any, Run] = OrderedDict()  # the one used last at the end

    def memory_of(self, name: Any, make: Callable[[], Any]) -> Any:
        """What `make()` returned when this process first asked for the run of this name."""
        with self._lock:
            run = self._runs.setdefault(name, Run())
            self._runs.move_to_end(name)
            while len(self._runs) > MAX_RUNS:
                self._runs.popitem(last=False)
        with run.lock:
            if run.memory is None:
                made = make()
                if run.memory is None:  # otherwise make() has asked for its own run
                    run.memory = made
            return run.memory


RUNS = Runs()
