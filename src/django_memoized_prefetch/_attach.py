"""How one lookup is attached to the instances of one model class: relation, source of rows, memo, engine object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.db import router
from django.db.models import Model, Prefetch, QuerySet
from django.db.models.manager import BaseManager

from ._config import MemoizedPrefetchConfig
from ._engine import Memo, ToMany, ToOne, follow_attribute, follow_to_many, follow_to_one
from ._lookups import Lookup
from ._queries import (
    RowSource,
    base_rows,
    config_rows,
    default_rows,
    unshared,
    why_not_linked,
    why_not_remembered,
)
from ._querysets import can_be_filled, filled_class
from ._relations import (
    ATTRIBUTE,
    DJANGO,
    LOOSE,
    TO_MANY,
    TO_ONE,
    Relation,
    is_data_descriptor,
    link_fields,
    relation_of,
    stock_related_manager,
    unknown_attribute,
    unrelated_queryset,
)


class Attachment:
    """
    One lookup for one model class of its objects.

    kind: As in Relation; DJANGO also when the rows of a to-one or to-many must not be remembered.
    reason: Why it is DJANGO.
    memo_identity: Attachments with equal ones share a memo.
    key_name: The attribute of the rows that they are remembered by.
    """

    def __init__(self, lookup: Lookup, relation: Relation) -> None:
        self.lookup, self.relation = lookup, relation
        self.kind, self.reason = relation.kind, relation.reason
        self.source: RowSource | None = None
        self.key_name = ""
        self.memo_identity: tuple[Any, ...] = (self,)
        self.link_identity: tuple[Any, ...] = (self,)
        self.link_name = ""
        self.engine: Any = None
        config = lookup.config
        if self.kind in (TO_ONE, LOOSE):
            self._set_up_to_one(config)
        elif self.kind == TO_MANY:
            self._set_up_to_many(config)
        elif self.kind == DJANGO and config is not None and relation.target is not None:
            self._check_target(config.model)

    @property
    def to_one(self) -> bool:
        return self.kind in (TO_ONE, LOOSE)

    @property
    def remembers(self) -> bool:
        """Whether what it attaches stays in a memo."""
        return self.kind in (TO_ONE, LOOSE, TO_MANY)

    @property
    def row_source(self) -> RowSource:
        assert self.source is not None, f"{self.relation.label} is not remembered"
        return self.source

    @property
    def row_model(self) -> type[Model] | None:
        """The class of what it attaches, where that is known."""
        return self.source.model if self.source is not None else self.relation.target

    @property
    def table(self) -> str | None:
        """What the memo is called in a report."""
        if self.source is None:
            return None
        name = self.source.model.__name__
        return name if self.source.identity[0] == "base" else f"{name} ({self.source.identity[0]})"

    def _set_up_to_one(self, config: MemoizedPrefetchConfig | None) -> None:
        relation = self.relation
        if self.kind == LOOSE and config is None:
            msg = (
                f"{self.lookup.where}: {relation.label} is no relation; a MemoizedPrefetchConfig has to name its model."
            )
            raise ValueError(msg)
        if config is not None and config.is_many_to_many:
            msg = f"{self.lookup.where}: {relation.label} is no many-to-many; leave is_many_to_many out."
            raise ValueError(msg)
        if relation.target_field is not None:
            self.key_name = relation.target_field.attname
        elif config is not None:
            self.key_name = config.model._meta.pk.attname
        self._read_from(config_rows(config) if config is not None else base_rows(self._target))
        if self.remembers:
            self.engine = ToOne(
                relation.key_name, relation.cache_name, relation.reverse_name, relation.kind == LOOSE, self.lookup.rows
            )

    def _set_up_to_many(self, config: MemoizedPrefetchConfig | None) -> None:
        through, source_field, target_field = link_fields(self.relation)
        names = (source_field.attname, target_field.attname)
        if config is not None and config.is_many_to_many:
            self._check_links(config, through, source_field, target_field)
            names = (config.source_field or names[0], config.target_field or names[1])
        self.link_name = f"{through.__name__}_{names[0]}_{names[1]}"
        self.key_name = self._target._meta.pk.attname if config is None else config.model._meta.pk.attname
        self._read_from(config_rows(config) if config is not None else default_rows(self._target))
        if self.remembers and (reason := why_not_linked(self._target._default_manager.all(), self.relation)):
            self._leave_to_django(f"{self._target.__name__}'s default manager: {reason}")
        # The links are read by the manager's queryset, or the user's: they belong together with the source.
        custom = self.row_source.reads_links and self.row_source.identity
        self.link_identity = (through, names, self.relation.model, custom)

    @property
    def _target(self) -> type[Model]:
        assert self.relation.target is not None
        return self.relation.target

    def _read_from(self, source: RowSource) -> None:
        if self.relation.target is not None:
            self._check_target(source.model)
        self.source = source
        self.memo_identity = (source.identity, self.key_name)
        config = self.lookup.config
        if source.custom and config is not None:
            queryset = config.get_queryset()
            whole = queryset.query.is_sliced and config.prefetch_all
            reason = why_not_remembered(queryset, self.relation)
            if reason is None and queryset.query.is_sliced and not whole:
                reason = "the queryset is sliced"
            if reason is not None:
                self._leave_to_django(reason)

    def _leave_to_django(self, reason: str) -> None:
        self.kind, self.reason = DJANGO, reason

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
        if self.source is not None and self.source.custom:
            alias = self.source.make(instance).db
        else:
            alias = router.db_for_read(self.row_model or type(instance), instance=instance)
        return alias

    def new_memo(self, size: int | None) -> Memo:
        return new_memo(self.row_source.model, self.key_name, size)

    def prepare(self, instance: Model) -> None:
        """Makes the engine object of a many-to-many: only a manager of an instance tells the class of its querysets."""
        if self.engine is None:
            relation, model = self.relation, self.relation.model
            stock = stock_related_manager(relation.descriptor.related_manager_cls)
            queryset_class = None
            if stock and can_be_filled(stock_class := type(self._stock_queryset(instance))):
                queryset_class = filled_class(stock_class, model, relation.key_name, self._stock_queryset)
            in_dict = is_data_descriptor(model, relation.key_name)
            self.engine = ToMany(
                relation.key_name,
                in_dict,
                relation.name,
                relation.cache_name,
                queryset_class,
                self._fill,
                self._unsaved,
                self.lookup.rows,
                self.lookup.links,
            )

    def _stock_queryset(self, instance: Any) -> QuerySet[Any]:
        """What the manager of this instance would give, were nothing prefetched."""
        manager = getattr(instance, self.relation.name)
        start = self.row_source.make(instance) if self.row_source.reads_links else unrelated_queryset(manager)
        queryset: QuerySet[Any] = manager._apply_rel_filters(start)
        return queryset

    def _fill(self, instance: Any, rows: list[Any]) -> QuerySet[Any]:
        """A filled queryset from the manager itself, for managers that are not Django's own."""
        queryset: QuerySet[Any]
        if self.row_source.reads_links:
            queryset = self._stock_queryset(instance)
        else:
            queryset = getattr(instance, self.relation.name).get_queryset()
        queryset._result_cache = rows
        queryset._prefetch_done = True
        return queryset

    def _unsaved(self, instance: Any) -> None:
        getattr(instance, self.relation.name)  # raises Django's ValueError

    def django_lookup(self) -> str | Prefetch[Any]:
        config = self.lookup.config
        if config is None or (config.queryset is None and self.source is None):
            return self.relation.name
        return Prefetch(self.relation.name, queryset=unshared(config.get_queryset()))

    def follow(self, objects: Sequence[Any]) -> list[Any]:
        """The distinct objects that are attached to these."""
        if not self.lookup.below:
            return []
        kind = self.relation.kind
        if kind == TO_ONE:
            return follow_to_one(objects, self.relation.cache_name)
        if kind == TO_MANY:
            return follow_to_many(objects, self.relation.cache_name)
        if kind in (LOOSE, ATTRIBUTE):
            return follow_attribute(objects, self.relation.name)
        found: dict[int, Any] = {}
        for instance in objects:
            try:
                value = getattr(instance, self.relation.name)
            except ObjectDoesNotExist:
                continue
            members = value.all() if isinstance(value, BaseManager) else [] if value is None else [value]
            found.update((id(member), member) for member in members)
        return list(found.values())


def new_memo(model: type[Model], key_name: str, size: int | None) -> Memo:
    pk_name = model._meta.pk.attname
    return Memo(size, key_name, is_data_descriptor(model, key_name), None if pk_name == key_name else pk_name)


def attachment_of(lookup: Lookup, model: type[Model]) -> Attachment:
    """Raises with what was expected when the lookup does not fit the model."""
    relation = relation_of(model, lookup.name)  # type: ignore[arg-type]
    if relation is None:
        raise unknown_attribute(model, lookup.name, lookup.where)
    if relation.kind == ATTRIBUTE and not lookup.below:
        raise unknown_attribute(model, lookup.name, lookup.where)
    return Attachment(lookup, relation)
