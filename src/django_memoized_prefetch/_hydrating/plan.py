"""Plans for the engine's hydrator: how the columns of a result become model instances."""

from __future__ import annotations

import operator
import types
from collections.abc import Iterator
from typing import Any, Callable

import django
from django.db.models import Model, QuerySet
from django.db.models.base import ModelState
from django.db.models.fields.mixins import FieldCacheMixin
from django.db.models.query import RelatedPopulator, get_related_populators
from django.db.models.sql.compiler import SQLCompiler

from .._engine import Hydrator
from .._relation import cache_name_of
from .._stock import static_attribute, why_patched
from .eligibility import FOREIGN_KEY_SET, report, why_not_hydrated

# Since Django 6.1, a known related object is not set on rows whose key is deferred.
_LEAVES_DEFERRED = django.VERSION >= (6, 1)


def hydrator_of(queryset: QuerySet[Any], compiler: Any, db: str) -> tuple[Hydrator, Callable[[Any], Any]]:
    """
    The hydrator for a result, and a function that prepares the driver's rows for it.

    Args:
        compiler: The compiler that has run the query, on the database `db`.
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
        # Let Django convert the values, one row at a time.
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
    Which column of a row becomes which attribute, in the order in which Model.from_db sets them.

    Args:
        columns: Position and name of each column that was read.

    Returns:
        For each: its position, the attribute, and whether that is a foreign key.
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
    return getattr(type(static_attribute(model, attname)), "__set__", None) is FOREIGN_KEY_SET


def _relation_plans(klass_info: dict[str, Any], select: Any, db: str, fetch_mode: Any) -> Iterator[Any]:
    """The plans for the related instances that select_related reads from each row."""
    related = klass_info.get("related_klass_infos", ())
    if not related:
        return
    mode = () if fetch_mode is None else (fetch_mode,)
    for info, populator in zip(related, get_related_populators(klass_info, select, db, *mode)):
        # If Django's populator has to reorder a single column, it fails; leave that error to it.
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
    """The name in `_state.fields_cache` if the function only writes there, None if it does nothing, or itself."""
    if isinstance(function, types.MethodType) and function.__func__ is FieldCacheMixin.set_cached_value:
        return cache_name_of(function.__self__)
    if isinstance(function, types.FunctionType) and function.__module__ == SQLCompiler.__module__:
        code = function.__code__
        if not code.co_names and not code.co_freevars and code.co_consts in ((None,), (None, None)):
            return None
    return function


def _known_related(queryset: QuerySet[Any]) -> Callable[[Any, Any], None] | None:
    """A function that sets the instance that all rows of a related manager belong to; None if there is none."""
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
