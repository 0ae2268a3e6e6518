from __future__ import annotations

import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import django_memoized_prefetch

PACKAGE = Path(django_memoized_prefetch.__file__).parent


def mypy(*arguments: str, cwd: Path) -> str:
    environment = {"MYPY_CACHE_DIR": str(cwd / "cache"), "DJANGO_SETTINGS_MODULE": "tests.python.settings"}
    if PACKAGE.parent.name != "site-packages":
        # mypy finds installed packages by itself, and refuses to be told of them.
        environment["MYPYPATH"] = str(PACKAGE.parent)
    result = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout + result.stderr


def test_package_is_marked_as_typed() -> None:
    assert resources.files("django_memoized_prefetch").joinpath("py.typed").is_file()


def test_stub_of_the_engine_is_true(tmp_path: Path) -> None:
    # Without a stub stubtest would compare the module with itself.
    assert (PACKAGE / "_engine.pyi").is_file()
    output = mypy("mypy.stubtest", "django_memoized_prefetch._engine", cwd=tmp_path)
    assert "Success: no issues found" in output, output


def test_the_chunk_keeps_its_type(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from django.db.models import Model\n"
        "from django_memoized_prefetch import MemoizedPrefetch\n"
        "class Book(Model): ...\n"
        "books: list[Book] = []\n"
        "prefetch = MemoizedPrefetch('author')\n"
        "reveal_type(prefetch.process_chunk(books))\n"
        "reveal_type(prefetch.stats().relations['author'].hits)\n"
    )
    output = mypy("mypy", "--ignore-missing-imports", str(program), cwd=tmp_path)
    revealed = [line.split("Revealed type is ")[1].strip('"') for line in output.splitlines() if "Revealed" in line]
    assert revealed == ["builtins.list[program.Book]", "builtins.int"], output
