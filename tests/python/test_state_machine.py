"""
Chunks, writes, failures and changes of database and scope in any order: always what Django gives for fresh instances.

PROPERTY_EXAMPLES is ten times the number of histories that are tried.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import OperationalError, connections, models, reset_queries, transaction
from django.db.models import Value, prefetch_related_objects
from django.db.models.functions import Concat, Substr
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.attributes import relations
from tests.python.generated import example_count
from tests.python.graph import Comparison
from tests.python.lookups import PLAIN, Bounds, Wanted, by_chance, every, is_link, is_ordered_attribute, lookup_sets
from tests.python.theatre.models import City, Company, Genre, Locker, Note, Person, Play, Role, Tag, Work
from tests.python.theatre.rows import NOTED, fill_theatre

ALIASES = ["default", "other"]
WRITTEN = [City, Company, Genre, Locker, Note, Person, Play, Role, Tag, Work]
PLACES = st.lists(st.integers(0, 5), min_size=1, max_size=6)


class Fails:
    """An execute_wrapper under which the n-th statement fails."""

    def __init__(self, nth: int) -> None:
        self.left = nth

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            raise OperationalError("the n-th statement fails")
        return execute(sql, params, many, context)


class Histories(RuleBasedStateMachine):
    """The model is the database itself: what Django reads from it now."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = ExitStack()
        reset_queries()
        for alias in ALIASES:
            self.ends.enter_context(transaction.atomic(using=alias))
        self.alias, self.scope, self.next_key = "default", "a", 1000
        self.shared: list[Any] = []
        self.reached: list[Any] = []
        self.places = [0]

    def teardown(self) -> None:
        for alias in ALIASES:
            transaction.set_rollback(True, using=alias)
        self.ends.close()

    @initialize(
        data=st.data(),
        model=st.sampled_from([Play, Person, Note, Role]),
        note=st.sampled_from([None, Person, City]),
        seed=st.integers(0, 10_000),
        size=st.sampled_from([1, 2, 4, None]),
    )
    def start(self, data: st.DataObject, model: type[models.Model], note: Any, seed: int, size: int | None) -> None:
        self.model = model
        self.lookups: list[Wanted] = data.draw(lookup_sets(model, Bounds(note, tuple(PLAIN)), depth=2, most=3))
        for alias in ALIASES:
            fill_theatre(seed, 4, alias, NOTED if note is None else [note])
        self.set_scope("a")
        self.prefetch: MemoizedPrefetch | None = None
        try:
            self.prefetch = MemoizedPrefetch(
                *(lookup.given(size) for lookup in self.lookups), lru_cache_size=size, scope=lambda: self.scope
            )
        except Exception:
            assert isinstance(self.outcome(prefetch_related_objects, self.chunk([0]), self.made()), Exception)

    # --- what is done

    @precondition(lambda self: self.prefetch is not None)
    @rule(places=PLACES)
    def process(self, places: list[int]) -> None:
        self.compare(self.chunk(places), places)

    @precondition(lambda self: self.prefetch is not None)
    @rule(places=PLACES, nth=st.integers(1, 6))
    def fail_and_process_again(self, places: list[int], nth: int) -> None:
        chunk = self.chunk(places)
        with ExitStack() as stack:
            for alias in ALIASES:
                stack.enter_context(connections[alias].execute_wrapper(Fails(nth)))
            try:
                self.prefetch.process_chunk(chunk)
            except Exception as error:
                failed = error
            else:
                failed = None
        if isinstance(failed, OperationalError):
            self.compare(self.chunk(places), places)
            # Under Django, too, what querysets prefetch below objects that are attached already is left out.
            if all(isinstance(lookup, str) for lookup in self.made()):
                self.compare(chunk, places)

    @precondition(lambda self: self.prefetch is not None)
    @rule()
    def clear(self) -> None:
        self.prefetch.clear()

    @rule(alias=st.sampled_from(ALIASES))
    def switch_database(self, alias: str) -> None:
        self.alias = alias

    @rule(scope=st.sampled_from("abc"))
    def switch_scope(self, scope: str) -> None:
        """A tenant that only the scope tells: its rows have other contents."""
        self.set_scope(scope)

    @precondition(lambda self: self.reached)
    @rule(place=st.integers(0, 20), rank=st.integers(0, 2), whole=st.booleans())
    def write_what_was_reached(self, place: int, rank: int, whole: bool) -> None:
        row = self.reached[place % len(self.reached)]
        if row.pk is None or type(row)._meta.concrete_model not in WRITTEN:
            return
        rows = type(row)._base_manager.using(row._state.db).filter(pk=row.pk)
        rows.update(rank=rank, name=f"{self.scope} written {rank}")
        self.invalidate(type(row), None if whole else [row.pk])
        self.compare(self.chunk(self.places), self.places)

    @precondition(lambda self: self.shared)
    @rule(place=st.integers(0, 5))
    def delete_a_shared_row(self, place: int) -> None:
        row = self.shared.pop(place % len(self.shared))
        if row.pk is not None:
            row.delete()
            self.row_is_gone(type(row))

    @precondition(lambda self: any(isinstance(row, Person) for row in self.shared))
    @rule(place=st.integers(0, 5))
    def save_a_shared_row_as_a_new_one(self, place: int) -> None:
        people = [row for row in self.shared if isinstance(row, Person)]
        row = people[place % len(people)]
        if row.pk is not None and not row.get_deferred_fields():
            self.shared = [one for one in self.shared if one is not row]
            self.next_key += 1
            row.pk = self.next_key
            row.save(force_insert=True)
            self.row_is_gone(Person)

    # --- what it takes

    def made(self) -> list[Any]:
        return [lookup.make() for lookup in self.lookups]

    def chunk(self, places: list[int]) -> list[Any]:
        keys = list(self.model._base_manager.using(self.alias).order_by("pk").values_list("pk", flat=True))
        rows = self.model._base_manager.using(self.alias)
        return [rows.get(pk=keys[place % len(keys)]) for place in places]

    def outcome(self, call: Any, chunk: list[Any], lookups: list[Any]) -> Exception | None:
        try:
            call(chunk, *lookups)
        except Exception as error:
            return error
        return None

    def compare(self, ours: list[Any], places: list[int]) -> None:
        theirs = self.chunk(places)
        expected = self.outcome(prefetch_related_objects, theirs, self.made())
        error = self.outcome(self.prefetch.process_chunk, ours, [])
        assert type(error) is type(expected), f"{error!r} instead of {expected!r}"
        if error is not None:
            return
        comparison = Comparison(is_ordered_attribute, by_chance(self.lookups))
        comparison.graphs(ours, theirs)
        self.reached, self.places = comparison.reached[len({*map(id, ours)}) :], places
        found: dict[int, Any] = {}
        for obj in ours:
            for value in vars(obj._state).get("fields_cache", {}).values():
                if isinstance(value, tuple(NOTED)) and not any(value is one for one in ours):
                    found[id(value)] = value
        self.shared = list(found.values())

    def set_scope(self, scope: str) -> None:
        self.scope = scope
        for alias in ALIASES:
            for model in WRITTEN:
                model._base_manager.using(alias).update(name=Concat(Value(scope), Substr("name", 2)))

    def invalidate(self, model: type[models.Model], keys: list[Any] | None) -> None:
        if self.prefetch is not None:
            self.prefetch.invalidate(model, keys)

    def row_is_gone(self, model: type[models.Model]) -> None:
        """Alone of rows that are attached to the chunk's own objects, the engine sees it."""
        self.invalidate(Note, None)  # deleted with what they are about
        if any("__" in lookup.path for lookup in self.lookups) or len(list(every(self.lookups))) > len(self.lookups):
            self.invalidate(model, None)
        for lookup in self.lookups:
            target = relations(self.model).get(lookup.path)
            if target is not None and issubclass(target, model) and self.is_reverse(lookup.path):
                self.invalidate(model, None)

    def is_reverse(self, name: str) -> bool:
        descriptor = getattr(self.model, name)
        return not hasattr(descriptor, "field") or (
            not hasattr(descriptor, "get_object") and not is_link(self.model, name)
        )


@pytest.fixture(autouse=True)
def content_types() -> None:
    for alias in ALIASES:
        for model in NOTED:
            ContentType.objects.db_manager(alias).get_for_model(model)


def test_any_history() -> None:
    count = example_count(500) // 10
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=count,
            stateful_step_count=12,
            deadline=None,
            derandomize="PROPERTY_EXAMPLES" not in os.environ,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
