"""Builds `stats()`, `memoized_objects` and `through_model_source_target_cache` from counts and memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from django.db.models import Model

from .._config import MemoizedPrefetchConfig
from .._engine import Counters, Links, Memo
from .._hydrating.eligibility import how_built
from .._memory.advice import Advice
from .._memory.memory import Memory
from .._memory.table import name_of_links
from .stats import RelationStats, Stats
from .views import MemoView, ViewMapping

if TYPE_CHECKING:
    from .._relations.base import Step
    from .._running.lookup_set import LookupSet, PathCounts
    from .._running.session import Session


def stats_of(lookups: LookupSet, memory: Memory) -> Stats:
    """The stats of one set of lookups."""
    relations: dict[str, RelationStats] = {}
    tables: dict[str, RelationStats] = {}
    built: dict[str, str] = {}
    for counts in lookups.counts():
        path = counts.lookup.path
        memo, links = memory.latest(path)
        step = next(lookups.steps_of(counts.lookup), None)
        name = "" if step is None or step.table is None else step.table.label
        relation = _relation_stats(counts, counts.row_counts, memo, memory, name)
        of_tables: list[tuple[str, RelationStats]] = []
        if step is not None and step.table is not None:
            of_tables.append((name, relation))
            if step.links is not None:
                name = step.links.label
                of_tables.append((name, _relation_stats(counts, counts.link_counts, links, memory, name)))
        if parts := list(counts.parts.items()):
            of_parts = [_part_stats(counts, part, count, memory) for part, count in parts]
            of_tables += of_parts
            relation = _with_parts(relation, [one for _, one in of_parts])
        relations[path] = relation
        for name, one in of_tables:
            tables[name] = tables[name] + one if name in tables else one
        for leading in [part for part, _ in parts] or ([] if step is None else [step]):
            if leading.row_model is not None and not leading.by_django:
                built[leading.row_model.__name__] = how_built(leading.row_model)
    return Stats(relations, tables, built=built)


def _part_stats(counts: PathCounts, part: Step, count: Counters, memory: Memory) -> tuple[str, RelationStats]:
    """The name of the table to which a generic foreign key leads for one model, and what it did there."""
    assert part.table is not None
    memo = memory.latest_of(counts.lookup.path, part.table.source.model)
    return part.table.label, _relation_stats(counts, count, memo, memory, part.table.label)


def _with_parts(relation: RelationStats, parts: list[RelationStats]) -> RelationStats:
    """What a generic foreign key did for all models together."""
    bounds = [part.bound for part in parts]
    bound = None if None in bounds else sum(bound for bound in bounds if bound is not None)
    return replace(sum(parts, relation), size=sum(part.size for part in parts), bound=bound)


def _relation_stats(
    counts: PathCounts, count: Counters, table: Memo | Links | None, memory: Memory, name: str
) -> RelationStats:
    """`name`: That of the table, also if there is none yet; empty if unknown."""
    return RelationStats(
        requests=count.requests,
        hits=count.hits,
        misses=count.misses,
        fetched=count.fetched,
        missing=count.missing,
        evicted=count.evicted,
        queries=count.queries,
        size=0 if table is None else len(table),
        bound=memory.size_of(None, counts.lookup.config, name) if table is None else table.bound,
        path="django" if counts.by_django else "native",
        reason=counts.reason,
        patched=counts.patched,
    )


def advice_of(memory: Memory) -> dict[str, Advice]:
    return memory.advice()


# Views are made on demand. If kept, they would form a reference cycle with the memos.


def rows_views(session: Session, configs: dict[type[Model], MemoizedPrefetchConfig]) -> ViewMapping[type[Model]]:
    """
    The remembered rows by model, then by primary key.

    Args:
        configs: The first config of each model.
    """

    def models() -> dict[type[Model], tuple[str | None, str]]:
        """
        The models of configs, and those that other lookups have led to, with the path of the first such lookup and the
        name of its table.
        """
        found: dict[type[Model], tuple[str | None, str]] = dict.fromkeys(configs, (None, ""))
        for step in session.own.planner.parts():
            if step.table is not None and step.row_model is not None:
                found.setdefault(step.row_model, (step.lookup.path, step.table.label))
        return found

    def view(model: type[Model]) -> MemoView:
        config, (path, name) = configs.get(model), models()[model]
        memory = session.memory
        return MemoView(
            lambda: memory.rows_of(config, path, model),
            lambda: memory.size_of(model, config, name),
            lambda size: memory.set_size(model, size),
        )

    return ViewMapping(lambda: list(models()), view)


def links_views(session: Session) -> ViewMapping[str]:
    """The remembered links: for each through model and its two fields, the targets of each source."""

    def paths() -> dict[str, tuple[str, MemoizedPrefetchConfig | None, str]]:
        """Path, config and the name in reports, by the name of the links: those from configs, and those seen since."""
        found: dict[str, tuple[str, MemoizedPrefetchConfig | None, str]] = {}
        for lookup in session.own.tree.root.all_below():
            config = lookup.config
            if config is not None and config.through_model is not None:
                name = name_of_links(config.through_model, config.source_field, config.target_field)
                found.setdefault(name, (lookup.path, config, ""))
            for step in session.own.steps_of(lookup):
                if step.links is not None:
                    found.setdefault(step.links.shown_as, (lookup.path, config, step.links.label))
        return found

    def view(name: str) -> MemoView:
        path, config, label = paths()[name]
        memory = session.memory

        def links() -> Links | None:
            return memory.latest(path)[1]

        def size() -> int | None:
            table = links()
            return memory.size_of(name, config, label) if table is None or memory.is_set(name) else table.bound

        return MemoView(
            lambda: [] if (table := links()) is None else table.items(),
            size,
            lambda size: memory.set_size(name, size),
        )

    return ViewMapping(lambda: list(paths()), view)
