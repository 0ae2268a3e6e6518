"""`ByName`: a dict of figures that says which names there are."""

from __future__ import annotations

import difflib
from typing import TypeVar

Value = TypeVar("Value")


class ByName(dict[str, Value]):
    """Figures by name. The KeyError of another name has the one that was meant, and all there are."""

    def __missing__(self, name: str) -> Value:
        by_lower = {one.lower(): one for one in self}
        close = difflib.get_close_matches(str(name).lower(), by_lower, n=1)
        hint = f"; did you mean {by_lower[close[0]]!r}?" if close else "."
        msg = f"there is no {name!r}{hint} There are: {', '.join(self) or 'none'}."
        raise KeyError(msg)
