"""`Place`: where something is attached to an object; reads, checks and removes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from django.db.models.base import ModelState

from .._engine import not_attached

# The containers, by the numbers that the engine uses for them.
FIELDS_CACHE, PREFETCHED, ATTRIBUTE, DICT = range(4)
PREFETCHED_OBJECTS = "_prefetched_objects_cache"

MISSING = object()


class Place(NamedTuple):
    """
    A name in one of the containers of an object.

    container: FIELDS_CACHE is `_state.fields_cache`, PREFETCHED is `_prefetched_objects_cache`. ATTRIBUTE reads the
        attribute, DICT only looks in `__dict__`.
    name: The key or attribute.
    """

    container: int
    name: str

    def empty_in(self, objects: Sequence[Any]) -> Sequence[Any]:
        """The objects that have nothing there; the sequence itself if that is all of them."""
        return not_attached(objects, self.name, self.container)

    def value_in(self, one: Any) -> Any:
        """What an object has there, or MISSING."""
        if self.container == FIELDS_CACHE:
            return fields_cache(one).get(self.name, MISSING)
        held = one.__dict__.get(PREFETCHED_OBJECTS, {}) if self.container == PREFETCHED else one.__dict__
        return held.get(self.name, MISSING)

    def take_off(self, one: Any) -> None:
        """Removes what an object has there, if anything."""
        if self.container == FIELDS_CACHE:
            fields_cache(one).pop(self.name, None)
        elif self.container == PREFETCHED:
            (one.__dict__.get(PREFETCHED_OBJECTS) or {}).pop(self.name, None)
        else:
            one.__dict__.pop(self.name, None)


def fields_cache(one: Any) -> dict[str, Any]:
    cache: dict[str, Any] = one._state.__dict__.get("fields_cache", {})
    return cache


def without(one: Any, places: Iterable[Place]) -> Any:
    """A copy of an instance with nothing at these places."""
    copy: Any = object.__new__(type(one))
    copy.__dict__.update(one.__dict__)
    state = copy._state = ModelState()
    state.__dict__.update(one._state.__dict__)
    state.fields_cache = dict(fields_cache(one))
    if PREFETCHED_OBJECTS in copy.__dict__:
        copy.__dict__[PREFETCHED_OBJECTS] = dict(copy.__dict__[PREFETCHED_OBJECTS])
    for place in places:
        place.take_off(copy)
    return copy
