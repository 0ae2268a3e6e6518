"""`partitions()`: cuts the rows of a queryset into even parts."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.db.models import Manager, QuerySet

from .._streaming.stream import check_count
from .partition import Partition
from .ranges import cut, hash_of_rows, of_whole, same_rows


def partitions(
    queryset: QuerySet[Any] | Manager[Any],
    count: int,
    *,
    run: str | None = None,
    file: str | os.PathLike[str] | None = None,
) -> list[Partition]:
    """
    Cuts the rows of a queryset into even parts, for the workers of any task queue::

        for part in partitions(Book.objects.filter(price__gt=0), 64):
            export.delay(part.as_dict())

    The parts are ranges of the primary key, in the queryset's order. Together they cover every key, so rows that are
    added later are in one of them too. Only keys are read, along their index.

    Args:
        queryset: It must be ordered by primary key alone, or unordered, and be what `chunks()` reads in pages. A
            manager stands for all its rows.
        count: How many parts to make. There are fewer if there are fewer rows, but always one.
        run: A name for this run; None makes one that is unique. The parts carry it.
        file: Where to keep the parts as JSON. If the file is there, its parts are returned and the table is not read.
            So a run that was stopped goes on with the same parts. Without a file, the table is cut anew each time.

    Returns:
        The parts, in the order of the queryset.

    Raises:
        ValueError: The queryset cannot be read in pages, or the file holds the parts of another queryset, run or count.
        FileNotFoundError: The directory of the file does not exist.
        TypeError: An argument is not as described.

    .. versionadded:: 1.0
    """
    where = "partitions"
    check_count(count, "count", 1, where)
    if run is not None and not isinstance(run, str):
        msg = f"{where}: run must be a text or None, got {run!r}."
        raise TypeError(msg)
    if run == "":
        msg = f"{where}: run must not be empty."
        raise ValueError(msg)
    pages, clone = of_whole(queryset, where)
    stamp = uuid.uuid4().hex[:12]
    path = None if file is None else Path(file)
    if path is not None and not path.parent.is_dir():
        msg = f"{where}: file is {path}, but there is no directory {path.parent}."
        raise FileNotFoundError(msg)
    if path is not None and path.exists():
        return [replace(part, cut=stamp) for part in _kept(path, pages, clone, run, count)]
    rows_of, label = hash_of_rows(pages), clone.model._meta.label
    ranges = list(cut(pages, count))
    name = run or uuid.uuid4().hex
    parts = [
        Partition(name, index, len(ranges), after, upto, rows, label, rows_of, stamp)
        for index, (after, upto, rows) in enumerate(ranges)
    ]
    if path is not None and not _keep(path, parts, count):
        return [replace(part, cut=stamp) for part in _kept(path, pages, clone, run, count)]  # another process was first
    return parts


def _kept(path: Path, pages: Any, queryset: QuerySet[Any], run: str | None, count: int) -> list[Partition]:
    """The parts in the file. Raises ValueError if they are those of something else."""
    where = f"partitions: {path}"
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        parts = [Partition.from_dict(values) for values in kept["parts"]]
        first, kept_count = parts[0], kept["count"]
        if not _are_whole(parts):
            msg = "a part is missing or has been changed"
            raise ValueError(msg)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        msg = f"{where} does not hold parts: {error}"
        raise ValueError(msg) from error
    if run is not None and first.run != run:
        msg = f"{where} holds the parts of run {first.run!r}, not of {run!r}."
        raise ValueError(msg)
    label = queryset.model._meta.label
    reason = f"they are of {first.model}, not of {label}" if first.model != label else same_rows(pages, first.rows_of)
    if reason is not None:
        msg = f"{where} holds the parts of another queryset: {reason}."
        raise ValueError(msg)
    if kept_count != count:
        msg = f"{where} was made with count {kept_count}, not {count}. To cut anew, give another file."
        raise ValueError(msg)
    return parts


def _are_whole(parts: Sequence[Partition]) -> bool:
    """Whether each part begins where the one before ends, and all are of one run and queryset."""
    first, expected_after = parts[0], None
    for index, part in enumerate(parts):
        expected = replace(first, index=index, count=len(parts), after=expected_after, upto=part.upto, rows=part.rows)
        if part != expected or (part.upto is None) != (index == len(parts) - 1):
            return False
        expected_after = part.upto
    return True


def _keep(path: Path, parts: Sequence[Partition], count: int) -> bool:
    """Writes the file, whole or not at all. Returns False if it has come to be there meanwhile."""
    text = json.dumps({"count": count, "parts": [part.as_dict() for part in parts]})
    unfinished = path.with_name(f"{path.name}.{parts[0].cut}")
    try:
        unfinished.write_text(text, encoding="utf-8")
        return _linked(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _linked(file: Path, path: Path) -> bool:
    """Gives a file a second name. Returns False if there is a file of that name."""
    try:
        os.link(file, path)
    except FileExistsError:
        return False
    except OSError:
        # The file system has no hard links. If the program is killed while it copies, half of a file stays.
        try:
            with path.open("xb") as copy:
                copy.write(file.read_bytes())
        except FileExistsError:
            return False
    return True
