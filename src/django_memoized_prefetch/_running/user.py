"""Who a chunk is processed for: a task of asyncio, a greenlet or a thread."""

from __future__ import annotations

import sys
from asyncio import current_task
from collections.abc import Callable
from contextvars import ContextVar
from threading import Thread, current_thread
from typing import Any

from asgiref.sync import sync_to_async

# The task for which this thread runs a function; None if it runs for itself.
_TASK: ContextVar[Any] = ContextVar("task", default=None)


async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function in the thread in which Django runs its queries, for the running task as its user."""
    token = _TASK.set(current_task())
    try:
        return await sync_to_async(function)(*arguments)
    finally:
        _TASK.reset(token)


def current_user() -> Any:
    """The task that this thread works for, the running greenlet, or the thread if neither is in use."""
    if (task := _TASK.get()) is not None:
        return task
    greenlet = sys.modules.get("greenlet")
    return current_thread() if greenlet is None else greenlet.getcurrent()


def is_over(user: Any) -> bool:
    """Whether a task, greenlet or thread has ended."""
    if user is None:
        return True
    if isinstance(user, Thread):
        return not user.is_alive()
    return bool(user.done() if hasattr(user, "done") else user.dead)  # not every task is an asyncio.Task
