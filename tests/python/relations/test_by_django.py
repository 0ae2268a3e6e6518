"""What Django attaches itself, chunk by chunk: why, and what comes of it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import Count, F, Prefetch, Window, prefetch_related_objects
from django.db.models.functions import RowNumber

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.bookshop.models import Author, Book
from tests.python.catalogue.models import Country, LendingDescriptor, Pamphlet, Touchy
from tests.python.catalogue.models import Person as Lender
from tests.python.conftest import Bookshop, rows_of_a_module
from tests.python.graph import Comparison, assert_same_as_django, assert_same_error
from tests.python.prefetching import SIZES, plays
from tests.python.queries import captured_queries, no_queries
from tests.python.theatre.models import Genre, Person, Play, Seat, Ticket
from tests.python.theatre.rows import fill_theatre

theatre = rows_of_a_module(lambda: fill_theatre(5, 5))
pytestmark = pytest.mark.usefixtures("theatre")


def test_a_third_partys_descriptor_is_respected() -> None:
    person = Lender.objects.create(name="lender")
    place = Country.objects.create(code="se", name="Sweden")
    for i in range(4):
        Pamphlet.objects.create(lender=person if i else None, place=place)
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Lender, ["lender"]), "place")
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


def test_a_property_is_read_when_its_turn_has_come(bookshop: Bookshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may look at what an earlier lookup attaches."""

    def by_way_of_the_author(book: Book) -> Any:
        assert book.author is not None
        return book.categories

    def lookups() -> list[Any]:
        return [Prefetch("author", Author.objects.annotate(more=F("pk"))), "found_later"]

    monkeypatch.setattr(Book, "found_later", property(by_way_of_the_author), raising=False)
    prefetch = MemoizedPrefetch(*lookups())
    for _ in range(3):
        ours, theirs = (list(Book.objects.order_by("pk")) for _ in range(2))
        prefetch.process_chunk(ours)
        prefetch_related_objects(theirs, *lookups())
        Comparison().graphs(ours, theirs)


def test_instances_are_never_hashed_or_compared() -> None:
    Touchy.objects.bulk_create(Touchy(pk=i, name=f"touchy {i}") for i in range(1, 5))
    for i in range(1, 5):  # afterwards: some databases check a foreign key at once
        Touchy.objects.filter(pk=i).update(best_id=1 + i % 3)
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


@SIZES
@pytest.mark.parametrize(
    "place",
    [
        Window(RowNumber(), order_by=[F("rank").asc(), F("hall").asc(), F("number").asc()]),
        Count("tickets"),  # of several columns: Django asks by joining the tickets
    ],
    ids=["window", "aggregate"],
)
def test_what_django_attaches_to_remembered_rows_depends_on_the_chunk(place: Any, size: int | None) -> None:
    """The seats of a chunk are numbered together, and counted by its tickets."""

    def lookup() -> Any:
        return Prefetch("plays__tickets__seat", Seat.objects.annotate(place=place))

    prefetch = MemoizedPrefetch(lookup(), lru_cache_size=size)
    for places in ([1], [0], [2, 1], [0, 1, 2, 3]):
        ours, theirs = ([list(Genre.objects.order_by("pk"))[place] for place in places] for _ in range(2))
        prefetch.process_chunk(ours)
        prefetch_related_objects(theirs, lookup())
        Comparison().graphs(ours, theirs)


def test_what_must_not_be_remembered_is_django_s_every_time() -> None:
    prefetch = MemoizedPrefetch(
        Prefetch("cast", Person.objects.annotate(of_role=F("roles__rank"))),
        Prefetch("genres", Genre.objects.order_by("pk")[:1], to_attr="chosen"),
        Prefetch("author", Person.objects.annotate(place=Window(RowNumber(), order_by=F("pk").asc()))),
    )
    for _ in range(2):
        prefetch.process_chunk(plays())
    relations = prefetch.stats().relations
    assert {relation.path for relation in relations.values()} == {"django"}
    assert all(relation.reason for relation in relations.values())


def test_a_repeated_lookup_below_one_that_django_attaches() -> None:
    def lookups() -> list[Any]:
        seats = Seat.objects.prefetch_related(Prefetch("subscriber__directed", Play.objects.all()))
        return [Prefetch("seat", seats, to_attr="some_a"), Prefetch("some_a__subscriber", Person.objects.all())]

    assert_same_error(lambda: list(Ticket.objects.order_by("pk")), lookups)
