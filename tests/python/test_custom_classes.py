"""Managers, querysets, descriptors and fields that are not Django's own: the package gives what Django gives."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection, models
from django.db.models import Prefetch, QuerySet, prefetch_related_objects
from django.utils.functional import SimpleLazyObject

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig, memoized
from tests.python.conftest import rows_of_a_module
from tests.python.customised.models import Backward, Item, Note, Owned, Place, Pointer, Price, Status, tenant
from tests.python.customised.rows import LOOKUPS, NAMES, answer, fill_items, follow, rows_of
from tests.python.databases import on_one_database
from tests.python.queries import captured_queries, no_queries

pytestmark = on_one_database

rows = rows_of_a_module(fill_items)


@pytest.fixture
def items(rows: None) -> list[Item]:
    return list(Item.objects.order_by("pk"))


@pytest.mark.parametrize("size", [1, 10_000])
@pytest.mark.parametrize("lookup", LOOKUPS)
def test_the_same_as_django(items: list[Item], lookup: str, size: int) -> None:
    def read(one: Any) -> Any:
        return follow(one, lookup)

    expected = answer(lambda objects: prefetch_related_objects(objects, lookup), Item.objects.all, read)
    prefetch = MemoizedPrefetch(lookup, lru_cache_size=size)
    assert answer(prefetch.process_chunk, Item.objects.all, read) == expected


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_memoized_and_chunks_too(items: list[Item], lookup: str) -> None:
    expected = [follow(one, lookup) for one in Item.objects.prefetch_related(lookup).iterator(chunk_size=2)]
    ours = [follow(one, lookup) for one in memoized(Item.objects.prefetch_related(lookup)).iterator(chunk_size=2)]
    assert ours == expected
    chunks = MemoizedPrefetch(lookup).chunks(Item.objects.all(), 2)
    assert [follow(one, lookup) for chunk in chunks for one in chunk] == expected


@pytest.mark.parametrize("name", sorted(NAMES.values()))
def test_back_from_their_rows(items: list[Item], name: str) -> None:
    model = next(model for model, one in NAMES.items() if one == name)

    def make() -> Any:
        return QuerySet(model).order_by("pk")

    def read(one: Any) -> Any:
        return follow(one, "items")

    expected = answer(lambda objects: prefetch_related_objects(objects, "items"), make, read)
    assert answer(MemoizedPrefetch("items").process_chunk, make, read) == expected


@pytest.mark.parametrize(
    "lookups", [("ranked",), ("many_ranked",), ("many_ranked", "status"), ("notes__item__ranked",)]
)
@pytest.mark.parametrize("of", ["config", pytest.param("generic", marks=pytest.mark.since("5.0"))])
def test_lookups_of_a_whole_queryset_to_rows_that_depend_on_each_other(
    items: list[Item], lookups: tuple[str, ...], of: str
) -> None:
    """The manager's rows come with the row that they hang on, and would be remembered with it."""

    class Config(MemoizedPrefetchConfig):
        def get_queryset(self) -> Any:
            return Item.objects.prefetch_related(*lookups)

    name, make = "item", Note.objects.filter(stars__lt=2).all
    given: Any = Config(Item, [name])
    stock: Any = Prefetch(name, Item.objects.prefetch_related(*lookups))
    if of == "generic":
        from django.contrib.contenttypes.prefetch import GenericPrefetch

        for item in items:
            Pointer.objects.create(content_type=ContentType.objects.get_for_model(Item), object_id=item.pk)
        name, make = "target", Pointer.objects.all
        given = stock = GenericPrefetch(name, [Item.objects.prefetch_related(*lookups)])

    def read(one: Any) -> Any:
        return [follow(getattr(one, name), lookup) for lookup in lookups]

    prefetch = MemoizedPrefetch(given)
    assert answer(prefetch.process_chunk, make, read) == answer(
        lambda objects: prefetch_related_objects(objects, stock), make, read
    )
    assert "uses a window function, in a lookup" in str(prefetch.stats().relations[name])


def test_an_iterable_class_that_reorders(items: list[Item]) -> None:
    lookup = Prefetch("backward", Backward.objects.backwards())
    expected = [follow(one, "backward") for one in Item.objects.prefetch_related(lookup)]
    prefetch = MemoizedPrefetch(lookup)
    for _ in range(2):
        objects = prefetch.process_chunk(list(Item.objects.all()))
        assert [follow(one, "backward") for one in objects] == expected


# --- managers whose querysets vary


@pytest.mark.parametrize("lookup", ["owned", "many_owned"])
def test_a_manager_that_gives_another_queryset_for_every_tenant(
    items: list[Item], lookup: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [Owned(tenant="b") for _ in range(4)]
    Owned.objects.bulk_create(others)
    for item, other in zip(items, others):
        item.many_owned.add(other)
    Item.objects.filter(pk__gt=items[4].pk).update(owned=others[0])

    def run(process: Callable[[list[Any]], Any]) -> list[Any]:
        seen = []
        for name in "abab":
            monkeypatch.setattr(tenant, "name", name)
            objects = list(Item.objects.all())
            process(objects)
            seen.append([follow(one, lookup) for one in objects])
        return seen

    expected = run(lambda objects: prefetch_related_objects(objects, lookup))
    prefetch = MemoizedPrefetch(lookup)
    assert run(prefetch.process_chunk) == expected
    assert "scope=" in (prefetch.stats().relations[lookup].reason or "")
    scoped = MemoizedPrefetch(lookup, scope=lambda: tenant.name)
    assert run(scoped.process_chunk) == expected
    assert scoped.stats().relations[lookup].path == "native"
    assert scoped.stats().relations[lookup].hits


@pytest.mark.parametrize("lookup", ["home__owner", "home__owners"])
def test_a_manager_that_varies_below_remembered_rows(
    items: list[Item], lookup: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row above is fresh in the later chunks, and what hangs on them is another tenant's."""
    others = [Owned.objects.create(tenant="b") for _ in range(4)]
    for place in Place.objects.all():
        place.owners.add(others[0])

    def run(process: Callable[[list[Any]], Any]) -> list[Any]:
        seen = []
        for name in "abba":
            monkeypatch.setattr(tenant, "name", name)
            objects = list(Item.objects.all())
            process(objects)
            seen.append([follow(one, lookup) for one in objects])
        return seen

    prefetch = MemoizedPrefetch(lookup)
    assert run(prefetch.process_chunk) == run(lambda objects: prefetch_related_objects(objects, lookup))
    assert prefetch.stats().relations["home"].hits


# --- what Django leaves on every object


@pytest.mark.parametrize("lookup", ["status", "notes", "notes__item__twice", "many_knowing", "places", "labels"])
def test_every_object_of_a_level_has_a_dict_of_collections(items: list[Item], lookup: str) -> None:
    def left(one: Any, path: str) -> Any:
        name, _, rest = path.partition("__")
        has = "_prefetched_objects_cache" in vars(one)
        if not rest:
            return has
        value = getattr(one, name)
        rows = [value] if isinstance(value, models.Model) else list(value.all())
        return has, [left(row, rest) for row in rows]

    theirs = list(Item.objects.prefetch_related(lookup))
    ours = list(memoized(Item.objects.prefetch_related(lookup)))
    assert [left(one, lookup) for one in ours] == [left(one, lookup) for one in theirs]
    nothing = MemoizedPrefetch(lookup).process_chunk(list(Item.objects.all()))
    assert all("_prefetched_objects_cache" in vars(one) for one in nothing)


def test_objects_that_have_everything_attached_are_marked_too(items: list[Item]) -> None:
    [item] = MemoizedPrefetch("twice").process_chunk(list(Item.objects.select_related("twice")[:1]))
    assert vars(item)["_prefetched_objects_cache"] == {}


# --- generic foreign keys


def test_generic_keys_are_compared_as_the_running_django_does(items: list[Item]) -> None:
    price, status = Price.objects.create(amount="1.5"), items[0].status
    for target, key in ((price, "1.5"), (price, "1.50"), (status, str(status.pk)), (status, f"0{status.pk}")):
        Pointer.objects.create(content_type=ContentType.objects.get_for_model(target), object_id=key)

    def read(one: Any) -> Any:
        with captured_queries() as queries:
            target = one.target
        return type(target).__name__, target and target.pk, len(queries)

    def make() -> Any:
        return Pointer.objects.all()

    expected = answer(lambda objects: prefetch_related_objects(objects, "target"), make, read)
    assert answer(MemoizedPrefetch("target").process_chunk, make, read) == expected


def test_a_generic_key_that_leads_nowhere_beside_one_to_its_own_model() -> None:
    first = Pointer.objects.create(content_type=None, object_id="1")
    Pointer.objects.create(content_type=ContentType.objects.get_for_model(Pointer), object_id=str(first.pk))
    theirs = list(Pointer.objects.prefetch_related("target"))
    ours = MemoizedPrefetch("target").process_chunk(list(Pointer.objects.all()))
    assert [one.target for one in ours] == [one.target for one in theirs] == [None, first]


# --- lookups and objects that are not what they look like


class LatestFirst(Prefetch):  # type: ignore[type-arg]
    """Has its own say in what its rows are read from; which method it is asked by differs between versions."""

    def get_current_queryset(self, level: int) -> Any:
        queryset = super().get_current_queryset(level)
        return queryset and queryset.order_by("-pk").filter(stars__gt=0)

    def get_current_querysets(self, level: int) -> Any:
        querysets = super().get_current_querysets(level)
        return querysets and [queryset.order_by("-pk").filter(stars__gt=0) for queryset in querysets]


@pytest.mark.parametrize("size", [1, 10_000])
def test_a_prefetch_class_of_their_own(items: list[Item], size: int) -> None:
    def lookup() -> Any:
        return LatestFirst("notes", Note.objects.all(), to_attr="latest")

    def read(one: Any) -> Any:
        return rows_of(one.latest)

    expected = answer(lambda objects: prefetch_related_objects(objects, lookup()), Item.objects.all, read)
    prefetch = MemoizedPrefetch(lookup(), lru_cache_size=size)
    assert answer(prefetch.process_chunk, Item.objects.all, read) == expected
    assert len(expected[0][0]) == 2


@pytest.mark.parametrize("lookup", ["home", "statuses", "notes_of_it", "home__owner"])
def test_objects_that_are_made_when_they_are_needed(items: list[Item], lookup: str) -> None:
    """As request.user is."""

    def lazily() -> list[Any]:
        return [SimpleLazyObject(functools.partial(Item.objects.get, pk=item.pk)) for item in items]

    expected = lazily()
    prefetch_related_objects(expected, lookup)
    prefetch = MemoizedPrefetch(lookup)
    for _ in range(2):
        objects = prefetch.process_chunk(lazily())
        assert [follow(one, lookup) for one in objects] == [follow(one, lookup) for one in expected]
        with no_queries():
            [follow(one, lookup) for one in objects]


def test_objects_that_are_made_when_they_are_needed_without_lookups(items: list[Item]) -> None:
    lazily = [SimpleLazyObject(functools.partial(Item.objects.get, pk=item.pk)) for item in items]
    with no_queries():
        assert MemoizedPrefetch().process_chunk(lazily) is lazily


@pytest.mark.parametrize("given", [(), ("status",)])
@pytest.mark.parametrize("lookups", [("home",), (Prefetch("notes", Note.objects.all()),)])
def test_the_scope_is_asked_once_for_each_chunk(items: list[Item], given: Any, lookups: Any) -> None:
    asked: list[None] = []
    prefetch = MemoizedPrefetch(*given, scope=lambda: asked.append(None))
    chunks = list(prefetch.chunks(Item.objects.prefetch_related(*lookups), 4))
    assert len(asked) == len(chunks) == 3


# --- careless callers


@pytest.mark.parametrize("change", [list.clear, list.reverse, lambda rows: rows.extend(rows), lambda rows: rows.pop()])
def test_a_list_that_is_changed_meanwhile(items: list[Item], change: Callable[[list[Any]], Any]) -> None:
    objects = list(Item.objects.all())
    kept = list(objects)
    changed = []

    def once(execute: Any, *args: Any) -> Any:
        if not changed:
            changed.append(change(objects))
        return execute(*args)

    with connection.execute_wrapper(once):
        returned = MemoizedPrefetch("twice", "many_knowing", "notes").process_chunk(objects)
    assert returned is objects
    with no_queries():
        assert [len(one.notes.all()) for one in kept] == [3] * len(kept)


def test_lookups_in_any_order_are_one_plan(items: list[Item]) -> None:
    names = ("twice", "status", "ranked", "many_knowing", "notes")
    shared = MemoizedPrefetch()
    for order in permutations(names):
        list(memoized(Item.objects.prefetch_related(*order), shared))
    assert len(shared._session.together) == 1
    assert shared.stats().relations["notes"].requests == 120 * len(items)


def test_plans_that_are_dropped_keep_their_counts_and_forget_their_rows(
    items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_memoized_prefetch._running.session.MAX_TOGETHER", 2)
    shared = MemoizedPrefetch()
    sets = (("notes__item__twice",), ("status",), ("ranked",), ("many_knowing",), ("twice",))
    for lookups in sets:
        list(memoized(Item.objects.prefetch_related(*lookups), shared))
    assert len(shared._session.together) == 2
    relations = shared.stats().relations
    assert {"notes", "notes__item", "notes__item__twice", "status", "ranked", "many_knowing", "twice"} == set(relations)
    assert relations["status"].path == "django"
    assert relations["notes"].requests == len(items)
    Note.objects.filter(item=items[0]).delete()
    shared.invalidate(Note)
    [one] = memoized(Item.objects.filter(pk=items[0].pk).prefetch_related("text_key__items__notes"), shared)
    assert [len(item.notes.all()) for item in one.text_key.items.all()] == [0, 3, 3]


# --- messages


def test_a_message_names_the_lookup_as_it_was_written(items: list[Item]) -> None:
    with pytest.raises(ValueError, match="'pk' does not resolve") as raised:
        MemoizedPrefetch(Prefetch("pk", to_attr="other")).process_chunk(list(Item.objects.all()))
    assert "other" not in str(raised.value)


def test_pickled_after_all(items: list[Item]) -> None:
    queryset = memoized(Status.objects.filter(status="old"))
    assert [one.pk for one in pickle.loads(pickle.dumps(queryset))] == [one.pk for one in queryset]


# --- databases of objects that were not read from one


@pytest.mark.parametrize("db", [None, "default", "other"])
def test_an_object_that_was_made_by_hand_gets_the_database_that_django_gives_it(
    items: list[Item], db: str | None
) -> None:
    def run(process: Callable[[list[Any]], Any]) -> Any:
        [one] = [Item(pk=items[0].pk)]
        one._state.db = db
        try:
            process([one])
        except ValueError as error:
            return str(error)
        return one._state.db, len(one.notes.all())

    lookup = Prefetch("notes", Note.objects.using("default"))
    assert run(MemoizedPrefetch(lookup).process_chunk) == run(lambda rows: prefetch_related_objects(rows, lookup))
