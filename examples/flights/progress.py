"""A progress bar for terminals. Without a terminal it prints nothing."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Callable, TypeVar

T = TypeVar("T")


@contextmanager
def progress_bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of flights just done. The bar disappears at the end."""
    if not sys.stderr.isatty():
        yield lambda number: None
        return
    started = time.monotonic()
    done = 0
    drawn = 0.0

    def advance(number: int) -> None:
        nonlocal done, drawn
        done += number
        now = time.monotonic()
        if now - drawn > 0.1:  # nobody sees more than that
            drawn = now
            _draw(label, done, total, now - started)

    advance(0)
    try:
        yield advance
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def _draw(label: str, done: int, total: int, seconds: float) -> None:
    share = min(done / total, 1)
    text = f"{share:4.0%}  {done:>9,} flights"
    if share > 0.02:
        text += f"  {seconds / share - seconds:3.0f} s left"
    width = max(5, min(40, shutil.get_terminal_size().columns - len(label) - len(text) - 8))
    filled = int(width * share)
    sys.stderr.write(f"\r  {label} [{'#' * filled}{'.' * (width - filled)}] {text}\x1b[K")
    sys.stderr.flush()


def counted(items: Iterable[T], advance: Callable[[int], None]) -> Iterator[T]:
    for number, item in enumerate(items, 1):
        yield item
        if number % 1000 == 0:
            advance(1000)
