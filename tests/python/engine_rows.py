"""Objects, keys and rows for tests of the engine itself: they may run code when the engine looks at them."""

from __future__ import annotations

from typing import Any


class Row:
    def __init__(self, pk: Any) -> None:
        self.id = pk


class State:
    def __init__(self) -> None:
        self.fields_cache: dict[str, Any] = {}


class Key:
    """All have one hash; comparing them is counted, and may run code."""

    hook: Any = None
    comparisons = 0

    def __init__(self, number: int) -> None:
        self.number = number

    def __hash__(self) -> int:
        return 5

    def __eq__(self, other: object) -> bool:
        Key.comparisons += 1
        if Key.hook is not None:
            Key.hook()
        return isinstance(other, Key) and self.number == other.number


class Holder:
    """An object with a key, whose attributes may run code."""

    hook: Any = None

    def __init__(self, key: Any) -> None:
        self._state, self.key = State(), key

    @property
    def watched(self) -> Any:
        if Holder.hook is not None:
            Holder.hook()
        try:
            return self.__dict__["_watched"]
        except KeyError as error:
            raise AttributeError(str(error)) from None

    @watched.setter
    def watched(self, value: Any) -> None:
        if Holder.hook is not None:
            Holder.hook()
        self.__dict__["_watched"] = value

    @property
    def read(self) -> Any:
        Holder.hook()
        return self.key
