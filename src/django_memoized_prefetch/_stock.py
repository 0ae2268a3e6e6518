"""
Finds out whether code that a prefetch would call is Django's own. No other module decides that.

The engine may replace a step of Django only if every function that Django would call there is Django's own: only then
is it known what the step does. Subclasses may add methods. If a subclass overrides one of the functions, or another
package has patched a class of Django, the step is left to Django. django-seal counts as Django's own: its behaviour is
known too, and tested.

The functions `why_not_...` return the reason in words, or None if there is nothing against it.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable
from typing import Any

from django.db.models import Manager, Model, Prefetch, QuerySet, query
from django.db.models.fields import related_descriptors
from django.db.models.manager import BaseManager
from django.db.models.query import ModelIterable
from django.db.models.query_utils import DeferredAttribute
from django.db.models.sql.query import Query

from ._engine import class_signature

OWN = ("django", "seal")

# What Django's prefetch calls on a queryset, directly or not. Names that a Django version lacks are skipped.
_QUERYSET = (
    *("__new__", "__init__", "__iter__", "db", "query"),
    *("__getattribute__", "__getattr__", "__setattr__", "__delattr__"),
    *("_chain", "_clone", "_fetch_all", "_prefetch_related_objects", "_add_hints", "_next_is_sticky", "fetch_mode"),
    *("filter", "_filter_or_exclude", "_filter_or_exclude_inplace", "_not_support_combined_queries", "using", "extra"),
    *("_disable_cloning", "_enable_cloning"),
)
# What builds rows. A queryset class that overrides one of these may return other rows than its query says.
_READING = ("_fetch_all", "_iterator", "iterator", "aiterator", "__iter__", "__aiter__", "__getattribute__")
_MANAGER = ("get_queryset", "all", "filter", "db_manager", "using", "fetch_mode", "__getattribute__", "__getattr__")
# Django renamed these with version 5.0.
PREFETCHERS = ("get_prefetch_querysets", "get_prefetch_queryset")
# What a prefetch calls on the descriptor of a relation to one row.
DESCRIPTOR = ("is_cached", "get_queryset", *PREFETCHERS)
# Of the class that Django generates for a relation as a subclass of the default manager's. The engine calls that
# manager's own get_queryset(), as Django does.
_RELATED_MANAGER = ("__new__", "__init__", "__getattribute__", "get_queryset", "_apply_rel_filters", *PREFETCHERS)
# Of a field that holds keys: how they are read, put in a query and compared.
_FIELD = (
    *("get_prep_value", "get_db_prep_value", "get_db_converters", "from_db_value", "to_python", "db_type"),
    *("rel_db_type", "value_from_object", "value_to_string", "get_lookup", "get_col", "cached_col", "select_format"),
    *("__eq__", "__hash__"),
    *("get_path_info", "_get_path_info", "get_reverse_path_info", "path_infos", "reverse_path_infos"),
    *("related_fields", "local_related_fields", "foreign_related_fields", "target_field", "get_extra_restriction"),
)
# Of relations: where attached rows are kept.
_CACHING = ("is_cached", "get_cached_value", "set_cached_value", "cache_name", "get_cache_name")
# Django's functions that go from one level of lookups to the next.
_PREFETCH: tuple[tuple[Any, str], ...] = (
    *((query, name) for name in ("prefetch_related_objects", "prefetch_one_level", "get_prefetcher")),
    (query, "get_related_populators"),
    (related_descriptors, "_filter_prefetch_queryset"),
)
# Of a Prefetch object: what it asks for, and where it goes.
OF_PREFETCH = (
    *("add_prefix", "get_current_prefetch_to", "get_current_to_attr"),
    *("get_current_queryset", "get_current_querysets", "__getattribute__"),
)


# The types of attributes implemented in C.
_OF_THE_INTERPRETER = (
    *(types.BuiltinFunctionType, types.WrapperDescriptorType, types.MethodDescriptorType),
    *(types.ClassMethodDescriptorType, types.GetSetDescriptorType, types.MemberDescriptorType),
)


# --- functions -----------------------------------------------------------------------------------------------------


def package_of(attribute: Any) -> str:
    """
    The top-level package whose code a class attribute runs; "" if it runs no Python code.

    The function's globals tell, since `functools.wraps` makes a wrapper claim the module of what it wraps.
    """
    if isinstance(attribute, types.FunctionType):
        return str(attribute.__globals__.get("__name__", "?")).partition(".")[0]
    if attribute is None or isinstance(attribute, _OF_THE_INTERPRETER):
        return ""
    for name in ("__func__", "fget", "func"):
        if (inner := getattr(attribute, name, None)) is not None:
            return package_of(inner)
    return type(attribute).__module__.partition(".")[0]


def is_own(attribute: Any) -> bool:
    """Whether the attribute runs only code of Django and the interpreter."""
    package = package_of(attribute)
    return package in OWN or not package


def static_attribute(cls: type, name: str) -> Any:
    """The class attribute, without calling a descriptor; None if there is none."""
    return _found(cls, name)[1]


def _found(cls: type, name: str) -> tuple[type | None, Any]:
    """The class that defines the attribute, and the attribute."""
    for base in cls.__mro__:
        if name in base.__dict__:
            return base, base.__dict__[name]
    return None, None


def why_not_own(cls: type, names: Iterable[str], custom: str | None = None) -> str | None:
    """
    Which of these attributes is not Django's own, in words; None if all are.

    Args:
        custom: The text to return if a class outside Django defines one of them.
    """
    return why_patched(cls, names) or why_overridden(cls, names, custom)


def why_patched(cls: type, names: Iterable[str]) -> str | None:
    """Which of these attributes another package has patched in a class of Django, and which package."""
    for name in names:
        base, attribute = _found(cls, name)
        if base is not None and is_own_class(base) and not is_own(attribute):
            return f"{base.__name__}.{name} is patched by {package_of(attribute)}"
    return None


def why_overridden(cls: type, names: Iterable[str], custom: str | None = None) -> str | None:
    """
    Which of these attributes a class outside Django overrides.

    With `__new__` among them, a metaclass's own `__call__()` counts too, since it also makes instances.
    """
    for name in names:
        base, attribute = _found(cls, name)
        if base is not None and not is_own_class(base) and not is_own(attribute):
            return custom or f"{cls.__name__} has its own {name}()"
    if "__new__" in names and why_overridden(type(cls), ("__call__",)) is not None:
        return custom or f"{cls.__name__}'s metaclass has its own __call__()"
    return None


def why_overridden_once(cls: Any, names: tuple[str, ...]) -> str | None:
    """Like `why_overridden`, cached: patches of Django's classes may come later, but a class keeps its overrides."""
    return _overridden(cls, names)


@functools.lru_cache(maxsize=4096)
def _overridden(cls: Any, names: tuple[str, ...]) -> str | None:
    return why_overridden(cls, names)


def is_own_class(cls: type) -> bool:
    """Whether a class is one of Django's."""
    return cls.__module__.partition(".")[0] in OWN


# --- querysets and managers ----------------------------------------------------------------------------------------


def why_not_stock(queryset: QuerySet[Any]) -> str | None:
    """Why asking a queryset for keys might differ from Django's own way."""
    if replaced := vars(queryset).keys() & _METHODS:
        return f"{min(replaced)}() of the queryset was replaced"
    return (
        why_not_stock_class(queryset.__class__)  # for a memoized() queryset, its stock class
        or _why_not_stock_iterable(queryset._iterable_class)
        or _why_not_stock_query(type(queryset.query))
    )


_METHODS = {name for name in _QUERYSET if not name.startswith("__")} - {"db", "query"}


def why_not_stock_class(queryset_class: Any) -> str | None:
    """Why asking this class for keys might differ from asking Django's QuerySet."""
    return why_overridden_once(queryset_class, _QUERYSET) or patches()["QuerySet"]


def why_not_read_as_stock(queryset_class: Any) -> str | None:
    """Why the class might return other rows for its query than Django's QuerySet, or do more with them."""
    return why_overridden_once(queryset_class, _READING) or patches()["reading"]


def own_attaching(queryset_class: Any) -> str | None:
    """Which method of the class might attach lookups differently from Django."""
    return why_not_own(queryset_class, ATTACHING)


# A queryset class that overrides one of these keeps it, and Django prefetches its lookups for every chunk.
ATTACHING = ("_iterator", "aiterator", "_prefetch_related_objects")


def _why_not_stock_iterable(iterable_class: Any) -> str | None:
    if not issubclass(iterable_class, ModelIterable):
        return f"the queryset yields no model instances, its iterable is {iterable_class.__name__}"
    return why_overridden_once(iterable_class, ("__new__", "__init__", "__iter__"))


def _why_not_stock_query(query_class: type) -> str | None:
    if query_class is Query or is_own_class(query_class):
        return None
    return f"its query is a {query_class.__name__}"


def plain_manager(manager: BaseManager[Any]) -> bool:
    """Whether the manager returns a plain QuerySet of all rows."""
    return manager._queryset_class is QuerySet and has_stock_querysets(manager)


def has_stock_querysets(manager: BaseManager[Any]) -> bool:
    """Whether the manager always returns all rows, in a queryset of its class."""
    return why_overridden_once(type(manager), _MANAGER) is None and not vars(manager).keys() & set(_MANAGER)


def why_not_related_manager(manager_class: type[Manager[Any]]) -> str | None:
    """Why a relation's manager might prefetch differently from the one that Django generates."""
    return why_not_own(manager_class, _RELATED_MANAGER, f"custom related manager {manager_class.__qualname__}")


def has_stock_filling(manager_class: type[Manager[Any]]) -> bool:
    """Whether only the class that Django generates and BaseManager define the manager's get_queryset()."""
    definers = [base for base in manager_class.__mro__ if "get_queryset" in base.__dict__]
    return len(definers) == 2 and definers[0] is manager_class and definers[1] is BaseManager


# --- columns ----------------------------------------------------------------------------------------------------


def why_not_column(model: type, attname: str) -> str | None:
    """Why reading a loaded column as an attribute might not return what is in the instance's `__dict__`."""
    descriptor = static_attribute(model, attname)
    cls = type(descriptor)
    if descriptor is None or not hasattr(cls, "__set__"):
        return None  # the value in `__dict__` hides it
    getter = static_attribute(cls, "__get__")
    if getter is static_attribute(DeferredAttribute, "__get__") or package_of(getter) == "seal":
        return why_not_own(DeferredAttribute, ("__get__",))
    return f"{model.__name__}.{attname}: custom descriptor {cls.__name__}"


def why_not_key(field: Any) -> str | None:
    """Why a field's values might be read, written or queried differently from Django's `column IN (...)`."""
    while True:
        custom = f"{field.model.__name__}.{field.name}: custom field {type(field).__name__}"
        if (patched := why_patched(type(field), _FIELD)) is not None:
            return patched
        if why_overridden_once(type(field), _FIELD) is not None or _is_stored_otherwise(field):
            return custom
        if (lookup := field.get_lookup("in")) is None or not is_own_class(lookup):
            return f"{field.model.__name__}.{field.name} has its own lookup 'in'"
        if field.remote_field is None or len(field.foreign_related_fields) != 1:
            return None
        if why_overridden_once(type(field.remote_field), _CACHING) is not None:
            return custom
        [field] = field.foreign_related_fields  # the field whose values it holds


def _is_stored_otherwise(field: Any) -> bool:
    """Whether the field says that its column is another one than that of the Django field that it derives from."""
    base: Any = next(cls for cls in type(field).__mro__ if is_own_class(cls))
    return base is not type(field) and bool(field.get_internal_type() != base.get_internal_type(field))


# --- relations --------------------------------------------------------------------------------------------------


def why_not_attached_by_descriptor(descriptor: Any) -> str | None:
    """Why attaching with this descriptor might do more than write to `fields_cache`."""
    cls = type(descriptor)
    custom = f"custom descriptor {cls.__name__}"
    # A patched __get__ is no obstacle: it sees every access, whoever attached the row.
    return why_overridden(cls, ("__get__",), custom) or why_not_own(cls, DESCRIPTOR, custom)


def why_not_collection(descriptor: Any) -> str | None:
    """Why a relation to many might prefetch differently from Django's own."""
    custom = f"custom descriptor {type(descriptor).__name__}"
    return why_overridden(type(descriptor), ("__get__",), custom) or why_not_related_manager(
        descriptor.related_manager_cls
    )


def why_not_foreign_key(field: Any) -> str | None:
    """Why a foreign key might find its row by more than the value of one column."""
    if len(field.related_fields) != 1:
        return f"{type(field).__name__} has {len(field.related_fields)} columns"
    return why_not_own(type(field), (*_KEYS, *_CACHING), f"custom field {type(field).__name__}")


def why_not_many_to_many(field: Any, *keys: Any) -> str | None:
    """
    Why the query of a many-to-many might reach its through table differently from Django's.

    Args:
        keys: The foreign keys of its through model.
    """
    reason = why_not_own(type(field), _PATHS, f"custom field {type(field).__name__}")
    for key in keys:
        reason = reason or why_not_own(type(key), _KEYS, f"custom field {type(key).__name__}")
    return reason


def why_not_generic_key(field: Any) -> str | None:
    """Why a generic foreign key might find its content type, or cache its row, differently from Django's."""
    return why_not_own(type(field), ("get_content_type", *_CACHING), f"custom field {type(field).__name__}")


def is_generic(descriptor: Any, *names: str) -> bool:
    """Whether its class has one of these names. Importing them from contenttypes may fail: it may not be installed."""
    return any(
        base.__name__ in names and base.__module__ == "django.contrib.contenttypes.fields"
        for base in type(descriptor).__mro__
    )


def why_class_may_vary(model: type[Model]) -> str | None:
    """Why an instance that the database's row makes might be of another class than the model's."""
    return why_overridden_once(model, ("from_db", "__new__", "__init__"))


_KEYS = ("get_local_related_value", "get_foreign_related_value", "get_instance_value_for_fields")
# How a many-to-many's query reaches its through table.
_PATHS = ("get_path_info", "_get_path_info", "get_reverse_path_info", "path_infos", "reverse_path_infos")


# --- the prefetch itself -------------------------------------------------------------------------------------------


def why_not_stock_prefetch() -> str | None:
    """
    Which function that every prefetch of Django calls is patched, and by which package; None if none is.

    It is called for every chunk, so that patches applied later are noticed too.
    """
    for module, name in _PREFETCH:
        function = vars(module).get(name)
        if not is_own(function):
            return f"{module.__name__}.{name} is patched by {package_of(function)}"
    return patches()["any"]


def patches() -> dict[str, str | None]:
    """What is patched in Django's own querysets and managers; cached until one of them changes."""
    now = stamp()
    if _known["stamp"] != now or None in now:
        queryset, reading = why_patched(QuerySet, _QUERYSET), why_patched(QuerySet, _READING)
        rest = (
            why_patched(ModelIterable, ("__iter__",))
            or why_patched(Manager, _MANAGER)
            or why_patched(Prefetch, OF_PREFETCH)
        )
        _known.update(stamp=now, patches={"QuerySet": queryset, "reading": reading, "any": queryset or rest})
    return _known["patches"]  # type: ignore[no-any-return]


_known: dict[str, Any] = {"stamp": None, "patches": None}


def stamp() -> tuple[Any, ...]:
    """A value that stays equal until Django's querysets or managers change; with a None in it, they may have."""
    # BaseManager counts its managers in a class attribute, so its signature would change with every new manager.
    managers = tuple([cls.__dict__.get(name) for cls in (Manager, BaseManager) for name in _MANAGER])
    classes = (class_signature(QuerySet, ()), class_signature(ModelIterable, ()), class_signature(Prefetch, ()))
    return (*classes, managers)
