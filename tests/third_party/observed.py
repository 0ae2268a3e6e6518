"""What a reader sees of a row and its related rows, as plain values that can be compared and printed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.db import connection
from django.db.models import Model, QuerySet

_ROW = {"_state", "_prefetched_objects_cache"}
# How deep to look into an object without its own repr.
_DEPTH = 3
QUERIES = "queries of reading"


class Queries:
    """Counts statements, and separately those that run while rows are read."""

    def __init__(self) -> None:
        self.run = 0
        self.reading = 0
        self._is_reading = 0

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if self._is_reading:
            self.reading += 1
        else:
            self.run += 1
        return execute(sql, params, many, context)

    @contextmanager
    def counted(self) -> Iterator[None]:
        with connection.execute_wrapper(self):
            yield

    @contextmanager
    def reads(self) -> Iterator[None]:
        self._is_reading += 1
        try:
            yield
        finally:
            self._is_reading -= 1


class Observer:
    """
    Reads rows.

    Args:
        paths: The paths of the lookups, as from `Situation.paths`.
        ignored: Attributes in which a package keeps its own notes.
    """

    def __init__(
        self,
        queries: Queries,
        paths: dict[str, Any],
        read: Callable[[Any], Any] | None = None,
        ignored: frozenset[str] = frozenset(),
    ) -> None:
        self._queries = queries
        self._paths = paths
        self._read = read
        self._ignored = ignored
        self.related = 0

    def row(self, instance: Any) -> Any:
        with self._queries.reads():
            seen = self._instance(instance, self._paths, first=True)
            if self._read is not None:
                seen["read"] = self._counted(lambda: {"value": plain(self._read(instance))})  # type: ignore[misc]
            return seen

    def _instance(self, instance: Any, paths: dict[str, Any], first: bool = False) -> Any:
        if not isinstance(instance, Model):
            return plain(instance)
        self.related += not first
        seen: dict[str, Any] = {
            "class": _class(type(instance)),
            "pk": str(plain(instance.pk)),
            "state": {name: plain(getattr(instance._state, name, None)) for name in ("db", "adding", "fetch_mode")},
            "columns": {
                name: plain(value)
                for name, value in sorted(vars(instance).items())
                if name not in _ROW | self._ignored | set(paths)
                and not name.startswith("_prefetch_related_val_")
                # Another lookup may have attached something to a shared row.
                and (first or not _is_related(value))
            },
        }
        for name, below in paths.items():
            seen[name] = self._counted(lambda name=name, below=below: self._relation(instance, name, below))  # type: ignore[misc]
        return seen

    def _counted(self, see: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        before = self._queries.reading
        try:
            seen = see()
        except Exception as error:
            seen = {"raises": f"{type(error).__name__}: {error}"}
        seen[QUERIES] = self._queries.reading - before
        return seen

    def _relation(self, instance: Any, name: str, below: dict[str, Any]) -> dict[str, Any]:
        value = getattr(instance, name)
        if hasattr(value, "all") and not isinstance(value, Model):
            queryset = value.all()
            rows = [self._instance(row, below) for row in queryset]
            ordered = bool(getattr(queryset, "ordered", True))
            # The database chooses the order, and may choose another one for another statement.
            rows = rows if ordered else sorted(rows, key=lambda row: (row["class"], row["pk"]))
            again = self._counted(lambda: {"length": len(value.all())})
            return {"queryset": type(queryset).__name__, "ordered": ordered, "rows": rows, "again": again}
        if isinstance(value, (list, tuple)):
            return {"rows": [self._instance(row, below) for row in value]}
        return {"row": self._instance(value, below)}


def plain(value: Any, depth: int = 0) -> Any:
    """Turns any value into one that can be compared and printed, without addresses in memory."""
    if type(value) in (type(None), bool, int, float, str, bytes):
        return repr(value)
    if isinstance(value, Model):
        return f"{_class(type(value))} {value.pk!r}"
    if isinstance(value, Mapping):
        return {str(plain(key, depth)): plain(one, depth + 1) for key, one in value.items()}
    if isinstance(value, (list, tuple, QuerySet)):
        return [plain(one, depth + 1) for one in value]
    if isinstance(value, (set, frozenset)):
        return sorted(str(plain(one, depth + 1)) for one in value)
    written = repr(value)
    if " at 0x" not in written:
        return f"{type(value).__name__} {written}"
    inside = vars(value) if hasattr(value, "__dict__") and depth < _DEPTH and not callable(value) else {}
    return {"object": re.sub(r" at 0x[0-9a-f]+", "", written), **{key: plain(inside[key], depth + 1) for key in inside}}


def _is_related(value: Any) -> bool:
    return isinstance(value, (Model, QuerySet)) or (isinstance(value, list) and any(map(_is_related, value)))


def _class(of: type) -> str:
    return f"{of.__module__}.{of.__qualname__}"
