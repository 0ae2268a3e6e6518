"""On which databases a test runs."""

from __future__ import annotations

import os

import pytest

# What such a test is about happens in Python, whatever the database answers: once is enough.
on_one_database = pytest.mark.skipif(bool(os.environ.get("DATABASE_URL")), reason="the same on every database")
