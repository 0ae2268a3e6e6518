"""Books read through memoized(), compared with Django's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django_memoized_prefetch import memoized
from tests.python.bookshop.models import Book
from tests.python.graph import assert_alike

LOOKUPS = ("author", "translator", "publisher", "categories")


def books() -> Any:
    return Book.objects.order_by("pk").prefetch_related(*LOOKUPS)


def same_as_django(
    use: Callable[[Any], Any], queryset: Callable[[], Any], paths: tuple[str, ...] = LOOKUPS
) -> list[Any]:
    """What `use` makes of the queryset and of the memoized one."""
    theirs = list(use(queryset()))
    ours = list(use(memoized(queryset())))
    assert_alike(ours, theirs, paths)
    return ours
