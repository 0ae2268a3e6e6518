"""
Runs the test suites of other projects through this package; `make third-party-suites` calls it.

    python -m tests.third_party_suites                              every project: hydrate, fresh and warm
    python -m tests.third_party_suites fresh one django-taggit      these
    python -m tests.third_party_suites --self-check                 attaches nothing, and fails unless that is noticed
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator

from tests.django_suites.suites import FRESH, HYDRATE, MODES, WARM
from tests.run import heading
from tests.third_party_suites.projects import BROKEN, PROJECTS, Project
from tests.third_party_suites.runs import ProjectRun, Suite

DEFAULT_MODES = (HYDRATE, FRESH, WARM)
# The project for the self-check.
QUICKEST = "django-sortedm2m"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.third_party_suites", description=__doc__.split("\n\n")[0].strip()
    )
    parser.add_argument(
        "what",
        nargs="*",
        help=f"projects (all, when there are none) and modes ({', '.join(DEFAULT_MODES)}) of {', '.join(MODES)}",
    )
    parser.add_argument("--self-check", action="store_true", help="nothing is attached: the tests have to fail")
    options = parser.parse_args(arguments)
    names = [project.name for project in PROJECTS]
    if unknown := set(options.what) - {*MODES, *names}:
        parser.error(f"no such project or mode: {', '.join(sorted(unknown))}")
    chosen = [one for one in PROJECTS if one.name in options.what]
    if options.self_check:
        return self_check(chosen or [one for one in PROJECTS if one.name == QUICKEST])
    modes = [mode for mode in MODES if mode in options.what] or list(DEFAULT_MODES)

    runs: list[tuple[Project, ProjectRun]] = []
    ended = [why for project in chosen or PROJECTS if (why := add_runs(runs, project, modes))]
    print_table(runs)
    print("\n".join(ended), end="\n" if ended else "")
    return 1 if ended or any(run.problems for _, run in runs) else 0


def self_check(projects: list[Project]) -> int:
    """Checks that each project's tests notice that nothing is attached. Returns the exit code."""
    runs = [(project, run) for project in projects for run in runs_of(project, [BROKEN])]
    print_table(runs)
    unnoticed = [project.name for project, run in runs if run.failed <= run.failed_stock]
    print(f"Not noticed by {', '.join(unnoticed)}." if unnoticed else "Noticed, as it has to be.")
    return 1 if unnoticed else 0


def add_runs(runs: list[tuple[Project, ProjectRun]], project: Project, modes: list[str]) -> str | None:
    """Adds the runs of a project, or says why one of them failed, so that the other projects still run."""
    try:
        runs.extend((project, run) for run in runs_of(project, modes))
    except (subprocess.CalledProcessError, SystemExit) as error:
        return f"{project.name}: {error}"
    return None


def runs_of(project: Project, modes: list[str]) -> Iterator[ProjectRun]:
    heading(f"{project.name} {project.version}")
    suite = Suite(project)
    for mode in modes:
        run = suite.run(mode)
        print("\n".join(run.report()), flush=True)
        yield run


def print_table(runs: list[tuple[Project, ProjectRun]]) -> None:
    """Prints a line for each run. The tests that fail only with this package were named above."""
    heading("Suites of other projects")
    print(f"{'project':29} Django  mode      tests  failed by Django  failed by this  different  unexpected  seconds")
    for project, run in runs:
        print(
            f"{project.name + ' ' + project.version:29} {run.django:7} {run.mode:8} {len(run.outcomes):6} "
            f"{run.failed_stock:17} {run.failed:15} {run.different:10} {len(run.problems):11} {run.seconds:8.0f}"
        )


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        sys.exit(130)
