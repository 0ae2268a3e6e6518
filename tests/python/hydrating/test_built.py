"""`stats().built` says how the instances of each model were built."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from django.db import connections, models
from django.db.models.signals import post_init
from django.db.models.sql.compiler import SQLCompiler

from django_memoized_prefetch import MemoizedPrefetch, memoized
from tests.python.archive.models import Box, Room, Sheet, WithDescriptor, WithInit
from tests.python.conftest import rows_of_a_module
from tests.python.hydrating.building import fill_archives

filled = rows_of_a_module(fill_archives)
pytestmark = pytest.mark.usefixtures("filled")


def built(model: Any, *lookups: str) -> dict[str, str]:
    """By `memoized()` and by `chunks()`, which must say the same."""
    by_queryset, by_chunks = MemoizedPrefetch(*lookups), MemoizedPrefetch(*lookups)
    list(memoized(model._base_manager.all(), by_queryset))
    for _ in by_chunks.chunks(model._base_manager.all(), 2):
        pass
    said = by_queryset.stats().built
    assert by_chunks.stats().built == said
    assert by_chunks.stats().as_dict()["built"] == said
    return said


def test_models_that_only_store_values() -> None:
    assert built(Box, "room") == {"Box": "natively", "Room": "natively"}
    prefetch = MemoizedPrefetch("box")
    list(memoized(Sheet.objects.all(), prefetch))
    assert "built" not in str(prefetch.stats())


def test_models_with_code_of_their_own() -> None:
    assert built(WithInit) == {
        "WithInit": "by the model itself. WithInit: custom __init__ (a receiver of post_init would be no obstacle)"
    }
    [descriptor] = built(WithDescriptor).values()
    assert descriptor.startswith("by the model itself. WithDescriptor.")
    assert descriptor.endswith("custom descriptor Loud (a descriptor without __set__ would be no obstacle)")


def test_models_with_receivers() -> None:
    def receive(**_: Any) -> None:
        pass

    post_init.connect(receive, sender=Room)
    try:
        said = built(Box, "room")
    finally:
        post_init.disconnect(receive, sender=Room)
    assert said == {"Room": "natively; receivers of post_init are called", "Box": "natively"}


def test_compilers_that_read_in_their_own_way() -> None:
    class Compiler(SQLCompiler):
        def results_iter(self, *arguments: Any, **named: Any) -> Any:
            return super().results_iter(*arguments, **named)

    with mock.patch.object(
        models.sql.Query,
        "get_compiler",
        lambda query, using=None, connection=None: Compiler(query, connections[using], using),
    ):
        assert built(Room) == {"Room": "by Django. Room: custom Compiler.results_iter"}
    assert built(Room) == {"Room": "natively"}


def test_it_is_printed() -> None:
    prefetch = MemoizedPrefetch()
    list(memoized(WithInit._base_manager.all(), prefetch))
    assert f"WithInit: built {prefetch.stats().built['WithInit']}" in str(prefetch.stats()).splitlines()
    total = prefetch.stats() + prefetch.stats()
    assert total.built == prefetch.stats().built
