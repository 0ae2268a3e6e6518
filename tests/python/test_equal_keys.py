"""Keys that the database finds equal and Python does not, or the other way round: Django's answer is the right one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain, zip_longest
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ObjectDoesNotExist
from django.db import connection, connections, transaction
from django.db.models import Prefetch, QuerySet, prefetch_related_objects

from django_memoized_prefetch import MemoizedPrefetch, memoized
from tests.python.databases import POSTGRESQL
from tests.python.graph import cached_names
from tests.python.lookalikes.kinds import FOLDED, ICU, KINDS
from tests.python.lookalikes.models import FAMILIES, Family, Numbered, Remark
from tests.python.queries import captured_queries
from tests.python.turns import by_turns

# Django's own, on what it reads of a link to a datetime.
pytestmark = pytest.mark.filterwarnings("ignore:DateTimeField .* received a naive datetime:RuntimeWarning")

ON_POSTGRESQL = connection.vendor == POSTGRESQL
# The second one binds on the server's side.
ALIASES = ["default", "other"] if ON_POSTGRESQL else ["default"]


def has_icu() -> bool:
    """Not the embedded PostgreSQL: its catalogue has collations of ICU, which it cannot compare by."""
    if not ON_POSTGRESQL:
        return True
    import psycopg

    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as server:
        try:
            server.execute("CREATE COLLATION pg_temp.tried (provider = icu, locale = 'und')")
        except psycopg.errors.FeatureNotSupported:
            return False
    return True


HAS_ICU = has_icu()
NAMES = [name for name in FAMILIES if HAS_ICU or not KINDS[name].needs_icu]


@pytest.fixture(autouse=True)
def utc(settings: Any) -> None:
    """Elsewhere, Django takes the datetime that it reads of a link for one of the default time zone, and loses rows."""
    settings.TIME_ZONE = "UTC"


@pytest.fixture(scope="module", params=NAMES)
def family(request: Any, django_db_setup: None, django_db_blocker: Any) -> Iterator[Family]:
    """Its tables, in every database."""
    family = FAMILIES[request.param]
    with django_db_blocker.unblock():
        for alias in ALIASES:
            if ON_POSTGRESQL:
                with connections[alias].cursor() as cursor:
                    cursor.execute(FOLDED + (ICU if HAS_ICU else ""))
    with tables(family.models(), django_db_blocker, family.columns()):
        yield family


@contextmanager
def tables(models: Sequence[Any], django_db_blocker: Any, columns: Any = None) -> Iterator[None]:
    """Made outside of the tests' transactions: SQLite and MariaDB make none in one."""
    with django_db_blocker.unblock(), columns or nullcontext():
        for alias in ALIASES:
            with connections[alias].schema_editor() as editor:
                for model in models:
                    editor.create_model(model)
    yield
    with django_db_blocker.unblock():
        for alias in ALIASES:
            with connections[alias].schema_editor() as editor:
                for model in reversed(models):
                    editor.delete_model(model)


# --- rows ----------------------------------------------------------------------------------------------------------


def fill(family: Family, alias: str) -> None:
    """Whatever has the keys, and whatever refers to them by any of the links, from either side."""
    links = family.kind.stored(alias)
    for model in (family.thing, family.tag, family.shelf):
        model.objects.using(alias).bulk_create([model(code=key) for key in family.kind.keys])
    insert(family.ref, alias, thing_id=links)
    refs = range(1, len(links) + 1)
    insert(family.outer, alias, ref_id=[*refs, *refs])
    family.post.objects.using(alias).bulk_create([family.post(pk=number) for number in refs])
    insert(family.post_thing, alias, post_id=[number % 2 + 1 for number in refs], thing_id=links)
    # A post of its own for each: for the database, one may have each tag once.
    tags = family.post._meta.get_field("tags")
    insert(tags.remote_field.through, alias, **{tags.m2m_column_name(): refs, tags.m2m_reverse_name(): links})
    insert(family.shelf_tag, alias, shelf_id=[*links, *links], tag_id=[*links, *reversed(links)])
    content_type = ContentType.objects.db_manager(alias).get_for_model(family.tag)
    insert(family.note, alias, content_type_id=[content_type.pk for _ in links], object_id=links)


def insert(model: Any, alias: str, **columns: Sequence[Any]) -> None:
    """Rows that are numbered from one, of values as the driver takes them."""
    quote = connections[alias].ops.quote_name
    names = ", ".join(map(quote, ["id", *columns]))
    marks = ", ".join(["%s"] * (1 + len(columns)))
    with connections[alias].cursor() as cursor:
        for number, values in enumerate(zip(*columns.values()), 1):
            cursor.execute(f"INSERT INTO {quote(model._meta.db_table)} ({names}) VALUES ({marks})", [number, *values])


# --- what is read --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """
    What is prefetched.

    Args:
        base: Which of the family is streamed.
        lookups: Makes the lookups.
        paths: What is read; where the lookups say so, None.
        select: What select_related() brings along.
    """

    base: str
    lookups: Callable[[Family], Sequence[Any]]
    paths: Sequence[str]
    select: Sequence[str] = ()

    @property
    def goes_on(self) -> bool:
        """
        Whether it goes on below a relation.

        There Django goes on with every row that its query returned, also those that nobody asked for, and may raise for
        what refers to one of these; ours goes on with what is attached.
        """
        return any("__" in path for path in self.paths) or self is CASES["reverse, parent prefetched"]

    def rows(self, family: Family, alias: str) -> QuerySet[Any]:
        rows = getattr(family, self.base).objects.using(alias).order_by("pk")
        return rows.select_related(*self.select) if self.select else rows


def plain(base: str, *paths: str, select: Sequence[str] = ()) -> Case:
    return Case(base, lambda family: paths, paths, select)


def custom(
    base: str, name: str, queryset: Callable[[Family], Any], to_attr: str | None = None, below: str = ""
) -> Case:
    def lookups(family: Family) -> list[Any]:
        return [Prefetch(name, queryset(family), to_attr), *([below] if below else [])]

    return Case(base, lookups, [below or to_attr or name])


CASES = {
    "foreign key": plain("ref", "thing"),
    "foreign key, queryset": custom("ref", "thing", lambda family: family.thing.objects.filter(pk__lt=3)),
    "foreign key, to_attr": custom("ref", "thing", lambda family: family.thing.objects.all(), "found"),
    "foreign key and back": plain("ref", "thing", "thing__refs"),
    "foreign key and on": plain("ref", "thing__posts", "thing__only"),
    "foreign key, selected": plain("ref", "thing", select=["thing"]),
    "foreign key, selected, and back": plain("ref", "thing__refs", select=["thing"]),
    "foreign key, selected, and on": plain("ref", "thing__posts__tags", select=["thing"]),
    "below a row": plain("outer", "ref__thing"),
    "below a row, and on": plain("outer", "ref__thing__posts"),
    "below a row, and back": plain("outer", "ref__thing__refs"),
    "below a row, selected": plain("outer", "ref__thing__posts", select=["ref__thing"]),
    "below a row, to_attr": custom(
        "outer", "ref", lambda family: family.ref.objects.select_related("thing"), "found", "found__thing__posts"
    ),
    "reverse": plain("thing", "refs"),
    "reverse, queryset": custom("thing", "refs", lambda family: family.ref.objects.order_by("-pk")),
    "reverse, to_attr": custom("thing", "refs", lambda family: family.ref.objects.all(), "found"),
    "reverse, parent selected": custom("thing", "refs", lambda family: family.ref.objects.select_related("thing")),
    "reverse, parent selected, and on": custom(
        "thing", "refs", lambda family: family.ref.objects.select_related("thing"), below="refs__outers"
    ),
    "reverse, parent prefetched": custom(
        "thing", "refs", lambda family: family.ref.objects.prefetch_related("thing__posts")
    ),
    "many-to-many": plain("post", "tags"),
    "many-to-many, queryset": custom("post", "tags", lambda family: family.tag.objects.order_by("-code")),
    "many-to-many, to_attr": custom("post", "tags", lambda family: family.tag.objects.all(), "found"),
    "many-to-many and back": plain("post", "tags__posts"),
    "many-to-many, reverse": plain("tag", "posts"),
    "many-to-many, reverse, queryset": custom("tag", "posts", lambda family: family.post.objects.filter(pk__gt=2)),
    "many-to-many, through to_field": plain("post", "things"),
    "many-to-many, through to_field, to_attr": custom("post", "things", lambda family: family.thing.objects.all(), "x"),
    "many-to-many, through to_field, on": plain("post", "things__only"),
    "many-to-many, through to_field, reverse": plain("thing", "posts"),
    "many-to-many, both keys": plain("shelf", "tags"),
    "many-to-many, both keys, reverse": plain("tag", "shelves"),
    "many-to-many, both keys, and back": plain("tag", "shelves__tags"),
    "many-to-many, both keys, queryset": custom("shelf", "tags", lambda family: family.tag.objects.order_by("-code")),
    "generic": plain("note", "target"),
    "generic and on": plain("note", "target__shelves"),
    "generic and back": plain("note", "target__notes"),
    "generic relation": plain("tag", "notes"),
    "generic relation, queryset": custom("tag", "notes", lambda family: family.note.objects.order_by("-pk")),
    "generic relation, to_attr": custom("tag", "notes", lambda family: family.note.objects.all(), "found"),
}


def seen(value: Any, path: str) -> Any:
    """What a reader of the path sees: NaN is not equal to itself, but its name is."""
    name, _, rest = path.partition("__")
    try:
        found = getattr(value, name)
    except ObjectDoesNotExist as error:
        return type(error).__name__
    rows = found if isinstance(found, list) else list(found.all()) if hasattr(found, "all") else [found]
    read = [(None, None) if row is None else (label(row), seen(row, rest) if rest else None) for row in rows]
    is_ordered = all(row is None or row._meta.ordering for row in rows)
    return read if is_ordered else sorted(read, key=str)


def label(row: Any) -> str:
    columns = ", ".join(f"{field.attname}={row.__dict__[field.attname]!r}" for field in row._meta.concrete_fields)
    return f"{type(row).__name__}({columns})"


def readings(chunk: Sequence[Any], paths: Sequence[str]) -> list[Any]:
    attached = [cached_names(row) for row in chunk]
    with captured_queries() as queries:
        found = [[label(row), *(seen(row, path) for path in paths)] for row in chunk]
    return [found, attached, len(queries)]


def cut(rows: Sequence[Any], size: int) -> list[list[Any]]:
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]


# --- Django and this -----------------------------------------------------------------------------------------------


def by_django(case: Case, family: Family, alias: str, size: int) -> list[Any]:
    """What is read of each chunk, or the error's type in its place."""

    def read(chunk: list[Any]) -> Any:
        try:
            prefetch_related_objects(chunk, *case.lookups(family))
        except Exception as error:
            return type(error)
        return readings(chunk, case.paths)

    return [read(chunk) for chunk in cut(case.rows(family, alias), size)]


def by_process_chunk(case: Case, family: Family, alias: str, size: int, cache: int) -> list[Any]:
    prefetch = MemoizedPrefetch(*case.lookups(family), lru_cache_size=cache)

    def read(chunk: list[Any]) -> Any:
        try:
            prefetch.process_chunk(chunk)
        except Exception as error:
            return checked(error, family)
        return readings(chunk, case.paths)

    return [read(chunk) for chunk in cut(case.rows(family, alias), size)]


def by_memoized(case: Case, family: Family, alias: str, size: int, cache: int) -> list[Any]:
    rows = memoized(case.rows(family, alias).prefetch_related(*case.lookups(family)), lru_cache_size=cache)
    streamed: list[Any] = []
    read: list[Any] = []
    try:
        streamed.extend(rows.iterator(chunk_size=size))
    except Exception as error:
        read = [checked(error, family)]
    return [readings(chunk, case.paths) for chunk in cut(streamed, size)] + read


def by_chunks(case: Case, family: Family, alias: str, size: int, cache: int) -> list[Any]:
    prefetch = MemoizedPrefetch(*case.lookups(family), lru_cache_size=cache)
    read: list[Any] = []
    try:
        mode: Any = None if family.kind.is_paged else "cursor"
        chunks = prefetch.chunks(case.rows(family, alias), chunk_size=size, mode=mode)
        read.extend(readings(chunk, case.paths) for chunk in chunks)
    except Exception as error:
        read.append(checked(error, family))
    return read


def checked(error: Exception, family: Family) -> type[Exception]:
    """The error's type. Where it is the engine that found it, it says why."""
    if isinstance(error, KeyError) and not family.kind.is_own:
        assert "the database returned a row whose" in str(error), f"{error!r} does not say why"
    return type(error)


def up_to_an_error(read: list[Any]) -> list[Any]:
    return next((read[: at + 1] for at, one in enumerate(read) if isinstance(one, type)), read)


WAYS = {"process_chunk": by_process_chunk, "memoized": by_memoized, "chunks": by_chunks}


# By turns, two at a time.
PAIRS = [
    (("process_chunk", 1), ("memoized", 10_000)),
    (("process_chunk", 10_000), ("chunks", 10_000)),
]


def assert_as_django(case: Case, family: Family, alias: str, size: int, turn: int | None = None) -> None:
    expected = by_django(case, family, alias, size)
    for way, cache in chain(*(PAIRS if turn is None else by_turns(PAIRS, turn))):
        read = WAYS[way](case, family, alias, size, cache)
        goes_on = way == "process_chunk"
        for at, (our, their) in enumerate(zip_longest(read, expected if goes_on else up_to_an_error(expected))):
            if their is KeyError and case.goes_on and not isinstance(our, type):
                return  # see Case
            assert our == their, f"{way}, chunk {at} of {size}, lru_cache_size={cache}"


@pytest.mark.parametrize("name", CASES)
def test_as_django(family: Family, name: str) -> None:
    alias = in_turn(family, name)
    fill(family, alias)
    number = turn(family, name) // len(ALIASES)
    for size in by_turns((1, 4), number):
        assert_as_django(CASES[name], family, alias, size, number // 2)


def turn(family: Family, name: str) -> int:
    return list(FAMILIES.values()).index(family) + [*CASES, *ONE_TO_ONE].index(name)


def in_turn(family: Family, name: str) -> str:
    """One of the databases; every kind of key and every case meets each of them."""
    return ALIASES[turn(family, name) % len(ALIASES)]


# A one-to-one may be there once for each key, as the database sees it.
ONE_TO_ONE = {
    "one-to-one": plain("only", "thing"),
    "one-to-one and back": plain("only", "thing__only"),
    "one-to-one, selected": plain("only", "thing__refs", select=["thing"]),
    "one-to-one, reverse": plain("thing", "only"),
    "one-to-one, reverse, and on": plain("thing", "only", "posts"),
    "one-to-one, reverse, queryset": custom(
        "thing", "only", lambda family: family.only.objects.select_related("thing")
    ),
    "one-to-one, reverse, to_attr": custom("thing", "only", lambda family: family.only.objects.all(), "found"),
    "one-to-one, reverse, selected": plain("thing", "only__thing", select=["only"]),
}


@pytest.mark.parametrize("name", ONE_TO_ONE)
def test_one_to_one_as_django(family: Family, name: str) -> None:
    alias = in_turn(family, name)
    family.thing.objects.using(alias).bulk_create([family.thing(code=key) for key in family.kind.keys])
    for number, link in enumerate(family.kind.stored(alias)):
        family.only.objects.using(alias).all().delete()
        insert(family.only, alias, thing_id=[link])
        assert_as_django(ONE_TO_ONE[name], family, alias, 100, number)


@pytest.mark.parametrize("name", ["thing", "thing__posts"])
def test_objects_that_were_never_saved(family: Family, name: str) -> None:
    """Their keys are of any type, and not rounded as the column rounds them."""
    fill(family, "default")
    keys = [*family.kind.unsaved, None]

    def objects() -> list[Any]:
        return [family.ref(pk=at, thing_id=key) for at, key in enumerate(keys)]

    def read(chunk: list[Any], prefetch: Callable[[list[Any]], Any]) -> Any:
        try:
            with transaction.atomic():
                prefetch(chunk)
        except Exception as error:
            return type(error)
        return readings(chunk, [name])

    def by_django(chunk: list[Any]) -> None:
        prefetch_related_objects(chunk, name)

    for size in (1, len(keys)):
        for prefetch in (MemoizedPrefetch(name), MemoizedPrefetch(name, lru_cache_size=1)):
            for ours, theirs in zip(cut(objects() + objects(), size), cut(objects() + objects(), size)):
                assert read(ours, prefetch.process_chunk) == read(theirs, by_django)


# --- integers that text refers to ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def remarked(django_db_setup: None, django_db_blocker: Any) -> Iterator[Any]:
    with tables([Numbered, Remark], django_db_blocker):
        yield SimpleNamespace(kind=SimpleNamespace(is_paged=True), numbered=Numbered, remark=Remark)


def remark(texts: Sequence[str]) -> None:
    Numbered.objects.bulk_create([Numbered(pk=pk) for pk in (7, 8, 70)])
    content_type = ContentType.objects.get_for_model(Numbered)
    insert(Remark, "default", content_type_id=[content_type.pk for _ in texts], object_id=texts)


@pytest.mark.parametrize("path", ["target", "target__remarks"])
def test_texts_that_are_read_as_one_integer(remarked: Any, path: str) -> None:
    remark(["8", "7", "07", " 7", "7 ", "7\n", "+7", "\uff17", "7_0", "9", "7"])
    for size in (1, 4, 100):
        assert_as_django(plain("remark", path), remarked, "default", size)


@pytest.mark.parametrize("text", ["seven", "7.0", "", "\u00b2", "1e1", "-"])
def test_a_text_that_is_no_key(remarked: Any, text: str) -> None:
    remark(["8", text, "8"])
    for size in (1, 100):
        assert_as_django(plain("remark", "target"), remarked, "default", size)


@pytest.mark.parametrize("path", ["remarks", "remarks__target"])
def test_the_database_compares_a_relations_texts(remarked: Any, path: str) -> None:
    remark(["8", "7", "07", " 7", "7 ", "\uff17", "9", "7"])
    for size in (1, 100):
        assert_as_django(plain("numbered", path), remarked, "default", size)
