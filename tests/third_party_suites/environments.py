"""A virtual environment and a tree of sources for each project."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import sys
import tempfile
import zlib
from functools import cache
from pathlib import Path

from tests.django_suites.source import tree_of
from tests.matrix import SUPPORTED, build_wheel, install_into, interpreters
from tests.run import ROOT, heading
from tests.third_party_suites.projects import Project

HOME = ROOT / "build" / "third-party-suites"
SOURCES = HOME / "sources"
# All projects run on it.
PYTHON = "3.12"


@cache
def wheel() -> tuple[Path, Path]:
    """The Python with the build tools, and a wheel of the current sources."""
    here = interpreters()
    if PYTHON not in here:
        sys.exit(f"There is no Python {PYTHON} here, which these suites run on.")
    HOME.mkdir(parents=True, exist_ok=True)
    heading(f"Building for Python {PYTHON}")
    builder, made = build_wheel(PYTHON, here[PYTHON])
    # Not where `make matrix` and other runs build theirs: they remove the previous one.
    own = Path(tempfile.mkdtemp(prefix="wheel-", dir=HOME))
    atexit.register(shutil.rmtree, own)
    return builder, Path(shutil.copy2(made, own))


def environment(project: Project) -> str:
    """The interpreter of the project's environment. It has the project, the needs of its tests, and this package."""
    assert PYTHON in SUPPORTED[project.django]
    builder, package = wheel()
    wanted = [f"django=={project.django}.*", f"{project.name}=={project.version}", *project.needs]
    return str(install_into(HOME / project.name, builder, package, *wanted))


def tree(project: Project) -> Path:
    """The sources, with the tests. They are downloaded once."""
    return tree_of(project.name, project.version, str(wheel()[0]), SOURCES)


_PACKAGES = """
from importlib.metadata import distributions
print(sorted(f"{one.name} {one.version}" for one in distributions() if one.name != "django-memoized-prefetch"))
"""


def fingerprint(project: Project, python: str) -> str:
    """It changes with everything that decides the results of the tests with Django alone."""
    packages = subprocess.check_output([python, "-c", _PACKAGES], text=True)
    return format(zlib.crc32(f"{project} {packages}".encode()), "08x")
