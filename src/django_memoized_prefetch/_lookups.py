"""What was asked for, as a frozen tree: configs, lookup strings and Prefetch objects, shared prefixes once."""

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
from ._stock import why_overridden_once

# What Django asks a lookup. Only Django asks a subclass that answers in its own way.
_PREFETCH = (
    *("get_current_prefetch_to", "get_current_to_attr", "get_current_queryset", "get_current_querysets", "add_prefix"),
    *("__eq__", "__hash__"),
)
CLASH = "lookups ask for different things under one name"


class Origin(Enum):
    """Who asked for a lookup."""

    GIVEN = "an argument"
    QUERYSET = "the queryset whose rows it is attached to"
    BOTH = "that queryset, and then an argument too"


@dataclass(frozen=True, eq=False)
class Lookup:
    """
    One relation to attach, at the end of a path: `book`, `book__author`.

    path: Where it is attached, from the chunk's objects on; `to_attr` takes the place of the relation's name.
    name: The attribute of the relation.
    to_attr: The attribute to attach to, when it is another.
    to_attr_given: A `to_attr` was given, perhaps the relation's own name.
    order: When Django would come to it: the lookup with the smaller one is first.
    ends: A lookup ends here, and does not only pass through.
    config: Says what the rows are read from. None for lookup strings, Prefetch objects and the steps between.
    querysets: Those of a Prefetch or GenericPrefetch object.
    generic: It is a GenericPrefetch.
    below: The lookups that continue this path, by the attribute that these attach to.
    """

    path: str = ""
    name: str = ""
    to_attr: str | None = None
    to_attr_given: bool = False
    order: tuple[int, ...] = ()
    ends: bool = False
    origin: Origin = Origin.GIVEN
    config: MemoizedPrefetchConfig | None = None
    querysets: tuple[QuerySet[Any], ...] | None = None
    generic: bool = False
    below: Mapping[str, Lookup] = field(default_factory=dict)

    @property
    def through(self) -> str:
        """The path as the user wrote it: with the relation's name, not that of `to_attr`."""
        path: str = LOOKUP_SEP.join([*self.path.split(LOOKUP_SEP)[:-1], self.name])
        return path

    @property
    def is_inner(self) -> bool:
        """Whether it came with the queryset whose rows it is attached to."""
        return self.origin is not Origin.GIVEN

    @property
    def is_only_inner(self) -> bool:
        """Whether nobody else asked for it."""
        return self.origin is Origin.QUERYSET

    @property
    def attribute(self) -> str:
        """What it attaches to."""
        return self.to_attr or self.name

    @property
    def where(self) -> str:
        """What an error about this lookup begins with."""
        if self.config is None:
            return "MemoizedPrefetch"
        return f"MemoizedPrefetchConfig({self.config.model.__name__}, {self.config.attributes!r})"

    def all_below(self) -> Iterator[Lookup]:
        for lookup in self.below.values():
            yield lookup
            yield from lookup.all_below()

    @property
    def is_plain(self) -> bool:
        """Whether it says nothing of its own about its rows, nor where they go."""
        config = self.config
        own = config is not None and (config.queryset is not None or config.overrides_queryset)
        return not own and self.querysets is None and not self.to_attr_given and not self.generic

    @property
    def source_identity(self) -> tuple[Any, ...] | None:
        """Lookups with the same one read the same rows. None: those of the manager that Django chooses."""
        if self.config is not None:
            if self.config.overrides_queryset:
                return ("config", id(self.config))
            return None if self.config.queryset is None else ("queryset", id(self.config.queryset))
        if self.querysets is None:
            return None
        return tuple(part for queryset in self.querysets for part in ("queryset", id(queryset)))

    @cached_property
    def custom_below(self) -> tuple[Any, ...]:
        """The lookups below that carry a queryset. What they attach to a row must not show in rows of other lookups."""
        custom: list[Any] = []
        for lookup in self.below.values():
            if lookup.source_identity is not None:
                custom.append((lookup.path[len(self.path) :], lookup.name, lookup.source_identity))
            elif lookup.to_attr is not None:
                custom.append((lookup.path[len(self.path) :], lookup.name))
            custom += [(lookup.path[len(self.path) :], *deeper) for deeper in lookup.custom_below]
        return tuple(sorted(custom, key=repr))

    def for_django(self, prefix: int) -> Iterator[Prefetch[Any]]:
        """What ends here or below as Django takes it, the first `prefix` characters of the path left out."""
        if self.is_only_inner:
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

    def extended(self, inner: Iterable[Any]) -> tuple[Lookup, bool]:
        """
        The lookup with those of its manager's own queryset below it.

        Args:
            inner: Lookup strings and Prefetch objects.

        Returns:
            The lookup, and whether what was given below it clashes with these.
        """
        draft = _Draft.of(self)
        draft.add_all(inner)
        return draft.frozen(), draft.clashes()


@dataclass(frozen=True)
class Tree:
    """
    The lookups of a run.

    root: All lookups are below it.
    clash: Why only Django can tell what they come to, if that is so.
    in_order: Some lookup carries a queryset or a `to_attr`: what one attaches may decide what another does, so they are
        done in Django's order.
    """

    root: Lookup
    clash: str | None
    in_order: bool


def lookup_tree(given: Sequence[Any]) -> Tree:
    """The tree for the arguments of MemoizedPrefetch."""
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
        elif isinstance(argument, Prefetch):
            root.add(argument, (number,))
        else:
            msg = (
                "MemoizedPrefetch: expected lookup strings, Prefetch objects and MemoizedPrefetchConfig objects, "
                f"got {argument!r} of type {type(argument).__name__}."
            )
            raise TypeError(msg)
        number += 1
    frozen = root.frozen()
    in_order = not all(lookup.is_plain for lookup in frozen.all_below())
    return Tree(frozen, CLASH if root.clashes() else None, in_order)


class _Draft:
    """A lookup while the tree is made; the attributes are those of Lookup."""

    def __init__(self, path: str = "", name: str = "", to_attr: str | None = None, order: tuple[int, ...] = ()) -> None:
        self.path, self.name, self.to_attr, self.order = path, name, to_attr, order
        self.to_attr_given = self.ends = self.generic = False
        self.origin = Origin.GIVEN
        self.config: MemoizedPrefetchConfig | None = None
        self.querysets: tuple[QuerySet[Any], ...] | None = None
        self.below: dict[str, _Draft] = {}
        self.clash = False  # Django alone knows which of several lookups under this name it does

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

    def clashes(self) -> bool:
        return self.clash or any(draft.clashes() for draft in self.below.values())

    def add(self, argument: Any, order: tuple[int, ...], origin: Origin = Origin.GIVEN) -> None:
        """Adds what continues this path: a lookup string or a Prefetch object."""
        prefetch = argument if isinstance(argument, Prefetch) else Prefetch(argument)
        throughs, tos = prefetch.prefetch_through.split(LOOKUP_SEP), prefetch.prefetch_to.split(LOOKUP_SEP)
        draft, is_new = self._descend(throughs, tos, order, origin)
        draft.ends = True
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
        if draft.querysets and not draft.generic:  # each queryset of a GenericPrefetch is followed by its own lookups
            draft.add_all(draft.querysets[0]._prefetch_related_lookups)

    def add_all(self, inner: Iterable[Any]) -> None:
        """Adds the lookups of the queryset whose rows are attached here."""
        # Django does them behind the lookup that it came by; those of the last step of its path first.
        *prefix, step = self.order
        for number, one in enumerate(inner):
            self.add(one, (*prefix, sys.maxsize, -step, number), Origin.QUERYSET)

    def add_config(self, attribute: str, config: MemoizedPrefetchConfig, order: tuple[int, ...]) -> None:
        names = attribute.split(LOOKUP_SEP)
        draft, _ = self._descend(names, names, order, Origin.GIVEN)
        if draft.config is not None and draft.config is not config:
            where = f"MemoizedPrefetchConfig({config.model.__name__})"
            msg = f"{where}: {attribute!r} is in two configs, also in that of {draft.config.model.__name__}."
            raise ValueError(msg)
        draft.config = config
        if config.queryset is not None and not config.overrides_queryset:
            draft.add_all(config.get_queryset()._prefetch_related_lookups)

    def _descend(
        self, throughs: Sequence[str], tos: Sequence[str], order: tuple[int, ...], origin: Origin
    ) -> tuple[_Draft, bool]:
        """The draft at the end of a path, and whether it is new."""
        draft, is_new = self, False
        for step, (through, to) in enumerate(zip(throughs, tos)):
            is_new = to not in draft.below
            # What continues a queryset's lookup belongs to that lookup's rows, whoever asked for them.
            here = origin if draft is self else Origin.GIVEN
            if is_new:
                path = f"{draft.path}{LOOKUP_SEP}{to}" if draft.path else to
                draft.below[to] = _Draft(path, through, None if to == through else to, (*order, step))
                draft.below[to].origin = here
            draft = draft.below[to]
            if not is_new:
                draft.clash |= through not in (draft.name, to)  # it may be passed by what it attaches to
                came_with_rows = draft.origin is Origin.QUERYSET
                draft.clash |= draft.querysets is not None and came_with_rows != (here is Origin.QUERYSET)
                if came_with_rows and here is Origin.GIVEN:
                    draft.origin = Origin.BOTH
        return draft, is_new


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
