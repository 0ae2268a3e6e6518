"""Runs the Python tests on every supported Django with every interpreter on this machine; `make matrix` calls it.

    python -m tests.matrix                  every cell
    python -m tests.matrix 3.9-4.2 3.13-6.1 these (Python-Django)
    python -m tests.matrix --list           runs none, and prints all as JSON

Every cell runs on SQLite. The newest Python of each Django runs on PostgreSQL too, and on MariaDB if its server is on
this machine. DATABASES="sqlite postgresql mariadb" chooses the databases of every cell; FAST=1 is SQLite alone.

If there is a pre-release of Django, it has a cell. Its failures are shown and do not count.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from tests.mariadb import mariadb, program
from tests.run import ROOT, SIGNALS, Group, ServerError, heading, interrupt, postgresql, run_python, settle, totals

if TYPE_CHECKING:
    from collections.abc import Callable

MATRIX = ROOT / "build" / "matrix"
# Each Django, with the Pythons that it supports.
SUPPORTED = {
    "4.2": ["3.9", "3.10", "3.11", "3.12"],
    "5.2": ["3.10", "3.11", "3.12", "3.13", "3.14"],
    "6.0": ["3.12", "3.13", "3.14"],
    "6.1": ["3.12", "3.13", "3.14"],
}
# Pre-releases of Django are run with this one.
NEXT = "3.13"


def logged(log: Path, *command: object) -> None:
    """Runs a command, and shows the end of the log only if it fails."""
    with log.open("a") as output:
        output.write(f"\n== {' '.join(map(str, command))}\n")
        output.flush()
        done = subprocess.run([*map(str, command)], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        print("\n".join(log.read_text().splitlines()[-30:]))
        raise subprocess.CalledProcessError(done.returncode, str(command[0]))


def build_wheel(version: str, interpreter: str) -> tuple[Path, Path]:
    """Builds a wheel of the current sources; returns the Python with the build tools, and the wheel."""
    home = MATRIX / version
    home.mkdir(parents=True, exist_ok=True)
    log = home / "log"
    log.write_text("")
    python = home / "venv" / "bin" / "python"
    if not python.exists():
        logged(log, interpreter, "-m", "venv", home / "venv")
        logged(log, python, "-m", "pip", "install", "pip>=25.1")
    logged(log, python, "-m", "pip", "install", "--group", "build")
    for old in home.glob("*.whl"):
        old.unlink()
    # script/bootstrap puts CMake there if the machine has none.
    with_cmake = ["env", f"PATH={Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"]
    wheel = [python, "-m", "pip", "wheel", ".", "--no-build-isolation", "--no-deps", "--wheel-dir", home]
    logged(log, *with_cmake, *wheel, "-C", f"build-dir={home}/build")
    (made,) = home.glob("*.whl")
    return python, made


def requirement(django: str) -> str:
    """Of pip, for the newest release of a series, or for a pre-release."""
    return f"django=={django}.*" if django in SUPPORTED else f"django=={django}"


def install(builder: Path, wheel: Path, python_version: str, django: str, *groups: str) -> Path:
    """Installs the wheel and the groups of dependencies into the cell's own environment; returns the Python there."""
    options = [option for group in groups for option in ("--group", group)]
    return install_into(MATRIX / f"{python_version}-{django}", builder, wheel, requirement(django), *options)


def install_into(home: Path, builder: Path, wheel: Path, *wanted: str) -> Path:
    """Installs the wheel and what else is wanted into an environment below `home`; returns the Python there."""
    home.mkdir(parents=True, exist_ok=True)
    log = home / "log"
    log.write_text("")
    python = home / "venv" / "bin" / "python"
    if not python.exists():
        logged(log, builder, "-m", "venv", "--without-pip", home / "venv")
    pip = [builder, "-m", "pip", "--python", python, "install"]
    logged(log, *pip, *wanted)
    logged(log, *pip, "--force-reinstall", "--no-deps", wheel)
    return python


def interpreters() -> dict[str, str]:
    output = subprocess.run(["script/bootstrap", "--pythons"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return dict(line.split(maxsplit=1) for line in output.stdout.splitlines())


# What gives the URL of each database; of SQLite, none.
SERVERS: dict[str, Callable[[], AbstractContextManager[str | None]]] = {
    "sqlite": nullcontext,
    "postgresql": postgresql,
    "mariadb": mariadb,
}


def databases_of(cells: list[tuple[str, str]]) -> dict[tuple[str, str], list[str]]:
    """The databases of each cell."""
    if os.environ.get("FAST"):
        return {cell: ["sqlite"] for cell in cells}
    if chosen := os.environ.get("DATABASES", "").lower().split():
        if unknown := set(chosen) - set(SERVERS):
            sys.exit(f"No such database: {', '.join(sorted(unknown))}. There are: {' '.join(SERVERS)}")
        return dict.fromkeys(cells, chosen)
    everything = list(SERVERS)
    try:
        program("mariadbd")
    except ServerError as error:
        print(f"Without MariaDB: {error}")
        everything.remove("mariadb")
    newest = {django: cell for *cell, django in sorted(cells, key=lambda cell: version(cell[0]))}
    return {(python, django): everything if newest[django] == [python] else ["sqlite"] for python, django in cells}


def version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def prerelease_in(listed: str) -> str | None:
    """The newest Django of `pip index versions django --pre`, if it is not released yet."""
    newest = re.match(r"django \((.+)\)", listed)
    return newest[1] if newest and re.search(r"(a|b|rc)\d+$", newest[1]) else None


def prerelease() -> str | None:
    command = [sys.executable, "-m", "pip", "index", "versions", "django", "--pre"]
    command += ["--python-version", NEXT, "--only-binary", ":all:"]
    listed = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    found = prerelease_in(listed.stdout)
    if listed.returncode:
        print("pip could not ask for a pre-release of Django.", file=sys.stderr)
    elif found is None:
        print("There is no pre-release of Django.", file=sys.stderr)
    return found


def main(wanted: list[str]) -> int:
    cells = [(python, django) for django, pythons in SUPPORTED.items() for python in pythons]
    coming = prerelease()
    if coming is not None:
        cells.append((NEXT, coming))
    if wanted == ["--list"]:
        listed = [
            {"python": python, "django": django, "requirement": requirement(django), "may_fail": django == coming}
            for python, django in cells
        ]
        print(json.dumps(listed))
        return 0
    for number in SIGNALS:
        signal.signal(number, interrupt)
    here = interpreters()
    names = [f"{python}-{django}" for python, django in cells]
    if unknown := set(wanted) - set(names):
        sys.exit(f"No such cell: {', '.join(sorted(unknown))}. There are: {' '.join(names)}")
    if wanted:
        cells = [cell for cell in cells if "-".join(cell) in wanted]
    databases = databases_of([cell for cell in cells if cell[0] in here])
    in_use = {name for names in databases.values() for name in names}
    dependencies = ["test"]
    if "mariadb" in in_use:
        dependencies.append("mariadb")
        subprocess.run(["script/bootstrap", "--mariadb"], cwd=ROOT, check=True)  # a driver is compiled in each cell

    rows: list[tuple[str, str, str, float]] = []
    groups: list[Group] = []
    wheels: dict[str, tuple[Path, Path]] = {}
    with ExitStack() as servers:
        urls = {name: servers.enter_context(SERVERS[name]()) or "" for name in SERVERS if name in in_use}
        for python_version, django in cells:
            if python_version not in here:
                rows.append((python_version, django, "no such interpreter here", 0))
                continue
            start = time.monotonic()
            of_these = databases[python_version, django]
            by_database = {database: Group(f"{python_version} {django} {database}") for database in of_these}
            of_cell = list(by_database.values())
            groups += of_cell
            heading(f"Python {python_version}, Django {django}")
            try:
                if python_version not in wheels:
                    wheels[python_version] = build_wheel(python_version, here[python_version])
                python = str(install(*wheels[python_version], python_version, django, *dependencies))
                for database, group in by_database.items():
                    began = time.monotonic()
                    run_python(group, ["-q", "-p", "no:cacheprovider"], python, DATABASE_URL=urls[database])
                    group.seconds = time.monotonic() - began
                settle(of_cell)
            except subprocess.CalledProcessError as error:
                of_cell[0].fail(f"making the environment: {error}")
            outcome = ", ".join(
                f"{database} {len(group.passed)} passed {len(group.failed)} failed {len(group.skipped)} skipped "
                f"in {group.seconds:.0f} s"
                for database, group in by_database.items()
            )
            rows.append((python_version, django, outcome, time.monotonic() - start))

    heading("Matrix")
    print("Python  Django  outcome")
    for python_version, django, outcome, seconds in rows:
        print(f"{python_version:6}  {django:6}  {outcome}" + (f", {seconds:.0f} s" if seconds else ""))
    for group in groups:
        for name in sorted(group.failed):
            print(f"    failed: {group.name}: {name}")
    passed, failed, _ = totals([group for group in groups if f" {coming} " not in group.name])
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
