"""Pages need a key that is unique, and that the database orders: a table that Django did not make may have another."""

from __future__ import annotations

import gc
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps.registry import Apps
from django.db import connection, models

from django_memoized_prefetch import MemoizedPrefetch, memoized, partitions
from tests.python.bookshop.models import Book
from tests.python.catalogue.models import Country, Locker, Member
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.customised.models import Article, Editor, Journal
from tests.python.databases import SQLITE, only_on
from tests.python.own_models import table
from tests.python.queries import captured_queries, query_count, run_async

legacy = Apps()


class Line(models.Model):
    """Of an order: the table's key is both columns."""

    order_no = models.IntegerField(primary_key=True)
    line_no = models.IntegerField()

    class Meta:
        apps = legacy
        app_label = "legacy"
        db_table = "legacy_line"
        managed = False


class Word(models.Model):
    text = models.CharField(max_length=20, primary_key=True)
    number = models.IntegerField()

    class Meta:
        apps = legacy
        app_label = "legacy"
        db_table = "legacy_word"
        managed = False


def execute(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def lines(keys: Any, temporary: bool = True) -> Any:
    rows = [(key, at) for at, key in enumerate(keys)]
    return table("legacy_line", "order_no integer, line_no integer", rows, temporary)


@pytest.fixture
def create_lines(db: None) -> Iterator[Callable[[Any], None]]:
    with ExitStack() as made:
        yield lambda keys: made.enter_context(lines(keys))


def given(queryset: Any, chunk_size: int, **options: Any) -> tuple[list[list[Any]], str]:
    """The keys of each chunk, and the error that ended it."""
    chunks: list[list[Any]] = []
    try:
        stream = MemoizedPrefetch().chunks(queryset, chunk_size, **options)
        while chunk := next(stream, None):  # type: ignore[call-overload]
            chunks.append([row.pk for row in chunk])
    except ValueError as error:
        return chunks, str(error)
    return chunks, ""


def message(wrong: str, model: str = "Line") -> str:
    return f'chunks: {model} cannot be read in pages, the database returned {wrong}; use mode="cursor".'


# --- several rows of one key

# Where the second row of a key stands: in a page, behind one, in the last one, behind more rows than a page has.
REPEATED = [[1, 1, 2], [1, 2, 2, 3], [1, 2, 3, 3], [1, 1, 1, 1, 1, 1, 1], [2, 2], [0, 0, 5], [1, 2, 3, 4, 5, 5, 6, 7]]


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("keys", REPEATED)
@pytest.mark.parametrize("inserted_backwards", [True, False])
@pytest.mark.parametrize("order", ["order_no", "-order_no"])
def test_a_repeated_key_ends_the_run(
    create_lines: Any, keys: list[int], chunk_size: int, inserted_backwards: bool, order: str
) -> None:
    create_lines(reversed(keys) if inserted_backwards else keys)
    queryset = Line.objects.order_by(order)
    chunks, error = given(queryset, chunk_size)
    repeated = next(key for key in keys if keys.count(key) > 1)
    assert error == message(f"several rows with the key {repeated}")
    before = sorted((key for key in keys if key != repeated), reverse=order.startswith("-"))
    assert [key for chunk in chunks for key in chunk] == before[: len(chunks) * chunk_size]
    assert all(repeated not in chunk for chunk in chunks), "nothing of the page that it is in"
    rows = [row.pk for chunk in MemoizedPrefetch().chunks(queryset, chunk_size, mode="cursor") for row in chunk]
    assert rows == [row.pk for row in queryset]
    assert [row.pk for row in memoized(queryset).iterator(chunk_size=chunk_size)] == rows


def test_a_repeated_key_that_goes_on(create_lines: Any) -> None:
    create_lines([1, 2, 2, 3, 4])
    assert given(Line.objects.all(), 2, after=2) == ([[3, 4]], "")
    assert given(Line.objects.all(), 1, after=1) == ([], message("several rows with the key 2"))
    assert given(Line.objects.order_by("-pk"), 2, after=4) == ([], message("several rows with the key 2"))


@pytest.mark.django_db(databases=["default", "other"], transaction=True)
def test_asynchronous_pages_end_too() -> None:
    async def read() -> list[Any]:
        return [chunk async for chunk in MemoizedPrefetch().achunks(Line.objects.all(), 1)]

    with lines([1, 2, 2], temporary=False), pytest.raises(ValueError, match="several rows with the key 2"):
        run_async(read())


@pytest.mark.since("5.2")
def test_a_repeated_key_of_several_columns() -> None:
    class Cell(models.Model):
        pk = models.CompositePrimaryKey("row", "column")
        row = models.IntegerField()
        column = models.IntegerField()

        class Meta:
            apps = Apps()
            app_label = "legacy"
            db_table = "legacy_cell"
            managed = False

    row, column = map(connection.ops.quote_name, ("row", "column"))
    with table("legacy_cell", f"{row} integer, {column} integer", [(1, 1), (1, 2), (1, 2), (2, 1)]):
        for order, chunk_size, chunks in (("pk", 1, [[(1, 1)]]), ("-pk", 1, [[(2, 1)]]), ("pk", 2, []), ("-pk", 4, [])):
            expected = chunks, message("several rows with the key (1, 2)", "Cell")
            assert given(Cell.objects.order_by(order), chunk_size) == expected
        execute(f"DELETE FROM legacy_cell WHERE {column} = 2")
        assert given(Cell.objects.all(), 1) == ([[(1, 1)], [(2, 1)]], "")
        execute(f"UPDATE legacy_cell SET {column} = NULL WHERE {row} = 2")
        assert given(Cell.objects.all(), 1) == ([], message("a row without a key", "Cell"))


# --- keys that are equal for the database, and keys that are none


@only_on(SQLITE)  # its collation
@pytest.mark.parametrize("chunk_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("order", ["pk", "-pk"])
@pytest.mark.parametrize("texts", ["abBc", "aAbc", "abcC", "bB"])
def test_keys_that_are_equal_for_the_database_only(order: str, chunk_size: int, texts: str) -> None:
    queryset = Word.objects.order_by(order)
    with table("legacy_word", "text varchar COLLATE NOCASE, number integer", [(text, 0) for text in texts]):
        expected = [row.pk for row in queryset]
        chunks, error = given(queryset, chunk_size)
    rows = [key for chunk in chunks for key in chunk]
    assert rows == expected[: len(rows)]
    borders = zip(expected[chunk_size - 1 :: chunk_size], expected[chunk_size::chunk_size])
    if any(last.lower() == behind.lower() for last, behind in borders):
        at = len(rows)
        assert error == message(
            f"two rows whose keys it considers equal, {expected[at - 1]!r} and {expected[at]!r}", "Word"
        )
    else:
        assert (error, rows) == ("", expected)


def test_keys_whose_case_the_database_ignores_are_pages_as_others() -> None:
    column = "text varchar(20) COLLATE NOCASE" if connection.vendor == SQLITE else "text varchar(20)"
    with table("legacy_word", f"{column} PRIMARY KEY, number integer", [(text, 0) for text in "aBcDe"]):
        for order in ("pk", "-pk"):
            for chunk_size in (1, 2, 3, 5):
                chunks, error = given(Word.objects.order_by(order), chunk_size)
                assert error == ""
                assert [key for chunk in chunks for key in chunk] == [row.pk for row in Word.objects.order_by(order)]


@pytest.mark.parametrize("chunk_size", [1, 2, 100])
@pytest.mark.parametrize("options", [{}, {"after": 1}])
@pytest.mark.parametrize("order", ["pk", "-pk"])
def test_rows_without_a_key(create_lines: Any, order: str, chunk_size: int, options: Any) -> None:
    """No condition on the key finds them, wherever the database sorts them."""
    create_lines([1, 2, None, 3])
    queryset = Line.objects.order_by(order)
    assert given(queryset, chunk_size, **options) == ([], message("a row without a key"))
    rows = [row.pk for chunk in MemoizedPrefetch().chunks(queryset, chunk_size, mode="cursor") for row in chunk]
    assert rows == [row.pk for row in queryset]
    assert sorted(key for key in rows if key) == [1, 2, 3]


def test_rows_without_a_key_are_asked_for_once_and_of_foreign_tables_only(
    bookshop: Bookshop, create_lines: Any
) -> None:
    create_lines(range(1, 6))
    with captured_queries() as queries:
        assert given(Line.objects.all(), 2) == ([[1, 2], [3, 4], [5]], "")
    assert [" IS NULL" in sql for sql in queries.sql] == [True, False, False, False]
    with captured_queries() as queries:
        assert given(Book.objects.all(), 5)[1] == ""
    assert not any(" IS NULL" in sql for sql in queries.sql)


# --- the row behind the page


@pytest.mark.parametrize(("rows", "chunk_size", "queries"), [(0, 2, 1), (1, 2, 1), (2, 2, 1), (3, 2, 2), (6, 2, 3)])
def test_no_page_is_asked_for_in_vain(rows: int, chunk_size: int, queries: int) -> None:
    Country.objects.bulk_create(Country(code=f"{i:02}", name="") for i in range(rows))
    with query_count(queries):
        chunks, _ = given(Country.objects.all(), chunk_size)
    assert [key for chunk in chunks for key in chunk] == [f"{i:02}" for i in range(rows)]


def chunks_while(change: Callable[[], Any]) -> list[list[str]]:
    """With countries 10, 20, 30, 40, 50: what is read when something happens to them behind the first two."""
    Country.objects.bulk_create(Country(code=str(code), name="") for code in (10, 20, 30, 40, 50))
    chunks = []
    for chunk in MemoizedPrefetch().chunks(Country.objects.all(), 2):
        chunks.append([country.code for country in chunk])
        if len(chunks) == 1:
            change()
    return chunks


def insert(*codes: int) -> None:
    Country.objects.bulk_create(Country(code=str(code), name="") for code in codes)


CHANGES: dict[str, tuple[Callable[[], Any], list[list[str]]]] = {
    "nothing": (lambda: None, [["10", "20"], ["30", "40"], ["50"]]),
    "the row behind is deleted": (lambda: Country.objects.filter(code="30").delete(), [["10", "20"], ["40", "50"]]),
    "all rows behind are deleted": (lambda: Country.objects.filter(code__gt="20").delete(), [["10", "20"]]),
    "all rows are deleted": (lambda: Country.objects.all().delete(), [["10", "20"]]),
    "the last row given is deleted": (
        lambda: Country.objects.filter(code="20").delete(),
        [["10", "20"], ["30", "40"], ["50"]],
    ),
    "a row comes before it": (lambda: insert(25), [["10", "20"], ["25", "30"], ["40", "50"]]),
    "a page comes before it": (lambda: insert(21, 22, 23), [["10", "20"], ["21", "22"], ["23", "30"], ["40", "50"]]),
    "a row comes in its place": (
        lambda: (Country.objects.filter(code="30").delete(), insert(29)),
        [["10", "20"], ["29", "40"], ["50"]],
    ),
    "a row comes at the end": (lambda: insert(60), [["10", "20"], ["30", "40"], ["50", "60"]]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_happens_to_the_row_behind(name: str) -> None:
    change, expected = CHANGES[name]
    assert chunks_while(change) == expected


def test_the_row_behind_is_given_once(bookshop: Bookshop) -> None:
    """Nothing is prefetched for it, and no progress is told of it."""
    progress: list[Any] = []
    prefetch = MemoizedPrefetch("author")
    list(prefetch.chunks(Book.objects.order_by("-pk"), 5, progress=progress.append))
    assert [(one.rows, one.last_pk) for one in progress] == [
        (5, FIRST_KEY + 7),
        (10, FIRST_KEY + 2),
        (12, FIRST_KEY),
    ]
    assert prefetch.stats().relations["author"].requests == 12


def test_sealed_pages() -> None:
    journal = Journal.objects.create(name="journal", editor=Editor.objects.create(name="editor"))
    Article.objects.bulk_create(Article(title=f"{i}", journal=journal) for i in range(4))
    rows = [row for chunk in MemoizedPrefetch().chunks(Article.objects.seal(), 2) for row in chunk]
    assert [row.title for row in rows] == ["0", "1", "2", "3"]
    assert all(row._state.sealed for row in rows)


@pytest.mark.since("6.1")
@pytest.mark.parametrize("joined", [(), ("author", "publisher"), ("member__card",)])
def test_the_row_behind_is_no_peer(bookshop: Bookshop, joined: tuple[str, ...]) -> None:
    from django.db.models import FETCH_PEERS

    queryset: Any = Book.objects
    if joined == ("member__card",):  # each row is in a cycle with what is joined
        for i in range(5):
            Member.objects.create(name=f"{i}", locker=Locker.objects.create(place=f"{i}"))
        queryset = Locker.objects
    chunks = MemoizedPrefetch().chunks(queryset.fetch_mode(FETCH_PEERS).select_related(*joined or [None]), 2)
    gc.collect()
    gc.disable()
    try:
        for chunk in chunks:
            for row in chunk:
                assert [peer() for peer in row._state.peers] == chunk
                related = [one._state.fields_cache.get(joined[0].partition("__")[0]) for one in chunk] if joined else []
                for one in related:
                    assert [peer() for peer in one._state.peers] == related
    finally:
        gc.enable()


@pytest.mark.since("6.1")
def test_pages_of_peers_end_as_others(bookshop: Bookshop, create_lines: Any) -> None:
    from django.db.models import FETCH_PEERS

    queryset = Line.objects.fetch_mode(FETCH_PEERS)
    create_lines([1, 2, 3, 3])
    assert given(queryset, 2) == ([[1, 2]], message("several rows with the key 3"))
    assert given(queryset, 3) == ([], message("several rows with the key 3"))
    assert given(queryset, 1) == ([[1], [2]], message("several rows with the key 3"))
    assert given(queryset.order_by("-pk"), 1) == ([], message("several rows with the key 3"))
    execute("DELETE FROM legacy_line WHERE line_no = 3")
    for chunk_size in (1, 2, 3, 4):
        chunks, error = given(queryset, chunk_size)
        assert ([key for chunk in chunks for key in chunk], error) == ([1, 2, 3], "")
    with query_count(4):
        assert [len(chunk) for chunk in MemoizedPrefetch().chunks(Book.objects.fetch_mode(FETCH_PEERS), 6)] == [6, 6]


@pytest.mark.since("6.1")
def test_peers_whose_last_row_is_deleted(bookshop: Bookshop) -> None:
    from django.db.models import FETCH_PEERS

    queryset = Book.objects.fetch_mode(FETCH_PEERS)
    chunks = []
    for chunk in MemoizedPrefetch().chunks(queryset, 4):
        chunks.append([book.pk - FIRST_KEY for book in chunk])
        chunk[-1].delete()
    assert chunks == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


# --- joins of other packages


@pytest.mark.parametrize(
    "join",
    [
        SimpleNamespace(table_name="elsewhere", join_field=object()),
        SimpleNamespace(table_name="elsewhere", join_field=None),
        SimpleNamespace(table_name="elsewhere"),
        SimpleNamespace(table_name="elsewhere", join_field=models.ForeignObject(Book, models.CASCADE, [], [])),
    ],
)
def test_of_an_unknown_join_anything_may_come(bookshop: Bookshop, join: Any) -> None:
    queryset = Book.objects.all()
    queryset.query.get_initial_alias()
    queryset.query.alias_map["elsewhere"] = join
    queryset.query.alias_refcount["elsewhere"] = 1
    if hasattr(getattr(join, "join_field", None), "requires_unique_target"):
        join.join_field.requires_unique_target = False
    with pytest.raises(ValueError, match="it joins elsewhere, which may have several rows per object"):
        MemoizedPrefetch().chunks(queryset, mode="pages")


class Scan(models.Model):
    code = models.UUIDField(primary_key=True)

    class Meta:
        apps = legacy
        app_label = "legacy"
        db_table = "legacy_scan"
        managed = False


class Reading(models.Model):
    at = models.DateTimeField(primary_key=True)

    class Meta:
        apps = legacy
        app_label = "legacy"
        db_table = "legacy_reading"
        managed = False


FORMS = {
    "UUIDs with hyphens": (Scan, [str(uuid.UUID(int=number)) for number in range(10)]),
    "UUIDs in upper case": (Scan, [uuid.UUID(int=(160 + 7 * number) << 120).hex.upper() for number in range(10)]),
    "moments with a T": (Reading, [f"2020-01-01T0{number}:00:00" for number in range(10)]),
}


@only_on(SQLITE)  # the others have types for these
@pytest.mark.parametrize("order", ["pk", "-pk"])
@pytest.mark.parametrize("form", FORMS)
def test_keys_in_another_form_than_django_writes(form: str, order: str) -> None:
    """Django reads them, and conditions on them find other rows or none."""
    model, keys = FORMS[form]
    with table(model._meta.db_table, f"{model._meta.pk.attname} text", [(key,) for key in keys]):
        rows = model.objects.order_by(order)
        read: list[Any] = []
        chunks = MemoizedPrefetch().chunks(rows, chunk_size=3)
        with pytest.raises(ValueError, match="cannot be read in pages"):
            read.extend(row for chunk in chunks for row in chunk)
        assert [row.pk for row in read] == [row.pk for row in rows[: len(read)]], "no row is lost before the error"
        with pytest.raises(
            ValueError, match=f"^partitions: {model.__name__} cannot be read in pages, .* finds no row.$"
        ):
            partitions(rows, 3)
        by_cursor = MemoizedPrefetch().chunks(rows, chunk_size=3, mode="cursor")
        assert [row.pk for chunk in by_cursor for row in chunk] == [row.pk for row in rows.iterator()]


@only_on(SQLITE)
def test_rows_that_are_deleted_after_each_page_are_no_obstacle() -> None:
    """The database finds the keys that are left."""
    with table("legacy_scan", "code text", [(uuid.UUID(int=number).hex,) for number in range(10)]):
        seen = []
        for chunk in MemoizedPrefetch().chunks(Scan.objects.order_by("pk"), chunk_size=3):
            seen += [row.pk for row in chunk]
            # With the first row of the next page.
            Scan.objects.filter(pk__lte=uuid.UUID(int=chunk[-1].pk.int + 1)).delete()
        assert seen == [uuid.UUID(int=number) for number in (0, 1, 2, 4, 5, 6, 8, 9)]
