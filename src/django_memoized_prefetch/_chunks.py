"""`chunks()`: a queryset read in pages by primary key, or by one cursor; anything else cut into lists."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, Callable

from asgiref.sync import sync_to_async
from django.core.exceptions import ValidationError
from django.db.models import F, IntegerField, Model, QuerySet
from django.db.models.expressions import OrderBy, RawSQL
from django.db.models.fields.related import ForeignObject
from django.db.models.manager import BaseManager
from django.db.models.query import ModelIterable, RawQuerySet
from django.db.models.sql.compiler import cursor_iter
from django.db.models.sql.where import ExtraWhere

from ._hydrate import NativeModelIterable, close_results, natively, stock_iterable, why_not_native
from ._progress import Bar, Meter, Progress
from ._queries import all_expressions

if TYPE_CHECKING:
    from ._prefetch import MemoizedPrefetch

Chunks = Generator[list[Any], None, None]

# A queryset class that has its own way to do one of these keeps it; its lookups are then Django's for every chunk.
_ATTACHING = ("_iterator", "aiterator", "_prefetch_related_objects")


def own_attaching(queryset_class: Any) -> str | None:
    """The name of a method of the class that attaches otherwise than Django's."""
    return next((name for name in _ATTACHING if getattr(queryset_class, name) is not getattr(QuerySet, name)), None)


class Stream:
    """
    What one call of `chunks()` asks for, checked; `read()` is the generator.

    Args: as those of `MemoizedPrefetch.chunks`.
    """

    def __init__(
        self,
        prefetch: MemoizedPrefetch,
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
        if not (progress is None or isinstance(progress, bool) or callable(progress)):
            msg = f"chunks: progress must be True, a callable or None, got {progress!r}."
            raise TypeError(msg)
        self._prefetch, self._chunk_size, self._total = prefetch, chunk_size, total
        self._consumer = Bar() if progress is True else progress if callable(progress) else None
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
                meter = Meter(self._consumer, self._prefetch.stats, self._total)
                if isinstance(self._consumer, Bar):
                    self._consumer.open(self._total)
                stack.callback(meter.close)
            chunks = self._read(meter)
            stack.callback(chunks.close)
            for rows in chunks:
                # The user may change the list and its objects.
                count, last_pk = len(rows), getattr(rows[-1], "pk", None)
                yield rows
                del rows  # not kept while the next chunk is read
                if meter is not None:
                    meter.chunk_done(count, last_pk)

    # --- what is read

    def _of_queryset(self, queryset: QuerySet[Any], after: Any, mode: str | None) -> Callable[[Meter | None], Chunks]:
        if not issubclass(queryset._iterable_class, ModelIterable):
            msg = (
                f"chunks: expected a queryset of model instances, got one of {queryset._iterable_class.__name__}; "
                "rows of values(), values_list(), dates() and datetimes() cannot have relations."
            )
            raise TypeError(msg)
        clone, attach = self._prepared(queryset)
        obstacle = why_not_in_pages(clone)
        if mode == "cursor" or obstacle is not None:
            refuse_pages(clone.model, obstacle or 'mode="cursor" was asked for', after, mode)
            self._note(clone, f"by one cursor: {obstacle or 'it was asked for'}")
            keys = Pages(clone._chain()) if obstacle is None and ordering_of(clone.query) else None
            return lambda meter: self._by_cursor(clone, keys, attach, meter)
        after = None if after is None else key_value(clone.model, after)
        self._note(clone, "in pages by primary key")
        return lambda meter: self._in_pages(Pages(clone), after, attach, meter)

    def _prepared(self, queryset: QuerySet[Any]) -> tuple[QuerySet[Any], Callable[[list[Any]], None]]:
        """A clone that gives bare rows, of one database, and what attaches all that belongs to a chunk of them."""
        prefetch = self._prefetch
        clone = queryset._chain()
        clone._db = clone.db  # a router may choose another replica every time
        memory = clone.__dict__.pop("_memoized", None)
        clone.__class__ = getattr(type(clone), "_stock_class", type(clone))
        lookups: tuple[Any, ...] = ()
        if own_attaching(type(clone)) is None:
            lookups, clone._prefetch_related_lookups = tuple(clone._prefetch_related_lookups), ()

        def attach(rows: list[Any]) -> None:
            prefetch._process_with(lookups, rows)
            if memory is not None and memory.prefetch is not prefetch:
                memory.prefetch.process_chunk(rows)

        return natively(clone), attach

    def _in_pages(self, pages: Pages, after: Any, attach: Callable[[list[Any]], None], meter: Meter | None) -> Chunks:
        expect_keys(meter, pages, after)
        while rows := pages.behind(after, self._chunk_size):
            # Before the user has them, who may delete or change the last one.
            after, is_last = pages.key_behind(rows, after), len(rows) < self._chunk_size
            attach(rows)
            yield rows
            del rows
            if is_last:
                return

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
        self._prefetch._streams[raw.model.__name__] = "by one cursor: it is raw SQL"
        return lambda meter: self._cut(clone.iterator(), lambda rows: self._prefetch._process_with(lookups, rows))

    def _of_iterable(self, source: Any, after: Any, mode: str | None) -> Callable[[Meter | None], Chunks]:
        if not isinstance(source, Iterable) or isinstance(source, (str, bytes)):
            msg = f"chunks: expected a queryset, a manager, or an iterable of model instances, got {source!r}."
            raise TypeError(msg)
        if after is not None or mode is not None:
            msg = f"chunks: after and mode are for querysets, got a {type(source).__name__}."
            raise ValueError(msg)
        if self._total is None and isinstance(source, Sequence):
            self._total = len(source)
        return lambda meter: self._cut(iter(source), self._prefetch.process_chunk)

    def _cut(self, rows: Iterator[Any], attach: Callable[[list[Any]], Any]) -> Chunks:
        try:
            while chunk := take(rows, self._chunk_size):
                attach(chunk)
                yield chunk
                del chunk
        finally:
            if inspect.isgenerator(rows):
                rows.close()

    def _note(self, queryset: QuerySet[Any], how: str) -> None:
        name = queryset.model.__name__
        self._prefetch._streams[name] = how
        self._prefetch._built[name] = why_not_native(queryset)


def take(rows: Iterator[Any], count: int) -> list[Any]:
    with closing_readers():
        return list(islice(rows, count))


def expect_keys(meter: Meter | None, pages: Pages, after: Any) -> None:
    """Two statements of one row each, where they tell how far a stream has come."""
    if meter is not None and meter.total is None and pages.has_integer_keys:
        meter.expect_keys(pages.first_key(), pages.first_key(backwards=True), after)


async def read_in_thread(chunks: Chunks) -> AsyncIterator[list[Any]]:
    """The chunks, each read and processed in the thread in which Django runs its queries."""
    step: Any = sync_to_async(next)
    try:
        while (chunk := await step(chunks, None)) is not None:
            yield chunk
            del chunk
    finally:
        # Behind a step that was cancelled: there is one such thread, and it does one thing after the other.
        await sync_to_async(chunks.close)()


# --- pages


class Pages:
    """
    A queryset in the order of its primary key, some rows at a time. All of them see the rows of their moment.

    Args:
        queryset: Nobody else holds it, and `why_not_in_pages` says nothing against it.
    """

    def __init__(self, queryset: QuerySet[Any]) -> None:
        pk: Any = queryset.model._meta.pk
        self._queryset, self._attname = queryset, pk.attname
        query = queryset.query
        # From the query alone: a queryset class may have its own idea of filter() and order_by().
        [order] = ordering_of(query) or [pk.attname]
        query.clear_ordering(force=True)
        query.add_ordering(order)
        self._descending = (key_order(order, queryset.model) == "-") == query.standard_ordering
        while pk.is_relation:
            pk = pk.target_field
        self.has_integer_keys = isinstance(pk, IntegerField)

    def behind(self, key: Any, count: int) -> list[Any]:
        """So many rows, those behind the key."""
        page = self._queryset._chain()
        if key is not None:
            page.query.add_filter(f"{self._attname}__{'lt' if self._descending else 'gt'}", key)
        page.query.set_limits(high=count)
        with closing_readers():
            return list(page._iterable_class(page, chunk_size=count))

    def key_behind(self, rows: list[Any], before: Any) -> Any:
        """The key of the last row; `before` is that which they were asked for with."""
        name = type(rows[0]).__name__
        first, last = getattr(rows[0], self._attname), getattr(rows[-1], self._attname)
        if last is None or (before is not None and first == before):
            wrong = "a row without a key" if last is None else f"the row {before!r} behind itself"
            msg = f'chunks: {name} cannot be read in pages, the database gave {wrong}; use mode="cursor".'
            raise ValueError(msg)
        return last

    def first_key(self, backwards: bool = False) -> Any:
        """None when there are no rows."""
        query = self._queryset.values_list(self._attname, flat=True)
        if backwards:
            query.query.standard_ordering = not query.query.standard_ordering
        query.query.set_limits(high=1)
        return next(iter(query), None)


def why_not_in_pages(queryset: QuerySet[Any]) -> str | None:
    """What keeps `key > last ORDER BY key LIMIT n`, again and again, from giving the rows of the queryset."""
    query, queryset_class = queryset.query, type(queryset)
    if query.combinator:
        return f"it is a {query.combinator}"
    if query.is_sliced:
        return "it is sliced"
    if query.distinct:
        return "it is distinct"
    if query.select_for_update:
        return "it locks its rows"
    if query.extra or query.extra_tables or query.extra_order_by:
        return "it uses extra()"
    annotations = query.annotations.values()
    if (
        query.group_by is not None
        or query.where.contains_aggregate
        or any(one.contains_aggregate for one in annotations)
    ):
        return "it aggregates"
    if any(getattr(one, "set_returning", False) for one in annotations):
        return "an annotation may give several rows for one"
    for expression in all_expressions([*annotations, query.where]):
        if isinstance(expression, (RawSQL, ExtraWhere)):
            return "it uses raw SQL"
        if getattr(expression, "contains_over_clause", False):
            return "it uses a window function"
    for alias, join in query.alias_map.items():
        field = getattr(join, "join_field", None)
        is_to_one = field is None or isinstance(field, ForeignObject) or field.one_to_one
        if query.alias_refcount[alias] and not is_to_one:
            return f"it joins {join.table_name}, which may have many rows for one"
    order = ordering_of(query)
    if len(order) > 1 or any(key_order(one, queryset.model) is None for one in order):
        return f"it is ordered by {', '.join(order_name(one) for one in order)}"
    pk: Any = queryset.model._meta.pk
    if "pk" in query.annotations:
        return "an annotation is called pk"
    if pk.get_lookup("gt") is None or pk.get_lookup("lt") is None:
        return f"the database does not order {pk.name}"
    if queryset_class.iterator is not QuerySet.iterator or own_attaching(queryset_class):
        return f"{queryset_class.__name__} has its own {own_attaching(queryset_class) or 'iterator'}()"
    iterable_class = stock_iterable(queryset._iterable_class)
    if not iterable_class.__module__.startswith(("django.", "seal.")):
        return f"its rows come from {iterable_class.__name__}"
    return None


def ordering_of(query: Any) -> Sequence[Any]:
    """What the query is ordered by, the model's own ordering included."""
    return query.order_by or (query.get_meta().ordering if query.default_ordering else ())


def key_order(order: Any, model: type[Model]) -> str | None:
    """For an ordering by the primary key "-" when it is descending and "" when not; None for any other."""
    sign = ""
    if isinstance(order, OrderBy):
        sign, order = "-" if order.descending else "", order.expression
    if isinstance(order, F):
        order = order.name
    elif isinstance(order, str) and order.startswith("-"):
        sign, order = "-", order[1:]
    pk: Any = model._meta.pk
    # Under its name, a key that is a relation is ordered as its target is.
    names = ("pk", pk.attname) if pk.is_relation else ("pk", pk.attname, pk.name)
    return sign if order in names else None


def order_name(order: Any) -> str:
    if isinstance(order, OrderBy):
        return f"{order_name(order.expression)}{' descending' if order.descending else ''}"
    return order.name if isinstance(order, F) else str(order)


def refuse_pages(model: type[Model], obstacle: str, after: Any, mode: str | None) -> None:
    """Raises when pages were asked for."""
    if mode == "pages" or after is not None:
        what = 'mode="pages"' if mode == "pages" else "after"
        msg = f"chunks: {what} needs pages, and {model.__name__} cannot be read in pages: {obstacle}."
        raise ValueError(msg)


def key_value(model: type[Model], after: Any) -> Any:
    """A primary key as rows have it; of a checkpoint it may be text, and a list where there are several columns."""
    pk: Any = model._meta.pk
    columns = getattr(model._meta, "pk_fields", [pk])
    try:
        if isinstance(after, Model):
            raise TypeError
        if columns == [pk]:
            return pk.to_python(after)
        if isinstance(after, str) or len(after) != len(columns):
            raise TypeError
        return tuple(column.to_python(value) for column, value in zip(columns, after))
    except (TypeError, ValidationError) as error:
        names = ", ".join(column.name for column in columns)
        msg = f"chunks: after must be a primary key of {model.__name__} ({names}), got {after!r}."
        raise ValueError(msg) from error


# --- closing


@contextmanager
def closing_readers() -> Iterator[None]:
    """
    Closes what reads the database in this block, when the block fails.

    These generators end when they are released; but the frames of the traceback hold them, and with them a cursor of
    the server, for as long as somebody keeps the exception.
    """
    try:
        yield
    except BaseException as error:
        for frame, _ in walk_tb(error.__traceback__):
            for value in list(frame.f_locals.values()):
                if inspect.isgenerator(value) and value.gi_code in _READERS and not value.gi_running:
                    close_results(value)
        raise


_READERS = (cursor_iter.__code__, NativeModelIterable.__iter__.__code__)


def check_count(count: Any, name: str, least: int) -> None:
    if not isinstance(count, int) or isinstance(count, bool):
        msg = f"chunks: {name} must be an integer, got {count!r}."
        raise TypeError(msg)
    if count < least:
        msg = f"chunks: {name} must be at least {least}, got {count}."
        raise ValueError(msg)
