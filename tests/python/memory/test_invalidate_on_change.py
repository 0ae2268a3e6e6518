"""invalidate_on_change: what this process saves and deletes is forgotten."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.models import Prefetch, prefetch_related_objects
from django.db.models.signals import m2m_changed, post_delete, post_save

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.bookshop.models import Author, Book, Publisher, Review
from tests.python.catalogue.models import Copy, Label, Labelling, Volume
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.databases import on_one_database
from tests.python.graph import Comparison, assert_same_as_django
from tests.python.memory.changes import all_books, all_reviews, every_moment, unchanged
from tests.python.prefetching import plays
from tests.python.queries import django_prefetch, query_count
from tests.python.theatre.models import City, Locker, Note, Person, Play
from tests.python.theatre.rows import fill_theatre
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
    Supplier,
    Warranty,
)
from tests.python.workshop.rows import fill_workshop, key, repairs

pytestmark = on_one_database


@pytest.fixture
def workshop() -> None:
    fill_workshop(repairs=20)


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


class LockersOfMentors(MemoizedPrefetchConfig):
    def get_queryset(self) -> Any:
        return Person.objects.prefetch_related("mentor__locker")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Prefetch("holder", Person.objects.select_related("mentor__locker")), None),
        (LockersOfMentors(Person, ["holder"]), Prefetch("holder", Person.objects.prefetch_related("mentor__locker"))),
    ],
    ids=["select_related", "the lookups of a config's queryset"],
)
def test_streamed_rows_that_remembered_rows_brought_along(ours: Any, theirs: Any) -> None:
    fill_theatre(8, 8)

    def lockers() -> list[Locker]:
        return list(Locker.objects.order_by("pk"))

    def assert_alike() -> None:
        chunk, expected = lockers(), lockers()
        prefetch.process_chunk(chunk)
        django_prefetch(expected, [theirs or ours])
        Comparison().graphs(chunk, expected)

    prefetch = MemoizedPrefetch(ours, invalidate_on_change=True)
    assert_alike()
    for locker in lockers():
        save(locker, name="renamed")
    assert_alike()


@pytest.mark.parametrize("of", ["config", pytest.param("generic", marks=pytest.mark.since("5.0"))])
def test_what_the_lookups_of_a_whole_queryset_have_chosen(of: str) -> None:
    """Another lookup attaches all rows of the same relation, to the same model's rows of another table."""
    fill_theatre(4, 4)
    Play.objects.update(author=Person.objects.first())
    Person.objects.update(mentor=Person.objects.last())

    def people() -> Any:
        return Person.objects.prefetch_related(Prefetch("written", Play.objects.filter(rank__lt=2)))

    class Config(MemoizedPrefetchConfig):
        def get_queryset(self) -> Any:
            return people()

    if of == "config":
        model: Any = Play
        given, stock = Config(Person, ["author"]), Prefetch("author", people())
        others = ["author__mentor__written"]
    else:
        from django.contrib.contenttypes.prefetch import GenericPrefetch

        model = Note
        given = stock = GenericPrefetch("target", [people()])
        others = ["writer__written"]
    prefetch = MemoizedPrefetch(given, *others, invalidate_on_change=True)
    for name in ("", "renamed"):
        if name:
            save(Play.objects.filter(rank__lt=2).first(), name=name)
        assert_same_as_django(lambda: list(model.objects.order_by("pk")), [stock, *others], prefetch)


@pytest.mark.since("6.1")
@pytest.mark.parametrize("name", ["mentor", "rank"])
def test_copies_of_rows_that_load_values_for_their_peers(name: str) -> None:
    from django.db.models import FETCH_PEERS

    fill_theatre(4, 4)
    Person.objects.update(hometown=City.objects.first(), mentor=Person.objects.last())

    def author() -> Any:
        return Prefetch("author", Person.objects.defer("rank").fetch_mode(FETCH_PEERS).prefetch_related("hometown"))

    prefetch = MemoizedPrefetch(author(), invalidate_on_change=True)
    kept = prefetch.process_chunk(plays())
    save(City.objects.first(), name="renamed")
    ours, theirs = prefetch.process_chunk(plays()), plays()
    prefetch_related_objects(theirs, author())
    authors = [play.author for play in ours if play.author is not None]
    assert all(one is not other for play in kept for one in authors for other in [play.author])
    with query_count(1):
        found = [getattr(one, name) for one in authors]
    assert found == [getattr(play.author, name) for play in theirs if play.author is not None]
