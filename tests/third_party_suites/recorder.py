"""A pytest plugin that records the outcome of each test."""

from __future__ import annotations

from typing import Any

from tests.django_suites.results import Recorder


class RecorderPlugin:
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._recorder.start(dotted(nodeid))

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self._recorder.fail(dotted(report.nodeid), report.longreprtext)
        elif report.skipped:
            self._recorder.skip(dotted(report.nodeid))

    def pytest_runtest_logfinish(self) -> None:
        self._recorder.stop()

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self._recorder.fail(dotted(report.nodeid), report.longreprtext)


def dotted(nodeid: str) -> str:
    """Turns directory/module.py::Class::test into a name as unittest gives it."""
    path, *inside = nodeid.split("::")
    return ".".join([path.removesuffix(".py").replace("/", "."), *inside])
