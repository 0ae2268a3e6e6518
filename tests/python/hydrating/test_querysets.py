"""Rows built by the engine consist of the same as those that Django builds, whatever the columns and the queryset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import django
import pytest
from django.db import connection, connections, models, transaction
from django.db.models import Count, F, FilteredRelation, Q, Value
from django.db.models.sql.compiler import SQLCompiler

from django_memoized_prefetch import memoized
from tests.python.archive import models as archive
from tests.python.archive.models import (
    Box,
    KeyedByUuid,
    ListedRoom,
    ListedVase,
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
from tests.python.archive.rows import KEY
from tests.python.catalogue.models import Ledger, Notice
from tests.python.conftest import rows_of_a_module
from tests.python.hydrating.building import ALL, SOME, check, check_attached, fill_archives
from tests.python.queries import captured_queries

Make = Callable[[], Any]


filled = rows_of_a_module(fill_archives)


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
    if case == "prefetched":
        check_attached(lambda built: list(built(QUERYSETS[case]())))
        check_attached(lambda built: list(built(QUERYSETS[case]()).iterator(chunk_size=3)))
        return
    by_django = SOME if "related manager" in case else 0
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
    if way == "prefetch":
        check_attached(lambda built: WAYS[way](built(Box.objects.all())))
        return
    by_django = {"reading what is deferred": 8, "reading relations": SOME, "as a subquery": ALL}
    check(lambda built: WAYS[way](built(Box.objects.all())), by_django.get(way, 0))


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
        # What the compiler's own get_converters() returns is used like Django's.
        check(lambda built: list(built(Sheet.objects.all())), 0 if name == "get_converters" else ALL)
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


@pytest.mark.usefixtures("filled")
def test_results_are_lazy_and_close_their_cursor() -> None:
    iterator = memoized(Box.objects.all()).iterator(chunk_size=2)
    with captured_queries() as queries:
        box = next(iterator)
    assert len(queries) == 1
    assert box.pk == KEY
    iterator.close()
    with pytest.raises(StopIteration):
        next(iterator)
