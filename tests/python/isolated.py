"""Tests in a Python of their own: what they count is theirs alone, and a crash ends nothing but themselves."""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tests.python.databases import on_one_database

ROOT = Path(__file__).resolve().parents[2]
PASSED = "passed:"

Test = TypeVar("Test", bound=Callable[..., Any])


def isolated(in_file: bool = False, **environment: str) -> Callable[[Test], Test]:
    """
    Runs the test in a child process, on the workshop in an SQLite database.

    Args:
        in_file: The database is a file, so that other threads and processes see it; else it is in memory.
        environment: For the child, where the variable is not set yet.
    """

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def run(**arguments: Any) -> None:
            command = [sys.executable, "-X", "faulthandler", "-m", "tests.python.isolated"]
            command += [test.__module__, test.__qualname__, json.dumps(arguments)]
            path = os.pathsep.join(path for path in sys.path if path)
            with tempfile.TemporaryDirectory() as directory:
                file = {"SQLITE_FILE": os.path.join(directory, "workshop.sqlite3")} if in_file else {}
                done = subprocess.run(
                    command,
                    cwd=ROOT,
                    env={**environment, **os.environ, **file, "PYTHONPATH": path},
                    capture_output=True,
                    text=True,
                    timeout=300,
                )
            output = f"{done.stdout[-2000:]}{done.stderr[-6000:]}"
            assert done.returncode >= 0, f"the child died of signal {-done.returncode}:\n{output}"
            assert done.returncode == 0, f"the child failed:\n{output}"
            result = done.stdout.rstrip().rpartition("\n")[2]
            assert result.startswith(PASSED), f"the child ended early:\n{output}"
            print(result)

        return on_one_database(run)  # type: ignore[no-any-return]

    return decorate


def main(module: str, name: str, arguments: str) -> None:
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.python.child_settings"
    django.setup()
    from django.apps import apps
    from django.db import connection

    with connection.schema_editor() as editor:
        for model in (*apps.get_app_config("contenttypes").get_models(), *apps.get_app_config("workshop").get_models()):
            editor.create_model(model)
    from tests.python.workshop.rows import fill_workshop

    fill_workshop()
    test = getattr(importlib.import_module(module), name).__wrapped__
    gc.collect()
    gc.freeze()  # what tests have collected is their own
    print(PASSED, test(**json.loads(arguments)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
