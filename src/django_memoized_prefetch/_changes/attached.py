"""Finds what is attached to a remembered row, and which of it has gone stale."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db.models import Model, QuerySet

from .._memory.change import Change
from .._relation import cache_name_of
from .._relations.base import Step
from .._relations.place import ATTRIBUTE, FIELDS_CACHE, MISSING, PREFETCHED, PREFETCHED_OBJECTS, Place, fields_cache


@dataclass(frozen=True)
class Edge:
    """A place of a row, and the rows attached there."""

    place: Place
    rows: tuple[Any, ...]


def edges_of(row: Any) -> Iterator[Edge]:
    """Everything attached to a row."""
    for name, value in list(fields_cache(row).items()):
        if isinstance(value, Model):
            yield Edge(Place(FIELDS_CACHE, name), (value,))
    for name, value in list(row.__dict__.get(PREFETCHED_OBJECTS, {}).items()):
        yield Edge(Place(PREFETCHED, name), rows_in(value))
    for name, value in list(row.__dict__.items()):
        if isinstance(value, Model) or (isinstance(value, list) and value and isinstance(value[0], Model)):
            yield Edge(Place(ATTRIBUTE, name), rows_in(value))


def rows_in(value: Any) -> tuple[Any, ...]:
    """The model instances in an attached value: an instance, a list or an evaluated queryset."""
    if isinstance(value, QuerySet):
        value = value.__dict__.get("_result_cache") or ()
    members = value if isinstance(value, (list, tuple)) else (value,)
    return tuple(member for member in members if isinstance(member, Model))


class Attached:
    """
    What steps attach to the rows of each model, and which changes concern it.

    Args:
        steps: All steps that may have attached something to remembered rows.
        kept_links: The links that are still remembered, by the identity of their table.
    """

    def __init__(self, changes: list[Change], steps: Collection[Step], kept_links: dict[Any, dict[Any, Any]]) -> None:
        self._kept_links = kept_links
        # By model, the places that steps fill. If one is emptied, they will fill it again.
        self._own: dict[Any, set[Place]] = defaultdict(set)
        # By the identity of a table, the places that only `select_related()` fills, when its rows are read.
        self._selected: dict[Any, set[Place]] = defaultdict(set)
        # The tables whose rows come with what lookups of their own queryset attach.
        self._whole: set[Any] = set()
        self._concerned: dict[Any, list[Step]] = defaultdict(list)
        for step in steps:
            relation = step.relation
            self._own[relation.model].update(step.attached_at)
            if relation.reverse_name is not None and step.row_model is not None:
                self._own[step.row_model].add(Place(FIELDS_CACHE, relation.reverse_name))
            if step.table is not None and step.row_model is not None:
                names = selected_caches(step.row_model, step.selected)
                self._selected[step.table.identity].update(Place(FIELDS_CACHE, name) for name in names)
                if step.table.source.own_lookups:
                    self._whole.add(step.table.identity)
            if any(step.concerned(change) for change in changes):
                self._concerned[relation.model].append(step)

    def refilled(self, row: Any, table: Any) -> set[Place]:
        """The places of a row that steps will fill again if they are emptied."""
        return set() if table in self._whole else self._own[type(row)] - self._selected[table]

    def stale(self, row: Any) -> Iterator[Place]:
        """The places of a row where rows may be missing after the changes."""
        for step in self._concerned[type(row)]:
            for place in step.attached_at:
                value = place.value_in(row)
                if value is not MISSING and step.may_lack(row, value, self._kept_links):
                    yield place


def selected_caches(model: type[Model], selected: Iterable[str]) -> Iterator[str]:
    """The names in `fields_cache` of relations that `select_related()` names."""
    for name in selected:
        with suppress(FieldDoesNotExist):  # a FilteredRelation
            yield cache_name_of(model._meta.get_field(name))


def selected_models(model: type[Model], selected: dict[str, Any]) -> Iterator[type[Model] | None]:
    """The models of rows that `select_related()` brings along; None for one that the model cannot tell."""
    for name, below in selected.items():
        try:
            target = model._meta.get_field(name).related_model
        except FieldDoesNotExist:  # a FilteredRelation
            yield None
            continue
        yield target
        yield from selected_models(target, below)


def matters(change: Change, steps: Collection[Step], streamed: Collection[type[Model]]) -> bool:
    """
    Whether a change may concern remembered rows, or what is attached to them.

    Jobs save the rows that they stream, which should not cost a walk over the whole memory for each chunk. So for a
    streamed model, check first whether any relation leads to it.

    Args:
        streamed: The models of the chunks' own rows.
    """
    if not any(change.concerns(model) for model in streamed):
        return True
    for step in steps:
        if step.relation.target is None or step.row_model is None or change.concerns(step.row_model):
            return True
        if step.concerned(change) or (step.source is not None and step.source.own_lookups):
            return True  # Django has done lookups of its own there, which may lead anywhere
        if any(one is None or change.concerns(one) for one in selected_models(step.row_model, step.selected)):
            return True
    return False
