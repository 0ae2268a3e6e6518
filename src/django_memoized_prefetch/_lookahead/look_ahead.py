"""`look_ahead()`: makes the plan of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

from django.db.models import Model, QuerySet
from django.db.models.manager import BaseManager
from django.db.models.query import ModelIterable, RawQuerySet

from .._messages import shown
from .._relation import pk_fields
from .._running.session import Session
from .._streaming.stream import check_count
from .levels import Levels
from .plan import Plan
from .reading import Reader


def look_ahead(session: Session, source: Any, chunk_size: int, rows: int | None, report: Callable[[int], None]) -> Plan:
    """The plan of a run. `MemoizedPrefetch.plan` describes the arguments."""
    check_count(chunk_size, "chunk_size", 1, "plan")
    if rows is not None:
        check_count(rows, "rows", 1, "plan")
    if session.amount is not None:
        msg = "plan: with memory= the run itself chooses the sizes; leave it out, and ask plan.sizes(memory=...)."
        raise ValueError(msg)
    if isinstance(source, BaseManager):
        source = source.all()
    if isinstance(source, QuerySet):
        levels, reader = _of_queryset(session, source, rows, report)
        alias, what = source.db, source.model.__name__
    else:
        objects, first = _objects_of(source)
        alias, what = first._state.db or "default", type(first).__name__
        levels = Levels(session, None, type(first), alias)
        levels.add(session.own.given)
        if isinstance(source, RawQuerySet):
            levels.add(source._prefetch_related_lookups)
        check_lookups(levels)
        reader = Reader(levels, rows, report)
        reader.read_objects(objects)
    is_part = rows is not None and reader.rows >= rows
    deferred = len(_deferred(source, levels)) if isinstance(source, QuerySet) else 0
    return Plan(levels, what, chunk_size, reader.rows, is_part, reader.statements, deferred)


def _of_queryset(
    session: Session, queryset: QuerySet[Any], rows: int | None, report: Callable[[int], None]
) -> tuple[Levels, Reader]:
    if not issubclass(queryset._iterable_class, ModelIterable):
        msg = f"plan: expected a queryset of model instances, got one of {queryset._iterable_class.__name__}."
        raise TypeError(msg)
    levels = Levels(session, queryset, queryset.model, queryset.db)
    lookups = queryset._prefetch_related_lookups
    # In the order of `Session.process`. Lookups with Prefetch objects have a memory of their own.
    is_apart = not all(isinstance(lookup, str) for lookup in lookups)
    if is_apart:
        levels.add(lookups, memory=1)
    levels.add(session.own.given)
    if not is_apart:
        levels.add(lookups)
    check_lookups(levels)
    reader = Reader(levels, rows, report)
    reader.read_queryset(queryset)
    return levels, reader


def check_lookups(levels: Levels) -> None:
    """Raises ValueError if there are none."""
    if not (levels.levels or levels.untold):
        msg = (
            f"plan: there are no lookups, so nothing is fetched for {levels.model.__name__}; give them to "
            "MemoizedPrefetch, or to the queryset's prefetch_related()."
        )
        raise ValueError(msg)


def _objects_of(source: Any) -> tuple[Iterator[Any], Any]:
    """The objects of an iterable, and the first one."""
    if not isinstance(source, Iterable) or isinstance(source, (str, bytes)):
        msg = f"plan: expected a queryset, a manager, or an iterable of model instances, got {shown(source)}."
        raise TypeError(msg)
    # Not iter() of raw SQL, which prefetches.
    objects = source.iterator() if isinstance(source, RawQuerySet) else iter(source)
    first = next(objects, None)
    if not isinstance(first, Model):
        got = "no object" if first is None else shown(first)
        msg = f"plan: expected model instances, got {got}."
        raise TypeError(msg)
    return chain([first], objects), first


def _deferred(queryset: QuerySet[Any], levels: Levels) -> set[str]:
    """Keys that the queryset does not load, so that each chunk reads them with a query of its own."""
    names, is_deferred = queryset.query.deferred_loading
    if not names:
        return set()
    found = set()
    model = queryset.model
    always = {key.attname for one in (model, *model._meta.get_parent_list()) for key in pk_fields(one)}
    for level in levels.told:
        if level.parent is None:
            loaded = {level.key_name, level.step.relation.name}
            if bool(names & loaded) == is_deferred and level.key_name not in always:
                found.add(level.key_name)
    return found
