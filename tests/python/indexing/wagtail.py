"""`update_index` of Wagtail, as modelsearch has it. The index is in the database."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from modelsearch.models import IndexEntry

from tests.python.bookshop import models as bookshop
from tests.python.documents.running import CHUNK
from tests.python.indexing.library import models


class Recipe:
    def __init__(self, examples: list[str]) -> None:
        assert examples
        for book in bookshop.Book.objects.all():
            # Not save(), which writes to the index too.
            [made] = models.Book.objects.bulk_create([models.Book(pk=book.pk, title=book.title, author=book.author)])
            made.categories.set(book.categories.all())

    def memoized(self) -> None:
        call_command("rebuild_modelsearch_index", chunk_size=CHUNK, verbosity=0)

    def stock(self) -> None:
        del models.Book.get_indexed_objects
        IndexEntry.objects.all().delete()
        self.memoized()

    def documents(self) -> list[Any]:
        entries = IndexEntry.objects.order_by("object_id").values_list("title", "body")
        return [[title, sorted(body.split())] for title, body in entries]
