"""Rows built by the engine consist of the same as those that Django builds, whatever the columns and the queryset."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import django
import pytest
from django.db import connection, connections, models, transaction
from django.db.models import Count, F, FilteredRelation, Model, Q, Value
from django.db.models import base as base_module
from django.db.models.fields.related_descriptors import ForeignKeyDeferredAttribute
from django.db.models.query import ModelIterable
from django.db.models.signals import post_init, pre_init
from django.db.models.sql.compiler import SQLCompiler
from django.test import override_settings

from django_memoized_prefetch._hydrating import eligibility
from django_memoized_prefetch._hydrating.eligibility import why_not_hydrated
from django_memoized_prefetch._hydrating.iterable import NativeModelIterable, with_native_rows
from tests.python.archive import models as archive
from tests.python.archive.models import (
    Box,
    KeyedByUuid,
    ListedRoom,
    ListedVase,
    MeasuredPicture,
    PaintedVase,
    Picture,
    Piece,
    Restoration,
    Room,
    Seal,
    Sheet,
    Statue,
    Traced,
    Vase,
    WithUndecidedKey,
)
from tests.python.archive.rows import KEY, fill_archive, insert
from tests.python.catalogue.models import Ledger, Notice
from tests.python.dump import built_by_django, dump
from tests.python.oracle import captured_queries, run_async

Make = Callable[[], Any]


@pytest.fixture
def filled() -> None:
    fill_archive()


def stock(queryset: Any) -> Any:
    return queryset


def outcome(use: Callable[[], Any]) -> Any:
    """What comes out of it, its statements, and for how many rows Django was needed."""

    def attempt() -> Any:
        try:
            result = use()
        except Exception as error:
            return type(error), str(error)
        return dump(result)

    with captured_queries() as queries:
        dumped, rows = built_by_django(attempt)
    # A cursor on the server has a number of its own.
    return dumped, [re.sub(r"_django_curs_\w+", "cursor", sql) for sql in queries.sql], rows


ALL, SOME = "as many as of the stock queryset", "those of other querysets, which it makes"


def check(use: Callable[[Callable[[Any], Any]], Any], by_django: int | str = 0) -> Any:
    """
    Compares what `use` makes of a queryset through `with_native_rows` with what it makes of the stock one.

    Args:
        by_django: How many rows Django has to build even so.
    """
    theirs, their_sql, their_rows = outcome(lambda: use(stock))
    ours, our_sql, our_rows = outcome(lambda: use(with_native_rows))
    assert ours == theirs
    assert our_sql == their_sql
    if by_django == SOME:
        assert 0 < our_rows < their_rows
    else:
        assert our_rows == (their_rows if by_django == ALL else by_django)
    return theirs


# --- querysets


QUERYSETS: dict[str, Make] = {
    "plain": lambda: Box.objects.all(),
    "without foreign keys": lambda: Room.objects.all(),
    "every type": lambda: Sheet.objects.all(),
    "key by uuid": lambda: KeyedByUuid.objects.order_by("pk"),
    "primary key is a foreign key": lambda: Seal.objects.order_by("pk"),
    "none": lambda: Box.objects.none(),
    "empty in": lambda: Box.objects.filter(pk__in=[]),
    "no rows": lambda: Box.objects.filter(name="?"),
    "only": lambda: Box.objects.only("name"),
    "only a key": lambda: Box.objects.only("room"),
    "only the primary key": lambda: Box.objects.only("pk"),
    "defer": lambda: Box.objects.defer("name", "inside"),
    "defer all of a type": lambda: Sheet.objects.defer("uuid", "data", "price", "box"),
    "select_related": lambda: Box.objects.select_related("room"),
    "select_related to_field": lambda: Box.objects.select_related("labelled"),
    "select_related all": lambda: Box.objects.select_related(),
    "select_related nested": lambda: Box.objects.select_related("room", "inside__room", "inside__inside__labelled"),
    "select_related null": lambda: Sheet.objects.select_related("box__room"),
    "select_related reverse": lambda: Box.objects.select_related("seal"),
    "select_related reverse below": lambda: Sheet.objects.select_related("box__seal__box"),
    "select_related one to one": lambda: Seal.objects.order_by("pk").select_related("box__inside"),
    "select_related only": lambda: Box.objects.select_related("room").only("name", "room__label"),
    "select_related deferred": lambda: Box.objects.select_related("room", "inside").defer(
        "name", "room__number", "inside__room"
    ),
    "select_related to children": lambda: Piece.objects.select_related("vase", "as_statue"),
    "select_related to grandchildren": lambda: Piece.objects.select_related("vase__paintedvase", "vase__box__room"),
    "select_related to children, deferred": lambda: Piece.objects.select_related("vase").defer("name", "vase__height"),
    "select_related to child and parent": lambda: Restoration.objects.order_by("pk").select_related("piece", "vase"),
    "select_related to a parent": lambda: Vase.objects.select_related("piece_ptr", "box"),
    "annotations": lambda: Box.objects.annotate(shown=F("name"), n=Count("contents"), constant=Value(7)),
    "annotation of a relation": lambda: Box.objects.annotate(number=F("room__number")).select_related("room"),
    "aliased": lambda: Box.objects.alias(n=Count("contents")).filter(n__gt=0),
    "exists": lambda: Box.objects.annotate(has=models.Exists(Seal.objects.filter(box=models.OuterRef("pk")))),
    "window": lambda: Box.objects.annotate(at=models.Window(models.functions.RowNumber(), order_by="pk")),
    "extra": lambda: Box.objects.extra(select={"twice": "number * 2"}, tables=["archive_room"]).order_by("pk"),
    "extra before the columns": lambda: Box.objects.extra(select={"name_again": '"archive_box"."name"'}),
    "extra over a column": lambda: Room.objects.extra(select={"label": "number + 1"}),
    "extra and relation": lambda: Sheet.objects.extra(select={"one": "1"}).select_related("box").annotate(two=Value(2)),
    "filtered relation": lambda: Room.objects.annotate(
        first_boxes=FilteredRelation("boxes", condition=Q(boxes__name__lt="box 4"))
    ).filter(first_boxes__name__isnull=False),
    "filtered relation selected": lambda: Box.objects.annotate(
        big_room=FilteredRelation("room", condition=Q(room__number__gt=0))
    ).select_related("big_room"),
    "proxy": lambda: ListedRoom.objects.all(),
    "proxy of a child": lambda: ListedVase.objects.select_related("room", "box"),
    "child": lambda: Vase.objects.all(),
    "grandchild": lambda: PaintedVase.objects.all(),
    "child only": lambda: PaintedVase.objects.only("colour", "name"),
    "child with its own link": lambda: Statue.objects.select_related("room"),
    "distinct": lambda: Box.objects.filter(contents__isnull=False).distinct(),
    "ordered": lambda: Box.objects.order_by("-name"),
    "reversed": lambda: Box.objects.reverse(),
    "sliced": lambda: Box.objects.all()[2:5],
    "excluded": lambda: Box.objects.exclude(room=None),
    "or": lambda: Box.objects.filter(name="box 1") | Box.objects.filter(name="box 2"),
    "union": lambda: Box.objects.filter(name="box 1").union(Box.objects.filter(name="box 2")).order_by("pk"),
    "intersection": lambda: Box.objects.all().intersection(Box.objects.exclude(name="box 2")),
    "subquery": lambda: Box.objects.filter(room__in=Room.objects.filter(number__lt=2)),
    "locked": lambda: Box.objects.select_for_update(),
    "using": lambda: Box.objects.using("other").select_related("room", "seal"),
    "values": lambda: Box.objects.values("name", "room__label"),
    "values_list": lambda: Box.objects.values_list("pk", flat=True),
    "many related managers": lambda: Room.objects.get(pk=KEY).boxes.all(),
    "related manager, deferred key": lambda: Room.objects.get(pk=KEY).boxes.defer("room"),
    "related manager, selected key": lambda: Room.objects.get(pk=KEY).boxes.select_related("room", "inside"),
    "related manager by another name": lambda: Room.objects.get(pk=KEY).pieces.all(),
    "two related managers": lambda: Room.objects.get(pk=KEY).boxes.all() | Room.objects.get(pk=KEY + 1).boxes.all(),
    "prefetched": lambda: Room.objects.prefetch_related("boxes__room", "boxes__inside"),
    "custom manager": lambda: Notice.objects.all(),
    "filtering manager": lambda: Ledger.open_ones.all(),
    "own iterable": lambda: Traced.objects.order_by("pk").select_related("box"),
    "slots": lambda: archive.WithSlots.objects.order_by("pk"),
    "equality": lambda: archive.WithEquality.objects.order_by("pk"),
    "plain descriptor": lambda: archive.WithPlainDescriptor.objects.order_by("pk"),
    "getattr": lambda: archive.WithGetattr.objects.order_by("pk"),
    "a key equal to None": lambda: WithUndecidedKey.objects.order_by("pk"),
}
if django.VERSION >= (5, 0):
    QUERYSETS["generated column"] = lambda: archive.Shouted.objects.all()
    QUERYSETS["generated column deferred"] = lambda: archive.Shouted.objects.defer("loud")
if django.VERSION >= (5, 2):
    QUERYSETS["composite key"] = lambda: archive.Cell.objects.order_by("pk").select_related("room")
    QUERYSETS["composite key only"] = lambda: archive.Cell.objects.order_by("pk").only("value")
    QUERYSETS["composite key annotated"] = lambda: archive.Cell.objects.order_by("pk").annotate(key=F("pk"), n=F("row"))
if django.VERSION >= (5, 1):
    QUERYSETS["image"] = lambda: Picture.objects.order_by("pk")


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("case", QUERYSETS)
def test_rows_consist_of_the_same(case: str) -> None:
    fill_archive("other")
    by_django = SOME if "related manager" in case or case == "prefetched" else 0
    with transaction.atomic():
        check(lambda built: list(built(QUERYSETS[case]())), by_django)
        check(lambda built: list(built(QUERYSETS[case]()).iterator(chunk_size=3)), by_django)


WAYS: dict[str, Callable[[Any], Any]] = {
    "iterator": lambda queryset: list(queryset.iterator()),
    "iterator by rows": lambda queryset: list(queryset.iterator(chunk_size=1)),
    "iterator by more than there are": lambda queryset: list(queryset.iterator(chunk_size=100)),
    "prefetch": lambda queryset: list(queryset.prefetch_related("room", "contents").iterator(chunk_size=3)),
    "get": lambda queryset: queryset.get(pk=KEY),
    "first": lambda queryset: queryset.first(),
    "last": lambda queryset: queryset.last(),
    "index": lambda queryset: queryset[2],
    "in_bulk": lambda queryset: queryset.in_bulk([KEY, KEY + 2, 5]),
    "in_bulk by everything": lambda queryset: queryset.in_bulk(),
    "earliest": lambda queryset: queryset.earliest("name"),
    "stepped": lambda queryset: queryset[1:7:2],
    "bool": lambda queryset: bool(queryset),
    "count": lambda queryset: queryset.count(),
    "len": lambda queryset: len(queryset),
    "contains": lambda queryset: queryset.contains(Box(pk=KEY)),
    "iterated twice": lambda queryset: [list(queryset), list(queryset)],
    "filtered after": lambda queryset: list(queryset.filter(name="box 3").select_related("room")),
    "values after": lambda queryset: list(queryset.values("name")),
    "union after": lambda queryset: list(queryset.union(Box.objects.all(), all=True).order_by("name")),
    "as a subquery": lambda queryset: list(Seal.objects.filter(box__in=queryset)),
    "abandoned": lambda queryset: next(queryset.iterator(chunk_size=2)),
    "reading what is deferred": lambda queryset: [box.name for box in queryset.only("pk")],
    "reading relations": lambda queryset: [(box.inside, box.room_id) for box in queryset],
    "update": lambda queryset: queryset.filter(name="?").update(name="!"),
    "delete": lambda queryset: queryset.filter(name="?").delete(),
}


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_ask(way: str) -> None:
    by_django = {"prefetch": SOME, "reading what is deferred": 8, "reading relations": SOME, "as a subquery": ALL}
    check(lambda built: WAYS[way](built(Box.objects.all())), by_django.get(way, 0))


@pytest.mark.django_db(databases=["default", "other"], transaction=True)
def test_asynchronous_ways() -> None:
    fill_archive()
    sources = {"aiterator": lambda queryset: queryset.aiterator(chunk_size=3), "aiter": lambda queryset: queryset}
    for source in sources.values():

        async def read(queryset: Any, source: Any = source) -> Any:
            return [box async for box in source(queryset)]

        ours = run_async(read(with_native_rows(Box.objects.select_related("room"))))
        theirs = run_async(read(Box.objects.select_related("room")))
        assert dump(ours) == dump(theirs)
        assert len(ours) == 8


@pytest.mark.usefixtures("filled")
@pytest.mark.since("6.1")
@pytest.mark.parametrize("mode", ["FETCH_ONE", "FETCH_PEERS", "FETCH_RAISE"])
@pytest.mark.parametrize("case", ["plain", "select_related nested", "select_related reverse", "only", "child", "union"])
def test_fetch_modes(mode: str, case: str) -> None:
    fetch_mode = getattr(models, mode)
    check(lambda built: list(built(QUERYSETS[case]()).fetch_mode(fetch_mode)))
    by_django = ALL if mode == "FETCH_PEERS" else 0
    check(lambda built: list(built(QUERYSETS[case]()).fetch_mode(fetch_mode).iterator(chunk_size=3)), by_django)


@pytest.mark.usefixtures("filled")
@pytest.mark.since("6.1")
def test_peers_are_fetched_for() -> None:
    def read(built: Any) -> Any:
        boxes = list(built(Box.objects.select_related("inside")).fetch_mode(models.FETCH_PEERS))
        return [(box.room if box.room_id != KEY + 999 else None, box.inside) for box in boxes]

    check(read, SOME)


# --- classes that are more than their columns

BY_DJANGO = {
    "WithInit": "custom __init__",
    "WithFromDb": "custom from_db",
    "WithStaticFromDb": "custom from_db",
    "WithSetattr": "custom __setattr__ or __getattribute__",
    "WithGetattribute": "custom __setattr__ or __getattribute__",
    "WithNew": "custom __new__",
    "WithMetaclass": "custom metaclass __call__",
    "Unfinished": "the class is abstract, or its instances have no __dict__",
    "WithMixinBehind": "a base class after Model has an __init__",
    "WithMixinBefore": "custom __init__",
    "WithDescriptor": "custom descriptor Loud",
    "WithProperty": "custom descriptor property",
    "WithKeyDescriptor": "custom descriptor CountingKey",
    "WithOwnCache": "custom field CautiousForeignKey",
    "WithState": "custom _state or __dict__",
    "MeasuredPicture": "post_init has receivers",
}


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    caplog.set_level(logging.INFO, "django_memoized_prefetch")
    eligibility._reported.clear()
    yield lambda: [record.getMessage() for record in caplog.records if record.name == "django_memoized_prefetch"]
    eligibility._reported.clear()


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("name", BY_DJANGO)
def test_classes_that_do_more_are_left_to_django(name: str, said: Callable[[], list[str]]) -> None:
    model = getattr(archive, name)
    queryset = model._base_manager.order_by("pk")
    check(lambda built: list(built(queryset.all())), ALL)
    assert f"{BY_DJANGO[name]}" in (why_not_hydrated(model) or "")
    assert len(said()) == 1, "the reason is given once"
    assert name in said()[0]
    if any(field.name == "box" for field in model._meta.fields):
        check(lambda built: list(built(queryset.select_related("box__room"))), ALL)


@pytest.mark.usefixtures("filled")
def test_a_picture_is_left_to_django_where_post_init_measures_it() -> None:
    is_measured = post_init.has_listeners(Picture)
    check(lambda built: list(built(Picture.objects.order_by("pk"))), ALL if is_measured else 0)
    check(lambda built: list(built(MeasuredPicture.objects.order_by("pk"))), ALL)


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("signal", [pre_init, post_init])
def test_receivers_that_come_and_go(signal: Any) -> None:
    seen: list[Any] = []

    def receiver(instance: Any = None, **kwargs: Any) -> None:
        seen.append(kwargs["args"][0] if instance is None else instance.pk)

    def use(queryset: Any) -> Any:
        seen.clear()
        return [*queryset, *seen]

    boxes, rooms = Box.objects.select_related("room"), Room.objects.all()
    before = check(lambda built: use(built(boxes.all())))
    signal.connect(receiver, sender=Room)
    try:
        # Only what select_related reads is left to Django.
        assert check(lambda built: use(built(boxes.all())), 4) != before
        check(lambda built: use(built(rooms.all())), ALL)
    finally:
        signal.disconnect(receiver, sender=Room)
    check(lambda built: use(built(rooms.all())))
    signal.connect(receiver)
    try:
        check(lambda built: use(built(boxes.all())), ALL)
    finally:
        signal.disconnect(receiver)
    assert check(lambda built: use(built(boxes.all()))) == before


def given_a_mark(function: Any) -> Any:
    def marked(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = function(self, *args, **kwargs)
        (self if result is None else result).__dict__["marked"] = True
        return result

    return marked


def is_cached_with_mark(self: Any, instance: Any) -> bool:
    instance.__dict__["marked"] = True
    return False


class MarkedDescriptor:
    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__["marked"] = value


CHANGES: dict[str, Callable[[], Any]] = {
    "from_db": lambda: mock.patch.object(Room, "from_db", classmethod(given_a_mark(Model.from_db.__func__))),
    "from_db of Model": lambda: mock.patch.object(Model, "from_db", classmethod(given_a_mark(Model.from_db.__func__))),
    "__init__": lambda: mock.patch.object(Room, "__init__", given_a_mark(Model.__init__)),
    "__init__ of Model": lambda: mock.patch.object(Model, "__init__", given_a_mark(Model.__init__)),
    "__setattr__": lambda: mock.patch.object(Room, "__setattr__", given_a_mark(object.__setattr__), create=True),
    "a column": lambda: mock.patch.object(Room, "number", MarkedDescriptor()),
    "metaclass": lambda: mock.patch.object(base_module.ModelBase, "__call__", given_a_mark(type.__call__), create=True),
    "ModelState": lambda: mock.patch.object(base_module, "ModelState", type("State", (base_module.ModelState,), {})),
}


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("change", CHANGES)
def test_classes_that_change_after_their_first_use(change: str) -> None:
    def use(built: Any) -> Any:
        return list(built(Room.objects.all()))

    before = check(use)
    with CHANGES[change]():
        changed_ours, changed_theirs = outcome(lambda: use(with_native_rows)), outcome(lambda: use(stock))
        assert changed_ours[:2] == changed_theirs[:2]
        assert changed_ours[0] != before, "the change changes nothing"
    assert check(use) == before


@pytest.mark.usefixtures("filled")
def test_a_foreign_key_descriptor_that_changes_after_its_first_use() -> None:
    def use(built: Any) -> Any:
        return list(built(Box.objects.all()))

    before = check(use)
    with mock.patch.object(ForeignKeyDeferredAttribute, "__set__", MarkedDescriptor.__set__):
        assert check(use, ALL) != before
    assert check(use) == before


@pytest.mark.usefixtures("filled")
def test_descriptors_that_change_their_class() -> None:
    # As django-seal does when it starts.
    class Marked(ForeignKeyDeferredAttribute):
        def __set__(self, instance: Any, value: Any) -> None:
            super().__set__(instance, value)
            instance.__dict__["marked"] = True

    descriptor = Box.__dict__["room_id"]
    before = check(lambda built: list(built(Box.objects.all())))
    descriptor.__class__ = Marked
    try:
        assert check(lambda built: list(built(Box.objects.all())), ALL) != before
    finally:
        descriptor.__class__ = ForeignKeyDeferredAttribute
    assert check(lambda built: list(built(Box.objects.all()))) == before


# --- databases


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("name", ["results_iter", "get_converters", "apply_converters"])
def test_compilers_that_convert_by_themselves(name: str) -> None:
    class Compiler(SQLCompiler):
        pass

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        uses.append(name)
        return getattr(SQLCompiler, name)(self, *args, **kwargs)

    uses: list[str] = []
    setattr(Compiler, name, method)
    with mock.patch.object(
        models.sql.Query,
        "get_compiler",
        lambda query, using=None, connection=None: Compiler(query, connections[using], using),
    ):
        check(lambda built: list(built(Sheet.objects.all())), ALL)
    assert uses.count(name) >= 2


@pytest.mark.usefixtures("filled")
def test_wrappers_of_statements_run() -> None:
    statements: list[str] = []

    def wrapper(execute: Any, sql: str, *arguments: Any) -> Any:
        statements.append(sql)
        return execute(sql, *arguments)

    with connection.execute_wrapper(wrapper):
        check(lambda built: list(built(Box.objects.all())))
    assert len(statements) == 2
    assert statements[0] == statements[1]


class RandomReplica:
    """As in Django's own documentation, but taking turns."""

    def __init__(self) -> None:
        self.asked = 0

    def db_for_read(self, model: Any, **hints: Any) -> str:
        self.asked += 1
        return ["default", "other"][self.asked % 2]

    def allow_relation(self, *arguments: Any, **hints: Any) -> bool:
        return True


@pytest.mark.parametrize("model", [Room, archive.WithInit])
def test_a_router_is_asked_once(model: Any) -> None:
    fill_archive()
    fill_archive("other")
    routers = [RandomReplica(), RandomReplica()]
    results = []
    for router, built in zip(routers, (stock, with_native_rows)):
        with override_settings(DATABASE_ROUTERS=[router]):
            results.append([dump(list(built(model.objects.order_by("pk")))) for _ in range(2)])
    assert results[0] == results[1]
    assert results[0][0] != results[0][1]
    assert routers[0].asked == routers[1].asked == 2


@pytest.mark.parametrize("broken", [0, 1, 4, 7])
@pytest.mark.parametrize("composite", [False, pytest.param(True, marks=pytest.mark.since("5.2"))])
def test_rows_before_one_that_fails_are_given(broken: int, composite: bool) -> None:
    for number in range(8):
        Sheet.objects.create(uuid=uuid.UUID(int=number), distance=-1 if number == broken else number)
    columns = {"key": F("pk")} if composite else {}

    def read(built: Any, chunk_size: int | None) -> Any:
        queryset = built(Sheet.objects.annotate(**columns))
        read: list[Any] = []
        try:
            for sheet in queryset.iterator(chunk_size=chunk_size):
                read.append(sheet)  # noqa: PERF402
        except ValueError as error:
            return [*read, str(error)]
        raise AssertionError("no row failed")

    for chunk_size in (None, 3):
        _, given = check(lambda built, chunk_size=chunk_size: read(built, chunk_size))
        assert len(given) == broken + 1


@pytest.mark.usefixtures("filled")
def test_results_are_lazy_and_close_their_cursor() -> None:
    iterator = iter(NativeModelIterable(Box.objects.all(), chunked_fetch=True, chunk_size=2))
    with captured_queries() as queries:
        box = next(iterator)
    assert len(queries) == 1
    assert box.pk == KEY
    iterator.close()
    with pytest.raises(StopIteration):
        next(iterator)


def test_insertions_of_undecided_keys_are_as_django_has_them() -> None:
    insert("default", archive.UndecidedTarget, ["key"], ["a"])
    insert("default", WithUndecidedKey, ["id", "name", "target_id"], [KEY, "name", "a"])
    [row] = with_native_rows(WithUndecidedKey.objects.all())
    assert "fields_cache" not in vars(row._state)


def test_an_iterable_that_is_no_models_iterable_is_kept() -> None:
    values = Box.objects.values("pk")
    assert with_native_rows(values)._iterable_class is not ModelIterable
    assert not issubclass(values._iterable_class, NativeModelIterable)
