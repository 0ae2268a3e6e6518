"""
Private subclasses of queryset classes.

A private subclass looks like the class that it is made of: it has the same name, and `__class__` gives that class.
Code that makes another instance by `self.__class__()`, or mixes something into one, means the class that it knows.
"""

from __future__ import annotations

import dis
import functools
import types
from abc import ABCMeta
from typing import Any

from ._stock import OWN, package_of, static_attribute, why_not_own

# These run on an instance of the stock class.
_PICKLING = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")
# Bytecode that does nothing, or nothing that matters here.
_FILLERS = ("CACHE", "EXTENDED_ARG", "NOP", "PRECALL", "PUSH_NULL", "RESUME")
# What a private class has in common with its stock class; asking for a method or a plain attribute is fine too.
_LOOKS = ("__name__", "__qualname__", "__module__", "__doc__")

# The names that `memoized()` uses: what its querysets share, in an instance; the stock class, in a private class.
FAMILY, STOCK_CLASS = "_memoized_prefetch_family", "_memoized_prefetch_stock_class"

_CLASS: Any = vars(object)["__class__"]


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
