"""What `partitions()` cuts, and what `Partition.of()` reads: every row once, evenly, whatever the key is."""

from __future__ import annotations

import datetime
import json
import pickle
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import django
import pytest
from django.apps.registry import Apps
from django.db import connection, models
from django.db.models import F, FilteredRelation, Q, Value, Window
from django.db.models.functions import Now, RowNumber
from django.test import override_settings
from django.utils import timezone

from django_memoized_prefetch import MemoizedPrefetch, Partition, memoized, partitions
from django_memoized_prefetch._partitions.ranges import text_of
from tests.python.archive.models import Box, Seal
from tests.python.bookshop.models import Author, Book, Review
from tests.python.catalogue.models import Country, Scan, Shelf
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.own_models import table
from tests.python.queries import captured_queries, no_queries, query_count
from tests.python.turns import EVERY

if django.VERSION >= (5, 2):
    from tests.python.catalogue.models import Placement


def dense(count: int) -> Any:
    Shelf.objects.bulk_create(Shelf(number=number) for number in range(count))
    return Shelf.objects.all()


def with_gaps(count: int) -> Any:
    Shelf.objects.bulk_create(Shelf(number=(-1) ** number * number**4) for number in range(count))
    return Shelf.objects.all()


def uuids(count: int) -> Any:
    Scan.objects.bulk_create(Scan(uuid=uuid.uuid5(uuid.NAMESPACE_OID, str(number))) for number in range(count))
    return Scan.objects.all()


def texts(count: int) -> Any:
    Country.objects.bulk_create(Country(code=f"{'aé😀ÄBz'[number % 6]}{number**3:x}") for number in range(count))
    return Country.objects.all()


def inherited(count: int) -> Any:
    boxes = Box.objects.bulk_create(Box() for _ in range(count))
    Seal.objects.bulk_create(Seal(box=box) for box in Box.objects.order_by("-pk")[: len(boxes)])
    return Seal.objects.all()


def composite(count: int) -> Any:
    Placement.objects.bulk_create(Placement(room=number % 7, position=number**2) for number in range(count))
    return Placement.objects.all()


KINDS: dict[str, Callable[[int], Any]] = {
    "dense": dense,
    "gaps": with_gaps,
    "uuid": uuids,
    "text": texts,
    "a relation": inherited,
}
of_every_kind = pytest.mark.parametrize(
    "make", [*KINDS.values(), pytest.param(composite, marks=pytest.mark.since("5.2"))], ids=[*KINDS, "composite"]
)


def read(parts: list[Partition], queryset: Any) -> list[Any]:
    """The keys of all parts, each read by `chunks()`."""
    return [row.pk for part in parts for chunk in MemoizedPrefetch().chunks(part.of(queryset), 7) for row in chunk]


@of_every_kind
@pytest.mark.parametrize("order", ["pk", "-pk"])
def test_every_row_is_in_one_part(make: Any, order: str) -> None:
    everything = make(103).order_by(order)
    expected = list(everything.values_list("pk", flat=True))
    for count in (1, 2, 10, 103, *((102, 104, 1000) if EVERY else ())):
        parts = partitions(everything, count)
        assert read(parts, everything) == expected
        assert len(parts) == min(count, 103)
        assert [part.index for part in parts] == list(range(len(parts)))
        assert {part.count for part in parts} == {len(parts)}
        sizes = [part.of(everything).count() for part in parts]
        assert sizes == [part.rows for part in parts]
        assert max(sizes) - min(sizes) <= 1
        assert [part.after for part in parts[1:]] == [part.upto for part in parts[:-1]]
        assert parts[0].after is None
        assert parts[-1].upto is None


@of_every_kind
def test_rows_added_later_are_in_a_part_too(make: Any) -> None:
    everything = make(40)
    some = list(everything.values_list("pk", flat=True))[10:31:2]
    removed = list(everything.filter(pk__in=some))
    everything.filter(pk__in=some).delete()
    parts = partitions(everything, 5)
    type(removed[0]).objects.bulk_create(removed)
    assert sorted(read(parts, everything)) == sorted(everything.values_list("pk", flat=True))


@of_every_kind
def test_a_message_carries_it(make: Any) -> None:
    everything = make(20)
    parts = partitions(everything, 4)
    messages = json.loads(json.dumps([part.as_dict() for part in parts]))
    assert [Partition.from_dict(message) for message in messages] == parts
    assert pickle.loads(pickle.dumps(parts)) == parts
    assert read([Partition.from_dict(message) for message in messages], everything) == read(parts, everything)


def test_only_keys_are_read(bookshop: Bookshop) -> None:
    with captured_queries() as queries:
        partitions(Book.objects.prefetch_related("author").select_related("publisher"), 4)
    assert len(queries) == 4
    assert queries.of(Author) == 0
    assert not any("title" in sql or "JOIN" in sql for sql in queries.sql)
    with query_count(1):
        partitions(Book.objects.all(), 1)


def test_without_rows() -> None:
    for nothing in (Book.objects.all(), Book.objects.none(), Book.objects.filter(pk__in=[])):
        (part,) = partitions(nothing, 64)
        assert (part.index, part.count, part.after, part.upto, part.rows) == (0, 1, None, None, 0)
        assert list(part.of(nothing)) == []
        assert Partition.from_dict(part.as_dict()) == part


def test_the_queryset_stays_as_it_is(bookshop: Bookshop) -> None:
    queryset = Book.objects.filter(pk__gt=0)
    sql = str(queryset.query)
    (first, *_) = partitions(queryset, 3)
    assert list(first.of(queryset)) == list(Book.objects.order_by("pk")[:4])
    assert str(queryset.query) == sql
    assert queryset._result_cache is None


def test_managers_and_memoized_querysets(bookshop: Bookshop) -> None:
    parts = partitions(Book.objects, 4)
    assert len(read(parts, Book.objects)) == 12
    some = memoized(Book.objects.prefetch_related("author"))
    assert parts == list(map(replaced(parts[0].run), partitions(some, 4)))
    part = parts[1].of(some)
    assert type(part) is type(some)
    with query_count(2):
        books = list(part)
    with no_queries():
        assert all(book.author.name for book in books)


def replaced(run: str) -> Callable[[Partition], Partition]:
    return lambda part: Partition.from_dict({**part.as_dict(), "run": run})


# --- the worker's queryset


def mine() -> Any:
    return Book.objects.filter(Q(title__in={"title 1", "title 2", "title 3"}) | Q(pk__gte=0), author__name__gt="")


@pytest.mark.parametrize(
    "theirs",
    [
        lambda: mine().prefetch_related("author"),
        lambda: mine().select_related("author"),
        lambda: mine().only("title"),
        lambda: mine().defer("title"),
        lambda: mine().annotate(one=Value(1)),
        lambda: mine().order_by("pk"),
        lambda: mine().order_by(F("pk").asc()),
        lambda: memoized(mine()),
        lambda: Book.objects.filter(Q(title__in=["title 3", "title 1", "title 2"]) | Q(pk__gte=0), author__name__gt=""),
    ],
)
def test_other_columns_are_no_matter(bookshop: Bookshop, theirs: Any) -> None:
    parts = partitions(mine(), 3)
    assert sorted(book.pk for part in parts for book in part.of(theirs())) == sorted(book.pk for book in mine())


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (Author.objects.all, "expected a queryset of bookshop.Book, got one of bookshop.Author"),
        (Book.objects.all, "its conditions or its order differ. The SQL of the queryset given here: SELECT"),
        (lambda: mine().order_by("-pk"), "its conditions or its order differ"),
        (lambda: mine().filter(pk__gt=3), "its conditions or its order differ"),
        (
            lambda: Book.objects.filter(Q(title__in={"title 1", "title 2", "x"}) | Q(pk__gte=0), author__name__gt=""),
            "a parameter of its conditions has another value",
        ),
        (
            lambda: Book.objects.filter(Q(title__in={"title 1", "title 2"}) | Q(pk__gte=0), author__name__gt=""),
            "its conditions or its order differ",
        ),
        (lambda: mine()[:5], "Book cannot be cut into ranges of keys: it is sliced"),
    ],
)
def test_another_queryset_is_refused(bookshop: Bookshop, theirs: Any, said: str) -> None:
    _, part, _ = partitions(mine(), 3, run="nightly")
    with pytest.raises(ValueError, match=r"^Partition 2 of 3 of run 'nightly': ") as caught:
        part.of(theirs())
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "combine",
    [
        lambda one, other: one | other,
        lambda one, other: one & other,
        lambda one, other: other.exclude(pk__in=[FIRST_KEY + 3, FIRST_KEY]),
        lambda one, other: (one | other).exclude(title="") & Book.objects.filter(pk__gt=0),
    ],
)
def test_combined_conditions(bookshop: Bookshop, combine: Any) -> None:
    def rows() -> Any:
        return combine(Book.objects.filter(pk__gt=FIRST_KEY + 4), Book.objects.filter(pk__lt=FIRST_KEY + 8))

    expected = list(rows().order_by("pk").values_list("pk", flat=True))
    parts = partitions(rows(), 5)
    assert read(parts, rows()) == expected
    assert [part.rows for part in parts] == [part.of(rows()).count() for part in parts]


def test_filtered_relations_that_are_selected(bookshop: Bookshop) -> None:
    """An inner join, which Django makes when it compiles the query, leaves rows out; an outer one does not."""

    def rows(relation: str) -> Any:
        named = FilteredRelation(relation, condition=Q(**{f"{relation}__name__contains": "1"}))
        return Book.objects.annotate(named=named).select_related("named").order_by("pk")

    for relation, count in (("author", 3), ("translator", 12)):
        parts = partitions(rows(relation), 3)
        assert [part.rows for part in parts] == [count / 3] * 3
        assert [len(part.of(rows(relation))) for part in parts] == [count / 3] * 3
        assert read(parts, rows(relation)) == [book.pk for book in rows(relation)]
    assert [len(part.of(rows("translator").select_related(None))) for part in parts] == [4, 4, 4], "this may differ"


def test_a_value_that_changes_with_time(bookshop: Bookshop) -> None:
    part, *_ = partitions(Scan.objects.filter(pk=uuid.UUID(int=4)), 3)
    part.of(Scan.objects.filter(pk=uuid.UUID(int=4)))
    with pytest.raises(ValueError, match="If the value changes with time"):
        part.of(Scan.objects.filter(pk=uuid.UUID(int=5)))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Book.objects.all()[:5], "it is sliced"),
        (lambda: Book.objects.order_by("title"), "it is ordered by title"),
        (lambda: Book.objects.filter(reviews__rating__gt=1), "it joins bookshop_review"),
        (
            lambda: Book.objects.annotate(all=FilteredRelation("reviews", condition=Q())).select_related("all"),
            "it joins bookshop_review",
        ),
        (lambda: Book.objects.distinct(), "it is distinct"),
        (lambda: Book.objects.union(Book.objects.all()), "it is a union"),
        (lambda: Book.objects.annotate(n=Window(RowNumber())), "it uses a window function"),
    ],
)
def test_what_cannot_be_cut(bookshop: Bookshop, make: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^partitions: Book cannot be cut into ranges of keys: {reason}"):
        partitions(make(), 3)
    with pytest.raises(ValueError, match='mode="pages"'):
        next(iter(MemoizedPrefetch().chunks(make(), mode="pages")))


def test_wrong_arguments(bookshop: Bookshop) -> None:
    with pytest.raises(TypeError, match=r"^partitions: expected a queryset or a manager, got the class Book"):
        partitions(Book, 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^partitions: count must be an integer, got '3'"):
        partitions(Book.objects, "3")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^partitions: count must be at least 1, got 0"):
        partitions(Book.objects, 0)
    with pytest.raises(ValueError, match=r"^partitions: run must not be empty"):
        partitions(Book.objects, 3, run="")
    with pytest.raises(TypeError, match=r"^partitions: run must be a text or None, got 5"):
        partitions(Book.objects, 3, run=5)  # type: ignore[arg-type]
    part, *_ = partitions(Book.objects, 3)
    with pytest.raises(TypeError, match="expected a queryset or a manager, got 'Book'"):
        part.of("Book")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^Partition.from_dict: expected what as_dict\(\) returned, got 'part'"):
        Partition.from_dict("part")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^Partition.from_dict: expected the fields run, index, .*, got run"):
        Partition.from_dict({"run": "nightly"})
    with pytest.raises(ValueError, match=r"^Partition.from_dict: there is no model 'shop.Book'"):
        Partition.from_dict({**part.as_dict(), "model": "shop.Book"})
    with pytest.raises(ValueError, match=r"^Partition.from_dict: upto must be a primary key of Book \(id\), got 'x'"):
        Partition.from_dict({**part.as_dict(), "upto": "x"})
    for name, wrong in (("index", "a"), ("rows", None), ("run", 5), ("rows_of", 7), ("cut", None), ("model", 5)):
        with pytest.raises(ValueError, match=rf"^Partition.from_dict: .*{name}.* {wrong!r}"):
            Partition.from_dict({**part.as_dict(), name: wrong})
    with pytest.raises(ValueError, match=r"^Partition.from_dict: model must be|there is no model None"):
        Partition.from_dict({**part.as_dict(), "model": None})
    with pytest.raises(ValueError, match=r"^Partition.from_dict: upto must be a primary key of Book \(id\), got inf"):
        Partition.from_dict({**part.as_dict(), "upto": float("inf")})


def line_model(field: type[models.Field[Any, Any]]) -> Any:
    """A model of a table that Django did not make."""

    class Line(models.Model):
        number = field(primary_key=True)

        class Meta:
            apps = Apps()
            app_label = "keyed"
            db_table = "keyed_line"
            managed = False

    return Line


def test_a_table_without_a_unique_key(db: None) -> None:
    Line = line_model(models.IntegerField)  # noqa: N806
    with table("keyed_line", "number integer", [(number,) for number in (1, 2, 2, 2, 2, 3, 3)]):
        parts = partitions(Line.objects.all(), 3)
        assert [part.of(Line.objects.all()).count() for part in parts] == [5, 2, 0]
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO keyed_line VALUES (NULL)")
        with pytest.raises(ValueError, match=r"^partitions: Line cannot be read in pages, .* a row without a key.$"):
            partitions(Line.objects.all(), 3)


def test_rows_that_go_while_it_cuts(bookshop: Bookshop) -> None:
    def delete_behind(execute: Any, sql: str, *arguments: Any) -> Any:
        result = execute(sql, *arguments)
        if "COUNT" in sql:
            Review.objects.all().delete()
            Book.objects.filter(pk__gte=FIRST_KEY + 5).delete()
        return result

    with connection.execute_wrapper(delete_behind):
        parts = partitions(Book.objects.all(), 4)
    assert len(parts) < 4
    assert {part.count for part in parts} == {len(parts)}
    assert read(parts, Book.objects.all()) == list(Book.objects.order_by("pk").values_list("pk", flat=True))


@pytest.mark.since("5.0")
def test_keys_that_their_field_cannot_have(db: None) -> None:
    """Django drops the condition on such a key, so the first page would come again for ever."""
    Line = line_model(models.PositiveIntegerField)  # noqa: N806
    lines = Line._default_manager.all()
    wrong = r"Line cannot be read in pages, the database returned the key -\d, .* range of its PositiveIntegerField"
    with table("keyed_line", "number integer", [(number,) for number in range(-3, 3)]):
        with pytest.raises(ValueError, match=rf"^chunks: {wrong}; use mode=\"cursor\"\.$"):
            list(MemoizedPrefetch().chunks(lines, 2))
        with pytest.raises(ValueError, match=rf"^partitions: {wrong}\.$"):
            partitions(lines, 3)
        assert [len(chunk) for chunk in MemoizedPrefetch().chunks(lines, 2, mode="cursor")] == [2, 2, 2]


PARAMETERS: dict[str, tuple[Any, Any, bool]] = {
    "moments": (
        datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.timezone.utc),
        datetime.datetime(2024, 5, 1, 14, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
        True,
    ),
    "other moments": (
        datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.timezone.utc),
        datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
        False,
    ),
    "decimals": (Decimal("1.0"), Decimal("1.00"), True),
    "other decimals": (Decimal(f"1.{'0' * 40}1"), Decimal(f"1.{'0' * 40}2"), False),
    "bytes": (b"\x00" * 40 + b"a", memoryview(b"\x00" * 40 + b"a"), True),
    "other bytes": (b"\x00" * 40 + b"a", b"\x00" * 40 + b"b", False),
    "dicts": ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}, True),
    "other dicts": ({"type": "a" * 40, "state": "open"}, {"type": "a" * 40, "state": "paid"}, False),
    "lists": ([1, Decimal("2.0")], [1, Decimal(2)], True),
    "other lists": ([1, 2], [2, 1], False),
    "sets": ({"a", "b", "c"}, {"c", "b", "a"}, True),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_compared_by_value(name: str) -> None:
    one, other, are_equal = PARAMETERS[name]
    assert (text_of(one) == text_of(other)) == are_equal
    if connection.vendor == "postgresql":
        from psycopg import Binary
        from psycopg.types.json import Jsonb

        wrap = Jsonb if "dicts" in name else Binary if "bytes" in name else None
        if wrap is not None:
            assert (text_of(wrap(one)) == text_of(wrap(other))) == are_equal


def test_a_queryset_without_rows_is_refused(bookshop: Bookshop) -> None:
    part = partitions(Book.objects, 2)[1]
    for none in (Book.objects.none(), Book.objects.filter(pk__in=[])):
        with pytest.raises(ValueError, match="its conditions differ: the queryset given here has no rows"):
            part.of(none)


def test_another_database() -> None:
    Country.objects.using("other").bulk_create(Country(code=f"{number:02}") for number in range(10))
    elsewhere = Country.objects.using("other")
    parts = partitions(elsewhere, 3)
    assert [part.rows for part in parts] == [4, 3, 3]
    assert len(read(parts, elsewhere)) == 10
    assert read(parts, Country.objects.all()) == []  # no rows there, but the same queryset


def test_expressions_that_the_database_evaluates(bookshop: Bookshop) -> None:
    some = Review.objects.annotate(now=Now()).filter(rating__gt=0).exclude(Q(book__pk__lt=F("rating")) & Q(comment=""))
    assert read(partitions(some, 3), some) == list(some.order_by("pk").values_list("pk", flat=True))


@override_settings(USE_TZ=True)
def test_a_condition_on_a_day_knows_the_zone(db: None) -> None:
    def rows() -> Any:
        return Scan.objects.annotate(now=Now()).filter(now__date=datetime.date(2024, 5, 1))

    with timezone.override("Asia/Tokyo"):
        part, *_ = partitions(rows(), 3)
        part.of(rows())
    if connection.vendor == "postgresql":
        with timezone.override("UTC"), pytest.raises(ValueError, match="conditions"):
            part.of(rows())


# --- runs and files


def test_the_run(bookshop: Bookshop) -> None:
    first, again = partitions(Book.objects, 4, run="nightly"), partitions(Book.objects, 4, run="nightly")
    assert first == again
    assert {part.run for part in first} == {"nightly"}
    assert {part.cut for part in first} != {part.cut for part in again}
    one, other = partitions(Book.objects, 4), partitions(Book.objects, 4)
    assert one[0].run != other[0].run
