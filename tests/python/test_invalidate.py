"""Rows that changed are forgotten, with everything remembered that mentions them; what users have stays as it is."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection, models
from django.db.models import Prefetch
from django.db.models.signals import m2m_changed, post_delete, post_save

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.bookshop.models import Author, Book, Category, Publisher, Review
from tests.python.catalogue.models import (
    CardIndexEntry,
    Copy,
    Genre,
    Item,
    Label,
    Labelling,
    LegacyRecord,
    ListedItem,
    Loan,
    Locker,
    Map,
    Member,
    Person,
    Series,
    SeriesMembership,
    VisitingMember,
    Volume,
)
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.graph import assert_alike, assert_same_as_django
from tests.python.queries import captured_queries, django_prefetch, query_count
from tests.python.workshop.models import (
    Bicycle,
    Customer,
    Mechanic,
    Part,
    Photo,
    Region,
    Remark,
    Repair,
    Skill,
    Stage,
    Supplier,
    Ticket,
    Warranty,
)
from tests.python.workshop.rows import (
    MORE_LOOKUPS,
    djangos_reading,
    fill_workshop,
    key,
    reading,
    repairs,
    workshop_prefetch,
)


@pytest.fixture
def workshop() -> None:
    fill_workshop(repairs=20)


def all_books() -> list[Book]:
    return list(Book.objects.order_by("pk"))


def all_reviews() -> list[Review]:
    return list(Review.objects.order_by("pk"))


def rename(model: Any, *pks: Any, **values: Any) -> None:
    """Without a signal."""
    (model.objects.filter(pk__in=pks) if pks else model.objects).update(**(values or {"name": "renamed"}))


@contextmanager
def unchanged(chunk: list[Any]) -> Iterator[None]:
    """What the user has: the same objects, attached in the same places, and showing the same."""

    def everything() -> list[Any]:
        found, pending = [], list(chunk)
        known: set[int] = set()
        while pending:
            row = pending.pop()
            if id(row) in known:
                continue
            known.add(id(row))
            values = {name: value for name, value in vars(row).items() if not isinstance(value, (dict, models.Model))}
            values.pop("_state")
            # The reverse side of a one-to-one is the latest chunk's.
            names = {one.get_accessor_name() for one in row._meta.related_objects if one.one_to_one}
            attached = {name: one for name, one in row._state.fields_cache.items() if name not in names}
            for name, queryset in getattr(row, "_prefetched_objects_cache", {}).items():
                attached[f"{name}.all"] = queryset
                pending += queryset
                found.append((id(queryset), [id(one) for one in queryset]))
            pending += [one for name, one in row._state.fields_cache.items() if name in attached and one is not None]
            found.append((id(row), {name: repr(value) for name, value in values.items()}, id(row._state)))
            found.append((id(row), {name: id(value) for name, value in attached.items()}))
        return found

    before = everything()
    assert len(before) > 2 * len(chunk), "nothing is attached"
    yield
    assert everything() == before


# --- which rows are forgotten


def volumes(**values: Any) -> Callable[[], list[Volume]]:
    return lambda: [Volume(pk=number + 1, title="", **values) for number in range(3)]


BOOKS = {
    "author": (Author, 2),
    "translator": (Author, 1),
    "categories": (Category, 1),
    "publisher": (Publisher, 1),
}


@pytest.mark.parametrize("which", ["one", "all"])
@pytest.mark.parametrize("lookup", BOOKS)
def test_changed_rows_are_read_again(bookshop: Bookshop, lookup: str, which: str) -> None:
    model, number = BOOKS[lookup]
    prefetch = MemoizedPrefetch("author", "translator", "categories", "publisher")
    old = prefetch.process_chunk(all_books())
    with unchanged(old):
        changed = FIRST_KEY + number
        rename(model, *([changed] if which == "one" else []))
        prefetch.invalidate(model, [changed] if which == "one" else None)
        assert_same_as_django(all_books, ["author", "translator", "categories", "publisher"], prefetch)


def test_only_what_is_needed_is_read_again(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author", "translator", "categories", "publisher")
    prefetch.process_chunk(all_books())
    books = all_books()
    prefetch.invalidate(Author, [FIRST_KEY + 1])
    before = prefetch.stats().tables["Author"].fetched
    with query_count(1) as queries:
        prefetch.process_chunk(books)
    assert queries.of(Author) == 1
    assert prefetch.stats().tables["Author"].fetched == before + 1
    # The links that mention a category, and the category; the links of other books stay.
    books = all_books()
    before_links = prefetch.stats().tables["Book.categories links"].misses
    prefetch.invalidate(Category, [FIRST_KEY + 3])
    mentioning = Book.objects.filter(categories=FIRST_KEY + 3).count()
    assert 0 < mentioning < len(books)
    with query_count(2):
        prefetch.process_chunk(books)
    assert prefetch.stats().tables["Book.categories links"].misses == before_links + mentioning
    books = all_books()
    prefetch.invalidate(Publisher, [4711])
    prefetch.invalidate(Publisher, [])
    prefetch.invalidate(Review)
    with query_count(0):
        prefetch.process_chunk(books)


def test_what_nested_rows_show_is_read_again_and_nothing_else(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("book__author", "book__publisher", "book__categories")
    paths = ["book__author", "book__publisher", "book__categories"]
    old = prefetch.process_chunk(all_reviews())
    rename(Publisher, FIRST_KEY + 1)
    reviews = all_reviews()
    with unchanged(old):
        prefetch.invalidate(Publisher, [FIRST_KEY + 1])
        with query_count(1) as queries:
            prefetch.process_chunk(reviews)
    assert queries.of(Publisher) == 1
    theirs = all_reviews()
    django_prefetch(theirs, paths)
    assert_alike(reviews, theirs, paths)
    # Where nothing changed the remembered rows are still the same instances.
    for one, other in zip(old, reviews):
        assert one.book.author is other.book.author
        assert (one.book is other.book) == (one.book.publisher_id != FIRST_KEY + 1)


@pytest.mark.parametrize(
    ("model", "number"),
    [
        *((Region, 2), (Supplier, 2), (Skill, 3), (Mechanic, 3), (Customer, 4), (Bicycle, 4), (Part, 3), (Ticket, 4)),
        *((Photo, 3), (Warranty, 2), (Remark, 5)),
    ],
)
@pytest.mark.parametrize("which", ["one", "all"])
def test_every_relation_several_levels_deep(workshop: None, model: Any, number: int, which: str) -> None:
    prefetch = workshop_prefetch(1000, *MORE_LOOKUPS)
    old = prefetch.process_chunk(repairs(0, 20))
    shown = reading(old, more=True)
    before = djangos_reading(repairs(0, 20), more=True)
    assert shown == before
    rename(model, *([key(number)] if which == "one" else []))
    prefetch.invalidate(model, [key(number)] if which == "one" else None)
    expected = djangos_reading(repairs(0, 20), more=True)
    assert expected != before
    chunk = prefetch.process_chunk(repairs(0, 20))
    assert reading(chunk, more=True) == expected
    assert reading(old, more=True) == before, "what the user has is not changed"
    again = repairs(0, 20)
    prefetch.process_chunk(again)
    assert reading(again, more=True) == expected


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


def test_rows_within_a_row_by_select_related(bookshop: Bookshop) -> None:
    queryset = Book.objects.select_related("publisher", "author")
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Book, ["book"], queryset))
    old = prefetch.process_chunk(all_reviews())
    rename(Publisher, FIRST_KEY + 1)
    reviews = all_reviews()
    with unchanged(old):
        prefetch.invalidate(Publisher, [FIRST_KEY + 1])
        with query_count(1) as queries:
            prefetch.process_chunk(reviews)
    assert queries.of(Book) == 1
    lookup = Prefetch("book", queryset)
    theirs = all_reviews()
    django_prefetch(theirs, [lookup])
    assert_alike(reviews, theirs, ["book__publisher", "book__author"])


def test_what_the_user_loaded_from_a_shared_row_is_read_again(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("book")
    old = prefetch.process_chunk(all_reviews())
    assert {review.book.publisher.name for review in old}  # loaded one by one, and kept on the shared rows
    rename(Publisher)
    prefetch.invalidate(Publisher)
    reviews = prefetch.process_chunk(all_reviews())
    assert {review.book.publisher.name for review in reviews} == {"renamed"}


def test_to_attr_everywhere(bookshop: Bookshop) -> None:
    def lookups() -> list[Any]:
        return [
            Prefetch("book", to_attr="subject"),
            Prefetch("subject__categories", Category.objects.filter(pk__gt=0), to_attr="genres"),
            Prefetch("subject__author", to_attr="writer"),
        ]

    def read(review: Review) -> Any:
        subject = review.subject
        return subject.title, sorted(one.name for one in subject.genres), subject.writer.name

    prefetch = MemoizedPrefetch(*lookups())

    def check() -> None:
        ours, theirs = prefetch.process_chunk(all_reviews()), all_reviews()
        django_prefetch(theirs, lookups())
        with query_count(0):
            assert [read(one) for one in ours] == [read(one) for one in theirs]

    check()
    for model in (Category, Author, Book):
        rename(model, FIRST_KEY + 2, **({"title": "renamed"} if model is Book else {}))
        prefetch.invalidate(model, [FIRST_KEY + 2])
        check()
    Book.objects.get(pk=FIRST_KEY).categories.set([FIRST_KEY + 2])  # it had none
    prefetch.invalidate(Book.categories.through)
    check()


def test_proxies_and_inherited_tables() -> None:
    donor = Person.objects.create(name="donor")
    found = Map.objects.create(name="old map", scale=1, donor=donor)
    member = Member.objects.create(name="Ann")
    Loan.objects.create(item_id=found.pk, listed_item_id=found.pk, map=found, borrower=member)
    lookups = ["item", "listed_item", "map", "borrower", "map__donor"]
    prefetch = MemoizedPrefetch(*lookups)

    def chunk() -> list[Loan]:
        return list(Loan.objects.all())

    assert_same_as_django(chunk, lookups, prefetch)
    for number, model in enumerate((Item, ListedItem, Map, None)):
        Item.objects.update(name=f"name {number}")
        Map.objects.update(scale=number)
        if model is None:
            prefetch.invalidate(Person)
            continue
        prefetch.invalidate(model, [found.pk])
        assert_same_as_django(chunk, lookups, prefetch)
    prefetch.invalidate(Map)
    rename(Member)
    prefetch.invalidate(VisitingMember, [member.pk])
    assert_same_as_django(chunk, lookups, prefetch)


def test_prefetch_all_and_clear(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Publisher, ["publisher"], prefetch_all=True), "author")
    prefetch.process_chunk(all_books())
    rename(Publisher, FIRST_KEY + 1)
    prefetch.invalidate(Publisher, [FIRST_KEY + 1])
    assert_same_as_django(all_books, ["publisher", "author"], prefetch)
    rename(Publisher)
    rename(Author)
    prefetch.clear()
    prefetch.invalidate(Publisher)
    assert_same_as_django(all_books, ["publisher", "author"], prefetch)


def test_each_database_and_scope(bookshop: Bookshop, other_bookshop: Bookshop) -> None:
    scope = ["first"]
    prefetch = MemoizedPrefetch("author", scope=lambda: scope[0])
    chunks: dict[Any, Callable[[], list[Book]]] = {
        alias: (lambda alias=alias: list(Book.objects.using(alias).order_by("pk"))) for alias in ("default", "other")
    }
    for name in ("first", "second"):
        scope[0] = name
        for chunk in chunks.values():
            prefetch.process_chunk(chunk())
    for alias in chunks:
        Author.objects.using(alias).update(name=f"renamed in {alias}")
    prefetch.invalidate(Author, [author.pk for author in bookshop.authors])
    for name in ("first", "second"):
        scope[0] = name
        for chunk in chunks.values():
            assert_same_as_django(chunk, ["author"], prefetch)


# --- arguments


def test_keys_as_a_form_or_a_url_gives_them(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author")
    prefetch.process_chunk(all_books())
    rename(Author)
    prefetch.invalidate(Author, [str(author.pk) for author in bookshop.authors])
    assert_same_as_django(all_books, ["author"], prefetch)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("Author",), TypeError, "model must be a model class"),
        ((Author(),), TypeError, "model must be a model class"),
        ((int,), TypeError, "model must be a model class"),
        ((models.Model,), TypeError, "model must be a model class"),
        ((Author, 3), TypeError, r"write \[3\]"),
        ((Author, "3"), TypeError, r"write \['3'\]"),
        ((Author, b"3"), TypeError, "iterable of primary keys"),
        ((Author, [Author(pk=3)]), TypeError, "give its pk"),
        ((Author, ["three"]), ValueError, "no primary keys of Author"),
    ],
)
def test_wrong_arguments(bookshop: Bookshop, arguments: Any, error: type[Exception], words: str) -> None:
    prefetch = MemoizedPrefetch("author")
    prefetch.process_chunk(all_books())
    with pytest.raises(error, match=words):
        prefetch.invalidate(*arguments)
    books = all_books()
    with query_count(0):
        prefetch.process_chunk(books)


def test_keys_that_no_row_has_and_before_the_first_chunk(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author")
    prefetch.invalidate(Author)
    prefetch.invalidate(Author, iter([1, 2]))
    prefetch.process_chunk(all_books())
    prefetch.invalidate(Author, [None, -1])
    prefetch.invalidate(Stage, ["a word"])
    assert_same_as_django(all_books, ["author"], prefetch)


# --- while a chunk is being processed


class ReadCursor:
    """What a statement gave, all of it read: SQLite reads on while its rows are asked for."""

    def __init__(self, cursor: Any) -> None:
        self.cursor = cursor
        self.rows = cursor.fetchall() if cursor.description else []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cursor, name)

    def fetchmany(self, size: int = 1) -> list[Any]:
        rows, self.rows = self.rows[:size], self.rows[size:]
        return rows

    def fetchall(self) -> list[Any]:
        return self.fetchmany(len(self.rows))

    def fetchone(self) -> Any:
        return next(iter(self.fetchmany(1)), None)


class Once:
    """As an execute_wrapper: when the nth statement has been read, the rows change, and that is said."""

    def __init__(self, number: int, change: Callable[[], None]) -> None:
        self.number, self.change, self.statements = number, change, 0

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if self.statements < self.number:
            self.statements += 1
            if self.statements == self.number:
                result = execute(sql, params, many, context)
                context["cursor"].cursor = ReadCursor(context["cursor"].cursor)
                self.change()
                return result
        return execute(sql, params, many, context)


def every_moment(
    prefetch: Callable[[], MemoizedPrefetch],
    warm_up: Callable[[], list[Any]],
    chunk: Callable[[], list[Any]],
    lookups: list[Any],
    change: Callable[[int], None],
    tell: Callable[[MemoizedPrefetch], None],
) -> int:
    """
    The rows change after each of a chunk's statements in turn: while what they gave has been read, but not remembered.

    Returns:
        How many statements there were.
    """
    number = 0
    while True:
        number += 1
        one = prefetch()
        one.process_chunk(warm_up())
        objects = chunk()

        def changed(one: MemoizedPrefetch = one, number: int = number) -> None:
            change(number)
            tell(one)

        once = Once(number, changed)
        with connection.execute_wrapper(once):
            one.process_chunk(objects)
        if once.statements < number:
            return number - 1
        assert_same_as_django(chunk, lookups, one)


@pytest.mark.parametrize("model", [Author, Publisher, Category, Book])
def test_rows_read_before_a_change_serve_the_running_chunk_only(bookshop: Bookshop, model: Any) -> None:
    lookups = ["book__author", "book__publisher", "book__categories", "book__translator"]
    column = "title" if model is Book else "name"
    statements = every_moment(
        lambda: MemoizedPrefetch(*lookups),
        lambda: list(Review.objects.filter(pk__lt=FIRST_KEY + 1)),
        all_reviews,
        lookups,
        lambda number: rename(model, **{column: f"version {number}"}),
        lambda prefetch: prefetch.invalidate(model),
    )
    assert statements >= 5


def test_remembered_rows_that_get_a_stale_one_attached(bookshop: Bookshop) -> None:
    """The book is remembered already; the publisher, read before it changed, is attached to it after the change."""
    prefetch = MemoizedPrefetch("book__publisher")
    prefetch.process_chunk(all_reviews())
    rename(Publisher, name="older")
    prefetch.invalidate(Publisher)
    reviews = all_reviews()

    def change() -> None:
        rename(Publisher)
        prefetch.invalidate(Publisher)

    once = Once(1, change)
    with connection.execute_wrapper(once):
        prefetch.process_chunk(reviews)
    assert once.statements == 1
    assert {review.book.publisher.name for review in reviews} == {"older"}, "the running chunk has what it read"
    assert len(prefetch.memoized_objects[Publisher]) == 0, "and nothing of it is remembered"
    assert_same_as_django(all_reviews, ["book__publisher"], prefetch)


def test_a_failed_chunk_within_which_rows_changed(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("book__publisher", "book__author")
    prefetch.process_chunk(all_reviews()[:4])

    def change() -> None:
        rename(Publisher)
        prefetch.invalidate(Publisher)
        raise ZeroDivisionError

    for number in (1, 2):
        rename(Publisher, name=f"before {number}")
        prefetch.invalidate(Publisher)
        reviews = all_reviews()
        with pytest.raises(ZeroDivisionError), connection.execute_wrapper(Once(number, change)):
            prefetch.process_chunk(reviews)
        assert_same_as_django(all_reviews, ["book__publisher", "book__author"], prefetch)
        prefetch.clear()


# --- invalidate_on_change


SIGNALS = (post_save, post_delete, m2m_changed)
DEEP = ["customer__bicycles", "customer__remarks", "customer__region", "ticket__repair__photos", "mechanic__skills"]
WATCHED = [
    *DEEP,
    "parts__supplier",
    "cause",
    "photos",
    "warranty",
    "campaigns",
    "bicycle",
    "ticket__repair__warranty",
    "inspector__skills",
    "ticket__repair__remarks",
]


def save(instance: Any, **values: Any) -> None:
    for name, value in values.items():
        setattr(instance, name, value)
    instance.save()


def new(model: Any, number: int, **values: Any) -> Any:
    return model.objects.create(id=key(number), name=f"new {number}", **values)


def customer_type() -> ContentType:
    return ContentType.objects.get_for_model(Customer)


CHANGES: dict[str, Callable[[], Any]] = {
    "save": lambda: save(Region.objects.get(pk=key(2)), name="renamed"),
    "save of a row two levels down": lambda: save(Supplier.objects.get(pk=key(2)), region_id=key(0), name="renamed"),
    "save of a row by another column": lambda: save(Bicycle.objects.get(pk=key(3)), frame="frame 15"),
    "create": lambda: new(Bicycle, 500, frame="frame 16", owner_id=key(3)),
    "create what was missing": lambda: new(Part, 10),
    "delete": lambda: Bicycle.objects.get(pk=key(7)).delete(),
    "delete what others refer to": lambda: Customer.objects.get(pk=key(3)).delete(),
    "delete by a queryset": lambda: Remark.objects.filter(pk__lt=key(4)).delete(),
    "a row moves to another parent": lambda: save(Bicycle.objects.get(pk=key(5)), owner_id=key(6)),
    "a row gets a parent": lambda: save(Bicycle.objects.get(pk=key(8)), owner_id=key(1)),
    "a generic row is created": lambda: new(Remark, 500, content_type=customer_type(), object_id=key(13)),
    "a generic row moves": lambda: save(Remark.objects.get(pk=key(0)), object_id=key(9)),
    "a reverse row is created": lambda: new(Photo, 500, repair_id=key(5)),
    "a reverse one-to-one is created": lambda: new(Warranty, 500, repair_id=key(3)),
    "a reverse one-to-one goes away": lambda: Warranty.objects.get(repair=key(4)).delete(),
    "add by the manager of the other side": lambda: Customer.objects.get(pk=key(4)).bicycles.add(
        Bicycle.objects.get(pk=key(9)), bulk=False
    ),
    "links are added": lambda: Mechanic.objects.get(pk=key(3)).skills.add(key(0), key(5)),
    "the first link is added": lambda: Mechanic.objects.get(pk=key(6)).skills.add(key(1)),
    "links are removed": lambda: Mechanic.objects.get(pk=key(5)).skills.remove(key(0), key(5)),
    "links are set": lambda: Mechanic.objects.get(pk=key(5)).skills.set([key(1)]),
    "links are cleared": lambda: Mechanic.objects.get(pk=key(5)).skills.clear(),
    "links are added from the other side": lambda: Skill.objects.get(pk=key(4)).mechanics.add(key(1), key(3)),
    "links are removed from the other side": lambda: Skill.objects.get(pk=key(5)).mechanics.remove(key(5)),
    "links are set from the other side": lambda: Skill.objects.get(pk=key(5)).mechanics.set([key(2)]),
    "links are cleared from the other side": lambda: Skill.objects.get(pk=key(5)).mechanics.clear(),
    "links of the chunk's rows": lambda: Repair.objects.get(pk=key(3)).parts.add(key(1)),
    "links to the chunk's rows": lambda: Repair.objects.get(pk=key(3)).campaigns.clear(),
    "the chunk's own rows": lambda: [save(one, name="processed") for one in repairs(0, 20)],
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_of_this_process_are_seen(workshop: None, change: str) -> None:
    prefetch = MemoizedPrefetch(*WATCHED, invalidate_on_change=True)

    def chunk() -> list[Repair]:
        return repairs(0, 20)

    assert_same_as_django(chunk, WATCHED, prefetch)
    old = prefetch.process_chunk(chunk())
    prefetch.process_chunk([])  # the reverse sides of its one-to-ones are gone
    with unchanged(old):
        CHANGES[change]()
        assert_same_as_django(chunk, WATCHED, prefetch)
    assert_same_as_django(chunk, WATCHED, prefetch)


def test_rows_of_a_through_model_of_its_own() -> None:
    labels = [Label.objects.create(text=f"label {number}") for number in range(3)]
    for number in range(3):
        volume = Volume.objects.create(title=f"volume {number}")
        Copy.objects.create(barcode=str(number), volume=volume)
        Labelling.objects.create(volume=volume, label=labels[number])
    lookups = ["volume__labels", "volume__labels__volumes"]
    prefetch = MemoizedPrefetch(*lookups, invalidate_on_change=True)

    def chunk() -> list[Copy]:
        return list(Copy.objects.order_by("pk"))

    assert_same_as_django(chunk, lookups, prefetch)
    added = Labelling.objects.create(volume=volume, label=labels[0])
    assert_same_as_django(chunk, lookups, prefetch)
    save(added, label=labels[1])
    assert_same_as_django(chunk, lookups, prefetch)
    added.delete()
    assert_same_as_django(chunk, lookups, prefetch)


def test_rows_of_the_chunk_that_are_saved_cost_nothing(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author", "publisher", "categories", invalidate_on_change=True)
    for book in prefetch.process_chunk(all_books()):
        book.save()
    rows = [author for author, _ in prefetch.memoized_objects[Author].items()]
    later = list(Book.objects.filter(pk__gt=FIRST_KEY + 5))
    before = prefetch.stats().tables
    prefetch.process_chunk(later)
    assert rows == sorted(rows, key=rows.index)
    after = prefetch.stats().tables
    for table in ("Author", "Publisher", "Category"):
        assert after[table].fetched == before[table].fetched


def test_links_of_a_deleted_row_of_the_chunk(bookshop: Bookshop) -> None:
    """Its key may come again, with other links."""
    prefetch = MemoizedPrefetch("categories", invalidate_on_change=True)
    prefetch.process_chunk(all_books())
    book = Book.objects.get(pk=FIRST_KEY + 4)
    values = {field.attname: getattr(book, field.attname) for field in Book._meta.concrete_fields}
    book.delete()
    Book.objects.bulk_create([Book(**values)])
    assert_same_as_django(all_books, ["categories"], prefetch)


def test_what_sends_no_signal_is_not_seen(bookshop: Bookshop) -> None:
    """As the documentation says: one has to say it by `invalidate`."""
    prefetch = MemoizedPrefetch("author", invalidate_on_change=True)
    prefetch.process_chunk(all_books())
    names = {author.pk: author.name for author in bookshop.authors}
    Author.objects.update(name="by update()")
    Author.objects.bulk_update([Author(pk=FIRST_KEY, name="by bulk_update()")], ["name"])
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {Author._meta.db_table} SET name = %s WHERE id = %s", ["by SQL", FIRST_KEY + 1])
    books = all_books()
    with query_count(0):
        prefetch.process_chunk(books)
    assert all(book.author.name == names[book.author_id] for book in books)
    prefetch.invalidate(Author)
    assert_same_as_django(all_books, ["author"], prefetch)


def test_without_the_option_signals_change_nothing(bookshop: Bookshop) -> None:
    receivers = [len(signal.receivers) for signal in SIGNALS]
    prefetch = MemoizedPrefetch("author")
    assert [len(signal.receivers) for signal in SIGNALS] == receivers
    prefetch.process_chunk(all_books())
    for author in bookshop.authors:
        save(author, name="renamed")
    books = all_books()
    with query_count(0):
        prefetch.process_chunk(books)


def test_a_change_within_a_chunk_is_seen_by_the_next_one(bookshop: Bookshop) -> None:
    lookups = ["book__author", "book__publisher"]
    statements = every_moment(
        lambda: MemoizedPrefetch(*lookups, invalidate_on_change=True),
        lambda: list(Review.objects.filter(pk__lt=FIRST_KEY + 1)),
        all_reviews,
        lookups,
        lambda number: (
            [save(one, name=f"version {number}") for one in (*Author.objects.all(), *Publisher.objects.all())] and None
        ),
        lambda prefetch: None,
    )
    assert statements == 3


def test_more_changes_than_are_noted_one_by_one(bookshop: Bookshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_memoized_prefetch._changes.signals.MAX_CHANGES", 2)
    prefetch = MemoizedPrefetch("author", invalidate_on_change=True)
    prefetch.process_chunk(all_books())
    for author in bookshop.authors:
        save(author, name=f"renamed {author.pk}")
    assert_same_as_django(all_books, ["author"], prefetch)


def test_signals_do_not_keep_it_alive(bookshop: Bookshop) -> None:
    prefetch = MemoizedPrefetch("author", invalidate_on_change=True)
    prefetch.process_chunk(all_books())
    save(bookshop.authors[0], name="renamed")
    dead = weakref.ref(prefetch)
    del prefetch
    gc.collect()
    assert dead() is None
    save(bookshop.authors[0], name="renamed again")
    post_save.send(Author, instance=bookshop.authors[0])
