"""Closes open cursors when reading the database fails."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb

from django.db.models.sql.compiler import cursor_iter

from .._hydrating.iterable import READERS, close_results


@contextmanager
def closing_readers() -> Iterator[None]:
    """
    Closes the generators that read the database in this block if the block fails.

    They would close themselves when released. But the frames of the traceback hold them, and with them a cursor on the
    server, for as long as somebody keeps the exception.
    """
    try:
        yield
    except BaseException as error:
        # Not in this frame, the first one: reading its locals would make a cycle with the error.
        for frame, _ in walk_tb(error.__traceback__ and error.__traceback__.tb_next):
            for value in list(frame.f_locals.values()):
                if inspect.isgenerator(value) and value.gi_code in _READERS and not value.gi_running:
                    close_results(value)
        raise


_READERS = (cursor_iter.__code__, *READERS)
