"""Settings of the Python tests: SQLite in memory, or the PostgreSQL server that DATABASE_URL names."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


def postgresql(url: str, name_suffix: str = "", engine: str = "django.db.backends.postgresql") -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme not in ("postgres", "postgresql"):
        raise ValueError(f"DATABASE_URL must start with postgres:// or postgresql://, got {parts.scheme}://")
    query = parse_qs(parts.query)
    return {
        "ENGINE": engine,
        "NAME": (unquote(parts.path.lstrip("/")) or "postgres") + name_suffix,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        # A socket directory comes as ?host=/path.
        "HOST": query["host"][0] if "host" in query else unquote(parts.hostname or ""),
        "PORT": str(parts.port or query.get("port", [""])[0]),
    }


DATABASES: dict[str, dict[str, Any]]
if os.environ.get("DATABASE_URL"):
    DATABASES = {
        "default": postgresql(os.environ["DATABASE_URL"]),
        # Server-side binding brings the protocol's limit of 65,535 parameters, which client-side binding does not have.
        "other": {
            **postgresql(os.environ["DATABASE_URL"], "_other"),
            "OPTIONS": {"server_side_binding": True},
        },
    }
else:
    DATABASES = {
        # Several processes, or threads with connections of their own, need a file.
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("SQLITE_FILE", ":memory:")},
        "other": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    }

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "seal",
    "tests.python.archive",
    "tests.python.bookshop",
    "tests.python.catalogue",
    "tests.python.everything",
    "tests.python.museum",
    "tests.python.sealed",
    "tests.python.workshop",
]
# The test applications have no migrations; contenttypes' own are not needed either.
MIGRATION_MODULES = {"contenttypes": None}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SECRET_KEY = "only for tests"
USE_TZ = True
