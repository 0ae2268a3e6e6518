"""docs/sizes.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.python.bookshop.models import Book
from tests.python.conftest import Bookshop
from tests.python.documents import examples
from tests.python.documents.running import CHUNK, run

BEFORE_THE_RUN = examples("docs/sizes.md", "Before the run", CHUNK)
SIZES = examples("docs/sizes.md", "From memory to sizes", CHUNK)
ONE_AMOUNT = examples("docs/sizes.md", "One amount for all tables", CHUNK)
AFTER_THE_RUN = examples("docs/sizes.md", "After the run", CHUNK)
PICTURE = examples("docs/sizes.md", "As a picture", CHUNK)


def test_how_large_the_memory_should_be(bookshop: Bookshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, figures = BEFORE_THE_RUN
    output, queries, names = run(before)
    assert len(queries) == 1
    assert "\n".join(output).startswith("12 rows of Book, in 4 chunks of 3")
    run(figures, **names)
    names = run(SIZES[0], **names)[2]
    assert names["sizes"] == {"Author": 5, "Publisher": 3}
    planned = names["plan"].queries
    stats = [names["prefetch"].stats() for _ in names["prefetch"].chunks(Book.objects.all(), CHUNK)][-1]
    assert stats.queries == planned
    output, queries, names = run(ONE_AMOUNT[0], **names)
    assert any("of 200.0 MB used" in line for line in output)
    run(AFTER_THE_RUN[0], **names)
    monkeypatch.chdir(tmp_path)
    run(PICTURE[0], **names)
    assert "<svg" in (tmp_path / "curves.svg").read_text()
