"""The results of the packages, as text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# How many characters of an answer are shown.
SHOWN = 400


@dataclass(frozen=True)
class Result:
    """
    The result of a package with one Django.

    Args:
        refused: Why it does not run with this Django.
        failed: Why there is no result: the child ended without a report.
        ran: Every situation and way, with the differences.
    """

    package: str
    django: str
    version: str = "-"
    refused: str = ""
    failed: str = ""
    situations: int = 0
    ran: tuple[dict[str, Any], ...] = ()

    @property
    def differences(self) -> int:
        return len({(one["situation"], _anywhere(where)) for one in self.ran for where, _, _ in one["differences"]})

    @property
    def is_well(self) -> bool:
        return not self.failed and not self.differences

    def line(self) -> str:
        if self.refused:
            outcome = f"does not run with this Django: {self.refused[:120]}"
        elif self.failed:
            outcome = f"FAILED: {self.failed}"
        else:
            outcome = f"{self.situations:2} situations, {len(self.ran):3} runs, {self.differences or 'no'} differences"
        return f"{self.django:5} {self.package:28} {self.version:10} {outcome}"

    def details(self) -> Iterator[str]:
        """Each difference once, with the ways that show it. If several rows show the same, only the first is given."""
        by_place: dict[tuple[str, str, str, str], list[str]] = {}
        for one in self.ran:
            for where, django, ours in one["differences"]:
                place = (one["situation"], where, _short(django), _short(ours))
                by_place.setdefault(place, []).append(one["way"])
        alike: dict[tuple[str, str], int] = {}
        for situation, where, _, _ in by_place:
            alike[situation, _anywhere(where)] = alike.get((situation, _anywhere(where)), 0) + 1
        for (situation, where, django, ours), ways in by_place.items():
            if count := alike.pop((situation, _anywhere(where)), 0):
                more = f", and {count - 1} more alike" if count > 1 else ""
                yield f"{self.django} {self.package}: {situation}: {where}    ({'; '.join(ways)}{more})"
                yield f"    Django: {django}"
                yield f"    ours:   {ours}"


def _anywhere(where: str) -> str:
    return re.sub(r"\[\d+\]", "[]", where)


def _short(answer: Any) -> str:
    text = str(answer)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."
