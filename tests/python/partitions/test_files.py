"""`partitions(file=)` keeps the parts of a run, and `Partition.name` names the file of each."""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from django_memoized_prefetch import Partition, partitions
from tests.python.bookshop.models import Author, Book, Review
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.queries import no_queries


def test_names_for_files(bookshop: Bookshop) -> None:
    parts = partitions(Book.objects, 12, run="nightly/2024 é")
    names = [part.name for part in parts]
    assert names == sorted(names)
    assert names == [part.name for part in partitions(Book.objects, 12, run="nightly/2024 é")]
    assert all(name.startswith("nightly_2024_é-") for name in names)
    assert "-01-of-12-" in names[0]
    Book.objects.order_by("pk")[0].reviews.all().delete()
    Book.objects.order_by("pk")[0].delete()
    others = [part.name for part in partitions(Book.objects, 12, run="nightly/2024 é")]
    assert not set(names[:-1]) & set(others)


def test_two_runs_have_no_file_in_common(bookshop: Bookshop) -> None:
    runs = ["a/b", "a:b", "a b", "a_b", "x" * 300, "x" * 300 + "y"]
    names = {part.name for run in runs for part in partitions(Book.objects, 3, run=run)}
    assert len(names) == 3 * len(runs)
    assert max(map(len, names)) < 200


def test_a_file_keeps_the_parts(bookshop: Bookshop, tmp_path: Path) -> None:
    file = tmp_path / "parts.json"
    parts = partitions(Book.objects, 4, file=file)
    assert [one.name for one in tmp_path.iterdir()] == ["parts.json"]
    Review.objects.all().delete()
    Book.objects.filter(pk__gte=FIRST_KEY + 6).delete()
    with no_queries():
        again = partitions(Book.objects, 4, file=str(file))
    assert again == parts
    assert again[0].cut != parts[0].cut
    assert partitions(Book.objects, 4, run=parts[0].run, file=file) == parts
    with pytest.raises(ValueError, match=r"parts.json holds the parts of run '.*', not of 'nightly'"):
        partitions(Book.objects, 4, run="nightly", file=file)
    with pytest.raises(ValueError, match=r"parts.json holds the parts of another queryset: its conditions"):
        partitions(Book.objects.filter(pk__gt=3), 4, file=file)
    with pytest.raises(ValueError, match=r"another queryset: they are of bookshop.Book, not of bookshop.Author"):
        partitions(Author.objects, 4, file=file)
    missing = tmp_path / "missing"
    with no_queries(), pytest.raises(FileNotFoundError, match=re.escape(f"there is no directory {missing}.")):
        partitions(Book.objects, 4, file=missing / "parts.json")
    with pytest.raises(ValueError, match=r"parts.json was made with count 4, not 7. To cut anew, give another file"):
        partitions(Book.objects, 7, file=file)
    kept = json.loads(file.read_text())
    first, second, *others = kept["parts"]
    for changed in ([first, *others], [first, second, *others, first], [{**first, "upto": None}, second, *others], []):
        file.write_text(json.dumps({**kept, "parts": changed}))
        with pytest.raises(ValueError, match=r"parts.json does not hold parts: "):
            partitions(Book.objects, 4, file=file)
    for text in (
        "",
        "[" * 100_000,
        "[]",
        "{}",
        "[5]",
        '{"count": 4, "parts": []}',
        '{"count": 4, "parts": [{"run": "nightly"}]}',
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=r"parts.json does not hold parts: "):
            partitions(Book.objects, 4, file=file)


def test_two_processes_cut_at_the_same_time(bookshop: Bookshop, tmp_path: Path) -> None:
    file = tmp_path / "parts.json"
    others: list[Partition] = []

    def first(execute: Any, sql: str, *arguments: Any) -> Any:
        if "COUNT" in sql and not others:
            others.append(Partition("", 0, 0, None, None, 0, "", "", ""))
            others[:] = partitions(Book.objects, 5, file=file)
        return execute(sql, *arguments)

    with connection.execute_wrapper(first):
        parts = partitions(Book.objects, 5, file=file)
    assert parts == others
    assert [one.name for one in tmp_path.iterdir()] == ["parts.json"]


def test_a_file_system_without_links(bookshop: Bookshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr("os.link", refuse)
    test_two_processes_cut_at_the_same_time(bookshop, tmp_path)


def test_a_full_disk(bookshop: Bookshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(path: Path, *_: Any, **__: Any) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fill)
    with pytest.raises(OSError, match="No space left on device"):
        partitions(Book.objects, 4, file=tmp_path / "parts.json")
    assert list(tmp_path.iterdir()) == []
