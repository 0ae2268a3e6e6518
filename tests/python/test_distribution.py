"""What is installed: the README's example with nothing but Django, and wheels for the Pythons that the tests run on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import pytest

from tests.matrix import SUPPORTED, databases_of, prerelease_in
from tests.python.databases import on_one_database

pytestmark = on_one_database

ROOT = Path(__file__).resolve().parents[2]
PROJECT = (ROOT / "pyproject.toml").read_text()
PYTHONS = {python for pythons in SUPPORTED.values() for python in pythons}


def run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_pypi_shows_links_to_whole_addresses() -> None:
    shown = metadata("django-memoized-prefetch")
    text = shown["Description"] or shown.get_payload()
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 10
    assert [link for link in links if not link.startswith("https://")] == []
    pages = {link.split("/")[-1] for link in links if link.endswith(".html")}
    assert {page for page in pages if not (ROOT / "docs" / page.replace(".html", ".md")).exists()} == set()
    assert f"Documentation, {links[0].rsplit('/', 1)[0]}/" in shown.get_all("Project-URL")


def test_the_smoke_test_runs_the_readme_of_this_tree() -> None:
    assert run("tests/smoke.py", "README.md").startswith("smoke: CPython")


def test_wheels_and_classifiers_are_for_the_pythons_of_the_matrix() -> None:
    [minors] = re.findall(r'^build = "cp3\{([\d,]+)\}-\*"$', PROJECT, re.MULTILINE)
    assert {f"3.{minor}" for minor in minors.split(",")} == PYTHONS
    assert set(re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PROJECT)) == PYTHONS
    [oldest] = re.findall(r'^requires-python = ">=(.+)"$', PROJECT, re.MULTILINE)
    assert oldest == min(PYTHONS, key=lambda version: tuple(map(int, version.split("."))))


def test_classifiers_are_for_the_djangos_of_the_matrix() -> None:
    assert set(re.findall(r'"Framework :: Django :: (.+)"', PROJECT)) == set(SUPPORTED)


def test_the_workflow_runs_every_cell_of_the_matrix() -> None:
    cells = json.loads(run("-m", "tests.matrix", "--list"))
    assert {django: [cell["python"] for cell in cells if cell["django"] == django] for django in SUPPORTED} == SUPPORTED
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text()
    assert "tests.matrix --list" in workflow
    assert "fromJSON(needs.cells.outputs.cells)" in workflow


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ("django (6.2a1)\nAvailable versions: 6.2a1, 6.1.3", "6.2a1"),
        ("django (6.2rc1)\n", "6.2rc1"),
        ("django (6.1.3)\nAvailable versions: 6.1.3, 6.1rc1", None),
        ("", None),
    ],
)
def test_a_prerelease_of_django_is_in_the_matrix(listed: str, expected: str | None) -> None:
    assert prerelease_in(listed) == expected


def test_the_newest_python_of_a_django_runs_on_all_databases(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FAST", "DATABASES"):
        monkeypatch.delenv(name, raising=False)
    cells = [("3.9", "4.2"), ("3.10", "4.2"), ("3.10", "5.2")]
    found = databases_of(cells)
    assert found["3.9", "4.2"] == ["sqlite"]
    assert found["3.10", "4.2"] == found["3.10", "5.2"]
    assert found["3.10", "5.2"][:2] == ["sqlite", "postgresql"]
    monkeypatch.setenv("DATABASES", "MariaDB")
    assert databases_of(cells) == {cell: ["mariadb"] for cell in cells}
    monkeypatch.setenv("FAST", "1")
    assert databases_of(cells) == {cell: ["sqlite"] for cell in cells}


def test_actions_are_pinned_by_commit() -> None:
    for workflow in (ROOT / ".github" / "workflows").glob("*.yml"):
        for used in re.findall(r"uses: (.+)", workflow.read_text()):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used), (workflow, used)
