"""Ctrl-C and the other ways to ask a program to end: an exception that unwinds it, and cannot cut cleaning up short."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """Somebody wants the program to stop. A KeyboardInterrupt, because database drivers know what to do then."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def interruptible() -> None:
    """Turn the signals into an exception, also where the shell had them ignored."""
    last = -1.0

    def interrupt(signum: int, frame: FrameType | None) -> None:
        # Shells and timeout(1) may send a signal to the process and to its group: the second would break the cleanup.
        nonlocal last
        now = time.monotonic()
        if now - last > 1:
            last = now
            raise Interrupted(signum)

    for signum in SIGNALS:
        signal.signal(signum, interrupt)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put an interruption off until the end of the block."""
    came: list[int] = []
    before = {signum: signal.signal(signum, lambda signum, frame: came.append(signum)) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        if came:
            raise Interrupted(came[0])
