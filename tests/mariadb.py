"""Runs Python tests on a MariaDB server started for them, or that of DATABASE_URL; `make test-mariadb` calls it.

python -m tests.mariadb                  runs the tests listed below
python -m tests.mariadb [pytest args]    runs others: tests/python/test_memoized.py -k name
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

TESTS = ["tests/python/test_equal_keys.py", "tests/python/test_key_columns.py"]
TESTS += ["tests/python/relations/test_foreign_key.py"]
TESTS += ["tests/python/hydrating/test_conversions.py", "tests/python/hydrating/test_querysets.py"]
# It stores "NULL" and "null" in a unique column; MariaDB takes them for one value.
TESTS += ["--deselect", "tests/python/test_key_columns.py::test_values_find_themselves[text]"]


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
            options += ["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", f"--socket={socket}"]
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
    group = Group("Python on MariaDB")
    heading(group.name)
    start = time.monotonic()
    interrupted = False
    try:
        with mariadb() as url:
            run_python(group, arguments or TESTS, DATABASE_URL=url)
    except ServerError as error:
        group.fail(str(error))
    except KeyboardInterrupt:
        interrupted = True
        group.fail("interrupted")
    group.seconds = time.monotonic() - start
    code = summary([group])
    return 130 if interrupted else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
