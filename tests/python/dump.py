"""All that an instance consists of, as plain data: the same for two results exactly when they are built alike."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any
from weakref import ref

from django.db.models import Model, QuerySet
from django.db.models.base import ModelState

FROM_DB = Model.from_db.__func__.__code__


def dump(result: Any) -> Any:
    """Attributes and state in their order, through everything attached; what is one object twice, by its number."""
    return _Dump().of(result)


class _Dump:
    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}
        self.alive: list[Any] = []  # so that no two objects have one id

    def of(self, value: Any) -> Any:
        if isinstance(value, (Model, ModelState, list, dict, QuerySet)):
            if id(value) in self.numbers:
                return "again", self.numbers[id(value)]
            self.numbers[id(value)] = len(self.numbers)
            self.alive.append(value)
        if isinstance(value, (Model, ModelState)):
            slots = {
                name: getattr(value, name)
                for base in type(value).__mro__
                for name in _slots(base)
                if name not in ("__dict__", "__weakref__") and hasattr(value, name)
            }
            return type(value), [(name, self.of(one)) for name, one in vars(value).items()], slots
        if isinstance(value, dict):
            return "dict", [(self.of(key), self.of(one)) for key, one in value.items()]
        if isinstance(value, QuerySet):
            return type(value).__name__, self.of(value._result_cache)
        if isinstance(value, (list, tuple)):
            return type(value), [self.of(one) for one in value]
        if isinstance(value, ref):
            return "weak", self.of(value())
        if isinstance(value, memoryview):
            return memoryview, bytes(value)
        if type(value).__repr__ is object.__repr__ and hasattr(value, "__dict__"):
            return type(value), self.of(vars(value))
        return type(value), repr(value)


def _slots(cls: type) -> tuple[str, ...]:
    slots = cls.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def built_by_django(function: Callable[[], Any]) -> tuple[Any, int]:
    """What the function returns, and for how many rows Model.from_db was called meanwhile."""
    calls = 0

    def count(frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code is FROM_DB

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        return function(), calls
    finally:
        sys.setprofile(before)
