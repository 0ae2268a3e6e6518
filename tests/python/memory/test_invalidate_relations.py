"""invalidate() by the kind of relation that leads to the rows."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.models import Prefetch

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.bookshop.models import Book, Category
from tests.python.catalogue.models import (
    CardIndexEntry,
    Genre,
    Item,
    LegacyRecord,
    Loan,
    Locker,
    Member,
    Person,
    Series,
    SeriesMembership,
    Volume,
)
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.graph import assert_same_as_django
from tests.python.memory.changes import all_books, rename, unchanged
from tests.python.queries import captured_queries, django_prefetch
from tests.python.workshop.models import (
    Bicycle,
    Customer,
    Mechanic,
    Part,
    Photo,
    Remark,
    Repair,
    Skill,
    Ticket,
    Warranty,
)
from tests.python.workshop.rows import fill_workshop, key, repairs


@pytest.fixture
def workshop() -> None:
    fill_workshop(repairs=20)


# --- which rows are forgotten


def volumes(**values: Any) -> Callable[[], list[Volume]]:
    return lambda: [Volume(pk=number + 1, title="", **values) for number in range(3)]


def test_a_row_found_by_another_column() -> None:
    Series.objects.create(pk=7, code="A", number=1, name="first")
    Series.objects.create(pk=8, code="B", number=2, name="second")
    prefetch = MemoizedPrefetch("series", "numbered_series", "plain_series")
    chunk = volumes(series_id="A", numbered_series_id=2, plain_series_id=7)
    paths = ["series", "numbered_series", "plain_series"]
    assert_same_as_django(chunk, paths, prefetch)
    rename(Series, 7)
    prefetch.invalidate(Series, [7])
    assert_same_as_django(chunk, paths, prefetch)
    rename(Series, 8, code="A2", number=3)  # a key that was there is so no more
    prefetch.invalidate(Series, [8])
    assert_same_as_django(chunk, paths, prefetch)


def test_links_by_another_column() -> None:
    first = Series.objects.create(pk=7, code="A", number=1, name="first")
    Series.objects.create(pk=8, code="B", number=2, name="second")
    volume = Volume.objects.create(title="one")
    SeriesMembership.objects.create(volume=volume, series=first)
    prefetch = MemoizedPrefetch("all_series")

    def chunk() -> list[Volume]:
        return list(Volume.objects.all())

    assert_same_as_django(chunk, ["all_series"], prefetch)
    SeriesMembership.objects.update(series_id="B")
    rename(Series, 7, name="no longer in it")
    prefetch.invalidate(Series, [7])
    assert_same_as_django(chunk, ["all_series"], prefetch)
    back = MemoizedPrefetch("member_volumes")

    def series() -> list[Series]:
        return list(Series.objects.order_by("pk"))

    assert_same_as_django(series, ["member_volumes"], back)
    SeriesMembership.objects.update(series_id="A")
    back.invalidate(Series, [7, 8])  # the links are remembered by their code
    assert_same_as_django(series, ["member_volumes"], back)


def test_one_to_one_both_ways() -> None:
    locker = Locker.objects.create(place="hall")
    member = Member.objects.create(name="Ann", locker=locker)
    item = Item.objects.create(name="globe")
    Loan.objects.create(item=item, borrower=member)

    def loans() -> list[Loan]:
        return list(Loan.objects.all())

    def members() -> list[Member]:
        return list(Member.objects.all())

    prefetch = MemoizedPrefetch("borrower__locker__member")
    below = MemoizedPrefetch("locker")
    assert_same_as_django(loans, ["borrower__locker__member"], prefetch)
    old = below.process_chunk(members())
    rename(Locker, place="cellar")
    with unchanged(old):
        for one in (prefetch, below):
            one.invalidate(Locker, [locker.pk])
    assert_same_as_django(loans, ["borrower__locker__member"], prefetch)
    assert_same_as_django(members, ["locker"], below)
    rename(Member)
    prefetch.invalidate(Member, [member.pk])
    assert_same_as_django(loans, ["borrower__locker__member"], prefetch)


def test_a_copy_of_a_remembered_row_keeps_no_object_of_a_chunk(workshop: None) -> None:
    """The reverse one-to-one cache of the current chunk's rows is the chunk's, also when the row has to be copied."""
    prefetch = MemoizedPrefetch("ticket__remarks")
    chunk = prefetch.process_chunk(repairs(1, 2))
    ticket = chunk[0].ticket
    assert ticket.repair is chunk[0]
    Remark.objects.bulk_create(
        [Remark(id=key(600), name="new", content_type=ContentType.objects.get_for_model(Ticket), object_id=ticket.pk)]
    )
    prefetch.invalidate(Remark, [key(600)])
    dead = weakref.ref(chunk[0])
    del chunk, ticket
    prefetch.process_chunk([])
    gc.collect()
    assert dead() is None
    [repair] = assert_same_as_django(lambda: repairs(1, 2), ["ticket__remarks"], prefetch)
    assert repair.ticket.repair is repair
    assert [remark.name for remark in repair.ticket.remarks.all()] == ["new"]


def test_reverse_relations_below_remembered_rows(workshop: None) -> None:
    prefetch = MemoizedPrefetch("customer__bicycles__owner", "customer__remarks", "ticket__repair__photos")
    lookups = ["customer__bicycles__owner", "customer__remarks", "ticket__repair__photos"]

    def chunk() -> list[Repair]:
        return repairs(0, 20)

    assert_same_as_django(chunk, lookups, prefetch)
    rename(Bicycle, key(4), owner_id=key(5))  # it leaves one collection and comes into another
    prefetch.invalidate(Bicycle, [key(4)])
    assert_same_as_django(chunk, lookups, prefetch)
    Bicycle.objects.bulk_create([Bicycle(id=key(500), name="new", frame="new", owner_id=key(7))])
    prefetch.invalidate(Bicycle, [key(500)])
    assert_same_as_django(chunk, lookups, prefetch)
    customers = ContentType.objects.get_for_model(Customer)
    Remark.objects.bulk_create([Remark(id=key(500), name="new", content_type=customers, object_id=key(12))])
    prefetch.invalidate(Remark, [key(500)])
    assert_same_as_django(chunk, lookups, prefetch)
    Photo.objects.bulk_create([Photo(id=key(500), name="new", repair_id=key(1))])
    prefetch.invalidate(Photo, [key(500)])
    assert_same_as_django(chunk, lookups, prefetch)


def test_generic_foreign_keys(workshop: None) -> None:
    prefetch = MemoizedPrefetch("cause")

    def chunk() -> list[Repair]:
        return repairs(0, 20)

    old = assert_same_as_django(chunk, ["cause"], prefetch)
    assert {type(one.cause) for one in old} == {Bicycle, Part, type(None)}
    for model in (Bicycle, Part):
        number = 3 if model is Bicycle else 4
        rename(model, key(number))
        with unchanged(old):
            prefetch.invalidate(model, [key(number)])
        with captured_queries() as queries:
            prefetch.process_chunk(chunk())
        assert len(queries) == 2, "the repairs and one row"
        assert_same_as_django(chunk, ["cause"], prefetch)
    Part.objects.bulk_create([Part(id=key(10), name="it was missing")])
    prefetch.invalidate(Part, [key(10)])
    assert_same_as_django(chunk, ["cause"], prefetch)


def test_loose_keys() -> None:
    records = [LegacyRecord.objects.create(text=f"record {number}") for number in range(3)]
    for record in records:
        CardIndexEntry.objects.create(heading="", legacy_id=record.pk)
    CardIndexEntry.objects.create(heading="", legacy_id=records[-1].pk + 1)
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(LegacyRecord, ["legacy"]))

    def texts() -> list[Any]:
        entries = prefetch.process_chunk(list(CardIndexEntry.objects.order_by("pk")))
        return [entry.legacy and entry.legacy.text for entry in entries]

    assert texts() == ["record 0", "record 1", "record 2", None]
    rename(LegacyRecord, records[1].pk, text="changed")
    LegacyRecord.objects.bulk_create([LegacyRecord(pk=records[-1].pk + 1, text="it was missing")])
    prefetch.invalidate(LegacyRecord, [records[1].pk])
    assert texts() == ["record 0", "changed", "record 2", None]
    prefetch.invalidate(LegacyRecord, [records[-1].pk + 1])
    assert texts() == ["record 0", "changed", "record 2", "it was missing"]


@pytest.mark.parametrize("lookup", ["mentor", "mentor__mentor", "mentor__mentor__mentor"])
def test_absences_at_every_level(lookup: str) -> None:
    last = Person.objects.create(name="last", mentor_id=4711)
    second = Person.objects.create(name="second", mentor=last)
    Person.objects.create(name="first", mentor=second)

    def chunk() -> list[Person]:
        return list(Person.objects.filter(name="first"))

    prefetch = MemoizedPrefetch(lookup)
    assert_same_as_django(chunk, lookup, prefetch)
    Person.objects.bulk_create([Person(pk=4711, name="it was missing")])
    prefetch.invalidate(Person, [4711])
    assert_same_as_django(chunk, lookup, prefetch)


def test_absent_targets_of_links_and_absent_reverse_rows(workshop: None) -> None:
    """Nothing is attached that could tell that a row came: an empty list, None, a list that lacks one."""
    with connection.constraint_checks_disabled():
        Mechanic.skills.through.objects.bulk_create(
            [Mechanic.skills.through(mechanic_id=key(0), skill_id=key(600))]  # dangles
        )
    lookups = ["inspector__skills", Prefetch("inspector__skills", to_attr="skill_list"), "ticket__repair__warranty"]
    prefetch = MemoizedPrefetch(*lookups)
    Warranty.objects.all().delete()

    def chunk() -> list[Repair]:
        return [Repair(id=1, inspector_id=key(0), ticket_id=key(1)), Repair(id=2, inspector_id=key(3))]

    def read(one: Repair) -> Any:
        skills = one.inspector.skill_list, [skill.name for skill in one.inspector.skills.all()]
        return [skill.name for skill in skills[0]], skills[1], one.ticket and hasattr(one.ticket.repair, "warranty")

    def check() -> None:
        chunks = [prefetch.process_chunk(chunk()), chunk()]
        django_prefetch(chunks[1], lookups)
        assert [read(one) for one in chunks[0]] == [read(one) for one in chunks[1]]

    check()
    Skill.objects.bulk_create([Skill(id=key(600), name="it was missing")])
    Warranty.objects.bulk_create([Warranty(id=key(600), name="new", repair_id=key(1))])
    prefetch.invalidate(Skill, [key(600)])
    prefetch.invalidate(Warranty, [key(600)])
    check()
    assert any("it was missing" in names for names, _, _ in map(read, prefetch.process_chunk(chunk())))


def test_links_that_depend_on_the_rows_that_they_lead_to() -> None:
    """Genres are ordered by a column: a row that changes its place is in links that do not say so."""
    genres = [Genre.objects.create(name=f"genre {number}", rank=number) for number in range(3)]
    volume = Volume.objects.create(title="one")
    volume.genres.set(genres[:2])
    prefetch = MemoizedPrefetch("genres", Prefetch("genres", Genre.objects.filter(rank__lt=2), to_attr="first_ones"))
    lookups = ["genres", Prefetch("genres", Genre.objects.filter(rank__lt=2), to_attr="first_ones")]

    def read(one: Volume) -> Any:
        return [[genre.name for genre in one.genres.all()], [genre.name for genre in one.first_ones]]

    def check() -> None:
        chunks = [prefetch.process_chunk(list(Volume.objects.all())), list(Volume.objects.all())]
        django_prefetch(chunks[1], lookups)
        assert [read(one) for one in chunks[0]] == [read(one) for one in chunks[1]]

    check()
    rename(Genre, genres[0].pk, rank=9)
    prefetch.invalidate(Genre, [genres[0].pk])
    check()
    rename(Genre, genres[0].pk, rank=0)
    prefetch.invalidate(Genre, [genres[0].pk])
    check()


def test_many_to_many_links_by_source_target_and_through(bookshop: Bookshop) -> None:
    for model, pks in ((Book, [FIRST_KEY + 2]), (Book, None), (Book.categories.through, None), (Category, None)):
        prefetch = MemoizedPrefetch("categories")
        back = MemoizedPrefetch("books")
        prefetch.process_chunk(all_books())
        back.process_chunk(list(Category.objects.all()))
        Book.categories.through.objects.filter(book=FIRST_KEY + 2).delete()
        Book.categories.through.objects.create(book_id=FIRST_KEY + 2, category_id=FIRST_KEY)
        prefetch.invalidate(model, pks)
        back.invalidate(model, pks)
        assert_same_as_django(all_books, ["categories"], prefetch)
        if pks is None:
            assert_same_as_django(lambda: list(Category.objects.order_by("pk")), ["books"], back)
        Book.categories.through.objects.filter(book=FIRST_KEY + 2).delete()
