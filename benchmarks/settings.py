"""Django's settings for the benchmark processes."""

from __future__ import annotations

import os

from tests.python.settings import postgresql

from .bookshop.data import SCHEMA

_database = os.environ["BENCHMARK_DATABASE"]

if _database.startswith("postgres"):
    DATABASES = {"default": {**postgresql(_database), "OPTIONS": {"options": f"-c search_path={SCHEMA}"}}}
else:
    DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": _database}}
INSTALLED_APPS = ["benchmarks.bookshop", *filter(None, [os.environ.get("BENCHMARK_APP")])]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
