"""The outcome of each test of a run. The process that runs the tests writes lines, and its parent reads them."""

from __future__ import annotations

import json
import os
import unittest
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

OK, FAILED, SKIPPED = "ok", "failed", "skipped"


@dataclass
class Outcome:
    """
    The outcome of one test.

    text: Why it failed.
    permitted: It passed only because `expected.py` lists a difference for it.
    """

    test: str
    outcome: str
    text: str = ""
    permitted: bool = False

    @property
    def suite(self) -> str:
        # For setUpClass, unittest gives "setUpClass (suite.tests.Class)".
        return self.test.rpartition("(")[2].partition(".")[0]


class Recorder:
    """Writes each outcome to a file immediately, so that a crash loses none."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.current: Outcome | None = None

    def start(self, test: str) -> None:
        self.current = Outcome(test, OK)
        self._write({"started": test})

    def fail(self, test: str, text: str) -> None:
        if self.current is not None and self.current.test == test:
            self.current.outcome = FAILED
            self.current.text += text
        else:
            self._write(asdict(Outcome(test, FAILED, text)))

    def skip(self, test: str) -> None:
        if self.current is not None and self.current.test == test:
            self.current.outcome = SKIPPED
        else:
            self._write(asdict(Outcome(test, SKIPPED)))

    def stop(self) -> None:
        if self.current is not None:
            self._write(asdict(self.current))
        self.current = None

    def end(self, counts: dict[str, Any]) -> None:
        self._write({"counts": counts})

    def _write(self, what: dict[str, Any]) -> None:
        self._file.write(json.dumps(what) + "\n")
        self._file.flush()


def read(path: Path) -> tuple[list[Outcome], dict[str, Any] | None]:
    """The outcomes in a file, and what was counted, or None if the run did not finish."""
    outcomes: dict[str, Outcome] = {}
    counts = None
    started = None
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        if "counts" in entry:
            counts = entry["counts"]
        elif "started" in entry:
            started = entry["started"]
        else:
            outcome = Outcome(**entry)
            outcomes[outcome.test] = outcome
    if started is not None and started not in outcomes:
        outcomes[started] = Outcome(started, FAILED, "The process ended in this test.")
    return list(outcomes.values()), counts


def write(path: Path, outcomes: list[Outcome]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(asdict(outcome)) for outcome in outcomes] + [json.dumps({"counts": {}})]
    # Renamed when it is complete, because another process may read it.
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_text("\n".join(lines) + "\n")
    unfinished.replace(path)


def record(recorder: Recorder) -> None:
    """Makes every TextTestRunner report to the recorder from now on."""

    class Recorded(unittest.TextTestResult):
        def startTest(self, test: Any) -> None:  # noqa: N802
            recorder.start(test.id())
            super().startTest(test)

        def stopTest(self, test: Any) -> None:  # noqa: N802
            super().stopTest(test)
            recorder.stop()

        def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
            super().addSkip(test, reason)
            recorder.skip(test.id())

        def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
            super().addFailure(test, err)
            recorder.fail(test.id(), self.failures[-1][1])

        def addError(self, test: Any, err: Any) -> None:  # noqa: N802
            super().addError(test, err)
            recorder.fail(test.id(), self.errors[-1][1])

        def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
            super().addSubTest(test, subtest, err)
            if err is not None:
                failed = self.failures if issubclass(err[0], test.failureException) else self.errors
                recorder.fail(test.id(), failed[-1][1])

        def addUnexpectedSuccess(self, test: Any) -> None:  # noqa: N802
            super().addUnexpectedSuccess(test)
            recorder.fail(test.id(), "unexpected success")

    unittest.TextTestRunner.resultclass = Recorded  # type: ignore[assignment]
