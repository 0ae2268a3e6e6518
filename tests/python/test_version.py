from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import django_memoized_prefetch
from tests.python.databases import on_one_database

pytestmark = on_one_database

ROOT = Path(__file__).resolve().parents[2]


def test_package_and_metadata_agree() -> None:
    assert django_memoized_prefetch.__version__ == metadata.version("django-memoized-prefetch")


def test_project_file_agrees() -> None:
    [version] = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert django_memoized_prefetch.__version__ == version


def test_changelog_has_the_version() -> None:
    assert re.search(
        rf"^## .*\b{re.escape(django_memoized_prefetch.__version__)}\b",
        (ROOT / "CHANGELOG.md").read_text(),
        re.MULTILINE,
    )


def test_public_names() -> None:
    assert {"MemoizedPrefetch", "MemoizedPrefetchConfig"} <= set(django_memoized_prefetch.__all__)
    for name in django_memoized_prefetch.__all__:
        assert hasattr(django_memoized_prefetch, name)


def test_engine_does_not_know_django_and_the_core_does_not_know_python() -> None:
    headers = list((ROOT / "include").rglob("*.hpp"))
    assert headers
    for header in headers:
        assert "Python.h" not in header.read_text(), header
