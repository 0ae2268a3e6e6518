"""
Private queryset classes that the engine fills with rows, for relations to many.

Letting the manager build the queryset costs 14 us per object and ties the object into a reference cycle. Instead, the
engine allocates an instance of a private subclass, which holds only its rows and what is needed to find its object
again. That is enough for reading (iterating, `len`, `count`, `exists`, indexing, `bool`). Any other use first turns it
into the manager's own queryset, with its filter and its stock class.
"""

from __future__ import annotations

from typing import Any, Callable
from weakref import ref

from django.db.models import Model, QuerySet
from django.db.models.base import ModelState

from .._private_class import look_like, set_class, why_not_subclassed

# Classes that override these would notice the attributes that an instance of a private class lacks.
_INTERCEPTORS = ("__getattr__", "__getattribute__", "__setattr__", "__delattr__")
# What a filled queryset has in its `__dict__` or its class, where its stock class must have nothing.
_HELD = ("_result_cache", "_memo_source", "_prefetch_done", "_prefetch_related_lookups")


def can_be_filled(queryset_class: Any) -> bool:
    """Whether an instance of a private subclass may replace the queryset that the manager builds."""
    return (
        all(getattr(queryset_class, name, None) is getattr(object, name, None) for name in _INTERCEPTORS)
        and not any(hasattr(queryset_class, name) for name in _HELD)
        and why_not_subclassed(queryset_class) is None
    )


def filled_class(
    stock_class: type[QuerySet[Any]],
    source_model: type[Model],
    key_name: str,
    build: Callable[[Any], QuerySet[Any]],
    asks_later: bool = False,
) -> type[QuerySet[Any]]:
    """
    Makes the private subclass for one relation.

    Args:
        stock_class: The class of the manager's querysets.
        source_model: The class of the objects that the querysets are attached to.
        key_name: The attribute of these objects whose value `_memo_source` holds.
        build: From a source object to the manager's unevaluated queryset for it.
        asks_later: Whether that queryset asks the object for its key when it is evaluated, and not now.
    """

    class Filled(stock_class):  # type: ignore[misc]
        # Reading filled rows needs only these. All other attributes of a queryset are on the instance.
        _prefetch_done = True
        _prefetch_related_lookups = ()

        @property  # type: ignore[misc]
        def __class__(self) -> Any:
            return stock_class

        def __getattr__(self, name: str) -> Any:
            become_stock(self)
            return getattr(self, name)

        def __setattr__(self, name: str, value: Any) -> None:
            become_stock(self)
            setattr(self, name, value)

        def _clone(self, *args: Any, **kwargs: Any) -> Any:
            become_stock(self)
            return self._clone(*args, **kwargs)

        def __reduce_ex__(self, protocol: Any) -> Any:
            become_stock(self)
            return self.__reduce_ex__(protocol)

        def __deepcopy__(self, memo: Any) -> Any:
            become_stock(self)
            return self.__deepcopy__(memo)

    def become_stock(queryset: Any) -> None:
        if (memo_source := queryset.__dict__.get("_memo_source")) is None:
            return  # another thread was first
        held, key, db = memo_source
        source = held() if type(held) is ref else held
        source = stand_in(source_model, key_name, key, db) if source is None else source
        replace_attributes(queryset, build_with_key(build, source, key_name, key, asks_later), stock_class)

    look_like(Filled, stock_class)
    return Filled


def replace_attributes(queryset: Any, stock: Any, stock_class: type[QuerySet[Any]]) -> None:
    """Makes a filled queryset the stock one. Other threads find all attributes of either class at any time."""
    own = queryset.__dict__
    stock.query  # noqa: B018 -- applies the filter that the manager deferred, which two threads must not do at once
    own.update({**stock.__dict__, "_result_cache": own["_result_cache"], "_prefetch_done": True})
    set_class(queryset, stock_class)
    own.pop("_memo_source", None)


def build_with_key(
    build: Callable[[Any], QuerySet[Any]], source: Any, key_name: str, key: Any, asks_later: bool
) -> QuerySet[Any]:
    """The queryset for an object whose key may have changed since the rows were attached, as by `pk = None`."""
    if asks_later or (source.pk is not None and source.__dict__.get(key_name) == key):
        queryset = build(source)
        queryset._known_related_objects = {field: {key: source} for field in queryset._known_related_objects}
        return queryset
    before: Any = object.__new__(type(source))
    before.__dict__.update(source.__dict__)
    before.__dict__[key_name] = key
    pk = source._meta.pk.attname
    if before.__dict__.get(pk) is None:
        before.__dict__[pk] = key
    queryset = build(before)
    queryset._hints = {name: source if hint is before else hint for name, hint in queryset._hints.items()}
    return queryset


def stand_in(model: type[Model], key_name: str, key: Any, db: str | None) -> Any:
    """An instance with only a key and a database, in place of a source object that is gone."""
    instance: Any = object.__new__(model)
    instance._state = ModelState()
    instance._state.adding = False
    instance._state.db = db
    instance.__dict__[key_name] = key
    instance.__dict__.setdefault(model._meta.pk.attname, key)
    return instance
