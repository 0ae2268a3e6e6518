"""
Runs Django's own test suites through this package; `make django-suites` calls it.

    python -m tests.django_suites                                   every version, mode and suite
    python -m tests.django_suites 6.1 hydrate fresh prefetch_related    these
    python -m tests.django_suites --python .venv/bin/python hydrate     with this interpreter, as it is
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from tests.django_suites.runs import Run, run
from tests.django_suites.source import installed
from tests.django_suites.suites import MODES, SUITES, suites_of
from tests.matrix import SUPPORTED, build_wheel, install, interpreters
from tests.run import heading


def environments(versions: list[str]) -> dict[str, str]:
    """An interpreter with the current package for each Django: the newest for the newest, the oldest for all others."""
    here = interpreters()
    wheels: dict[str, tuple[Path, Path]] = {}
    found: dict[str, str] = {}
    for position, version in enumerate(SUPPORTED):
        if version not in versions:
            continue
        pythons = [python for python in SUPPORTED[version] if python in here]
        if not pythons:
            sys.exit(f"There is no Python here for Django {version}; it needs one of {', '.join(SUPPORTED[version])}.")
        python = pythons[0 if position < len(SUPPORTED) - 1 else -1]
        if python not in wheels:
            heading(f"Building for Python {python}")
            wheels[python] = build_wheel(python, here[python])
        found[version] = str(install(*wheels[python], python, version))
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.django_suites", description=__doc__.split("\n\n")[0].strip())
    parser.add_argument("what", nargs="*", help="versions of Django, modes and suites; all, when there are none")
    parser.add_argument("--python", help="an interpreter that has the package and Django; no environment is made")
    options = parser.parse_args(arguments)
    suites = sorted(set().union(*SUITES.values()))
    if unknown := set(options.what) - {*SUPPORTED, *MODES, *suites}:
        parser.error(f"no such version, mode or suite: {', '.join(sorted(unknown))}")
    versions = [version for version in SUPPORTED if version in options.what] or list(SUPPORTED)
    modes = [mode for mode in MODES if mode in options.what] or list(MODES)
    wanted = [suite for suite in suites if suite in options.what]
    if options.python:
        # Not resolved: Python finds a virtual environment by the link to the interpreter.
        python = str(Path(options.python).absolute())
        pythons = {installed(python).version: python}
    else:
        pythons = environments(versions)

    runs: list[Run] = []
    for version, python in pythons.items():
        for mode in modes:
            chosen = suites_of(mode, wanted, version)
            if not chosen:
                continue
            done = run(python, mode, chosen)
            done.judge(whole=not wanted)
            print("\n".join(["", *done.report()]), flush=True)
            runs.append(done)

    heading("Django's suites")
    for one in runs:
        outcome = f"{len(one.problems)} problems" if one.problems else "as under Django"
        print(f"{one.django:8} {one.mode:8} {len(one.outcomes):5} tests, {outcome}")
    return 0 if runs and not any(one.problems for one in runs) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        sys.exit(130)
