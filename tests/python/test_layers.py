"""The package's modules form layers: each imports only what is below it, and none grows beyond what one can read."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import django_memoized_prefetch
from tests.python.databases import on_one_database

pytestmark = on_one_database

PACKAGE = Path(django_memoized_prefetch.__file__).parent
# From the bottom. Modules of one folder may import one another, but not in a circle.
LAYERS = [
    *("_clock", "_messages", "_engine", "_config", "_stock", "_stock_converters", "_private_class", "_relation"),
    *("_hydrating", "_queries", "_lookups", "_memory"),
    *("_relations", "_planning", "_changes", "_reports", "_running", "_streaming", "_lookahead", "_partitions"),
    *("_prefetch", "_memoized", "management", "__main__", "__init__"),
]
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.read_text()
}


def imports_of(name: str) -> set[str]:
    """The package's modules that a module imports when it is imported; not what only type checkers see."""
    found = set()
    for node in ast.parse(MODULES[name].read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            home = name.split(".")[: -node.level] + (node.module or "").split(".")
            for alias in node.names:
                module = ".".join([part for part in home if part] + [alias.name])
                found.add(module if module in MODULES else module.rpartition(".")[0])
    return found


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down(name: str) -> None:
    layer = LAYERS.index(name.partition(".")[0])
    for other in imports_of(name):
        assert LAYERS.index(other.partition(".")[0]) <= layer, f"{name} imports {other}, which is above it"


def test_there_is_no_circle() -> None:
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above, name])
        if name in done or name not in MODULES:
            return
        for other in imports_of(name):
            visit(other, (*above, name))
        done.add(name)

    for name in MODULES:
        visit(name, ())


@pytest.mark.parametrize("name", MODULES)
def test_sizes(name: str) -> None:
    text = MODULES[name].read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            methods = [one for one in node.body if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))]
            assert len(methods) <= 25, f"{node.name} has {len(methods)} methods"
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 60, f"{node.name} is longer than 60 lines"
