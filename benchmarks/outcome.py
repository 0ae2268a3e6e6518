"""What one run of one contender found out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# The figure of a second stream whose rows are not read.
UNREAD = "less the user's loop"


@dataclass
class Outcome:
    """Usable as a Django `execute_wrapper`, which is how it counts queries."""

    samples: dict[str, list[float]] = field(default_factory=dict)
    checksum: int = 0
    queries: int = 0
    memo_bytes: int = 0  # of the entries that are remembered at the end; 0: not asked

    def add(self, name: str, value: float) -> None:
        self.samples.setdefault(name, []).append(value)

    def __call__(self, execute: Callable[..., Any], *args: Any) -> Any:
        self.queries += 1
        return execute(*args)
