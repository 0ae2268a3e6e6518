"""`ChunkRun`: attaches all lookups to one chunk, level by level, and undoes what a failed attempt attached."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from django.db.models import Model, QuerySet, prefetch_related_objects

from .._engine import Chunk, group_by_class, mark_prefetched
from .._lookups import Lookup
from .._memory.context import Context
from .._messages import shown
from .._planning.planner import asks_manager
from .._queries.counting import QueryCount
from .._relations.base import Step
from .._relations.key_only import KeyOnly
from .level import Level, Lifetime
from .order import next_group
from .reverse_caches import Lent

if TYPE_CHECKING:
    from .lookup_set import LookupSet, PathCounts
    from .session import Session

Row = TypeVar("Row", bound=Model)


class ChunkRun:
    """
    Attaches one set of lookups to one chunk.

    Args:
        lookups: The lookups, with their plans and counts.
        session: Holds the memory.
        scope: The scope of the chunk; scopes share no memory.

    pins: The engine's chunk. Rows that it uses are pinned: they are not evicted until it is closed.
    """

    def __init__(self, lookups: LookupSet, session: Session, scope: Any) -> None:
        self._lookups, self._session, self._scope = lookups, session, scope
        self.pins = Chunk()

    def run(self, rows: Sequence[Any]) -> None:
        """Attaches all lookups. Nothing stays pinned, even after an error."""
        levels = self._levels(self._lookups.tree.root, rows, Lifetime.CHUNK)
        with self._session.running(self.pins) as changes:
            while levels:
                group = next_group(levels, self._lookups.tree, self._lookups.planner)
                levels = [level for level in levels if level not in group]
                for level in group:
                    level.check()
                self._attach(group)
                if changes:
                    self._session.forget_late(changes)
                for (lookup, lifetime, fetched), (step, objects) in below_all(group).items():
                    levels += self._levels(lookup, objects, lifetime, fetched, step)

    # --- called by the steps

    @property
    def lent(self) -> Lent:
        """The reverse one-to-one caches of remembered rows that lead to this chunk's objects."""
        return self._session.reverse.of_user()

    def counts(self, lookup: Lookup) -> PathCounts:
        return self._lookups.counts_of(lookup)

    def spec(self, level: Level, translated: dict[Any, Any] | None = None) -> Any:
        """The engine's record of a level's relation; a new one if its values are translated for this chunk."""
        return self._lookups.spec(level, level.translated if translated is None else translated)

    def context(self, alias: str) -> Context:
        """What is remembered for a database."""
        return self._session.memory.context(alias, self._scope)

    # --- levels

    def _levels(
        self,
        lookup: Lookup,
        objects: Sequence[Any],
        lifetime: Lifetime,
        fetched: bool = True,
        parent: Step | None = None,
    ) -> list[Level]:
        """
        The levels below a lookup, for objects that it leads to.

        Args:
            objects: The objects to attach to.
            lifetime: How long the objects live.
            fetched: Whether this lookup attached the objects. If not, the lookups of its queryset do not apply.
            parent: The step that attached the objects; None for the chunk's own objects.
        """
        levels: list[Level] = []
        if not lookup.below or not objects:
            return levels
        groups = self._models_of(lookup, objects)
        marked: set[type[Model]] = set()
        for below in lookup.below.values():
            if below.is_only_inner and not fetched:
                continue
            joined: dict[Any, tuple[Step, list[tuple[type[Model], Sequence[Any]]]]] = {}
            for model, members in groups:
                step = self._lookups.planner.step(below, model, parent, members[0])
                if model not in marked and not isinstance(step, KeyOnly):  # Django does not know such lookups
                    mark_prefetched(members)
                    marked.add(model)
                first, parts = joined.get(step.joined_by, (step, []))
                if first.relation.key_name != step.relation.key_name:
                    # A child reads a parent's key from its own. For both together, it is where the parent has it.
                    first = self._lookups.planner.step(below, first.relation.owner, parent, members[0])
                joined[step.joined_by] = (first, [*parts, (model, members)])
            for step, parts in joined.values():
                by_pk = all(one._meta.pk.attname == step.relation.key_name for one, _ in parts)
                levels += self._levels_of(step, in_order(objects, parts), lifetime, by_pk)
        return levels

    def _models_of(self, lookup: Lookup, objects: Sequence[Any]) -> list[tuple[type[Model], Sequence[Any]]]:
        groups = []
        for cls, members in group_by_class(objects):
            if issubclass(cls, Model):
                groups.append((cls, members))
            elif lookup is self._lookups.tree.root:
                raise not_an_instance(objects, cls)
            else:  # these are not model instances; Django knows what to do with them
                for below in lookup.below.values():
                    prefetch_related_objects(members, *below.for_django(len(lookup.path)))
        return groups

    def _levels_of(self, step: Step, objects: Sequence[Any], lifetime: Lifetime, by_pk: bool) -> list[Level]:
        levels = []
        queryset: QuerySet[Any] | None = None
        if asks_manager(step):
            remembered = lifetime is Lifetime.MEMORY
            step, queryset = self._lookups.planner.judged(step, objects, remembered, self.context)
        for part, members, translated in step.split(objects, lifetime is Lifetime.MEMORY, self):
            if part is not step:
                self._lookups.note(part)
            level = Level(part, members, lifetime, translated, queryset, by_pk)
            if part.table is not None:
                level.open_tables(self._session.memory, self.context(level.alias), self.counts(part.lookup))
            levels.append(level)
        return levels

    def _attach(self, group: list[Level]) -> None:
        level = group[0]
        count = QueryCount()
        try:
            settled = self._lookups.planner.settled(level.step, level.objects[0])
            if settled is not level.step:
                level.step, level.alias = settled, settled.alias(level.instance)
            level.step.attach(group, self, count)
        except BaseException:
            for one in group:
                one.undo()
            raise
        self.counts(level.step.lookup).of(level.step).add_queries(count.queries)
        self._session.clock.fetching += count.seconds


def in_order(objects: Sequence[Any], parts: list[tuple[type[Model], Sequence[Any]]]) -> Sequence[Any]:
    """The objects of these classes as they come: a row leads back to the last one with its key."""
    if len(parts) == 1:
        return parts[0][1]
    wanted = {id(one) for _, members in parts for one in members}
    return [one for one in objects if id(one) in wanted]


def below_all(group: list[Level]) -> dict[tuple[Lookup, Lifetime, bool], tuple[Step, Sequence[Any]]]:
    """The objects to continue with below each lookup, with all their classes together, as in Django."""
    below: dict[tuple[Lookup, Lifetime, bool], tuple[Step, Sequence[Any]]] = {}
    fetched = {level.step.lookup for level in group if level.fetched}
    for level in group:
        if not level.fetched and level.step.lookup in fetched:
            continue  # this class had it before; Django goes on only from what was fetched, for whichever class
        key, objects = (level.step.lookup, level.lifetime_below, level.fetched), level.below()
        if key in below:
            objects = list({id(one): one for one in (*below[key][1], *objects)}.values())
        below[key] = (level.step, objects)
    return below


def rows_of(objects: Iterable[Row]) -> Sequence[Row]:
    """The objects as a sequence: a list or tuple itself, a queryset's own rows, or an iterable's items."""
    if isinstance(objects, (list, tuple)):
        return objects
    if isinstance(objects, QuerySet):
        len(objects)
        return objects._result_cache  # type: ignore[no-any-return]
    try:
        return list(objects)
    except TypeError:
        if isinstance(objects, Iterable):
            raise
        msg = f"process_chunk: expected a list, queryset or other iterable of model instances, got {shown(objects)}."
        raise TypeError(msg) from None


def not_an_instance(objects: Sequence[Any], found: type) -> TypeError:
    """The error for an object that is not a model instance, with its index."""
    index = next(index for index, one in enumerate(objects) if type(one) is found)
    hint = "; values() and values_list() rows cannot have relations" if issubclass(found, (dict, tuple)) else ""
    got = shown(objects[index])
    of_type = "" if found.__name__ in got else f" of type {found.__name__}"
    msg = f"chunk: expected model instances, got {got}{of_type} at index {index}{hint}."
    return TypeError(msg)
