"""The test suite of version 0.1.2, taken from its sdist, run unchanged against this package."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

from tests.python.databases import on_one_database

pytestmark = on_one_database  # it has settings and a database of its own

ROOT = Path(__file__).resolve().parents[2]
# Kept, so that only the first run needs the network.
KEPT = ROOT / "build" / "original"


def pip(scratch: Path) -> list[str]:
    """An environment made by uv has no pip."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    venv.create(scratch / "pip", with_pip=True)
    return [str(scratch / "pip" / "bin" / "python"), "-m", "pip"]


def sdist(scratch: Path) -> Path:
    kept = KEPT / "django_memoized_prefetch-0.1.2.tar.gz"
    if not kept.exists():
        name = "django-memoized-prefetch"
        subprocess.run(
            [*pip(scratch), "download", "-q", "--no-deps", "--no-binary", name, "-d", str(scratch), f"{name}==0.1.2"],
            check=True,
        )
        KEPT.mkdir(parents=True, exist_ok=True)
        shutil.copy(scratch / kept.name, kept)
    return kept


def test_it_passes(tmp_path: Path) -> None:
    with tarfile.open(sdist(tmp_path)) as archive:
        for member in archive.getmembers():
            # Its own package stays out: beside the tests it would be found before this one.
            inside = member.name.partition("/")[2]
            if inside == "pytest.ini" or inside.startswith("tests/"):
                archive.extract(member, tmp_path, **({"filter": "data"} if sys.version_info >= (3, 12) else {}))
    suite = tmp_path / "django_memoized_prefetch-0.1.2"
    result = subprocess.run(
        # Its own options ask for coverage only.
        [sys.executable, "-m", "pytest", "-o", "addopts=--strict-markers", "-p", "no:cacheprovider", "-ra"],
        cwd=suite,
        env={name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    [summary] = re.findall(r"=+ (.* in [\d.]+s).* =+$", result.stdout, re.MULTILINE)
    assert re.fullmatch(r"11 passed in .*", summary), summary
