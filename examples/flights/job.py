"""The job that the flights are streamed for: a report per airline, the same for all contenders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flights.models import Flight

YEAR = 2013


@dataclass
class Airline:
    name: str
    miles: int = 0
    built: dict[str, int] = field(default_factory=dict)
    """Tail number -> year, for planes whose year is known."""
    origins: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Name of an airport -> number of flights from there."""
    rivals: set[str] = field(default_factory=set)
    """The airlines that fly to any of its destinations."""


class Job:
    def __init__(self) -> None:
        self.airlines: dict[str, Airline] = {}

    def add(self, flights: Iterable[Flight]) -> None:
        airlines = self.airlines
        for flight in flights:
            carrier = flight.carrier
            airline = airlines.get(carrier.carrier)
            if airline is None:
                airline = airlines[carrier.carrier] = Airline(carrier.name)
            airline.miles += flight.distance
            airline.origins[flight.origin.name] += 1
            plane = flight.plane
            if plane is not None and plane.year is not None:
                airline.built[plane.tailnum] = plane.year
            dest = flight.dest
            if dest is not None:
                rivals = airline.rivals
                for other in dest.served_by:
                    rivals.add(other.carrier)

    def merge(self, other: Job) -> None:
        """Add what another process has seen of other flights."""
        for carrier, theirs in other.airlines.items():
            airline = self.airlines.setdefault(carrier, Airline(theirs.name))
            airline.miles += theirs.miles
            airline.built.update(theirs.built)
            for name, flights in theirs.origins.items():
                airline.origins[name] += flights
            airline.rivals |= theirs.rivals

    def result(self) -> list[dict[str, Any]]:
        """Plain values, so that the results of the processes can be compared."""
        return [_line(carrier, airline) for carrier, airline in sorted(self.airlines.items())]


def _line(carrier: str, airline: Airline) -> dict[str, Any]:
    flights = sum(airline.origins.values())
    return {
        "carrier": carrier,
        "name": airline.name,
        "flights": flights,
        "planes": len(airline.built),
        "mean age": YEAR - sum(airline.built.values()) / len(airline.built) if airline.built else None,
        "mean distance": airline.miles / flights,
        "origins": dict(sorted(airline.origins.items())),
        "rivals": sorted(airline.rivals - {carrier}),
    }
