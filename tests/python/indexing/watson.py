"""The command of the recipe for django-watson, and `buildwatson`."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from watson.models import SearchEntry

from tests.python.documents.running import run


class Recipe:
    def __init__(self, examples: list[str]) -> None:
        registering, command = examples
        run(registering)
        *_, self.names = run(command)

    def memoized(self) -> None:
        call_command(self.names["Command"]())

    def stock(self) -> None:
        SearchEntry.objects.all().delete()
        call_command("buildwatson", verbosity=0)

    def documents(self) -> list[Any]:
        return list(map(list, SearchEntry.objects.order_by("object_id").values_list("title", "content")))
