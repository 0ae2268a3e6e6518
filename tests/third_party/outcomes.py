"""One run of a situation in one way, and the differences between two runs."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from django.contrib.contenttypes.models import ContentType

from tests.third_party.frame import Situation
from tests.third_party.observed import QUERIES, Observer, Queries
from tests.third_party.ways import Rows

FEWEST = 4
_ABSENT = "(not there)"


@dataclass
class Outcome:
    """
    Args:
        queries: How many queries the run took, without those of reading.
        related: How many related rows were read.
        many_to_many: How many relations the lookups pass through for which ours may need one more query.
    """

    rows: list[Any] = field(default_factory=list)
    queries: int = 0
    warnings: list[str] = field(default_factory=list)
    error: Exception | None = None
    related: int = 0
    many_to_many: int = 0


class Runner:
    """Runs situations, with what the package's module says for all of them."""

    def __init__(self, module: ModuleType) -> None:
        self._clear: Callable[[], None] = getattr(module, "clear", lambda: None)
        self._ignored = frozenset(getattr(module, "IGNORED", ()))

    def run(self, rows: Rows, situation: Situation) -> Outcome:
        """Reads each row as it comes, like a loop."""
        outcome, queries = Outcome(), Queries()
        with situation.around():
            observer = Observer(queries, situation.paths(), situation.read, self._ignored)
        ContentType.objects.clear_cache()
        self._clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                if situation.warm:
                    self._warm(rows, situation, observer)
                with situation.around(), queries.counted():
                    for row in rows(situation):
                        outcome.rows.append(observer.row(row))
                    outcome.many_to_many = situation.many_to_many(situation.queryset().model)
            except Exception as error:
                outcome.error = error
        outcome.queries = queries.run
        outcome.related = observer.related
        outcome.warnings = sorted({f"{one.category.__name__}: {one.message}" for one in caught})
        return outcome

    def _warm(self, rows: Rows, situation: Situation, observer: Observer) -> None:
        with situation.around():
            for row in rows(situation):
                observer.row(row)


def wrong(situation: Situation, django: Outcome) -> str | None:
    """Why the situation itself is wrong, judged by Django's answer; None if it is not."""
    if django.error is not None:
        return None if situation.raises else repr(django.error)
    if len(django.rows) < FEWEST:
        return f"{len(django.rows)} rows, which are not several chunks"
    if situation.relates and not django.related:
        return "nothing is related"
    return None


def differ(ours: Outcome, django: Outcome, more_queries: int) -> Iterator[tuple[str, Any, Any]]:
    """Where the two differ, with Django's answer and ours."""
    if ours.error is not None or django.error is not None:
        if not _same_error(ours.error, django.error):
            yield "error", repr(django.error), repr(ours.error)
        return
    yield from _compare(ours.rows, django.rows, "")
    if ours.queries > django.queries + more_queries:
        yield "queries", f"{django.queries}", f"{ours.queries}, {more_queries} more are allowed"
    if ours.warnings != django.warnings:
        yield "warnings", django.warnings, ours.warnings


def _same_error(ours: Exception | None, django: Exception | None) -> bool:
    """Whether both are of one class, and ours has everything that Django's text quotes."""
    if type(ours) is not type(django):
        return False
    return all(quoted in str(ours) for quoted in re.findall(r"'([^']+)'", str(django)))


def _compare(ours: Any, django: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(ours, dict) and isinstance(django, dict):
        for name in [*django, *(name for name in ours if name not in django)]:
            our, their = ours.get(name, _ABSENT), django.get(name, _ABSENT)
            # Ours may run fewer, because shared rows may have been read before.
            if name == QUERIES and isinstance(our, int) and isinstance(their, int) and our <= their:
                continue
            yield from _compare(our, their, f"{where}.{name}")
    elif isinstance(ours, list) and isinstance(django, list):
        if len(ours) != len(django) or _keys(ours) != _keys(django):
            yield where or "rows", _keys(django), _keys(ours)
            return
        for at, (our, their) in enumerate(zip(ours, django)):
            yield from _compare(our, their, f"{where}[{at}]")
    elif ours != django:
        yield where, _brief(django), _brief(ours)


def _keys(rows: list[Any]) -> list[Any]:
    return [_brief(row) for row in rows]


def _brief(row: Any) -> Any:
    return f"{row['class']} {row['pk']}" if isinstance(row, dict) and "class" in row else row
