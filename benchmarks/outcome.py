"""What one run of one contender found out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Outcome:
    """Usable as a Django `execute_wrapper`, which is how it counts queries."""

    samples: dict[str, list[float]] = field(default_factory=dict)
    checksum: int = 0
    queries: int = 0

    def add(self, name: str, value: float) -> None:
        self.samples.setdefault(name, []).append(value)

    def __call__(self, execute: Callable[..., Any], *args: Any) -> Any:
        self.queries += 1
        return execute(*args)
