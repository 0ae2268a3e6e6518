"""Loads deferred columns of many instances at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from django.db import router
from django.db.models import Model

from .._relation import pk_fields
from .._stock import plain_manager, why_not_own
from .keys import batches
from .sources import fetches_otherwise


def loads_its_way(instance: Model) -> bool:
    """Whether the class may load more than the column, or in another way than Django's."""
    cls: Any = type(instance)
    return why_not_own(cls, ("refresh_from_db",)) is not None or not plain_manager(cls._base_manager)


def load_missing(instances: Sequence[Any], attname: str, count: Callable[[str], Any]) -> None:
    """Loads a column for those instances that have it deferred."""
    if deferred := [one for one in instances if attname not in one.__dict__]:
        load_deferred(deferred, attname, count)


def _is_in_child(instance: Model, attname: str) -> bool:
    """Whether the column is a parent's primary key, which Django takes from the child's link to that parent."""
    field: Any = instance._meta.get_field(attname)
    link = instance._meta.get_ancestor_link(field.model)
    return bool(link is not None and field.primary_key and field != link)


def _reads_from(instance: Model) -> str | None:
    """The database from which Django loads the instance again. Without routers it is the instance's own."""
    alias: str | None = instance._state.db
    if router.routers:
        alias = router.db_for_read(type(instance), instance=instance)
    return alias


def load_deferred(instances: Sequence[Any], attname: str, count: Callable[[str], Any]) -> None:
    """Loads a deferred column of many instances, with one query per class and database instead of one per instance."""
    groups: dict[tuple[type[Model], str | None], list[Any]] = defaultdict(list)
    for instance in instances:
        state = instance._state
        is_own_way = getattr(state, "sealed", False) or fetches_otherwise(state) or loads_its_way(instance)
        if state.db is None or is_own_way or _is_in_child(instance, attname):
            getattr(instance, attname)  # Django raises, warns, loads other values too, or needs no query
        elif attname not in instance.__dict__:
            groups[type(instance), _reads_from(instance)].append(instance)
    for (model, db), members in groups.items():
        queryset = model._base_manager.db_manager(db, hints={"instance": members[0]}).all()
        values: dict[Any, Any] = {}
        with count(queryset.db):
            for batch in batches([member.pk for member in members], queryset):
                values.update(queryset.filter(pk__in=batch).values_list("pk", attname))
        keys: Any = pk_fields(model)
        for member in members:
            if member.pk in values:
                setattr(member, attname, values[member.pk])
                member._state.db = db
                for field in keys:  # Django drops the related row with every reload
                    if field.is_relation and field.is_cached(member):
                        field.delete_cached_value(member)
            else:
                getattr(member, attname)  # the row is gone: Django raises
