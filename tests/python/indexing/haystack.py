"""`update_index` of django-haystack, with a search engine that keeps what it is given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.management import call_command
from haystack import connections
from haystack.backends import BaseEngine, BaseSearchBackend
from haystack.backends.simple_backend import SimpleSearchQuery

from tests.python.documents.running import CHUNK, run

written: list[dict[str, Any]] = []


class Backend(BaseSearchBackend):
    def update(self, index: Any, iterable: Iterable[Any], commit: bool = True) -> None:
        written.extend(index.full_prepare(one) for one in iterable)


class Engine(BaseEngine):
    backend = Backend
    query = SimpleSearchQuery


class Recipe:
    def __init__(self, examples: list[str]) -> None:
        (example,) = examples
        *_, self.names = run(example)
        connections["default"].get_unified_index().build(indexes=[self.names["BookIndex"]()])

    def memoized(self) -> None:
        written.clear()
        call_command("update_index", batchsize=CHUNK, verbosity=0)

    def stock(self) -> None:
        self.names["memoized"] = lambda queryset: queryset
        self.memoized()

    def documents(self) -> list[Any]:
        return [[one["text"], one["author"], one["publisher"]] for one in written]
