"""Iterables that build model instances natively, or leave it to Django if the model customises that."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet
from django.db.models.query import ModelIterable

from .eligibility import report, why_not_compiled, why_not_native
from .plan import hydrator_of

# How many rows to fetch from the driver at a time if all are wanted anyway.
ROWS_AT_ONCE = 2_000


class NativeModelIterable(ModelIterable):  # type: ignore[misc]
    """Yields exactly what ModelIterable yields, with rows built natively if possible."""

    def __iter__(self) -> Iterator[Any]:
        queryset = self.queryset
        reason = why_not_native(queryset, self.chunked_fetch)
        if reason is None:
            db = queryset.db  # asked once: a router may choose another replica each time
            compiler = queryset.query.get_compiler(using=db)
            reason = why_not_compiled(compiler)
        if reason is not None:
            report(reason)
            yield from super().__iter__()
            return
        rows_at_once = self.chunk_size if self.chunked_fetch else max(self.chunk_size, ROWS_AT_ONCE)
        results = compiler.execute_sql(chunked_fetch=self.chunked_fetch, chunk_size=rows_at_once)
        try:
            hydrator, prepare = hydrator_of(queryset, compiler, db)
            for rows in results:
                if hydrator.calls_models:
                    yield from hydrator.each(prepare(rows))
                    continue
                instances: list[Any] = []
                try:
                    hydrator.build(prepare(rows), instances)
                except Exception:
                    yield from instances  # as Django would have before the row that failed
                    raise
                yield from instances
        finally:
            close_results(results)


def close_results(results: Any) -> None:
    """Closes the cursor behind a compiler's results, unless they are a list."""
    if inspect.isgenerator(results):
        if inspect.getgeneratorstate(results) == inspect.GEN_CREATED:
            next(results, None)  # close() would not run the `finally` of one that never began
        results.close()


def with_native_rows(queryset: QuerySet[Any]) -> QuerySet[Any]:
    """Makes a queryset that nobody else holds build its rows natively, and returns it."""
    queryset._iterable_class = native_iterable(queryset._iterable_class)
    return queryset


@functools.lru_cache(maxsize=64)
def native_iterable(iterable_class: type[Any]) -> type[Any]:
    """An iterable class with the same results, which builds rows natively wherever it uses ModelIterable."""
    if iterable_class is ModelIterable:
        return NativeModelIterable
    if not issubclass(iterable_class, ModelIterable) or issubclass(iterable_class, NativeModelIterable):
        return iterable_class
    return type(iterable_class.__name__, (iterable_class, NativeModelIterable), {})
