"""Packages that write a table to a search index: the recipe of each, in a process of its own with its own settings."""

from __future__ import annotations

from typing import Any

# The heading in docs/search-indexes.md, and what the package needs of the settings.
PACKAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "haystack": (
        "django-haystack",
        {
            "INSTALLED_APPS": ["haystack"],
            "HAYSTACK_CONNECTIONS": {"default": {"ENGINE": f"{__name__}.haystack.Engine"}},
        },
    ),
    "opensearch": (
        "django-opensearch-dsl",
        {
            "INSTALLED_APPS": ["django_opensearch_dsl"],
            "OPENSEARCH_DSL": {"default": {"hosts": "localhost:9200"}},
            "OPENSEARCH_DSL_AUTOSYNC": False,
        },
    ),
    "wagtail": ("Wagtail", {"INSTALLED_APPS": ["modelsearch", f"{__name__}.library"]}),
    "watson": ("django-watson", {"INSTALLED_APPS": ["watson"]}),
}
