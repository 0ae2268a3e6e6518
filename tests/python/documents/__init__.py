"""The Python examples in README.md and docs/, by document and heading. Each document has a test module here."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# tests/scale_out runs its examples, on the real task queues.
ELSEWHERE = {"docs/scale-out.md"}
DOCUMENTS = [
    name
    for name in ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))]
    if name not in ELSEWHERE
]

# What a test has taken; one test sees to it that this is all there is.
taken: set[tuple[str, str]] = set()


def sections(document: str) -> dict[str, list[str]]:
    """The examples below each heading that has some."""
    text = (ROOT / document).read_text()
    _, *parts = re.split(r"^##? (.*)\n", text, flags=re.MULTILINE)
    found = {
        heading: re.findall(r"^```python\n(.*?)^```$", body, re.DOTALL | re.MULTILINE)
        for heading, body in zip(parts[::2], parts[1::2])
    }
    return {heading: examples for heading, examples in found.items() if examples}


def examples(document: str, heading: str, chunk_size: int | None = None) -> list[str]:
    """
    Takes the examples below one heading.

    Args:
        chunk_size: In place of 2000, so that the few rows of a test are several chunks.
    """
    taken.add((document, heading))
    found = sections(document)[heading]
    return found if chunk_size is None else [re.sub(r"\b2000\b", str(chunk_size), one) for one in found]
