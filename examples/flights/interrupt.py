"""Ctrl-C and other signals that end a program: they become an exception that cannot interrupt the cleanup."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A request to stop the program. It is a KeyboardInterrupt, because database drivers know how to handle one."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def interruptible() -> None:
    """Turn the signals into an exception, even if the shell ignored them."""
    last = -1.0

    def interrupt(signum: int, frame: FrameType | None) -> None:
        # Shells and timeout(1) may signal both the process and its group. The second signal would break the cleanup.
        nonlocal last
        now = time.monotonic()
        if now - last > 1:
            last = now
            raise Interrupted(signum)

    for signum in SIGNALS:
        signal.signal(signum, interrupt)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay an interruption until the end of the block."""
    came: list[int] = []
    before = {signum: signal.signal(signum, lambda signum, frame: came.append(signum)) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        if came:
            raise Interrupted(came[0])
