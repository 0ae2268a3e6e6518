"""What a path only passes through: attributes of other lookups, and objects that are no model instances."""

from __future__ import annotations

import pytest
from django import VERSION
from django.db.models import Prefetch, prefetch_related_objects

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.conftest import rows_of_a_module
from tests.python.graph import Comparison
from tests.python.prefetching import SIZES, alike, plays, refused
from tests.python.theatre.models import City, Person, Play
from tests.python.theatre.rows import fill_theatre

theatre = rows_of_a_module(lambda: fill_theatre(5, 5))
pytestmark = pytest.mark.usefixtures("theatre")


@SIZES
def test_paths_through_attributes(size: int | None) -> None:
    alike(
        plays,
        lambda: Prefetch("cast", Person.objects.filter(rank__gte=1).order_by("pk"), to_attr="chosen_actors"),
        "chosen_actors__locker",
        lambda: Prefetch("chosen_actors__written", Play.objects.order_by("-pk"), to_attr="chosen_plays"),
        "chosen_actors__chosen_plays__tags",
        lambda: Prefetch("author", Person.objects.select_related("mentor"), to_attr="penned_by"),
        "penned_by__mentor__friends",
        size=size,
        more_queries=3,
    )


def test_going_on_from_an_attribute_that_was_not_attached() -> None:
    lookups = ["author__directed", Prefetch("author", to_attr="chosen_one"), "chosen_one__directed"]
    if VERSION >= (5, 0):
        alike(plays, *lookups)
    else:
        refused(plays, *lookups)


def test_an_attribute_that_only_the_first_chunk_has() -> None:
    prefetch = MemoizedPrefetch("of_hand__written")
    first, second = plays()[:2], plays()[2:]
    for play in first:
        play.of_hand = play.author
    prefetch.process_chunk(first)
    with pytest.raises(AttributeError, match="Cannot find 'of_hand'"):
        prefetch_related_objects(second, "of_hand__written")
    with pytest.raises(AttributeError, match="'of_hand' is not a relation of Play"):
        prefetch.process_chunk(second)
    assert first[0].author._prefetched_objects_cache["written"]


class Box:
    """No model instance: Django passes through it by its attributes."""

    def __init__(self, play: Play) -> None:
        self.play = play


@pytest.mark.parametrize("name", ["author", "cast"])
def test_through_objects_that_are_no_model_instances(name: str) -> None:
    def boxed() -> list[City]:
        cities = list(City.objects.order_by("pk"))
        for city in cities:
            city.boxes = [Box(play) for play in plays()]
        return cities

    directed = Prefetch("directed", Play.objects.order_by("-pk"), to_attr="staged")
    people_with_plays = Person.objects.order_by("pk").prefetch_related(directed)
    lookups = [Prefetch(f"boxes__play__{name}", people_with_plays, to_attr="found"), "boxes__play__found__written"]
    ours, theirs = boxed(), boxed()
    MemoizedPrefetch(*lookups).process_chunk(ours)
    assert people_with_plays._hints == {}
    prefetch_related_objects(theirs, *lookups)
    for our, their in zip(ours, theirs):
        comparison = Comparison(lambda name: name in ("found", "staged") or None)
        comparison.graphs([box.play for box in our.boxes], [box.play for box in their.boxes])
