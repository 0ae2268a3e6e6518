"""What the engine does for all objects of a level at once, beside attaching rows."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from django_memoized_prefetch._engine import mark_prefetched, repeated_neighbour
from tests.python.bookshop.models import Author, Book

CACHE = "_prefetched_objects_cache"


def as_django_marks(objects: Sequence[Any]) -> int:
    """The loop of Django's prefetch_related_objects."""
    for number, one in enumerate(objects):
        if not hasattr(one, CACHE):
            try:
                one._prefetched_objects_cache = {}
            except (AttributeError, TypeError):
                return number
    return len(objects)


class Plain:
    pass


class Slotted:
    __slots__ = ("_prefetched_objects_cache",)


class Closed:
    __slots__ = ()


class Counting:
    """Sets it on its own, and says how often."""

    def __init__(self) -> None:
        self.set: list[str] = []

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "set":
            self.set.append(name)
        super().__setattr__(name, value)


class Delegating:
    """Has what another object has."""

    def __init__(self, other: Any) -> None:
        self.__dict__["other"] = other

    def __getattr__(self, name: str) -> Any:
        return getattr(self.other, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.other, name, value)


class OfClass:
    _prefetched_objects_cache: dict[str, Any] = {}


class Computed:
    @property
    def _prefetched_objects_cache(self) -> dict[str, Any]:
        msg = "not now"
        raise AttributeError(msg)


class Locked:
    def __setattr__(self, name: str, value: Any) -> None:
        msg = "locked"
        raise TypeError(msg)


class Broken:
    def __getattr__(self, name: str) -> Any:
        msg = f"no {name}"
        raise RuntimeError(msg)


class BrokenSetting:
    def __setattr__(self, name: str, value: Any) -> None:
        msg = f"no {name}"
        raise RuntimeError(msg)


def with_dict() -> Plain:
    one = Plain()
    one.__dict__["x"] = 1
    return one


def marked_before() -> Plain:
    one = Plain()
    one._prefetched_objects_cache = {"books": 1}  # type: ignore[attr-defined]
    return one


def marked_with_a_dict() -> Plain:
    one = marked_before()
    vars(one)
    return one


def as_none() -> Plain:
    one = Plain()
    one._prefetched_objects_cache = None  # type: ignore[attr-defined]
    return one


MAKERS: dict[str, Any] = {
    "a model's": lambda: Book(pk=1, title="x"),
    "a model's without foreign keys": lambda: Author(pk=1, name="x"),
    "plain": Plain,
    "with a dict": with_dict,
    "marked": marked_before,
    "marked, with a dict": marked_with_a_dict,
    "None": as_none,
    "slot": Slotted,
    "own setattr": Counting,
    "delegating": lambda: Delegating(Plain()),
    "attribute of the class": OfClass,
    "no place": Closed,
    "property": Computed,
    "locked": Locked,
    "a tuple": lambda: (1, 2),
    "a dict": dict,
    "a number": lambda: 7,
    "None itself": lambda: None,
    "an exception": ValueError,  # its dict is not where those of ordinary instances are
}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("size", [1, 3])
def test_objects_are_marked_as_django_marks_them(kind: str, size: int) -> None:
    def objects() -> list[Any]:
        return [Plain(), Book(pk=1), *(MAKERS[kind]() for _ in range(size)), Author(pk=1), Plain()]

    ours, djangos = objects(), objects()
    assert mark_prefetched(ours) == as_django_marks(djangos)
    missing = object()
    for one, other in zip(ours, djangos):
        assert getattr(one, CACHE, missing) == getattr(other, CACHE, missing) or not hasattr(other, CACHE)
        assert hasattr(one, CACHE) == hasattr(other, CACHE)
        assert getattr(one, "set", None) == getattr(other, "set", None)
        assert type(one) is Slotted or list(getattr(one, "__dict__", ())) == list(getattr(other, "__dict__", ()))


def test_each_has_a_dict_of_its_own_and_keeps_it() -> None:
    books = [Book(pk=1), Book(pk=2), Plain(), Plain()]
    assert mark_prefetched(books) == 4
    caches = [one._prefetched_objects_cache for one in books]
    assert len({id(cache) for cache in caches}) == 4
    for number, cache in enumerate(caches):
        cache["x"] = number
    assert mark_prefetched((*books, books[0])) == 5
    assert [one._prefetched_objects_cache for one in books] == [{"x": number} for number in range(4)]


@pytest.mark.parametrize("broken", [Broken, BrokenSetting])
def test_other_errors_pass_through(broken: Any) -> None:
    first, last = Plain(), Plain()
    with pytest.raises(RuntimeError, match="no _prefetched_objects_cache"):
        mark_prefetched([first, broken(), last])
    assert hasattr(first, CACHE)
    assert not hasattr(last, CACHE)


def test_a_class_may_change_while_its_objects_are_marked() -> None:
    class Late:
        pass

    class Changing:
        def __setattr__(self, name: str, value: Any) -> None:
            Late._prefetched_objects_cache = {}
            super().__setattr__(name, value)

    objects = [Late(), Changing(), Late()]
    assert mark_prefetched(objects) == 3
    assert vars(objects[0])
    assert not vars(objects[2])


@pytest.mark.parametrize("made", [[], (), [Book(pk=1)]])
def test_lists_and_tuples_are_marked(made: Sequence[Any]) -> None:
    assert mark_prefetched(made) == len(made)


@pytest.mark.since_python("3.11")  # before, instances always have one
def test_instances_do_not_get_a_dict_by_it() -> None:
    class Fresh:  # other tests give instances of a model more attributes than its class has room for
        def __init__(self) -> None:
            self.name = "a name"

    ours, djangos = [[Fresh() for _ in range(2_000)] for _ in range(2)]
    as_django_marks(djangos)
    before = sys.getallocatedblocks()
    mark_prefetched(ours)
    assert sys.getallocatedblocks() - before < 2_100, "a dict of prefetched collections each"


class Keyed:
    def __init__(self, key: Any) -> None:
        self.key = key


class NeverEqual:
    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


NAN, UNEQUAL = float("nan"), NeverEqual()


@pytest.mark.parametrize(
    ("keys", "before", "expected"),
    [
        ([], None, None),
        ([], 1, None),
        ([1], None, None),
        ([1], 1, 1),
        ([1, 2, 3], 0, None),
        ([1, 2, 2, 3, 3], None, 2),
        ([1, 2, 1, 2], 2, None),
        ([1, Decimal(1)], None, Decimal(1)),
        ([None, None, 1], None, None),
        ([None, 5, 5], None, 5),
        ([NAN, NAN], None, NAN),
        ([UNEQUAL, UNEQUAL], None, UNEQUAL),
        ([NeverEqual(), NeverEqual()], None, None),
        (["a", "b", "b"], "z", "b"),
    ],
)
def test_the_first_repeated_neighbour(keys: list[Any], before: Any, expected: Any) -> None:
    found = repeated_neighbour([Keyed(key) for key in keys], "key", before)
    assert found is expected or (found == expected and type(found) is type(expected))


def test_a_neighbour_without_the_attribute_or_that_cannot_be_compared() -> None:
    class Incomparable:
        def __eq__(self, other: object) -> bool:
            msg = "never"
            raise RuntimeError(msg)

        __hash__ = None  # type: ignore[assignment]

    with pytest.raises(AttributeError, match="key"):
        repeated_neighbour([Plain()], "key")
    with pytest.raises(RuntimeError, match="never"):
        repeated_neighbour([Keyed(Incomparable()), Keyed(1)], "key")


def test_the_list_may_shrink_while_neighbours_are_compared() -> None:
    class Clearing:
        def __eq__(self, other: object) -> bool:
            objects.clear()
            return False

        __hash__ = None  # type: ignore[assignment]

    objects = [Keyed(Clearing()) for _ in range(50)]
    assert repeated_neighbour(objects, "key") is None
    assert objects == []
