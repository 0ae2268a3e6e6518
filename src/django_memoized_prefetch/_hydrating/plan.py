"""Plans for the engine's hydrator: how the columns of a result become model instances."""

from __future__ import annotations

import functools
import operator
import types
from collections.abc import Iterator, Sequence
from typing import Any, Callable
from weakref import WeakSet

import django
from django.db.models import Model, QuerySet, query
from django.db.models import base as base_module
from django.db.models.base import DEFERRED, ModelState
from django.db.models.fields.mixins import FieldCacheMixin
from django.db.models.query import RelatedPopulator, get_related_populators
from django.db.models.sql.compiler import SQLCompiler

from .._engine import Hydrator
from .._relation import cache_name_of
from .._stock import is_own, static_attribute, why_patched
from .._stock_converters import conversion_of
from .eligibility import FOREIGN_KEY_SET, has_stock_from_db, read_with, report, report_own, why_not_stored
from .receivers import receivers_of

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
    model = _model_plan(klass_info["model"], columns, lambda: _from_db(klass_info["model"], fetch_mode))
    relations: tuple[Any, ...] = ()
    if klass_info.get("related_klass_infos"):
        selected = read_with.setdefault(klass_info["model"], WeakSet())
        mode = () if fetch_mode is None else (fetch_mode,)
        populators = get_related_populators(klass_info, select, db, *mode)
        relations = tuple(_relation_plans(klass_info, populators, model, select, selected))
    plan = (model, relations, klass_info["model"])
    expressions = [expression for expression, _, _ in select[: compiler.col_count]]
    converters: Any = ()
    prepare = _as_they_are
    if _has_composites(compiler, expressions):
        # Let Django convert the values, one row at a time.
        prepare = lambda rows: compiler.results_iter([rows])  # noqa: E731
    else:
        converters = [
            (at, column, [(function, conversion_of(function, column)) for function in functions])
            for at, (functions, column) in compiler.get_converters(expressions).items()
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


def _model_plan(
    model: type[Model],
    columns: Sequence[tuple[int, str]],
    get_from_db: Callable[[], Any],
    is_picked: bool = False,
) -> tuple[Any, ...]:
    """
    How instances of a model are made from a row, for the engine. The first part names the way.

    Args:
        columns: Position and name of each column that was read.
        get_from_db: Returns what Django calls for a row. It is called only if needed, since Django 6.1 may warn there.
        is_picked: Whether Django picks the columns one by one, which makes a tuple of them.
    """
    reason = why_not_stored(model)
    if reason is None:
        return "stored", model, row_fields(model, columns), receivers_of(base_module.post_init, model)
    report_own(reason)
    if has_stock_from_db(model):
        return "constructed", model, _constructor_positions(model, columns), DEFERRED
    names, positions = [name for _, name in columns], [position for position, _ in columns]
    return "called", get_from_db(), names, positions, is_picked


def _constructor_positions(model: type[Model], columns: Sequence[tuple[int, str]]) -> list[int | None]:
    """The column of each argument of the model's constructor, as Model.from_db finds it; None if it is deferred."""
    positions = [position for position, _ in columns]
    fields = model._meta.concrete_fields
    if len(positions) == len(fields):
        return list(positions)
    names = {name for _, name in columns}
    following = iter(positions)
    return [next(following) if field.attname in names else None for field in fields]


def _is_stored(model_plan: tuple[Any, ...]) -> bool:
    return bool(model_plan[0] == "stored")


def _from_db(model: type[Model], fetch_mode: Any) -> Any:
    if hasattr(query, "_get_from_db"):  # Django 6.1
        return query._get_from_db(model, fetch_mode)
    return model.from_db


def _as_they_are(rows: Any) -> Any:
    return rows


def _has_composites(compiler: Any, expressions: list[Any]) -> bool:
    return hasattr(compiler, "has_composite_fields") and compiler.has_composite_fields(expressions)


def row_fields(model: type[Model], columns: Sequence[tuple[int, str]]) -> tuple[tuple[int, str, bool], ...]:
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


def _relation_plans(
    klass_info: dict[str, Any], populators: Sequence[Any], of: tuple[Any, ...], select: Any, selected: WeakSet[Any]
) -> Iterator[Any]:
    """
    The plans for the related instances that select_related reads from each row.

    Args:
        populators: Django's own plans.
        of: The plan of the model itself.
        selected: Gets the models that are read.
    """
    for info, populator in zip(klass_info.get("related_klass_infos", ()), populators):
        selected.add(populator.model_cls)
        # If Django's populator has to reorder a single column, it fails; leave that error to it.
        is_stock = (
            type(populator) is RelatedPopulator
            and why_patched(RelatedPopulator, ("__init__", "populate")) is None
            and not (populator.reorder_for_init is not None and len(populator.init_list) == 1)
        )
        if not is_stock:
            report(f"{populator.model_cls.__name__}: another package reads what select_related selects")
            yield populator.populate
            continue
        is_picked = populator.reorder_for_init is not None
        if is_picked:
            at_name = {select[at][0].target.attname: at for at in info["select_fields"]}
            columns = [(at_name[name], name) for name in populator.init_list]
        else:
            columns = [(at, select[at][0].target.attname) for at in range(populator.cols_start, populator.cols_end)]
        called = populator if hasattr(populator, "from_db") else populator.model_cls  # the former since Django 6.1
        model = _model_plan(populator.model_cls, columns, functools.partial(getattr, called, "from_db"), is_picked)
        yield (
            model,
            columns[populator.pk_idx][0],
            _setter(info["local_setter"], of),
            _setter(info["remote_setter"], model),
            tuple(_relation_plans(info, populator.related_populators, model, select, selected)),
        )


def _setter(function: Any, of: tuple[Any, ...]) -> Any:
    """
    The name in `_state.fields_cache` if the function only writes there, None if it does nothing, or itself.

    Args:
        of: The plan of the model whose instances it is called with.
    """
    if (
        isinstance(function, types.MethodType)
        and function.__func__ is FieldCacheMixin.set_cached_value
        and is_own(function)
        and _is_stored(of)
        and not of[3][2]  # a receiver may replace the cache
    ):
        return cache_name_of(function.__self__)
    if isinstance(function, types.FunctionType) and function.__module__ == SQLCompiler.__module__:
        code = function.__code__
        if not code.co_names and not code.co_freevars and code.co_consts in ((None,), (None, None)):
            return None
    return function


def _known_related(queryset: QuerySet[Any]) -> Callable[[Any], None] | None:
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

    def finish(instance: Any) -> None:
        for field, objects, attnames, key_of in known:
            if field.is_cached(instance):
                continue
            if _LEAVES_DEFERRED and any(name not in instance.__dict__ for name in attnames):
                continue
            related = objects.get(key_of(instance))
            if related is not None:
                setattr(instance, field.name, related)

    return finish
