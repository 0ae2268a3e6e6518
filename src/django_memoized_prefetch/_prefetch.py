"""`MemoizedPrefetch`: what users call. The work is done by its session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Callable, Literal, TypeVar, overload

from asgiref.sync import sync_to_async
from django.db.models import Manager, Model, Prefetch, QuerySet
from django.db.models.query import RawQuerySet

from ._config import MemoizedPrefetchConfig, check_size
from ._reports.report import links_views, rows_views
from ._reports.stats import Stats
from ._reports.views import ViewMapping
from ._running.chunk import rows_of
from ._running.session import Session
from ._streaming.progress import Progress
from ._streaming.stream import Stream, read_in_thread

if TYPE_CHECKING:
    from typing_extensions import Self

Row = TypeVar("Row", bound=Model)


class MemoizedPrefetch:
    """
    Prefetches related rows chunk by chunk and remembers them: a snapshot for one run.

    A related row is read once and shared by all chunks. It shows the database as it was at that moment: later writes,
    of this process or others, and rollbacks are not seen, and what you change in a shared instance shows in later
    chunks. `invalidate()` forgets rows that changed, `clear()` everything.

    Args:
        lookups: What `prefetch_related` takes, lookup strings such as `"author"` or `"book__author"`, Prefetch and
            GenericPrefetch objects, and MemoizedPrefetchConfig objects.
        model: The model of the chunks; with it, all lookups are checked now instead of at the first chunk.
        lru_cache_size: How many rows of each table are kept between chunks, for lookups without a config of their own;
            None: all. Memory is bounded by the sum over the tables of this times what hangs on one row.
        scope: A callable without arguments, asked once per chunk. Chunks for which it returns different values share
            nothing: for tenants that the connection does not show.
        invalidate_on_change: Forget rows that this process saves or deletes, and links that it adds or removes, as soon
            as the next chunk begins. What sends no signal is not seen: `update()`, bulk operations, raw SQL, rows of
            a many-to-many's automatic table that are saved or deleted as such.

    Raises:
        AttributeError, TypeError, ValueError: A lookup does not fit, with what was expected.

    Making one may run queries: those of configs with `prefetch_all=True`.
    """

    def __init__(
        self,
        *lookups: MemoizedPrefetchConfig | Prefetch[Any] | str,
        model: type[Model] | None = None,
        lru_cache_size: int | None = 10_000,
        scope: Callable[[], Any] | None = None,
        invalidate_on_change: bool = False,
    ) -> None:
        check_size(lru_cache_size, "MemoizedPrefetch")
        if scope is not None and not callable(scope):
            msg = f"MemoizedPrefetch: scope must be a callable without arguments, got {scope!r}."
            raise TypeError(msg)
        if model is not None and not (isinstance(model, type) and issubclass(model, Model)):
            msg = f"MemoizedPrefetch: model must be a model class, got {model!r}."
            raise TypeError(msg)
        self._lookups = lookups
        # Copies and pickles keep what was configured, not what is remembered.
        self._options = {
            "model": model,
            "lru_cache_size": lru_cache_size,
            "scope": scope,
            "invalidate_on_change": invalidate_on_change,
        }
        configs = [lookup for lookup in lookups if isinstance(lookup, MemoizedPrefetchConfig)]
        _check_unique(configs)
        self.memoized_objects_configs: dict[type[Model], MemoizedPrefetchConfig] = {}
        for config in configs:
            self.memoized_objects_configs.setdefault(config.model, config)
        self._session = Session(lookups, lru_cache_size, scope, invalidate_on_change)
        if model is not None:
            self._session.own.check(model)
        for config in configs:
            if config.prefetch_all:
                self._session.load_now(config)

    # --- the main job

    @overload
    def process_chunk(self, objects: list[Row]) -> list[Row]: ...
    @overload
    def process_chunk(self, objects: tuple[Row, ...]) -> tuple[Row, ...]: ...
    @overload
    def process_chunk(self, objects: Iterable[Row]) -> Sequence[Row]: ...
    def process_chunk(self, objects: Iterable[Row]) -> Sequence[Row]:
        """
        Attaches the related rows to the objects, with at most one query per related table for what is not remembered.

        Args:
            objects: Model instances. A queryset is evaluated in place, once.

        Returns:
            The list or tuple itself, a queryset's rows, or a list of what an iterable gave.

        Raises:
            TypeError: One of the objects is no model instance.
            AttributeError: A lookup names no relation of these objects.
            ValueError: A lookup leads elsewhere than its config says, or an unsaved object has a many-to-many.
            Whatever a query raises; the memory is then as before, and the chunk can be processed again.
        """
        rows = rows_of(objects)
        self._session.process(rows)
        return rows

    async def aprocess_chunk(self, objects: Iterable[Row]) -> Sequence[Row]:
        """`process_chunk` in the thread in which Django runs its queries."""
        process: Any = self.process_chunk
        chunk: Sequence[Row] = await sync_to_async(process)(objects)
        return chunk

    def chunks(
        self,
        queryset: QuerySet[Row] | Manager[Row] | RawQuerySet[Row] | Iterable[Row],
        chunk_size: int = 2_000,
        *,
        after: Any = None,
        progress: bool | Callable[[Progress], Any] | None = None,
        total: int | None = None,
        mode: Literal["pages", "cursor"] | None = None,
    ) -> Iterator[list[Row]]:
        """
        The rows of a queryset in lists, processed, one list at a time in memory.

            for chunk in prefetch.chunks(Book.objects.prefetch_related("author")):
                for book in chunk: ...

        They are read in pages, `key > last ORDER BY key LIMIT chunk_size + 1`, where that gives the queryset's rows:
        when it is unordered or ordered by primary key alone, and is no slice, union, DISTINCT, aggregate, extra(),
        window, lock or join of many rows to one. Each page sees the database of its moment, and no cursor or
        transaction is open in between. Otherwise one cursor reads them all, as Django's `iterator()`. `stats().streams`
        says which and why.

        Args:
            queryset: It is not evaluated. What it has of `prefetch_related()` is attached too, and remembered. Of a
                manager all rows; lists and other iterables are cut into chunks.
            chunk_size: Rows of one list.
            after: Start behind the row with this primary key, in the order of the queryset; needs pages.
            progress: True: draw a bar, with tqdm. A callable: is given a Progress each time that a chunk is done, when
                the loop comes back for the next one.
            total: How many rows there are, for the fraction and the time left. Without it they are estimated from
                integer keys, in pages only; no rows are counted.
            mode: "pages" or "cursor" forces one.

        Raises:
            ValueError: Pages were asked for, by `mode` or `after`, and something stands against them.
            TypeError: No queryset or iterable of model instances.
            ImportError: `progress=True` without tqdm.

        The loop may be left at any time; nothing stays open when the iterator is closed or released.
        """
        return Stream(self._session, queryset, chunk_size, after, progress, total, mode).read()

    def achunks(
        self,
        queryset: QuerySet[Row] | Manager[Row] | RawQuerySet[Row] | Iterable[Row],
        chunk_size: int = 2_000,
        *,
        after: Any = None,
        progress: bool | Callable[[Progress], Any] | None = None,
        total: int | None = None,
        mode: Literal["pages", "cursor"] | None = None,
    ) -> AsyncIterator[list[Row]]:
        """
        `chunks` for `async for`: reads, processes and calls `progress` in the thread in which Django runs its queries.

        Who leaves the loop early closes it, by `contextlib.aclosing()` for example: until then, or until the event loop
        does so, a cursor may stay open.
        """
        return read_in_thread(Stream(self._session, queryset, chunk_size, after, progress, total, mode).read())

    def clear(self) -> None:
        """Forgets every remembered row, absence and link. Objects that were attached stay as they are."""
        self._session.clear()

    def invalidate(self, model: type[Model], pks: Iterable[Any] | None = None) -> None:
        """
        Forgets rows, with everything remembered that mentions them; the next chunk reads them again.

        Objects that were processed before stay as they are, with what is attached to them.

        Args:
            model: Whose rows changed.
            pks: Their primary keys; None: all of the model's rows.
        """
        if not (isinstance(model, type) and issubclass(model, Model) and hasattr(model, "_meta")):
            msg = f"invalidate: model must be a model class, got {model!r}."
            raise TypeError(msg)
        if isinstance(pks, (str, bytes)) or not (pks is None or isinstance(pks, Iterable)):
            msg = f"invalidate: pks must be an iterable of primary keys or None, got {pks!r}; write [{pks!r}]."
            raise TypeError(msg)
        self._session.invalidate(model, pks)

    def stats(self) -> Stats:
        """What was asked, remembered and read so far; a snapshot."""
        return self._session.stats()

    @property
    def memoized_objects(self) -> ViewMapping[type[Model]]:
        """The remembered rows by model, then by primary key."""
        self._session.check_process()
        return rows_views(self._session, self.memoized_objects_configs)

    @property
    def through_model_source_target_cache(self) -> ViewMapping[str]:
        """The remembered links: the targets of each source, by the name of the through model and its two fields."""
        self._session.check_process()
        return links_views(self._session)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.clear()

    def __reduce__(self) -> Any:
        return _unpickle, (type(self), self._lookups, self._options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {', '.join(self._session.own.paths()) or 'no lookups'}>"


def _check_unique(configs: Iterable[MemoizedPrefetchConfig]) -> None:
    """Raises when two configs remember the same rows."""
    seen: set[Any] = set()
    for config in configs:
        source = id(config) if config.overrides_queryset else None if config.queryset is None else id(config.queryset)
        identity = (config.model, config.is_many_to_many, source)
        if identity in seen:
            msg = (
                "Models have to be unique. If you need to fetch the same model for multiple attributes, "
                f"put the multiple attributes in the list of attributes. Twice: {config.model.__name__}."
            )
            raise ValueError(msg)
        seen.add(identity)


def _unpickle(cls: type[MemoizedPrefetch], lookups: Any, options: dict[str, Any]) -> MemoizedPrefetch:
    return cls(*lookups, **options)
