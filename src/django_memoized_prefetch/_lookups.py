"""Configs, lookup strings and Prefetch objects as one tree of paths, shared prefixes once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from django.db.models import Prefetch, QuerySet
from django.db.models.constants import LOOKUP_SEP

from ._config import MemoizedPrefetchConfig
from ._engine import Counters
from ._queries import unshared
from ._stock import why_overridden_once

_numbers = itertools.count(1)
# By which Django asks a lookup for what it is; only Django asks a subclass that answers in its own way.
_PREFETCH = (
    *("get_current_prefetch_to", "get_current_to_attr", "get_current_queryset", "get_current_querysets", "add_prefix"),
    *("__eq__", "__hash__"),
)


class Lookup:
    """
    One relation to attach, at the end of a path: `book`, `book__author`.

    path: Where it is attached, from the chunk's objects on: with `to_attr` in the place of the relation's name.
    name: The attribute of the relation.
    to_attr: The attribute to attach to, when it is another.
    number: Lookups that were given first, or continue these, have lower ones.
    inner: It is a lookup of the queryset whose rows it is attached to, or the first step of one.
    config: Says what the rows are read from; None for the steps between, for lookup strings and for Prefetch objects.
    querysets: Those of a Prefetch or GenericPrefetch object.
    below: The lookups that continue this path, by the attribute that these attach to.
    """

    def __init__(self, path: str, name: str, to_attr: str | None = None, number: int = 0) -> None:
        self.path, self.name, self.to_attr, self.number = path, name, to_attr, number
        self.config: MemoizedPrefetchConfig | None = None
        self.querysets: tuple[QuerySet[Any], ...] | None = None
        self.below: dict[str, Lookup] = {}
        self.rows = Counters()
        self.links = Counters()
        self.reason: str | None = None  # why it is Django's to attach, or not remembered
        self.by_django = False
        self.patched: str | None = None  # who has patched reading what it attaches
        self.to_attr_given = False
        self.generic = False  # a GenericPrefetch
        self.ends = False  # a lookup ends here, and not only goes on
        self.seen_again: int | None = None  # with another queryset, by the lookup of that number
        self.again_of: Lookup | None = None  # the lookup whose queryset that one came with
        self.inner = False
        self.only_inner = False  # and not given as a lookup of its own as well
        self.inner_of: Lookup | None = None  # the lookup whose queryset it came with
        self.reads_rows = False  # Django reads its rows at once, and attaches what their queryset's lookups ask for
        self.leads_back = False  # from rows to the object that they refer to, to which they are attached
        self.comes_along = False  # by select_related of the queryset whose rows it is attached to
        self.automatic = False  # it comes from a manager's own queryset
        self.contested = False  # lookups differ in what they ask for under this name
        self.passed_through = False  # it has a queryset, and is also passed through by one that did not come with that

    @property
    def through(self) -> str:
        """The path as the user wrote it: with the relation's name, not that of `to_attr`."""
        path: str = LOOKUP_SEP.join([*self.path.split(LOOKUP_SEP)[:-1], self.name])
        return path

    def all_below(self) -> Iterator[Lookup]:
        for lookup in list(self.below.values()):
            yield lookup
            yield from lookup.all_below()

    @property
    def where(self) -> str:
        if self.config is None:
            return "MemoizedPrefetch"
        return f"MemoizedPrefetchConfig({self.config.model.__name__}, {self.config.attributes!r})"

    @property
    def repeated(self) -> bool:
        """
        Whether Django comes to it again. It does not note what it has attached while it read the rows of a reverse
        relation: only lookups of the same rows' queryset come to that again.
        """
        of = self.inner_of
        while of is not None and not of.reads_rows:
            of = of.inner_of
        again = self.again_of
        while again is not None and again is not of:
            again = again.inner_of
        return self.seen_again is not None and (of is None or again is of)

    @property
    def attribute(self) -> str:
        """What it attaches to."""
        return self.to_attr or self.name

    @property
    def source_identity(self) -> tuple[Any, ...] | None:
        """Lookups with the same one read the same rows; None: those of the manager that Django chooses."""
        if self.config is not None:
            if self.config.overrides_queryset:
                return ("config", id(self.config))
            return None if self.config.queryset is None else ("queryset", id(self.config.queryset))
        if self.querysets is None:
            return None
        return tuple(part for queryset in self.querysets for part in ("queryset", id(queryset)))

    @property
    def custom_below(self) -> tuple[Any, ...]:
        """The lookups below that carry a queryset: what they attach to a row must not show in rows of other lookups."""
        custom: list[Any] = []
        for lookup in self.below.values():
            if lookup.source_identity is not None and not lookup.automatic:
                custom.append((lookup.path[len(self.path) :], lookup.name, lookup.source_identity))
            elif lookup.to_attr is not None:
                custom.append((lookup.path[len(self.path) :], lookup.name))
            custom += [(lookup.path[len(self.path) :], *deeper) for deeper in lookup.custom_below]
        return tuple(sorted(custom, key=repr))

    def for_django(self, prefix: int) -> Iterator[Prefetch[Any]]:
        """What ends here or below as Django takes it, the first `prefix` characters of the path left out."""
        if self.only_inner:
            return  # it comes with the queryset
        start = prefix + len(LOOKUP_SEP) if prefix else 0
        path = self.path[start:].split(LOOKUP_SEP)
        through = LOOKUP_SEP.join([*path[:-1], self.name])
        to_attr = self.attribute if self.to_attr_given else None
        if self.generic:
            from django.contrib.contenttypes.prefetch import GenericPrefetch

            yield GenericPrefetch(through, [_for_django(one) for one in self.querysets or ()], to_attr=to_attr)
        elif self.config is not None:
            yield _of_config(self.config, through)
        elif self.ends:
            queryset = _for_django(self.querysets[0]) if self.querysets else None
            yield Prefetch(through, queryset=queryset, to_attr=to_attr)
        for lookup in self.below.values():
            yield from lookup.for_django(prefix)

    def reset_counts(self) -> None:
        self.rows, self.links = Counters(), Counters()

    def add(self, argument: Any, inner: bool = False, automatic: bool = False) -> None:
        """
        Adds what continues this path.

        Args:
            argument: A lookup string or a Prefetch object.
            inner, automatic: See above.
        """
        prefetch = argument if isinstance(argument, Prefetch) else Prefetch(argument)
        throughs, tos = prefetch.prefetch_through.split(LOOKUP_SEP), prefetch.prefetch_to.split(LOOKUP_SEP)
        querysets = getattr(prefetch, "querysets", None)
        if querysets is None and prefetch.queryset is not None:
            querysets = (prefetch.queryset,)
        if querysets is not None:
            querysets = tuple(queryset for queryset in querysets if queryset is not None)
        lookup, fresh = self._descend(throughs, tos, inner)
        lookup.ends = True
        lookup.contested |= why_overridden_once(type(prefetch), _PREFETCH) is not None
        if not fresh:
            lookup.contested |= prefetch.queryset is not None
            if prefetch.queryset is not None and lookup.seen_again is None:
                lookup.seen_again, lookup.again_of = next(_numbers), self if inner else None
            return
        lookup.querysets, lookup.automatic = querysets, automatic
        lookup.to_attr_given, lookup.generic = bool(prefetch.to_attr), hasattr(prefetch, "querysets")
        if querysets and not lookup.generic:  # each queryset of a GenericPrefetch is followed by its own lookups
            for inner in querysets[0]._prefetch_related_lookups:
                lookup.add(inner, inner=True, automatic=automatic)

    def add_config(self, attribute: str, config: MemoizedPrefetchConfig) -> None:
        names = attribute.split(LOOKUP_SEP)
        lookup, _ = self._descend(names, names)
        if lookup.config is not None and lookup.config is not config:
            where = f"MemoizedPrefetchConfig({config.model.__name__})"
            msg = f"{where}: {attribute!r} is in two configs, also in that of {lookup.config.model.__name__}."
            raise ValueError(msg)
        lookup.config = config
        if config.queryset is not None and not config.overrides_queryset:
            for inner in config.get_queryset()._prefetch_related_lookups:
                lookup.add(inner, inner=True)

    def _descend(self, throughs: Sequence[str], tos: Sequence[str], inner: bool = False) -> tuple[Lookup, bool]:
        """The lookup at the end of a path, and whether it is new."""
        lookup, fresh = self, False
        for through, to in zip(throughs, tos):
            fresh = to not in lookup.below
            if fresh:
                path = f"{lookup.path}{LOOKUP_SEP}{to}" if lookup.path else to
                lookup.below[to] = Lookup(path, through, None if to == through else to, next(_numbers))
                lookup.below[to].inner = inner and lookup is self
                lookup.below[to].inner_of = self if inner else None
            parent, lookup = lookup, lookup.below[to]
            comes_with_rows = inner and parent is self
            if not fresh:
                lookup.contested |= through not in (lookup.name, to)  # it may be passed by what it attaches to
                lookup.passed_through |= lookup.querysets is not None and lookup.only_inner != comes_with_rows
            lookup.only_inner = comes_with_rows and (fresh or lookup.only_inner)
        return lookup, fresh


def lookup_tree(given: Sequence[Any]) -> Lookup:
    """The root, below which all lookups are, for the arguments of MemoizedPrefetch."""
    root = Lookup("", "")
    for argument in given:
        if isinstance(argument, MemoizedPrefetchConfig):
            for attribute in argument.attributes:
                where = f"MemoizedPrefetchConfig({argument.model.__name__})"
                root.add_config(checked_path(attribute, where), argument)
        elif isinstance(argument, str):
            root.add(checked_path(argument, "MemoizedPrefetch"))
        elif isinstance(argument, Prefetch):
            root.add(argument)
        else:
            msg = (
                "MemoizedPrefetch: expected lookup strings, Prefetch objects and MemoizedPrefetchConfig objects, "
                f"got {argument!r} of type {type(argument).__name__}."
            )
            raise TypeError(msg)
    return root


def lookups_for_django(given: MemoizedPrefetchConfig | Prefetch[Any] | str) -> Iterator[Prefetch[Any] | str]:
    """An argument of MemoizedPrefetch for `prefetch_related_objects`, with querysets that Django may give hints."""
    if isinstance(given, MemoizedPrefetchConfig):
        for attribute in given.attributes:
            yield _of_config(given, checked_path(attribute, ""))
    elif isinstance(given, str):
        yield checked_path(given, "")
    else:
        prefetch: Any = object.__new__(type(given))  # copied as for pickling, its querysets would hold no rows
        prefetch.__dict__.update(given.__dict__)
        if hasattr(given, "querysets"):
            prefetch.querysets = [_for_django(queryset) for queryset in given.querysets]
        elif given.queryset is not None:
            prefetch.queryset = _for_django(given.queryset)
        yield prefetch


def _of_config(config: MemoizedPrefetchConfig, path: str) -> Prefetch[Any]:
    own = config.queryset is not None or config.overrides_queryset
    return Prefetch(path, queryset=_for_django(config.get_queryset()) if own else None)


def _for_django(queryset: QuerySet[Any]) -> QuerySet[Any]:
    queryset = unshared(queryset)
    lookups = (lookup for given in queryset._prefetch_related_lookups for lookup in lookups_for_django(given))
    queryset._prefetch_related_lookups = tuple(lookups)
    return queryset


def checked_path(attribute: str, where: str) -> str:
    """A path with `__` between its names."""
    path = attribute.replace(".", LOOKUP_SEP)
    if not all(name.isidentifier() for name in path.split(LOOKUP_SEP)):
        msg = f"{where}: {attribute!r} is no path of attribute names such as 'author', 'book.author' or 'book__author'."
        raise ValueError(msg)
    return path
