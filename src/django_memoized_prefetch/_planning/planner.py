"""`Planner`: decides once, for each lookup and model class, which step attaches it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

from django.db.models import Model, QuerySet

from .._engine import group_by_class
from .._lookups import CLASH, Lookup, Tree, lookup_tree, of_queryset
from .._memory.context import Context
from .._queries.eligibility import why_not_read_by_key
from .._queries.identity import lookups_of
from .._relation import Relation, pk_fields
from .._relations.base import Given, Step, check_to_attr
from .._relations.by_django import ByDjango
from .._relations.find import relation_for
from .._stock import plain_manager, static_attribute, why_not_stock_prefetch


class Planner:
    """
    Plans and caches the steps of one tree of lookups, for each model class independently.

    Args:
        report: Called with each step that is new or replaces another.
    """

    def __init__(self, tree: Tree, report: Callable[[Step], None]) -> None:
        self._tree, self._report = tree, report
        self._steps: dict[tuple[Lookup, type[Model]], Step] = {}
        self._later: dict[Step, frozenset[Any]] = {}

    def why_by_django(self, rows: Sequence[Any]) -> str | None:
        """Why Django has to process the whole chunk; None if it need not."""
        if (reason := why_not_stock_prefetch()) is not None:
            return reason
        for cls, members in group_by_class(rows):
            if not issubclass(cls, Model) and isinstance(members[0], Model):
                return f"a {cls.__name__} takes the place of an instance"
        return self._tree.clash

    def step(
        self, lookup: Lookup, model: type[Model], parent: Step | None = None, instance: Model | None = None
    ) -> Step:
        """
        The step that attaches a lookup to the objects of a class.

        Args:
            parent: The step that attached these objects; None for the chunk's own.
            instance: One of the objects, if there are any yet.

        Raises:
            AttributeError, ValueError: The lookup does not fit the model. The message says what was expected.
        """
        step = self._steps.get((lookup, model))
        if step is None:
            given = None if parent is None else parent.gives(lookup.name)
            fresh = plan(lookup, model, given, instance)
            step = self._steps.setdefault((lookup, model), fresh)
            if step is fresh:  # otherwise another thread was first
                self._report(step)
        return step

    def steps(self) -> list[Step]:
        return list(self._steps.values())

    def parts(self) -> list[Step]:
        """All steps, and those that their objects were split into so far."""
        return [part for step in self.steps() for part in (step, *list(step.parts.values()))]

    def check(self, lookup: Lookup, model: type[Model], parent: Step | None = None) -> None:
        """Raises if a lookup below this one does not fit, as far as the models alone can tell."""
        for below in lookup.below.values():
            if (parent is None or parent.by_django) and is_of_subclass(model, below.name):
                continue  # the objects, or the rows of such a queryset, may be of that class
            step = self.step(below, model, parent)
            check_to_attr(step)
            if step.row_model is not None:
                self.check(below, step.row_model, step)

    def settled(self, step: Step, instance: Model) -> Step:
        """The final step to take, known only when its turn has come."""
        now = step.settled(instance)
        if now is not step:
            self._replace(step, now)
        return now

    def judged(
        self, step: Step, objects: Sequence[Any], remembered: bool, context: Callable[[str], Context] | None
    ) -> tuple[Step, QuerySet[Any] | None]:
        """
        Checks the queryset of a custom manager, as if the user had given it.

        Args:
            objects: The objects to attach to.
            remembered: Whether the objects are remembered rows.
            context: From a database alias to what is remembered for it; None if the manager does not vary.

        Returns:
            The step to take, and the manager's queryset for these objects, since the manager may return another when
            asked again. The queryset is None if it is not needed.
        """
        varies = step.row_source.varies
        fresh = step.not_attached(objects)
        if not fresh and not (remembered and varies):
            return step, None  # only a varying manager may return something else now than is remembered
        queryset = step.row_source.make((fresh or objects)[0])
        now = _judged(step, queryset)
        if varies and context is not None and not now.by_django and (now.table is not None or remembered):
            key = (step.row_source.identity, step.relation.label)
            if not context(queryset.db).is_same_query(key, queryset):
                name = step.row_source.model.__name__
                reason = f"{name}'s manager returned another queryset for an earlier chunk; scope= tells tenants apart"
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
            self._later[step] = frozenset()  # ends the recursion if managers repeat lookups forever
            for below in step.lookup.below.values() if model is not None else ():
                try:
                    deeper = self.step(below, model, step)  # type: ignore[arg-type]
                except (AttributeError, ValueError):
                    continue  # the error is raised once there are objects to attach to
                found |= {identity_of(deeper)} if deeper.is_to_one else set()
                found |= self.later_tables(deeper)
            known = self._later[step] = frozenset(found)
        return known


def is_of_subclass(model: type[Model], name: str) -> bool:
    """Whether the model lacks an attribute that a model derived from it has."""
    return static_attribute(model, name) is None and any(
        static_attribute(derived, name) is not None or is_of_subclass(derived, name)
        for derived in model.__subclasses__()
    )


def asks_manager(step: Step) -> bool:
    """Whether a custom manager must be asked for its queryset now, since that needs an instance."""
    source = step.source
    return source is not None and source.of_manager and not step.by_django and (source.varies or not step.is_judged)


def identity_of(step: Step) -> Any:
    """What steps that share a table have in common."""
    return step if step.table is None else step.table.identity


def plan(lookup: Lookup, model: type[Model], given: Given | None, instance: Model | None) -> Step:
    """Makes the step for a lookup and a model. Raises AttributeError or ValueError if they do not fit."""
    relation = relation_for(lookup, model, instance)
    step: Step = relation.kind(lookup, relation, given)
    if lookup.to_attr_given and lookup.to_attr is None and not step.by_django:
        return left_to_django(step, "to_attr names the relation itself")
    reason = step.set_up()
    for queryset in step.whole_querysets:
        reason = reason or why_lookups_vary(queryset)
    if reason is not None:
        return left_to_django(step, reason)
    reason = why_whole(step)
    return step if reason is None else left_to_django(step, reason, whole=True)


def why_lookups_vary(queryset: QuerySet[Any], models: tuple[type[Model], ...] = ()) -> str | None:
    """
    Why what Django attaches by the queryset's own lookups may depend on the other rows; None if it cannot.

    Args:
        models: Those whose managers have led here. Managers may ask for each other's rows forever.
    """
    if queryset.model in models:
        return None
    root = lookup_tree(of_queryset(queryset._prefetch_related_lookups)).root
    return _why_vary(root, queryset.model, (*models, queryset.model))


def _why_vary(lookup: Lookup, model: type[Model] | None, models: tuple[type[Model], ...]) -> str | None:
    for below in lookup.below.values():
        relation = None if model is None else _relation_of_class(below, model)
        target = None if relation is None else relation.target
        querysets, written = below.querysets, below.querysets is not None
        if relation is not None and target is not None and not written:
            manager = target._base_manager if relation.kind.is_single else target._default_manager
            querysets = () if plain_manager(manager) else (manager.get_queryset(),)
        for one in querysets or ():
            reason = why_not_read_by_key(one)
            if reason is None and not (written and not below.generic):  # otherwise its lookups are below this one
                reason = why_lookups_vary(one, models)
            if reason is not None:
                return f"{reason}, in a lookup {below.through} of its queryset"
        if (reason := _why_vary(below, target, models)) is not None:
            return reason
    return None


def _relation_of_class(lookup: Lookup, model: type[Model]) -> Relation | None:
    """The relation that a lookup names, as far as the class alone can tell; None if it has none."""
    try:
        return relation_for(lookup, model, None)
    except (AttributeError, ValueError):
        return None  # the error is raised once there are objects to attach to


def why_whole(step: Step) -> str | None:
    """
    Why Django has to attach it together with the lookups of the rows' queryset; None if the engine can do both.

    Django sets the rows' way back after these lookups, unless one of them has attached something there by a longer
    path: for an author's books, `reviews__book__author` does. The engine sets the way back before them.
    """
    if step.keeps_way_back:
        inner = [lookup for lookup in step.lookup.below.values() if lookup.is_inner]
        if inner and len(keys := pk_fields(step.row_source.model)) > 1 and step.relation.field in keys:
            return f"{step.relation.field.name} is in a composite key, and loading any column takes it off again"
        for lookup in inner:
            if _comes_to(step.relation.field, lookup, step.row_source.model):
                return f"a lookup of its queryset attaches {step.relation.field.name} by a longer path"
    return None


def _comes_to(field: Any, lookup: Lookup, model: type[Model]) -> bool:
    """Whether a path that goes on from the lookup may end with this foreign key of rows of its model."""
    relation = _relation_of_class(lookup, model)
    if relation is None:
        return False
    target = relation.target
    if target is None:  # of any class
        return any(below.name == field.name for below in lookup.all_below())
    here = target._meta.concrete_model
    is_family = issubclass(here, field.model) or issubclass(field.model, here)
    return any(
        (is_family and below.name == field.name) or _comes_to(field, below, target) for below in lookup.below.values()
    )


def left_to_django(step: Step, reason: str, whole: bool = False) -> ByDjango:
    return ByDjango(step.lookup, step.relation, step.given, reason, native=step, whole=whole)


def _judged(step: Step, queryset: QuerySet[Any]) -> Step:
    """The step for a manager's queryset; the same step if it was judged before and still has no obstacle."""
    judged = copy(step)
    config = step.lookup.config
    reason = judged.judge(queryset, whole=config is not None and config.prefetch_all)
    lookups = lookups_of(queryset._prefetch_related_lookups)
    if reason is None and step.is_judged:
        if lookups == step.managers_lookups:
            return step
        reason = "it returned other prefetch_related() lookups for an earlier chunk"
    if reason is None and lookups:
        judged.lookup, clashes = step.given_lookup.extended(queryset._prefetch_related_lookups)
        judged.managers_lookups = lookups
        reason = CLASH if clashes else why_whole(judged)
    judged.is_judged = True
    if reason is not None:
        judged.lookup = step.given_lookup  # with the lookups of its manager, Django does the rest too
        return left_to_django(judged, f"{queryset.model.__name__}'s manager: {reason}")
    return judged
