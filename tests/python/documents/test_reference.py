"""docs/reference.md and docs/cpp-reference.md: they have every public name."""

from __future__ import annotations

import inspect
import re

import django_memoized_prefetch
from django_memoized_prefetch import MemoizedPrefetch
from tests.python.documents import examples

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
