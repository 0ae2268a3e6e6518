"""From lookups and the classes of objects to steps, each of which is planned once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

from django.db.models import Model, QuerySet

from .._engine import group_by_class
from .._lookups import CLASH, Lookup, Tree
from .._memory.context import Context
from .._relations.base import Given, Step, check_to_attr
from .._relations.by_django import ByDjango
from .._relations.find import relation_for
from .._stock import why_not_stock_prefetch


class Planner:
    """
    The steps of one tree of lookups. What is planned for one model changes nothing for another.

    Args:
        report: Told of each step that is new, or that has become another one.
    """

    def __init__(self, tree: Tree, report: Callable[[Step], None]) -> None:
        self._tree, self._report = tree, report
        self._steps: dict[tuple[Lookup, type[Model]], Step] = {}
        self._later: dict[Step, frozenset[Any]] = {}

    def why_by_django(self, rows: Sequence[Any]) -> str | None:
        """Why Django has to do a whole chunk."""
        if (reason := why_not_stock_prefetch()) is not None:
            return reason
        for cls, members in group_by_class(rows):
            if not issubclass(cls, Model) and isinstance(members[0], Model):
                return f"a {cls.__name__} stands for an instance"
        return self._tree.clash

    def step(
        self, lookup: Lookup, model: type[Model], parent: Step | None = None, instance: Model | None = None
    ) -> Step:
        """
        How a lookup is attached to the objects of a class.

        Args:
            parent: The step that attached these objects; None for those of the chunk.
            instance: One of them, if there are some already.

        Raises:
            AttributeError, ValueError: The lookup does not fit the model, with what was expected.
        """
        step = self._steps.get((lookup, model))
        if step is None:
            given = None if parent is None else parent.gives(lookup.name)
            fresh = plan(lookup, model, given, instance)
            step = self._steps.setdefault((lookup, model), fresh)
            if step is fresh:  # else another thread's came first
                self._report(step)
        return step

    def steps(self) -> list[Step]:
        return list(self._steps.values())

    def check(self, lookup: Lookup, model: type[Model], parent: Step | None = None) -> None:
        """Raises where a lookup below this one does not fit, as far as models tell that."""
        for below in lookup.below.values():
            step = self.step(below, model, parent)
            check_to_attr(step)
            if step.row_model is not None:
                self.check(below, step.row_model, step)

    def settled(self, step: Step, instance: Model) -> Step:
        """The step to take now that its turn has come."""
        now = step.settled(instance)
        if now is not step:
            self._replace(step, now)
        return now

    def judged(
        self, step: Step, objects: Sequence[Any], remembered: bool, context: Callable[[str], Context]
    ) -> tuple[Step, QuerySet[Any] | None]:
        """
        Looks at the queryset that a manager of the project's own gives, as at one that the user gives.

        Args:
            objects: Those that Django would ask the manager for.
            context: What is remembered of a database alias.

        Returns:
            The step to take, and the manager's queryset for these objects: asked again, it may give another one.
        """
        varies = step.row_source.varies
        fresh = step.not_attached(objects)
        if not fresh and not (remembered and varies):
            return step, None  # what is remembered shows what the manager gave then, and may give otherwise now
        queryset = step.row_source.make((fresh or objects)[0])
        now = _judged(step, queryset)
        if varies and not now.by_django and (now.table is not None or remembered):
            key = (step.row_source.identity, step.relation.label)
            if not context(queryset.db).is_same_query(key, queryset):
                name = step.row_source.model.__name__
                reason = f"{name}'s manager gives another queryset than for a chunk before; scope= tells tenants apart"
                now = left_to_django(step, reason)
        if now is not step:
            self._replace(step, now)
        return now, None if now.by_django else queryset

    def _replace(self, step: Step, now: Step) -> None:
        for key, known in list(self._steps.items()):
            if known is step:
                self._steps[key] = now
        self._report(now)

    def later_tables(self, step: Step) -> frozenset[Any]:
        """The tables that to-one lookups below this step will need."""
        known = self._later.get(step)
        if known is None:
            found: set[Any] = set()
            model = step.row_model
            self._later[step] = frozenset()  # for lookups that managers repeat without end
            for below in step.lookup.below.values() if model is not None else ():
                try:
                    deeper = self.step(below, model, step)  # type: ignore[arg-type]
                except (AttributeError, ValueError):
                    continue  # raised when there are objects to attach it to
                found |= {identity_of(deeper)} if deeper.is_to_one else set()
                found |= self.later_tables(deeper)
            known = self._later[step] = frozenset(found)
        return known


def asks_manager(step: Step) -> bool:
    """Whether a manager of the project's own has yet to be asked for its queryset, which takes an instance."""
    source = step.source
    return source is not None and source.of_manager and not step.by_django and (source.varies or not step.is_judged)


def identity_of(step: Step) -> Any:
    """Steps with equal ones share a table."""
    return step if step.table is None else step.table.identity


def plan(lookup: Lookup, model: type[Model], given: Given | None, instance: Model | None) -> Step:
    relation = relation_for(lookup, model, instance)
    step: Step = relation.kind(lookup, relation, given)
    if lookup.to_attr_given and lookup.to_attr is None and not step.by_django:
        return left_to_django(step, "to_attr names the relation itself")
    reason = step.set_up()
    return step if reason is None else left_to_django(step, reason)


def left_to_django(step: Step, reason: str) -> ByDjango:
    return ByDjango(step.lookup, step.relation, step.given, reason, native=step)


def _judged(step: Step, queryset: QuerySet[Any]) -> Step:
    """The step for what a manager's queryset holds; itself, when it was judged before and nothing stands against it."""
    judged = copy(step)
    config = step.lookup.config
    reason = judged.judge(queryset, whole=config is not None and config.prefetch_all)
    if reason is None and step.is_judged:
        return step
    if reason is None and queryset._prefetch_related_lookups:
        judged.lookup, clashes = step.lookup.extended(queryset._prefetch_related_lookups)
        reason = CLASH if clashes else None
    judged.is_judged = True
    if reason is not None:
        return left_to_django(judged, f"{queryset.model.__name__}'s manager: {reason}")
    return judged
