"""`memoized(queryset)`: the same queryset, with rows built by the engine and lookups remembered across chunks."""

from __future__ import annotations

import copyreg
import functools
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from time import perf_counter
from typing import Any, Callable, TypeVar, overload

from django.db import connections
from django.db.models import Manager, Model, QuerySet, query
from django.db.models.manager import BaseManager
from django.db.models.query import ModelIterable

from ._clock import Clock
from ._config import DEFAULT_SIZE, DefaultSize, Size, check_sizes
from ._hydrating.eligibility import report
from ._hydrating.iterable import all_rows, in_chunks, native_iterable
from ._memory.amount import amount_of
from ._messages import shown
from ._prefetch import MemoizedPrefetch
from ._private_class import FAMILY, STOCK_CLASS, look_like, set_class, stock_class_of, why_not_subclassed
from ._running.session import Session
from ._running.user import in_thread
from ._stock import own_attaching, why_not_own, why_not_read_as_stock
from ._streaming.progress import log_run

logger = logging.getLogger("django_memoized_prefetch")

Rows = TypeVar("Rows", bound="QuerySet[Any]")
Row = TypeVar("Row", bound=Model)

# Like Django's iterator() without a chunk_size.
CHUNK_SIZE = 2_000


@overload
def memoized(
    queryset: Rows,
    prefetch: MemoizedPrefetch | None = None,
    *,
    lru_cache_size: Size = DEFAULT_SIZE,
    memory: int | str | None = None,
) -> Rows: ...
@overload  # without Django stubs, mypy cannot tell a Manager from a QuerySet
def memoized(  # type: ignore[overload-cannot-match]
    queryset: Manager[Row],
    prefetch: MemoizedPrefetch | None = None,
    *,
    lru_cache_size: Size = DEFAULT_SIZE,
    memory: int | str | None = None,
) -> QuerySet[Row]: ...
def memoized(
    queryset: Any,
    prefetch: MemoizedPrefetch | None = None,
    *,
    lru_cache_size: Size = DEFAULT_SIZE,
    memory: int | str | None = None,
) -> Any:
    """
    Makes a queryset faster: its rows are built natively, and related rows are read once for all chunks::

        for book in memoized(Book.objects.prefetch_related("author")).iterator(chunk_size=2000):
            ...

    Querysets derived from the result (`filter()`, `prefetch_related()`, slices and so on) share its memory, which lives
    as long as one of them does. Like that of a MemoizedPrefetch, it is a snapshot for one run: call `memoized()` where
    the run starts, not at module level. `list()` processes all rows as one chunk. After `values()` the result is an
    ordinary queryset.

    Args:
        queryset (QuerySet | Manager): A queryset, which is not changed, or a manager, for all its rows.
        prefetch: Its lookups are added to those of the queryset. It remembers the rows of both, and its `stats()`
            counts both.
        lru_cache_size: How many rows of each table to keep between chunks, as for MemoizedPrefetch; None keeps all.
            Not beside `prefetch`, which has its own.
        memory: In place of `lru_cache_size`: how much memory all tables together may take, as for MemoizedPrefetch.

    Returns:
        QuerySet: A new queryset, which passes for one of the same class.

    Raises:
        TypeError: An argument is not as described above.
        ValueError: A size is not positive, `memory` is less than 10 kB, more than one of `prefetch`, `lru_cache_size`
            and `memory` is given, or the queryset's class attaches rows in its own way, which would bypass `prefetch`.

    .. versionadded:: 1.0
    """
    if isinstance(queryset, BaseManager):
        queryset = queryset.all()
    if not isinstance(queryset, QuerySet):
        msg = f"memoized: expected a queryset or a manager, got {shown(queryset)}."
        raise TypeError(msg)
    if prefetch is not None and not isinstance(prefetch, MemoizedPrefetch):
        got = f"{shown(prefetch)}; lookups belong in prefetch_related()"
        msg = f"memoized: prefetch must be a MemoizedPrefetch, got {got}."
        raise TypeError(msg)
    check_sizes(lru_cache_size, "memoized")
    clone = queryset._chain()
    stock_class = stock_class_of(type(clone))
    if prefetch is not None and (reason := why_not_subclassed(stock_class) or own_attaching(stock_class)):
        msg = f"memoized: {reason}, so its rows would bypass prefetch; use process_chunk()."
        raise ValueError(msg)
    if prefetch is None:
        amount_of(memory, lru_cache_size, "memoized")
        prefetch = MemoizedPrefetch(lru_cache_size=lru_cache_size, memory=memory)
    elif memory is not None or not isinstance(lru_cache_size, DefaultSize):
        name = "lru_cache_size" if memory is None else "memory"
        msg = f"memoized: {name} is that of prefetch; give it to the MemoizedPrefetch."
        raise ValueError(msg)
    join(clone, SharedMemory(prefetch))
    return clone


class SharedMemory:
    """
    The memory that the querysets of one `memoized()` call, a family, share.

    Args:
        prefetch: Remembers their rows. Its own lookups are attached to every chunk of every queryset.
    """

    def __init__(self, prefetch: MemoizedPrefetch) -> None:
        self.prefetch = prefetch

    @property
    def session(self) -> Session:
        return self.prefetch._session

    def attach(self, queryset: QuerySet[Any], rows: Sequence[Any]) -> None:
        """Attaches the related rows to one chunk of a queryset's rows."""
        self.session.process(rows, tuple(queryset._prefetch_related_lookups))

    def __reduce__(self) -> Any:
        return SharedMemory, (self.prefetch,)  # its pickle leaves the memory out

    def __copy__(self) -> SharedMemory:
        return self

    def __deepcopy__(self, memo: Any) -> SharedMemory:
        return self  # a copied queryset joins the family, as a clone does


def join(queryset: Any, family: SharedMemory | None) -> None:
    """Adds a queryset that nobody else holds yet to the family, unless its class would notice."""
    if family is None or not isinstance(queryset, QuerySet):
        return
    if not hasattr(type(queryset), STOCK_CLASS):
        stock_class: Any = type(queryset)
        queryset_class = memoized_class(stock_class)
        if queryset_class is None:
            return
        set_class(queryset, queryset_class)
    vars(queryset)[FAMILY] = family


@functools.lru_cache(maxsize=256)
def memoized_class(stock_class: Any) -> Any:
    """The private subclass of a queryset class; None if the class would notice it."""
    name = stock_class.__name__
    reason = why_not_subclassed(stock_class)
    if reason is not None:
        logger.info("Querysets of %s are left to Django. %s", name, reason)
        return None
    report(why_not_read_as_stock(stock_class))
    if reason := own_attaching(stock_class):
        logger.info("Lookups of %s are prefetched by Django for every chunk. %s", name, reason)
    methods = {name: method for name, method in vars(_Methods).items() if callable(method) or name == "__class__"}
    private_class = type(name, (stock_class,), {**methods, STOCK_CLASS: stock_class})
    look_like(private_class, stock_class)
    return private_class


class _Methods:
    """
    The methods copied into every private subclass. This class is not a base of theirs.

    Each method replaces Django's method only. If the stock class overrides it, that override runs, and reaches Django's
    method with `super()`.
    """

    _result_cache: Any
    _prefetch_done: bool
    _prefetch_related_lookups: tuple[Any, ...]
    db: str

    @property
    def __class__(self) -> Any:
        return vars(type(self)).get(STOCK_CLASS, type(self))

    @__class__.setter
    def __class__(self, new_class: Any) -> None:
        set_class(self, new_class)
        join(self, self.__dict__.pop(FAMILY, None))

    def _clone(self, *args: Any, **kwargs: Any) -> Any:
        clone = above(self)._clone(*args, **kwargs)
        join(clone, vars(self).get(FAMILY))
        return clone

    def _fetch_all(self) -> None:
        if self._result_cache is None:
            if is_djangos(self, "_fetch_all"):
                with clock_of(self).while_reading():
                    self._result_cache = all_rows(rows_of(self))
            else:
                why_left_to_django(self)
        above(self)._fetch_all()
        # Django calls _prefetch_related_objects() only if the queryset itself has lookups.
        if not (self._prefetch_done or self._prefetch_related_lookups) and attaching(self):
            self._prefetch_related_objects()

    def _prefetch_related_objects(self) -> None:
        attach = attaching(self)
        if attach is None:
            above(self)._prefetch_related_objects()
            return
        attach(self._result_cache)
        self._prefetch_done = True

    def _iterator(self, use_chunked_fetch: bool, chunk_size: int | None) -> Iterator[Any]:
        if not is_djangos(self, "_iterator"):
            yield from above(self)._iterator(use_chunked_fetch, chunk_size)
            return
        size, lookups = chunk_size or CHUNK_SIZE, self._prefetch_related_lookups
        attach = attaching(self)
        if lookups and attach is None:
            attach = attach_by_django(lookups)
        rows = rows_of(self, chunked_fetch=use_chunked_fetch, chunk_size=size)
        if attach is None or (lookups and chunk_size is None):
            yield from rows
            return
        clock, chunks, done = clock_of(self), in_chunks(rows, size), 0
        while chunk := next_chunk(clock, chunks):
            attach(chunk)
            start = perf_counter()
            yield from chunk
            clock.loop += perf_counter() - start
            done += len(chunk)
        if (family := vars(self).get(FAMILY)) is not None:
            log_run(vars(self)["model"].__name__, done, family.session.stats)

    async def aiterator(self, chunk_size: int = CHUNK_SIZE) -> AsyncIterator[Any]:
        attach, lookups = attaching(self), self._prefetch_related_lookups
        if not is_djangos(self, "aiterator") or (lookups and attach is None):
            async for row in above(self).aiterator(chunk_size):
                yield row
            return
        if chunk_size <= 0:
            msg = "Chunk size must be strictly positive."
            raise ValueError(msg)
        use_chunked_fetch = not connections[self.db].settings_dict.get("DISABLE_SERVER_SIDE_CURSORS")
        rows = rows_of(self, chunked_fetch=use_chunked_fetch, chunk_size=chunk_size)
        if attach is None:
            async for row in rows:
                yield row
            return
        chunk: list[Any] = []
        async for row in rows:
            chunk.append(row)
            if len(chunk) >= chunk_size:
                await in_thread(attach, chunk)
                for attached in chunk:
                    yield attached
                chunk.clear()
        if chunk:
            await in_thread(attach, chunk)
            for attached in chunk:
                yield attached

    def __deepcopy__(self, memo: Any) -> Any:
        copied = above(self).__deepcopy__(memo)
        join(copied, vars(self).get(FAMILY))
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        if STOCK_CLASS in vars(type(self)):
            return reduced(self, stock_class_of(type(self)), protocol)
        return above(self).__reduce_ex__(protocol)


def above(queryset: Any) -> Any:
    """What `super()` gives inside the private class."""
    private_class = next(cls for cls in type(queryset).__mro__ if STOCK_CLASS in vars(cls))
    return super(private_class, queryset)


def is_djangos(queryset: Any, name: str) -> bool:
    """Whether the stock class uses Django's own method of that name."""
    return why_not_own(getattr(type(queryset), STOCK_CLASS), (name,)) is None


def rows_of(queryset: Any, **how: Any) -> Any:
    """The rows of a queryset, built natively if possible."""
    iterable_class = queryset._iterable_class
    if issubclass(iterable_class, ModelIterable) and why_left_to_django(queryset) is None:
        iterable_class = native_iterable(iterable_class)
    return iterable_class(queryset, **how)


def why_left_to_django(queryset: Any) -> str | None:
    """Why Django reads the queryset's rows, which `stats()` then says; None if it does not."""
    reason = why_not_read_as_stock(getattr(type(queryset), STOCK_CLASS))
    report(reason)
    if (family := vars(queryset).get(FAMILY)) is not None:
        family.session.read[queryset.model] = reason
    return reason


def attaching(queryset: Any) -> Callable[[Sequence[Any]], None] | None:
    """A function that attaches all related rows to a chunk; None if there are none, or Django attaches them."""
    family = vars(queryset).get(FAMILY)
    if (
        family is None
        or not (family.session.own.given or queryset._prefetch_related_lookups)
        or not issubclass(queryset._iterable_class, ModelIterable)
        or own_attaching(getattr(type(queryset), STOCK_CLASS))
    ):
        return None
    return functools.partial(family.attach, queryset)


def clock_of(queryset: Any) -> Clock:
    """The clock of the queryset's run; one that nobody looks at if it has no family."""
    family = vars(queryset).get(FAMILY)
    return Clock() if family is None else family.session.clock


def next_chunk(clock: Clock, chunks: Iterator[list[Any]]) -> list[Any]:
    """The next rows of a run, and none at its end."""
    with clock.while_reading():
        return next(chunks, [])


def attach_by_django(lookups: tuple[Any, ...]) -> Callable[[Sequence[Any]], None]:
    return lambda rows: query.prefetch_related_objects(rows, *lookups)


# --- pickling


def reduced(queryset: Any, stock_class: Any, protocol: Any) -> Any:
    """The reduction of an equal queryset of the stock class, plus the family that `unpickled` adds it to."""
    twin = object.__new__(stock_class)
    state, own = vars(queryset), vars(twin)
    own.update(state)
    family = own.pop(FAMILY, None)

    def fetch_all() -> None:
        """Django's pickling first fetches all rows: here the memoized queryset does so for its twin."""
        del own["_fetch_all"]
        before = dict(state)
        queryset._fetch_all()
        own.update((name, value) for name, value in state.items() if before.get(name) is not value)

    own.setdefault("_fetch_all", fetch_all)
    try:
        reduce = copyreg.dispatch_table.get(stock_class)
        made = twin.__reduce_ex__(protocol) if reduce is None else reduce(twin)
    finally:
        if own.get("_fetch_all") is fetch_all:
            del own["_fetch_all"]
    state.update(own)
    if not isinstance(made, tuple):
        return made
    function, args, *rest = made
    if rest and isinstance(rest[0], dict) and rest[0].get("_fetch_all") is fetch_all:
        rest[0] = {name: value for name, value in rest[0].items() if name != "_fetch_all"}
    return (unpickled, (family, function, args), *rest)


def unpickled(family: SharedMemory | None, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """A new queryset in the family; pickle restores its state afterwards."""
    queryset = function(*args)
    join(queryset, family)
    return queryset
