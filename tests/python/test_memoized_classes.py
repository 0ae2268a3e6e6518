"""memoized() of queryset classes of every kind: they give, do and keep what they give, do and keep under Django."""

from __future__ import annotations

import copy
import copyreg
import functools
import logging
import pickle
from abc import ABC
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar
from unittest import mock

import django
import pytest
from django.core.paginator import Paginator
from django.db import models
from django.db.models import Prefetch
from django.db.models.query import ModelIterable

from django_memoized_prefetch import MemoizedPrefetch, memoized
from tests.python.bookshop.models import Author, Book, Category, Review
from tests.python.conftest import FIRST_KEY, Bookshop
from tests.python.graph import assert_alike
from tests.python.queries import built_by_django, captured_queries, query_count, run_async

LOOKUPS = ("author", "categories")

# What a class did, in order.
calls: list[Any] = []


def noting(name: str) -> Callable[..., Any]:
    """A method that notes its call and what the queryset holds at this moment, and leaves the rest to Django."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        state = [vars(self).get(one) for one in ("_result_cache", "_prefetch_done")]
        calls.append((name, state[0] is None, state[1], self.__class__.__name__))
        return getattr(super(cls, self), name)(*args, **kwargs)

    cls: Any = type(f"Noting{name}", (models.QuerySet,), {name: method, "__module__": __name__})
    globals()[cls.__name__] = cls  # where pickle finds it
    return cls


# Every method on the way from a queryset to its rows, or to another queryset of them.
METHODS = [
    *("_fetch_all", "_prefetch_related_objects", "_iterator", "iterator", "aiterator", "_clone", "_chain"),
    *("__iter__", "__aiter__", "__len__", "__bool__", "__getitem__", "__init__", "__repr__", "__or__", "__and__"),
    *("__deepcopy__", "__getstate__", "__setstate__", "__reduce__", "__reduce_ex__", "__getattribute__"),
    *("filter", "order_by", "values", "get", "first", "in_bulk", "count", "exists", "union", "using", "_add_hints"),
]
NOTING: dict[str, Any] = {name: noting(name) for name in METHODS if name != "__getattribute__"}


class Attending(models.QuerySet):
    """Sees each attribute that is read, and leaves it to Django."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("_fetch_all", "_iterable_class", "_prefetch_related_objects", "_clone"):
            calls.append(name)
        return super().__getattribute__(name)


def labelled(row: Any) -> Any:
    """Says how often it was here before, and what was attached then."""
    if isinstance(row, Book):
        attached = row.author.name if Book.author.is_cached(row) else "nobody"
        row.label = f"{getattr(row, 'label', '')} {attached}"
    return row


class Labelling(models.QuerySet):
    """Does something with its rows, once, and with instances only."""

    def _fetch_all(self) -> None:
        is_first = self._result_cache is None
        super()._fetch_all()
        if is_first and self._iterable_class is ModelIterable:
            for row in self._result_cache:
                labelled(row)


class LabellingInTurn(models.QuerySet):
    def _iterator(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        for row in super()._iterator(*args, **kwargs):
            yield labelled(row)

    async def aiterator(self, *args: Any, **kwargs: Any) -> Any:
        async for row in super().aiterator(*args, **kwargs):
            yield labelled(row)


class LabellingBehind(models.QuerySet):
    def iterator(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        for row in super().iterator(*args, **kwargs):
            yield labelled(row)


class LabellingAttached(models.QuerySet):
    def _prefetch_related_objects(self) -> None:
        super()._prefetch_related_objects()
        for row in self._result_cache:
            labelled(row)


class Reading(models.QuerySet):
    """Takes its rows from Django's iterable by itself."""

    def __iter__(self) -> Iterator[Any]:
        if self._result_cache is None:
            self._result_cache = list(self._iterable_class(self))
        return iter(self._result_cache)


class Backwards(models.QuerySet):
    def _fetch_all(self) -> None:
        if self._result_cache is None:
            super()._fetch_all()
            self._result_cache.reverse()


class Unattached(models.QuerySet):
    """Wants no lookups prefetched."""

    def _fetch_all(self) -> None:
        if self._result_cache is None:
            self._result_cache = list(self._iterable_class(self))


class LabelledIterable(ModelIterable):
    def __iter__(self) -> Iterator[Any]:
        for row in super().__iter__():
            row.label = f"row {row.pk}"
            yield row


class WithProperty(models.QuerySet):
    """Its iterable class is made when it is asked for."""

    @property
    def _iterable_class(self) -> Any:
        stored = self.__dict__["_iterable_class"]
        return LabelledIterable if stored is ModelIterable else stored

    @_iterable_class.setter
    def _iterable_class(self, iterable_class: Any) -> None:
        self.__dict__["_iterable_class"] = iterable_class


class Bare(models.QuerySet):
    """Says what it is after some method only."""

    def is_bare(self) -> bool:
        return self._iterable_class is ModelIterable

    def titles(self) -> Any:
        queryset = self._chain() if self.is_bare() else self.none()
        queryset._iterable_class = LabelledIterable
        return queryset


class Occupied(models.QuerySet):
    """Has the names that we might have taken."""

    _stock_class = property(lambda self: "mine")
    _memoizes = property(lambda self: "mine")
    _memoized = property(lambda self: "mine")


class Remembering(models.QuerySet):
    """Keeps something of its own."""

    _mark: Any = None

    def marked(self, mark: Any) -> Any:
        clone = self._chain()
        clone._mark = mark
        return clone

    def _clone(self) -> Any:
        clone = super()._clone()
        clone._mark = self._mark
        return clone


class Setting(models.QuerySet):
    """Every attribute is set by its own way."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_memo"):
            raise AttributeError(name)
        super().__setattr__(name, value)


class OfClass(models.QuerySet):
    """Knows its class, and makes others by it."""

    def filter(self, *args: Any, **kwargs: Any) -> Any:
        made = super().filter(*args, **kwargs)
        return made if self.__class__ is OfClass and made.__class__ is OfClass else made.none()


class OfType(models.QuerySet):
    def filter(self, *args: Any, **kwargs: Any) -> Any:
        made = super().filter(*args, **kwargs)
        return made if type(self) is OfType else made.none()


class OfTypes(models.QuerySet):
    """In a function inside, and of what is no queryset."""

    def filter(self, *args: Any, **kwargs: Any) -> Any:
        if all(issubclass(type(self), kind) and kind is type(self) for kind in (OfTypes,)):
            return super().filter(*args, **kwargs)
        return self.none()


class Naming(models.QuerySet):
    """Asks for the name of its type, which is no harm."""

    def filter(self, *args: Any, **kwargs: Any) -> Any:
        calls.append(type(self).__name__)
        return super().filter(*args, **kwargs)


class Registering(models.QuerySet):
    """Knows all of its subclasses."""

    known: list[Any] = []

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Registering.known.append(cls)


class Meta(type):
    pass


class WithMetaclass(models.QuerySet, metaclass=Meta):
    pass


class Abstract(models.QuerySet, ABC):
    pass


T = TypeVar("T")


class OfRows(models.QuerySet, Generic[T]):
    pass


class Slotted(models.QuerySet):
    __slots__ = ("slot",)


CLASSES: dict[str, Any] = {
    **NOTING,
    **{
        cls.__name__: cls
        for cls in (
            *(models.QuerySet, Attending, Labelling, LabellingInTurn, LabellingBehind, LabellingAttached, Reading),
            *(Backwards, Unattached, WithProperty, Bare, Occupied, Remembering, Setting, OfClass, OfType, OfTypes),
            *(Naming, Registering, WithMetaclass, Abstract, OfRows, Slotted),
        )
    },
}


async def streamed(queryset: Any) -> list[Any]:
    return [row async for row in queryset.aiterator(chunk_size=3)]


async def awaited(queryset: Any) -> list[Any]:
    return [row async for row in queryset]


WAYS: dict[str, Callable[[Any], Any]] = {
    "list": lambda queryset: queryset,
    "twice": lambda queryset: [*queryset, *queryset],
    "iterator": lambda queryset: queryset.iterator(chunk_size=3),
    "asynchronous": lambda queryset: run_async(awaited(queryset)),
    "filter": lambda queryset: queryset.filter(author__pk__gt=FIRST_KEY),
    "clones of clones": lambda queryset: queryset.filter(pk__gt=FIRST_KEY).order_by("-pk").exclude(translator=None),
    "slice": lambda queryset: queryset[2:7],
    "stepped slice": lambda queryset: queryset[2:11:3],
    "index": lambda queryset: [queryset[3]],
    "index of rows": lambda queryset: [len(queryset) and queryset[3]],
    "length": lambda queryset: [len(queryset), bool(queryset), queryset.count(), queryset.exists()],
    "values": lambda queryset: queryset.values("pk", "title"),
    "values_list": lambda queryset: queryset.values_list("title", flat=True).iterator(chunk_size=5),
    "get": lambda queryset: [queryset.get(pk=FIRST_KEY + 2)],
    "first and last": lambda queryset: [queryset.first(), queryset.last()],
    "in_bulk": lambda queryset: queryset.in_bulk([FIRST_KEY + 3, FIRST_KEY]).values(),
    "or": lambda queryset: queryset.filter(pk=FIRST_KEY) | Book.objects.filter(pk=FIRST_KEY + 1),
    "or, from the right": lambda queryset: Book.objects.filter(pk=FIRST_KEY + 1) | queryset.filter(pk=FIRST_KEY),
    "and": lambda queryset: queryset.filter(pk__gt=FIRST_KEY) & queryset.filter(pk__lt=FIRST_KEY + 5),
    "union": lambda queryset: (
        queryset.filter(pk=FIRST_KEY).order_by().union(Book.objects.filter(pk=FIRST_KEY + 1)).order_by("pk")
    ),
    "subquery": lambda queryset: Review.objects.filter(book__in=queryset.filter(pk=FIRST_KEY)),
    "paginator": lambda queryset: [row for page in Paginator(queryset, 5) for row in page],
    "representation": lambda queryset: [repr(queryset), str(queryset.query)],
    "copied": copy.copy,
    "deeply copied": copy.deepcopy,
    "deeply copied rows": lambda queryset: [len(queryset), *copy.deepcopy(queryset)],
    "pickled": lambda queryset: pickle.loads(pickle.dumps(queryset)),
    "pickled rows": lambda queryset: [len(queryset), *pickle.loads(pickle.dumps(queryset))],
    "pickled, filtered": lambda queryset: pickle.loads(pickle.dumps(queryset)).filter(pk__gt=FIRST_KEY + 1),
    "pickled, first protocol": lambda queryset: pickle.loads(pickle.dumps(queryset, 0)),
    "pickled by Python": lambda queryset: pickle._loads(pickle._dumps(queryset)),  # type: ignore[attr-defined]
    "its state": lambda queryset: [
        sorted(name for name in queryset.__getstate__() if not name.startswith("_memoized_prefetch_")),
        queryset._result_cache,
    ],
    "its class": lambda queryset: [queryset.__class__, type(queryset).__name__, isinstance(queryset, models.QuerySet)],
    "own methods": lambda queryset: [
        getattr(queryset, name)() for name in ("is_bare", "titles") if hasattr(queryset, name)
    ],
    "own marks": lambda queryset: [
        queryset.marked("here").filter(pk=FIRST_KEY)._mark if hasattr(queryset, "marked") else None
    ],
    "other names": lambda queryset: [getattr(queryset, name, None) for name in ("_stock_class", "_memoizes")],
}
if django.VERSION >= (5, 0):
    WAYS["asynchronous stream"] = lambda queryset: run_async(streamed(queryset))


def plain(value: Any) -> Any:
    """What can be compared; of a row its label too, and whether what is related to it was attached."""
    if isinstance(value, models.Model):
        attached = (
            [Book.author.is_cached(value), *getattr(value, "_prefetched_objects_cache", ())]
            if (isinstance(value, Book))
            else []
        )
        return type(value), value.pk, getattr(value, "label", None), attached
    if isinstance(value, (models.QuerySet, list)):
        return [plain(one) for one in value]
    return value


def outcome(use: Callable[[Any], Any], queryset: Any) -> tuple[Any, list[Any]]:
    """What `use` gives, and what the class did for it; an error is one too."""
    calls.clear()
    try:
        rows: Any = [plain(row) for row in use(queryset)]
    except Exception as error:
        rows = type(error), str(error)
    done = list(calls)
    calls.clear()
    return rows, done


def queryset_of(cls: Any, lookups: bool) -> Any:
    queryset = cls(Book).order_by("pk")
    return queryset.prefetch_related(*LOOKUPS) if lookups else queryset


ASYNCHRONOUS = [way for way in WAYS if way.startswith("asynchronous")]


@pytest.mark.parametrize("lookups", [True, False], ids=["lookups", "no lookups"])
@pytest.mark.parametrize("name", CLASSES)
def test_every_class_gives_and_does_what_it_does_under_django(bookshop: Bookshop, name: str, lookups: bool) -> None:
    for way, use in WAYS.items():
        if way not in ASYNCHRONOUS:
            same_in_both(CLASSES[name], way, use, lookups)


@pytest.mark.django_db(databases=["default", "other"], transaction=True)
@pytest.mark.parametrize("name", CLASSES)
def test_every_class_is_read_asynchronously_as_under_django(bookshop: Bookshop, name: str) -> None:
    for way in ASYNCHRONOUS:
        same_in_both(CLASSES[name], way, WAYS[way], True)


def same_in_both(cls: Any, way: str, use: Callable[[Any], Any], lookups: bool) -> None:
    theirs, their_calls = outcome(use, queryset_of(cls, lookups))
    memoized_queryset = memoized(queryset_of(cls, lookups))
    ours, our_calls = outcome(use, memoized_queryset)
    assert ours == theirs, way
    assert our_calls == their_calls, way
    assert not isinstance(theirs, tuple), f"{way}: {theirs}"


# --- what stays fast, and what does not

LEFT_TO_DJANGO = {
    "Attending": "Attending has its own __getattribute__()",
    "OfType": "OfType.filter asks for its type",
    "OfTypes": "OfTypes.filter asks for its type",
    "Registering": "Registering has its own __init_subclass__()",
    "WithMetaclass": "WithMetaclass has its own metaclass Meta",
}
ATTACHED_BY_DJANGO = {
    "LabellingInTurn": "LabellingInTurn has its own _iterator()",
    "LabellingAttached": "LabellingAttached has its own _prefetch_related_objects()",
    **{
        NOTING[name].__name__: f"Noting{name} has its own {name}()"
        for name in ("_iterator", "aiterator", "_prefetch_related_objects")
    },
}
# Of the methods that read rows, each is kept; what the class does with rows may be anything.
BUILT_BY_DJANGO = [
    *("Labelling", "LabellingInTurn", "LabellingBehind", "Reading", "Backwards", "Unattached"),
    *(f"Noting{name}" for name in ("_fetch_all", "_iterator", "iterator", "aiterator", "__iter__", "__aiter__")),
]
NAMES = {cls.__name__: cls for cls in CLASSES.values() if cls is not models.QuerySet}


def read_twice(queryset: Any) -> Any:
    """With chunks of one row, Django asks for the author of each."""
    list(queryset.iterator(chunk_size=1))
    return list(queryset.all().iterator(chunk_size=1))


@pytest.mark.parametrize("name", NAMES)
def test_who_attaches_and_who_builds(bookshop: Bookshop, name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "django_memoized_prefetch"), captured_queries() as queries:
        _, by_django = built_by_django(lambda: read_twice(memoized(NAMES[name](Book).prefetch_related("author"))))
    is_left = name in LEFT_TO_DJANGO
    assert queries.of(Author) == (24 if is_left or name in ATTACHED_BY_DJANGO else 5)
    rows_by_django = 24 if is_left or name in BUILT_BY_DJANGO else 0
    assert by_django == rows_by_django + (24 if is_left or name in ATTACHED_BY_DJANGO else 0)


@pytest.mark.parametrize("name", [*LEFT_TO_DJANGO, *ATTACHED_BY_DJANGO])
def test_lookups_of_a_prefetch_that_would_not_be_seen_are_refused(bookshop: Bookshop, name: str) -> None:
    reason = {**LEFT_TO_DJANGO, **ATTACHED_BY_DJANGO}[name]
    with pytest.raises(ValueError, match="and its rows would not come to prefetch") as caught:
        memoized(NAMES[name](Book), MemoizedPrefetch("author"))
    assert str(caught.value).startswith(f"memoized: {reason}, ")


def test_why_is_said_once(bookshop: Bookshop, caplog: pytest.LogCaptureFixture) -> None:
    class Typed(models.QuerySet):
        def filter(self, *args: Any, **kwargs: Any) -> Any:
            return super().filter(*args, **kwargs) if type(self) is Typed else self.none()

    class Fetching(models.QuerySet):
        def _fetch_all(self) -> None:
            super()._fetch_all()

    class Iterating(models.QuerySet):
        def _iterator(self, *args: Any, **kwargs: Any) -> Any:
            return super()._iterator(*args, **kwargs)

    with caplog.at_level(logging.INFO, "django_memoized_prefetch"):
        for cls in (Typed, Fetching, Iterating):
            for _ in range(3):
                assert len(memoized(cls(Book).prefetch_related("author")).filter(pk__gt=FIRST_KEY)) == 11
    assert caplog.messages == [
        "Querysets of Typed are left to Django. Typed.filter asks for its type",
        "Rows are built by Django. Fetching has its own _fetch_all()",
        "Rows are built by Django. Iterating has its own _iterator()",
        "Lookups of Iterating are prefetched by Django for every chunk. Iterating has its own _iterator()",
    ]


def test_what_is_asked_of_types_otherwise_is_no_harm() -> None:
    class Asking(models.QuerySet):
        empty = staticmethod(lambda: type(None))

        def refuse(self, value: Any) -> Any:
            raise TypeError(f"{type(self).__name__}: {type(value) is int}, {type(self).refuse}, {type(None)}")

        @property
        def name(self) -> str:
            return "".join(type(self).__qualname__ for _ in "a")

    class AskingForBases(models.QuerySet):
        @functools.cached_property
        def bases(self) -> Any:
            return [type(self).__bases__ for _ in "a"]

    assert type(memoized(Asking(Book))) is not Asking
    assert memoized(Asking(Book)).name == Asking(Book).name
    assert type(memoized(AskingForBases(Book))) is AskingForBases


# --- Django itself, patched


@pytest.mark.parametrize("name", ["_fetch_all", "_iterator", "_prefetch_related_objects", "iterator", "__iter__"])
def test_what_another_package_has_patched_runs(bookshop: Bookshop, name: str) -> None:
    original = getattr(models.QuerySet, name)

    def patched(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return original(self, *args, **kwargs)

    lookups = name == "_prefetch_related_objects"  # Django reads related rows by the others too
    before = memoized(queryset_of(models.QuerySet, lookups))
    list(before)
    with mock.patch.object(models.QuerySet, name, patched):
        for way in ("list", "iterator", "filter", "pickled rows"):
            same_in_both(models.QuerySet, way, WAYS[way], lookups)
            theirs = outcome(WAYS[way], queryset_of(models.QuerySet, lookups))
            assert outcome(WAYS[way], before.all()) == theirs, way


def test_what_an_instance_has_of_its_own_runs(bookshop: Bookshop) -> None:
    def replaced(queryset: Any) -> Any:
        fetch_all = queryset._fetch_all

        def noted() -> None:
            calls.append("fetched")
            fetch_all()

        queryset._fetch_all = noted
        return queryset

    for way in ("list", "iterator", "filter", "length"):
        theirs = outcome(lambda queryset, way=way: WAYS[way](replaced(queryset)), queryset_of(models.QuerySet, True))
        ours = outcome(
            lambda queryset, way=way: WAYS[way](replaced(queryset)), memoized(queryset_of(models.QuerySet, True))
        )
        assert ours == theirs, way


# --- classes that are mixed into instances


class Mixin:
    """As packages have it that work with querysets of any class."""

    def init_mixin(self) -> None:
        self.mixed = True

    def _fetch_all(self) -> None:
        calls.append("mixin fetches")
        super()._fetch_all()  # type: ignore[misc]

    def _clone(self) -> Any:
        clone = super()._clone()  # type: ignore[misc]
        clone.mixed = self.mixed
        return clone

    @property
    def _iterable_class(self) -> Any:
        stored = vars(self)["_iterable_class"]
        return LabelledIterable if stored is ModelIterable else stored

    @_iterable_class.setter
    def _iterable_class(self, iterable_class: Any) -> None:
        vars(self)["_iterable_class"] = iterable_class

    def __reduce__(self) -> Any:
        return remix, (self.__class__.__bases__[1],), self.__getstate__()  # type: ignore[attr-defined]


@functools.cache
def mixed_with(cls: Any) -> Any:
    return type(f"Mixed{cls.__name__}", (Mixin, cls), {})


def mix_into(queryset: Any) -> Any:
    if not isinstance(queryset, Mixin):
        queryset.__class__ = mixed_with(queryset.__class__)
        queryset.init_mixin()
    return queryset


def remix(cls: Any) -> Any:
    return mix_into(cls())


def mix_into_type(queryset: Any) -> Any:
    """By the type, which is a private one."""
    queryset.__class__ = mixed_with(type(queryset))
    queryset.init_mixin()
    return queryset


@pytest.mark.parametrize("name", ["QuerySet", "Remembering", "Labelling", "LabellingInTurn", "OfType", "Setting"])
def test_a_class_mixed_into_an_instance(bookshop: Bookshop, name: str) -> None:
    for way, use in WAYS.items():
        if way in ASYNCHRONOUS or way == "or, from the right":
            continue
        for before, after in ((mix_into, memoized), (memoized, mix_into)):
            theirs, their_calls = outcome(use, mix_into(queryset_of(CLASSES[name], True)))
            queryset = after(before(queryset_of(CLASSES[name], True)))
            ours, our_calls = outcome(use, queryset)
            assert (ours, our_calls) == (theirs, their_calls), way
            assert queryset.mixed
            assert isinstance(queryset, Mixin)


def test_a_class_mixed_into_the_type_of_an_instance(bookshop: Bookshop) -> None:
    for way, use in WAYS.items():
        if way in ASYNCHRONOUS or way in ("or, from the right", "its class", "copied") or "pickled" in way:
            continue
        theirs = outcome(use, mix_into_type(queryset_of(models.QuerySet, True)))
        ours = outcome(use, mix_into_type(memoized(queryset_of(models.QuerySet, True))))
        assert ours == theirs, way


def test_what_was_mixed_in_stays_memoized(bookshop: Bookshop) -> None:
    queryset = mix_into(memoized(Book.objects.order_by("pk").prefetch_related("author")))
    rows, _ = built_by_django(lambda: list(queryset.iterator(chunk_size=1)))
    assert {row.label for row in rows} == {f"row {row.pk}" for row in rows}
    with query_count(1):
        list(queryset.filter(pk__gt=FIRST_KEY).iterator(chunk_size=1))


def test_a_class_that_does_not_fit_is_djangos_error() -> None:
    class Other:
        __slots__ = ("value",)

    for queryset in (Book.objects.all(), memoized(Book.objects.all())):
        with pytest.raises(TypeError, match="object layout differs"):
            queryset.__class__ = Other
    assert memoized(Book.objects.all()).__class__ is models.QuerySet


# --- pickles


class Made(models.QuerySet):
    """Is mixed into other queryset classes, and made again from the one below it."""

    def __reduce__(self) -> Any:
        return made_again, (type(self).__bases__[0],), self.__getstate__()


@functools.cache
def made_of(cls: Any) -> Any:
    return Made if cls is models.QuerySet else type(f"Made{cls.__name__}", (cls, Made), {})


def made_again(cls: Any) -> Any:
    return made_of(cls)()


class Frozen(models.QuerySet):
    """Is pickled without its rows."""

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_result_cache": None, "_prefetch_done": False}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


class Replaced(models.QuerySet):
    """Leaves nothing of what was there before."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state


class Counted(models.QuerySet):
    """Changes itself while it is pickled."""

    count_of_pickles = 0

    def __getstate__(self) -> dict[str, Any]:
        self.count_of_pickles += 1
        state: dict[str, Any] = super().__getstate__()
        return state


class Parent(models.QuerySet):
    """Its rows know it."""

    def _fetch_all(self) -> None:
        is_first = self._result_cache is None
        super()._fetch_all()
        for row in self._result_cache if is_first else ():
            row.found_in = self


class Reduced(models.QuerySet):
    def __reduce_ex__(self, protocol: Any) -> Any:
        return Reduced, (self.model, self.query)


class Registered(models.QuerySet):
    """Is pickled by a function that the interpreter knows for it."""


copyreg.pickle(Registered, lambda queryset: (Registered, (queryset.model, queryset.query)))  # type: ignore[arg-type]

PICKLED = [models.QuerySet, Made, made_of(Remembering), Frozen, Replaced, Counted, Parent, Reduced, Registered]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("cls", PICKLED)
def test_a_class_that_pickles_its_own_way(bookshop: Bookshop, cls: Any, protocol: int) -> None:
    for is_evaluated in (False, True):
        made = []
        for wrap in (lambda queryset: queryset, memoized):
            queryset = wrap(queryset_of(cls, True))
            if is_evaluated:
                list(queryset)
            with captured_queries() as queries:
                copied = pickle.loads(pickle.dumps(queryset, protocol))
            made.append((queryset, copied, len(queries)))
        (theirs, their_copy, their_count), (ours, our_copy, our_count) = made
        assert our_count <= their_count + 1, "a many-to-many takes two"
        assert our_copy.__class__ is their_copy.__class__
        assert (ours._result_cache is None) == (theirs._result_cache is None)
        assert (our_copy._result_cache is None) == (their_copy._result_cache is None)
        assert getattr(ours, "count_of_pickles", 0) == getattr(theirs, "count_of_pickles", 0)
        assert sorted(name for name in vars(our_copy) if not name.startswith("_memoized_prefetch_")) == sorted(
            vars(their_copy)
        )
        if cls is Parent:
            for copied in (our_copy, their_copy):
                assert all(vars(row).pop("found_in") is copied for row in copied)
        if cls not in (Reduced, Registered):
            assert_alike(our_copy, their_copy, LOOKUPS)
        assert [row.pk for row in our_copy.all()] == [row.pk for row in their_copy.all()]


def test_a_local_class_with_a_factory_is_pickled(bookshop: Bookshop) -> None:
    local = made_of(type("Local", (models.QuerySet,), {}))
    for queryset in (local(Book), memoized(local(Book))):
        with pytest.raises((AttributeError, pickle.PicklingError), match="Local"):
            pickle.dumps(queryset)
    queryset = memoized(made_of(Remembering)(Book).marked("here"))
    copied = pickle.loads(pickle.dumps(queryset))
    assert (copied._mark, copied.filter(pk__gt=0)._mark) == ("here", "here")
    assert type(copied).__name__ == "MadeRemembering"


def test_an_unpickled_queryset_is_memoized(bookshop: Bookshop) -> None:
    for cls in (models.QuerySet, Made, made_of(Remembering)):
        queryset = pickle.loads(pickle.dumps(memoized(queryset_of(cls, False)))).prefetch_related("author")
        with captured_queries() as queries:
            list(queryset.iterator(chunk_size=1))
        assert queries.of(Author) == 5


def test_a_copy_shares_what_is_remembered(bookshop: Bookshop) -> None:
    queryset = memoized(Book.objects.prefetch_related("author"))
    list(queryset)
    for copied in (copy.copy(queryset), copy.deepcopy(queryset)):
        with query_count(1):
            list(copied.all())
    assert copy.copy(queryset)._result_cache is not None
    with query_count(0):
        assert copy.deepcopy(queryset)._result_cache is None


def test_pickling_reads_the_memoized_way(bookshop: Bookshop) -> None:
    for cls in (models.QuerySet, Made):
        queryset = memoized(cls(Book).prefetch_related("author"), MemoizedPrefetch("publisher"))
        list(queryset)
        with query_count(1):
            copied = pickle.loads(pickle.dumps(queryset.filter(pk__gt=FIRST_KEY)))
        with query_count(0):
            assert all(row.author.pk and row.publisher.pk for row in copied)


# --- in other querysets


@pytest.mark.parametrize("name", CLASSES)
def test_in_a_prefetch(bookshop: Bookshop, name: str) -> None:
    if name in ("LabellingInTurn", "OfType"):
        return

    def reviews(wrap: Callable[[Any], Any]) -> list[Any]:
        rows = list(
            Review.objects.order_by("pk").prefetch_related(Prefetch("book", wrap(queryset_of(CLASSES[name], True))))
        )
        calls.clear()
        return [plain(row.book) for row in rows]

    assert reviews(memoized) == reviews(lambda queryset: queryset)


def test_of_managers(bookshop: Bookshop) -> None:
    for make in (lambda: bookshop.authors[0].books, lambda: bookshop.books[4].categories, lambda: Category.objects):
        assert [row.pk for row in memoized(make()).order_by("pk")] == [row.pk for row in make().order_by("pk")]
    categories = list(memoized(bookshop.books[4].categories).prefetch_related("books"))
    assert_alike(categories, list(bookshop.books[4].categories.prefetch_related("books")), ["books"])


def test_what_a_many_to_many_attaches_may_be_mixed_into(bookshop: Bookshop) -> None:
    for book in MemoizedPrefetch("categories").process_chunk(list(Book.objects.all())):
        queryset = book.categories.all()
        assert queryset.__class__ is models.QuerySet
        with query_count(0):
            assert [row.pk for row in mix_into(queryset)] == [row.pk for row in book.categories.all()]
        assert len(queryset.filter(pk__gt=0)) == len(queryset)
