"""`ByName`: a dict of figures that says which names there are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, TypeVar

Value = TypeVar("Value")


class ByName(dict[str, Value]):
    """Figures by name. The KeyError of another name has the one that was meant, and all there are."""

    def __missing__(self, name: str) -> Value:
        raise not_there(name, self)


def not_there(name: Any, names: Iterable[Any]) -> KeyError:
    """The error for a name, or a model, that is not among those that there are."""
    by_lower = {_text(one).lower(): one for one in names}
    close = difflib.get_close_matches(_text(name).lower(), by_lower, n=1)
    hint = f"; did you mean {_quoted(by_lower[close[0]])}?" if close else "."
    msg = f"there is no {_quoted(name)}{hint} There are: {', '.join(map(_text, names)) or 'none'}."
    return KeyError(msg)


def _text(name: Any) -> str:
    return name.__name__ if isinstance(name, type) else str(name)


def _quoted(name: Any) -> str:
    return name.__name__ if isinstance(name, type) else repr(name)
