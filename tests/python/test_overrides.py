"""
Querysets, managers, descriptors and fields that override what Django's prefetch calls: ours is what Django's is.

The methods are those that are found called, by the running Django's prefetch or by ours, whatever they are.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from django import VERSION
from django.contrib.contenttypes.models import ContentType
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Prefetch, QuerySet, prefetch_related_objects
from django.db.utils import load_backend
from pytest_django.plugin import blocking_manager_key

from django_memoized_prefetch import MemoizedPrefetch, memoized
from tests.python import overrides
from tests.python.attributes import accessors
from tests.python.graph import Comparison
from tests.python.override_ways import CLASSES, STATE, refusing, ways
from tests.python.overrides import KINDS, TO_MANY, Family, Method, Tracer, family, know_types, overriding
from tests.python.queries import captured_queries, in_chunks, outcome, stepwise
from tests.python.turns import EVERY, by_turns

CHUNKS = [(0, 1, 2, 3), (2, 3, 4, 5, 6), (1, 2, 3, 7)]
SHAPES = ("name", "ordered", "queryset", "to_attr")
SIZES = (10_000, 1)
Transform = Callable[[Any], Any]
# Names and kinds, which Django asks for with every chunk and ours once, or not at all: what they answer is tested, but
# not that they may refuse to.
ASKED_ONCE = {
    *("__hash__", "__init__", "cache_name", "get_cache_name", "get_accessor_name", "get_internal_type", "is_hidden"),
    *("local_related_fields", "value_from_object"),
}


# --- which


@contextmanager
def private_database() -> Iterator[None]:
    """An SQLite in memory as default, while tests are collected and there is no test database yet."""
    settings = {**connections["default"].settings_dict, "ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    settings["OPTIONS"] = {}
    before = connections["default"]
    connections["default"] = private = load_backend(settings["ENGINE"]).DatabaseWrapper(settings, "default")
    try:
        yield
    finally:
        connections["default"] = before
        BaseDatabaseWrapper.close(private)  # its own close() keeps databases in memory open


def shapes_of(kind: str) -> tuple[str, ...]:
    return SHAPES[:2] if kind == "anything" and VERSION < (5, 0) else SHAPES


def traced(kind: str) -> dict[tuple[str, str], Method]:
    found: dict[tuple[str, str], Method] = {}
    for shape in shapes_of(kind):
        if shape == "ordered":
            continue
        for by_django in (True, False):
            with family(kind) as made:
                rows, lookup = rows_of(made), lookup_of(made, shape)
                with Tracer(made, by_django) as tracer:
                    if by_django:
                        prefetch_related_objects(rows, lookup)
                    else:
                        MemoizedPrefetch(lookup).process_chunk(rows)
                for key, method in tracer.found.items():
                    found.setdefault(key, method).returns.update(method.returns)
    return found


def traced_methods() -> dict[str, dict[tuple[str, str], Method]]:
    with private_database():
        with connections["default"].schema_editor() as editor:
            editor.create_model(ContentType)
        overrides.create_tables("default")
        overrides.fill("default")
        found = {kind: traced(kind) for kind in KINDS}
    ContentType.objects.clear_cache()
    # Of querysets and managers each for every relation: what Django does not call, ours must not either.
    shared: dict[tuple[str, str], Method] = {}
    for methods in found.values():
        for key, method in methods.items():
            if method.role in ("queryset", "manager", "iterable"):
                shared.setdefault(key, Method(*key, False)).returns.update(method.returns)
    return {kind: {**shared, **methods} for kind, methods in found.items()}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "transform" not in metafunc.fixturenames:
        return
    with metafunc.config.stash[blocking_manager_key].unblock():
        methods = traced_methods()
    turn = itertools.count()
    cases = [
        pytest.param(
            kind, role, partial(overriding, name=name, change=change), way, next(turn), id=f"{kind}-{role}.{name}-{way}"
        )
        for kind in KINDS
        for (role, name), method in sorted(methods[kind].items(), key=lambda pair: pair[0])
        for way, change in ways(method)
        if not (name in ASKED_ONCE and change is refusing)
    ]
    cases += [
        pytest.param(kind, role, transform, way, next(turn), id=f"{kind}-{role}-{way}")
        for kind in KINDS
        for (role, way), transform in CLASSES.items()
        if role != "related manager" or ("related manager", "get_queryset") in methods[kind]
    ]
    # Classes that differ in more than one method all the time, the others by turns.
    step = 1 if EVERY else 40 if connections["default"].vendor == "sqlite" else 100
    kept = [case for i, case in enumerate(cases) if i % step == 0 or (step < 100 and "." not in str(case.id))]
    metafunc.parametrize(("kind", "role", "transform", "way", "turn"), kept)


# --- how


@pytest.fixture(scope="module")
def rows(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        for alias in ("default", "other"):
            overrides.create_tables(alias)
            overrides.fill(alias)
        yield
        for alias in ("default", "other"):
            overrides.drop_tables(alias)
            ContentType.objects.using(alias).filter(
                app_label=overrides.LABEL, model__startswith=overrides.PREFIX
            ).delete()
        ContentType.objects.clear_cache()


def rows_of(made: Family) -> list[Any]:
    with STATE.unchanged():
        return list(QuerySet(made.model).order_by("pk"))


def lookup_of(made: Family, shape: str) -> Any:
    if shape in ("name", "ordered"):
        return made.kind
    to_attr = "found" if shape == "to_attr" else None
    if made.kind != "anything":
        return Prefetch(made.kind, queryset=made.given(), to_attr=to_attr)
    from django.contrib.contenttypes.prefetch import GenericPrefetch

    querysets = [made.set_up(model.objects.all()) for model in (made.far, made.near)]
    return GenericPrefetch(made.kind, querysets, to_attr=to_attr)


class Prefetching:
    """
    One way to prefetch.

    Args:
        size: Of the memo; None: by Django.
    """

    def __init__(self, made: Family, shape: str, size: int | None) -> None:
        self._made, self._shape, self._size = made, shape, size
        self._prefetch: MemoizedPrefetch | None = None

    def __call__(self, chunk: list[Any]) -> None:
        if self._prefetch is not None:
            self._prefetch.process_chunk(chunk)
            return
        with STATE.as_at_first():
            lookup = lookup_of(self._made, self._shape)
        if self._size is None:
            prefetch_related_objects(chunk, lookup)
        else:
            self._prefetch = MemoizedPrefetch(lookup, lru_cache_size=self._size)
            self._prefetch.process_chunk(chunk)

    @property
    def is_native(self) -> bool:
        if self._prefetch is None:
            return False
        [relation] = self._prefetch.stats().relations.values()
        return relation.path == "native"


def check_chunks(made: Family, shape: str, size: int) -> None:
    django, ours = Prefetching(made, shape, None), Prefetching(made, shape, size)
    for number, places in enumerate(CHUNKS, 1):
        their_rows, our_rows = rows_of(made), rows_of(made)
        their_chunk, our_chunk = ([some[i] for i in places if i < len(some)] for some in (their_rows, our_rows))
        with STATE.processing(number):
            expected, their_sql = outcome(django, their_chunk)
        with STATE.processing(number):
            error, our_sql = outcome(ours, our_chunk)
        where = f"{shape}, {size} kept, chunk {number}"
        assert type(error) is type(expected), f"{where}: {error!r} instead of {expected!r}"
        if expected is not None:
            continue
        compare(our_chunk, their_chunk, shape, f"{where}\n{our_sql}\n{their_sql}")
        more = len(our_sql) - len(their_sql)
        assert more <= (ours.is_native and made.kind in TO_MANY), f"{where}: more queries\n{our_sql}\n{their_sql}"
        assert ours.is_native or more == 0, f"{where}: fewer queries than Django's\n{our_sql}\n{their_sql}"


class Read(Comparison):
    """Reads by managers that may make another queryset of what is attached, and by what may refuse."""

    def _read(self, our: Any, their: Any, where: str, queries: list[str]) -> None:
        names = accessors(type(their))
        caches = {**vars(their._state).get("fields_cache", {}), **vars(their).get("_prefetched_objects_cache", {})}
        for name, is_many in {names[cached] for cached in caches if cached in names}:
            (expected, their_sql), (value, our_sql) = (read(one, name, is_many) for one in (their, our))
            if not their_sql:
                assert value == expected, f"{where}.{name}: {value} != {expected}"
                assert not our_sql, f"{where}.{name}: {our_sql}"


def read(instance: Any, name: str, is_many: bool) -> tuple[Any, list[str]]:
    with captured_queries() as queries:
        try:
            value = getattr(instance, name)
            rows = list(value.all()) if is_many else [value]
        except Exception as error:
            return type(error), queries.sql
    return [row if row is None else (type(row), row.pk) for row in rows], queries.sql


def check_streams(made: Family) -> None:
    def queryset() -> Any:
        return made.model.objects.order_by("pk").prefetch_related(made.kind)

    streams: dict[str, Callable[[], Any]] = {
        "memoized": lambda: in_chunks(memoized(queryset()).iterator(chunk_size=3), 3),
        "chunks": lambda: MemoizedPrefetch().chunks(queryset(), 3),
    }
    for name, stream in streams.items():
        ours, theirs = stepwise(stream), stepwise(lambda: in_chunks(queryset().iterator(chunk_size=3), 3))
        # Step by step: what a shared row leads back to is the chunk's own.
        for (result, our_sql), (expected, their_sql) in zip(ours, theirs):
            assert type(result) is type(expected), f"{name}: {result!r} instead of {expected!r}"
            if isinstance(expected, list):
                compare(result, expected, "name", f"{name}\n{our_sql}\n{their_sql}")


def compare(ours: list[Any], theirs: list[Any], shape: str, where: str) -> None:
    try:
        Read(lambda name: (shape != "name") if name == "found" else None).graphs(ours, theirs)
    except AssertionError as difference:
        raise AssertionError(f"{difference}; {where}") from difference


@pytest.fixture
def unchanging() -> Iterator[None]:
    yield
    STATE.refusing, STATE.chunk = None, 0


@pytest.mark.usefixtures("rows", "unchanging")
def test_an_override_does_what_it_does_under_django(
    kind: str, role: str, transform: Transform, way: str, turn: int
) -> None:
    STATE.refusing = {"refuses the first chunk": 1, "refuses the second chunk": 2}.get(way)
    for shape, size in meetings(kind, turn):
        with family(kind, role, transform, () if shape == "name" else ("-rank", "pk")) as made:
            know_types(made)
            check_chunks(made, shape, size)
            if shape == "name" and STATE.refusing is None:
                check_streams(made)


def meetings(kind: str, turn: int) -> Sequence[tuple[str, int]]:
    """In turn, so that each method meets all."""
    return by_turns([(shape, size) for size in SIZES for shape in shapes_of(kind)], turn)
