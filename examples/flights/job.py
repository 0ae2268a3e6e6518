"""The job that the flights are streamed for: a report per airline, the same for both contenders."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flights.models import Flight

YEAR = 2013


@dataclass
class Airline:
    name: str
    flights: int = 0
    miles: int = 0
    built: dict[str, int] = field(default_factory=dict)
    """Tail number -> year, for planes whose year is known."""
    origins: dict[str, int] = field(default_factory=dict)
    """Name of an airport -> number of flights from there."""
    rivals: set[str] = field(default_factory=set)
    """The airlines that fly to any of its destinations."""


class Job:
    def __init__(self) -> None:
        self.airlines: dict[str, Airline] = {}

    def add(self, flights: Iterable[Flight]) -> None:
        for flight in flights:
            airline = self.airlines.get(flight.carrier_id)
            if airline is None:
                airline = self.airlines[flight.carrier_id] = Airline(flight.carrier.name)
            airline.flights += 1
            airline.miles += flight.distance
            origin = flight.origin.name
            airline.origins[origin] = airline.origins.get(origin, 0) + 1
            plane = flight.plane
            if plane is not None and plane.year is not None:
                airline.built[plane.tailnum] = plane.year
            dest = flight.dest
            if dest is not None:
                for other in dest.airlines.all():
                    airline.rivals.add(other.carrier)

    def result(self) -> list[dict[str, Any]]:
        """Plain values, so that the results of two processes can be compared."""
        return [
            {
                "carrier": carrier,
                "name": airline.name,
                "flights": airline.flights,
                "planes": len(airline.built),
                "mean age": YEAR - sum(airline.built.values()) / len(airline.built) if airline.built else None,
                "mean distance": airline.miles / airline.flights,
                "origins": dict(sorted(airline.origins.items())),
                "rivals": sorted(airline.rivals - {carrier}),
            }
            for carrier, airline in sorted(self.airlines.items())
        ]
