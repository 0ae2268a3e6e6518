"""What was measured in one run of one contender."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# Names the figure of a second stream, whose rows are not read.
UNREAD = "less the user's loop"
# Names the time that the calls of a receiver take by themselves.
RECEIVER = "the receiver alone"


@dataclass
class Outcome:
    """It is also a Django `execute_wrapper`: that is how it counts queries."""

    samples: dict[str, list[float]] = field(default_factory=dict)
    checksum: int = 0
    queries: int = 0
    memo_bytes: int = 0  # of the entries in memory at the end; 0: not measured

    def add(self, name: str, value: float) -> None:
        self.samples.setdefault(name, []).append(value)

    def __call__(self, execute: Callable[..., Any], *args: Any) -> Any:
        self.queries += 1
        return execute(*args)
