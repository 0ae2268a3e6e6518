"""`Curve`: what a table of any size would have fetched."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, chain

# The share of the keys found that may be ignored in an estimate.
NEGLIGIBLE = 0.001


Found = tuple[tuple[int, int], ...]


def packed(found: Sequence[tuple[int, int]]) -> bytes:
    """Pairs as the engine packs them."""
    return struct.pack(f"{2 * len(found)}q", *chain.from_iterable(found))


def unpacked(found: bytes) -> Found:
    return tuple(struct.iter_unpack("qq", found))


@dataclass(frozen=True)
class Curve:
    """
    The miss-ratio curve of one table.

    kept: How many entries the table keeps; None for all.
    fetched: Keys that were not in memory.
    unavoidable: Keys that a memo of any size would have fetched.
    largest: The most entries kept after any chunk.
    exact: Whether the figures are exact, not estimates.
    """

    kept: int | None = None
    fetched: int = 0
    unavoidable: int = 0
    largest: int = 0
    exact: bool = True
    packed: bytes = field(default=b"", repr=False)

    @cached_property
    def found(self) -> Found:
        """((size, keys), ...): how many more keys a memo of that size would have found than the next smaller size."""
        return unpacked(self.packed)

    @cached_property
    def _sizes(self) -> list[int]:
        return [size for size, _ in self.found]

    @cached_property
    def _upto(self) -> list[int]:
        return [0, *accumulate(keys for _, keys in self.found)]

    def fetched_with(self, size: int | None) -> int:
        """How many keys would have been fetched with this `lru_cache_size`; None for one that keeps all."""
        if size is None:
            return self.unavoidable
        return self.unavoidable + self._upto[-1] - self._upto[bisect_left(self._sizes, size + 1)]

    @property
    def enough(self) -> int:
        """The smallest `lru_cache_size` that would have fetched no more keys."""
        return max(1, min(needed(self.found, exact=self.exact), self.largest))


def needed(found: Sequence[tuple[int, int]], *, exact: bool) -> int:
    """The size that finds all these keys. For estimates nearly all, since the largest sizes may be chance."""
    if not found:
        return 0
    if exact:
        return found[-1][0]
    sums = list(accumulate(keys for _, keys in found))
    return next(size for (size, _), upto in zip(found, sums) if upto >= sums[-1] * (1 - NEGLIGIBLE))


def best_sizes(
    found: Sequence[Sequence[tuple[int, int]]], weights: Sequence[float], budget: float, least: int = 1
) -> list[int]:
    """
    The size of each table, so that together they find the most keys within the budget.

    It takes the steepest piece of any table's curve next, keys found per byte, of the concave hull of each. That is the
    best split but for the last piece.

    Args:
        found: For each table [(size, keys), ...]: how many more keys a table of that size finds than the next smaller.
        weights: Bytes of one entry of each table.
        budget: Bytes for all.
        least: The smallest size that a table gets.
    """
    sizes = [least] * len(found)
    left = budget - sum(least * weight for weight in weights)
    pieces = [
        (keys / (entries * max(weight, 1)), number, entries)
        for number, (curve, weight) in enumerate(zip(found, weights))
        for entries, keys in hull(curve, least)
    ]
    for _, number, entries in sorted(pieces, key=lambda piece: -piece[0]):
        weight = max(weights[number], 1)
        taken = min(entries, int(max(left, 0) // weight))
        sizes[number] += taken
        left -= taken * weight
    return sizes


def with_rest(sizes: Sequence[int], weights: Sequence[float], budget: float, shares: Sequence[int]) -> list[int]:
    """The sizes, and what they leave of the budget: as many further entries as the shares, in proportion."""
    left = budget - sum(size * weight for size, weight in zip(sizes, weights))
    asked = sum(share * weight for share, weight in zip(shares, weights))
    if left <= 0 or asked <= 0:
        return list(sizes)
    return [size + int(left * share / asked) for size, share in zip(sizes, shares)]


def hull(found: Sequence[tuple[int, int]], least: int = 0) -> list[tuple[int, int]]:
    """
    The concave hull of a curve, as pieces (entries, keys): so many more entries find so many more keys.

    Each piece finds no more keys per entry than the one before it.
    """
    corners = [(least, 0)]
    total = 0
    for size, keys in found:
        total += keys
        if size <= least:
            corners[0] = (least, total)
            continue
        while len(corners) > 1 and _is_below(corners[-2], corners[-1], (size, total)):
            corners.pop()
        corners.append((size, total))
    return [(size - before, keys - found_before) for (before, found_before), (size, keys) in zip(corners, corners[1:])]


def _is_below(left: tuple[int, int], middle: tuple[int, int], right: tuple[int, int]) -> bool:
    """Whether the middle corner is not above the line from left to right."""
    return (middle[1] - left[1]) * (right[0] - left[0]) <= (right[1] - left[1]) * (middle[0] - left[0])
