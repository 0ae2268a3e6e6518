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
from tests.python.databases import on_one_database

pytestmark = on_one_database

# As much of stubs for Django as is needed to tell querysets apart.
STUBS = """
from typing import Any, Generic, TypeVar
T = TypeVar('T')
class Model: ...
class QuerySet(Generic[T]): ...
class Manager(Generic[T]): ...
def __getattr__(name: str) -> Any: ...
"""
PACKAGE = Path(django_memoized_prefetch.__file__).parent


def test_package_is_marked_as_typed() -> None:
    assert resources.files("django_memoized_prefetch").joinpath("py.typed").is_file()


def signature(function: ast.FunctionDef) -> str:
    returns = ast.unparse(function.returns) if function.returns else ""
    return f"({ast.unparse(function.args)}) -> {returns}"


def in_any_nanobind(text: str, setter: bool) -> str:
    """Some of its releases write the argument of a setter as positional only."""
    return text.replace(", /", "") if setter else text


def in_stub(body: list[ast.stmt], prefix: str = "") -> dict[str, str]:
    found = {}
    for node in body:
        if isinstance(node, ast.ClassDef):
            found[prefix + node.name] = "class"
            found.update(in_stub(node.body, f"{prefix}{node.name}."))
        elif isinstance(node, ast.FunctionDef):
            setters = [one for one in node.decorator_list if isinstance(one, ast.Attribute) and one.attr == "setter"]
            found[prefix + node.name + (" setter" if setters else "")] = in_any_nanobind(signature(node), bool(setters))
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
                found[f"{prefix}{name} setter"] = in_any_nanobind(written(value.fset.__nb_signature__[0][0]), True)
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
    assert revealed(program, tmp_path) == ["list[program.Book]", "int"]


def test_a_memoized_queryset_keeps_its_type(tmp_path: Path) -> None:
    models = tmp_path / "stubs" / "django" / "db" / "models" / "__init__.pyi"
    models.parent.mkdir(parents=True)
    for package in (models.parent.parent, models.parent.parent.parent):
        (package / "__init__.pyi").touch()
    models.write_text(STUBS)
    program = tmp_path / "program.py"
    program.write_text(
        "from django.db.models import Manager, Model, QuerySet\n"
        "from django_memoized_prefetch import MemoizedPrefetch, memoized\n"
        "class Book(Model): ...\n"
        "class BookQuerySet(QuerySet[Book]): ...\n"
        "queryset, books, manager = QuerySet[Book](), BookQuerySet(), Manager[Book]()\n"
        "reveal_type(memoized(queryset))\n"
        "reveal_type(memoized(books, MemoizedPrefetch(), lru_cache_size=None))\n"
        "reveal_type(memoized(manager))\n"
    )
    book = "django.db.models.QuerySet[program.Book]"
    assert revealed(program, tmp_path, models.parents[3]) == [book, "program.BookQuerySet", book]


def test_chunks_are_lists_of_the_querysets_rows(tmp_path: Path) -> None:
    models = tmp_path / "stubs" / "django" / "db" / "models" / "__init__.pyi"
    models.parent.mkdir(parents=True)
    for package in (models.parent.parent, models.parent.parent.parent):
        (package / "__init__.pyi").touch()
    models.write_text(STUBS)
    models.with_name("query.pyi").write_text(STUBS.replace("class QuerySet", "class RawQuerySet"))
    program = tmp_path / "program.py"
    program.write_text(
        "from django.db.models import Manager, Model, QuerySet\n"
        "from django_memoized_prefetch import MemoizedPrefetch, Progress\n"
        "class Book(Model): ...\n"
        "class BookQuerySet(QuerySet[Book]): ...\n"
        "def save(progress: Progress) -> None: ...\n"
        "prefetch = MemoizedPrefetch()\n"
        "for of_queryset in prefetch.chunks(QuerySet[Book](), 100, after=1, progress=save, mode='pages'):\n"
        "    reveal_type(of_queryset)\n"
        "for of_class in prefetch.chunks(BookQuerySet()):\n"
        "    reveal_type(of_class)\n"
        "for of_manager in prefetch.chunks(Manager[Book]()):\n"
        "    reveal_type(of_manager)\n"
        "for of_iterable in prefetch.chunks(iter([Book()]), progress=True, total=1):\n"
        "    reveal_type(of_iterable)\n"
        "async def read() -> None:\n"
        "    async for in_async in prefetch.achunks(QuerySet[Book]()):\n"
        "        reveal_type(in_async)\n"
    )
    assert revealed(program, tmp_path, models.parents[3]) == ["list[program.Book]"] * 5


def revealed(program: Path, directory: Path, *stubs: Path) -> list[str]:
    """The types that mypy says the program's expressions have."""
    # One for all programs, since reading Python's own types takes the most of the time.
    environment = {"MYPY_CACHE_DIR": str(directory.parent / "cache")}
    paths = [str(path) for path in stubs]
    if PACKAGE.parent.name != "site-packages":
        # mypy finds installed packages by itself, and refuses to be told of them.
        paths.append(str(PACKAGE.parent))
    environment["MYPYPATH"] = os.pathsep.join(paths)
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--ignore-missing-imports", str(program)],
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    found = [line.split('"')[1] for line in result.stdout.splitlines() if "Revealed" in line]
    assert found, result
    return [name.replace("builtins.", "") for name in found]
