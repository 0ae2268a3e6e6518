"""
Writes the search index twice, as the recipe does and as the package does without it.

    python -m tests.python.indexing PACKAGE

Prints both as JSON: the documents, the number of queries, and how many read each table.
"""

from __future__ import annotations

import json
import sys
import warnings
from importlib import import_module
from typing import Any

import django
from django.conf import settings

from tests.python.indexing import PACKAGES


def main(name: str) -> None:
    heading, own = PACKAGES[name]
    apps = ["django.contrib.contenttypes", "tests.python.bookshop", *own["INSTALLED_APPS"]]
    settings.configure(
        **{
            **own,
            "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
            "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
            "INSTALLED_APPS": apps,
            "SECRET_KEY": "only for tests",
            "USE_TZ": True,
        }
    )
    with warnings.catch_warnings():
        # What the packages have to say about the versions of Django that are to come is no concern of ours.
        warnings.simplefilter("ignore")
        django.setup()
        run(name, heading)


def run(name: str, heading: str) -> None:
    from django.core.management import call_command

    from tests.python.conftest import fill_bookshop
    from tests.python.documents import examples
    from tests.python.documents.running import CHUNK, MODELS
    from tests.python.queries import watched_queries

    call_command("migrate", run_syncdb=True, verbosity=0)
    fill_bookshop()
    module = import_module(f"{__package__}.{name}")
    recipe = module.Recipe(examples("docs/search-indexes.md", heading, CHUNK))
    found: dict[str, Any] = {}
    for way in ("memoized", "stock"):
        # CaptureQueriesContext would lose those before a package calls reset_queries().
        with watched_queries() as queries:
            getattr(recipe, way)()
        found[way] = {
            "documents": recipe.documents(),
            "queries": len(queries),
            **{name: sum(f'FROM "{one._meta.db_table}"' in sql for sql in queries) for name, one in MODELS.items()},
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
