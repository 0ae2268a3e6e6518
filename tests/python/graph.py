"""Everything that can be reached from objects, compared with what Django attached to its own, or built."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from weakref import ref

from django.core.exceptions import ObjectDoesNotExist
from django.db import models
from django.db.models import prefetch_related_objects
from django.db.models.base import ModelState
from django.db.models.fields.related_descriptors import ReverseManyToOneDescriptor

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.attributes import accessors
from tests.python.queries import django_prefetch, no_queries, outcome, watched_queries

_OWN = ("_state", "_prefetched_objects_cache")
_MISSING = object()


class Comparison:
    """
    Walks two graphs side by side. Intended differences, and no others, are let through: a shared row may have more
    default relations cached, rows of a many-to-many carry no `_prefetch_related_val_*`, and the one-to-one of a shared
    row leads back to the chunk's object.

    Args:
        to_attrs: The attributes that lookups store rows under; whether such a list has an order of its own.
        by_chance: Relations that have such an attribute. Where Django passes by a second time, as it does below
            a queryset's own lookups, it reads each of them from the database, row by row, and caches it.
        loads: Columns that are deferred for Django may be loaded: it leaves some objects out for which a key is needed.
    """

    def __init__(
        self,
        to_attrs: Callable[[str], bool | None] = lambda name: None,
        by_chance: Iterable[str] = (),
        loads: bool = True,
    ) -> None:
        self._is_ordered = to_attrs
        self._by_chance = set(by_chance)
        self._loads = loads
        self._seen: set[tuple[int, int]] = set()
        self._read_paths: set[tuple[int, int, str]] = set()
        self._own: dict[int, Any] = {}  # Django's by the id of ours, of the processed objects
        self._pairs: list[tuple[Any, Any, str]] = []
        self._more: list[tuple[Any, str, Any, str]] = []

    def graphs(self, ours: Sequence[models.Model], theirs: Sequence[models.Model], paths: Iterable[str] = ()) -> None:
        """
        Args:
            paths: Relations that are read by name besides, also where Django finds nothing to cache.
        """
        self._own = {id(our): their for our, their in zip(ours, theirs)}
        assert [(type(one), one.pk) for one in ours] == [(type(one), one.pk) for one in theirs]
        for i, (our, their) in enumerate(zip(ours, theirs)):
            where = f"[{i}]"
            more, less = (set(_fields_cache(one)) for one in (our, their))
            assert more - self._by_chance == less - self._by_chance, f"{where}: other relations cached"
            assert set(_many(our)) == set(_many(their)), f"{where}: other relations prefetched"
            # Django makes an empty cache of collections where there is no collection.
            assert not vars(our).keys() - vars(their).keys() - {*_OWN} - self._deferred(their), where
            self._later(our, their, where)
        walked = 0
        while walked < len(self._pairs):
            our, their, where = self._pairs[walked]
            self._row(our, their, where)
            self._relations(our, their, where)
            walked += 1
        # Reading may cache more, therefore when all is compared.
        with watched_queries() as queries:
            for our, their, where in self._pairs:
                self._read(our, their, where, queries)
            for path in paths:
                for i, (our, their) in enumerate(zip(ours, theirs)):
                    self._read_path(our, their, path, f"[{i}]", queries)
        for our, name, value, where in self._more:
            _assert_default(our, name, value, where)

    @property
    def reached(self) -> list[models.Model]:
        """Ours, the processed objects first."""
        return [our for our, _, _ in self._pairs]

    def _later(self, our: Any, their: Any, where: str) -> None:
        if (id(our), id(their)) not in self._seen:
            self._seen.add((id(our), id(their)))
            self._pairs.append((our, their, where))

    def _deferred(self, their: Any) -> set[str]:
        return their.get_deferred_fields() if self._loads else set()

    def _row(self, our: Any, their: Any, where: str) -> None:
        assert type(our) is type(their), where
        if self._loads:
            with no_queries():  # Django keeps a parent's key that it has read from the link to the parent
                for name in our.get_deferred_fields() & vars(their).keys():
                    getattr(our, name)
        ours, theirs = self._columns(our), self._columns(their)
        more = self._deferred(their)
        more |= {name for name in ours.keys() - theirs.keys() if self._is_ordered(name) is not None}
        ours = {name: value for name, value in ours.items() if name not in more}
        assert ours == theirs, f"{where}: {ours} != {theirs}"
        our_types = {name: type(value) for name, value in ours.items()}
        assert our_types == {name: type(value) for name, value in theirs.items()}, where
        for name in {*vars(our._state), *vars(their._state)} - {"fields_cache", "peers"}:
            # Not by vars(): Django 6.1 stores the fetch mode when it is first read.
            left, right = getattr(our._state, name, _MISSING), getattr(their._state, name, _MISSING)
            assert left == right, f"{where}._state.{name}: {left} != {right}"

    def _columns(self, instance: Any) -> dict[str, Any]:
        return {
            name: ("rows" if isinstance(value, (list, models.Model)) else value)
            for name, value in vars(instance).items()
            if name not in _OWN and not name.startswith("_prefetch_related_val_")
        }

    def _relations(self, our: Any, their: Any, where: str) -> None:
        ours, theirs = _fields_cache(our), _fields_cache(their)
        for name, value in theirs.items():
            if name not in ours and name in self._by_chance:
                continue
            assert name in ours, f"{where}.{name} is not cached"
            if name in self._by_chance and self._came_by_chance(ours[name], value):
                continue
            if self._shows_the_chunks_own(our, name, ours[name], value):
                assert _key(ours[name]) == _key(value), f"{where}.{name}"
                continue
            self._one(ours[name], value, f"{where}.{name}")
        for name in ours.keys() - theirs.keys():
            self._more.append((our, name, ours[name], f"{where}.{name}"))
        our_many, their_many = _many(our), _many(their)
        for name, queryset in their_many.items():
            assert name in our_many, f"{where}.{name} is not prefetched"
            mine = our_many[name]
            assert isinstance(mine, models.QuerySet), f"{where}.{name}"
            assert type(mine).__name__ == type(queryset).__name__, f"{where}.{name}"
            assert (mine._result_cache is None) == (queryset._result_cache is None), f"{where}.{name}: not read"
            self._rows(list(mine), list(queryset), f"{where}.{name}", bool(queryset.ordered))
        for name in our_many.keys() - their_many.keys():
            self._more.append((our, name, our_many[name], f"{where}.{name}"))
        for name, value in vars(their).items():
            if name in _OWN:
                continue
            if isinstance(value, models.Model):
                self._one(vars(our)[name], value, f"{where}.{name}")
            elif isinstance(value, list):
                self._rows(vars(our)[name], value, f"{where}.{name}", self._is_ordered(name) is not False)

    def _came_by_chance(self, ours: Any, theirs: Any) -> bool:
        """Django has the bare row that it read when it passed by, and keeps it though another is asked for later."""
        if not isinstance(theirs, models.Model):
            return False
        columns = self._columns(theirs)
        bare = columns.keys() == {field.attname for field in theirs._meta.concrete_fields}
        return bare and (ours is None or self._columns(ours) != columns)

    def _shows_the_chunks_own(self, our: Any, name: str, ours: Any, theirs: Any) -> bool:
        """
        One shared row stands for several of Django's, and the other side of its one-to-one is the chunk's object where
        one is: not the instance of the same row that one of several paths came by.
        """
        reverse = {rel.get_accessor_name() for rel in our._meta.related_objects if rel.one_to_one}
        return name in reverse and self._own.get(id(ours), theirs) is not theirs

    def _one(self, our: Any, their: Any, where: str) -> None:
        assert (our is None) == (their is None), f"{where}: {our} != {their}"
        if their is not None:
            self._later(our, their, where)

    def _rows(self, ours: list[Any], theirs: list[Any], where: str, is_ordered: bool) -> None:
        if not is_ordered:
            ours, theirs = (
                sorted(rows, key=lambda row: (str(row.pk), str(self._columns(row)))) for rows in (ours, theirs)
            )
        assert [row.pk for row in ours] == [row.pk for row in theirs], where
        for i, (our, their) in enumerate(zip(ours, theirs)):
            self._later(our, their, f"{where}[{i}]")

    def _read(self, our: Any, their: Any, where: str, queries: list[str]) -> None:
        attached = [*_fields_cache(their), *_many(their)]
        if not attached:
            return
        names = accessors(type(their))
        for cached in attached:
            if cached not in names or cached in self._by_chance:
                continue  # a relation of the parent's class
            name, is_many = names[cached]
            before = len(queries)
            expected = _shown(their, name, is_many)
            if len(queries) > before:
                continue  # Django does not find it again: nothing to expect
            shown = _shown(our, name, is_many)
            assert len(queries) == before, f"{where}.{name}: queries {queries[before:]}"
            assert shown == expected, f"{where}.{name}: {shown} != {expected}"
            if is_many:
                assert getattr(our, name).all() is _many(our)[cached], f"{where}.{name}"

    def _read_path(self, our: Any, their: Any, path: str, where: str, queries: list[str]) -> None:
        if (id(our), id(their), path) in self._read_paths:
            return
        self._read_paths.add((id(our), id(their), path))
        name, _, rest = path.partition("__")
        # ManyToManyDescriptor is one too.
        is_many = isinstance(getattr(type(their), name, None), ReverseManyToOneDescriptor)
        before = len(queries)
        expected, shown = _shown(their, name, is_many), _shown(our, name, is_many)
        assert len(queries) == before, f"{where}.{name}: queries {queries[before:]}"
        assert shown == expected, f"{where}.{name}: {shown} != {expected}"
        value, their_value = (_value(one, name, is_many) for one in (our, their))
        pairs: Iterable[tuple[Any, Any]] = ()
        if is_many:
            pairs = zip(
                *(rows if rows.ordered else sorted(rows, key=lambda row: str(row.pk)) for rows in (value, their_value))
            )
        elif isinstance(their_value, models.Model):
            pairs = [(value, their_value)]
        for one, other in pairs if rest else ():
            self._read_path(one, other, rest, f"{where}.{name}", queries)


def cached_names(instance: models.Model) -> tuple[dict[str, bool], list[str]]:
    """Under which names Django finds what is attached to one, and where it found nothing, and to many."""
    return {name: value is None for name, value in _fields_cache(instance).items()}, sorted(_many(instance))


def _fields_cache(instance: Any) -> dict[str, Any]:
    return vars(instance._state).get("fields_cache", {})


def _many(instance: Any) -> dict[str, Any]:
    return vars(instance).get("_prefetched_objects_cache", {})


def _value(instance: Any, name: str, is_many: bool) -> Any:
    try:
        value = getattr(instance, name)
    except ObjectDoesNotExist as error:
        return type(error), str(error)
    return value.all() if is_many else value


def _shown(instance: Any, name: str, is_many: bool) -> Any:
    """What a reader of the relation sees, in every way that Django answers from what is attached."""
    if not is_many:
        is_cached = getattr(getattr(type(instance), name, None), "is_cached", None)
        return is_cached and is_cached(instance), _key(_value(instance, name, is_many))
    manager = getattr(instance, name)
    rows = manager.all()
    return (
        (type(rows).__name__, isinstance(rows, models.QuerySet), manager.all() is rows),
        (rows.count(), len(rows), rows.exists(), bool(rows)),
        [row.pk for row in rows[:2]] if rows.ordered else None,
    )


def _key(value: Any) -> Any:
    return (type(value), value.pk) if isinstance(value, models.Model) else value


def _assert_default(instance: Any, cached: str, value: Any, where: str) -> None:
    """What is cached beyond what this lookup asked for must be what the relation gives anyway."""
    name, is_many = accessors(type(instance))[cached]
    fresh = type(instance)._base_manager.using(instance._state.db).get(pk=instance.pk)
    expected = _value(fresh, name, is_many)
    if is_many:
        ours = sorted(str(row.pk) for row in value._result_cache)
        assert ours == sorted(str(row.pk) for row in expected), f"{where}: more than asked, and not the default"
    elif value is None:
        assert not isinstance(expected, models.Model), f"{where}: None, and Django finds {expected}"
    else:
        assert _key(value) == _key(expected), f"{where}: more than asked, and not the default"


class Identity:
    """
    No difference at all: what consists of models, their states, containers and values is the same in its classes,
    attributes, slots and the order of these, and what is one object twice is one object twice.
    """

    def __init__(self) -> None:
        self._ours: dict[int, Any] = {}
        self._theirs: dict[int, Any] = {}

    def compare(self, our: Any, their: Any, where: str = "") -> None:
        assert type(our) is type(their), f"{where}: {type(our)} != {type(their)}"
        if isinstance(their, (models.Model, ModelState, list, dict, models.QuerySet)):
            assert self._ours.get(id(our), their) is their, f"{where}: one object here, two there"
            assert self._theirs.get(id(their), our) is our, f"{where}: two objects here, one there"
            if id(our) in self._ours:
                return
            # Which keeps both alive, so that no two objects have one id.
            self._ours[id(our)], self._theirs[id(their)] = their, our
        if isinstance(their, (models.Model, ModelState)):
            self._attributes(vars(our), vars(their), where)
            self._attributes(_slots(our), _slots(their), where)
        elif isinstance(their, dict):
            self.compare(list(our), list(their), f"{where}, keys")
            self.compare(list(our.values()), list(their.values()), where)
        elif isinstance(their, models.QuerySet):
            self.compare(our._result_cache, their._result_cache, where)
        elif isinstance(their, (list, tuple)):
            assert len(our) == len(their), f"{where}: {our!r} != {their!r}"
            for i, (one, other) in enumerate(zip(our, their)):
                self.compare(one, other, f"{where}[{i}]")
        elif isinstance(their, ref):
            self.compare(our(), their(), f"{where}()")
        elif isinstance(their, memoryview):
            assert bytes(our) == bytes(their), where
        elif type(their).__repr__ is object.__repr__ and hasattr(their, "__dict__"):
            self._attributes(vars(our), vars(their), where)
        else:
            assert repr(our) == repr(their), f"{where}: {our!r} != {their!r}"

    def _attributes(self, ours: dict[str, Any], theirs: dict[str, Any], where: str) -> None:
        assert list(ours) == list(theirs), f"{where}: {list(ours)} != {list(theirs)}"
        for name, value in theirs.items():
            self.compare(ours[name], value, f"{where}.{name}")


def _slots(value: Any) -> dict[str, Any]:
    names = [name for base in type(value).__mro__ for name in _names(base.__dict__.get("__slots__", ()))]
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _names(slots: Any) -> list[str]:
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return [name for name in names if name not in ("__dict__", "__weakref__")]


def assert_identical(ours: Any, theirs: Any) -> None:
    Identity().compare(ours, theirs)


def are_identical(ours: Any, theirs: Any) -> bool:
    try:
        assert_identical(ours, theirs)
    except AssertionError:
        return False
    return True


def assert_alike(
    ours: Iterable[models.Model],
    theirs: Iterable[models.Model],
    paths: Iterable[str],
    read: Callable[[Any], Any] | None = None,
    to_attrs: Callable[[str], bool | None] = lambda name: None,
    by_chance: Iterable[str] = (),
) -> None:
    """
    Compares two lists of processed objects.

    Args:
        paths: What was attached; reading it must not query.
        read: A further reading of one object to compare, which must not query either.
    """
    ours, theirs = list(ours), list(theirs)
    Comparison(to_attrs, by_chance, loads=False).graphs(ours, theirs, paths)
    if read is not None:
        with no_queries():
            expected = [read(their) for their in theirs]
        with no_queries():
            observed = [read(our) for our in ours]
        assert observed == expected


def assert_same_as_django(
    chunk_factory: Callable[[], Any],
    lookups: str | Iterable[Any],
    prefetch: Any,
    *,
    read: Callable[[Any], Any] | None = None,
    to_attrs: Callable[[str], bool | None] = lambda name: None,
    by_chance: Iterable[str] = (),
) -> list[Any]:
    """
    Processes a fresh chunk with `prefetch` and another one with Django's `lookups`, and compares them.

    Args:
        chunk_factory: Makes the chunk from the database, anew at each call.
        lookups: What Django is asked for; paths with `__`, or Prefetch objects.
        prefetch: The MemoizedPrefetch, configured for the same.
        read: A further reading of one object to compare.

    Returns:
        The processed objects.
    """
    lookups = [lookups] if isinstance(lookups, str) else list(lookups)
    ours = list(prefetch.process_chunk(chunk_factory()))
    theirs = list(chunk_factory())
    django_prefetch(theirs, lookups)
    paths = [getattr(lookup, "prefetch_through", lookup) for lookup in lookups]
    assert_alike(ours, theirs, paths, read, to_attrs, by_chance)
    return ours


def assert_chunks_alike(
    chunk: Callable[[], list[Any]],
    lookups: Callable[[], list[Any]],
    *,
    size: int | None = 10_000,
    more_queries: int = 0,
    to_attrs: Callable[[str], bool | None] = lambda name: None,
) -> list[Any]:
    """
    Processes equal chunks, fresh instances each, and compares each with what Django attaches.

    Args:
        chunk: Makes it.
        lookups: Makes them; a Prefetch that Django has used is not used again.
        more_queries: How many more than Django may run: one for each many-to-many, whose links are read first.

    Returns:
        The last chunk.
    """
    prefetch = MemoizedPrefetch(*lookups(), lru_cache_size=size)
    for _ in range(3):
        theirs, ours = chunk(), chunk()
        expected, their_queries = outcome(prefetch_related_objects, theirs, *lookups())
        assert expected is None, expected
        error, our_queries = outcome(prefetch.process_chunk, ours)
        if error is not None:
            raise error
        Comparison(to_attrs).graphs(ours, theirs)
        assert len(our_queries) <= len(their_queries) + more_queries, "\n".join(our_queries)
    return ours


def assert_same_error(chunk: Callable[[], list[Any]], lookups: Callable[[], list[Any]]) -> Exception:
    """Both refuse, with the same class of error; what Django quotes in its text is in ours, too."""

    def process(objects: list[Any]) -> None:
        MemoizedPrefetch(*lookups()).process_chunk(objects)

    def their_process(objects: list[Any]) -> None:
        prefetch_related_objects(objects, *lookups())

    expected, _ = outcome(their_process, chunk())
    error, _ = outcome(process, chunk())
    assert expected is not None, "Django has nothing against it"
    assert type(error) is type(expected), f"{error!r} instead of {expected!r}"
    for quoted in re.findall(r"'([^']+)'", str(expected)):
        assert quoted in str(error), f"{error} instead of {expected}"
    return error
