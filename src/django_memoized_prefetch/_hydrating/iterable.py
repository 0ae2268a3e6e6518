"""Iterables that build model instances natively, or leave it to Django if the model customises that."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from django.db.models import QuerySet
from django.db.models.query import ModelIterable

from .._engine import Hydrator
from .eligibility import read_by_django, report, why_not_compiled, why_not_native
from .plan import hydrator_of

# How many rows to fetch from the driver at a time if all are wanted anyway.
ROWS_AT_ONCE = 2_000


class NativeModelIterable(ModelIterable):  # type: ignore[misc]
    """Yields exactly what ModelIterable yields, with rows built natively if possible."""

    def __iter__(self) -> Iterator[Any]:
        result = self._result()
        if result is None:
            yield from super().__iter__()
            return
        hydrator, prepare, results = result
        try:
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

    def all_rows(self) -> list[Any]:
        """The rows in a list, as `list()` makes it, without a step of a generator for each."""
        if type(self) is not NativeModelIterable or (result := self._result()) is None:
            return list(self)
        hydrator, prepare, results = result
        instances: list[Any] = []
        try:
            for rows in results:
                hydrator.build(prepare(rows), instances)
        finally:
            close_results(results)
        return instances

    def _result(self) -> tuple[Hydrator, Callable[[Any], Any], Any] | None:
        """
        The result of the query, read by the engine; None if Django has to read it.

        Returns:
            What builds its rows, what prepares them for that, and lists of the driver's rows.
        """
        queryset = self.queryset
        reason = why_not_native(queryset, self.chunked_fetch)
        if reason is None:
            db = queryset.db  # asked once: a router may choose another replica each time
            compiler = queryset.query.get_compiler(using=db)
            reason = why_not_compiled(compiler)
        read_by_django[queryset.model] = reason
        if reason is not None:
            report(reason)
            return None
        rows_at_once = self.chunk_size if self.chunked_fetch else max(self.chunk_size, ROWS_AT_ONCE)
        results = compiler.execute_sql(chunked_fetch=self.chunked_fetch, chunk_size=rows_at_once)
        try:
            return (*hydrator_of(queryset, compiler, db), results)
        except BaseException:
            close_results(results)
            raise


def all_rows(iterable: Any) -> list[Any]:
    """The rows of any iterable of a queryset, in a list."""
    return iterable.all_rows() if isinstance(iterable, NativeModelIterable) else list(iterable)


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
