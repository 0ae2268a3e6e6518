"""Settings of the Python tests: SQLite in memory, or the PostgreSQL or MariaDB server that DATABASE_URL names."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


def postgresql(url: str, name_suffix: str = "", engine: str = "django.db.backends.postgresql") -> dict[str, Any]:
    if urlsplit(url).scheme not in ("postgres", "postgresql"):
        raise ValueError(f"DATABASE_URL must start with postgres:// or postgresql://, got {urlsplit(url).scheme}://")
    return {**server(url), "ENGINE": engine, "NAME": name(url, "postgres") + name_suffix}


def mariadb(url: str, name_suffix: str = "") -> dict[str, Any]:
    """With mysqlclient, which Django knows, or with PyMySQL, if the URL starts with mysql+pymysql://."""
    if urlsplit(url).scheme == "mysql+pymysql":
        import pymysql  # type: ignore[import-untyped]

        # In a version that Django takes; to say which is PyMySQL's own way of passing for mysqlclient.
        pymysql.version_info = (2, 2, 8, "final", 1)
        pymysql.install_as_MySQLdb()
    # As everywhere else, 0 is a key like any other, not a request for the next one.
    mode = "SET sql_mode = CONCAT(@@sql_mode, ',NO_AUTO_VALUE_ON_ZERO')"
    return {
        **server(url),
        "ENGINE": "django.db.backends.mysql",
        "NAME": name(url, "tests") + name_suffix,
        "OPTIONS": {"init_command": mode, "charset": "utf8mb4"},  # as in Django 5, for all of Unicode
    }


def name(url: str, otherwise: str) -> str:
    return unquote(urlsplit(url).path.lstrip("/")) or otherwise


def server(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    return {
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        # A socket, of PostgreSQL its directory, comes as ?host=/path.
        "HOST": query["host"][0] if "host" in query else unquote(parts.hostname or ""),
        "PORT": str(parts.port or query.get("port", [""])[0]),
    }


URL = os.environ.get("DATABASE_URL", "")
DATABASES: dict[str, dict[str, Any]]
if URL.startswith("mysql"):
    DATABASES = {"default": mariadb(URL), "other": mariadb(URL, "_other")}
elif URL:
    DATABASES = {
        "default": postgresql(URL),
        # Server-side binding brings the protocol's limit of 65,535 parameters, which client-side binding does not have.
        "other": {**postgresql(URL, "_other"), "OPTIONS": {"server_side_binding": True}},
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
    "tests.python.customised",
    "tests.python.theatre",
    "tests.python.lookalikes",
    "tests.python.workshop",
]
# The test applications have no migrations; contenttypes' own are not needed either.
MIGRATION_MODULES = {"contenttypes": None}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SECRET_KEY = "only for tests"
USE_TZ = True
