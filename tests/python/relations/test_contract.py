"""What holds for every kind of relation, in every situation: what comes of it is what Django attaches."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import django
import pytest
from django.db import OperationalError, connections
from django.db.models import Prefetch, Value
from django.db.models.functions import Concat

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.conftest import rows_of_a_module
from tests.python.graph import Comparison, assert_same_error
from tests.python.queries import no_queries, outcome
from tests.python.relations.contract import ALIASES, KINDS, SITUATIONS, Kind, cases, fill_kinds

rows = rows_of_a_module(fill_kinds)
pytestmark = pytest.mark.usefixtures("rows")

Objects = Callable[[], "list[Any]"]


def of_every_kind(situation: str) -> Any:
    return pytest.mark.parametrize("kind", [pytest.param(kind, id=name) for name, kind in cases(situation)])


def is_ordered(name: str) -> bool | None:
    """The attribute that lookups of this module attach to."""
    return False if name == "found" else None


def assert_alike(
    kind: Kind, prefetch: MemoizedPrefetch, objects: Objects, lookups: Callable[[], list[Any]]
) -> list[Any]:
    """Processes objects; of Django, the same is expected. Returns ours, with all that can be reached from them."""
    theirs, ours = objects(), objects()
    kind.reference(theirs, *lookups())
    prefetch.process_chunk(ours)
    comparison = Comparison(is_ordered)
    comparison.graphs(ours, theirs)
    return comparison.reached


Way = tuple[Callable[..., "list[Any]"], Callable[[], "list[Any]"]]


def ways(kind: Kind) -> list[Way]:
    """From the chunk's own objects, and below remembered ones where that makes a difference."""
    return [(kind.objects, kind.lookups), *([] if kind.above is None else [remembering(kind)])]


def remembering(kind: Kind) -> Way:
    """Objects and lookups for which the rows of the kind are remembered."""
    if kind.above is None:
        return kind.objects, kind.lookups
    model, name = kind.above

    def objects(alias: str = "default") -> list[Any]:
        return list(model._base_manager.using(alias).order_by("pk"))

    return objects, lambda: [f"{name}__{kind.lookup}"]


def test_every_situation_has_a_test_and_every_kind_a_reason_for_what_it_lacks() -> None:
    assert {name[len("test_") :] for name in globals() if name.startswith("test_")} >= set(SITUATIONS)
    for kind in KINDS.values():
        assert set(kind.left_out) <= set(SITUATIONS)
        assert all(kind.left_out.values())


@of_every_kind("remembered")
def test_remembered(kind: Kind) -> None:
    objects, lookups = remembering(kind)
    prefetch = MemoizedPrefetch(*lookups())
    for _ in range(2):
        reached = assert_alike(kind, prefetch, objects, lookups)
    assert any(isinstance(one, kind.target) for one in reached[len(objects()) :])
    again = objects()
    with no_queries():
        prefetch.process_chunk(again)


@pytest.mark.parametrize("size", [1, 2])
@of_every_kind("evicted")
def test_evicted(kind: Kind, size: int) -> None:
    for objects, lookups in ways(kind):
        prefetch = MemoizedPrefetch(*lookups(), lru_cache_size=size)
        for _ in range(2):
            for start in range(0, len(objects()), 2):

                def some(start: int = start, objects: Objects = objects) -> list[Any]:
                    return objects()[start : start + 2]

                assert_alike(kind, prefetch, some, lookups)
        assert_alike(kind, prefetch, objects, lookups)


@of_every_kind("absent")
def test_absent(kind: Kind) -> None:
    objects, lookups = remembering(kind)
    if kind.empty:
        kind.lead_nowhere()
    else:
        kind.target._base_manager.all().delete()
    prefetch = MemoizedPrefetch(*lookups())
    for _ in range(2):
        assert_alike(kind, prefetch, objects, lookups)
    assert_alike(kind, MemoizedPrefetch(*kind.lookups()), kind.objects, kind.lookups)
    if "remembered" not in kind.left_out:
        again = objects()
        with no_queries():
            prefetch.process_chunk(again)


@of_every_kind("two_databases")
def test_two_databases(kind: Kind) -> None:
    for objects, lookups in ways(kind):
        prefetch = MemoizedPrefetch(*lookups())
        for alias in (*ALIASES, *reversed(ALIASES)):
            assert_alike(kind, prefetch, partial(objects, alias), lookups)


@of_every_kind("mixed_databases")
def test_mixed_databases(kind: Kind) -> None:
    """Django reads everything from the database of the first object that it fetches for."""
    for objects, lookups in ways(kind):
        prefetch = MemoizedPrefetch(*lookups())
        for first, then in (ALIASES, ALIASES[::-1]):
            for attached in (0, 1, 3):
                mixed = partial(_mixed, kind, objects, lookups, first, then, attached)
                refusal, _ = outcome(kind.reference, mixed(), *lookups())
                if refusal is None:
                    assert_alike(kind, prefetch, mixed, lookups)
                else:
                    assert django.VERSION < (5, 2), "then the router is asked, which allows none between databases"
                    assert_same_error(mixed, lookups)


def _mixed(
    kind: Kind, objects: Any, lookups: Callable[[], list[Any]], first: str, then: str, attached: int
) -> list[Any]:
    """Three objects of one database, of which some have it all, and those of another."""
    before = objects(first)[:3]
    if attached:
        kind.reference(before[:attached], *lookups())
    return [*before, *objects(then)]


@of_every_kind("sealed")
def test_sealed(kind: Kind) -> None:
    assert kind.sealed is not None
    queryset, _, target = kind.sealed

    def objects() -> list[Any]:
        return list(queryset().order_by("pk"))

    prefetch = MemoizedPrefetch(*kind.sealed_lookups())
    for _ in range(3):
        reached = assert_alike(kind, prefetch, objects, kind.sealed_lookups)
        assert all(one._state.sealed for one in reached[: len(objects())])
    assert any(isinstance(one, target) for one in reached[len(objects()) :])


@of_every_kind("unsaved")
@pytest.mark.filterwarnings("ignore:Passing unsaved model instances:DeprecationWarning")  # an error in Django 5.0
def test_unsaved(kind: Kind) -> None:
    prefetch = MemoizedPrefetch(*kind.lookups())
    for objects in (lambda: [kind.unsaved()], lambda: [*kind.objects(), kind.unsaved()], kind.objects):
        error, _ = outcome(kind.reference, objects(), *kind.lookups())
        if error is None:
            assert_alike(kind, prefetch, objects, kind.lookups)
        else:
            ours, _ = outcome(prefetch.process_chunk, objects())
            assert type(ours) is type(error)


@of_every_kind("to_attr")
def test_to_attr(kind: Kind) -> None:
    objects, lookups = kind.objects, lambda: kind.lookups(to_attr="found")
    prefetch = MemoizedPrefetch(*lookups())
    for _ in range(2):
        reached = assert_alike(kind, prefetch, objects, lookups)
    holders = [one for one in reached if "found" in vars(one)]
    assert holders


@of_every_kind("chosen_rows")
def test_chosen_rows(kind: Kind) -> None:
    """A config's queryset, or what its class overrides get_queryset() with, is like the queryset of a Prefetch."""

    def chosen() -> Any:
        return kind.target._base_manager.exclude(pk=some.pk).order_by("-pk")

    class Own(MemoizedPrefetchConfig):
        def get_queryset(self) -> Any:
            return chosen()

    some = kind.target._base_manager.order_by("pk")[0]
    for objects, lookups in ways(kind):
        [*before, path] = lookups()
        for config in (Own(kind.target, [path]), MemoizedPrefetchConfig(kind.target, [path], queryset=chosen())):
            prefetch = MemoizedPrefetch(*before, config)
            for _ in range(2):
                theirs = partial(lambda before, path: [*before, Prefetch(path, chosen())], before, path)
                assert_alike(kind, prefetch, objects, theirs)


@of_every_kind("nested")
def test_nested(kind: Kind) -> None:
    for objects, path in [(kind.objects, kind.lookup), *([] if kind.above is None else [above(kind)])]:

        def lookups(path: str = path) -> list[Any]:
            return kind.lookups(f"{path}__{kind.below}")

        prefetch = MemoizedPrefetch(*lookups())
        for _ in range(2):
            assert_alike(kind, prefetch, objects, lookups)


def above(kind: Kind) -> tuple[Objects, str]:
    objects, lookups = remembering(kind)
    [path] = lookups()
    return objects, path


@of_every_kind("failing_query")
def test_failing_query(kind: Kind) -> None:
    for objects, lookups in ways(kind):
        failing = 0
        while fails_once(kind, objects, lookups, failing):
            failing += 1
        assert failing


def fails_once(kind: Kind, objects: Objects, lookups: Callable[[], list[Any]], number: int) -> bool:
    """Whether there is such a query. When it has failed, the same chunk and others are processed again."""
    numbers = itertools.count()

    def fail(execute: Any, *arguments: Any) -> Any:
        if next(numbers) == number:
            raise OperationalError("on purpose")
        return execute(*arguments)

    prefetch, theirs, ours = MemoizedPrefetch(*lookups()), objects(), objects()
    with connections["default"].execute_wrapper(fail):
        try:
            prefetch.process_chunk(ours)
        except OperationalError:
            pass
        else:
            return False
    prefetch.process_chunk(ours)
    kind.reference(theirs, *lookups())
    Comparison(is_ordered).graphs(ours, theirs)
    assert_alike(kind, prefetch, objects, lookups)
    return True


@of_every_kind("stale_row")
def test_stale_row(kind: Kind) -> None:
    for objects, lookups in ways(kind):
        prefetch = MemoizedPrefetch(*lookups())
        assert_alike(kind, prefetch, objects, lookups)
        kind.target._base_manager.update(**{kind.column: Concat(kind.column, Value("!"))})
        prefetch.invalidate(kind.target)
        assert_alike(kind, prefetch, objects, lookups)
        watching = MemoizedPrefetch(*lookups(), invalidate_on_change=True)
        assert_alike(kind, watching, objects, lookups)
        row = kind.target._base_manager.order_by("pk").last()
        setattr(row, kind.column, "another")
        row.save()
        assert_alike(kind, watching, objects, lookups)
