"""Everything that can be reached from processed objects, compared with what Django's own prefetch attached."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRel
from django.core.exceptions import ObjectDoesNotExist
from django.db import models, transaction
from django.db.models import prefetch_related_objects
from django.db.models.fields.related import RelatedField

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.oracle import captured_queries

_OWN = ("_state", "_prefetched_objects_cache")
_MISSING = object()


def accessors(model: type[models.Model]) -> dict[str, tuple[str, bool]]:
    """From where a relation is cached, in `fields_cache` or among the prefetched, to its attribute."""
    found: dict[str, tuple[str, bool]] = {}
    for field in model._meta.get_fields(include_hidden=True):
        # Where a generic relation comes from, Django leaves a descriptor that finds nothing.
        if not field.is_relation or isinstance(field, GenericRel):
            continue
        if field.auto_created and not field.concrete:  # a reverse relation
            name = field.get_accessor_name()
            if name is not None and hasattr(model, name):
                cached = field.field.related_query_name() if field.many_to_many else name
                found[cached] = (name, field.multiple)
        else:
            found[field.name] = (field.name, field.many_to_many or field.one_to_many)
    return found


class Comparison:
    """
    Walks two graphs side by side. Intended differences, and no others, are let through: a shared row may have more
    default relations cached, rows of a many-to-many carry no `_prefetch_related_val_*`, and the one-to-one of a shared
    row leads back to the chunk's object.

    Args:
        to_attrs: The attributes that lookups store rows under; whether such a list has an order of its own.
        by_chance: Relations that have such an attribute. Where Django passes by a second time, as it does below
            a queryset's own lookups, it reads each of them from the database, row by row, and caches it.
    """

    def __init__(
        self, to_attrs: Callable[[str], bool | None] = lambda name: None, by_chance: Iterable[str] = ()
    ) -> None:
        self._is_ordered = to_attrs
        self._by_chance = set(by_chance)
        self._seen: set[tuple[int, int]] = set()
        self._own: dict[int, Any] = {}  # Django's by the id of ours, of the processed objects
        self._pairs: list[tuple[Any, Any, str]] = []
        self._more: list[tuple[Any, str, Any, str]] = []

    def graphs(self, ours: Sequence[models.Model], theirs: Sequence[models.Model]) -> None:
        self._own = {id(our): their for our, their in zip(ours, theirs)}
        assert [(type(one), one.pk) for one in ours] == [(type(one), one.pk) for one in theirs]
        for i, (our, their) in enumerate(zip(ours, theirs)):
            where = f"[{i}]"
            more, less = (set(_fields_cache(one)) for one in (our, their))
            assert more - self._by_chance == less - self._by_chance, f"{where}: other relations cached"
            assert set(_many(our)) == set(_many(their)), f"{where}: other relations prefetched"
            # Django makes an empty cache of collections where there is no collection.
            assert not vars(our).keys() - vars(their).keys() - {*_OWN} - their.get_deferred_fields(), where
            self._later(our, their, where)
        walked = 0
        while walked < len(self._pairs):
            our, their, where = self._pairs[walked]
            self._row(our, their, where)
            self._relations(our, their, where)
            walked += 1
        # Reading may cache more, therefore when all is compared.
        for our, their, where in self._pairs:
            self._read(our, their, where)
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

    def _row(self, our: Any, their: Any, where: str) -> None:
        assert type(our) is type(their), where
        ours, theirs = self._columns(our), self._columns(their)
        # A deferred key is read for all objects at once, of which Django leaves out some.
        more = their.get_deferred_fields()
        more |= {name for name in ours.keys() - theirs.keys() if self._is_ordered(name) is not None}
        ours = {name: value for name, value in ours.items() if name not in more}
        assert ours == theirs, f"{where}: {ours} != {theirs}"
        our_types = {name: type(value) for name, value in ours.items()}
        assert our_types == {name: type(value) for name, value in theirs.items()}, where
        for name in {*vars(our._state), *vars(their._state)} - {"fields_cache", "peers"}:
            left, right = vars(our._state).get(name, _MISSING), vars(their._state).get(name, _MISSING)
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

    def _read(self, our: Any, their: Any, where: str) -> None:
        names = accessors(type(their))
        for cached in [*_fields_cache(their), *_many(their)]:
            if cached not in names or cached in self._by_chance:
                continue  # a relation of the parent's class
            name, is_many = names[cached]
            with captured_queries() as queries:
                expected = _value(their, name, is_many)
            if len(queries):
                continue  # Django does not find it again: nothing to expect
            with captured_queries() as queries:
                value = _value(our, name, is_many)
            assert len(queries) == 0, f"{where}.{name}: {queries.sql}"
            if is_many:
                assert isinstance(value, models.QuerySet), f"{where}.{name}"
                assert value is _many(our)[cached], f"{where}.{name}"
                assert len(value) == len(expected), f"{where}.{name}"
            else:
                assert _key(value) == _key(expected), f"{where}.{name}"


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


def relations(model: type[models.Model]) -> dict[str, type[models.Model] | None]:
    """Every attribute that Django can prefetch, and where it leads; None: only the row can tell."""
    found: dict[str, type[models.Model] | None] = {}
    for field in model._meta.get_fields():
        if isinstance(field, GenericRel):
            continue
        if isinstance(field, GenericForeignKey):
            found[field.name] = None
        elif field.auto_created and not field.concrete:
            name = field.get_accessor_name()
            if name is not None and hasattr(model, name):
                found[name] = field.related_model
        elif isinstance(field, RelatedField):
            found[field.name] = field.related_model
    return found


def outcome(call: Callable[..., Any], *arguments: Any) -> tuple[Exception | None, list[str]]:
    """The error, if any, and the statements."""
    error = None
    # A failed statement ends PostgreSQL's transaction, not only itself.
    with transaction.atomic():
        with captured_queries() as queries:
            try:
                call(*arguments)
            except Exception as raised:
                error = raised
        if error is not None:
            transaction.set_rollback(True)
    return error, queries.sql


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
