"""In which order the levels of a chunk are done, and which of them share a query."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from django.db.models.constants import LOOKUP_SEP

from .._lookups import Tree
from .._planning.planner import Planner, identity_of
from .._relations.base import Step, refuses_strays
from .._relations.by_django import ByDjango
from .._relations.passed_through import PassedThrough


class Ordered(Protocol):
    """What the order of levels depends on."""

    @property
    def step(self) -> Step: ...
    @property
    def alias(self) -> str: ...
    @property
    def lifetime(self) -> Any: ...
    @property
    def memo(self) -> Any: ...


AnyLevel = TypeVar("AnyLevel", bound=Ordered)


def next_group(levels: list[AnyLevel], tree: Tree, planner: Planner) -> list[AnyLevel]:
    """The levels to do next. They share a query."""
    first = min(levels, key=lambda level: level.step.lookup.order)
    if not tree.in_order:
        # All relations to one table share a query, so first take a table that no lookup further down needs too.
        # What the engine does not attach may look at what earlier lookups attached, so it waits for them.
        own = [level for level in levels if not isinstance(level.step, (PassedThrough, ByDjango))]
        later = frozenset[Any]().union(*(planner.later_tables(level.step) for level in own))
        if later:
            first = next((level for level in own if identity_of(level.step) not in later), first)
    return [level for level in levels if level is first or _share_a_query(first, level, tree.in_order)]


def _share_a_query(first: Ordered, other: Ordered, in_order: bool) -> bool:
    step, theirs = first.step, other.step
    if step.asks_like(theirs):
        return step.lookup is theirs.lookup and (first.alias, first.lifetime) == (other.alias, other.lifetime)
    if not (step.is_to_one and theirs.is_to_one) or first.memo is not other.memo:
        return False
    # If order matters, only levels of equal depth, and not two of one relation: the first may affect the second.
    is_level = step.lookup.path.count(LOOKUP_SEP) == theirs.lookup.path.count(LOOKUP_SEP)
    if in_order and not (is_level and step.relation is not theirs.relation):
        return False
    return not refuses_strays(step, first.alias) and not refuses_strays(theirs, other.alias)
