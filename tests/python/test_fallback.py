"""What the engine does not handle itself goes through Django's own code, chunk by chunk, and says so."""

from __future__ import annotations

import pytest
from django.db.models import prefetch_related_objects

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.bookshop.models import Author, Book
from tests.python.catalogue.models import (
    Card,
    Country,
    LendingDescriptor,
    Locker,
    Member,
    Pamphlet,
    Person,
    Touchy,
)
from tests.python.conftest import Bookshop
from tests.python.oracle import assert_same_as_django, captured_queries, no_queries


@pytest.mark.parametrize("lookup", ["reviews", "author__books", "author__books__categories", "reviews__book"])
@pytest.mark.parametrize("size", [1, 10_000])
def test_reverse_foreign_keys(bookshop: Bookshop, lookup: str, size: int) -> None:
    prefetch = MemoizedPrefetch(lookup, "publisher", lru_cache_size=size)
    keys = [book.pk for book in bookshop.books]
    for chunk in (keys[:4], keys[2:], keys):
        assert_same_as_django(
            lambda chunk=chunk: list(Book.objects.filter(pk__in=chunk).order_by("pk")), [lookup, "publisher"], prefetch
        )


def test_reverse_one_to_one() -> None:
    lockers = [Locker.objects.create(place=f"place {i}") for i in range(3)]
    members = [Member.objects.create(name=f"member {i}", locker=lockers[i] if i else None) for i in range(3)]
    Card.objects.create(member=members[0])
    for lookup, model in (("member", Locker), ("card", Member), ("member__card", Locker)):
        prefetch = MemoizedPrefetch(lookup)
        for _ in range(2):
            assert_same_as_django(lambda model=model: list(model.objects.order_by("pk")), lookup, prefetch)


def test_a_third_partys_descriptor_is_respected() -> None:
    person = Person.objects.create(name="lender")
    place = Country.objects.create(code="se", name="Sweden")
    for i in range(4):
        Pamphlet.objects.create(lender=person if i else None, place=place)
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Person, ["lender"]), "place")
    for _ in range(2):
        assert_same_as_django(lambda: list(Pamphlet.objects.order_by("pk")), ["lender", "place"], prefetch)
    [pamphlet] = prefetch.process_chunk([Pamphlet(lender_id=person.pk)])
    read = LendingDescriptor.read
    with no_queries():
        assert pamphlet.lender == person
    assert LendingDescriptor.read == read + 1
    relations = prefetch.stats().relations
    assert relations["place"].path == "native"
    assert relations["lender"].path == "django"
    assert "LendingDescriptor" in relations["lender"].reason


def test_instances_are_never_hashed_or_compared() -> None:
    rows = [Touchy(pk=i, name=f"touchy {i}", best_id=1 + i % 3) for i in range(1, 5)]
    Touchy.objects.bulk_create(rows)
    through = Touchy.friends.through
    through.objects.bulk_create(
        through(from_touchy_id=i, to_touchy_id=j) for i in range(1, 5) for j in range(1, 5) if i != j
    )
    for prefetch in (
        MemoizedPrefetch("best", "friends", "best__best", "friends__best"),
        MemoizedPrefetch("best", "friends", "best__best", "friends__best", lru_cache_size=1),
    ):
        for _ in range(2):
            chunk = list(Touchy.objects.order_by("pk"))
            prefetch.process_chunk([*chunk, chunk[0]])
            with no_queries():
                assert [touchy.best.pk for touchy in chunk] == [2, 3, 1, 2]
                assert [touchy.best.best.pk for touchy in chunk] == [3, 1, 2, 3]
                assert [sorted(friend.pk for friend in touchy.friends.all()) for touchy in chunk] == [
                    [2, 3, 4],
                    [1, 3, 4],
                    [1, 2, 4],
                    [1, 2, 3],
                ]
                assert all(friend.best.pk == friend.best_id for touchy in chunk for friend in touchy.friends.all())


def test_no_more_queries_than_django(bookshop: Bookshop) -> None:
    lookups = ["reviews", "author", "author__books", "categories"]
    ours, theirs = list(Book.objects.all()), list(Book.objects.all())
    with captured_queries() as their_queries:
        prefetch_related_objects(theirs, *lookups)
    prefetch = MemoizedPrefetch(*lookups)
    with captured_queries() as our_queries:
        prefetch.process_chunk(ours)
    # The links and the targets of a many-to-many are two queries once, where Django makes one for every chunk.
    assert len(our_queries) <= len(their_queries) + 1
    assert our_queries.of(Author) == 1
