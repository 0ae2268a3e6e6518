"""`MemoizedPrefetch`, the public entry point. Its `Session` does the work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Callable, Literal, TypeVar, overload

from django.db.models import Manager, Model, Prefetch, QuerySet
from django.db.models.manager import BaseManager
from django.db.models.query import RawQuerySet

from ._config import DEFAULT_SIZE, MemoizedPrefetchConfig, Size, check_sizes
from ._lookahead.look_ahead import look_ahead
from ._lookahead.plan import Plan
from ._memory.amount import amount_of
from ._messages import shown
from ._partitions.partition import Partition
from ._partitions.runs import RUNS
from ._reports.report import links_views, rows_views
from ._reports.stats import Stats
from ._reports.views import ViewMapping
from ._running.chunk import rows_of
from ._running.session import Session
from ._running.user import in_thread
from ._streaming.progress import Progress, reporting
from ._streaming.stream import Stream, read_in_thread

if TYPE_CHECKING:
    from typing_extensions import Self

Row = TypeVar("Row", bound=Model)


class MemoizedPrefetch:
    """
    Prefetches related rows chunk by chunk and remembers them. Its memory is a snapshot for one run.

    Each related row is read once and shared by all chunks. It shows the database at that moment: later writes, by this
    process or others, and rollbacks go unseen. If you change a shared instance, later chunks see the change. Call
    `invalidate()` to forget rows that changed, `clear()` to forget everything.

    Args:
        lookups: Whatever `prefetch_related` takes (lookup strings such as `"author"` or `"book__author"`, Prefetch and
            GenericPrefetch objects), and MemoizedPrefetchConfig objects.
        model: The model of the chunks. If given, all lookups are checked now instead of at the first chunk.
        lru_cache_size (int | None | dict): How many rows of each table to keep between chunks, for lookups without a
            config; None keeps all. Memory is bounded by this number times the size of a row with all that is attached
            to it, summed over the tables. A dict gives each table its own number, by its name in `stats().tables`, and
            the others 10,000; `plan().sizes()` makes one.
        scope: A callable without arguments, called once per chunk. Chunks for which it returns different values share
            nothing. Use it for tenants that the connection does not reveal.
        invalidate_on_change: When a chunk begins, forget the rows that this process has saved or deleted, those that a
            deletion has changed by `on_delete`, and the links that were added or removed. Changes without a signal are
            missed: `update()`, bulk operations, raw SQL, and rows of a many-to-many's automatic table that are saved or
            deleted directly.
        memory: In place of `lru_cache_size`: how much memory all tables together may take after each chunk, in bytes or
            as a text such as `"200 MB"`; at least 10 kB. As long as they fit, all rows are kept. Then each table gets
            the size at which all together find the most rows. A config's own `lru_cache_size` holds. How much memory a
            row takes, with everything attached to it, is estimated from samples.

    Raises:
        AttributeError: With `model`: a lookup names no relation of it.
        TypeError: A lookup or an argument has another type than described above.
        ValueError: A lookup leads to another model than its config says, a size is not positive, `memory` is less than
            10 kB or no amount, both `memory` and `lru_cache_size` are given, or two configs remember the same rows.

    The constructor may run queries: those of configs with `prefetch_all=True`.

    .. versionchanged:: 1.0
        Takes lookups besides configs, and keyword arguments. All methods but `process_chunk` are new.
    """

    def __init__(
        self,
        *lookups: MemoizedPrefetchConfig | Prefetch[Any] | str,
        model: type[Model] | None = None,
        lru_cache_size: Size = DEFAULT_SIZE,
        scope: Callable[[], Any] | None = None,
        invalidate_on_change: bool = False,
        memory: int | str | None = None,
    ) -> None:
        check_sizes(lru_cache_size, "MemoizedPrefetch")
        amount = amount_of(memory, lru_cache_size, "MemoizedPrefetch")
        if scope is not None and not callable(scope):
            msg = f"MemoizedPrefetch: scope must be a callable without arguments, got {shown(scope)}."
            raise TypeError(msg)
        if model is not None and not (isinstance(model, type) and issubclass(model, Model)):
            msg = f"MemoizedPrefetch: model must be a model class, got {shown(model)}."
            raise TypeError(msg)
        _check_lookups(lookups)
        self._lookups = lookups
        # Copies and pickles keep the configuration, not the memory.
        self._options = {
            "model": model,
            "lru_cache_size": lru_cache_size,
            "scope": scope,
            "invalidate_on_change": invalidate_on_change,
            "memory": memory,
        }
        configs = [lookup for lookup in lookups if isinstance(lookup, MemoizedPrefetchConfig)]
        _check_unique(configs)
        self.memoized_objects_configs: dict[type[Model], MemoizedPrefetchConfig] = {}
        for config in configs:
            self.memoized_objects_configs.setdefault(config.model, config)
        self._session = Session(lookups, lru_cache_size, scope, invalidate_on_change, amount)
        if model is not None:
            self._session.own.check(model)
        for config in configs:
            if config.prefetch_all:
                self._session.load_now(config)

    @classmethod
    def for_run(cls, run: str | Partition, make: Callable[[], Self]) -> Self:
        """
        This process's memory of a run, shared by its threads. The first part that comes makes it::

            def make():
                return MemoizedPrefetch("author", "publisher")

            prefetch = MemoizedPrefetch.for_run(part, make)
            for chunk in prefetch.chunks(part.of(Book.objects.all())): ...

        Another run begins with an empty memory, and so does a forked child. A process keeps the memories of the two
        runs that it used last.

        Args:
            run: The part. Or the name of the run, which then must not come again as the name of a later one: that would
                find the rows of the earlier.
            make: Called without arguments if this process has no memory of the run yet.

        Raises:
            TypeError: `make` does not return an instance of this class, or `run` is neither a part nor a text.
        """
        if isinstance(run, Partition):
            key: tuple[str, ...] = (run.run, run.cut)
        elif isinstance(run, str):
            key = (run,)
        else:
            msg = f"for_run: run must be a Partition or the name of a run, got {shown(run)}."
            raise TypeError(msg)
        if not callable(make):
            msg = f"for_run: make must be a callable without arguments, got {shown(make)}."
            raise TypeError(msg)

        def checked() -> Any:
            made = make()
            if not isinstance(made, cls):
                msg = f"for_run: make must return a {cls.__name__}, got {shown(made)}."
                raise TypeError(msg)
            return made

        memory: Self = RUNS.memory_of((cls, *key), checked)
        return memory

    # --- processing chunks

    @overload
    def process_chunk(self, objects: list[Row]) -> list[Row]: ...
    @overload
    def process_chunk(self, objects: tuple[Row, ...]) -> tuple[Row, ...]: ...
    @overload
    def process_chunk(self, objects: Iterable[Row]) -> Sequence[Row]: ...
    def process_chunk(self, objects: Iterable[Row]) -> Sequence[Row]:
        """
        Attaches the related rows to the objects. Rows not in memory cost at most one query per related table.

        Args:
            objects: Model instances. A queryset is evaluated in place, once.

        Returns:
            The list or tuple itself, the queryset's rows, or the iterable's items as a list.

        Raises:
            TypeError: One of the objects is not a model instance.
            AttributeError: A lookup names no relation of these objects.
            ValueError: A lookup leads to another model than its config says, or an unsaved object has a many-to-many.
            Exception: Any error of a query. The memory is then as before, and you can process the chunk again.

        .. versionchanged:: 1.0
            Returns the objects, and takes any iterable.
        """
        rows = rows_of(objects)
        self._session.process(rows)
        return rows

    async def aprocess_chunk(self, objects: Iterable[Row]) -> Sequence[Row]:
        """Like `process_chunk`, in the thread in which Django runs its queries."""
        chunk: Sequence[Row] = await in_thread(self.process_chunk, objects)
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
        Yields the rows of a queryset in lists, with related rows attached. Only one list is in memory at a time::

            for chunk in prefetch.chunks(Book.objects.prefetch_related("author")):
                for book in chunk: ...

        Rows are read in pages, `key > last ORDER BY key LIMIT chunk_size + 1`, if that gives the queryset's rows. The
        queryset must be unordered or ordered by primary key alone. It must not be a slice, union, DISTINCT or
        aggregate, use extra(), a window or a lock, or join several rows to one. Each page sees the database at its own
        moment, and no cursor or transaction stays open between pages. Otherwise one cursor reads all rows, like
        Django's `iterator()`. `stats().streams` says which way was taken and why.

        Args:
            queryset: It is not evaluated. Its own `prefetch_related()` lookups are attached and remembered too. A
                manager stands for all its rows. Lists and other iterables are cut into chunks.
            chunk_size: How many rows each list holds; the last may hold fewer.
            after: Start after the row with this primary key, in the queryset's order. Needs pages.
            progress: True draws a bar with tqdm. A callable receives a Progress whenever a chunk is done, that is when
                the loop asks for the next one.
            total: How many rows there are, for the fraction and the time left. Without it both are estimated from
                integer keys, if the rows come in key order; no rows are counted.
            mode: "pages" or "cursor" forces that way of reading.

        Raises:
            ValueError: `mode` or `after` asks for pages, but the queryset cannot be read in pages.
            TypeError: `queryset` is not a queryset, manager or iterable of model instances.
            ImportError: `progress=True` without tqdm.

        You may leave the loop at any time; nothing stays open once the iterator is closed or released.
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
        Like `chunks`, for `async for`. Django's query thread reads, processes and calls `progress`.

        If you leave the loop early, close the iterator, for example with `contextlib.aclosing()`. Until you or the
        event loop closes it, a cursor may stay open.
        """
        return read_in_thread(Stream(self._session, queryset, chunk_size, after, progress, total, mode).read())

    def plan(
        self,
        queryset: QuerySet[Row] | Manager[Row] | RawQuerySet[Row] | Iterable[Row],
        chunk_size: int = 2_000,
        *,
        rows: int | None = None,
        progress: bool | Callable[[Progress], Any] | None = None,
    ) -> Plan:
        """
        Tells what a run over a queryset would fetch, at any size, from the keys of its rows alone::

            print(MemoizedPrefetch("author", "publisher").plan(Book.objects.all()))

        One statement reads the keys of all to-one relations, one more those of each many-to-many, and one more those of
        each relation that no join gives. No related row is read, no instance is built, and nothing is remembered.
        Figures are exact for the rows that are read, if these do not change meanwhile and the queryset defines their
        order; without an order it is that of the primary key.

        Args:
            queryset: What `chunks()` would be given. If it is a list of objects, only the objects' own keys are known.
            chunk_size: How many rows each chunk would have.
            rows: Read only the first rows. The figures then are of these rows alone. One chunk tells nothing of what
                comes back: read several.
            progress: True draws a bar with tqdm. A callable receives a Progress for every batch of rows that was read.

        Raises:
            AttributeError: A lookup names no relation of these rows.
            TypeError: `queryset` is not what `chunks` takes.
            ValueError: There are no lookups, one leads to another model than its config says, or a number is not
                positive.
            ImportError: `progress=True` without tqdm.
        """
        with reporting(progress, "plan") as report:
            return look_ahead(self._session, queryset, chunk_size, rows, report)

    def clear(self) -> None:
        """Forgets every remembered row, absence and link. Objects that you already have stay as they are."""
        self._session.clear()

    def invalidate(self, model: type[Model], pks: Iterable[Any] | None = None) -> None:
        """
        Forgets rows and everything in memory that refers to them. The next chunk reads them again.

        Objects processed before stay as they are, with what is attached to them.

        Args:
            model: The model whose rows changed.
            pks: Their primary keys; None for all of the model's rows.

        Raises:
            TypeError: `model` is not a model class, or `pks` is not an iterable of primary keys.
            ValueError: A key is not a valid primary key of the model.
        """
        if not (isinstance(model, type) and issubclass(model, Model) and hasattr(model, "_meta")):
            msg = f"invalidate: model must be a model class, got {shown(model)}."
            raise TypeError(msg)
        if model._meta.abstract:
            msg = f"invalidate: model must have a table, got {model.__name__}, which is abstract; name its subclasses."
            raise TypeError(msg)
        if isinstance(pks, (str, bytes)) or not (pks is None or isinstance(pks, Iterable)):
            msg = f"invalidate: pks must be an iterable of primary keys or None, got {pks!r}; write [{pks!r}]."
            raise TypeError(msg)
        self._session.invalidate(model, pks)

    def stats(self) -> Stats:
        """A snapshot of what was requested, found in memory and read so far."""
        return self._session.stats()

    def take_stats(self) -> Stats:
        """
        What was done since the last call, by all threads together.

        Call it at the end of every part of a run: the sum of what it returns is `stats()`.
        """
        return self._session.take_stats()

    @property
    def memoized_objects(self) -> ViewMapping[type[Model]]:
        """The remembered rows by model, then by primary key."""
        self._session.check_process()
        return rows_views(self._session, self.memoized_objects_configs)

    @property
    def through_model_source_target_cache(self) -> ViewMapping[str]:
        """The remembered links, by `"<through model>_<source field>_<target field>"`: the targets of each source."""
        self._session.check_process()
        return links_views(self._session)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.clear()

    def __reduce__(self) -> Any:
        made_anew = vars(MemoizedPrefetch())
        own = {name: value for name, value in vars(self).items() if name not in made_anew}  # a subclass's
        return _unpickle, (type(self), self._lookups, self._options), own or None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {', '.join(self._session.own.paths()) or 'no lookups'}>"


def _check_lookups(lookups: Iterable[Any]) -> None:
    """Raises TypeError if one is nothing that `prefetch_related` takes, and no config."""
    for one in lookups:
        if isinstance(one, (str, Prefetch, MemoizedPrefetchConfig)):
            continue
        hint = ""
        if isinstance(one, (QuerySet, BaseManager, RawQuerySet)):
            hint = "; pass it to chunks()"
        elif isinstance(one, (list, tuple)) and one:
            are_names = all(isinstance(name, str) for name in one)
            hint = f"; write MemoizedPrefetch({', '.join(map(repr, one)) if are_names else '*lookups'})"
        msg = (
            "MemoizedPrefetch: expected lookup strings, Prefetch objects and MemoizedPrefetchConfig objects, "
            f"got {shown(one)}{hint}."
        )
        raise TypeError(msg)


def _check_unique(configs: Iterable[MemoizedPrefetchConfig]) -> None:
    """Raises ValueError if two configs remember the same rows."""
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
    """An instance with an empty memory. The `__init__` of a subclass may take other arguments, so it is not called."""
    one = cls.__new__(cls)
    MemoizedPrefetch.__init__(one, *lookups, **options)
    return one
