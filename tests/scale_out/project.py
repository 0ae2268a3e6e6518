"""A Django project with the page's own code, its books, and what is checked of an export."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "scale-out.md"
BOOKS, AUTHORS, PUBLISHERS, PARTS = 20_000, 2_000, 20, 64
SECONDS = 120


def code_of(page: Path = PAGE) -> dict[str, dict[str, str]]:
    """By heading, the files that the page shows."""
    _, *parts = re.split(r"^## (.*)\n", page.read_text(), flags=re.MULTILINE)
    return {
        heading: dict(re.findall(r"`(shop/\w+\.py)`[^\n]*:\n\n```python\n(.*?)^```$", body, re.DOTALL | re.MULTILINE))
        for heading, body in zip(parts[::2], parts[1::2])
    }


@dataclass
class Project:
    """
    The project in a directory of its own, as one engine needs it.

    Args:
        directory: Where it is made.
        heading: Of the engine's recipe.
        python: The interpreter with the engine.
        replaced: Texts of the recipe that are different here, such as the port of a server.
        page: How long each page of books takes, in seconds.
    """

    directory: Path
    heading: str
    python: str = sys.executable
    replaced: dict[str, str] = field(default_factory=dict)
    page: float = 0.1

    def make(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        shop = self.directory / "shop"
        shutil.copytree(Path(__file__).parent / "shop", shop, ignore=shutil.ignore_patterns("__pycache__"))
        code = code_of()
        for name, text in {**code["One part"], **code[self.heading]}.items():
            for here, there in self.replaced.items():
                text = text.replace(here, there)
            file = self.directory / name
            file.write_text(f"{file.read_text()}\n\n{text}" if file.exists() else text)
        self.run(
            "import django; django.setup()\n"
            "from django.core.management import call_command\n"
            "call_command('migrate', run_syncdb=True, verbosity=0)"
        )
        with sqlite3.connect(self.database) as database:
            database.executemany(
                "INSERT INTO shop_author VALUES (?, ?)", [(key, f"author {key}") for key in range(1, AUTHORS + 1)]
            )
            database.executemany(
                "INSERT INTO shop_publisher VALUES (?, ?)",
                [(key, f"publisher {key}") for key in range(1, PUBLISHERS + 1)],
            )
            # With gaps: in equal steps between the keys, one part would have nearly all books.
            database.executemany("INSERT INTO shop_book VALUES (?, ?, ?, ?, ?)", list(books()))
        database.close()

    @property
    def database(self) -> Path:
        return self.directory / "shop.sqlite3"

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            "PYTHONPATH": str(self.directory),
            "SHOP_DATABASE": str(self.database),
            "SHOP_LOG": str(self.log),
            "SHOP_PAGE": str(self.page),
        }

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Starts a program of the project's environment in the project, with its output in a file."""
        return self._start([str(Path(self.python).with_name(command[0])), *command[1:]], None)

    def driver(self, code: str) -> subprocess.Popen[str]:
        """Starts Python code in the project. What it prints is for the caller."""
        return self._start([self.python, "-c", code], subprocess.PIPE)

    def _start(self, command: list[str], stdout: int | None) -> subprocess.Popen[str]:
        with (self.directory / "output").open("a") as output:
            return subprocess.Popen(
                command,
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output if stdout is None else stdout,
                stderr=output,
                text=True,
                start_new_session=True,
            )

    def run(self, code: str) -> str:
        """What Python code prints in the project."""
        return self.result(self.driver(code))

    def result(self, driver: subprocess.Popen[str]) -> str:
        try:
            output, _ = driver.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            driver.kill()
            raise AssertionError(f"still running after {SECONDS} s\n{self.said()}") from None
        assert driver.returncode == 0, f"exit code {driver.returncode}\n{output[-1000:]}\n{self.said()}"
        return output

    def said(self) -> str:
        output = self.directory / "output"
        return output.read_text(errors="replace")[-4000:] if output.exists() else ""

    # --- what became of a run

    def begun(self, run: str) -> list[tuple[int, str]]:
        """(process, part) for each time that a part was begun, in order."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [(int(process), name.partition(".")[0]) for process, name in map(str.split, lines) if is_of(name, run)]

    def complete(self, run: str) -> list[Path]:
        return sorted(path for path in (self.directory / "export").glob("*.csv") if is_of(path.name, run))

    def wait(self, what: str, until: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + SECONDS
        while not (found := until()):
            assert time.monotonic() < deadline, f"{what}: not after {SECONDS} s\n{self.said()}"
            time.sleep(0.005)
        return found

    def wait_for_idleness(self, run: str, expected: int) -> None:
        """Waits until so many parts are complete, or none has become so for ten seconds."""
        number, since = len(self.complete(run)), time.monotonic()
        while number < expected and time.monotonic() < since + 10:
            time.sleep(0.02)
            if (now := len(self.complete(run))) != number:
                number, since = now, time.monotonic()

    def check_output(self, run: str) -> None:
        """The files of the run have the rows that Django gives, each once, in the order of the keys."""
        files = self.complete(run)
        assert len(files) == PARTS, f"{len(files)} of {PARTS} parts\n{self.said()}"
        rows = [row for file in files for row in csv.reader(file.open(newline=""))]
        assert rows == self.djangos_output

    @cached_property
    def djangos_output(self) -> list[list[str]]:
        """The rows of the whole table as Django alone reads them."""
        output = self.run(
            "import django, json; django.setup()\n"
            "from shop.models import Book\n"
            "books = Book.objects.filter(price__gt=0).order_by('pk').prefetch_related('author', 'publisher')\n"
            "print(json.dumps([[str(book.pk), book.title, book.author.name, book.publisher.name]"
            " for book in books.iterator(chunk_size=500)]))"
        )
        rows: list[list[str]] = json.loads(output)
        assert len(rows) == sum(price > 0 for _, _, price, _, _ in books())
        return rows

    def check_begun(self, run: str, again: set[str]) -> None:
        """Every part was begun once, but for these, which were interrupted."""
        counts = Counter(name for _, name in self.begun(run))
        assert len(counts) == PARTS
        assert {name for name, count in counts.items() if count > 1} <= again, f"{counts}"

    def check_stats(self, stats: dict[str, Any], processes: int) -> None:
        """All rows are counted once, and no process has fetched an author twice."""
        rows = sum(price > 0 for _, _, price, _, _ in books())
        authors = stats["tables"]["Author"]
        assert authors["requests"] == stats["tables"]["Publisher"]["requests"] == rows
        distinct = len({author for _, _, price, author, _ in books() if price > 0})
        assert distinct <= authors["fetched"] <= processes * distinct, authors


def is_of(name: str, run: str) -> bool:
    return name.startswith(f"{run}-") and "-of-" in name


def books() -> Iterator[tuple[int, str, int, int, int]]:
    """(key, title, price, author, publisher)."""
    for number in range(BOOKS):
        key = number if number < BOOKS * 0.8 else 1_000_000 + 997 * number
        yield (
            key + 1,
            f"book {number}",
            number % 50,
            (number * 7919 + number // 3) % AUTHORS + 1,
            number % PUBLISHERS + 1,
        )


def as_json(stats: str) -> str:
    """Python code that prints Stats as JSON."""
    return f"import json; print(json.dumps({stats}.as_dict()))"


def stats_of(output: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found
