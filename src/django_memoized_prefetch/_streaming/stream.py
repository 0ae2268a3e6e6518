"""`chunks()`: reads a queryset in pages or by one cursor, and cuts any other iterable into lists."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from time import perf_counter
from typing import Any, Callable

from django.db.models import Model, QuerySet
from django.db.models.manager import BaseManager
from django.db.models.query import ModelIterable, RawQuerySet

from .._hydrating.iterable import with_native_rows
from .._messages import shown
from .._private_class import FAMILY, set_class, stock_class_of
from .._running.session import Session
from .._running.user import in_thread
from .._stock import ATTACHING, why_not_own, why_not_read_as_stock
from .closing import closing_readers
from .pages import Pages, check_comparable, key_value, ordering_of, why_not_in_pages
from .progress import Bar, Meter, Progress, consumer_of, log_run

Chunks = Generator[list[Any], None, None]

# With one row more for a page, as many as every driver returns at a time. No list of instances is as long.
MOST_ROWS = 2**31 - 2


class Stream:
    """
    One call of `chunks()`. The constructor checks the arguments, `read()` is the generator.

    Args:
        session: Attaches the related rows.
        source: The `queryset` argument of `MemoizedPrefetch.chunks`, which describes the other arguments too.
    """

    def __init__(
        self,
        session: Session,
        source: Any,
        chunk_size: int,
        after: Any,
        progress: bool | Callable[[Progress], Any] | None,
        total: int | None,
        mode: str | None,
    ) -> None:
        check_count(chunk_size, "chunk_size", 1)
        if total is not None:
            check_count(total, "total", 0)
        if mode not in (None, "pages", "cursor"):
            msg = f'chunks: mode must be "pages", "cursor" or None, got {mode!r}.'
            raise ValueError(msg)
        self._session, self._chunk_size, self._total = session, min(chunk_size, MOST_ROWS), total
        self._name = "objects"
        self._consumer = consumer_of(progress, "chunks")
        self._read: Callable[[Meter | None], Chunks]
        if isinstance(source, BaseManager):
            source = source.all()
        if isinstance(source, QuerySet):
            self._read = self._of_queryset(source, after, mode)
        elif isinstance(source, RawQuerySet):
            refuse_pages(source.model, "it is raw SQL", after, mode)
            self._read = self._of_raw(source)
        else:
            self._read = self._of_iterable(source, after, mode)

    def read(self) -> Chunks:
        with ExitStack() as stack:
            meter = None
            if self._consumer is not None:
                meter = Meter(self._consumer, self._session.stats, self._total)
                if isinstance(self._consumer, Bar):
                    self._consumer.open(self._total)
                stack.callback(meter.close)
            chunks = self._read(meter)
            stack.callback(chunks.close)
            clock, done = self._session.clock, 0
            for rows in chunks:
                # Now, because the user may change the list and its objects.
                count, last_pk = len(rows), getattr(rows[-1], "pk", None)
                start = perf_counter()
                yield rows
                clock.loop += perf_counter() - start
                del rows  # frees them while the next chunk is read
                done += count
                if meter is not None:
                    meter.chunk_done(count, last_pk)
            log_run(self._name, done, self._session.stats)

    # --- the sources

    def _of_queryset(self, queryset: QuerySet[Any], after: Any, mode: str | None) -> Callable[[Meter | None], Chunks]:
        if not issubclass(queryset._iterable_class, ModelIterable):
            msg = (
                f"chunks: expected a queryset of model instances, got one of {queryset._iterable_class.__name__}; "
                "rows of values(), values_list(), dates() and datetimes() cannot have relations."
            )
            raise TypeError(msg)
        clone, attach = self._prepared(queryset)
        obstacle = why_not_in_pages(clone)
        reason = why_not_read_as_stock(type(clone))
        if reason is None:
            with_native_rows(clone)
        self._session.read[clone.model] = reason
        if mode == "cursor" or obstacle is not None:
            refuse_pages(clone.model, obstacle or 'mode="cursor" was asked for', after, mode)
            self._note(clone, f"by one cursor: {obstacle or 'it was asked for'}")
            keys = Pages(clone._chain()) if obstacle is None and ordering_of(clone.query) else None
            return lambda meter: self._by_cursor(clone, keys, attach, meter)
        if after is not None:
            after = key_value(clone.model, after)
            check_comparable(clone, after)
        self._note(clone, "in pages by primary key")
        return lambda meter: self._in_pages(Pages(clone), after, attach, meter)

    def _prepared(self, queryset: QuerySet[Any]) -> tuple[QuerySet[Any], Callable[[list[Any]], None]]:
        """A clone that reads rows without their lookups from one database, and a function that attaches the lookups."""
        session = self._session
        clone = queryset._chain()
        clone._db = clone.db  # fixed: a router may choose another replica each time
        family = vars(clone).pop(FAMILY, None)
        if (stock_class := stock_class_of(type(clone))) is not type(clone):
            set_class(clone, stock_class)
        lookups: tuple[Any, ...] = ()
        # A class that overrides one of these may use the attached rows there, so Django attaches them first.
        if why_not_own(stock_class, ("iterator", *ATTACHING)) is None:
            lookups, clone._prefetch_related_lookups = tuple(clone._prefetch_related_lookups), ()

        def attach(rows: list[Any]) -> None:
            session.process(rows, lookups)
            if family is not None and family.session is not session:
                family.session.process(rows)

        return clone, attach

    def _in_pages(self, pages: Pages, after: Any, attach: Callable[[list[Any]], None], meter: Meter | None) -> Chunks:
        expect_keys(meter, pages, after)
        pages.start(after)
        while rows := self._timed(pages.next, self._chunk_size):
            attach(rows)
            yield rows
            del rows

    def _by_cursor(
        self,
        queryset: QuerySet[Any],
        keys: Pages | None,
        attach: Callable[[list[Any]], None],
        meter: Meter | None,
    ) -> Chunks:
        if keys is not None:
            expect_keys(meter, keys, None)
        yield from self._cut(queryset.iterator(chunk_size=self._chunk_size), attach)

    def _of_raw(self, raw: Any) -> Callable[[Meter | None], Chunks]:
        clone, lookups = raw.using(raw.db), tuple(raw._prefetch_related_lookups)
        self._name = raw.model.__name__
        self._session.streams[raw.model.__name__] = "by one cursor: it is raw SQL"
        return lambda meter: self._cut(clone.iterator(), lambda rows: self._session.process(rows, lookups))

    def _of_iterable(self, source: Any, after: Any, mode: str | None) -> Callable[[Meter | None], Chunks]:
        if not isinstance(source, Iterable) or isinstance(source, (str, bytes)):
            msg = f"chunks: expected a queryset, a manager, or an iterable of model instances, got {shown(source)}."
            raise TypeError(msg)
        if after is not None or mode is not None:
            msg = f"chunks: after and mode are for querysets, got a {type(source).__name__}."
            raise ValueError(msg)
        if self._total is None and isinstance(source, Sequence):
            self._total = len(source)
        return lambda meter: self._cut(iter(source), self._session.process)

    def _cut(self, rows: Iterator[Any], attach: Callable[[list[Any]], Any]) -> Chunks:
        try:
            while chunk := self._timed(take, rows, self._chunk_size):
                attach(chunk)
                yield chunk
                del chunk
        finally:
            if inspect.isgenerator(rows):
                rows.close()

    def _timed(self, read: Callable[..., list[Any]], *arguments: Any) -> list[Any]:
        with self._session.clock.while_reading():
            return read(*arguments)

    def _note(self, queryset: QuerySet[Any], how: str) -> None:
        self._name = queryset.model.__name__
        self._session.streams[self._name] = how


def take(rows: Iterator[Any], count: int) -> list[Any]:
    with closing_readers():
        return list(islice(rows, count))


def expect_keys(meter: Meter | None, pages: Pages, after: Any) -> None:
    """Reads the first and the last key, one row each, if the fraction done can be estimated from them."""
    if meter is not None and meter.total is None and pages.has_integer_keys:
        meter.expect_keys(pages.first_key(), pages.first_key(backwards=True), after)


async def read_in_thread(chunks: Chunks) -> AsyncIterator[list[Any]]:
    """Yields the chunks. Each is read and processed in the thread in which Django runs its queries."""
    try:
        while (chunk := await in_thread(next, chunks, None)) is not None:
            yield chunk
            del chunk
    finally:
        # This waits for a cancelled step to end: there is one such thread, and it does one thing at a time.
        await in_thread(chunks.close)


def refuse_pages(model: type[Model], obstacle: str, after: Any, mode: str | None) -> None:
    """Raises ValueError if the arguments ask for pages."""
    if mode == "pages" or after is not None:
        what = 'mode="pages"' if mode == "pages" else "after"
        msg = f"chunks: {what} needs pages, and {model.__name__} cannot be read in pages: {obstacle}."
        raise ValueError(msg)


def check_count(count: Any, name: str, least: int, where: str = "chunks") -> None:
    if not isinstance(count, int) or isinstance(count, bool):
        msg = f"{where}: {name} must be an integer, got {count!r}."
        raise TypeError(msg)
    if count < least:
        msg = f"{where}: {name} must be at least {least}, got {count}."
        raise ValueError(msg)
