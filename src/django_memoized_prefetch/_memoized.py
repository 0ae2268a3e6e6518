"""`memoized(queryset)`: the same queryset, its rows built by the engine, its lookups remembered across chunks."""

from __future__ import annotations

import copyreg
import functools
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar, overload

from asgiref.sync import sync_to_async
from django.db import connections
from django.db.models import Manager, Model, QuerySet
from django.db.models.manager import BaseManager
from django.db.models.query import ModelIterable

from ._chunks import own_attaching
from ._config import check_size
from ._hydrate import native_iterable, stock_iterable, why_not_native
from ._prefetch import MemoizedPrefetch

logger = logging.getLogger("django_memoized_prefetch")

Rows = TypeVar("Rows", bound="QuerySet[Any]")
Row = TypeVar("Row", bound=Model)

# As Django's iterator() without a chunk_size.
CHUNK_SIZE = 2_000


@overload
def memoized(
    queryset: Rows, prefetch: MemoizedPrefetch | None = None, *, lru_cache_size: int | None = 10_000
) -> Rows: ...
@overload  # without stubs for Django, a Manager might be a QuerySet for all that mypy knows
def memoized(  # type: ignore[overload-cannot-match]
    queryset: Manager[Row], prefetch: MemoizedPrefetch | None = None, *, lru_cache_size: int | None = 10_000
) -> QuerySet[Row]: ...
def memoized(queryset: Any, prefetch: MemoizedPrefetch | None = None, *, lru_cache_size: int | None = 10_000) -> Any:
    """
    The same queryset, faster: its rows are built natively, and related rows are read once for all chunks.

        for book in memoized(Book.objects.prefetch_related("author")).iterator(chunk_size=2000):
            ...

    What is made from it by `filter()`, `prefetch_related()`, a slice and so on keeps that, and shares what is
    remembered, as long as one of these querysets lives: a snapshot for one run, as that of a MemoizedPrefetch. Make it
    where the run starts, not at the top of a module. A `list()` of it is one chunk. After `values()` it is an ordinary
    queryset.

    Args:
        queryset: It stays as it is. Of a manager, all rows.
        prefetch: Its lookups are added to those of the queryset, whose rows go into its memory; its `stats()` tell of
            both.
        lru_cache_size: How many rows of each table are kept between chunks, None: all. With `prefetch` its own decides.

    Raises:
        TypeError, ValueError: An argument is not what is described above.
    """
    if isinstance(queryset, BaseManager):
        queryset = queryset.all()
    if not isinstance(queryset, QuerySet):
        msg = f"memoized: expected a queryset or a manager, got {queryset!r} of type {type(queryset).__name__}."
        raise TypeError(msg)
    if prefetch is not None and not isinstance(prefetch, MemoizedPrefetch):
        msg = f"memoized: prefetch must be a MemoizedPrefetch, got {prefetch!r}; lookups belong in prefetch_related()."
        raise TypeError(msg)
    check_size(lru_cache_size, "memoized")
    clone = queryset._chain()
    stock_class: Any = getattr(type(clone), "_stock_class", type(clone))
    if prefetch is not None and (own := own_attaching(stock_class)):
        msg = (
            f"memoized: {stock_class.__name__} has its own {own}(), which does not know prefetch; use process_chunk()."
        )
        raise ValueError(msg)
    clone.__class__ = memoized_class(stock_class)
    clone._memoized = Family(MemoizedPrefetch(lru_cache_size=lru_cache_size) if prefetch is None else prefetch)
    return clone


class Family:
    """
    What the querysets of one `memoized()` call share.

    Args:
        prefetch: Its lookups are for every chunk of all of them.
    """

    def __init__(self, prefetch: MemoizedPrefetch) -> None:
        self.prefetch = prefetch

    def attach(self, queryset: QuerySet[Any], rows: Sequence[Any]) -> None:
        """One chunk."""
        self.prefetch._built[queryset.model.__name__] = why_not_native(queryset)
        self.prefetch._process_with(tuple(queryset._prefetch_related_lookups), rows)

    def __reduce__(self) -> Any:
        return Family, (self.prefetch,)  # which is pickled without what it remembers

    def __copy__(self) -> Family:
        return self

    def __deepcopy__(self, memo: Any) -> Family:
        return self  # a copied queryset is one of the family, as a clone is


@functools.lru_cache(maxsize=256)
def memoized_class(stock_class: Any) -> Any:
    """The private subclass of a queryset class. It looks like that one."""
    own = own_attaching(stock_class)
    if own is not None:
        name = stock_class.__name__
        logger.info("Lookups of %s are prefetched by Django for every chunk. It has its own %s()", name, own)

    class Memoized(stock_class):  # type: ignore[misc]
        _stock_class = stock_class
        # Of an instance that the class itself was called for, past _clone().
        _memoized: Family | None = None

        # Everything that builds rows asks for it; copies and pickles keep Django's own, which is what is stored.
        @property
        def _iterable_class(self) -> Any:
            return native_iterable(self.__dict__["_iterable_class"])

        @_iterable_class.setter
        def _iterable_class(self, iterable_class: Any) -> None:
            self.__dict__["_iterable_class"] = stock_iterable(iterable_class)

        def _clone(self, *args: Any, **kwargs: Any) -> Any:
            clone = super()._clone(*args, **kwargs)
            if isinstance(clone, Memoized):
                clone._memoized = self._memoized
            return clone

        @property
        def _memoizes(self) -> bool:
            """Whether something is to be attached to the rows, and by this package."""
            family = self._memoized
            return (
                own is None
                and family is not None
                and bool(family.prefetch._lookups or self._prefetch_related_lookups)
                and issubclass(self.__dict__["_iterable_class"], ModelIterable)
            )

        def _fetch_all(self) -> None:
            super()._fetch_all()
            # Django comes to _prefetch_related_objects() with lookups of the queryset itself only.
            if not self._prefetch_done and self._memoizes:
                self._prefetch_related_objects()

        def _prefetch_related_objects(self) -> None:
            if not self._memoizes:
                super()._prefetch_related_objects()
                return
            self._memoized.attach(self, self._result_cache)  # type: ignore[union-attr]
            self._prefetch_done = True

        def _iterator(self, use_chunked_fetch: bool, chunk_size: int | None) -> Iterator[Any]:
            if not self._memoizes or (chunk_size is None and self._prefetch_related_lookups):
                yield from super()._iterator(use_chunked_fetch, chunk_size)
                return
            size = chunk_size or CHUNK_SIZE
            iterator = iter(self._iterable_class(self, chunked_fetch=use_chunked_fetch, chunk_size=size))
            while rows := list(islice(iterator, size)):
                self._memoized.attach(self, rows)  # type: ignore[union-attr]
                yield from rows

        async def aiterator(self, chunk_size: int = CHUNK_SIZE) -> AsyncIterator[Any]:
            if not self._memoizes:
                async for row in super().aiterator(chunk_size):
                    yield row
                return
            if chunk_size <= 0:
                msg = "Chunk size must be strictly positive."
                raise ValueError(msg)
            use_chunked_fetch = not connections[self.db].settings_dict.get("DISABLE_SERVER_SIDE_CURSORS")
            rows: list[Any] = []
            attach = sync_to_async(self._memoized.attach)  # type: ignore[union-attr]
            async for row in self._iterable_class(self, chunked_fetch=use_chunked_fetch, chunk_size=chunk_size):
                rows.append(row)
                if len(rows) >= chunk_size:
                    await attach(self, rows)
                    for attached in rows:
                        yield attached
                    rows.clear()
            if rows:
                await attach(self, rows)
                for attached in rows:
                    yield attached

        def __reduce_ex__(self, protocol: Any) -> Any:
            reduced = super().__reduce_ex__(max(protocol, 2))
            if isinstance(reduced, tuple) and reduced[0] is copyreg.__newobj__:  # type: ignore[attr-defined]
                return (_again, (stock_class, *reduced[1][1:]), *reduced[2:])
            return reduced

    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(Memoized, name, getattr(stock_class, name))
    return Memoized


def _again(stock_class: Any, *args: Any) -> Any:
    cls = memoized_class(stock_class)
    return cls.__new__(cls, *args)
