"""Relations and Django's own code that other packages changed: why Django attaches then, and where it need not."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import models
from django.db.models import Prefetch, QuerySet, prefetch_related_objects
from django.db.models.fields.related_descriptors import ForwardManyToOneDescriptor

from django_memoized_prefetch import MemoizedPrefetch, memoized
from tests.python.conftest import rows_of_a_module
from tests.python.customised.models import Backward, Item, ShoutingManager
from tests.python.customised.rows import fill_items
from tests.python.queries import captured_queries, no_queries

rows = rows_of_a_module(fill_items)


@pytest.fixture
def items(rows: None) -> list[Item]:
    return list(Item.objects.order_by("pk"))


@pytest.mark.parametrize(
    ("lookup", "words"),
    [
        ("status", "LiveQuerySet has its own filter()"),
        ("statuses", "LiveQuerySet has its own filter()"),
        ("ranked", "Ranked's manager: the queryset uses a window function"),
        ("labels", "a Labels, which prefetches by itself"),
        ("places", "custom related manager"),
        ("speakers", "custom descriptor LiveDescriptor"),
        ("twice", "Twice.number: custom field Doubled"),
        ("text_key", "TextKey.number: custom field TextInteger"),
        (Prefetch("backward", Backward.objects.backwards()), "Backwards has its own __iter__()"),
    ],
)
def test_stats_say_what_is_not_djangos(items: list[Item], lookup: Any, words: str) -> None:
    prefetch = MemoizedPrefetch(lookup)
    prefetch.process_chunk(list(Item.objects.all()))
    [relation] = prefetch.stats().relations.values()
    assert relation.path == "django"
    assert words in (relation.reason or "")
    assert words in str(prefetch.stats())


@pytest.mark.parametrize("lookup", ["home", "backward", "swapped", "linked", "notes", "many_knowing"])
def test_what_is_the_same_stays_native(items: list[Item], lookup: str) -> None:
    """Classes that only add methods, or change those that Django does not call, are no reason."""
    prefetch = MemoizedPrefetch(lookup)
    prefetch.process_chunk(list(Item.objects.all()))
    assert prefetch.stats().relations[lookup].path == "native"


def test_a_managers_all_is_called_as_often_as_by_django(items: list[Item]) -> None:
    for lookup in ("loud", "many_loud"):
        ShoutingManager.calls = 0
        prefetch_related_objects(list(Item.objects.all()), lookup)
        calls = ShoutingManager.calls
        ShoutingManager.calls = 0
        MemoizedPrefetch(lookup).process_chunk(list(Item.objects.all()))
        assert (ShoutingManager.calls > 0) == (calls > 0)


# --- below what is left to Django


def test_below_a_relation_left_to_django_its_own_rows_are_gone_on_with(items: list[Item]) -> None:
    with captured_queries() as theirs:
        list(Item.objects.prefetch_related("speakers__place"))
    with captured_queries() as ours:
        list(memoized(Item.objects.prefetch_related("speakers__place")))
    assert len(ours) == len(theirs)


# --- Django patched by another package


def test_a_patch_of_reading_leaves_it_native_and_is_told(items: list[Item], monkeypatch: pytest.MonkeyPatch) -> None:
    original, seen = ForwardManyToOneDescriptor.__get__, []

    def watched(self: Any, instance: Any, cls: Any = None) -> Any:
        seen.append(instance)
        return original(self, instance, cls)

    watched.__module__ = original.__module__  # as functools.wraps does
    monkeypatch.setattr(ForwardManyToOneDescriptor, "__get__", watched)
    prefetch = MemoizedPrefetch("home")
    objects = prefetch.process_chunk(list(Item.objects.all()))
    relation = prefetch.stats().relations["home"]
    words = "Item.home: ForwardManyToOneDescriptor.__get__ is patched by tests"
    assert (relation.path, relation.patched) == ("native", words)
    assert f"home: native, {words}" in str(prefetch.stats())
    with no_queries():
        assert objects[0].home is not None
    assert objects[0] in seen


@pytest.mark.parametrize(
    ("owner", "name", "words"),
    [
        (ForwardManyToOneDescriptor, "get_queryset", "ForwardManyToOneDescriptor.get_queryset is patched by tests"),
        (models.query, "prefetch_one_level", "django.db.models.query.prefetch_one_level is patched by tests"),
        (QuerySet, "_fetch_all", "QuerySet._fetch_all is patched by tests"),
    ],
)
def test_a_patch_of_the_prefetch_itself_is_called(
    items: list[Item], owner: Any, name: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = getattr(owner, name), []

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return original(*args, **kwargs)

    objects = list(Item.objects.all())
    prefetch = MemoizedPrefetch("home")
    prefetch.process_chunk(list(Item.objects.all()))
    monkeypatch.setattr(owner, name, counted)
    if owner is ForwardManyToOneDescriptor:
        prefetch = MemoizedPrefetch("home")  # of one relation: seen where it is planned
    prefetch.process_chunk(objects)
    assert calls
    assert words in (prefetch.stats().relations["home"].reason or "")


@pytest.mark.parametrize("name", ["get_db_prep_value", "from_db_value"])
def test_a_patch_of_the_fields_of_keys_is_called(items: list[Item], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = getattr(models.BigAutoField, name, None)
    calls = []

    def counted(self: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(value)
        return value if original is None else original(self, value, *args, **kwargs)

    objects = list(Item.objects.all())
    monkeypatch.setattr(models.BigAutoField, name, counted, raising=False)
    prefetch = MemoizedPrefetch("home")
    prefetch.process_chunk(objects)
    monkeypatch.undo()
    assert calls
    assert prefetch.stats().relations["home"].path == "django"
    assert f"BigAutoField.{name} is patched by tests" in (prefetch.stats().relations["home"].reason or "")
