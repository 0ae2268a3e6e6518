"""A many-to-many result is a real QuerySet: every public method does what it does on the stock one.

The table has rows that are not related, so that a method which forgot the relation's filter gives itself away. Each
method runs on a fresh result whose source is alive, and on one whose source is gone.
"""

from __future__ import annotations

import copy
import datetime
import gc
import inspect
import pickle
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import models, transaction
from django.db.models import Count, F, Max, Prefetch, Q, QuerySet, Value

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.bookshop.models import Author, Book, Category
from tests.python.catalogue.models import Country, Genre, Notice, Volume
from tests.python.conftest import Bookshop, rows_of_a_module
from tests.python.databases import on_one_database
from tests.python.queries import captured_queries, django_prefetch

pytestmark = [on_one_database, pytest.mark.usefixtures("frozen")]

Method = Callable[[QuerySet], Any]


def names(rows: Any) -> list[Any]:
    return [value.name if isinstance(value, models.Model) else value for value in rows]


def collected(method: str, **kwargs: Any) -> Method:
    """An async method, run from here."""

    def run(queryset: QuerySet) -> Any:
        async def call() -> Any:
            result = getattr(queryset, method)(**kwargs)
            if hasattr(result, "__aiter__"):
                return [value async for value in result]
            return await result

        return async_to_sync(call)()

    return run


def changed(queryset: QuerySet, attribute: str, value: Any) -> list[models.Model]:
    rows = list(queryset)
    for instance in rows:
        setattr(instance, attribute, value)
    return rows


# Every public method of QuerySet, called in a way that the relation's filter decides about the result.
METHODS: dict[str, list[Method]] = {
    "aaggregate": [collected("aaggregate", top=Max("rank"), all=Count("pk"))],
    "abulk_create": [
        lambda qs: names(async_to_sync(lambda: qs.abulk_create([Genre(name="new a"), Genre(name="new b")]))())
    ],
    "abulk_update": [
        lambda qs: async_to_sync(lambda: qs.abulk_update(changed(qs, "rank", 70), ["rank"]))(),
    ],
    "acontains": [lambda qs: async_to_sync(lambda: qs.acontains(Genre.objects.get(name="unrelated a")))()],
    "acount": [collected("acount")],
    "acreate": [collected("acreate", name="new", rank=50)],
    "adelete": [collected("adelete")],
    "aearliest": [lambda qs: async_to_sync(lambda: qs.aearliest("rank"))()],
    "aexists": [collected("aexists")],
    "aexplain": [lambda qs: bool(collected("aexplain")(qs))],
    "afirst": [collected("afirst")],
    "aget": [collected("aget", name="related b")],
    "aget_or_create": [collected("aget_or_create", name="unrelated a")],
    "aggregate": [lambda qs: qs.aggregate(top=Max("rank"), all=Count("pk"))],
    "ain_bulk": [lambda qs: names(collected("ain_bulk")(qs).values())],
    "aiterator": [collected("aiterator")],
    "alast": [collected("alast")],
    "alatest": [lambda qs: async_to_sync(lambda: qs.alatest("rank"))()],
    "alias": [lambda qs: names(qs.alias(twice=F("rank") * 2).filter(twice__gt=1))],
    "all": [lambda qs: names(qs.all()), lambda qs: names(qs.all().all())],
    "annotate": [lambda qs: [(genre.name, genre.twice) for genre in qs.annotate(twice=F("rank") * 2)]],
    "aupdate": [collected("aupdate", rank=70)],
    "aupdate_or_create": [collected("aupdate_or_create", defaults={"rank": 71}, name="unrelated a")],
    "bulk_create": [lambda qs: names(qs.bulk_create([Genre(name="new a"), Genre(name="new b")]))],
    "bulk_update": [lambda qs: qs.bulk_update(changed(qs, "rank", 70), ["rank"])],
    "complex_filter": [lambda qs: names(qs.complex_filter({"rank__gt": 0})), lambda qs: names(qs.complex_filter(Q()))],
    "contains": [
        lambda qs: qs.contains(Genre.objects.get(name="related a")),
        lambda qs: qs.contains(Genre.objects.get(name="unrelated a")),
    ],
    "count": [lambda qs: qs.count()],
    "create": [lambda qs: qs.create(name="new", rank=50).name],
    "dates": [lambda qs: list(qs.dates("added", "month"))],
    "datetimes": [lambda qs: list(qs.datetimes("changed", "month"))],
    "defer": [lambda qs: [(g.name, g.get_deferred_fields()) for g in qs.defer("rank")]],
    "delete": [lambda qs: qs.delete(), lambda qs: qs.filter(rank__gt=0).delete()],
    "difference": [lambda qs: sorted(names(qs.difference(Genre.objects.filter(name="related a"))))],
    "distinct": [lambda qs: names(qs.distinct())],
    "earliest": [lambda qs: qs.earliest("rank").name],
    "exclude": [lambda qs: names(qs.exclude(name="related a")), lambda qs: names(qs.exclude(volumes__title="second"))],
    "exists": [lambda qs: qs.exists()],
    "explain": [lambda qs: bool(qs.explain())],
    "extra": [lambda qs: [(g.name, g.one) for g in qs.extra(select={"one": "1"})]],
    "fetch_mode": [lambda qs: names(qs.fetch_mode(models.FETCH_PEERS))],
    "filter": [
        lambda qs: names(qs.filter(rank__gt=0)),
        lambda qs: names(qs.filter(volumes__title="second")),
        lambda qs: names(qs.filter()),
    ],
    "first": [lambda qs: qs.first().name],
    "get": [lambda qs: qs.get(name="related b").name, lambda qs: qs.get(name="unrelated a")],
    "get_or_create": [
        lambda qs: qs.get_or_create(name="unrelated a")[1],
        lambda qs: qs.get_or_create(name="related a")[1],
    ],
    "in_bulk": [
        lambda qs: names(qs.in_bulk().values()),
        lambda qs: names(qs.in_bulk(list(Genre.objects.values_list("pk", flat=True))).values()),
    ],
    "intersection": [lambda qs: sorted(names(qs.intersection(Genre.objects.filter(rank__gt=0))))],
    "iterator": [lambda qs: names(qs.iterator()), lambda qs: names(qs.iterator(chunk_size=1))],
    "last": [lambda qs: qs.last().name],
    "latest": [lambda qs: qs.latest("rank").name],
    "none": [lambda qs: names(qs.none())],
    "only": [lambda qs: [(g.name, g.get_deferred_fields()) for g in qs.only("name")]],
    "order_by": [lambda qs: names(qs.order_by("name")), lambda qs: names(qs.order_by("-pk"))],
    "prefetch_related": [
        lambda qs: [(g.name, sorted(v.title for v in g.volumes.all())) for g in qs.prefetch_related("volumes")],
        lambda qs: [
            (g.name, [v.title for v in g.volumes.all()])
            for g in qs.prefetch_related(Prefetch("volumes", Volume.objects.filter(title="second")))
        ],
    ],
    "raw": [lambda qs: names(qs.raw("select * from catalogue_genre order by name"))],
    "reverse": [lambda qs: names(qs.reverse())],
    "select_for_update": [lambda qs: names(qs.select_for_update())],
    "select_related": [lambda qs: names(qs.select_related())],
    "union": [
        lambda qs: sorted(names(qs.union(Genre.objects.filter(name="unrelated a")))),
        lambda qs: sorted(names(Genre.objects.filter(name="unrelated a").union(qs))),
    ],
    "update": [lambda qs: qs.update(rank=70), lambda qs: qs.filter(rank__gt=0).update(rank=70)],
    "update_or_create": [lambda qs: qs.update_or_create(name="related a", defaults={"rank": 71})[1]],
    "using": [lambda qs: names(qs.using("default")), lambda qs: qs.using("other").db],
    "values": [lambda qs: list(qs.values("name", "rank"))],
    "values_list": [
        lambda qs: list(qs.values_list("name", flat=True)),
        lambda qs: list(qs.values_list("volumes__title")),
    ],
}

# What is not a public method but reads a queryset all the same.
PROTOCOL: dict[str, Method] = {
    "iter": names,
    "twice": lambda qs: (names(qs), names(qs)),
    "len": len,
    "bool": bool,
    "repr": repr,
    "index": lambda qs: qs[1].name,
    "index out of range": lambda qs: qs[99],
    "negative index": lambda qs: qs[-1],
    "slice": lambda qs: names(qs[1:3]),
    "slice with a step": lambda qs: names(qs[::2]),
    "contains": lambda qs: Genre.objects.get(name="related a") in qs,
    "contains not": lambda qs: Genre.objects.get(name="unrelated a") in qs,
    "and": lambda qs: names(qs & Genre.objects.filter(rank__gt=0)),
    "rand": lambda qs: names(Genre.objects.filter(rank__gt=0) & qs),
    "or": lambda qs: names((qs | Genre.objects.filter(name="unrelated a")).distinct()),
    "xor": lambda qs: names(qs ^ Genre.objects.filter(name="related a")),
    "aiter": lambda qs: async_to_sync(lambda: _alist(qs))(),
    "pickle": lambda qs: names(pickle.loads(pickle.dumps(qs))),
    "pickle then filter": lambda qs: names(pickle.loads(pickle.dumps(qs)).filter(rank__gt=0)),
    "pickle of the query": lambda qs: str(pickle.loads(pickle.dumps(qs.query))),
    "deepcopy": lambda qs: names(copy.deepcopy(qs)),
    "deepcopy then filter": lambda qs: names(copy.deepcopy(qs).filter(rank__gt=0)),
    "copy": lambda qs: names(copy.copy(qs)),
    "copy then filter": lambda qs: names(copy.copy(qs).filter(rank__gt=0)),
    "subquery": lambda qs: sorted(names(Genre.objects.filter(pk__in=qs))),
    "subquery of values": lambda qs: sorted(names(Genre.objects.filter(rank__in=qs.values("rank")))),
    "subquery in exclude": lambda qs: sorted(names(Genre.objects.exclude(pk__in=qs))),
    "exists expression": lambda qs: names(Genre.objects.annotate(any=models.Exists(qs)).filter(any=True)),
    "sql": lambda qs: str(qs.query),
    "db": lambda qs: qs.db,
    "ordered": lambda qs: qs.ordered,
    "totally_ordered": lambda qs: getattr(qs, "totally_ordered", None),
    "model": lambda qs: qs.model,
    "class name": lambda qs: type(qs).__name__,
    "module": lambda qs: type(qs).__module__,
    "isinstance": lambda qs: (isinstance(qs, QuerySet), isinstance(qs, Genre.objects.all().__class__)),
    "raw after reading": lambda qs: (names(qs), names(qs.order_by("name")), len(qs)),
    "count after delete": lambda qs: (qs.filter(rank__gt=0).delete(), qs.count(), qs.all().count()),
    "refreshed": lambda qs: names(qs._chain()),
    "_fetch_all": lambda qs: (qs._fetch_all(), names(qs)),
    "annotated update": lambda qs: qs.annotate(twice=F("rank") * 2).update(rank=F("rank") + 1),
    "value annotation": lambda qs: [g.mark for g in qs.annotate(mark=Value("x"))],
    "chained": lambda qs: names(qs.filter(rank__gte=0).exclude(name="related c").order_by("-rank")[:2]),
    "values after slice": lambda qs: list(qs.all()[:2].values_list("name", flat=True)),
    "hash": lambda qs: isinstance(hash(qs), int),
    "weak reference": lambda qs: weakref.ref(qs)() is qs,
}


async def _alist(queryset: QuerySet) -> list[str]:
    return [genre.name async for genre in queryset]


def public_methods() -> set[str]:
    return {
        name
        for name, member in inspect.getmembers(QuerySet, callable)
        if not name.startswith("_") and name not in ("as_manager", "resolve_expression")
    }


def cases() -> Iterator[Any]:
    for name, methods in METHODS.items():
        if name not in public_methods():
            continue
        for i, method in enumerate(methods):
            yield pytest.param(method, id=f"{name}-{i}" if i else name)
    for name, method in PROTOCOL.items():
        yield pytest.param(method, id=f"protocol {name}")


def test_every_public_method_of_this_django_is_tested() -> None:
    assert public_methods() - METHODS.keys() == set()


def fill() -> None:
    """One volume with three of six genres, a second with other three."""
    days = [datetime.datetime(2020, month, 1, tzinfo=datetime.timezone.utc) for month in range(1, 7)]
    rows = [
        Genre(name=name, rank=rank, added=day.date(), changed=day)
        for (name, rank), day in zip(
            [
                ("related a", 3),
                ("unrelated a", 0),
                ("related b", 0),
                ("unrelated b", 5),
                ("related c", 1),
                ("unrelated c", 9),
            ],
            days,
        )
    ]
    genres = Genre.objects.bulk_create(rows)
    first, second = Volume.objects.bulk_create([Volume(title="first"), Volume(title="second")])
    first.genres.add(*(genre for genre in genres if genre.name.startswith("related")))
    second.genres.add(genres[0], genres[1], genres[3])


rows = rows_of_a_module(fill)


@pytest.fixture
def shelf_mark(rows: None) -> Volume:
    return Volume.objects.get(title="first")


def prefetched(volume: Volume, ours: bool) -> tuple[Volume, QuerySet]:
    source = Volume.objects.get(pk=volume.pk)
    if ours:
        MemoizedPrefetch("genres").process_chunk([source])
    else:
        django_prefetch([source], ["genres"])
    return source, source.genres.all()


def outcome(method: Method, queryset: QuerySet) -> Any:
    """What came of it: the value or the error, how many queries it took, and the table afterwards. All is undone."""
    with transaction.atomic():
        with captured_queries() as queries:
            try:
                with transaction.atomic():
                    value = method(queryset)
            except Exception as error:
                value = (type(error), str(error))
        table = list(Genre.objects.order_by("name", "rank").values_list("name", "rank"))
        links = Volume.genres.through.objects.count()
        rest = sorted(names(queryset)) if queryset._result_cache is not None else None
        transaction.set_rollback(True)
    if isinstance(value, models.Model):
        value = value.name
    elif isinstance(value, tuple):
        value = tuple(part.name if isinstance(part, models.Model) else part for part in value)
    elif isinstance(value, list):
        value = names(value)
    return {"value": value, "queries": len(queries), "table": table, "links": links, "cached rows": rest}


@pytest.mark.parametrize("source_is", ["alive", "gone"])
@pytest.mark.parametrize("method", list(cases()))
def test_method(shelf_mark: Volume, method: Method, source_is: str) -> None:
    their_source, theirs = prefetched(shelf_mark, ours=False)
    expected = outcome(method, theirs)
    our_source, ours = prefetched(shelf_mark, ours=True)
    if source_is == "gone":
        gone = weakref.ref(our_source)
        del our_source
        gc.collect()
        assert gone() is None, "the result must not keep its source alive"
    assert outcome(method, ours) == expected
    assert their_source.pk == shelf_mark.pk


def test_reading_the_cached_rows_needs_no_query(shelf_mark: Volume) -> None:
    _, queryset = prefetched(shelf_mark, ours=True)
    for name in ("all", "count", "exists", "contains"):
        genre = Genre.objects.get(name="related a")
        with captured_queries() as queries:
            queryset.contains(genre) if name == "contains" else getattr(queryset, name)()
        assert len(queries) == 0, name
    with captured_queries() as queries:
        assert len(list(queryset)) == len(queryset) == len(queryset[:5]) == 3
    assert len(queries) == 0


def test_the_class_is_the_stock_one_after_the_first_real_use(shelf_mark: Volume) -> None:
    _, ours = prefetched(shelf_mark, ours=True)
    _, theirs = prefetched(shelf_mark, ours=False)
    list(ours.filter(rank__gt=0))
    assert type(ours.filter(rank__gt=0)) is type(theirs.filter(rank__gt=0))
    assert len(ours) == 3


def test_results_of_a_custom_queryset_class() -> None:
    """The related model's default manager decides about the class."""
    volume = Volume.objects.create(title="v")
    volume.notices.add(*[Notice.everything.create(text=f"notice {i}", withdrawn=bool(i % 2)) for i in range(4)])
    unrelated = Notice.everything.create(text="unrelated")
    source = Volume.objects.get(pk=volume.pk)
    MemoizedPrefetch("notices").process_chunk([source])
    queryset = source.notices.all()
    assert [notice.text for notice in queryset.filter(text__gte="notice 1")] == ["notice 2"]
    assert queryset.delete()[0]
    assert set(Notice.everything.values_list("text", flat=True)) == {"notice 1", "notice 3", unrelated.text}


@pytest.mark.parametrize("source_is", ["alive", "gone"])
def test_reverse_side_and_other_keys(source_is: str) -> None:
    """The same without Meta.ordering, from the other side, where the source's key is not called id."""
    country = Country.objects.create(code="", name="nowhere")
    volumes = Volume.objects.bulk_create([Volume(title=f"volume {i}") for i in range(3)])
    country.sold_volumes.add(*volumes[:2])
    source = Country.objects.get(pk="")
    MemoizedPrefetch("sold_volumes").process_chunk([source])
    queryset = source.sold_volumes.all()
    if source_is == "gone":
        del source
        gc.collect()
    assert {volume.pk for volume in queryset.filter(title__gte="volume 1")} == {volumes[1].pk}
    assert {volume.pk for volume in queryset.iterator()} == {volume.pk for volume in volumes[:2]}
    assert queryset.update(title="changed") == 2
    assert Volume.objects.filter(title="changed").count() == 2


def test_two_results_of_one_chunk_do_not_mix(bookshop: Bookshop) -> None:
    first, second = bookshop.books[:2]
    first.categories.set(bookshop.categories[:3])
    second.categories.set(bookshop.categories[:1])
    books = [Book.objects.get(pk=first.pk), Book.objects.get(pk=second.pk)]
    MemoizedPrefetch("categories").process_chunk(books)
    assert books[0].categories.order_by("pk").last() == bookshop.categories[2]
    assert books[1].categories.order_by("pk").last() == bookshop.categories[0]
    assert books[1].categories.all().update(name="renamed") == 1
    assert Category.objects.filter(name="renamed").count() == 1


def test_threads_that_use_a_shared_queryset_for_the_first_time(bookshop: Bookshop) -> None:
    """Each finds the filled class or the stock one, with all of its attributes."""
    unexpected: list[BaseException] = []

    def use(author: Author, start: threading.Barrier) -> None:
        start.wait()
        try:
            author.books.filter(title="x")
            list(author.books.all())
        except RuntimeError as error:  # Django's own: the clone of a queryset iterates over a dict of the original
            if "changed size during iteration" not in str(error):
                unexpected.append(error)
        except BaseException as error:
            unexpected.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(300):
            author = MemoizedPrefetch("books").process_chunk([Author(pk=bookshop.authors[0].pk)])[0]
            start = threading.Barrier(3)
            threads = [threading.Thread(target=use, args=(author, start)) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not unexpected
