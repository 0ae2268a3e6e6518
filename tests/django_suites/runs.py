"""One run of suites in one mode, and its problems."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.django_suites import results
from tests.django_suites.expected import OTHER, differences
from tests.django_suites.kinds import NATIVE_AT_LEAST
from tests.django_suites.results import FAILED, SKIPPED, Outcome
from tests.django_suites.source import KEPT, ROOT, installed, tests_of
from tests.django_suites.suites import ROW_MODES, STOCK, WARM

# How many of the tests that did not run are named.
SHOWN = 5


@dataclass
class Run:
    """
    The results of suites in one mode.

    problems: What has to be fixed. Only these make a run fail.
    """

    mode: str
    django: str
    outcomes: list[Outcome]
    stock: dict[str, Outcome]
    counts: dict[str, Any]
    seconds: float
    problems: list[str] = field(default_factory=list)

    @property
    def version(self) -> str:
        return ".".join(self.django.split(".")[:2])

    def report(self) -> list[str]:
        lines = [f"Django {self.django}, {self.mode}: {self.seconds:.0f} s"]
        run, failed, different, skipped = (Counter[str]() for _ in range(4))
        for outcome in self.outcomes:
            run[outcome.suite] += 1
            skipped[outcome.suite] += outcome.outcome == SKIPPED
            stock_fails = self.stock.get(outcome.test, outcome).outcome == FAILED
            listed = outcome.permitted or (outcome.test in self._differences and outcome.outcome == FAILED)
            different[outcome.suite] += listed
            failed[outcome.suite] += outcome.outcome == FAILED and not stock_fails and not listed
        lines += [
            f"  {suite:26} {run[suite]:5} run, {skipped[suite]:3} skipped, {failed[suite]:3} failed, "
            f"{different[suite]:3} with a listed difference"
            for suite in sorted(run)
        ]
        return [*lines, *_count_lines(self.mode, self.counts), *(f"  PROBLEM {problem}" for problem in self.problems)]

    @property
    def _differences(self) -> dict[str, Any]:
        return differences(self.mode, self.version)

    def judge(self, whole: bool) -> None:
        """
        Finds the problems.

        Args:
            whole: All suites of the mode ran, so there are enough lookups to judge shares.
        """
        outcomes = {outcome.test: outcome for outcome in self.outcomes}
        suites = {outcome.suite for outcome in self.stock.values()}
        listed = {test: one for test, one in self._differences.items() if test.partition(".")[0] in suites}
        missing = sorted(set(self.stock) - set(outcomes))
        self.problems += [f"{test} did not run" for test in missing[:SHOWN]]
        if len(missing) > SHOWN:
            self.problems.append(f"{len(missing) - SHOWN} more tests did not run")
        for test, before in self.stock.items():
            now = outcomes.get(test)
            if now is None:
                continue
            if now.outcome == FAILED and before.outcome != FAILED:
                if test not in listed or listed[test].queries != OTHER:
                    self.problems.append(f"{test} fails: {_raised(now.text)}")
            elif (now.outcome == SKIPPED) != (before.outcome == SKIPPED):
                self.problems.append(f"{test} is {now.outcome}, under Django {before.outcome}")
        for test in sorted(set(outcomes) - set(self.stock)):
            self.problems.append(f"{test} is not among Django's tests: {_raised(outcomes[test].text)}")
        for test, difference in listed.items():
            if test not in self.stock:
                self.problems.append(f"{test} is listed, but there is no such test")
            elif test in outcomes and not outcomes[test].permitted and outcomes[test].outcome != FAILED:
                self.problems.append(f"{test} passes as under Django and must leave the list ({difference.reason})")
        if whole and self.mode in ROW_MODES:
            self._judge_share("rows", self.counts["native"], sum(self.counts["django"].values()), 95)
        elif whole:
            if self.mode == WARM and not self.counts["compared"]:
                self.problems.append("nothing was compared")
            for kind, percent in NATIVE_AT_LEAST.items():
                native = self.counts["native"].get(kind, 0)
                self._judge_share(kind, native, sum(self.counts["django"].get(kind, {}).values()), percent)

    def _judge_share(self, what: str, native: int, django: int, percent: int) -> None:
        if native * 100 < percent * (native + django) or not native:
            self.problems.append(
                f"{what}: {native} natively, {django} by Django; at least {percent} % should be native"
            )


def run(python: str, mode: str, suites: list[str]) -> Run:
    """Runs the suites, after running those with Django alone whose results are not known yet."""
    there = installed(python)
    tests = tests_of(there.django, python)
    kept = KEPT / f"stock-{there.django}-{there.python}-{there.packages}"
    if unknown := [suite for suite in suites if not (kept / f"{suite}.jsonl").exists()]:
        outcomes, _, _ = _run_child(python, tests, STOCK, unknown)
        for suite in unknown:
            results.write(kept / f"{suite}.jsonl", [outcome for outcome in outcomes if outcome.suite == suite])
    stock = {outcome.test: outcome for suite in suites for outcome in results.read(kept / f"{suite}.jsonl")[0]}
    outcomes, counts, seconds = _run_child(python, tests, mode, suites)
    return Run(mode, there.django, outcomes, stock, counts, seconds)


def _run_child(python: str, tests: Path, mode: str, suites: list[str]) -> tuple[list[Outcome], dict[str, Any], float]:
    child = [python, "-m", "tests.django_suites.child"]
    return run_child(child, mode, suites, tests, KEPT / f"{tests.parent.name}-{mode}")


def run_child(
    child: list[str], mode: str, arguments: list[str], directory: Path, kept: Path
) -> tuple[list[Outcome], dict[str, Any], float]:
    """
    Runs a process. Returns the outcomes that it writes, what it counted, and its seconds.

    Args:
        child: The command. It gets the mode, the path of its report, and the arguments.
        directory: The working directory of the command.
        kept: The path, without suffix, at which the report and the log of the latest run are kept.
    """
    report = kept.with_name(f"{kept.name}-{os.getpid()}.jsonl")
    log = report.with_suffix(".log")
    start = time.monotonic()
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    # The tests bring their own settings.
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    command = [*child, mode, str(report), *arguments]
    with log.open("w") as output:
        done = subprocess.run(
            command, cwd=directory, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    outcomes, counts = results.read(report) if report.exists() else ([], None)
    # The files of the latest run are kept, because they say more than is printed.
    log = log.replace(kept.with_name(f"{kept.name}.log"))
    if report.exists():
        report.replace(kept.with_name(f"{kept.name}.jsonl"))
    if counts is None:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        print(f"The run of the tests in mode {mode} ended with {done.returncode}:\n{tail}", flush=True)
        if mode == STOCK:
            raise SystemExit(1)
    return outcomes, counts or _nothing(mode), time.monotonic() - start


def _nothing(mode: str) -> dict[str, Any]:
    return {"native": 0 if mode in ROW_MODES else {}, "django": {}, "related_by_django": {}, "compared": 0}


def _raised(text: str) -> str:
    """The line that says what was raised, without the queries that assertNumQueries lists after it."""
    lines = [line for line in text.splitlines() if line.strip()]
    raised = [line for line in lines if re.match(r"[\w.]*[A-Z]\w+: ", line)]
    return (raised or lines or [""])[-1][:300]


def _count_lines(mode: str, counts: dict[str, Any]) -> list[str]:
    if mode in ROW_MODES:
        by_kind = {"rows": (counts["native"], counts["django"]), "related": (0, counts["related_by_django"])}
    else:
        kinds = sorted({*counts["native"], *counts["django"]})
        by_kind = {kind: (counts["native"].get(kind, 0), counts["django"].get(kind, {})) for kind in kinds}
    lines = [f"  {counts['compared']} calls repeated and compared with Django"] if mode == WARM else []
    for kind, (native, reasons) in by_kind.items():
        lines.append(f"  {kind}: {native} natively, {sum(reasons.values())} by Django")
        lines += [f"      {count} {reason}" for reason, count in sorted(reasons.items(), key=lambda item: -item[1])]
    return lines
