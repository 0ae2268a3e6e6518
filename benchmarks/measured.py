"""The rounds of one contender in one workload."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass
class Measured:
    runs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def figures(self) -> list[str]:
        return list(self.runs[0]["samples"])

    def medians(self, figure: str) -> list[float]:
        return [median(run["samples"][figure]) for run in self.runs]

    def best(self, figure: str | None = None) -> float:
        """The best round of a figure, by default the main one. A round counts as the median of its samples."""
        return min(self.medians(figure or self.figures[0]))

    def fastest(self, figure: str) -> float:
        return min(min(run["samples"][figure]) for run in self.runs)

    def spread(self, figure: str) -> float | None:
        """How much slower the worst round was than the best, as a fraction."""
        medians = self.medians(figure)
        return max(medians) / min(medians) - 1 if len(medians) > 1 else None

    @property
    def queries(self) -> int:
        return max(run["queries"] for run in self.runs)

    @property
    def peak_bytes(self) -> int:
        return max(run["peak_bytes"] for run in self.runs)

    @property
    def memo_bytes(self) -> int:
        return max(run.get("memo_bytes", 0) for run in self.runs)

    @property
    def checksums(self) -> set[int]:
        return {run["checksum"] for run in self.runs}
