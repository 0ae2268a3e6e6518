from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import django_memoized_prefetch
from django_memoized_prefetch import _engine

PACKAGE = Path(django_memoized_prefetch.__file__).parent


def test_package_is_marked_as_typed() -> None:
    assert resources.files("django_memoized_prefetch").joinpath("py.typed").is_file()


def signature(function: ast.FunctionDef) -> str:
    returns = ast.unparse(function.returns) if function.returns else ""
    return f"({ast.unparse(function.args)}) -> {returns}"


def in_stub(body: list[ast.stmt], prefix: str = "") -> dict[str, str]:
    found = {}
    for node in body:
        if isinstance(node, ast.ClassDef):
            found[prefix + node.name] = "class"
            found.update(in_stub(node.body, f"{prefix}{node.name}."))
        elif isinstance(node, ast.FunctionDef):
            setters = [one for one in node.decorator_list if isinstance(one, ast.Attribute) and one.attr == "setter"]
            found[prefix + node.name + (" setter" if setters else "")] = signature(node)
    return found


def in_module(owner: Any, prefix: str = "") -> dict[str, str]:
    """nanobind tells the signature of everything that it made."""

    def written(text: str) -> str:
        # Before Python 3.10 it writes typing.Optional.
        text = re.sub(r"typing\.Optional\[(\w+)\]", r"\1 | None", text)
        [function] = ast.parse(text.replace("def (", "def _(") + ": ...").body
        assert isinstance(function, ast.FunctionDef)
        return signature(function)

    found = {}
    for name, value in vars(owner).items():
        if isinstance(value, type):
            found[prefix + name] = "class"
            found.update(in_module(value, f"{prefix}{name}."))
        elif isinstance(value, property):
            found[prefix + name] = written(value.fget.__nb_signature__[0][0])
            if value.fset is not None:
                found[f"{prefix}{name} setter"] = written(value.fset.__nb_signature__[0][0])
        elif hasattr(value, "__nb_signature__"):
            [(text, _, _)] = value.__nb_signature__
            found[prefix + name] = written(text)
    return found


def test_stub_of_the_engine_is_true() -> None:
    stub = in_stub(ast.parse((PACKAGE / "_engine.pyi").read_text()).body)
    assert stub == in_module(_engine)
    assert "Memo.bound setter" in stub, "the comparison sees what it should"


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
    environment = {"MYPY_CACHE_DIR": str(tmp_path / "cache")}
    if PACKAGE.parent.name != "site-packages":
        # mypy finds installed packages by itself, and refuses to be told of them.
        environment["MYPYPATH"] = str(PACKAGE.parent)
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--ignore-missing-imports", str(program)],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    revealed = [line.split('"')[1] for line in result.stdout.splitlines() if "Revealed" in line]
    assert [name.replace("builtins.", "") for name in revealed] == ["list[program.Book]", "int"], result
