"""Configs and lookup strings as one tree of paths, shared prefixes once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ._config import MemoizedPrefetchConfig
from ._engine import Counters


class Lookup:
    """
    One relation to attach, at the end of a path: `book`, `book__author`.

    config: Says what the rows are read from; None for the steps between and for lookup strings.
    below: The lookups that continue this path.
    """

    def __init__(self, path: str, name: str, config: MemoizedPrefetchConfig | None = None) -> None:
        self.path, self.name, self.config = path, name, config
        self.below: dict[str, Lookup] = {}
        self.rows = Counters()
        self.links = Counters()
        self.fallback: str | None = None

    def all_below(self) -> Iterator[Lookup]:
        for lookup in self.below.values():
            yield lookup
            yield from lookup.all_below()

    @property
    def where(self) -> str:
        if self.config is None:
            return "MemoizedPrefetch"
        return f"MemoizedPrefetchConfig({self.config.model.__name__}, {self.config.attributes!r})"


def lookup_tree(given: Sequence[Any]) -> Lookup:
    """The root, below which all lookups are, for the arguments of MemoizedPrefetch."""
    root = Lookup("", "")
    for argument in given:
        if isinstance(argument, MemoizedPrefetchConfig):
            for attribute in argument.attributes:
                _add(root, attribute, argument)
        elif isinstance(argument, str):
            _add(root, argument, None)
        else:
            msg = (
                "MemoizedPrefetch: expected MemoizedPrefetchConfig objects and lookup strings, "
                f"got {argument!r} of type {type(argument).__name__}."
            )
            raise TypeError(msg)
    return root


def _add(root: Lookup, attribute: str, config: MemoizedPrefetchConfig | None) -> None:
    names = attribute.replace(".", "__").split("__")
    where = "MemoizedPrefetch" if config is None else f"MemoizedPrefetchConfig({config.model.__name__})"
    if not all(name.isidentifier() for name in names):
        msg = f"{where}: {attribute!r} is no path of attribute names such as 'author', 'book.author' or 'book__author'."
        raise ValueError(msg)
    lookup = root
    for depth, name in enumerate(names, 1):
        lookup = lookup.below.setdefault(name, Lookup("__".join(names[:depth]), name))
    if config is not None:
        if lookup.config is not None and lookup.config is not config:
            msg = f"{where}: {attribute!r} is in two configs, also in that of {lookup.config.model.__name__}."
            raise ValueError(msg)
        lookup.config = config
