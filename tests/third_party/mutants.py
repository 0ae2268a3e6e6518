"""Deliberate wrong answers: changed rows of Django. One that is not found is a hole in the comparison."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

from django.db import connection

from tests.third_party.frame import Situation
from tests.third_party.outcomes import Runner, differ, wrong
from tests.third_party.ways import django_iterator

Change = Callable[[list[Any]], Iterator[Any]]


def without_last(rows: list[Any]) -> Iterator[Any]:
    yield from rows[:-1]


def reversed_rows(rows: list[Any]) -> Iterator[Any]:
    yield from reversed(rows)


def attribute_more(rows: list[Any]) -> Iterator[Any]:
    rows[-1].unheard_of = 1
    yield from rows


def not_saved(rows: list[Any]) -> Iterator[Any]:
    rows[-1]._state.adding = True
    yield from rows


def a_warning(rows: list[Any]) -> Iterator[Any]:
    warnings.warn("a warning that Django does not give", stacklevel=1)
    yield from rows


def an_error(rows: list[Any]) -> Iterator[Any]:
    yield from rows[:1]
    raise LookupError("an error that Django does not raise")


def more_queries(rows: list[Any]) -> Iterator[Any]:
    # Many of them, because a nested many-to-many may run some more for each level.
    for _ in range(40):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    yield from rows


def nothing_cached(rows: list[Any]) -> Iterator[Any]:
    for row in rows:
        row._state.fields_cache.clear()
        vars(row).pop("_prefetched_objects_cache", None)
        for name in [name for name, value in vars(row).items() if isinstance(value, list)]:
            del vars(row)[name]
    yield from rows


def fewer_related(rows: list[Any]) -> Iterator[Any]:
    for row in rows:
        for name in row._state.fields_cache:
            row._state.fields_cache[name] = None
        for queryset in vars(row).get("_prefetched_objects_cache", {}).values():
            queryset._result_cache = queryset._result_cache[:-1] if queryset._result_cache else []
        for value in vars(row).values():
            if isinstance(value, list):
                del value[-1:]
    yield from rows


def neighbours_related(rows: list[Any]) -> Iterator[Any]:
    """Each row has the related rows of the next row."""
    caches = [(row._state.fields_cache, vars(row).get("_prefetched_objects_cache", {})) for row in rows]
    for row, (fields, many) in zip(rows, caches[1:] + caches[:1]):
        row._state.fields_cache = fields
        vars(row)["_prefetched_objects_cache"] = many
    yield from rows


# These must be found in every situation.
ALWAYS: list[Change] = [without_last, reversed_rows, attribute_more, not_saved, a_warning, an_error, more_queries]
# These must be found in at least one situation, because not all situations have something to change.
RELATED: list[Change] = [nothing_cached, fewer_related, neighbours_related]


def overlooked(situations: list[Situation], runner: Runner) -> Iterator[tuple[str, list[str]]]:
    """The changes that were not found, by situation. Under `all` are those that no situation found."""
    found: set[str] = set()
    for situation in situations:
        django = runner.run(django_iterator, situation)
        missed = []
        if situation.raises or wrong(situation, django):
            continue
        for change in [*ALWAYS, *RELATED]:
            mutant = runner.run(_changed(change), situation)
            more = django.many_to_many * len(django.rows)
            if any(differ(mutant, django, more)):
                found.add(change.__name__)
            elif change in ALWAYS:
                missed.append(change.__name__)
        yield situation.name, missed
    yield "all", [change.__name__ for change in RELATED if change.__name__ not in found]


def _changed(change: Change) -> Callable[[Situation], Iterator[Any]]:
    def rows(situation: Situation) -> Iterator[Any]:
        made = list(django_iterator(situation))
        yield from change(made)

    return rows
