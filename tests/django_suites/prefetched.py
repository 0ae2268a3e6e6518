"""Lets a MemoizedPrefetch do every prefetch of Django."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.db.models import Model, Prefetch
from django.db.models import query as query_module

import django_memoized_prefetch
from django_memoized_prefetch import MemoizedPrefetch
from tests.django_suites.graph import differences, fresh_copies
from tests.django_suites.kinds import MANY_TO_MANY, Lookups
from tests.django_suites.own import take_for_own
from tests.django_suites.queries import unseen
from tests.django_suites.suites import ONE, WARM

if TYPE_CHECKING:
    from collections.abc import Iterable


class MemoryDiffersError(AssertionError):
    """A remembering engine attached something else than Django."""


def prefetch_everything(mode: str) -> Lookups:
    """Replaces prefetch_related_objects in every module that has imported it."""
    counted = Lookups()
    stock = query_module.prefetch_related_objects
    size = 1 if mode == ONE else 10_000
    home = django_memoized_prefetch.__name__

    def prefetch_related_objects(model_instances: Iterable[Any], *related_lookups: Any) -> None:
        if sys._getframe(1).f_globals["__name__"].startswith(home):
            # This package leaves it to Django.
            stock(model_instances, *related_lookups)
            return
        if isinstance(model_instances, list) and not all(isinstance(one, Model) for one in model_instances):
            # Django attaches nothing to rows of values() and the like; process_chunk refuses them.
            stock(model_instances, *related_lookups)
            return
        copies = fresh_copies(model_instances) if mode == WARM else []
        prefetch = MemoizedPrefetch(*related_lookups, lru_cache_size=size)
        rows = prefetch.process_chunk(model_instances)
        counted.count(rows, related_lookups, prefetch.stats())
        if copies:
            with unseen():
                _compare_remembered(copies, related_lookups)

    def _compare_remembered(copies: Sequence[Any], lookups: Sequence[Any]) -> None:
        prefetch = MemoizedPrefetch(*map(_own, lookups))
        try:
            theirs = fresh_copies(copies)
            stock(theirs, *map(_own, lookups))
        except Exception as error:
            for _ in range(2):
                try:
                    prefetch.process_chunk(fresh_copies(copies))
                except type(error):
                    continue
                raise MemoryDiffersError(f"{lookups}: Django raises {error!r}") from error
            return
        queries = []
        for chunk in (fresh_copies(copies), fresh_copies(copies)):
            before = prefetch.stats().queries
            prefetch.process_chunk(chunk)
            queries.append(prefetch.stats().queries - before)
            if found := list(differences(chunk, theirs)):
                msg = f"{lookups}, chunk {len(queries)}: " + "\n".join(found[:20])
                raise MemoryDiffersError(msg)
        if queries[1] > queries[0]:
            raise MemoryDiffersError(f"{lookups}: {queries[1]} queries with a memory, {queries[0]} without")
        counted.compared += 1

    take_for_own(prefetch_related_objects)
    for name, module in list(sys.modules.items()):
        # This package's own modules keep Django's function, for relations that they leave to Django.
        if not name.startswith(home) and getattr(module, "prefetch_related_objects", None) is stock:
            module.prefetch_related_objects = prefetch_related_objects  # type: ignore[attr-defined]
    return counted


def many_to_many(counted: Lookups) -> int:
    return counted.native[MANY_TO_MANY]


def _own(lookup: Any) -> Any:
    """A copy of a lookup with its own queryset, because Django adds hints to querysets."""
    if not isinstance(lookup, Prefetch):
        return lookup
    own = object.__new__(type(lookup))
    own.__dict__.update(lookup.__dict__)
    if lookup.queryset is not None:
        own.queryset = lookup.queryset._chain()
    if getattr(lookup, "querysets", None):
        own.querysets = [queryset._chain() for queryset in lookup.querysets]
    return own
