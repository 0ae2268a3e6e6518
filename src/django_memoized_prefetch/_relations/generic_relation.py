"""`GenericRelation`: the rows whose generic foreign key refers to the object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.db.models import Model, Q, QuerySet

from .._engine import group_by_value
from .._hydrating.iterable import with_native_rows
from .._queries.counting import QueryCount
from .._queries.deferred import load_missing
from .._queries.equality import why_not_keys
from .._queries.keys import batches, by_name, with_keys
from .._relation import Relation, pk_fields
from .._stock import is_generic, why_not_collection, why_not_column
from .base import Given, Step
from .by_django import ByDjango
from .collection import Collection
from .to_many import load_keys

if TYPE_CHECKING:
    from .._running.chunk import ChunkRun
    from .._running.level import Level


class GenericRelation(Collection):
    """Generic relations of several classes to one model share a query."""

    @classmethod
    def relation_of(cls, model: type[Model], name: str, descriptor: Any) -> Relation | None:
        if not is_generic(descriptor, "ReverseGenericManyToOneDescriptor"):
            return None
        field, target = descriptor.rel.field, descriptor.rel.model
        reason = why_not_collection(descriptor)
        if reason is None and len(pk_fields(model)) != 1:
            reason = f"{model.__name__} has a composite primary key"
        if reason is None:
            type_field = target._meta.get_field(field.content_type_field_name)
            key_field = target._meta.get_field(field.object_id_field_name)
            reason = why_not_column(target, type_field.attname) or why_not_keys(
                (model, model._meta.pk), (target, key_field)
            )
        if reason is not None:
            return Relation(model, name, ByDjango, reason, target, descriptor=descriptor)
        return Relation(
            model,
            name,
            cls,
            target=target,
            key_name=model._meta.pk.attname,
            cache_name=field.attname,
            join_name=target._meta.get_field(field.object_id_field_name).attname,
            field=field,
            descriptor=descriptor,
        )

    @property
    def joined_by(self) -> Any:
        return self  # each class needs the rows of its own content type

    def gives(self, name: str) -> Given | None:
        return Step.gives(self, name)

    def asks_like(self, other: Step) -> bool:
        mine, theirs = self.relation, other.relation
        return (
            isinstance(other, GenericRelation)
            and mine.target is theirs.target
            and mine.join_name == theirs.join_name
            and mine.field.content_type_field_name == theirs.field.content_type_field_name
        )

    def attach(self, levels: list[Level], run: ChunkRun, count: QueryCount) -> None:
        for level in levels:
            if level.step.rereads and level.remembered:
                level.step.take_off(level.objects)
        together = _read_together(levels, count) if len(levels) > 1 else {}
        for level in levels:
            translated: dict[Any, Any] | None = {} if _translates(level.step.relation) else None
            with (
                level.turn_of_rows(run),
                run.pins.collection(level.objects, run.spec(level, translated), level.remembered) as rows,
            ):
                if instances := rows.collect():
                    load_keys(level, instances, count)
                    rows.collect_loaded()
                if keys := rows.missing():
                    asked, read = together.get(id(level), (frozenset(), []))
                    # A remembered object may also lack rows that it has, but that refer to another one by now.
                    is_read = asked.issuperset(keys)
                    rows.admit(_fetch_tagged(level, keys, read if is_read else None, translated, count))
                rows.attach()


def content_type_column(relation: Relation) -> str:
    """The attribute of the rows that holds the key of their content type."""
    assert relation.target is not None
    name: str = relation.target._meta.get_field(relation.field.content_type_field_name).attname
    return name


def content_type_of(instance: Model, relation: Relation, alias: str | None) -> Any:
    """The key of an instance's content type in a database: in Django, always that of the first object of all."""
    from django.contrib.contenttypes.models import ContentType

    manager = ContentType.objects.db_manager(alias)
    return manager.get_for_model(instance, for_concrete_model=relation.field.for_concrete_model).pk


def _translates(relation: Relation) -> bool:
    """Whether the rows hold the key in another form than the objects, such as text."""
    assert relation.target is not None
    field = relation.target._meta.get_field(relation.field.object_id_field_name)
    return type(field).to_python is not type(relation.model._meta.pk).to_python


def _fetch_tagged(
    level: Level, keys: list[Any], rows: list[Any] | None, translated: dict[Any, Any] | None, count: QueryCount
) -> list[Any]:
    """
    The rows that refer to the objects of a level.

    Args:
        rows: The rows, if they were read together with those of other classes.
        translated: Is filled with the objects' keys by the values that the rows hold.
    """
    relation = level.step.relation
    if rows is None:
        content_type = content_type_of(level.instance, relation, level.objects[0]._state.db)
        with count.on(level.alias):
            rows = fetch_tagged(relation, level.source.queryset(level.instance), [(content_type, keys)])
    load_missing(rows, content_type_column(relation), count.on)  # Django reads it too
    if translated is not None:
        to_python = relation.model._meta.pk.to_python
        translated.update((value, to_python(value)) for value, _ in group_by_value(rows, relation.join_name))
    return rows


def _read_together(levels: list[Level], count: QueryCount) -> dict[int, tuple[frozenset[Any], list[Any]]]:
    """Reads the rows of several classes with one query. Returns the keys asked for and the rows, by id of the level."""
    first = levels[0]
    relation, types_from = first.step.relation, first.objects[0]._state.db
    wanted: dict[int, tuple[Any, list[Any]]] = {}
    instance = None
    for level in levels:
        fresh = level.step.not_attached(level.objects)
        if pks := [pk for pk, _ in group_by_value(fresh, level.step.relation.key_name) if pk is not None]:
            wanted[id(level)] = (content_type_of(fresh[0], level.step.relation, types_from), pks)
            instance = fresh[0] if instance is None else instance
    if instance is None:
        return {}
    with count.on(first.alias):
        rows = fetch_tagged(relation, first.source.queryset(instance), list(wanted.values()))
    by_type = dict(group_by_value(rows, content_type_column(relation)))
    return {number: (frozenset(pks), by_type.get(content_type, [])) for number, (content_type, pks) in wanted.items()}


def fetch_tagged(relation: Relation, queryset: QuerySet[Any], keys: Sequence[tuple[Any, Sequence[Any]]]) -> list[Any]:
    """
    The rows of a queryset that refer to the keys.

    Args:
        keys: For each content type, its key and the primary keys of that type.
    """
    field = relation.field
    rows: list[Any] = []
    if len(keys) == 1:
        [(content_type, pks)] = keys
        queryset = queryset.filter(**{f"{field.content_type_field_name}__pk": content_type})
        for batch in batches(pks, queryset):
            rows += with_native_rows(with_keys(queryset, by_name(field.object_id_field_name), batch))
        return rows
    condition = Q()
    for content_type, pks in keys:
        condition |= Q(
            **{f"{field.content_type_field_name}__pk": content_type, f"{field.object_id_field_name}__in": pks}
        )
    return list(with_native_rows(queryset.filter(condition)))
