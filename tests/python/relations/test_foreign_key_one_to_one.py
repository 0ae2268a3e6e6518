from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db.models import prefetch_related_objects

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.catalogue.models import Card, Locker, Member, Stamp
from tests.python.graph import assert_same_as_django
from tests.python.queries import no_queries, query_count


@pytest.fixture(autouse=True)
def members() -> list[Member]:
    lockers = [Locker.objects.create(place=f"place {i}") for i in range(4)]
    members = [Member.objects.create(name=f"member {i}", locker=lockers[i] if i < 3 else None) for i in range(5)]
    Member.objects.create(name="dangling", locker_id=lockers[3].pk + 1)
    cards = [Card.objects.create(member=member, number=i) for i, member in enumerate(members[:4])]
    for card in cards[:3]:
        Stamp.objects.create(card=card)
    return members


def all_members() -> list[Member]:
    return list(Member.objects.order_by("pk"))


def test_forward_one_to_one_is_that_of_django() -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Locker, ["locker"]))
    for _ in range(2):
        assert_same_as_django(
            all_members, "locker", prefetch, read=lambda member: member.locker and member.locker.place
        )


def test_the_way_back_needs_no_query_while_the_chunk_is_current() -> None:
    prefetch = MemoizedPrefetch("locker")
    for _ in range(2):
        members = prefetch.process_chunk(all_members())
        with no_queries():
            for member in members:
                if member.locker is not None:
                    assert member.locker.member is member


def test_of_two_instances_of_one_row_the_last_is_on_the_way_back() -> None:
    def chunk() -> list[Member]:
        return [*all_members(), *all_members()]

    prefetch = MemoizedPrefetch("locker")
    for _ in range(2):
        members = assert_same_as_django(chunk, "locker", prefetch)
        half = len(members) // 2
        with no_queries():
            assert members[0].locker.member is members[half]


@pytest.mark.parametrize("lookups", [["locker"], ["locker", "locker__member"]])
@pytest.mark.parametrize("other_between", [False, True])
def test_a_chunk_that_is_processed_again_is_found_on_the_way_back(lookups: list[str], other_between: bool) -> None:
    def ways_back(process: Callable[[list[Member]], object]) -> list[int | None]:
        """For each member of a chunk with two instances of some, the place of the one that its locker leads back to."""
        members = [*all_members(), *all_members()][:8]
        process(members)
        if other_between:
            process(all_members())
        process(members)
        with no_queries():
            found = [one.locker and one.locker.member for one in members]
        return [next((place for place, one in enumerate(members) if one is back), None) for back in found]

    ours = ways_back(MemoizedPrefetch(*lookups).process_chunk)
    assert ours == ways_back(lambda members: prefetch_related_objects(members, *lookups))
    assert ours[2] == 2


@pytest.mark.parametrize(
    "process",
    [
        lambda one: prefetch_related_objects([one], "locker"),
        lambda one: MemoizedPrefetch("locker").process_chunk([one]),
    ],
    ids=["Django", "ours"],
)
def test_what_the_user_put_on_the_way_back_stays(process: Callable[[Member], object]) -> None:
    first, again = all_members()[0], all_members()[0]
    again.locker = first.locker  # which also leads back to it
    process(first)
    assert again.locker.member is again


def test_a_spent_chunk_is_not_found_on_the_way_back() -> None:
    """A shared row keeps no object of a chunk that is over; Django's own query answers then."""
    prefetch = MemoizedPrefetch("locker")
    [first, second] = all_members()[:2]
    prefetch.process_chunk([first])
    locker = first.locker
    prefetch.process_chunk([second])
    assert not Locker.member.is_cached(locker)
    with query_count(1):
        assert locker.member == first


def test_primary_key_that_is_the_relation() -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Member, ["member"]))
    for _ in range(2):
        assert_same_as_django(lambda: list(Card.objects.order_by("pk")), "member", prefetch)


@pytest.mark.parametrize("path", ["card__member", "card__member__locker"])
def test_several_steps(path: str) -> None:
    prefetch = MemoizedPrefetch(path)
    for _ in range(2):
        assert_same_as_django(lambda: list(Stamp.objects.order_by("-pk")), path, prefetch)


def test_several_steps_by_config() -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Member, ["card.member"]))
    for _ in range(2):
        assert_same_as_django(lambda: list(Stamp.objects.order_by("-pk")), "card__member", prefetch)


def test_one_query_per_step(members: list[Member]) -> None:
    stamps = list(Stamp.objects.all())
    prefetch = MemoizedPrefetch("card__member", "card__member__locker")
    with query_count(3):  # cards, members, lockers
        prefetch.process_chunk(stamps)
    stamps = list(Stamp.objects.all())
    with no_queries():
        prefetch.process_chunk(stamps)
