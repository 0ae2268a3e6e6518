"""All documents together: every example is run, and every link leads to something."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from tests.python.documents import DOCUMENTS, ELSEWHERE, ROOT, sections, taken

TEXTS = [*DOCUMENTS, *ELSEWHERE, "CHANGELOG.md", "CONTRIBUTING.md"]


def test_every_example_is_run() -> None:
    for path in Path(__file__).parent.glob("test_*.py"):
        importlib.import_module(f"{__package__}.{path.stem}")
    assert taken == {(document, heading) for document in DOCUMENTS for heading in sections(document)}


def text_of(document: Path) -> str:
    """Without its code."""
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^    .*$", "", text, flags=re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """The names that headings get on pages and in repositories."""
    headings = re.findall(r"^#+ (.*)$", text_of(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_to_something(name: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(ROOT / name)):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (ROOT / name).parent / file if file else ROOT / name
        assert target.exists(), f"{name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{name} links to {link}"
