"""One run of a project's tests in one mode, and its problems."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.django_suites import results
from tests.django_suites.expected import Difference
from tests.django_suites.results import FAILED, Outcome
from tests.django_suites.runs import Run, run_child
from tests.django_suites.source import installed
from tests.django_suites.suites import ROW_MODES, STOCK
from tests.third_party_suites.environments import HOME, environment, fingerprint, tree
from tests.third_party_suites.expected import differences
from tests.third_party_suites.projects import Project


@dataclass
class ProjectRun(Run):
    """listed: The intended differences from Django, by test."""

    listed: dict[str, Difference] = field(default_factory=dict)

    @property
    def _differences(self) -> dict[str, Any]:
        return self.listed

    def judge_use(self) -> None:
        """Adds a problem if this package was never used in Django's place."""
        native = self.counts["native"]
        if not (native if self.mode in ROW_MODES else sum(native.values())):
            self.problems.append("nothing was done natively")

    @property
    def failed(self) -> int:
        return _failed(self.outcomes)

    @property
    def failed_stock(self) -> int:
        return _failed(self.stock.values())

    @property
    def different(self) -> int:
        """How many tests do not end as with Django alone, including the listed ones."""
        now = {outcome.test: outcome for outcome in self.outcomes}
        tests = self.stock.keys() | now.keys()
        return sum(_end(now.get(test)) != _end(self.stock.get(test)) for test in tests)


def _failed(outcomes: Iterable[Outcome]) -> int:
    return sum(outcome.outcome == FAILED for outcome in outcomes)


def _end(outcome: Outcome | None) -> object:
    return outcome and (outcome.outcome, outcome.permitted)


class Suite:
    """A project's tests, ready to be run."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._python = environment(project)
        self._tree = tree(project)
        self._home = HOME / project.name
        self._kept = self._home / f"{STOCK}-{fingerprint(project, self._python)}.jsonl"
        self._django = installed(self._python).django

    def stock(self) -> dict[str, Outcome]:
        """The outcomes with Django alone. It runs the tests once and keeps them."""
        if not self._kept.exists():
            outcomes, _, _ = self._run(STOCK)
            if not outcomes:
                sys.exit(f"{self._project.name} has no tests; {self._home / STOCK}.log may say why.")
            results.write(self._kept, outcomes)
        return {outcome.test: outcome for outcome in results.read(self._kept)[0]}

    def run(self, mode: str) -> ProjectRun:
        stock = self.stock()
        outcomes, counts, seconds = self._run(mode)
        listed = differences(self._project.name, mode)
        done = ProjectRun(mode, self._django, outcomes, stock, counts, seconds, listed=listed)
        done.judge(whole=False)
        if self._project.natively or mode in ROW_MODES:
            done.judge_use()
        return done

    def _run(self, mode: str) -> tuple[list[Outcome], dict[str, Any], float]:
        child = [self._python, "-P", "-m", "tests.third_party_suites.child"]
        # In a copy, so that the next run does not find files that this one leaves, such as uploads.
        with tempfile.TemporaryDirectory(dir=self._home) as scratch:
            copied = shutil.copytree(self._tree, Path(scratch) / "tree")
            return run_child(child, mode, [self._project.name], copied, self._home / mode)
