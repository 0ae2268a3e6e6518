"""What is attached to a remembered row, and which of it no longer shows what the database has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Model, QuerySet

from .._memory.change import Change
from .._relations.base import Step
from .._relations.place import ATTRIBUTE, FIELDS_CACHE, MISSING, PREFETCHED, PREFETCHED_OBJECTS, Place, fields_cache


@dataclass(frozen=True)
class Edge:
    """What a row has attached at a place: the rows there."""

    place: Place
    rows: tuple[Any, ...]


def edges_of(row: Any) -> Iterator[Edge]:
    for name, value in list(fields_cache(row).items()):
        if isinstance(value, Model):
            yield Edge(Place(FIELDS_CACHE, name), (value,))
    for name, value in list(row.__dict__.get(PREFETCHED_OBJECTS, {}).items()):
        yield Edge(Place(PREFETCHED, name), rows_in(value))
    for name, value in list(row.__dict__.items()):
        if isinstance(value, Model) or (isinstance(value, list) and value and isinstance(value[0], Model)):
            yield Edge(Place(ATTRIBUTE, name), rows_in(value))


def rows_in(value: Any) -> tuple[Any, ...]:
    if isinstance(value, QuerySet):
        value = value.__dict__.get("_result_cache") or ()
    members = value if isinstance(value, (list, tuple)) else (value,)
    return tuple(member for member in members if isinstance(member, Model))


class Attached:
    """
    What steps attach to the rows of each model.

    Args:
        kept_links: The links that are still known, by the identity of their table.

    own: By model, the places that steps fill: they will do it again.
    """

    def __init__(self, changes: list[Change], steps: Collection[Step], kept_links: dict[Any, dict[Any, Any]]) -> None:
        self._kept_links = kept_links
        self.own: dict[Any, set[Place]] = defaultdict(set)
        self._concerned: dict[Any, list[Step]] = defaultdict(list)
        for step in steps:
            relation = step.relation
            self.own[relation.model].update(step.attached_at)
            if relation.reverse_name is not None and step.row_model is not None:
                self.own[step.row_model].add(Place(FIELDS_CACHE, relation.reverse_name))
            if any(step.concerned(change) for change in changes):
                self._concerned[relation.model].append(step)

    def stale(self, row: Any) -> Iterator[Place]:
        """The places that may have to show rows that they do not show now."""
        for step in self._concerned[type(row)]:
            for place in step.attached_at:
                value = place.value_in(row)
                if value is not MISSING and step.may_lack(row, value, self._kept_links):
                    yield place


def matters(change: Change, steps: Collection[Step], streamed: Collection[type[Model]]) -> bool:
    """
    Whether remembered rows may be or show those that changed.

    Jobs save the rows that they stream, and then no walk over all that is remembered is wanted for each chunk: of
    such a model it is enough to know that no relation leads to it.
    """
    if not any(change.concerns(model) for model in streamed):
        return True
    for step in steps:
        if step.relation.target is None or step.row_model is None or change.concerns(step.row_model):
            return True
        if step.concerned(change):
            return True
    return False
