"""
Runs Django's runtests.py in this process. `runs.py` starts it in the directory of Django's tests.

    python -m tests.django_suites.child MODE REPORT SUITE...
"""

from __future__ import annotations

import runpy
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable

import django

from tests.django_suites.expected import Difference, differences
from tests.django_suites.results import Recorder, record
from tests.django_suites.suites import COMPARE, ROW_MODES, STOCK


def main(mode: str, report: str, *suites: str) -> None:
    with Path(report).open("w") as file:
        recorder = Recorder(file)
        version = ".".join(map(str, django.VERSION[:2]))
        counts = take_over(mode, recorder, differences(mode, version))
        record(recorder)
        sys.argv = ["runtests.py", "--settings=test_sqlite", "--parallel=1", *suites]
        # The outcomes say more precisely than the exit code which tests failed.
        with suppress(SystemExit):
            runpy.run_path("runtests.py", run_name="__main__")
        recorder.end(counts())


def take_over(mode: str, recorder: Recorder, listed: dict[str, Difference]) -> Callable[[], dict[str, Any]]:
    """
    Puts the package in Django's place. Returns a function that tells how often it was used.

    Args:
        listed: The intended differences from Django, by test.
    """
    if mode == STOCK:
        return dict
    # Import this before any test module, because they may bind what is replaced.
    if mode in ROW_MODES:
        from tests.django_suites.hydrated import hydrate_everything

        return hydrate_everything(compare=mode == COMPARE).as_dict
    from tests.django_suites.prefetched import many_to_many, prefetch_everything
    from tests.django_suites.queries import judge_queries

    counted = prefetch_everything(mode)
    judge_queries(recorder, listed, lambda: many_to_many(counted))
    return counted.as_dict


if __name__ == "__main__":
    main(*sys.argv[1:])
