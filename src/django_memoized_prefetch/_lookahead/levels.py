"""The relations and tables of a run, found out without any object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db import connections
from django.db.models import Model, QuerySet
from django.db.models.base import ModelState
from django.db.models.constants import LOOKUP_SEP

from .._engine import Lookahead
from .._lookups import Lookup
from .._memory.table import LinkSpec, TableSpec
from .._planning.planner import asks_manager
from .._queries.keys import batch_size, parameter_limit
from .._relation import link_fields
from .._relations.base import Step, selected_by
from .._relations.by_django import ByDjango
from .._relations.foreign_key import ForeignKey
from .._relations.generic_foreign_key import GenericForeignKey
from .._relations.key_only import KeyOnly
from .._relations.many_to_many import ManyToMany, is_link_table_enough
from .._relations.passed_through import PassedThrough
from .._running.level import Lifetime
from .._running.lookup_set import LookupSet
from .._running.order import next_group
from .._running.session import Session


@dataclass(eq=False)
class PlannedTable:
    """
    A table of remembered rows or links.

    number: Its number in the lookahead.
    kept: How many entries are kept between chunks; None for all.
    spec: What it holds.
    depends: Whether its keys are those of rows that another table has fetched, so that they depend on that one's size.
    above: For links, the table of the rows that have them; None for rows of the run.
    memory: Which of several memories it is in.
    alias: The database that its rows are read from.
    """

    label: str
    number: int
    kept: int | None
    spec: TableSpec | LinkSpec
    depends: bool = False
    above: PlannedTable | None = None
    memory: int = 0
    alias: str = ""

    @property
    def model(self) -> type[Model]:
        return self.spec.source.model if isinstance(self.spec, TableSpec) else self.spec.model


@dataclass(eq=False)
class PlannedLevel:
    """
    One relation of a run. Unlike a Level, it has no objects.

    alias: The database that its rows are read from.
    memo: The table of its rows.
    parent: The level to whose rows it is attached; None for the rows of the run.
    number: Its number in the lookahead, once its group is known.
    """

    step: Step
    alias: str
    memo: PlannedTable
    parent: PlannedLevel | None
    links: PlannedTable | None = None
    number: int = -1

    @property
    def lifetime(self) -> Lifetime:
        return Lifetime.CHUNK if self.parent is None else Lifetime.MEMORY

    @property
    def key_name(self) -> str:
        """The attribute of the object that holds the key."""
        return self.step.relation.key_name

    @property
    def model(self) -> type[Model]:
        """The model of the rows that it is attached to."""
        return self.step.relation.model


@dataclass(eq=False)
class Levels:
    """
    The levels of a run, in groups that share a query.

    Args:
        session: Says how many rows of each table are kept.
        queryset: What the run reads, without its lookups; None if it reads objects that are there.
        model: The model of its rows.
        alias: The database that they come from.

    batches: For each group, the database's limit of keys per statement, how many keys a batch then has, and whether
        it is the last group of lookups that are given together.
    untold: Why nothing can be told of a lookup, by path.
    """

    session: Session
    queryset: QuerySet[Any] | None
    model: type[Model]
    alias: str
    ahead: Lookahead = field(default_factory=Lookahead)
    tables: list[PlannedTable] = field(default_factory=list)
    levels: list[PlannedLevel] = field(default_factory=list)
    batches: list[tuple[int | None, int | None, bool]] = field(default_factory=list)
    untold: dict[str, str] = field(default_factory=dict)

    def add(self, given: Sequence[Any], memory: int = 0) -> None:
        """
        Adds lookups that are given together.

        Args:
            memory: Lookups with equal values share their tables.
        """
        self._memory = memory
        lookups = LookupSet(given)
        self._lookups = lookups
        if (reason := lookups.planner.why_by_django(())) is not None:
            for lookup in lookups.tree.root.all_below():
                self.untold.setdefault(lookup.path, f"by Django itself, {reason}")
            return
        levels = [*self._below(lookups, lookups.tree.root, self.model, None)]
        while levels:
            group = next_group(levels, lookups.tree, lookups.planner)
            levels = [level for level in levels if level not in group]
            self._add_group(group)
            for level in group:
                model = level.step.row_model
                assert model is not None
                levels += self._below(lookups, level.step.lookup, model, level)
        if self.batches:
            self.batches[-1] = (*self.batches[-1][:2], True)

    def leave_shared(self) -> None:
        """Leaves out what shares a table with something of which nothing is told: it may find more there, or less."""
        left = True
        while left:
            left = False
            for level in self.levels:
                if level.step.lookup.path in self.untold:
                    continue
                for table in (level.memo, level.links):
                    other = None if table is None else self._shares_with(table)
                    if other is not None:
                        assert table is not None
                        self.leave(level.step, f"it shares {table.label} with {other}, of which nothing is told")
                        left = True
                        break

    def _shares_with(self, table: PlannedTable) -> str | None:
        """A lookup of which nothing is told, and which uses the table, or may use it."""
        known = self._untold_tables.get(table.label)
        if known is None and isinstance(table.spec, TableSpec) and table.spec.source.identity[0] == "base":
            return self._anywhere
        return known

    @property
    def told(self) -> list[PlannedLevel]:
        return [level for level in self.levels if level.step.lookup.path not in self.untold]

    # --- one level

    def _below(
        self, lookups: LookupSet, lookup: Lookup, model: type[Model], parent: PlannedLevel | None
    ) -> Iterator[PlannedLevel]:
        alias = self.alias if parent is None else parent.alias
        instance = stand_in(model, alias)
        for below in lookup.below.values():
            step = lookups.planner.step(below, model, None if parent is None else parent.step, instance)
            reason = self._why_untold(step, parent)
            if reason is None and asks_manager(step):
                step, reason = self._judged(lookups, step, instance)
            if reason is not None:
                self.leave(step, reason)
                continue
            level = self._level(step, parent, step.alias(instance))
            if level is not None:
                yield level

    def _level(self, step: Step, parent: PlannedLevel | None, alias: str) -> PlannedLevel | None:
        assert step.table is not None
        memo = self._table(step.table, step.lookup, parent, alias)
        level = PlannedLevel(step, alias, memo, parent)
        before = [one for one in self.levels if one.parent is None and one.step.lookup.path == step.lookup.path]
        if parent is None and any(one.memo is not memo for one in before):
            self.leave(step, "another lookup attaches rows of its own there")
            return None
        if isinstance(step, ManyToMany):
            if (reason := self._why_links_untold(step, parent, alias)) is not None:
                self.leave(step, reason)
                return None
            assert step.links is not None
            level.links = self._table(step.links, step.lookup, parent, alias)
            above = None if parent is None else parent.memo
            attribute = self._attributes.setdefault(level.links.number, step.lookup.attribute)
            if level.links.above is not above or attribute != step.lookup.attribute:
                self.leave(step, "its links are shared with another lookup")
                return None
        return level

    def _kept(self, spec: TableSpec | LinkSpec, lookup: Lookup) -> int | None:
        return self.session.memory.size_of(spec.shown_as, lookup.config, spec.label)

    def _table(
        self, spec: TableSpec | LinkSpec, lookup: Lookup, parent: PlannedLevel | None, alias: str
    ) -> PlannedTable:
        for known in self.tables:
            if (known.memory, known.alias, known.spec.identity) == (self._memory, alias, spec.identity):
                known.depends |= parent is not None
                if known.kept is not None:  # the largest size counts, if several lookups share a table
                    kept = self._kept(spec, lookup)
                    known.kept = None if kept is None else max(known.kept, kept)
                return known
        kept = self._kept(spec, lookup)
        number = self.ahead.add_table()
        above = parent.memo if parent is not None and isinstance(spec, LinkSpec) else None
        table = PlannedTable(spec.label, number, kept, spec, parent is not None, above, self._memory, alias)
        self.tables.append(table)
        return table

    def _add_group(self, group: list[PlannedLevel]) -> None:
        number = len(self.batches)
        for level in group:
            parent, lookup = level.parent, level.step.lookup
            level.number = self.ahead.add_relation(
                level.memo.number,
                number,
                None if parent is None else parent.number,
                None if parent is None else self._place(parent.memo, lookup.attribute),
                None if parent is None or level.links is None else level.links.number,
                level.links is not None,
                # Lookups that were given before have attached it already.
                parent is None and any(one.step.lookup.path == lookup.path for one in self.levels),
            )
            self.levels.append(level)
        first = group[0]
        connection = connections[first.alias]
        limit = parameter_limit(connection)
        rows = first.step.row_source.queryset(stand_in(first.model, first.alias))
        self.batches.append((limit, None if limit is None else batch_size(limit, rows), False))

    def _place(self, table: PlannedTable, attribute: str) -> int:
        """The number of what is attached under one name to the rows of one table."""
        return self._places.setdefault((table.number, attribute), len(self._places))

    def __post_init__(self) -> None:
        self._memory = 0
        self._places: dict[tuple[int, str], int] = {}
        self._lookups = LookupSet(())
        self._attributes: dict[int, str] = {}  # by table of links: what they are attached to
        self._anywhere: str | None = None  # a lookup of which nothing is told, and that may lead to any table
        self._untold_tables: dict[str, str] = {}  # by name: a lookup that uses it, of which nothing is told

    # --- what cannot be told

    def leave(self, step: Step, reason: str) -> None:
        """Leaves out a lookup and those below it, and remembers which tables they use."""
        path = step.lookup.path
        self.untold.setdefault(path, reason)
        for below in step.lookup.all_below():
            self.untold.setdefault(below.path, f"it is below {path}")
        steps = [step]
        while steps:
            step = steps.pop()
            if isinstance(step, GenericForeignKey):
                self._anywhere = self._anywhere or path
            for spec in (step.table, step.links):
                if spec is not None:
                    self._untold_tables.setdefault(spec.label, path)
            model = step.row_model
            if model is not None:
                for below in step.lookup.below.values():
                    with suppress(AttributeError, ValueError):
                        steps.append(self._lookups.planner.step(below, model, step, stand_in(model, self.alias)))
        for level in list(self.levels):  # of lookups that were given with others, and go on from there
            one = level.step.lookup.path
            if one.startswith(f"{path}{LOOKUP_SEP}") and one not in self.untold:
                self.leave(level.step, f"it is below {path}")

    def _why_untold(self, step: Step, parent: PlannedLevel | None) -> str | None:
        config, source = step.lookup.config, step.source
        if isinstance(step, ByDjango):
            return f"by Django itself, {step.reason}"
        if isinstance(step, PassedThrough):
            return "it is no relation, its objects are followed as they are"
        if not isinstance(step, (ForeignKey, KeyOnly, ManyToMany)):
            if isinstance(step, GenericForeignKey):
                return "the values of its rows decide where it leads"
            return "its rows refer to the object, so each is read once, whatever is kept"
        if step.given is not None or (parent is None and self._is_selected(step.lookup.name)):
            return "it comes along with the rows"
        if parent is not None and parent.step.row_source.custom:
            rows = parent.step.row_source.queryset(stand_in(parent.model, parent.alias))
            if rows.query.deferred_loading[0]:
                return "the rows above may not load its key"
        if config is not None and config.prefetch_all:
            return "prefetch_all reads its rows before the first chunk"
        if source is None or source.fallback_to_base_manager or source.varies:
            return "its manager may return other rows for every chunk"
        if isinstance(step, KeyOnly):
            try:
                step.relation.model._meta.get_field(step.relation.key_name)
            except FieldDoesNotExist:
                return f"{step.relation.key_name} is no column"
        return None

    def _is_selected(self, name: str) -> bool:
        """Whether the queryset's select_related() brings the relation along."""
        if self.queryset is None:
            return False
        if any(field.name == name for field in self.queryset._known_related_objects):
            return True  # as for the rows of a related manager
        return name in selected_by(self.queryset)

    def _judged(self, lookups: LookupSet, step: Step, instance: Model) -> tuple[Step, str | None]:
        """The step for the queryset of a custom manager, and why nothing can be told of it."""
        try:
            step, _ = lookups.planner.judged(step, [instance], False, None)
        except Exception as error:  # it is the project's code, which may want a real object
            return step, f"its manager cannot be asked without an object: {type(error).__name__}: {error}"
        return step, f"by Django itself, {step.reason}" if step.by_django else None

    def _why_links_untold(self, step: ManyToMany, parent: PlannedLevel | None, alias: str) -> str | None:
        source, target = step.row_source, step.relation.to
        is_enough = is_link_table_enough(step.relation, source, alias)
        if source.reads_links or not (is_enough or (is_simply_ordered(target) and source.identity == ("base", target))):
            return "its rows have a filter or an order of their own"
        # The run's query joins the targets for their order. Below a relation, so does that of the plan.
        if parent is None and not is_enough and not link_fields(step.relation)[2].db_constraint:
            return "its links may lead to rows that are not there"
        if alias != self.alias:
            return f"its links are in another database, {alias}"
        if parent is not None and step.relation.key_name != parent.memo.spec.key_name:  # type: ignore[union-attr]
            return f"its links refer to {step.relation.key_name}"
        if parent is None and self.queryset is None:
            return "its objects are not in a queryset that could be joined with the links"
        return None


def stand_in(model: type[Model], alias: str) -> Any:
    """An object for routers and managers that are told which object rows are read for. It runs no code of its class."""
    instance = object.__new__(model)
    state = ModelState()
    state.adding, state.db = False, alias
    instance.__dict__["_state"] = state
    return instance


def is_simply_ordered(model: type[Model]) -> bool:
    """Whether the model's own ordering consists of names."""
    return all(isinstance(name, str) and name != "?" for name in model._meta.ordering)


def links_of(relation: Any) -> tuple[type[Model], str, str, str]:
    """The through model, its two foreign keys, and the path from the source to the targets' keys in queries."""
    through, source_field, target_field = link_fields(relation)
    key = target_field.target_field.name
    return through, source_field.name, target_field.name, f"{relation.cache_name}__{key}"
