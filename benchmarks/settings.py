"""Django's settings for the benchmark processes."""

from __future__ import annotations

import os

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["BENCHMARK_DATABASE"]}}
INSTALLED_APPS = ["benchmarks.bookshop"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
