"""The sdist of Django, whose tests the wheel does not have."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Kept, so that only the first run needs the network.
KEPT = ROOT / "build" / "django"


@dataclass(frozen=True)
class Installed:
    """
    What is in an interpreter's environment.

    packages: Changes with it; what is there decides which tests are skipped.
    """

    django: str
    python: str
    packages: str

    @property
    def version(self) -> str:
        return ".".join(self.django.split(".")[:2])


_ASK = """
import django, importlib.metadata, platform, zlib
names = sorted(found.metadata["Name"] for found in importlib.metadata.distributions())
print(django.__version__, platform.python_version(), format(zlib.crc32(" ".join(names).encode()), "x"))
"""


def installed(python: str) -> Installed:
    return Installed(*subprocess.check_output([python, "-c", _ASK], text=True).split())


def tests_of(django: str, python: str) -> Path:
    """The directory that runtests.py is in, for this version of Django."""
    directory = KEPT / f"django-{django}" / "tests"
    if not (directory / "runtests.py").exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        sdist = KEPT / f"django-{django}.tar.gz"
        if not sdist.exists():
            _download(django, python, sdist)
        with tempfile.TemporaryDirectory(dir=KEPT) as scratch, tarfile.open(sdist) as archive:
            if sys.version_info >= (3, 12):
                archive.extractall(scratch, filter="data")
            else:
                archive.extractall(scratch)
            # Named at the end: what was cut off in the middle is not taken for whole. Another process may be faster.
            with suppress(OSError):
                next(Path(scratch).iterdir()).rename(directory.parent)
    return directory


def _download(django: str, python: str, sdist: Path) -> None:
    with tempfile.TemporaryDirectory(dir=KEPT) as scratch:
        pip = [python, "-m", "pip"]
        if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode:
            # An environment made by uv, or by tests/matrix.py, has no pip.
            subprocess.run([python, "-m", "venv", f"{scratch}/venv"], check=True)
            pip = [f"{scratch}/venv/bin/python", "-m", "pip"]
        download = [*pip, "download", "--no-deps", "--no-binary", "Django", "--dest", scratch, f"Django=={django}"]
        done = subprocess.run(download, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            sys.exit(f"{done.stdout}\nThe sdist of Django {django} is not to be had; put it at {sdist}.")
        (got,) = Path(scratch).glob("*.tar.gz")
        got.rename(sdist)
