"""The ways in which an override changes what Django's own function returns."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable

from django.db import connections
from django.db.models import Count, F, Model, Q, QuerySet, Value, Window
from django.db.models.functions import RowNumber
from django.db.models.lookups import In
from django.db.models.query_utils import DeferredAttribute
from django.db.models.sql.query import Query

from tests.python.overrides import Method, overriding

Call = Callable[[], Any]
Change = Callable[[Any, Call], Any]


class RefusedError(Exception):
    pass


class State:
    """
    What the overrides of one case look at.

    chunk: Which one is processed, from 1.
    refusing: The chunk whose calls raise.
    """

    def __init__(self) -> None:
        self.chunk = 0
        self.refusing: int | None = None
        self._inside = self._running = False

    @contextmanager
    def processing(self, chunk: int) -> Iterator[None]:
        self.chunk, self._running = chunk, True
        try:
            yield
        finally:
            self._running = False

    @contextmanager
    def as_at_first(self) -> Iterator[None]:
        """For what is made once, and by Django again: a Prefetch that it has used is not used again."""
        chunk, running = self.chunk, self._running
        self.chunk, self._running = 1, running and chunk == 1
        try:
            yield
        finally:
            self.chunk, self._running = chunk, running

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Functions return what Django's return."""
        self._inside, before = True, self._inside
        try:
            yield
        finally:
            self._inside = before

    def refuses(self) -> bool:
        return self._running and self.chunk == self.refusing

    def once(self, function: Callable[..., Any], value: Any) -> Any:
        """The function's result; what it calls is as Django has it."""
        if self._inside:
            return value
        with self.unchanged():
            return function(value)


STATE = State()


# --- of what is returned


def limited(queryset: QuerySet[Any]) -> QuerySet[Any]:
    queryset = queryset._chain()
    queryset.query.set_limits(0, 4)
    return queryset


ON_QUERYSETS: dict[str, Callable[[Any], Any]] = {
    "condition": lambda queryset: queryset.filter(rank__gte=2),
    "order": lambda queryset: queryset.order_by("-name"),
    "constant": lambda queryset: queryset.annotate(own=Value(7)),
    "column": lambda queryset: queryset.annotate(own=F("rank") + 1),
    "window": lambda queryset: queryset.annotate(own=Window(RowNumber(), order_by="pk")),
    "aggregate": lambda queryset: queryset.annotate(own=Count("links")),
    "slice": limited,
    "distinct": lambda queryset: queryset.distinct(),
    "defer": lambda queryset: queryset.defer("name"),
    "other database": lambda queryset: queryset.using("other"),
    "tenant": lambda queryset: queryset.filter(tenant=STATE.chunk % 2),
    "another for every chunk": lambda queryset: queryset.annotate(own=Value(STATE.chunk)),
}


def with_query(alter: Callable[[Query], Any]) -> Callable[[Any], Any]:
    def altered(query: Any) -> Any:
        alter(query)
        return query

    return altered


# In place, and so what may be done twice: a property gives the query of a queryset that is used for every chunk.
ON_QUERIES: dict[str, Callable[[Any], Any]] = {
    "condition": with_query(lambda query: query.add_q(Q(rank__gte=2))),
    "order": with_query(lambda query: query.add_ordering("-name")),
    "slice": with_query(lambda query: query.set_limits(0, 4)),
}


def renamed(row: Any) -> Any:
    if isinstance(row, Model) and "name" in vars(row):
        row = copy.copy(row)
        row.name = "another"
    return row


ON_ROWS: dict[str, Callable[[Any], Any]] = {
    "reversed": lambda rows: list(rows)[::-1],
    "dropped": lambda rows: list(rows)[:-1],
    "replaced": lambda rows: [renamed(row) for row in rows],
}


def another(text: str) -> str:
    return "other" if text in connections else f"{text}_own"


ON_VALUES: dict[str, Callable[[Any], Any]] = {
    "bool": lambda value: not value,
    "int": lambda value: value + 1,
    "str": another,
    "tuple": lambda values: tuple(value + 1 if isinstance(value, int) else value for value in values),
    "list": lambda values: values[::-1],
}


def on_result(accepts: Callable[[Any], bool], alter: Callable[[Any], Any]) -> Change:
    def change(_: Any, call: Call) -> Any:
        result = call()
        if accepts(result):
            return STATE.once(alter, result)
        if isinstance(result, tuple) and result and accepts(result[0]):
            return (STATE.once(alter, result[0]), *result[1:])
        return result

    return change


def on_self(alter: Callable[[Any], Any], before: bool) -> Change:
    """Of a method that returns nothing: the query of a queryset, or the query itself, is altered."""

    def change(self: Any, call: Call) -> Any:
        if before:
            STATE.once(alter, self)
        result = call()
        if not before:
            STATE.once(alter, self)
        return result

    return change


def on_cache(alter: Callable[[Any], Any]) -> Change:
    """Of the method that fills a queryset: with other rows."""

    def change(self: Any, call: Call) -> Any:
        was_empty = getattr(self, "_result_cache", None) is None
        result = call()
        if was_empty and self._result_cache is not None:
            self._result_cache = STATE.once(alter, self._result_cache)
        return result

    return change


def in_query(alter: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def altered(owner: Any) -> None:
        alter(owner.query if isinstance(owner, QuerySet) else owner)

    return altered


def iterated(alter: Callable[[Any], Any]) -> Change:
    return lambda _, call: iter(STATE.once(alter, call()))


def refusing(_: Any, call: Call) -> Any:
    if STATE.refuses():
        raise RefusedError
    return call()


def ways(method: Method) -> Iterator[tuple[str, Change]]:
    """What may be done to the method's result."""
    if method.by_django:
        yield "refuses the first chunk", refusing
        yield "refuses the second chunk", refusing
    if "queryset" in method.returns:
        for name, alter in ON_QUERYSETS.items():
            yield name, on_result(lambda value: isinstance(value, QuerySet), alter)
    if "query" in method.returns:
        for name, alter in ON_QUERIES.items():
            yield name, on_result(lambda value: isinstance(value, Query), alter)
    if method.returns & {"iterator", "list_iterator"}:
        for name, alter in ON_ROWS.items():
            yield name, iterated(alter)
    if method.role in ("queryset", "query") and not method.returns:
        for name, alter in ON_QUERIES.items():
            yield name, on_self(in_query(alter), before=method.name == "_fetch_all")
    if method.role == "queryset" and not method.returns:
        for name, alter in ON_ROWS.items():
            yield name, on_cache(alter)
    if method.role != "query":  # of which each result is a matter of all others
        for name, alter in ON_VALUES.items():
            if name in method.returns:
                yield f"another {name}", on_result(is_called(name), alter)


def is_called(name: str) -> Callable[[Any], bool]:
    return lambda value: type(value).__name__ == name


# --- classes that differ in more than one method


def with_attributes(**attributes: Any) -> Callable[[Any], Any]:
    return lambda base: type(f"Own{base.__name__}", (base,), {"__module__": __name__, **attributes})


def _of_own_queryset_class(base: Any) -> Any:
    own = overriding(base._queryset_class, "_chain", on_result(lambda _: True, ON_QUERYSETS["condition"]))
    return with_attributes(_queryset_class=own)(base)


def _looks_at_instance(base: Any) -> Any:
    def change(self: Any, call: Call) -> Any:
        instance = getattr(self, "instance", None) or self._hints.get("instance")
        return call() if instance is None else call().exclude(rank=instance.rank)

    return overriding(base, "get_queryset", change)


def _with_lookup(name: str) -> Callable[[Any], Any]:
    def transform(base: Any) -> Any:
        lookup = base.get_lookups()[name]

        def change(self: Any, call: Call) -> Any:
            result = call()
            return [value + 1 for value in result] if isinstance(self, In) else result + 1

        # By class: those of foreign keys prepare in a way of their own.
        own = with_attributes(as_sql=lambda self, *args: _shifted(lookup.as_sql(self, *args)))(lookup)
        field = with_attributes()(base)
        field.register_lookup(own, name)
        return field

    return transform


def _shifted(statement: Any) -> Any:
    sql, params = statement
    return sql, tuple(param + 1 if isinstance(param, int) else param for param in params)


def _behind_descriptor(base: Any) -> Any:
    """The column shows one more than what is stored."""

    def read(self: Any, instance: Any, owner: Any = None) -> Any:
        value = super(own, self).__get__(instance, owner)
        return value + 1 if isinstance(value, int) else value

    def write(self: Any, instance: Any, value: Any) -> None:
        instance.__dict__[self.field.attname] = value

    own = with_attributes(__get__=read, __set__=write)(base.descriptor_class)
    assert issubclass(own, DeferredAttribute)
    return with_attributes(descriptor_class=own)(base)


def _filtered_by_its_metaclass(base: Any) -> Any:
    def call(cls: Any, *args: Any, **kwargs: Any) -> Any:
        made = type.__call__(cls, *args, **kwargs)
        if made.query.where and not made.query.is_sliced:
            made.query.add_q(Q(rank__gte=2))
        return made

    return type("Making", (type,), {"__call__": call})(f"Own{base.__name__}", (base,), {"__module__": __name__})


def _filtered_when_new(base: Any) -> Any:
    def new(cls: Any, model: Any = None, query: Any = None, *_: Any, **__: Any) -> Any:
        if query is not None and query.where and not query.is_sliced:
            query.add_q(Q(rank__gte=2))
        return base.__new__(cls)

    return with_attributes(__new__=new)(base)


class Number(int):
    pass


def _number(_self: Any, value: Any, *_: Any) -> Any:
    return None if value is None else Number(value)


def _raised(_self: Any, value: Any, *_: Any) -> Any:
    return None if value is None else value + 100


def _lowered(_self: Any, value: Any) -> Any:
    return value - 100 if isinstance(value, int) and value > 100 else value


_COLUMNS = ("key", "foreign key", "one-to-one", "column")

CLASSES: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("manager", "own queryset class"): _of_own_queryset_class,
    ("manager", "looks at the instance"): _looks_at_instance,
    ("manager", "auto_created"): with_attributes(auto_created=True),
    ("manager", "use_in_migrations"): with_attributes(use_in_migrations=True),
    ("related manager", "looks at the instance"): _looks_at_instance,
    ("queryset", "filtered by its metaclass"): _filtered_by_its_metaclass,
    ("queryset", "filtered when new"): _filtered_when_new,
    **{(role, "own lookup in"): _with_lookup("in") for role in _COLUMNS},
    **{(role, "own lookup exact"): _with_lookup("exact") for role in _COLUMNS},
    **{(role, "behind a descriptor"): _behind_descriptor for role in _COLUMNS},
    **{(role, "own numbers"): with_attributes(from_db_value=_number) for role in _COLUMNS},
    **{(role, "raised"): with_attributes(from_db_value=_raised) for role in _COLUMNS},
    **{
        (role, "raised and lowered"): with_attributes(from_db_value=_raised, get_prep_value=_lowered)
        for role in _COLUMNS
    },
    **{
        (role, "own to_python"): with_attributes(to_python=lambda self, value: _raised(self, value))
        for role in _COLUMNS
    },
    **{
        (role, "own get_db_prep_value"): with_attributes(get_db_prep_value=lambda self, value, *_, **__: value + 1)
        for role in _COLUMNS
    },
    **{(role, "own db_type"): with_attributes(db_type=lambda self, connection: "bigint") for role in _COLUMNS},
}
