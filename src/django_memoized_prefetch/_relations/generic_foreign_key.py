"""Generic foreign keys: finds the model that each object leads to, and turns its value into a key of that model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import django
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import connections
from django.db.models import CharField, Field, IntegerField, Model, TextField, UUIDField

from .._engine import GenericKeySpec, Memo, group_by_value
from .._lookups import Lookup
from .._memory.table import TableSpec
from .._queries.counting import QueryCount
from .._queries.deferred import load_missing
from .._queries.eligibility import why_not_read_by_key
from .._queries.sources import content_type_rows, queryset_rows
from .._relation import Relation, cache_name_of, pk_fields, value_field
from .._stock import (
    is_generic,
    why_class_may_vary,
    why_not_attached_by_descriptor,
    why_not_column,
    why_not_generic_key,
    why_not_key,
    why_not_stock,
)
from .base import Step, selected_by, to_attr_spec
from .by_django import ByDjango
from .place import FIELDS_CACHE, Place
from .to_one import ToOneStep

if TYPE_CHECKING:
    from .._running.chunk import ChunkRun
    from .._running.level import Level

# Django 6.0 and later compare keys as strings. Earlier versions compare the value as the primary key would store it.
_COMPARES_STRINGS = django.VERSION >= (6, 0)


class GenericForeignKey(Step):
    """A generic foreign key for all objects. It is split into one GenericTarget for each model that it leads to."""

    is_single = True

    @classmethod
    def relation_of(cls, model: type[Model], name: str, descriptor: Any) -> Relation | None:
        if not is_generic(descriptor, "GenericForeignKey", "GenericForeignKeyDescriptor"):
            return None
        field = getattr(descriptor, "field", descriptor)
        reason = why_not_attached_by_descriptor(descriptor) or why_not_generic_key(field)
        key = next((one for one in model._meta.concrete_fields if one.attname == field.fk_field), None)
        if reason is None and key is None:
            reason = f"{field.fk_field} is not a column of {model.__name__}"
        if reason is None:
            type_field = model._meta.get_field(field.ct_field)
            reason = why_not_column(model, field.fk_field) or why_not_column(model, type_field.attname)
        if reason is not None:
            return Relation(model, name, ByDjango, reason, descriptor=descriptor)
        return Relation(
            model,
            name,
            cls,
            key_name=field.fk_field,
            cache_name=cache_name_of(field),
            field=field,
            descriptor=descriptor,
        )

    def set_up(self) -> str | None:
        lookup, config = self.lookup, self.lookup.config
        if config is not None and config.chooses_rows:
            return "the config's queryset is of one model, but the relation leads to several"
        if lookup.querysets is not None and django.VERSION < (5, 0):
            return "a generic foreign key takes no queryset before Django 5.0"
        self.whole_querysets = lookup.querysets or ()
        return next(filter(None, map(why_not_read_by_key, self.whole_querysets)), None)

    @property
    def place(self) -> Place:
        return Place(FIELDS_CACHE, self.relation.cache_name)

    def alias(self, instance: Model) -> str:
        return ""  # each model has its own

    def split(
        self, objects: Sequence[Any], remembered: bool, run: ChunkRun
    ) -> Iterator[tuple[Step, Sequence[Any], dict[Any, Any] | None]]:
        fresh = objects if remembered else self.not_attached(objects)
        relation, count = self.relation, QueryCount()
        content_type = content_type_column(relation)
        load_missing(fresh, content_type, count.on)
        # Like Django, ignore the object id where the content type is null.
        leading = [one for one in fresh if getattr(one, content_type) is not None]
        load_missing(leading, relation.key_name, count.on)
        run.counts(self.lookup).row_counts.add_queries(count.queries)
        if not fresh:
            yield self, objects, None
        elif len(connections.settings) > 1 and len({one._state.db for one in fresh}) > 1:
            yield _left(self, "the objects are of several databases, whose content types may differ"), fresh, None
        else:
            yield from _targets(self, fresh)

    @cached_property
    def nowhere(self) -> GenericNowhere:
        """The step for the objects that lead nowhere."""
        return GenericNowhere(self)

    def target(self, content_type: Any, queryset: Any) -> Step:
        """The step for the objects of one content type, the same for every chunk."""
        key = (content_type.model_class(), content_type._state.db, queryset)
        known = self.parts.get(key)
        return self.parts.setdefault(key, GenericTarget(self, content_type, queryset)) if known is None else known

    def attach(self, levels: list[Level], run: ChunkRun, count: QueryCount) -> None:
        """Does nothing: all objects have something attached already."""

    def _follow(self, objects: Sequence[Any]) -> list[Any]:
        return ToOneStep._follow(self, objects)  # type: ignore[arg-type]


class GenericTarget(ToOneStep):
    """
    A generic foreign key, for those objects whose content type is one certain model.

    Args:
        whole: The step for all objects.
        content_type: That content type.
        queryset: The user's queryset for that model, if there is one.
    """

    def __init__(self, whole: GenericForeignKey, content_type: Any, queryset: Any) -> None:
        super().__init__(whole.lookup, whole.relation, whole.given)
        if queryset is None:
            self.source = content_type_rows(content_type.model_class(), content_type)
        else:
            # As in Django, a GenericPrefetch gives no hints: the router chooses the database by the model alone.
            generic = whole.lookup.generic
            self.source = replace(queryset_rows(queryset, own_lookups=generic, hints=not generic), takes_mode=True)
        if self.source.custom or self.source.of_manager:
            self.selected = selected_by(self.source.make(None))
        if why_class_may_vary(self.source.model) is not None:  # the rows that others remember may be of any class
            self.source = replace(self.source, identity=("generic", self.source.identity))
        self.table = TableSpec(self.source, self.source.model._meta.pk.attname, self.lookup.custom_below)
        self.is_judged = True

    def fetch(self, level: Level, keys: list[Any], count: QueryCount) -> list[Any]:
        # Django compares the classes too: a row that changes its class when it is built belongs to none of the objects.
        return [row for row in super().fetch(level, keys, count) if type(row) is self.row_source.model]

    def alias(self, instance: Model) -> str:
        alias: str = self.row_source.make(instance).db
        return alias

    def spec(
        self, instance: Model, counts: Any, alias: str, translated: dict[Any, Any] | None = None
    ) -> GenericKeySpec:
        relation, to_attr = self.relation, to_attr_spec(self, instance)
        count = counts.of_part(self)
        return GenericKeySpec(relation.key_name, relation.cache_name, to_attr, count, translated or {})


class GenericNowhere(ToOneStep):
    """A generic foreign key, for those objects whose content type is null: they get None, whatever their object id."""

    is_to_one = False  # it has no table that others could share

    def __init__(self, whole: GenericForeignKey) -> None:
        content_type = content_type_column(whole.relation)
        super().__init__(whole.lookup, replace(whole.relation, key_name=content_type), whole.given)
        self._empty = Memo(1, content_type)  # no key leads to a row

    def alias(self, instance: Model) -> str:
        return ""  # it reads nothing

    def spec(
        self, instance: Model, counts: Any, alias: str, translated: dict[Any, Any] | None = None
    ) -> GenericKeySpec:
        relation, to_attr = self.relation, to_attr_spec(self, instance)
        return GenericKeySpec(relation.key_name, relation.cache_name, to_attr, counts.row_counts, {})

    def attach(self, levels: list[Level], run: ChunkRun, count: QueryCount) -> None:
        [level] = levels
        objects = [(level.objects, [run.spec(level)], level.remembered)]
        with run.pins.to_one(self._empty, objects, run.lent) as rows:
            rows.collect()
            rows.missing()
            rows.attach()


def _targets(
    whole: GenericForeignKey, objects: Sequence[Any]
) -> Iterator[tuple[Step, list[Any], dict[Any, Any] | None]]:
    """For each model that the objects lead to: the step, the objects, and the keys by the values that these hold."""
    relation, lookup = whole.relation, whole.lookup
    field = relation.field
    custom = custom_querysets(relation, lookup)
    for ct_id, members in group_by_value(objects, content_type_column(relation)):
        if ct_id is None:
            yield whole.nowhere, members, None
            continue
        try:
            content_type = field.get_content_type(id=ct_id, using=members[0]._state.db)
            model = content_type.model_class()
        except ObjectDoesNotExist:
            model = None  # Django will raise the same error
        queryset = custom.get(ct_id)
        if model is None:
            yield _left(whole, "the content type has no model"), members, None
            continue
        if (reason := why_not_followed(model, content_type, queryset)) is not None:
            yield _left(whole, reason), members, None
            continue
        values = [value for value, _ in group_by_value(members, relation.key_name) if value is not None]
        translated = keys_of(model, values)
        if translated is None:
            yield _left(whole, f"a value is not a valid key of {model.__name__}"), members, None
        else:
            yield whole.target(content_type, queryset), members, translated


def _left(whole: GenericForeignKey, reason: str) -> ByDjango:
    """The step for objects whose key the engine cannot follow: Django attaches the row, or raises."""
    return ByDjango(whole.lookup, whole.relation, whole.given, reason, native=whole)


def content_type_column(relation: Relation) -> str:
    """The attribute of the objects that holds the key of their content type."""
    name: str = relation.model._meta.get_field(relation.field.ct_field).attname
    return name


def why_not_followed(model: type[Model], content_type: Any, queryset: Any) -> str | None:
    """Why the engine might find other rows of a model than Django for the same values."""
    if len(pk_fields(model)) != 1:
        return f"{model.__name__} has a composite primary key"
    if queryset is None:
        source = content_type_rows(model, content_type)
        if source.varies:
            return f"{model.__name__}'s base manager has its own get_queryset()"
        if source.of_manager:
            queryset = content_type.get_all_objects_for_this_type()
    if queryset is not None:
        if queryset.model is not model:
            return f"the queryset is of {queryset.model.__name__}"
        if (reason := why_not_stock(queryset)) is not None:
            return reason
    return why_not_column(model, model._meta.pk.attname) or why_not_key(model._meta.pk) or _why_not_text(model)


def _why_not_text(model: type[Model]) -> str | None:
    """
    Why comparing keys of a model as text might differ from comparing their values.

    Django 6.0 and later compare text, for which Decimal("1.5") and Decimal("1.50") are two keys.
    """
    field = value_field(model._meta.pk)
    if isinstance(field, (IntegerField, UUIDField, CharField, TextField)):
        return None
    return f"{model.__name__}'s key is a {type(field).__name__}"


def custom_querysets(relation: Relation, lookup: Lookup) -> dict[Any, Any]:
    """The user's querysets by content type. Raises Django's ValueError if two have the same one."""
    found: dict[Any, Any] = {}
    for queryset in lookup.querysets or ():
        ct_id = relation.field.get_content_type(model=queryset.query.model, using=queryset.db).pk
        if ct_id in found:
            raise ValueError("Only one queryset is allowed for each content type.")
        found[ct_id] = queryset
    return found


def keys_of(model: type[Model], values: Sequence[Any]) -> dict[Any, Any] | None:
    """
    The values as keys of the model's rows, without those for which Django would find no row.

    Returns:
        The keys by value. None if a value is not a valid key, for which Django raises.
    """
    pk: Any = model._meta.pk
    try:
        keys = {value: pk.to_python(value) if _COMPARES_STRINGS else pk.get_prep_value(value) for value in values}
        if _COMPARES_STRINGS:
            equal = {value: key for value, key in keys.items() if str(value) == as_string(model, pk, key)}
            for value in keys.keys() - equal.keys():
                pk.get_prep_value(value)  # raises as the query would
            return equal
    except ValidationError as error:
        # Break its cycle: with its frames it would keep an open cursor alive until the garbage collector runs.
        error.__traceback__ = error.__context__ = None
        return None
    except (ValueError, TypeError):
        return None
    return keys


def as_string(model: type[Model], pk: Field[Any, Any], key: Any) -> str:
    """The key as the text that Django compares."""
    if type(pk).value_to_string is Field.value_to_string:
        return str(key)
    row = object.__new__(model)
    row.__dict__[pk.attname] = key
    text: str = pk.value_to_string(row)
    return text
