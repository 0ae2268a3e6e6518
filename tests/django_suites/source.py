"""Gets sdists: unlike wheels, they have the tests."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Sdists are kept here, so that only the first run needs the network.
KEPT = ROOT / "build" / "django"


@dataclass(frozen=True)
class Installed:
    """
    What is in an interpreter's environment.

    packages: A checksum of the packages' names, since they decide which tests are skipped.
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
    """The directory of runtests.py for this version of Django."""
    return tree_of("django", django, python, KEPT) / "tests"


def tree_of(name: str, version: str, python: str, kept: Path) -> Path:
    """The unpacked sdist of a project. The sdist is downloaded if it was not kept."""
    directory = kept / f"{name}-{version}"
    if not directory.exists():
        kept.mkdir(parents=True, exist_ok=True)
        sdist = kept / f"{name}-{version}.tar.gz"
        if not sdist.exists():
            _download(name, version, python, sdist)
        with tempfile.TemporaryDirectory(dir=kept) as scratch, tarfile.open(sdist) as archive:
            if sys.version_info >= (3, 12):
                archive.extractall(scratch, filter="data")
            else:
                archive.extractall(scratch)
            # Renamed at the end, so that an interrupted unpacking is not used. Another process may be faster.
            with suppress(OSError):
                next(Path(scratch).iterdir()).rename(directory)
    return directory


def _download(name: str, version: str, python: str, sdist: Path) -> None:
    with tempfile.TemporaryDirectory(dir=sdist.parent) as scratch:
        pip = [python, "-m", "pip"]
        if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode:
            # Environments made by uv or by tests/matrix.py have no pip.
            subprocess.run([python, "-m", "venv", f"{scratch}/venv"], check=True)
            pip = [f"{scratch}/venv/bin/python", "-m", "pip"]
        download = [*pip, "download", "--no-deps", "--no-binary", name, "--dest", scratch, f"{name}=={version}"]
        done = subprocess.run(download, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            sys.exit(f"{done.stdout}\nThe sdist of {name} {version} is not to be had; put it at {sdist}.")
        (got,) = Path(scratch).glob("*.tar.gz")
        got.rename(sdist)
