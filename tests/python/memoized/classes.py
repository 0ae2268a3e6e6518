"""Queryset classes of every kind."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from django.db import models
from django.db.models.query import ModelIterable

from tests.python.bookshop.models import Book

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
