"""Iterables that build model instances natively, or leave it to Django if the model customises that."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from itertools import islice
from time import perf_counter
from typing import Any

from django.db.models import QuerySet
from django.db.models.query import ModelIterable

from .._clock import of_reader
from .._engine import Hydrator
from .eligibility import note_reading, report, why_not_compiled, why_not_native
from .plan import hydrator_of
from .timestamps import loading_timestamps

# How many rows to fetch from the driver at a time if all are wanted anyway.
ROWS_AT_ONCE = 2_000


class NativeModelIterable(ModelIterable):  # type: ignore[misc]
    """Yields exactly what ModelIterable yields, with rows built natively if possible."""

    def __iter__(self) -> Iterator[Any]:
        result = _result_of(self)
        yield from super().__iter__() if result is None else _one_by_one(*result)


# These make what list() and islice() make of the rows, without a step of a generator for each.


def all_rows(iterable: Any) -> list[Any]:
    """The rows of any iterable of a queryset, in one list."""
    if type(iterable) is not NativeModelIterable:
        return list(iterable)
    if (result := _result_of(iterable)) is None:
        return list(ModelIterable.__iter__(iterable))
    hydrator, prepare, results = result
    instances: list[Any] = []
    clock = of_reader()
    try:
        for rows in results:
            start = perf_counter()
            hydrator.build(prepare(rows), instances)
            clock.building += perf_counter() - start
    except BaseException:
        instances = []  # the traceback holds this frame
        raise
    finally:
        close_results(results)
    return instances


def in_chunks(iterable: Any, size: int) -> Iterator[list[Any]]:
    """The rows of any iterable of a queryset, in lists of `size`; the last one may be shorter."""
    if type(iterable) is not NativeModelIterable:
        yield from _cut(iter(iterable), size)
    elif (result := _result_of(iterable)) is None:
        yield from _cut(ModelIterable.__iter__(iterable), size)
    elif result[0].runs_user_code:
        yield from _cut(_one_by_one(*result), size)
    else:
        yield from _in_chunks(*result, size)


def _result_of(iterable: ModelIterable) -> tuple[Hydrator, Callable[[Any], Any], Any] | None:
    """
    The result of an iterable's query, read by the engine; None if Django has to read it.

    Returns:
        What builds its rows, what prepares them for that, and lists of the driver's rows.
    """
    queryset = iterable.queryset
    reason = why_not_native(queryset, iterable.chunked_fetch)
    if reason is None:
        db = queryset.db  # asked once: a router may choose another replica each time
        compiler = queryset.query.get_compiler(using=db)
        reason = why_not_compiled(compiler)
    note_reading(queryset.model, reason)
    if reason is not None:
        report(reason)
        return None
    rows_at_once = iterable.chunk_size if iterable.chunked_fetch else max(iterable.chunk_size, ROWS_AT_ONCE)
    with loading_timestamps(compiler.connection, queryset.query):
        results = compiler.execute_sql(chunked_fetch=iterable.chunked_fetch, chunk_size=rows_at_once)
    try:
        return (*hydrator_of(queryset, compiler, db), results)
    except BaseException:
        close_results(results)
        raise


def _one_by_one(hydrator: Hydrator, prepare: Callable[[Any], Any], results: Any) -> Iterator[Any]:
    """The instances of a result."""
    try:
        for rows in results:
            if hydrator.runs_user_code:
                yield from hydrator.each(prepare(rows))
                continue
            instances: list[Any] = []
            clock, start = of_reader(), perf_counter()
            try:
                hydrator.build(prepare(rows), instances)
            except Exception:
                yield from instances  # as Django would have before the row that failed
                raise
            clock.building += perf_counter() - start
            yield from instances
    finally:
        close_results(results)


def _in_chunks(hydrator: Hydrator, prepare: Callable[[Any], Any], results: Any, size: int) -> Iterator[list[Any]]:
    """The instances of a result in lists of `size`."""
    built: list[Any] = []
    failure = None
    try:
        for rows in results:
            clock, start = of_reader(), perf_counter()
            try:
                hydrator.build(prepare(rows), built)
            except Exception as error:  # only after the chunks that are whole
                failure = error
            clock.building += perf_counter() - start
            while len(built) >= size:
                chunk, built = (built, []) if len(built) == size else (built[:size], built[size:])
                yield chunk
                del chunk  # frees it while the next one is read
            if failure is not None:
                raise failure
        if built:
            yield built
    finally:
        failure = None  # its traceback holds this frame
        close_results(results)


def _cut(rows: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """The rows of any iterator in lists of `size`."""
    while chunk := list(islice(rows, size)):
        yield chunk
        del chunk


READERS = tuple(function.__code__ for function in (NativeModelIterable.__iter__, _one_by_one, _in_chunks))


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
