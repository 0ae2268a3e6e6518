"""An environment for each package and Django. What all packages of one Django share is installed once."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.matrix import MATRIX, build_wheel, install_into, logged
from tests.run import ROOT, heading
from tests.third_party.listed import PACKAGES

HOME = ROOT / "build" / "third-party"
# Each Django, and the Python that runs it: the oldest with the oldest.
PYTHONS = {"4.2": "3.9", "6.1": "3.12"}


@dataclass(frozen=True)
class Base:
    """What the environments of one Django share."""

    django: str
    builder: Path
    python: Path

    @property
    def home(self) -> Path:
        return self.python.parents[2]

    @property
    def packages(self) -> Path:
        (found,) = self.home.glob("venv/lib/python*/site-packages")
        return found

    @property
    def exact(self) -> str:
        """The full version of Django."""
        (found,) = self.packages.glob("[dD]jango-[0-9]*.dist-info")
        return found.name[len("django-") : -len(".dist-info")]


def existing_base(django: str) -> Base:
    """The base that an earlier run has made."""
    builder, python = (home / "venv" / "bin" / "python" for home in (MATRIX / PYTHONS[django], HOME / django))
    if not python.exists():
        raise SystemExit(f"{python.parents[2]} does not exist yet.")
    return Base(django, builder, python)


def make_base(django: str, interpreter: str) -> Base:
    """Installs Django and a wheel of the current sources."""
    heading(f"Building for Python {PYTHONS[django]}, Django {django}")
    builder, wheel = build_wheel(PYTHONS[django], interpreter)
    return Base(django, builder, install_into(HOME / django, builder, wheel, f"django=={django}.*"))


def install(base: Base, name: str) -> Path | None:
    """
    Installs a package in its own environment, which also sees the packages of the base.

    Returns:
        The Python of the environment. None if no version can be installed with this Django; the log says why.
    """
    home = base.home / name
    wanted = [name, *PACKAGES[name].needs]
    done, log, python = home / "installed", home / "log", home / "venv" / "bin" / "python"
    stamp = f"{wanted} {base.exact}"
    if done.exists() and done.read_text() == stamp:
        return python
    home.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    logged(log, base.python, "-m", "venv", "--without-pip", "--clear", home / "venv")
    (own,) = home.glob("venv/lib/python*/site-packages")
    (own / "base.pth").write_text(f"{base.packages}\n")
    constraint = home / "constraint"
    constraint.write_text(f"django=={base.exact}\n")
    command = [base.builder, "-m", "pip", "--python", python, "install", "--quiet", "-c", constraint, *wanted]
    with log.open("a") as output:
        refused = subprocess.run([*map(str, command)], cwd=ROOT, stdout=output, stderr=output, check=False).returncode
    if refused:
        return None
    done.write_text(stamp)
    return python


def reason(base: Base, name: str) -> str:
    """A line that says why a package could not be installed."""
    log = base.home / name / "log"
    errors = [line for line in log.read_text().splitlines() if line.startswith("ERROR: ")]
    return errors[-1][len("ERROR: ") :][:200] if errors else f"see {log}"
