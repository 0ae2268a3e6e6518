"""docs/reference.md and docs/cpp-reference.md: they have every public name."""

from __future__ import annotations

import inspect
import re

import pytest
from django.core.management.base import CommandParser

import django_memoized_prefetch
from django_memoized_prefetch import MemoizedPrefetch
from django_memoized_prefetch.management.commands.plan_prefetch import Command
from tests.python.documents import ROOT, examples

REFERENCE = (ROOT / "docs" / "reference.md").read_text()
API = examples("docs/reference.md", "In short")


def test_signatures() -> None:
    (example,) = API
    documented = dict(re.findall(r"^(?:    )?(\.?\w+)(\(.*?\))", example, re.DOTALL | re.MULTILINE))
    for name, arguments in documented.items():
        given = getattr(MemoizedPrefetch if name[0] == "." else django_memoized_prefetch, name.lstrip("."))
        parameters = list(inspect.signature(given).parameters.values())
        if name[0] == ".":
            parameters = parameters[1:]
        signature = inspect.Signature([one.replace(annotation=inspect.Parameter.empty) for one in parameters])
        assert " ".join(arguments.replace("10_000", "10000").split()) == str(signature).replace("'", '"'), name


def test_it_has_every_public_name() -> None:
    named = re.findall(r"^\.\. auto(?:class|function):: (\w+)(?:\(.*\))?$", REFERENCE, re.MULTILINE)
    assert sorted(named) == sorted(django_memoized_prefetch.__all__)


@pytest.mark.parametrize("name", django_memoized_prefetch.__all__)
def test_public_methods_have_docstrings(name: str) -> None:
    one = getattr(django_memoized_prefetch, name)
    assert one.__doc__
    if isinstance(one, type):
        for attribute, value in vars(one).items():
            if callable(value) or isinstance(value, (property, classmethod)):
                assert attribute.startswith("_") or value.__doc__, f"{name}.{attribute} has no docstring"


def test_it_has_every_option_of_the_command() -> None:
    parser = CommandParser()
    Command().add_arguments(parser)
    options = {option for action in parser._actions for option in action.option_strings} - {"-h", "--help"}
    assert set(re.findall(r"^  (--[\w-]+)", REFERENCE, re.MULTILINE)) == options


def test_headers_declare_what_the_cpp_reference_names() -> None:
    headers = {path.name: path.read_text() for path in (ROOT / "include").rglob("*.hpp")}
    page = (ROOT / "docs" / "cpp-reference.md").read_text()
    for kind, name in re.findall(r"^```\{doxygen(\w+)\} ([\w:.]+)", page, re.MULTILINE):
        if kind == "file":
            assert name in headers
        else:
            declared = rf"(class|struct|concept|using|auto|string|>|\]\]|size_t) {name.rpartition('::')[2]}\b"
            assert any(re.search(declared, text) for text in headers.values()), f"no header declares {name}"
