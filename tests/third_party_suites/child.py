"""
Runs the tests of a project in this process. `runs.py` starts it in the project's tree.

    python -P -m tests.third_party_suites.child MODE REPORT PROJECT
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.django_suites.child import take_over
from tests.django_suites.results import Recorder, record
from tests.django_suites.suites import FRESH
from tests.third_party_suites.expected import differences
from tests.third_party_suites.projects import BROKEN, PROJECTS, Project
from tests.third_party_suites.recorder import RecorderPlugin

SETTINGS = Path(__file__).resolve().parent / "settings"


def main(mode: str, report: str, name: str) -> None:
    (project,) = (one for one in PROJECTS if one.name == name)
    with Path(report).open("w") as file:
        recorder = Recorder(file)
        if mode == BROKEN:
            # Not at the top of the module: the run with Django alone must not even import this package.
            from tests.third_party_suites.broken import attach_nothing

            attach_nothing()
            mode = FRESH
        counts = take_over(mode, recorder, differences(project.name, mode))
        record(recorder)
        step_aside(project)
        # The outcomes say more precisely than the exit code which tests failed.
        with suppress(SystemExit):
            start(project.start, recorder)
        recorder.end(counts())


def step_aside(project: Project) -> None:
    """Makes room for the project's modules. One of them may be called `tests`."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    ours = os.environ.pop("PYTHONPATH").split(os.pathsep)
    sys.path[:] = [path for path in sys.path if path not in ours]
    sys.path[:0] = [*(str(Path(path).resolve()) for path in project.paths), str(SETTINGS)]
    os.environ.update(project.environment)
    if project.settings:
        os.environ["DJANGO_SETTINGS_MODULE"] = project.settings


def start(command: Sequence[str], recorder: Recorder) -> None:
    from django.contrib.auth.hashers import PBKDF2PasswordHasher

    # Two of the projects would spend most of their time hashing passwords.
    PBKDF2PasswordHasher.iterations = 1
    program, *arguments = command
    sys.argv = list(command)
    if program == "pytest":
        import pytest

        pytest.main(["-p", "no:cacheprovider", *arguments], plugins=[RecorderPlugin(recorder)])
    elif program == "django-admin":
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
    else:
        runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
