"""Situations, from which a package's module is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.db.models import Model, Prefetch


class Situation:
    """
    Rows and their lookups. Every way of ours must give what Django gives.

    Args:
        name: What is special about it.
        queryset: Makes the rows' queryset, without the lookups. It is ordered, so that both get the same chunks.
        lookups: Paths, or functions that make a Prefetch, because Django does not use a Prefetch twice.
        read: Reads what else a row shows besides its columns and lookups, such as methods of the package.
        around: Makes the context in which everything runs.
        raises: Whether Django refuses this, and so must we.
        relates: Whether the rows have related rows. False if a package hides all of them.
        more: Queries per chunk that we may run beyond Django's: for many-to-manys that `lookups` do not show, and for
            the row more that a page builds, if building a row of this class runs a query.
        warm: Whether to observe a second run, which finds what the first one left in the package's caches.
    """

    def __init__(
        self,
        name: str,
        queryset: Callable[[], Any],
        *lookups: str | Callable[[], Prefetch],
        read: Callable[[Any], Any] | None = None,
        around: Callable[[], AbstractContextManager[Any]] = nullcontext,
        raises: bool = False,
        relates: bool = True,
        more: int = 0,
        warm: bool = False,
    ) -> None:
        self.name = name
        self.queryset = queryset
        self.read = read
        self.around = around
        self.raises = raises
        self.relates = relates and bool(lookups)
        self.more = more
        self.warm = warm
        self._lookups = lookups

    def lookups(self) -> list[str | Prefetch]:
        return [one if isinstance(one, str) else one() for one in self._lookups]

    def paths(self) -> dict[str, Any]:
        """The attributes that lead to the related rows, each with those below it."""
        tree: dict[str, Any] = {}
        for lookup in self.lookups():
            at = tree
            for name in (lookup if isinstance(lookup, str) else lookup.prefetch_to).split("__"):
                at = at.setdefault(name, {})
        return tree

    def many_to_many(self, model: type[Model]) -> int:
        """How many many-to-manys the lookups pass through. Per chunk, ours may need one more query for each of them."""
        found = set()
        for lookup in self.lookups():
            through = lookup if isinstance(lookup, str) else lookup.prefetch_through
            names = through.split("__")
            models: set[Any] = {model}
            for depth, name in enumerate(names):
                fields = [field for one in models for field in _fields(one, name)]
                if any(field.many_to_many for field in fields):
                    found.add(tuple(names[: depth + 1]))
                models = {field.related_model for field in fields if field.related_model is not None}
        return len(found) + self.more


def _fields(model: type[Model], accessor: str) -> Iterator[Any]:
    """The relations of this name, also of subclasses, because a queryset may give rows of several classes."""
    for one in [model, *_below(model)]:
        for field in one._meta.get_fields():
            name = field.get_accessor_name() if field.auto_created and not field.concrete else field.name
            if field.is_relation and name == accessor:
                yield field


def _below(model: type[Model]) -> Iterator[type[Model]]:
    for subclass in model.__subclasses__():
        yield subclass
        yield from _below(subclass)
