"""Who can use the engine: CPython, and of a process the interpreter that imports it first. Any other is told so."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from django_memoized_prefetch import _engine

ROOT = Path(__file__).parents[2]

# Interpreters of their own by the module that CPython has for its own tests.
PRELUDE = f"""
import sys
sys.path[:] = {sys.path!r}
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

def create(isolated):
    if sys.version_info >= (3, 13):
        return interpreters.create("isolated" if isolated else "legacy")
    return interpreters.create(isolated=isolated)

def run(interpreter, code):
    code = "import sys\\nsys.path[:] = {sys.path!r}\\n" + code
    if sys.version_info >= (3, 13):
        failed = interpreters.exec(interpreter, code)
        if failed is not None:
            raise RuntimeError(failed.formatted)
    else:
        interpreters.run_string(interpreter, code)

# Without Django, whose modules need not know interpreters with a GIL of their own.
ALONE = '''
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import module_from_spec
path = {_engine.__file__!r}
loader = ExtensionFileLoader("django_memoized_prefetch._engine", path)
spec = ModuleSpec(loader.name, loader, origin=path)
module = module_from_spec(spec)
loader.exec_module(module)
assert len(module.Memo(3, "id")) == 0
'''
PACKAGE = '''
import django_memoized_prefetch
from tests.python.databases import on_one_database

pytestmark = on_one_database
assert len(django_memoized_prefetch._engine.Memo(3, "id")) == 0
'''

def refused(interpreter, code):
    try:
        run(interpreter, code)
    except Exception as error:
        message = str(error)
        assert "ImportError" in message, message
        assert "one Python interpreter per process" in message, message
        assert "WSGIApplicationGroup %{{GLOBAL}}" in message, message
    else:
        raise AssertionError("was imported")
"""

# Python 3.12 lets no interpreter with a GIL of its own import the engine, and before it there is one GIL.
kinds = pytest.mark.parametrize(
    "isolated",
    [
        pytest.param(isolated, id="own GIL" if isolated else "shared GIL")
        for isolated in ([False, True] if sys.version_info >= (3, 13) else [False])
    ],
)


def run(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + textwrap.dedent(program)],
        cwd=ROOT,
        env={**os.environ, "PYTHONFAULTHANDLER": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@kinds
def test_a_second_interpreter_is_refused(isolated: bool) -> None:
    run(f"""
        exec(PACKAGE)
        second = create({isolated})
        refused(second, ALONE)
        refused(second, ALONE)
        exec(PACKAGE)
        exec(ALONE)
        interpreters.destroy(second)
        exec(PACKAGE)
        third = create({isolated})
        refused(third, ALONE)
        exec(PACKAGE)
        interpreters.destroy(third)
        """)


def test_a_second_interpreter_that_imports_the_package_is_refused() -> None:
    run("""
        exec(PACKAGE)
        second = create(False)
        refused(second, PACKAGE)
        interpreters.destroy(second)
        exec(PACKAGE)
        """)


@kinds
def test_what_was_first_may_be_any_interpreter(isolated: bool) -> None:
    run(f"""
        first, second = create({isolated}), create({isolated})
        run(first, ALONE)
        refused(second, ALONE)
        run(first, ALONE)
        try:
            exec(ALONE)
        except ImportError as error:
            assert "this is interpreter 0" in str(error)
        else:
            raise AssertionError("was imported")
        interpreters.destroy(first)
        refused(second, ALONE)
        interpreters.destroy(second)
        """)


if sys.version_info[:2] == (3, 12):

    def test_an_interpreter_with_its_own_gil_leaves_the_engine_to_others() -> None:
        run("""
            first = create(True)
            for attempt in range(2):
                try:
                    run(first, ALONE)
                except interpreters.RunFailedError as error:
                    assert "does not support loading in subinterpreters" in str(error), error
                else:
                    raise AssertionError("was imported")
            exec(PACKAGE)
            interpreters.destroy(first)
            """)


def test_imported_again_by_the_same_interpreter_it_has_the_same_classes() -> None:
    run("""
        import importlib
        exec(PACKAGE)
        before = django_memoized_prefetch._engine
        for name in [name for name in sys.modules if name.startswith("django_memoized_prefetch")]:
            del sys.modules[name]
        again = importlib.import_module("django_memoized_prefetch")
        assert again._engine is not before
        assert again._engine.Memo is before.Memo
        assert again.MemoizedPrefetch("author") is not None
        """)


@pytest.mark.skipif(
    shutil.which("cmake") is None or os.name == "nt", reason="needs cmake, and scripts in place of Python"
)
@pytest.mark.parametrize(
    ("implementation", "options", "said"),
    [
        ("cpython;3.9", [], None),
        ("cpython;3.14", [], None),
        ("cpython;3.15", ["-DMEMOIZED_PREFETCH_UNTESTED_PYTHON=ON"], None),
        ("pypy;3.11", [], "needs CPython, but {python} is pypy 3.11"),
        ("graalpy;3.12", [], "needs CPython, but {python} is graalpy 3.12"),
        ("cpython;3.8", [], "needs CPython 3.9 or later, but {python} is 3.8"),
        ("cpython;3.15", [], "supports CPython 3.9 to 3.14, but {python} is 3.15"),
    ],
)
def test_the_build_says_what_it_needs(
    tmp_path: Path, implementation: str, options: list[str], said: str | None
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho '{implementation}'\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    check = ROOT / "src" / "binding" / "check_python.cmake"
    done = subprocess.run(
        ["cmake", f"-DPython_EXECUTABLE={python}", *options, "-P", str(check)],
        capture_output=True,
        text=True,
        check=False,
    )
    if said is None:
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert done.returncode != 0
        assert said.format(python=python) in " ".join(done.stderr.split())
