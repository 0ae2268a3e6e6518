"""Runs the Python tests on MariaDB, a server of its own or that of DATABASE_URL; `script/test --mariadb` calls it.

python -m tests.mariadb                  runs all with mysqlclient, and those listed below with PyMySQL too
python -m tests.mariadb [pytest args]    runs some, with both drivers: tests/python -k name
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.run import SIGNALS, Group, ServerError, heading, interrupt, run_python, summary, uninterrupted

if TYPE_CHECKING:
    from collections.abc import Iterator

# Where a driver has a say: keys on their way to the database, values on their way back, cursors, errors.
DRIVERS_OWN = ["hydrating", "streaming", "relations/test_foreign_key.py", "test_databases.py", "test_equal_keys.py"]
DRIVERS_OWN += ["test_failing_queries.py", "test_key_columns.py", "test_odd_keys.py", "test_random_workloads.py"]


@contextmanager
def mariadb() -> Iterator[str]:
    """The URL of the user's server, or else of one that listens on a socket only and lets everybody in."""
    if (url := os.environ.get("DATABASE_URL", "")).startswith("mysql:"):
        yield url
        return
    # Outside the repository, because a socket's path has at most 107 characters.
    directory = Path(tempfile.mkdtemp(prefix="memoized-prefetch-"))
    data, socket, log = directory / "data", directory / "socket", directory / "log"
    common = ["--no-defaults", f"--datadir={data}"]
    if os.geteuid() == 0:
        common.append("--user=root")
    server: subprocess.Popen[bytes] | None = None
    try:
        with log.open("w") as output, uninterrupted():
            install = [program("mariadb-install-db"), *common, "--auth-root-authentication-method=normal"]
            subprocess.run([*install, "--skip-test-db"], stdout=output, stderr=output, check=True)
            # Debian sets and Django advises this character set; the collation is its default.
            options = ["--skip-networking", "--skip-grant-tables", "--character-set-server=utf8mb4"]
            options += ["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--innodb-flush-method=nosync"]
            options.append(f"--socket={socket}")
            # In its own session, so that Ctrl-C in a terminal reaches the tests only.
            server = subprocess.Popen(
                [program("mariadbd"), *common, *options], stdout=output, stderr=output, start_new_session=True
            )
        deadline = time.monotonic() + 60
        while "ready for connections" not in log.read_text(errors="replace"):
            if server.poll() is not None or time.monotonic() > deadline:
                raise ServerError(f"MariaDB did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
        yield f"mysql://root@/tests?host={socket}"
    except subprocess.CalledProcessError as error:
        raise ServerError(f"MariaDB was not set up:\n{log.read_text(errors='replace')[-2000:]}") from error
    finally:
        with uninterrupted():
            if server is not None:
                stop(server)
            shutil.rmtree(directory, ignore_errors=True)


def with_pymysql(url: str) -> str:
    """The URL by which the tests' settings choose that driver."""
    return url.replace("mysql:", "mysql+pymysql:", 1)


def program(name: str) -> str:
    """The path of a program. Debian installs the server where only root looks."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if found is None:
        raise ServerError(f"there is no {name}: script/bootstrap --mariadb installs it")
    return found


def stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(timeout=30)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def main(arguments: list[str]) -> int:
    for number in SIGNALS:
        signal.signal(number, interrupt)
    groups: list[Group] = []
    interrupted = False

    def run(name: str, tests: list[str], url: str) -> None:
        heading(name)
        groups.append(Group(name))
        start = time.monotonic()
        try:
            run_python(groups[-1], tests, DATABASE_URL=url)
        finally:
            groups[-1].seconds = time.monotonic() - start

    try:
        with mariadb() as url:
            run("MariaDB by mysqlclient", arguments, url)
            run("MariaDB by PyMySQL", arguments or [f"tests/python/{one}" for one in DRIVERS_OWN], with_pymysql(url))
    except ServerError as error:
        groups.append(Group("MariaDB"))
        groups[-1].fail(str(error))
    except KeyboardInterrupt:
        interrupted = True
        groups = groups or [Group("MariaDB")]
        groups[-1].fail("interrupted")
    code = summary(groups)
    return 130 if interrupted else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
