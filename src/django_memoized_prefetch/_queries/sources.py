"""`RowSource`: where rows are read from, be it a manager, a given queryset or a config."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from django.db.models import Model, QuerySet

from .._relation import Relation, unrelated_queryset
from .._stock import has_stock_querysets, plain_manager

try:
    from django.db.models import FETCH_ONE
except ImportError:  # before Django 6.1
    FETCH_ONE = None

if TYPE_CHECKING:
    from .._config import MemoizedPrefetchConfig


@dataclass(frozen=True, eq=False)
class RowSource:
    """
    Where rows of a model are read from.

    identity: Relations whose sources have equal identities share rows.
    model: The model of the rows.
    make: Returns a queryset that nobody else holds, given the first instance of a chunk as a hint to the router.
    custom: Whether the queryset itself decides how its rows are fetched, including from which database.
    fallback_to_base_manager: Whether the base manager is asked for keys without a row here.
    of_manager: Whether a custom manager makes the queryset, which can then be known only with an instance.
    varies: Whether that manager also overrides methods, so that it may return another queryset for every chunk.
    takes_mode: Whether rows inherit the fetch mode of the instance (Django 6.1).
    own_lookups: Whether Django does its prefetch_related lookups with every fetch. Otherwise the engine does them.
    seals: Whether rows are sealed if the instance is (django-seal).
    """

    identity: tuple[Any, ...]
    model: type[Model]
    make: Callable[[Model], QuerySet[Any]]
    custom: bool = False
    fallback_to_base_manager: bool = False
    of_manager: bool = False
    varies: bool = False
    takes_mode: bool = False
    own_lookups: bool = False
    seals: bool = False

    @property
    def is_given(self) -> bool:
        """Whether the queryset was given with the lookup, instead of made by a manager."""
        return self.reads_links and self.identity[0] not in ("related", "default")

    @property
    def reads_links(self) -> bool:
        """Whether a many-to-many shows the rows of this source in its order, not those of the default manager."""
        return self.custom and not self.fallback_to_base_manager

    def queryset(self, instance: Model) -> QuerySet[Any]:
        """The queryset to read rows from for an instance, without the lookups that the engine does."""
        queryset = self.inherited(self.make(instance), instance)
        if not self.own_lookups and queryset._prefetch_related_lookups:
            queryset = queryset._chain()
            queryset._prefetch_related_lookups = ()
        return queryset

    def inherited(self, queryset: QuerySet[Any], instance: Model) -> QuerySet[Any]:
        """The queryset, which must be nobody else's, with what its rows inherit from the instance."""
        if self.takes_mode and FETCH_ONE is not None:
            queryset._fetch_mode = instance._state.fetch_mode
        if self.seals and getattr(instance._state, "sealed", False) and hasattr(queryset, "seal"):
            queryset = queryset.seal()
        return queryset

    def variant(self, instance: Model) -> tuple[Any, bool]:
        """What rows inherit from the instance, so that others cannot share them: fetch mode (Django 6.1) and seal."""
        mode = instance._state.fetch_mode if self.takes_mode and fetches_otherwise(instance._state) else None
        return mode, self.seals and getattr(instance._state, "sealed", False)


def base_rows(model: type[Model], takes_mode: bool = True) -> RowSource:
    """The rows that a foreign key shows: those of the base manager."""

    def make(instance: Model) -> QuerySet[Any]:
        # The same calls as in this Django's descriptors: a manager may override all(), or look at its hints.
        mode = getattr(instance._state, "fetch_mode", None) if takes_mode else None
        if mode is None:
            return hinted(model._base_manager.db_manager(hints={}).all(), instance)
        queryset: QuerySet[Any] = model._base_manager.db_manager(hints={"instance": instance}).fetch_mode(mode)
        return queryset

    manager = model._base_manager
    own = not plain_manager(manager)
    varies = own and not has_stock_querysets(manager)
    return RowSource(("base", model), model, make, of_manager=own, varies=varies, takes_mode=takes_mode)


def default_rows(relation: Relation) -> RowSource:
    """The rows that a many-to-many shows: those of the default manager."""
    assert relation.target is not None
    manager = relation.target._default_manager
    if plain_manager(manager) and plain_manager(relation.target._base_manager):
        return base_rows(relation.target, takes_mode=False)  # the same rows as those of foreign keys
    shared = has_stock_querysets(manager)  # otherwise the manager may look at the relation and the instance
    return replace(related_rows(relation), identity=("default", relation.target if shared else relation))


def related_rows(relation: Relation) -> RowSource:
    """The rows that a relation to many shows: those of its related manager."""

    def make(instance: Model) -> QuerySet[Any]:
        manager = getattr(instance, relation.name)
        queryset = hinted(unrelated_queryset(manager), instance)
        return queryset.using(queryset._db or manager._db)

    assert relation.target is not None
    manager = relation.target._default_manager
    own = not plain_manager(manager)
    varies = own and not has_stock_querysets(manager)
    return RowSource(
        ("related", relation), relation.target, make, custom=True, of_manager=own, varies=varies, seals=True
    )


def queryset_rows(
    queryset: QuerySet[Any], own_lookups: bool = False, seals: bool = False, hints: bool = True
) -> RowSource:
    """
    The rows of a Prefetch object's queryset.

    Args:
        hints: Whether the router is told which instance they are read for.
    """

    def make(instance: Model) -> QuerySet[Any]:
        return hinted(queryset, instance) if hints else unshared(queryset)

    identity = ("queryset", id(queryset))
    own_lookups = own_lookups and bool(queryset._prefetch_related_lookups)
    return RowSource(identity, queryset.model, make, custom=True, own_lookups=own_lookups, seals=seals)


def content_type_rows(model: type[Model], content_type: Any) -> RowSource:
    """The rows that a generic foreign key leads to."""

    def make(instance: Model) -> QuerySet[Any]:
        queryset: QuerySet[Any] = content_type.get_all_objects_for_this_type()
        return queryset

    return replace(base_rows(model), make=make)


def config_rows(config: MemoizedPrefetchConfig, is_to_one: bool) -> RowSource:
    """
    The rows that a config asks for.

    Args:
        is_to_one: They are those that a key leads to. A relation to many has no rows that the base manager alone shows.
    """
    plain = not config.chooses_rows
    identity: tuple[Any, ...]
    varies = False
    if plain:
        manager = getattr(config.model, "objects", config.model._default_manager)
        if plain_manager(manager) and (is_to_one or plain_manager(config.model._base_manager)):
            return base_rows(config.model, takes_mode=is_to_one)
        identity, varies = ("objects", config.model), not has_stock_querysets(manager)
    elif config.overrides_queryset:
        identity = ("config", id(config))
    else:
        identity = ("queryset", id(config.queryset))
    return RowSource(
        identity,
        config.model,
        lambda instance: hinted(config.get_queryset(), instance),
        custom=True,
        fallback_to_base_manager=plain,
        of_manager=plain,
        varies=varies,
        own_lookups=config.overrides_queryset,
    )


def unshared(queryset: QuerySet[Any]) -> QuerySet[Any]:
    """
    An unevaluated copy to which hints can be added. Django's clones share one dict of hints.

    It calls no method of the queryset's class, since Django would not clone here and a class may override _clone().
    """
    query = queryset.query.chain()
    copy: QuerySet[Any] = object.__new__(type(queryset))
    copy.__dict__.update(queryset.__dict__)
    copy.__dict__.update(_query=query, _hints=dict(queryset._hints), _result_cache=None, _prefetch_done=False)
    return copy


def hinted(queryset: QuerySet[Any], instance: Model) -> QuerySet[Any]:
    """A copy that tells the router which instance its rows are read for."""
    queryset = unshared(queryset)
    queryset._add_hints(instance=instance)
    return queryset


def fetches_otherwise(state: Any) -> bool:
    """Whether an instance has a fetch mode (Django 6.1) other than loading values one by one."""
    return FETCH_ONE is not None and state.fetch_mode is not FETCH_ONE
