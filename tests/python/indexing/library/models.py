"""The recipe for Wagtail has a model of its own."""

from __future__ import annotations

from tests.python.bookshop.models import Author, Category  # noqa: F401
from tests.python.documents import examples

[EXAMPLE] = examples("docs/search-indexes.md", "Wagtail")
# Wagtail's search is the package modelsearch, and `make third-party` runs the recipe with Wagtail itself.
exec(compile(EXAMPLE.replace("wagtail.search", "modelsearch"), "example", "exec", dont_inherit=True))
