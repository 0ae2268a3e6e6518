"""Rows as model instances, built by the engine wherever that cannot be told from Django's own way."""

from __future__ import annotations

import functools
import inspect
import logging
import operator
import types
from collections.abc import Iterator
from typing import Any, Callable
from weakref import WeakKeyDictionary

import django
from django.db.models import Model, QuerySet
from django.db.models import base as base_module
from django.db.models.base import ModelState
from django.db.models.fields.files import FileDescriptor, ImageFileDescriptor
from django.db.models.fields.mixins import FieldCacheMixin
from django.db.models.fields.related_descriptors import ForeignKeyDeferredAttribute
from django.db.models.query import ModelIterable, RelatedPopulator, get_related_populators
from django.db.models.signals import post_init, pre_init
from django.db.models.sql.compiler import SQLCompiler

from ._engine import Hydrator, class_signature
from ._relations import cache_name_of
from ._stock import static_attribute, why_patched

logger = logging.getLogger("django_memoized_prefetch")

# What a descriptor may do when the value of a column is set: only to store it, under the column's name.
_FOREIGN_KEY = ForeignKeyDeferredAttribute.__set__
_PLAIN_SETS = (FileDescriptor.__set__, ImageFileDescriptor.__set__)
_STOCK_RESULTS = ("results_iter", "get_converters", "apply_converters")
_INIT, _FROM_DB = Model.__init__, Model.from_db.__func__
# A related object that all rows have is not set where the key is deferred.
_LEAVES_DEFERRED = django.VERSION >= (6, 1)

# How many rows are asked of the driver at once when all of them are wanted anyway.
ROWS_AT_ONCE = 2_000


class NativeModelIterable(ModelIterable):  # type: ignore[misc]
    """Gives what ModelIterable gives."""

    _stock_iterable = ModelIterable

    def __iter__(self) -> Iterator[Any]:
        queryset = self.queryset
        reason = why_not_native(queryset, self.chunked_fetch)
        if reason is None:
            db = queryset.db  # asked for once: a router may choose another replica every time
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
                instances: list[Any] = []
                try:
                    hydrator.build(prepare(rows), instances)
                except Exception:
                    yield from instances  # Django would have given those before it came to the row that failed
                    raise
                yield from instances
        finally:
            close_results(results)


def close_results(results: Any) -> None:
    """Closes the cursor that a compiler's results are read from; a list of all of them has none."""
    if inspect.isgenerator(results):
        if inspect.getgeneratorstate(results) == inspect.GEN_CREATED:
            next(results, None)  # closing one that never began would not run its `finally`
        results.close()


def natively(queryset: QuerySet[Any]) -> QuerySet[Any]:
    """The queryset, which nobody else holds, with its rows built natively."""
    queryset._iterable_class = native_iterable(queryset._iterable_class)
    return queryset


@functools.lru_cache(maxsize=64)
def native_iterable(iterable_class: type[Any]) -> type[Any]:
    """An iterable class that gives the same, its rows built natively where it takes them from ModelIterable."""
    if iterable_class is ModelIterable:
        return NativeModelIterable
    if not issubclass(iterable_class, ModelIterable) or issubclass(iterable_class, NativeModelIterable):
        return iterable_class
    return type(iterable_class.__name__, (iterable_class, NativeModelIterable), {"_stock_iterable": iterable_class})


def stock_iterable(iterable_class: type[Any]) -> type[Any]:
    """The one that `native_iterable` made this of; itself, when it did not."""
    return getattr(iterable_class, "_stock_iterable", iterable_class)


def hydrator_of(queryset: QuerySet[Any], compiler: Any, db: str) -> tuple[Hydrator, Callable[[Any], Any]]:
    """
    The builder of a result, and what makes of the driver's rows those that it takes.

    Args:
        compiler: Has run the query, on the database `db`.
    """
    select, klass_info = compiler.select, compiler.klass_info
    first, last = klass_info["select_fields"][0], klass_info["select_fields"][-1]
    fetch_mode = getattr(queryset, "_fetch_mode", None)
    columns = [(position, select[position][0].target.attname) for position in range(first, last + 1)]
    plan = (
        klass_info["model"],
        row_fields(klass_info["model"], columns),
        tuple(_relation_plans(klass_info, select, db, fetch_mode)),
    )
    expressions = [expression for expression, _, _ in select[: compiler.col_count]]
    converters: Any = ()
    prepare = _as_they_are
    if _has_composites(compiler, expressions):
        # Django's own converting, one row at a time.
        prepare = lambda rows: compiler.results_iter([rows])  # noqa: E731
    else:
        converters = [
            (at, functions, column) for at, (functions, column) in compiler.get_converters(expressions).items()
        ]
    hydrator = Hydrator(
        plan,
        ModelState,
        db,
        fetch_mode,
        bool(fetch_mode is not None and fetch_mode.track_peers),
        converters,
        compiler.connection,
        tuple((compiler.annotation_col_map or {}).items()),
        _known_related(queryset),
    )
    return hydrator, prepare


def _as_they_are(rows: Any) -> Any:
    return rows


def _has_composites(compiler: Any, expressions: list[Any]) -> bool:
    return hasattr(compiler, "has_composite_fields") and compiler.has_composite_fields(expressions)


def row_fields(model: type[Model], columns: list[tuple[int, str]]) -> tuple[tuple[int, str, bool], ...]:
    """
    Which column of a row is which attribute, in the order in which Model.from_db sets them.

    Args:
        columns: Position and name of those that were read.
    """
    concrete = model._meta.concrete_fields
    if len(columns) == len(concrete):
        pairs = [(position, field.attname) for (position, _), field in zip(columns, concrete)]
    else:
        read = {name for _, name in columns}
        loaded = [field.attname for field in concrete if field.attname in read]
        pairs = [(position, name) for (position, _), name in zip(columns, loaded)]
    return tuple((position, name, _is_foreign_key(model, name)) for position, name in pairs)


def _is_foreign_key(model: type[Model], attname: str) -> bool:
    return getattr(type(static_attribute(model, attname)), "__set__", None) is _FOREIGN_KEY


def _relation_plans(klass_info: dict[str, Any], select: Any, db: str, fetch_mode: Any) -> Iterator[Any]:
    """What select_related reads from each row."""
    related = klass_info.get("related_klass_infos", ())
    if not related:
        return
    mode = () if fetch_mode is None else (fetch_mode,)
    for info, populator in zip(related, get_related_populators(klass_info, select, db, *mode)):
        # Of a single column Django's populator makes no row, when it has to reorder: its error is its own.
        is_stock = (
            type(populator) is RelatedPopulator
            and why_patched(RelatedPopulator, ("__init__", "populate")) is None
            and not (populator.reorder_for_init is not None and len(populator.init_list) == 1)
        )
        reason = why_not_hydrated(populator.model_cls)
        if not is_stock or reason is not None:
            report(reason)
            yield populator.populate
            continue
        if populator.reorder_for_init is None:
            columns = [(at, select[at][0].target.attname) for at in range(populator.cols_start, populator.cols_end)]
        else:
            at_name = {select[at][0].target.attname: at for at in info["select_fields"]}
            columns = [(at_name[name], name) for name in populator.init_list]
        yield (
            populator.model_cls,
            row_fields(populator.model_cls, columns),
            columns[populator.pk_idx][0],
            _setter(info["local_setter"]),
            _setter(info["remote_setter"]),
            tuple(_relation_plans(info, select, db, fetch_mode)),
        )


def _setter(function: Any) -> Any:
    """Its name in `_state.fields_cache` if it only writes that, None if it does nothing; otherwise itself."""
    if isinstance(function, types.MethodType) and function.__func__ is FieldCacheMixin.set_cached_value:
        return cache_name_of(function.__self__)
    if isinstance(function, types.FunctionType) and function.__module__ == SQLCompiler.__module__:
        code = function.__code__
        if not code.co_names and not code.co_freevars and code.co_consts in ((None,), (None, None)):
            return None
    return function


def _known_related(queryset: QuerySet[Any]) -> Callable[[Any, Any], None] | None:
    """What related managers know of all their rows: the instance that these belong to."""
    if not queryset._known_related_objects:
        return None
    known = [
        (
            field,
            objects,
            attnames := [
                field.attname if name == "self" else queryset.model._meta.get_field(name).attname
                for name in field.from_fields
            ],
            operator.attrgetter(*attnames),
        )
        for field, objects in queryset._known_related_objects.items()
    ]

    def finish(instance: Any, _row: Any) -> None:
        for field, objects, attnames, key_of in known:
            if field.is_cached(instance):
                continue
            if _LEAVES_DEFERRED and any(name not in instance.__dict__ for name in attnames):
                continue
            related = objects.get(key_of(instance))
            if related is not None:
                setattr(instance, field.name, related)

    return finish


# --- may it be built natively? -------------------------------------------------------------------------------------


def why_not_native(queryset: QuerySet[Any], is_streamed: bool = False) -> str | None:
    """Why Django has to build a queryset's rows itself, without asking its database; None when it need not."""
    if is_streamed and getattr(getattr(queryset, "_fetch_mode", None), "track_peers", False):
        return f"{queryset.model.__name__}: peers are fetched for, and only those that were read so far"
    return why_patched(ModelIterable, ("__iter__",)) or why_not_hydrated(queryset.query.model)


def why_not_compiled(compiler: Any) -> str | None:
    """Why a row might become values otherwise than Django's own compilers make them."""
    cls = type(compiler)
    for name in _STOCK_RESULTS:
        if getattr(cls, name) is not getattr(SQLCompiler, name):
            return f"{compiler.query.model.__name__}: custom {cls.__name__}.{name}"
    return why_patched(SQLCompiler, _STOCK_RESULTS)


def report(reason: str | None) -> None:
    """Says once why Django builds rows of a model."""
    if reason is not None and reason not in _reported:
        _reported.add(reason)
        logger.info("Rows are built by Django. %s", reason)


_reported: set[str] = set()


def why_not_hydrated(model: Any) -> str | None:
    """Why building an instance might be more than storing its values; None when it is not."""
    # What the class's version does not tell.
    if type(model).__call__ is not type.__call__:
        return f"{model.__name__}: custom metaclass __call__"
    if base_module.ModelState is not ModelState:
        return f"{model.__name__}: ModelState is not Django's"
    if pre_init.has_listeners(model):
        return f"{model.__name__}: pre_init has receivers"
    if post_init.has_listeners(model):
        return f"{model.__name__}: post_init has receivers"
    fields = model._meta.concrete_fields
    known = _known.get(model)
    if known is None or known[0] is not fields:
        known = (fields, tuple(field.attname for field in fields), None, None)
    signature = class_signature(model, known[1])
    if signature is None or signature != known[2]:
        known = (fields, known[1], signature, _why_not(model, fields))
        _known[model] = known
    return known[3]


# What was found out about a class: its fields, their names, its signature then, and the answer.
_known: WeakKeyDictionary[Any, tuple[Any, tuple[str, ...], Any, str | None]] = WeakKeyDictionary()


def _why_not(model: Any, fields: Any) -> str | None:
    name = model.__name__
    if model.__new__ is not object.__new__:
        return f"{name}: custom __new__"
    if model._meta.abstract or inspect.isabstract(model) or not model.__dictoffset__:
        return f"{name}: instances are not ordinary ones"
    if (patched := why_patched(Model, ("__init__", "from_db", "__setattr__", "__getattribute__"))) is not None:
        return f"{name}: {patched}"
    if model.__init__ is not _INIT:
        return f"{name}: custom __init__"
    from_db = static_attribute(model, "from_db")
    if not isinstance(from_db, classmethod) or from_db.__func__ is not _FROM_DB:
        return f"{name}: custom from_db"
    after_model = model.__mro__[model.__mro__.index(Model) + 1 : -1]
    if any("__init__" in base.__dict__ for base in after_model):
        return f"{name}: a base class behind Model has an __init__"
    if model.__setattr__ is not object.__setattr__ or model.__getattribute__ is not object.__getattribute__:
        return f"{name}: custom __setattr__ or __getattribute__"
    if static_attribute(model, "_state") is not None or not isinstance(
        static_attribute(model, "__dict__"), types.GetSetDescriptorType
    ):
        return f"{name}: custom _state or __dict__"
    for field in fields:
        descriptor = static_attribute(model, field.attname)
        cls = type(descriptor)
        if descriptor is None or not (hasattr(cls, "__set__") or hasattr(cls, "__delete__")):
            continue
        if cls.__set__ is _FOREIGN_KEY:
            if type(descriptor.field).is_cached is not FieldCacheMixin.is_cached:
                return f"{name}.{field.attname}: custom field {type(descriptor.field).__name__}"
            if descriptor.field.attname == field.attname:
                continue
        elif cls.__set__ in _PLAIN_SETS:
            continue
        return f"{name}.{field.attname}: custom descriptor {cls.__name__}"
    return None
