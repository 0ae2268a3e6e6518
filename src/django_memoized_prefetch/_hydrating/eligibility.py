"""
Decides how the rows of a result become instances.

The engine builds them if building an instance of the model only stores values, and calls the receivers of `post_init`,
if there are any. If the model does more, the engine reads and converts the values, and hands them to the model's own
`from_db()` or `__init__`. Only if the result is read in another way than Django's is everything left to Django.
"""

from __future__ import annotations

import inspect
import logging
import types
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from django.db.models import Model, QuerySet
from django.db.models import base as base_module
from django.db.models.base import ModelState
from django.db.models.fields.files import FileDescriptor, ImageFileDescriptor
from django.db.models.fields.mixins import FieldCacheMixin
from django.db.models.fields.related_descriptors import ForeignKeyDeferredAttribute
from django.db.models.query import ModelIterable
from django.db.models.signals import post_init
from django.db.models.sql.compiler import SQLCompiler

from .._engine import class_signature
from .._stock import is_own, static_attribute, why_patched
from .receivers import has_own_signals

logger = logging.getLogger("django_memoized_prefetch")

# Setters of descriptors that only store a column's value under its name.
FOREIGN_KEY_SET = ForeignKeyDeferredAttribute.__set__
_PLAIN_SETS = (FileDescriptor.__set__, ImageFileDescriptor.__set__)
# `get_converters` may be the compiler's own: the engine calls what it returns.
_STOCK_RESULTS = ("results_iter", "apply_converters")
_INIT, _FROM_DB = Model.__init__, Model.from_db.__func__


def why_not_native(queryset: QuerySet[Any], is_streamed: bool = False) -> str | None:
    """Why Django has to read a queryset's rows, as far as its database does not matter; None if it need not."""
    if is_streamed and getattr(getattr(queryset, "_fetch_mode", None), "track_peers", False):
        return f"{queryset.model.__name__}: its fetch mode covers only the rows read so far"
    return why_patched(ModelIterable, ("__iter__",))


def why_not_compiled(compiler: Any) -> str | None:
    """Why a row might be converted to values differently from Django's own compilers; None if not."""
    cls = type(compiler)
    for name in _STOCK_RESULTS:
        if getattr(cls, name) is not getattr(SQLCompiler, name):
            return f"{compiler.query.model.__name__}: custom {cls.__name__}.{name}"
    return why_patched(SQLCompiler, _STOCK_RESULTS)


def report(reason: str | None) -> None:
    """Logs a reason why Django reads rows, once."""
    _log_once("Rows are built by Django. %s", reason)


def report_own(reason: str) -> None:
    """Logs a reason why a model builds its instances itself, once."""
    _log_once("Rows are read by the engine and built by their model. %s", reason)


def _log_once(text: str, reason: str | None) -> None:
    if reason is not None and reason not in _reported:
        _reported.add(reason)
        logger.info(text, reason)


_reported: set[str] = set()


# By model: why Django read the rows of its latest queryset, if the engine might have read them.
_read_by_django: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
# By model: those that select_related has read with its rows.
read_with: WeakKeyDictionary[Any, WeakSet[Any]] = WeakKeyDictionary()


def note_reading(model: Any, why_django: str | None) -> None:
    """Notes how a queryset of a model was read, for `how_built()`."""
    if why_django is not None:
        _read_by_django[model] = why_django
    elif _read_by_django:
        _read_by_django.pop(model, None)


def how_built(model: Any, why_django: str | None = None) -> str:
    """
    How instances of a model are built, in words.

    Args:
        why_django: Why Django reads the querysets of one class, if it does.
    """
    if (why_django := why_django or _read_by_django.get(model)) is not None:
        return f"by Django. {why_django}"
    reason = why_not_stored(model)
    if reason is None:
        return "natively; receivers of post_init are called" if post_init.has_listeners(model) else "natively"
    remedy = next((f" ({remedy})" for what, remedy in _REMEDIES.items() if what in reason), "")
    return f"by the model itself. {reason}{remedy}"


# What would let the engine build the instances.
_REMEDIES = {
    "custom __init__": "a receiver of post_init would be no obstacle",
    "custom from_db": "a receiver of post_init would be no obstacle",
    "pre_init has receivers": "receivers of post_init would be no obstacle",
    "custom descriptor": "a descriptor without __set__ would be no obstacle",
}


def why_not_stored(model: Any) -> str | None:
    """
    Why building an instance might do more than store its values; None if it does not.

    Receivers of `post_init` do not count: the engine calls them.
    """
    # The class's signature does not cover these, so check them every time.
    if type(model).__call__ is not type.__call__:
        return f"{model.__name__}: custom metaclass __call__"
    if base_module.ModelState is not ModelState:
        return f"{model.__name__}: ModelState is not Django's"
    if (ModelState.__init__, ModelState.__setattr__) != (object.__init__, object.__setattr__):
        return f"{model.__name__}: ModelState is patched"
    if base_module.pre_init.has_listeners(model):
        return f"{model.__name__}: pre_init has receivers"
    if not has_own_signals():
        return f"{model.__name__}: Signal.send is patched"
    fields = model._meta.concrete_fields
    names = tuple(field.attname for field in fields)
    signature = class_signature(model, names)
    known = _known.get(model)
    if known is None or signature is None or known[:2] != (names, signature):
        known = _known[model] = (names, signature, _why_not(model, fields))
    return known[2]


def has_stock_from_db(model: Any) -> bool:
    """Whether the model's `from_db()` is Django's own."""
    from_db = static_attribute(model, "from_db")
    return (
        isinstance(from_db, classmethod) and from_db.__func__ is _FROM_DB and why_patched(Model, ("from_db",)) is None
    )


# What is known about a class: the names of its fields, its signature at that time, and the answer. With the fields
# themselves, the class would live for ever: a historical model of a migration, for example.
_known: WeakKeyDictionary[Any, tuple[tuple[str, ...], Any, str | None]] = WeakKeyDictionary()


def _why_not(model: Any, fields: Any) -> str | None:
    name = model.__name__
    if model.__new__ is not object.__new__:
        return f"{name}: custom __new__"
    if model._meta.abstract or inspect.isabstract(model) or not model.__dictoffset__:
        return f"{name}: the class is abstract, or its instances have no __dict__"
    if (patched := why_patched(Model, ("__init__", "from_db", "__setattr__", "__getattribute__"))) is not None:
        return f"{name}: {patched}"
    if model.__init__ is not _INIT:
        return f"{name}: custom __init__"
    if not has_stock_from_db(model):
        return f"{name}: custom from_db"
    after_model = model.__mro__[model.__mro__.index(Model) + 1 : -1]
    if any("__init__" in base.__dict__ for base in after_model):
        return f"{name}: a base class after Model has an __init__"
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
        setter = getattr(cls, "__set__", None)
        if setter is FOREIGN_KEY_SET and is_own(setter):
            if type(descriptor.field).is_cached is not FieldCacheMixin.is_cached or not is_own(
                FieldCacheMixin.is_cached
            ):
                return f"{name}.{field.attname}: custom field {type(descriptor.field).__name__}"
            if descriptor.field.attname == field.attname:
                continue
        elif setter in _PLAIN_SETS and is_own(setter):
            continue
        return f"{name}.{field.attname}: custom descriptor {cls.__name__}"
    return None
