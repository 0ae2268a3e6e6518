"""Django is the oracle: the same rows through process_chunk and through prefetch_related_objects must read alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import django
from asgiref.sync import sync_to_async
from django.core.exceptions import ObjectDoesNotExist
from django.db import connections, models
from django.db.models import prefetch_related_objects
from django.db.models.fields.related_descriptors import ReverseManyToOneDescriptor
from django.test.utils import CaptureQueriesContext

Lookup = Any  # a path or a Prefetch object

Result = TypeVar("Result")


class Queries:
    """The statements that ran in a `captured_queries` block, on every alias."""

    def __init__(self, contexts: list[CaptureQueriesContext]) -> None:
        self._contexts = contexts

    @property
    def sql(self) -> list[str]:
        return [query["sql"] for context in self._contexts for query in context.captured_queries]

    def __len__(self) -> int:
        return sum(len(context) for context in self._contexts)

    def of(self, model: type[models.Model]) -> int:
        """How many statements read from the model's table."""
        table = connections["default"].ops.quote_name(model._meta.db_table)
        return sum(f"FROM {table}" in sql for sql in self.sql)


@contextmanager
def captured_queries() -> Iterator[Queries]:
    with ExitStack() as stack:
        yield Queries([stack.enter_context(CaptureQueriesContext(connections[alias])) for alias in connections])


@contextmanager
def query_count(expected: int) -> Iterator[Queries]:
    with captured_queries() as queries:
        yield queries
    assert len(queries) == expected, f"{len(queries)} queries, expected {expected}:\n" + "\n".join(
        sql[:200] for sql in queries.sql[:20]
    )


def run_async(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Its result. The connections of the thread in which Django ran its queries are closed."""

    async def closing() -> Result:
        try:
            return await coroutine
        finally:
            await sync_to_async(connections.close_all)()

    return asyncio.run(closing())


def no_queries() -> Any:
    return query_count(0)


def django_prefetch(objects: Iterable[models.Model], lookups: Iterable[Lookup]) -> None:
    """prefetch_related_objects for chunks of any size and of mixed classes.

    Django 5.2 on SQLite writes a foreign key's IN as a chain of ORs, whose depth SQLite limits to 1,000.
    """
    by_class: dict[type, list[models.Model]] = {}
    for obj in objects:
        by_class.setdefault(type(obj), []).append(obj)
    vendor = connections["default"].vendor
    step = 900 if vendor == "sqlite" and django.VERSION[:2] == (5, 2) else 1_000_000
    for group in by_class.values():
        for start in range(0, len(group), step):
            prefetch_related_objects(group[start : start + step], *lookups)


def row(instance: models.Model) -> dict[str, Any]:
    """Everything that Django knows about the row itself: class, columns, annotations, where it came from."""
    columns = {
        name: value
        for name, value in vars(instance).items()
        if name not in ("_state", "_prefetched_objects_cache") and not name.startswith("_prefetch_related_val_")
    }
    return {
        "class": type(instance),
        "columns": {
            name: "rows" if isinstance(value, (models.Model, list)) else value for name, value in columns.items()
        },
        "pk": instance.pk,
        "db": instance._state.db,
        "adding": instance._state.adding,
    }


def _is_to_many(instance: models.Model, name: str) -> bool:
    # ManyToManyDescriptor is one too.
    return isinstance(getattr(type(instance), name, None), ReverseManyToOneDescriptor)


def observe(instance: models.Model | None, path: str) -> Any:
    """What a reader of `path` sees, level by level, as plain comparable data. Unordered results are sorted."""
    if instance is None:
        return None
    name, _, rest = path.partition("__")
    if not _is_to_many(instance, name):
        cached = is_cached(instance, name)
        try:
            value = getattr(instance, name)
        except ObjectDoesNotExist as error:
            return {"cached": cached, "raises": (type(error).__qualname__, str(error))}
        seen: dict[str, Any] = {"cached": cached, "row": None if value is None else row(value)}
        if rest:
            seen["below"] = observe(value, rest)
        return seen
    manager = getattr(instance, name)
    queryset = manager.all()
    rows = list(queryset)
    observed = [(row(value), observe(value, rest) if rest else None) for value in rows]
    is_ordered = bool(type(rows[0])._meta.ordering) if rows else True
    return {
        "queryset": (type(queryset).__name__, isinstance(queryset, models.QuerySet)),
        "again the same": manager.all() is queryset,
        "count": (queryset.count(), len(queryset), queryset.exists(), bool(queryset)),
        "slice": [value.pk for value in queryset[:2]] if is_ordered else None,
        "rows": observed if is_ordered else sorted(observed, key=lambda pair: str(pair[0]["pk"])),
    }


def is_cached(instance: models.Model, name: str) -> bool | None:
    descriptor = getattr(type(instance), name, None)
    is_cached = getattr(descriptor, "is_cached", None)
    return is_cached(instance) if is_cached is not None else None


def caches(instance: models.Model) -> dict[str, Any]:
    """The names under which Django finds what is attached, and where it found nothing."""
    return {
        "fields": {name: value is None for name, value in instance._state.fields_cache.items()},
        "to many": sorted(getattr(instance, "_prefetched_objects_cache", {})),
    }


def assert_alike(
    ours: Iterable[models.Model],
    theirs: Iterable[models.Model],
    paths: Iterable[str],
    read: Callable[[Any], Any] | None = None,
) -> None:
    """Compares two lists of processed objects; reading them must not query."""
    ours, theirs, paths = list(ours), list(theirs), list(paths)
    assert [(type(obj), obj.pk) for obj in ours] == [(type(obj), obj.pk) for obj in theirs]
    for our, their in zip(ours, theirs):
        assert caches(our) == caches(their), f"{our!r}: other caches than under Django"
        assert row(our) == row(their), f"{our!r}: the object itself differs"
    for path in paths:
        for our, their in zip(ours, theirs):
            with no_queries():
                expected = observe(their, path)
            with no_queries():
                observed = observe(our, path)
            assert observed == expected, f"{our!r}.{path}"
    if read is not None:
        with no_queries():
            expected = [read(their) for their in theirs]
        with no_queries():
            observed = [read(our) for our in ours]
        assert observed == expected


def assert_same_as_django(
    chunk_factory: Callable[[], Any],
    lookups: str | Iterable[Lookup],
    prefetch: Any,
    *,
    read: Callable[[Any], Any] | None = None,
) -> list[Any]:
    """Processes a fresh chunk with `prefetch` and another one with Django's `lookups`, and compares every access.

    Args:
        chunk_factory: makes the chunk from the database, anew at each call.
        lookups: what Django is asked for; paths with `__`, or Prefetch objects.
        prefetch: the MemoizedPrefetch, configured for the same.
        read: a further reading of one object to compare.

    Returns:
        The processed objects.
    """
    lookups = [lookups] if isinstance(lookups, str) else list(lookups)
    chunk = chunk_factory()
    returned = prefetch.process_chunk(chunk)
    ours = list(returned)
    theirs = list(chunk_factory())
    django_prefetch(theirs, lookups)
    assert_alike(ours, theirs, [getattr(lookup, "prefetch_through", lookup) for lookup in lookups], read)
    return ours
