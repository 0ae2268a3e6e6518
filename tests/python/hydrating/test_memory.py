"""The builder of rows accounts for every reference, and an allocation that fails takes no more than its row along."""

from __future__ import annotations

import gc
import sys
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, models
from django.db.models import F
from django.db.models.base import DEFERRED, ModelState
from django.dispatch import Signal

from django_memoized_prefetch import memoized
from django_memoized_prefetch._engine import Hydrator
from django_memoized_prefetch._hydrating.iterable import with_native_rows
from django_memoized_prefetch._hydrating.plan import row_fields
from tests.python import references
from tests.python.isolated import isolated
from tests.python.queries import built_by_django
from tests.python.test_leaks import CACHES_LATE, SLACK, counts, differences, settled_blocks
from tests.python.turns import EVERY
from tests.python.workshop.models import Customer, Depot, Mechanic, Part, Region, Repair, Stage, Word

try:
    from _testcapi import remove_mem_hooks, set_nomemory
except ImportError:
    remove_mem_hooks = set_nomemory = None
SETTLING, RESULTS = (1_100, 500) if EVERY or CACHES_LATE else (300, 200)

needs_starvation = pytest.mark.skipif(set_nomemory is None, reason="this Python comes without _testcapi")

QUERYSETS: dict[str, Callable[[], Any]] = {
    "plain": lambda: Repair.objects.all(),
    "related": lambda: Repair.objects.select_related("customer__region", "mechanic", "stage", "ticket"),
    "annotated": lambda: Repair.objects.annotate(n=F("customer__region")).defer("bicycle"),
    "known": lambda: Customer.objects.first().repairs.all(),
    "converted": lambda: Stage.objects.all(),
    "without foreign keys": lambda: Part.objects.only("name"),
}
if hasattr(models, "FETCH_PEERS"):
    QUERYSETS["peers"] = lambda: QUERYSETS["related"]().fetch_mode(models.FETCH_PEERS)


@isolated()
@pytest.mark.parametrize("case", QUERYSETS)
def test_many_results_leave_exact_reference_counts(case: str) -> str:
    queryset = QUERYSETS[case]()
    given = [
        Repair,
        Customer,
        Region,
        Mechanic,
        Stage,
        Part,
        Word,
        ModelState,
        Hydrator,
        connection,
        queryset.model._meta,
    ]
    given += [
        *queryset.model._meta.concrete_fields,
        *([queryset._fetch_mode] if hasattr(queryset, "_fetch_mode") else []),
    ]

    def use() -> None:
        with_native_rows(queryset.all())._fetch_all()
        next(with_native_rows(queryset.all()).iterator(chunk_size=2))

    for _ in range(10):
        use()
    settled_blocks()
    settled = counts(given)
    for _ in range(SETTLING):
        use()
    blocks = settled_blocks()
    for _ in range(RESULTS):
        use()
    growth = settled_blocks() - blocks
    assert not (wrong := differences(settled, counts(given))), (
        f"after 10 and after {SETTLING + RESULTS} results: {wrong}"
    )
    assert growth <= SLACK, f"{growth} blocks more after {RESULTS} results more"
    return f"{growth} blocks more in {RESULTS} results"


@isolated()
def test_a_memoized_queryset_is_freed_by_reference_counts_alone() -> None:
    def use() -> None:
        queryset = memoized(Repair.objects.prefetch_related("customer", "mechanic", "depot").filter(pk__gt=0))
        for _ in queryset.iterator(chunk_size=7):
            pass

    use()
    gc.collect()
    gc.disable()
    for _ in range(3):
        use()
    alive = [one for one in gc.get_objects() if isinstance(one, (Repair, Customer, Mechanic, Depot))]
    assert alive == []


@isolated()
@pytest.mark.parametrize("with_receiver", [False, True])
def test_an_unread_iterator_that_is_kept_on_the_object_it_belongs_to(with_receiver: bool) -> None:
    """The garbage collector finds such a cycle, which closes the cursor too."""

    def receive(instance: Any, **_: Any) -> None:
        pass

    if with_receiver:
        models.signals.post_init.connect(receive, sender=Repair)
    try:
        for wrap in (lambda queryset: queryset, memoized):
            customer = Repair.objects.exclude(customer=None)[0].customer
            customer.unread = wrap(customer.repairs.all()).iterator(chunk_size=1)
            next(customer.unread)
            alive = weakref.ref(customer)
            del customer
            gc.collect()
            assert alive() is None
    finally:
        models.signals.post_init.disconnect(receive, sender=Repair)


class Value:
    """A column's value, of which every reference can be counted."""

    def __init__(self, name: str) -> None:
        self.name = name


def fields_of(model: Any, first: int) -> tuple[Any, ...]:
    names = [field.attname for field in model._meta.concrete_fields]
    return row_fields(model, [(first + at, name) for at, name in enumerate(names)])


def convert(value: Any, expression: Any, given: Any) -> Any:
    return Value(f"{value.name} converted")


def finish(instance: Any) -> None:
    instance.finished = instance.id


def receive(signal: Any, sender: Any, instance: Any) -> None:
    instance.received = instance.id


SIGNAL = Signal()
SIGNAL.connect(receive)
SILENT = Signal()
NONE = (SILENT, SILENT.receivers, ())


SHARED = Region()


class Constructed:
    """A class of which one instance stands for all: making more would run code that may fail by itself."""

    def __new__(cls, first: Any, second: Any, third: Any) -> Any:
        return SHARED if second is DEFERRED else None


def made_by_itself(db: str, names: list[str], values: Any) -> Any:
    """A model's own `from_db()`. It calls nothing, since CPython loses references where a nested call has no memory."""
    return SHARED


def new_hydrator(is_converting: bool) -> tuple[Hydrator, int]:
    """One that does everything there is to do, and how many columns it reads."""
    customer = fields_of(Repair, 0)[-1][0] + 1
    region = customer + len(Customer._meta.concrete_fields)
    annotation = region + len(Region._meta.concrete_fields)
    below = (("stored", Region, fields_of(Region, region), NONE), region, "region", None, ())
    relation = (("stored", Customer, fields_of(Customer, customer), NONE), customer, "customer", "remote", (below,))
    own = [
        (("called", made_by_itself, ["name"], [region], True), region, None, None, ()),
        (("constructed", Constructed, [region, None, region + 1], DEFERRED), region, None, None, ()),
    ]
    below_python = [lambda row, instance: None, *own] if is_converting else []
    receivers = (SIGNAL, SIGNAL.receivers, (SIGNAL.receivers[0][1],)) if is_converting else NONE
    plan = (
        ("stored", Repair, fields_of(Repair, 0), receivers),
        (relation, *below_python),
        Repair,
    )
    steps = [(convert, None), (convert, ("unchanged", float))]
    converters = [(1, Value("expression"), steps)] if is_converting else ()
    return (
        Hydrator(
            plan,
            ModelState,
            "default",
            Value("mode"),
            True,
            converters,
            connection,
            (("annotation", annotation),),
            finish if is_converting else None,
        ),
        annotation + 1,
    )


@isolated()
@pytest.mark.parametrize("is_converting", [False, True])
def test_reference_counts_in_plain_numbers(is_converting: bool) -> None:
    hydrator, columns = new_hydrator(is_converting)
    rows = [tuple(Value(f"{row}.{column}") for column in range(columns)) for row in range(3)]
    untouched = [[sys.getrefcount(value) for value in row] for row in rows]
    into: list[Any] = []
    hydrator.build(rows, into)
    held = [[sys.getrefcount(value) for value in row] for row in rows]
    for before, after in zip(untouched, held):
        once = [count + 1 for count in before]
        if is_converting:
            once[0] += 2  # by finish() and receive()
            once[1] -= 1  # another value is in its place
        assert after == once, "every value is held by its instance"
    assert references.counts(into) == [references.OWN + 1] * 3, "by the reverse relation"
    assert [instance.customer for instance in into] == [instance._state.fields_cache["customer"] for instance in into]
    states = [instance._state for instance in into]
    assert references.counts(states) == [references.OWN + 1] * 3, "by the instance"
    del states
    into.clear()
    gc.collect()  # the reverse relation and its source are a cycle
    assert [[sys.getrefcount(value) for value in row] for row in rows] == untouched


@isolated()
def test_reference_counts_of_rows_that_are_made_one_by_one() -> None:
    hydrator, columns = new_hydrator(True)
    rows = [tuple(Value(f"{row}.{column}") for column in range(columns)) for row in range(3)]
    untouched = [[sys.getrefcount(value) for value in row] for row in rows]
    made = hydrator.each(iter(rows))
    hydrator_count = sys.getrefcount(hydrator)
    assert len([next(made)]) == 1
    rest = list(made)
    assert len(rest) == 2
    assert list(made) == []
    del made, rest
    assert sys.getrefcount(hydrator) == hydrator_count - 1
    gc.collect()
    assert [[sys.getrefcount(value) for value in row] for row in rows] == untouched


@needs_starvation
@isolated()
@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize("is_converting", [False, True])
def test_every_allocation_may_fail(is_converting: bool, one_by_one: bool) -> str:
    rows = [tuple(Value(f"{row}.{column}") for column in range(new_hydrator(False)[1])) for row in range(3)]
    whole: list[Any] = []
    new_hydrator(is_converting)[0].build(rows, whole)
    expected = [list(vars(one)) for one in whole]
    whole.clear()
    gc.collect()
    untouched = [[sys.getrefcount(value) for value in row] for row in rows]
    failures = 0
    for number in range(1, 2000):
        hydrator, _ = new_hydrator(is_converting)
        if number % 2:
            hydrator.build(rows[:1], [])  # what is prepared at the first row is there already
        into: list[Any] = []
        each, extend = hydrator.each, into.extend  # nanobind makes a bound method without looking if there is memory
        failed = False
        set_nomemory(number, number + 1)
        try:
            if one_by_one:
                extend(each(rows))
            else:
                hydrator.build(rows, into)
        except MemoryError:
            failed = True
        finally:
            remove_mem_hooks()
        failures += failed
        assert gc.isenabled()
        if not failed:
            assert len(into) == 3
        assert [type(one).__name__ for one in into] == ["Repair"] * len(into)
        assert [list(vars(one)) for one in into] == expected[: len(into)]
        del hydrator, each, extend
        into.clear()
        gc.collect()
        assert [[sys.getrefcount(value) for value in row] for row in rows] == untouched, f"allocation {number}"
        if not failed and number > 50:
            break
    assert failures > 30
    return f"{failures} failures"


@isolated()
def test_rows_take_no_more_memory_than_djangos() -> str:
    import tracemalloc

    def measured(make: Callable[[], Any]) -> float:
        list(make())
        gc.collect()
        tracemalloc.start()
        rows = list(make())
        gc.collect()
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return size / len(rows)

    Mechanic.objects.bulk_create([Mechanic(id=at, name="m") for at in range(1000)])
    Customer.objects.bulk_create([Customer(id=at, name="c", region=None) for at in range(1000)])
    Part.objects.bulk_create([Part(id=at, name="p", supplier=None) for at in range(1000)])
    measures = []
    for make in (
        lambda: Mechanic.objects.all(),
        lambda: Customer.objects.all(),
        lambda: Customer.objects.only("name"),
        lambda: Part.objects.defer("name"),
        lambda: Part.objects.select_related("supplier"),
        lambda: Customer.objects.annotate(one=F("region")),
    ):
        theirs, ours = measured(make), measured(lambda make=make: with_native_rows(make()))
        measures.append((round(theirs), round(ours)))
        # What a result as a whole takes is spread over its rows.
        assert ours <= theirs + 4, measures
    _, by_django = built_by_django(lambda: list(with_native_rows(Part.objects.all())))
    assert by_django == 0
    return str(measures)


@isolated()
def test_the_first_rows_of_a_class_weigh_what_django_s_weigh() -> str:
    """A class that has few instances yet leaves room for attributes to come in each of them."""

    def weight(name: str, built: Callable[[Any], Any]) -> float:
        meta = type("Meta", (), {"proxy": True, "app_label": "workshop"})
        model: Any = type(name, (Repair,), {"Meta": meta, "__module__": __name__})
        queryset = built(model.objects.all())
        list(queryset[:1])
        gc.collect()
        tracemalloc.start()
        rows = [row for _ in range(20) for row in queryset.all()]
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return size / len(rows)

    django, native = weight("BuiltByDjango", lambda queryset: queryset), weight("BuiltNatively", memoized)
    assert native <= django * 1.02, f"{native:.0f} bytes, Django's {django:.0f}"
    return f"{native:.0f} bytes, Django's {django:.0f}"
