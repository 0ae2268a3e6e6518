"""`LookupSet`: lookups given together, with their plans and counts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models import Model, query

from .._engine import Counters
from .._lookups import Lookup, Tree, lookup_tree, lookups_for_django
from .._memory.memory import has_own_size
from .._planning.planner import Planner
from .._queries.counting import QueryCount
from .._relations.base import Step
from .chunk import ChunkRun
from .level import Level

if TYPE_CHECKING:
    from .session import Session

logger = logging.getLogger("django_memoized_prefetch")

# After this many chunks in a row with more evictions than hits, a relation is reported.
THRASHING_CHUNKS = 20


@dataclass
class PathCounts:
    """
    What the lookup at one path did.

    row_counts: Counts of the rows that it leads to.
    parts: For a generic foreign key, counts of the rows of each model, by step. `row_counts` does not include them.
    link_counts: Counts of the links, for a many-to-many.
    reason: Why Django attaches it, or why its rows are read for every chunk.
    by_django: Whether Django attaches it.
    patched: Which package has patched the descriptor that reads what it attaches.
    """

    lookup: Lookup
    row_counts: Counters = field(default_factory=Counters)
    parts: dict[Step, Counters] = field(default_factory=dict)
    link_counts: Counters = field(default_factory=Counters)
    reason: str | None = None
    by_django: bool = False
    patched: str | None = None

    def of(self, step: Step) -> Counters:
        """The counts of the rows that a step leads to."""
        return self.parts.get(step, self.row_counts)

    def of_part(self, step: Step) -> Counters:
        """Counts of its own for one model of a generic foreign key."""
        return self.parts.get(step) or self.parts.setdefault(step, Counters())

    def note(self, step: Step) -> None:
        """Logs once why a lookup is not remembered, and which package has patched its descriptor."""
        path, relation = self.lookup.path, step.relation
        if step.reason is not None and (self.reason is None or step.by_django > self.by_django):
            self.by_django = step.by_django
            self.reason = f"{relation.label}: {step.reason}"
            how = "prefetched by Django" if self.by_django else "read"
            logger.info("%s is %s for every chunk. %s", path, how, self.reason)
        if self.patched is None and not self.by_django and (patched := relation.patched) is not None:
            self.patched = f"{relation.label}: {patched}"
            logger.info("%s stays native. %s", path, self.patched)


class LookupSet:
    """
    Lookups that were given together, with their plans and counts.

    Args:
        given: Whatever `prefetch_related` takes, and configs.
        before: The lookups that are processed before these, for the same chunk.
    """

    def __init__(self, given: Sequence[Any], before: LookupSet | None = None) -> None:
        self.given = given
        self.running: set[int] = set()  # the ids of the chunks being processed
        self.tree: Tree = lookup_tree(given, None if before is None else before.tree.root)
        self.reset()

    def reset(self) -> None:
        """Forgets plans and counts."""
        self.planner = Planner(self.tree, self.note)
        self._counts: dict[str, PathCounts] = {}
        for lookup in self.tree.root.all_below():
            self.counts_of(lookup)
        self._specs: dict[Step, Any] = {}
        self._thrashing: dict[str, tuple[int, int, int]] = {}

    def process(self, rows: Sequence[Any], session: Session, scope: Any) -> None:
        """Attaches all lookups to the objects of one chunk."""
        if not self.given:
            return
        if (reason := self.planner.why_by_django(rows)) is not None:
            self._process_by_django(rows, reason, session)
            return
        run = ChunkRun(self, session, scope)
        self.running.add(id(run))
        try:
            run.run(rows)
        finally:
            self.running.discard(id(run))
        self._report_thrashing(session.amount is not None)

    def _process_by_django(self, rows: Sequence[Any], reason: str, session: Session) -> None:
        """Lets Django process the whole chunk, with all lookups as they were given."""
        count, start = QueryCount(), perf_counter()
        lookups = [lookup for given in self.given for lookup in lookups_for_django(given)]
        try:
            with ExitStack() as stack:
                for alias in connections:
                    stack.enter_context(count.on(alias))
                query.prefetch_related_objects(list(rows), *lookups)
        finally:
            session.clock.fetching += perf_counter() - start
            for counts in list(self._counts.values()):
                if counts.reason is None:
                    counts.by_django, counts.reason = True, reason
                    logger.info("%s is prefetched by Django for every chunk. %s", counts.lookup.path, reason)
            for counts in list(self._counts.values())[:1]:  # a config may have no attributes
                counts.row_counts.add_queries(count.queries)

    # --- plans and counts

    def note(self, step: Step) -> None:
        self.counts_of(step.lookup).note(step)

    def counts_of(self, lookup: Lookup) -> PathCounts:
        counts = self._counts.get(lookup.path)
        return self._counts.setdefault(lookup.path, PathCounts(lookup)) if counts is None else counts

    def counts(self) -> list[PathCounts]:
        """The counts of every lookup, each before those that continue it."""
        return list(self._counts.values())

    def paths(self) -> list[str]:
        return [lookup.path for lookup in self.tree.root.all_below()]

    def steps_of(self, lookup: Lookup) -> Iterator[Step]:
        return (step for step in self.planner.steps() if step.lookup.path == lookup.path)

    def spec(self, level: Level, translated: dict[Any, Any] | None) -> Any:
        """The engine's record of a level's relation; a new one if its values are translated for this chunk."""
        step, counts, instance = level.step, self.counts_of(level.step.lookup), level.objects[0]
        if translated is not None:
            return step.spec(instance, counts, level.alias, translated)
        spec = self._specs.get(step)
        if spec is None:
            spec = self._specs[step] = step.spec(instance, counts, level.alias)
        return spec

    def check(self, model: type[Model]) -> None:
        """Raises if a lookup does not fit the model."""
        self.planner.check(self.tree.root, model)

    def _report_thrashing(self, is_budgeted: bool) -> None:
        for path, counts in list(self._counts.items()):
            hits, evicted = counts.row_counts.hits, counts.row_counts.evicted
            for part in list(counts.parts.values()):
                hits, evicted = hits + part.hits, evicted + part.evicted
            chunks, hits_before, evicted_before = self._thrashing.get(path, (0, 0, 0))
            chunks = chunks + 1 if evicted - evicted_before > hits - hits_before else 0
            self._thrashing[path] = (chunks, hits, evicted)
            if chunks == THRASHING_CHUNKS:
                logger.warning(
                    "%s: in each of %d chunks, more rows were evicted than found in memory; %s is too small, or rows "
                    "rarely repeat",
                    path,
                    chunks,
                    "memory" if is_budgeted and not has_own_size(counts.lookup.config) else "lru_cache_size",
                )
