"""
Private subclasses of queryset classes: how to make one pass for its stock class, and which classes would notice.

A private subclass looks like its stock class: it has the same name, and `__class__` returns the stock class. So code
that calls `self.__class__()` or builds a mixin class from it gets the class that it expects.
"""

from __future__ import annotations

import dis
import functools
import types
from abc import ABCMeta
from collections.abc import Iterator
from typing import Any

from ._stock import OWN, package_of, static_attribute, why_not_own

# Pickling calls these on an instance of the stock class.
_PICKLING = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")
# Instructions that do not matter here.
_FILLERS = ("CACHE", "EXTENDED_ARG", "NOP", "PRECALL", "PUSH_NULL", "RESUME")
# Special attributes that a private class shares with its stock class, as it does methods and plain attributes.
_LOOKS = ("__name__", "__qualname__", "__module__", "__doc__")

# Attribute names that `memoized()` uses: on an instance for the shared memory, on a private class for its stock class.
FAMILY, STOCK_CLASS = "_memoized_prefetch_family", "_memoized_prefetch_stock_class"

_CLASS: Any = vars(object)["__class__"]


def set_class(instance: Any, cls: type) -> None:
    """Assigns `__class__`, past any `__class__` property of the old class."""
    _CLASS.__set__(instance, cls)


def stock_class_of(queryset_class: Any) -> Any:
    """The stock class of a private class that `memoized()` made; any other class itself."""
    return vars(queryset_class).get(STOCK_CLASS, queryset_class)


def look_like(private_class: Any, stock_class: Any) -> None:
    for name in _LOOKS:
        setattr(private_class, name, getattr(stock_class, name))


@functools.lru_cache(maxsize=256)
def why_not_subclassed(cls: Any) -> str | None:
    """Why the class might notice that an instance has a private subclass; None if it cannot."""
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
            if name not in _PICKLING and any(_inspects(function) for function in _functions_of(attribute)):
                return f"{cls.__name__}.{name} inspects type(self)"
    return None


def _functions_of(attribute: Any, seen: tuple[Any, ...] = ()) -> Iterator[types.FunctionType]:
    """The Python functions that an attribute may call: its own, and what a property, a partial or a decorator wraps."""
    if attribute in seen:
        return
    seen = (*seen, attribute)
    if isinstance(attribute, types.FunctionType):
        yield attribute
        inner = [getattr(attribute, "__wrapped__", None), *(_content(cell) for cell in attribute.__closure__ or ())]
    elif isinstance(attribute, (property, staticmethod, classmethod, functools.partial, functools.partialmethod)) or (
        hasattr(type(attribute), "__get__")
    ):
        inner = [getattr(attribute, name, None) for name in ("fget", "fset", "fdel", "func", "__func__")]
    else:
        return
    for one in inner:
        if isinstance(one, (types.FunctionType, functools.partial, functools.partialmethod)):
            yield from _functions_of(one, seen)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _inspects(function: types.FunctionType) -> bool:
    return type in (function.__defaults__ or ()) or _examines_type(function.__code__)


def _examines_type(code: types.CodeType, instance: str | None = None) -> bool:
    """
    Whether the code uses `type(self)` for more than an attribute that both classes share.

    Args:
        instance: The name of `self`, for a function nested in a method.
    """
    instance = instance or next(iter(code.co_varnames[: code.co_argcount]), "")
    instructions = [one for one in dis.get_instructions(code) if one.opname not in _FILLERS]
    for at, instruction in enumerate(instructions):
        if instruction.opname == "LOAD_GLOBAL" and instruction.argval == "type":
            argument, *behind = instructions[at + 1 : at + 4]  # argument, call, use of the result
            takes_attribute = len(behind) == 2 and behind[1].opname in ("LOAD_ATTR", "LOAD_METHOD")
            if argument.argval == instance and not (takes_attribute and _is_shared(behind[1].argval)):
                return True
    return any(isinstance(inner, types.CodeType) and _examines_type(inner, instance) for inner in code.co_consts)


def _is_shared(name: str) -> bool:
    return name in _LOOKS or not (name.startswith("__") or name == "mro")
