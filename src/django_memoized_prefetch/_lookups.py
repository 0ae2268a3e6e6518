"""Turns configs, lookup strings and Prefetch objects into a frozen tree of lookups that share their prefixes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from functools import cached_property
from types import MappingProxyType
from typing import Any

from django.db.models import Prefetch, QuerySet
from django.db.models.constants import LOOKUP_SEP

from ._config import MemoizedPrefetchConfig
from ._queries.sources import unshared
from ._stock import OF_PREFETCH, why_overridden_once

# If a subclass of Prefetch overrides one of these, Django does the lookups.
_PREFETCH = (*OF_PREFETCH, "__eq__", "__hash__")
CLASH = "two lookups conflict over one attribute"


class Origin(Enum):
    """Who asked for a lookup."""

    GIVEN = "an argument"
    QUERYSET = "the queryset whose rows it is attached to"
    BOTH = "that queryset, and then an argument too"


@dataclass(frozen=True, eq=False)
class Lookup:
    """
    One relation to attach, at the end of a path such as `book` or `book__author`.

    path: The attributes from the chunk's objects to the attached rows, with `to_attr` instead of the relation's name.
    name: The name of the relation.
    to_attr: The attribute to attach to, if it is not `name`.
    to_attr_given: Whether a `to_attr` was given; it may be the relation's own name.
    order: Its position in Django's order. Lookups with a smaller value come first.
    ends: Whether a given lookup ends here. Otherwise longer ones only pass through.
    number: The position of the first lookup or config that ends here, among all of them.
    origin: Who asked for it.
    config: The config that names this path, if any. It says what the rows are read from.
    querysets: Those of a Prefetch or GenericPrefetch object.
    generic: Whether it is a GenericPrefetch.
    is_done: Whether lookups that were processed before, for the same chunk, have attached it.
    below: The lookups that continue this path, by the attribute that they attach to.
    """

    path: str = ""
    name: str = ""
    to_attr: str | None = None
    to_attr_given: bool = False
    order: tuple[int, ...] = ()
    ends: bool = False
    number: tuple[int, ...] = ()
    origin: Origin = Origin.GIVEN
    config: MemoizedPrefetchConfig | None = None
    querysets: tuple[QuerySet[Any], ...] | None = None
    generic: bool = False
    is_done: bool = False
    below: Mapping[str, Lookup] = field(default_factory=dict)

    @property
    def through(self) -> str:
        """The path as the user wrote it, ending with the relation's name instead of `to_attr`."""
        path: str = LOOKUP_SEP.join([*self.path.split(LOOKUP_SEP)[:-1], self.name])
        return path

    @property
    def is_inner(self) -> bool:
        """Whether it came with the queryset whose rows it is attached to."""
        return self.origin is not Origin.GIVEN

    @property
    def is_only_inner(self) -> bool:
        """Whether only that queryset asked for it."""
        return self.origin is Origin.QUERYSET

    @property
    def attribute(self) -> str:
        """The attribute that it attaches to."""
        return self.to_attr or self.name

    @property
    def where(self) -> str:
        """The start of every error message about this lookup."""
        if self.config is None:
            return "MemoizedPrefetch"
        return f"MemoizedPrefetchConfig({self.config.model.__name__}, {self.config.attributes!r})"

    def all_below(self) -> Iterator[Lookup]:
        for lookup in self.below.values():
            yield lookup
            yield from lookup.all_below()

    @property
    def is_plain(self) -> bool:
        """Whether it chooses neither which rows are read nor where they are attached."""
        config = self.config
        own = config is not None and config.chooses_rows
        return not own and self.querysets is None and not self.to_attr_given and not self.generic

    @property
    def source_identity(self) -> tuple[Any, ...] | None:
        """Lookups with equal identities read the same rows. None stands for the manager that Django chooses."""
        if self.config is not None:
            if self.config.overrides_queryset:
                return ("config", id(self.config))
            return None if self.config.queryset is None else ("queryset", id(self.config.queryset))
        if self.querysets is None:
            return None
        return tuple(part for queryset in self.querysets for part in ("queryset", id(queryset)))

    @cached_property
    def custom_below(self) -> tuple[Any, ...]:
        """The lookups below with a queryset or a `to_attr`. What they attach must not show in rows of other lookups."""
        custom: list[Any] = []
        for lookup in self.below.values():
            if lookup.source_identity is not None:
                custom.append((lookup.path[len(self.path) :], lookup.name, lookup.source_identity))
            elif lookup.to_attr is not None:
                custom.append((lookup.path[len(self.path) :], lookup.name))
            custom += [(lookup.path[len(self.path) :], *deeper) for deeper in lookup.custom_below]
        return tuple(sorted(custom, key=repr))

    def for_django(self, prefix: int) -> list[Prefetch[Any]]:
        """The lookups that end here or below, for Django, without the first `prefix` characters of their paths."""
        numbered = sorted(self._numbered(prefix), key=lambda pair: pair[0])
        return [lookup for _, lookup in numbered]

    def given_below(self) -> tuple[list[Prefetch[Any]], list[Prefetch[Any]]]:
        """
        The given lookups below this one, for Django, with paths that begin at its rows.

        Returns:
            The rest of the lookup that comes here first, and all others. Django does those of the rows' queryset
            between them.
        """
        numbered = [pair for below in self.below.values() for pair in below._numbered(len(self.path))]
        numbered.sort(key=lambda pair: pair[0])
        first = self.order[:-1]
        return [one for number, one in numbered if number == first], [one for n, one in numbered if n != first]

    def _numbered(self, prefix: int) -> Iterator[tuple[tuple[int, ...], Prefetch[Any]]]:
        if self.is_only_inner:
            return  # the queryset brings it along
        start = prefix + len(LOOKUP_SEP) if prefix else 0
        path = self.path[start:].split(LOOKUP_SEP)
        through = LOOKUP_SEP.join([*path[:-1], self.name])
        to_attr = self.attribute if self.to_attr_given else None
        if self.generic:
            from django.contrib.contenttypes.prefetch import GenericPrefetch

            querysets = [_for_django(one) for one in self.querysets or ()]
            yield self.number, GenericPrefetch(through, querysets, to_attr=to_attr)
        elif self.config is not None:
            yield self.number, _of_config(self.config, through)
        elif self.ends:
            queryset = _for_django(self.querysets[0]) if self.querysets else None
            yield self.number, Prefetch(through, queryset=queryset, to_attr=to_attr)
        for lookup in self.below.values():
            yield from lookup._numbered(prefix)

    def extended(self, inner: Iterable[Any]) -> tuple[Lookup, bool]:
        """
        A copy of this lookup with those of its manager's own queryset added below.

        Args:
            inner: The lookup strings and Prefetch objects of that queryset.

        Returns:
            The copy, and whether these conflict with the lookups given below it.
        """
        draft = _Draft.of(self)
        draft.add_all(inner)
        return draft.frozen(), draft.clashes()


@dataclass(frozen=True)
class Tree:
    """
    The lookups of a run.

    root: A lookup with an empty path; all others are below it.
    clash: Why only Django can do these lookups; None if the engine can.
    in_order: Whether to keep Django's order. True if a lookup has a queryset or a `to_attr`, since what one lookup
        attaches may then decide what another does.
    """

    root: Lookup
    clash: str | None
    in_order: bool


def lookup_tree(given: Sequence[Any], before: Lookup | None = None) -> Tree:
    """
    Makes the tree for the arguments of MemoizedPrefetch.

    Args:
        before: The root of lookups that are processed before these, for the same chunk.
    """
    root = _Draft()
    number = 0
    for argument in given:
        if isinstance(argument, MemoizedPrefetchConfig):
            for attribute in argument.attributes:
                where = f"MemoizedPrefetchConfig({argument.model.__name__})"
                root.add_config(checked_path(attribute, where), argument, (number,))
                number += 1
        elif isinstance(argument, str):
            root.add(checked_path(argument, "MemoizedPrefetch"), (number,))
        else:
            root.add(argument, (number,))
        number += 1
    if before is not None:
        root.mark_done(before)
    frozen = root.frozen()
    in_order = not all(lookup.is_plain for lookup in frozen.all_below())
    return Tree(frozen, CLASH if root.clashes() else None, in_order)


class _Draft:
    """A mutable Lookup while the tree is built, with the same attributes."""

    def __init__(self, path: str = "", name: str = "", to_attr: str | None = None, order: tuple[int, ...] = ()) -> None:
        self.path, self.name, self.to_attr, self.order = path, name, to_attr, order
        self.to_attr_given = self.ends = self.generic = self.is_done = False
        self.number: tuple[int, ...] = ()
        self.origin = Origin.GIVEN
        self.config: MemoizedPrefetchConfig | None = None
        self.querysets: tuple[QuerySet[Any], ...] | None = None
        self.below: dict[str, _Draft] = {}
        self.clash = False  # several lookups use this name, and Django's rules decide between them

    @classmethod
    def of(cls, lookup: Lookup) -> _Draft:
        draft = cls()
        vars(draft).update({one.name: getattr(lookup, one.name) for one in fields(lookup)})
        draft.below = {name: cls.of(one) for name, one in lookup.below.items()}
        return draft

    def frozen(self) -> Lookup:
        values = {one.name: getattr(self, one.name) for one in fields(Lookup)}
        values["below"] = MappingProxyType({name: draft.frozen() for name, draft in self.below.items()})
        return Lookup(**values)

    def mark_done(self, before: Lookup) -> None:
        for name, draft in self.below.items():
            if name in before.below:
                draft.is_done = True
                draft.mark_done(before.below[name])

    def clashes(self) -> bool:
        return self.clash or any(draft.clashes() for draft in self.below.values())

    def add(self, argument: Any, order: tuple[int, ...], origin: Origin = Origin.GIVEN) -> None:
        """Adds a lookup string or Prefetch object that continues this path."""
        prefetch = argument if isinstance(argument, Prefetch) else Prefetch(argument)
        throughs, tos = prefetch.prefetch_through.split(LOOKUP_SEP), prefetch.prefetch_to.split(LOOKUP_SEP)
        draft, is_new = self._descend(throughs, tos, order, origin)
        draft.ends = True
        draft.number = draft.number or order
        # Django counts the names of both.
        draft.clash |= len(throughs) != len(tos)
        draft.clash |= why_overridden_once(type(prefetch), _PREFETCH) is not None
        if not is_new:
            draft.clash |= prefetch.queryset is not None
            return
        draft.to_attr_given, draft.generic = bool(prefetch.to_attr), hasattr(prefetch, "querysets")
        querysets = getattr(prefetch, "querysets", None)
        if querysets is None and prefetch.queryset is not None:
            querysets = (prefetch.queryset,)
        if querysets is not None:
            draft.querysets = tuple(queryset for queryset in querysets if queryset is not None)
        for queryset in draft.querysets or ():
            if not hasattr(queryset, "_prefetch_related_lookups"):
                msg = f"Prefetch({prefetch.prefetch_to!r}): expected a queryset, got {queryset!r}."
                raise TypeError(msg)
        if draft.querysets and not draft.generic:  # Django does those of a GenericPrefetch's querysets
            draft.add_all(draft.querysets[0]._prefetch_related_lookups)

    def add_all(self, inner: Iterable[Any]) -> None:
        """Adds the lookups of the queryset whose rows are attached here."""
        # Django does them after the lookup that brought the queryset; those of the last step of its path first.
        *prefix, step = self.order
        for number, one in enumerate(inner):
            self.add(one, (*prefix, sys.maxsize, -step, number), Origin.QUERYSET)

    def add_config(self, attribute: str, config: MemoizedPrefetchConfig, order: tuple[int, ...]) -> None:
        names = attribute.split(LOOKUP_SEP)
        draft, _ = self._descend(names, names, order, Origin.GIVEN)
        if draft.config is not None and draft.config is not config:
            where = f"MemoizedPrefetchConfig({config.model.__name__})"
            msg = f"{where}: {attribute!r} is in two configs, the other one for {draft.config.model.__name__}."
            raise ValueError(msg)
        draft.config = config
        draft.clash |= draft.querysets is not None  # a Prefetch chooses the rows
        draft.number = draft.number or order
        if config.queryset is not None and not config.overrides_queryset:
            draft.add_all(config.get_queryset()._prefetch_related_lookups)

    def _descend(
        self, throughs: Sequence[str], tos: Sequence[str], order: tuple[int, ...], origin: Origin
    ) -> tuple[_Draft, bool]:
        """The draft at the end of a path, and whether it is new."""
        draft, is_new = self, False
        for step, (through, to) in enumerate(zip(throughs, tos)):
            is_new = to not in draft.below
            # A path that continues a queryset's lookup concerns that lookup's rows, whoever asked for them.
            here = origin if draft is self else Origin.GIVEN
            if is_new:
                path = f"{draft.path}{LOOKUP_SEP}{to}" if draft.path else to
                draft.below[to] = _Draft(path, through, None if to == through else to, (*order, step))
                draft.below[to].origin = here
            draft = draft.below[to]
            if not is_new:
                draft.clash |= through not in (draft.name, to)  # a path may also name its `to_attr`
                came_with_rows = draft.origin is Origin.QUERYSET
                draft.clash |= draft.querysets is not None and came_with_rows != (here is Origin.QUERYSET)
                if came_with_rows and here is Origin.GIVEN:
                    draft.origin = Origin.BOTH
        return draft, is_new


def of_queryset(lookups: Iterable[Any]) -> tuple[Any, ...]:
    """A queryset's own lookups as arguments. Django checks their paths: it takes no dots, for example."""
    return tuple(Prefetch(lookup) if isinstance(lookup, str) else lookup for lookup in lookups)


def lookups_for_django(given: MemoizedPrefetchConfig | Prefetch[Any] | str) -> Iterator[Prefetch[Any] | str]:
    """An argument of MemoizedPrefetch as lookups for Django, with copied querysets that Django may change."""
    if isinstance(given, MemoizedPrefetchConfig):
        for attribute in given.attributes:
            yield _of_config(given, checked_path(attribute, ""))
    elif isinstance(given, str):
        yield checked_path(given, "")
    else:
        # Not copy.copy(): it uses __getstate__(), which drops the rows of a queryset.
        prefetch: Any = object.__new__(type(given))
        prefetch.__dict__.update(given.__dict__)
        if hasattr(given, "querysets"):
            prefetch.querysets = [_for_django(queryset) for queryset in given.querysets]
        elif given.queryset is not None:
            prefetch.queryset = _for_django(given.queryset)
        yield prefetch


def _of_config(config: MemoizedPrefetchConfig, path: str) -> Prefetch[Any]:
    return Prefetch(path, queryset=_for_django(config.get_queryset()) if config.chooses_rows else None)


def _for_django(queryset: QuerySet[Any]) -> QuerySet[Any]:
    queryset = unshared(queryset)
    lookups = (lookup for given in queryset._prefetch_related_lookups for lookup in lookups_for_django(given))
    queryset._prefetch_related_lookups = tuple(lookups)
    return queryset


def checked_path(attribute: str, where: str) -> str:
    """The path with `__` between its names. Raises ValueError if it is not a path of names."""
    path = attribute.replace(".", LOOKUP_SEP)
    if not all(name.isidentifier() for name in path.split(LOOKUP_SEP)):
        msg = f"{where}: {attribute!r} is not a path of names such as 'author', 'book.author' or 'book__author'."
        raise ValueError(msg)
    return path
