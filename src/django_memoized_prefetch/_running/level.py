"""`Level`: one step of one chunk, with the objects that it attaches to."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet

from .._engine import Links, Memo
from .._memory.context import Context
from .._memory.memory import Memory
from .._memory.table import TableSpec
from .._memory.turn import Turn
from .._queries.sources import RowSource, unshared
from .._relation import unknown_attribute
from .._relations.base import Step, check_to_attr
from .._relations.to_many import check_saved

if TYPE_CHECKING:
    from .chunk import ChunkRun


class Lifetime(Enum):
    """How long objects live, with what is attached to them."""

    CHUNK = "as long as the user keeps the chunk"
    MEMORY = "in a memo, or on a row that is in one"


class Level:
    """
    One step of one chunk, with the objects that it attaches to.

    Args:
        objects: Instances of one class, or of classes that inherit one relation.
        lifetime: How long the objects live.
        translated: For a generic foreign key, the rows' keys by the values that the objects hold.
        queryset: The queryset that a custom manager returned for these objects.
        by_pk: Whether the step reads the objects' primary keys. Otherwise it may find a key on one that has none.

    instance: The first object that Django would fetch for: managers and routers see it, and its database counts.
    alias: The database that rows are read from.
    context: What is remembered for this database.
    memo: Where the rows are remembered, if they are.
    links: Where the links of a many-to-many are remembered.
    found: The rows that Django's own prefetch returned.
    is_finished: Whether Django has attached what is below them too.
    """

    def __init__(
        self,
        step: Step,
        objects: Sequence[Any],
        lifetime: Lifetime,
        translated: dict[Any, Any] | None = None,
        queryset: QuerySet[Any] | None = None,
        by_pk: bool = True,
    ) -> None:
        self.step, self.objects, self.lifetime = step, objects, lifetime
        self.translated, self._queryset, self._by_pk = translated, queryset, by_pk
        self.instance = objects[0] if self.remembered else first_to_fetch(step, objects)
        self.alias = step.alias(self.instance) if queryset is None else queryset.db
        self.context: Context
        self.memo: Memo
        self.links: Links
        self.found: Sequence[Any] = ()
        self.is_finished = False
        self._unattached: Sequence[Any] = ()
        self._fresh: Sequence[Any] | None = None

    def open_tables(self, memory: Memory, context: Context, counts: Any) -> None:
        """Sets `memo` and `links` from the memory, if the step has them."""
        step, lookup = self.step, self.step.lookup
        self.context = context
        if step.table is None:
            return
        path, config = lookup.path, lookup.config
        self.memo = memory.memo(context, step.table, path, config, self.instance, counts.row_counts)
        if step.links is not None:
            self.links = memory.links(context, step.links, path, config, self.memo, self.alias)

    def turn(self, table: Memo | Links) -> Turn:
        """Taken to find out what is missing in a table and to fetch it."""
        return self.context.turn(id(table))

    def turn_of_rows(self, run: ChunkRun) -> AbstractContextManager[None]:
        """Taken to read a collection. Nobody else reads that of a chunk's own objects."""
        return run.context(self.alias).turn(self.step.lookup.path) if self.remembered else nullcontext()

    @property
    def remembered(self) -> bool:
        return self.lifetime is Lifetime.MEMORY

    @property
    def table(self) -> TableSpec:
        assert self.step.table is not None
        return self.step.table

    @property
    def source(self) -> RowSource:
        """Where the rows for these objects are read from."""
        source, queryset = self.step.row_source, self._queryset
        return source if queryset is None else replace(source, make=lambda _: unshared(queryset))

    @property
    def fetched(self) -> bool:
        """Whether this lookup attaches something; False if all objects had it before."""
        return self._fresh is None or bool(self._fresh)

    @property
    def lifetime_below(self) -> Lifetime:
        """How long the attached rows live."""
        keeps = self.remembered or (self.step.table is not None and self.fetched)
        return Lifetime.MEMORY if keeps else Lifetime.CHUNK

    def check(self) -> None:
        """Raises what Django would raise before fetching, and notes which objects it would fetch for."""
        step, lookup = self.step, self.step.lookup
        if not self._by_pk and not self.remembered:
            check_saved(step, self.objects)
        if not (lookup.to_attr_given or lookup.below):
            return
        fresh = self._unattached = step.not_attached(self.objects)
        if fresh:
            check_to_attr(step)
        if not self.remembered or step.is_given(self.objects[0]):
            self._fresh = fresh
        elif step.asks_relation(self.objects[0]):
            self._fresh = [one for one in self.objects if lookup.to_attr in one.__dict__] + [*fresh]

    def undo(self) -> None:
        """Removes what a failed attempt attached; otherwise a retry would skip the levels below, as Django would."""
        self.step.take_off(self._unattached)

    def below(self) -> list[Any]:
        """The distinct objects to continue with. As in Django, only those fetched now, if there are any."""
        lookup = self.step.lookup
        if self.is_finished:
            return []
        if not self.fetched:
            further = [below for below in lookup.below.values() if not below.is_only_inner]
            if not further:
                return []
            if self.step.asks_relation(self.objects[0]) and not hasattr(self.objects[0], lookup.attribute):
                model = self.step.relation.model
                raise unknown_attribute(model, lookup.attribute, lookup.where, further[0].path)
        if self.found:
            return list({id(row): row for row in self.found}.values()) if lookup.below else []
        return self.step.follow(self._fresh or self.objects)


def first_to_fetch(step: Step, objects: Sequence[Any]) -> Any:
    """The first object that Django would fetch the relation for; the first of all if there is none."""
    # Django chooses for itself. And as a rule it is the first, which saves looking at the others.
    if step.by_django or step.not_attached(objects[:1]):
        return objects[0]
    return (step.not_attached(objects) or objects)[0]
