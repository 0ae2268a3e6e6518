"""How one lookup is attached to the instances of one model class: relation, source of rows, memo, engine object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from django import VERSION
from django.core.exceptions import ObjectDoesNotExist
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.models import Model, Prefetch, QuerySet, prefetch_related_objects, query
from django.db.models.manager import BaseManager, ManagerDescriptor
from django.db.models.query import get_prefetcher, normalize_prefetch_lookups
from django.utils.functional import cached_property

from ._config import MemoizedPrefetchConfig
from ._engine import Memo, ToMany, ToOne, follow_attribute, follow_to_many, follow_to_one, not_attached
from ._keys import equals_as_python
from ._lookups import Lookup
from ._queries import (
    RowSource,
    aggregates,
    base_rows,
    config_rows,
    default_rows,
    queryset_rows,
    related_rows,
    selects,
    unshared,
    why_not_referring,
    why_not_remembered,
)
from ._querysets import can_be_filled, filled_class
from ._relations import (
    ATTRIBUTE,
    COLLECTIONS,
    DJANGO,
    GENERIC_MANY,
    GENERIC_ONE,
    LOOSE,
    READ_ANEW,
    REVERSE_MANY,
    REVERSE_ONE,
    SINGLE,
    TO_MANY,
    TO_ONE,
    Relation,
    is_data_descriptor,
    link_fields,
    pk_fields,
    relation_names,
    relation_of,
    unknown_attribute,
    unrelated_queryset,
)
from ._stock import PREFETCHERS, has_stock_filling, is_own, static_attribute

# Where `not_attached` looks.
IN_FIELDS_CACHE, IN_PREFETCHED, AS_ATTRIBUTE, IN_DICT = range(4)


@dataclass(frozen=True)
class Rows:
    """
    A table of remembered rows.

    source: Where they are read from.
    key_name: The attribute that they are found by.
    custom_below: What is attached to them that other lookups must not see.
    """

    source: RowSource
    key_name: str
    custom_below: tuple[Any, ...] = ()

    @property
    def identity(self) -> tuple[Any, ...]:
        """Rows with equal ones are shared."""
        return (self.source.identity, self.key_name, self.custom_below)

    @property
    def label(self) -> str:
        """What the memo is called in a report."""
        name = self.source.model.__name__
        source = self.source.identity[0]
        return name if source == "base" else f"{name} ({source})"

    def new_memo(self, size: int | None) -> Memo:
        model = self.source.model
        pk_name = pk_fields(model)[0].attname
        in_dict = is_data_descriptor(model, self.key_name)
        return Memo(size, self.key_name, in_dict, None if pk_name == self.key_name else pk_name)


class Attachment:
    """
    One lookup for one model class of its objects.

    kind: As in Relation; DJANGO or READ_ANEW also when the rows of a to-one or to-many must not be remembered.
    reason: Why it is one of these.
    again: Its rows depend on what else is asked for: below a remembered row they are read anew for every chunk.
    source: Where rows are read from; None when Django or the objects decide.
    rows: The table that they are remembered in, if they are.
    asks_relation: It has a `to_attr`, and is done where the relation itself is cached (before Django 5.0).
    """

    absent = False  # it leads nowhere: no row is ever asked for
    is_open = False  # whether it is a manager tells the first object, when its turn comes

    def __init__(self, lookup: Lookup, relation: Relation) -> None:
        self.lookup, self.relation = lookup, relation
        self.kind, self.reason = relation.kind, relation.reason
        self.again = False
        self.source: RowSource | None = None
        self.rows: Rows | None = None
        self.link_identity: tuple[Any, ...] = (self,)
        self.link_name = ""
        self.asks_relation: bool | None = None
        self.engine: Any = None
        self._queryset_class: Any = None
        self._prepared = False
        self._judged = False
        if lookup.to_attr_given and lookup.to_attr is None and self.kind != LOOSE:
            self._leave_to_django("to_attr names the relation itself")
        elif self.kind in (TO_ONE, LOOSE):
            self._set_up_to_one(lookup.config)
        elif self.kind == TO_MANY:
            self._set_up_to_many(lookup.config)
        elif self.kind in COLLECTIONS:
            self._set_up_collection(lookup.config)
        elif self.kind == GENERIC_ONE:
            self._set_up_generic(lookup)
        elif self.kind == DJANGO:
            self._check_querysets()
            self._note_way_back()
        if self.kind in (DJANGO, GENERIC_ONE) and lookup.config is not None and relation.target is not None:
            self._check_target(lookup.config.model)

    @property
    def to_one(self) -> bool:
        return self.kind in (TO_ONE, LOOSE)

    @property
    def remembers(self) -> bool:
        """Whether what it attaches is in a memo of its own."""
        return self.rows is not None

    @property
    def joined_by(self) -> Any:
        """Equal ones, of several classes: objects of these are attached to together, with one query."""
        relation = self.relation
        if relation.kind in (TO_MANY, REVERSE_ONE, REVERSE_MANY):
            return id(relation.descriptor)  # which the classes inherit
        if self.kind == DJANGO:
            # Django takes all objects for what the first is.
            return relation.name if relation.descriptor is None else id(relation.descriptor)
        return self

    @property
    def row_source(self) -> RowSource:
        assert self.source is not None, f"{self.relation.label} has no source of rows"
        return self.source

    @property
    def rows_identity(self) -> Any:
        """Attachments with equal ones share a memo."""
        return self if self.rows is None else self.rows.identity

    @property
    def row_model(self) -> type[Model] | None:
        """The class of what it attaches, where that is known."""
        return self.source.model if self.source is not None else self.relation.target

    @property
    def table(self) -> str | None:
        """What the memo is called in a report."""
        return None if self.rows is None else self.rows.label

    @property
    def link_label(self) -> str:
        """What the links are called in a report."""
        return f"{self.relation.label} links"

    # --- setting up

    def _set_up_to_one(self, config: MemoizedPrefetchConfig | None) -> None:
        relation = self.relation
        if config is not None and config.is_many_to_many:
            msg = f"{self.lookup.where}: {relation.label} is no many-to-many; leave is_many_to_many out."
            raise ValueError(msg)
        key_name = ""
        if relation.target_field is not None:
            key_name = relation.target_field.attname
        elif config is not None:
            key_name = config.model._meta.pk.attname
        self.lookup.reads_rows = relation.reverse_name is not None  # a one-to-one
        for below in self.lookup.below.values():
            below.leads_back |= below.name == relation.reverse_name
        self._read_from(lambda: base_rows(self._target))
        if self.kind != DJANGO:
            self.rows = Rows(self.row_source, key_name, self.lookup.custom_below)

    def _set_up_to_many(self, config: MemoizedPrefetchConfig | None) -> None:
        through, source_field, target_field = link_fields(self.relation)
        names = (source_field.attname, target_field.attname)
        if config is not None and config.is_many_to_many:
            self._check_links(config, through, source_field, target_field)
            names = (config.source_field or names[0], config.target_field or names[1])
        self.link_name = f"{through.__name__}_{names[0]}_{names[1]}"
        self._read_from(lambda: default_rows(self.relation))
        if self.kind == TO_MANY:
            assert self.relation.target_field is not None
            key_name = self.relation.target_field.attname
            self.rows = Rows(self.row_source, key_name, self.lookup.custom_below)
            # The links are read by the manager's queryset, or the user's: they belong together with the source.
            custom = self.row_source.reads_links and self.row_source.identity
            self.link_identity = (through, names, self.relation.model, custom)

    def _set_up_collection(self, config: MemoizedPrefetchConfig | None) -> None:
        if config is not None and config.is_many_to_many:
            msg = f"{self.lookup.where}: {self.relation.label} is no many-to-many; leave is_many_to_many out."
            raise ValueError(msg)
        if self.kind == REVERSE_ONE:
            self._read_from(lambda: base_rows(self._target))
        else:
            self._read_from(lambda: related_rows(self.relation))
        self._note_way_back()

    def _note_way_back(self) -> None:
        """Of a reverse relation: the field by which its rows refer to the objects leads back to these."""
        if self.relation.field is not None and self.relation.kind != GENERIC_MANY:
            self.lookup.reads_rows = True
            for below in self.lookup.below.values():
                below.leads_back |= below.name == self.relation.field.name

    def _set_up_generic(self, lookup: Lookup) -> None:
        if lookup.config is not None and (lookup.config.queryset is not None or lookup.config.overrides_queryset):
            self._leave_to_django("a config's queryset, of one model, for a relation to several")
        if lookup.querysets is not None and VERSION < (5, 0):
            self._leave_to_django("before Django 5.0 it takes no queryset")
        self._check_querysets()

    def _check_querysets(self) -> None:
        config = self.lookup.config
        given = self.lookup.querysets or ()
        for queryset in given if config is None or config.queryset is None else [config.queryset]:
            reason = why_not_remembered(queryset, self.relation)
            if reason is None and self.kind == DJANGO and aggregates(queryset):
                reason = "the queryset aggregates"  # over what Django joins to ask for the objects
            if reason is not None or queryset.query.is_sliced:
                self._leave_to_django(reason or "the queryset is sliced")

    @property
    def _target(self) -> type[Model]:
        assert self.relation.target is not None
        return self.relation.target

    def _read_from(self, default: Any) -> None:
        """Finds the source, and whether it allows the relation to be attached by the engine."""
        lookup, config = self.lookup, self.lookup.config
        seals = self.kind not in (TO_ONE, LOOSE) or self.relation.reverse_name is not None
        if config is not None and not (config.queryset is None and self.kind in COLLECTIONS):
            source = config_rows(config)
        elif lookup.querysets is None:
            source = default()
        else:
            source = queryset_rows(lookup.querysets[0], seals=seals)
        if config is not None and self.relation.target is not None:
            self._check_target(config.model)
        self.source = source
        if config is not None and source.custom and not source.of_manager:
            self._judge(config.get_queryset(), whole=config.prefetch_all)
        elif lookup.querysets is not None:
            self._judge(lookup.querysets[0])
            if not issubclass(lookup.querysets[0].model, self._target._meta.concrete_model):
                self._leave_to_django(f"the queryset is of {lookup.querysets[0].model.__name__}")

    def _judge(self, queryset: QuerySet[Any], whole: bool = False) -> None:
        """
        Whether rows of this queryset can be asked for by keys, and remembered.

        Args:
            whole: It is read whole, before: a slice is then a limit.
        """
        for below in self.lookup.below.values():
            below.comes_along |= selects(queryset, below.name)
        reason = why_not_remembered(queryset, self.relation)
        if queryset.query.is_sliced and not whole:
            reason = "the queryset is sliced"
        if self.kind in COLLECTIONS:
            self.again, self.reason = reason is not None, reason
            sliced = "the queryset is sliced" if queryset.query.is_sliced and self.kind == REVERSE_ONE else None
            reason = sliced or why_not_referring(queryset)
        if reason is not None and self.kind == TO_MANY and why_not_referring(queryset) is None:
            self._read_anew(reason)
        elif reason is not None:
            self._leave_to_django(reason)

    @property
    def asks_manager(self) -> bool:
        """Whether a manager of the project's own has yet to be asked for its queryset, which takes an instance."""
        source = self.source
        return source is not None and source.of_manager and self.kind != DJANGO and (source.varies or not self._judged)

    def judge_manager(self, instance: Model) -> QuerySet[Any]:
        """Looks at what the manager's own queryset holds, as at a queryset that the user gives; returns it."""
        queryset = self.row_source.make(instance)
        kind = self.kind
        self._judge(queryset, whole=self.lookup.config is not None and self.lookup.config.prefetch_all)
        if self.kind != kind and self.reason is not None:
            self.reason = f"{queryset.model.__name__}'s manager: {self.reason}"
        if not self._judged and self.kind != DJANGO:
            for inner in queryset._prefetch_related_lookups:  # they continue this lookup
                self.lookup.add(inner, inner=True, automatic=True)
        self._judged = True
        return queryset

    def _read_anew(self, reason: str) -> None:
        self.kind, self.reason, self.again, self.rows = READ_ANEW, reason, True, None

    def _leave_to_django(self, reason: str) -> None:
        self.kind, self.reason, self.again, self.rows = DJANGO, reason, True, None

    def leave_varying_to_django(self) -> None:
        self._leave_to_django(
            f"{self.row_source.model.__name__}'s manager gives another queryset than for a chunk before; "
            "scope= tells tenants apart"
        )

    def _check_target(self, model: type[Model]) -> None:
        config = self.lookup.config
        if config is not None and config.queryset is not None:
            model = config.queryset.model
        if not issubclass(model, self._target._meta.concrete_model):
            msg = f"{self.lookup.where}: {self.relation.label} leads to {self._target.__name__}, not {model.__name__}."
            raise ValueError(msg)

    def _check_links(self, config: MemoizedPrefetchConfig, through: Any, source_field: Any, target_field: Any) -> None:
        wanted = (
            ("through_model", config.through_model, (through,)),
            ("source_field", config.source_field, (source_field.attname, source_field.name)),
            ("target_field", config.target_field, (target_field.attname, target_field.name)),
        )
        for name, given, right in wanted:
            if given not in right:
                expected = getattr(right[0], "__name__", repr(right[0]))
                got = getattr(given, "__name__", repr(given))
                msg = f"{self.lookup.where}: {self.relation.label} needs {name}={expected}, got {got}."
                raise ValueError(msg)

    # --- at work

    def alias(self, instance: Model) -> str:
        """The database that rows for this instance are read from, as Django chooses it."""
        alias: str
        if self.source is not None and (self.source.custom or self.source.of_manager):
            alias = self.source.make(instance).db
        else:
            alias = router.db_for_read(self.row_model or type(instance), instance=instance)
        return alias

    def prepare(self, instance: Model) -> None:
        """Makes what only an instance tells: a manager's class of querysets, and with it the engine's relation."""
        if self._prepared:
            return
        relation = self.relation
        if self.kind in (TO_MANY, *COLLECTIONS) and relation.kind != REVERSE_ONE and self.lookup.to_attr is None:
            stock = has_stock_filling(relation.descriptor.related_manager_cls)
            # A slice, which cannot be filtered, is refused where it is attached: after its rows are read, as by Django.
            sliced = self.row_source.queryset(instance).query.is_sliced
            if stock and not sliced and can_be_filled(stock_class := type(self._stock_queryset(instance))):
                self._queryset_class = filled_class(
                    stock_class, relation.model, relation.key_name, self._stock_queryset
                )
        if self.kind in (TO_ONE, LOOSE):
            self.engine = self.to_one_engine(instance)
        elif self.kind in (TO_MANY, *COLLECTIONS):
            self.engine = self.to_many_engine(instance)
        self._prepared = True

    def look_where(self, instance: Model) -> None:
        """Finds out where Django looks for `to_attr`."""
        if self.asks_relation is None:
            asks = self.relation.kind in SINGLE and self.lookup.to_attr is not None
            self.asks_relation = asks and self.fetched_where(instance)[1] == IN_FIELDS_CACHE

    def fetched_where(self, instance: Model) -> tuple[str, int]:
        """Where Django looks whether the relation was attached before: a name, and what it is the name of."""
        name, to_attr = self.relation.name, self.lookup.to_attr
        single = self.relation.kind in SINGLE
        if to_attr is not None:
            descriptor = self.relation.descriptor
            asks = single and get_prefetcher(instance, name, to_attr)[3] == descriptor.is_cached  # Django 4.2
            # The lookups of the rows' own queryset are done before the rows get the object that they refer to.
            if asks and not (self.lookup.leads_back and self.lookup.inner):
                return self.relation.cache_name, IN_FIELDS_CACHE
            on_class = static_attribute(type(instance), to_attr)
            return to_attr, IN_DICT if isinstance(on_class, cached_property) else AS_ATTRIBUTE
        if single:
            return self.relation.cache_name, IN_FIELDS_CACHE
        return (name, AS_ATTRIBUTE) if self.relation.kind == LOOSE else (name, IN_PREFETCHED)

    @property
    def attached_as(self) -> Iterator[tuple[int, str]]:
        """Where what it attaches is found again, and under which name."""
        relation, to_attr = self.relation, self.lookup.to_attr
        if to_attr is not None:
            yield AS_ATTRIBUTE, to_attr
        elif relation.kind == LOOSE:
            yield AS_ATTRIBUTE, relation.name
        elif relation.kind in (TO_MANY, REVERSE_MANY, GENERIC_MANY):
            yield IN_PREFETCHED, relation.cache_name
        elif relation.kind != ATTRIBUTE:
            yield IN_FIELDS_CACHE, relation.cache_name or relation.name
            if relation.kind == DJANGO:
                yield IN_PREFETCHED, relation.cache_name or relation.name

    def not_attached(self, objects: Sequence[Any]) -> Sequence[Any]:
        """The objects that Django would fetch the relation for; the sequence itself when all of them."""
        if self.relation.kind in (LOOSE, ATTRIBUTE) and self.kind != DJANGO:
            return objects
        if self.relation.kind in (DJANGO, ATTRIBUTE):
            is_fetched = get_prefetcher(objects[0], self.relation.name, self.lookup.attribute)[3]
            if not callable(is_fetched):  # there is no prefetcher
                return objects
            return [one for one in objects if not is_fetched(one)]
        return not_attached(objects, *self.fetched_where(objects[0]))

    def check_to_attr(self) -> None:
        """Raises Django's error when `to_attr` is a field's name."""
        if not self.lookup.to_attr_given:
            return
        model, to_attr = self.relation.model, self.lookup.attribute
        fields = model._meta.get_fields(include_hidden=True)
        if all(to_attr not in (field.name, getattr(field, "attname", None)) for field in fields):
            return
        msg = f"to_attr={to_attr} conflicts with a field on the {model.__name__} model."
        raise ValueError(msg)

    def to_one_engine(self, instance: Model, translated: dict[Any, Any] | None = None) -> ToOne:
        relation = self.relation
        to_attr, where = self._own_attribute(instance)
        alias = instance._state.db or DEFAULT_DB_ALIAS
        return ToOne(
            relation.key_name,
            relation.cache_name,
            relation.reverse_name,
            relation.kind == LOOSE,
            self.lookup.rows,
            to_attr,
            where,
            translated,
            relation.kind != TO_ONE or equals_as_python(relation.target_field, connections[alias]),
        )

    def to_many_engine(self, instance: Model, translated: dict[Any, Any] | None = None) -> ToMany:
        relation = self.relation
        to_attr, where = self._own_attribute(instance)
        refers = self.kind in COLLECTIONS
        return ToMany(
            relation.key_name,
            is_data_descriptor(relation.model, relation.key_name),
            relation.name,
            relation.cache_name,
            self._queryset_class,
            self._fill,
            self._unsaved,
            self.lookup.rows,
            self.lookup.links,
            to_attr,
            where,
            self.join_name if refers else None,
            translated,
            self.parent_name if refers else None,
            pk_fields(self.row_source.model)[0].attname if refers else None,
            relation.kind == REVERSE_ONE,
        )

    @property
    def parent_name(self) -> str | None:
        """Under which name the rows get the object that they refer to; none when their queryset's lookups attach it."""
        name = self.relation.reverse_name or None
        below = None if name is None else self.lookup.below.get(self.relation.field.name)
        return None if self.kind == REVERSE_MANY and below is not None and below.inner else name

    def _own_attribute(self, instance: Model) -> tuple[str | None, int]:
        to_attr = self.lookup.to_attr
        return to_attr, AS_ATTRIBUTE if to_attr is None else self.fetched_where(instance)[1]

    @property
    def join_name(self) -> str:
        """The attribute of the rows that refers to the object."""
        if self.kind == READ_ANEW:
            return f"_prefetch_related_val_{link_fields(self.relation)[1].attname}"
        return self.relation.join_name

    @property
    def translates(self) -> bool:
        """Whether the rows hold the key in another form than the object does."""
        if self.kind == READ_ANEW:
            return True
        if self.relation.kind != GENERIC_MANY:
            return False
        field = self._target._meta.get_field(self.relation.field.object_id_field_name)
        return type(field).to_python is not type(self.relation.model._meta.pk).to_python

    def _stock_queryset(self, instance: Any) -> QuerySet[Any]:
        """What the manager of this instance would give, were nothing prefetched."""
        manager = getattr(instance, self.relation.name)
        if self.row_source.is_given:
            start = self.row_source.make(instance)
            start._prefetch_related_lookups = ()
        else:
            start = unrelated_queryset(manager)
        queryset: QuerySet[Any] = manager._apply_rel_filters(start)
        return queryset

    def _fill(self, instance: Any, rows: list[Any]) -> QuerySet[Any]:
        """A filled queryset from the manager itself, for managers that are not Django's own."""
        queryset: QuerySet[Any]
        if self.row_source.is_given:
            queryset = self._stock_queryset(instance)
        else:
            queryset = getattr(instance, self.relation.name).get_queryset()
        queryset._result_cache = rows
        queryset._prefetch_done = True
        return queryset

    def _unsaved(self, instance: Any) -> None:
        """Django's own answer to an object without a key: a ValueError, as a rule."""
        if self.relation.kind == TO_MANY:
            getattr(instance, self.relation.name)
        if self.kind != TO_MANY:
            prefetch_related_objects([instance], self.django_lookup())

    def django_lookup(self) -> str | Prefetch[Any]:
        """The lookup of this level alone, for Django."""
        lookup, config = self.lookup, self.lookup.config
        name = self.relation.name
        if config is not None:
            if config.queryset is None and not config.overrides_queryset:
                return name
            return Prefetch(name, queryset=unshared(config.get_queryset()))
        if lookup.querysets is None:
            return Prefetch(name, to_attr=lookup.attribute) if lookup.to_attr_given else name
        to_attr = lookup.attribute if lookup.to_attr_given else None
        if lookup.generic:
            from django.contrib.contenttypes.prefetch import GenericPrefetch

            return GenericPrefetch(name, [unshared(queryset) for queryset in lookup.querysets], to_attr=to_attr)
        queryset = unshared(lookup.querysets[0])
        if self.relation.kind != DJANGO:  # whose own way may run the queryset's lookups before it attaches
            queryset._prefetch_related_lookups = ()
        return Prefetch(name, queryset=queryset, to_attr=to_attr)

    def detach(self, objects: Sequence[Any]) -> None:
        """Takes what Django attached to remembered rows for an earlier chunk off again."""
        name = self.lookup.attribute
        if self.attached_by_parent:
            return
        for one in objects:
            if self.lookup.to_attr is not None:
                one.__dict__.pop(name, None)
            elif self.relation.cache_name or self.relation.kind == DJANGO:
                cache = one.__dict__.get("_prefetched_objects_cache")
                if cache is not None:
                    cache.pop(self.relation.cache_name or name, None)
                    cache.pop(name, None)
                if self.relation.kind in (*SINGLE, DJANGO):
                    one._state.fields_cache.pop(self.relation.cache_name or name, None)

    @property
    def attached_by_parent(self) -> bool:
        """Whether the rows have what this leads to from the lookup that attached them."""
        lookup = self.lookup
        given = lookup.comes_along or (lookup.leads_back and not lookup.inner)
        return given and (lookup.to_attr is None or bool(self.asks_relation))

    def close(self, instance: Model) -> None:
        """Finds out whether an attribute gives a manager that prefetches: as Django, when the lookup's turn comes."""
        prefetcher = query.get_prefetcher(instance, self.relation.name, self.lookup.attribute)[0]
        if prefetcher is not None:
            self._leave_to_django(f"a {type(prefetcher).__name__}, which prefetches by itself")
        elif self.lookup.ends:
            raise no_relation(self)
        self.is_open = False

    def prefetch_by_django(self, objects: list[Any]) -> list[Any]:
        """Has Django attach this level, and what its rows' queryset goes on with; returns the rows that it read."""
        [lookup] = normalize_prefetch_lookups([self.django_lookup()])
        prefetcher = query.get_prefetcher(objects[0], self.relation.name, self.lookup.attribute)[0]
        if prefetcher is None:
            query.prefetch_related_objects(objects, lookup)  # Django's own error
            return []
        rows, further = query.prefetch_one_level(objects, prefetcher, lookup, 0)
        if further:
            query.prefetch_related_objects(rows, *further)
        return rows  # type: ignore[no-any-return]

    def follow(self, objects: Sequence[Any]) -> list[Any]:
        """The distinct objects that are attached to these."""
        if not self.lookup.below:
            return []
        kind = self.relation.kind
        if self.lookup.to_attr_given or (kind in (LOOSE, ATTRIBUTE) and self.kind != DJANGO):
            return follow_attribute(objects, self.lookup.attribute, ObjectDoesNotExist)
        if kind in (DJANGO, ATTRIBUTE):
            return self._follow_by_django(objects)
        if kind in SINGLE:
            return follow_to_one(objects, self.relation.cache_name)
        return follow_to_many(objects, self.relation.cache_name)

    def read_all(self, objects: Sequence[Any]) -> None:
        """As Django reads an attribute of all objects, where it takes that for attached to all."""
        if not self.lookup.to_attr_given:
            follow_attribute(objects, self.relation.name, ObjectDoesNotExist)

    def _follow_by_django(self, objects: Sequence[Any]) -> list[Any]:
        """What was attached before: Django does not go on below managers, but what is remembered does."""
        found: dict[int, Any] = {}
        for value in follow_attribute(objects, self.relation.name, ObjectDoesNotExist):
            members = list(value.all()) if isinstance(value, BaseManager) else [value]
            found.update((id(member), member) for member in members)
        return list(found.values())


def attachment_of(lookup: Lookup, model: type[Model], instance: Model | None) -> Attachment:
    """Raises with what was expected when the lookup does not fit the model."""
    relation = relation_of(model, lookup.name)
    if relation is not None and relation.kind == LOOSE and lookup.config is None:
        relation = Relation(model, lookup.name, ATTRIBUTE) if hasattr(model, lookup.name) else None
    if relation is None and instance is not None and hasattr(instance, lookup.name):
        relation = Relation(model, lookup.name, ATTRIBUTE)
    if relation is None or isinstance(static_attribute(model, lookup.name), ManagerDescriptor):
        raise unknown_attribute(model, lookup.name, lookup.where, lookup.path)
    if relation.kind == ATTRIBUTE and prefetches_on_class(model, lookup.name):
        relation = Relation(model, lookup.name, DJANGO, "a manager of its own")
    if relation.kind == ATTRIBUTE and lookup.config is not None and not lookup.below:
        raise unknown_attribute(model, lookup.name, lookup.where, lookup.path)
    attachment = Attachment(lookup, relation)
    attachment.is_open = relation.kind == ATTRIBUTE and may_give_manager(model, lookup.name)
    if relation.kind == ATTRIBUTE and lookup.ends and not attachment.is_open:
        raise no_relation(attachment)
    return attachment


def prefetches_on_class(model: type[Model], name: str) -> bool:
    """Whether the class gives something for the attribute that prefetches, as Django asks first."""
    attribute = static_attribute(model, name)
    if isinstance(attribute, (property, cached_property)) or not hasattr(type(attribute), "__get__"):
        return False
    on_class = getattr(model, name, None)
    return any(hasattr(on_class, prefetcher) for prefetcher in PREFETCHERS)


def may_give_manager(model: type[Model], name: str) -> bool:
    """Whether only reading the attribute of an object tells if it is a manager that prefetches."""
    attribute = static_attribute(model, name)
    is_column = any(field.attname == name for field in model._meta.concrete_fields)
    is_plain = is_own(attribute) or isinstance(attribute, FunctionType) or not hasattr(type(attribute), "__get__")
    return not (is_column or is_plain) or attribute is None


def no_relation(attachment: Attachment) -> ValueError:
    lookup, relation = attachment.lookup, attachment.relation
    names = ", ".join(name for name in relation_names(relation.model) if name != relation.name) or "none"
    msg = (
        f"'{lookup.through}' does not resolve to an item that supports prefetching - this is an invalid parameter "
        f"to prefetch_related(). {relation.label} is no relation; relations: {names}."
    )
    return ValueError(msg)
