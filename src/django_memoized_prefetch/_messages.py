"""What error messages say of a value that came."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.db.models.manager import BaseManager
from django.db.models.query import RawQuerySet

# Characters of a text that a message shows.
SHOWN = 60


def shown(value: Any) -> str:
    """A value in a few words. No query runs for them, as one may for a repr, and none is of what a collection holds."""
    if isinstance(value, (str, bytes)):
        return repr(value) if len(value) <= SHOWN else f"{value[:SHOWN]!r}..."
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    of = f" of {value.model.__name__}" if isinstance(value, (QuerySet, RawQuerySet, BaseManager)) else ""
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}{of}"
