"""
Private subclasses of queryset classes, and what a many-to-many attaches: a real QuerySet of the manager's class.

A private subclass looks like the class that it is made of: it has its name, and `__class__` is that one. Code that
makes another instance by `self.__class__()`, or mixes something into one, means the class that it knows.

Building a many-to-many's queryset by the manager costs 14 us per object and ties the object into a reference cycle. The
engine instead allocates an instance of a private subclass, which holds nothing but its rows and what is needed to find
its source again. Reading the rows (iterating, len, count, exists, indexing, bool) needs no more. Anything else first
makes it the manager's own queryset, filter and all, and gives it the stock class.
"""

from __future__ import annotations

import dis
import functools
import types
from abc import ABCMeta
from typing import Any, Callable

from django.db.models import Model, QuerySet
from django.db.models.base import ModelState

from ._stock import OWN, package_of, static_attribute, why_not_own

# Classes that intercept attribute access themselves would see the private class's missing attributes.
_INTERCEPTORS = ("__getattr__", "__getattribute__", "__setattr__", "__delattr__")
# These run on an instance of the stock class.
_PICKLING = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")
# Bytecode that does nothing, or nothing that matters here.
_FILLERS = ("CACHE", "EXTENDED_ARG", "NOP", "PRECALL", "PUSH_NULL", "RESUME")
# What a private class has in common with its stock class; asking for a method or a plain attribute is fine too.
_LOOKS = ("__name__", "__qualname__", "__module__", "__doc__")

# The names that `memoized()` uses: what its querysets share, in an instance; the stock class, in a private class.
FAMILY, STOCK_CLASS = "_memoized_prefetch_family", "_memoized_prefetch_stock_class"

_CLASS: Any = vars(object)["__class__"]


# --- private subclasses


def set_class(instance: Any, cls: type) -> None:
    """What assigning `__class__` does to an object whose class does not define that name."""
    _CLASS.__set__(instance, cls)


def stock_class_of(queryset_class: Any) -> Any:
    """The class that `memoized()` made this private class of; itself when it is none."""
    return vars(queryset_class).get(STOCK_CLASS, queryset_class)


def look_like(private_class: Any, stock_class: Any) -> None:
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(private_class, name, getattr(stock_class, name))


@functools.lru_cache(maxsize=256)
def why_not_subclassed(cls: Any) -> str | None:
    """Why the class might notice that an instance is of a private subclass; None when it does not."""
    if type(cls) not in (type, ABCMeta):
        return f"{cls.__name__} has its own metaclass {type(cls).__name__}"
    if package_of(static_attribute(cls, "__init_subclass__")) not in ("", "typing", *OWN):
        return f"{cls.__name__} has its own __init_subclass__()"
    if reason := why_not_own(cls, ("__getattribute__", "__class__")):
        return reason
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] in ("builtins", "typing", *OWN):
            continue
        for name, attribute in vars(base).items():
            function = getattr(attribute, "fget", None) or getattr(attribute, "func", None) or attribute
            if name not in _PICKLING and isinstance(function, types.FunctionType) and _examines_type(function.__code__):
                return f"{cls.__name__}.{name} asks for its type"
    return None


def _examines_type(code: types.CodeType, instance: str | None = None) -> bool:
    """
    Whether it asks for `type(self)`, and not only for a name or a method of that.

    Args:
        instance: The name that its first argument has, where it is a function in another.
    """
    instance = instance or next(iter(code.co_varnames[: code.co_argcount]), "")
    instructions = [one for one in dis.get_instructions(code) if one.opname not in _FILLERS]
    for at, instruction in enumerate(instructions):
        if instruction.opname == "LOAD_GLOBAL" and instruction.argval == "type":
            argument, _, behind = instructions[at + 1 : at + 4]  # its call, and what is done with the result
            takes_attribute = behind.opname in ("LOAD_ATTR", "LOAD_METHOD")
            if argument.argval == instance and not (takes_attribute and _is_shared(behind.argval)):
                return True
    return any(isinstance(inner, types.CodeType) and _examines_type(inner, instance) for inner in code.co_consts)


def _is_shared(name: str) -> bool:
    return name in _LOOKS or not (name.startswith("__") or name == "mro")


# --- many-to-many


def can_be_filled(queryset_class: Any) -> bool:
    """Whether an instance of a private subclass may stand for one that the manager builds."""
    return (
        all(getattr(queryset_class, name, None) is getattr(object, name, None) for name in _INTERCEPTORS)
        and why_not_subclassed(queryset_class) is None
    )


def filled_class(
    stock_class: type[QuerySet[Any]], source_model: type[Model], key_name: str, build: Callable[[Any], QuerySet[Any]]
) -> type[QuerySet[Any]]:
    """
    The private subclass for one relation.

    Args:
        stock_class: The class of the manager's querysets.
        source_model: The class of the objects it is attached to.
        key_name: The attribute of these that `_memo_source` holds.
        build: From a source object to the manager's queryset for it, unevaluated.
    """

    class Filled(stock_class):  # type: ignore[misc]
        # All that reading filled rows looks at; every other attribute of a queryset is an instance's own.
        _prefetch_done = True
        _prefetch_related_lookups = ()

        @property  # type: ignore[misc]
        def __class__(self) -> Any:
            return stock_class

        def __getattr__(self, name: str) -> Any:
            become_stock(self)
            return getattr(self, name)

        def __setattr__(self, name: str, value: Any) -> None:
            become_stock(self)
            setattr(self, name, value)

        def _clone(self, *args: Any, **kwargs: Any) -> Any:
            become_stock(self)
            return self._clone(*args, **kwargs)

        def __reduce_ex__(self, protocol: Any) -> Any:
            become_stock(self)
            return self.__reduce_ex__(protocol)

        def __deepcopy__(self, memo: Any) -> Any:
            become_stock(self)
            return self.__deepcopy__(memo)

    def become_stock(queryset: Any) -> None:
        reference, key, db = queryset.__dict__["_memo_source"]
        rows = queryset.__dict__["_result_cache"]
        source = reference()
        stock = build(stand_in(source_model, key_name, key, db) if source is None else source)
        set_class(queryset, stock_class)
        queryset.__dict__.clear()
        queryset.__dict__.update(stock.__dict__, _result_cache=rows, _prefetch_done=True)

    look_like(Filled, stock_class)
    return Filled


def stand_in(model: type[Model], key_name: str, key: Any, db: str | None) -> Any:
    """An instance that has a key and a database and nothing else, for a source that is gone."""
    instance: Any = object.__new__(model)
    instance._state = ModelState()
    instance._state.adding = False
    instance._state.db = db
    instance.__dict__[key_name] = key
    instance.__dict__.setdefault(model._meta.pk.attname, key)
    return instance
