"""A handful of the packages of `make third-party`, each in a process of its own: ours gives what Django gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.python.databases import on_one_database

# Each package has a database of its own.
pytestmark = on_one_database

ROOT = Path(__file__).parents[2]
PACKAGES = ["django-model-utils", "django-polymorphic", "django-safedelete", "django-sortedm2m", "django-taggit"]


@pytest.mark.django_db(databases=[])
@pytest.mark.parametrize("package", PACKAGES)
def test_the_same_as_django(package: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "tests.third_party.child", package, "ours", str(report)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    result = json.loads(report.read_text())
    assert "refused" not in result
    assert result["situations"] > 5
    assert [one for one in result["found"] if one["differences"]] == []
