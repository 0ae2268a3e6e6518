"""`ManyToMany`: remembers links by source, and the target rows by key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from django import VERSION
from django.core.exceptions import EmptyResultSet
from django.db import connections, router
from django.db.models import (
    BinaryField,
    DateField,
    DateTimeField,
    DecimalField,
    DurationField,
    FloatField,
    GenericIPAddressField,
    JSONField,
    Model,
    QuerySet,
    TimeField,
)
from django.db.models.fields.related_descriptors import ManyToManyDescriptor

from .._config import MemoizedPrefetchConfig
from .._engine import ManyToManySpec
from .._memory.change import Change
from .._memory.table import LinkSpec, TableSpec, name_of_links
from .._queries.counting import QueryCount
from .._queries.eligibility import defers, why_not_linked
from .._queries.equality import equals_as_python, odd_keys, why_not_keys
from .._queries.keys import batches, by_name, by_relation, with_keys
from .._queries.rows import fetch_rows
from .._queries.sources import RowSource, default_rows, hinted
from .._relation import (
    Relation,
    held_field,
    link_fields,
    through_fields,
    unrelated_queryset,
    value_field,
    why_another_key,
)
from .._stock import (
    is_own,
    plain_manager,
    static_attribute,
    why_not_collection,
    why_not_key,
    why_not_many_to_many,
    why_overridden_once,
)
from .base import find_source, to_attr_spec
from .by_django import ByDjango
from .to_many import ToManyStep, load_keys

if TYPE_CHECKING:
    from .._running.chunk import ChunkRun
    from .._running.level import Level


class ManyToMany(ToManyStep):
    @classmethod
    def relation_of(cls, model: type[Model], name: str, descriptor: Any) -> Relation | None:
        if not isinstance(descriptor, ManyToManyDescriptor):
            return None
        related = descriptor.rel
        field = related.field
        target = related.related_model if descriptor.reverse else related.model
        _, source_key, target_key = through_fields(descriptor)
        reason = why_not_collection(descriptor) or _why_not_linked_by(model, target, field, source_key, target_key)
        if reason is not None:
            return Relation(model, name, ByDjango, reason, target, descriptor=descriptor)
        return Relation(
            model,
            name,
            cls,
            target=target,
            key_name=_held_key(model, source_key.foreign_related_fields[0]).attname,
            cache_name=field.related_query_name() if descriptor.reverse else field.name,
            target_field=target_key.foreign_related_fields[0],
            descriptor=descriptor,
        )

    def set_up(self) -> str | None:
        through, source_field, target_field = link_fields(self.relation)
        names = (source_field.attname, target_field.attname)
        config = self.lookup.config
        if config is not None and config.is_many_to_many:
            self._check_links(config, through, source_field, target_field)
            names = (config.source_field or names[0], config.target_field or names[1])
        reason = find_source(self, lambda: default_rows(self.relation))
        source = self.row_source
        assert self.relation.target_field is not None
        self.table = TableSpec(source, self.relation.target_field.attname, self.lookup.custom_below)
        # If links are read with the source's own queryset, they depend on it, so its identity is part of theirs.
        identity = (through, names, self.relation.model, source.reads_links and source.identity)
        shown_as = name_of_links(through, *names)
        are_alone = partial(is_link_table_enough, self.relation, source)
        self.links = LinkSpec(identity, self.relation, source.model, shown_as, are_alone)
        return reason

    def judge(self, queryset: QuerySet[Any], whole: bool = False) -> str | None:
        through, source_field, target_field = link_fields(self.relation)
        key = self.relation.target_field
        if defers(queryset, key):
            return f"the queryset defers {key.name}, which the links hold"  # type: ignore[union-attr]
        models = (through, source_field.model, target_field.model)
        return super().judge(queryset, whole) or why_not_linked(queryset, models)

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

    def attach(self, levels: list[Level], run: ChunkRun, count: QueryCount) -> None:
        [level] = levels
        with run.pins.to_many(level.links, level.memo, level.objects, run.spec(level), level.remembered) as rows:
            if instances := rows.collect():
                load_keys(level, instances, count)
                rows.collect_loaded()
            with level.turn(level.links):
                if sources := rows.missing_links():
                    rows.admit_links(_fetch_links(level, sources, count))
                with level.turn(level.memo):
                    if keys := rows.missing():
                        rows.admit(_fetch_rows(level, keys, count))
                    rows.attach()  # only then do others find the links

    def spec(
        self, instance: Model, counts: Any, alias: str, translated: dict[Any, Any] | None = None
    ) -> ManyToManySpec:
        return ManyToManySpec(
            self.key_spec,
            self.filling_spec(instance),
            to_attr_spec(self, instance),
            self.attach_unsaved,
            counts.row_counts,
            counts.link_counts,
        )

    def attach_unsaved(self, instance: Any) -> None:
        getattr(instance, self.relation.name)

    def concerned(self, change: Change) -> bool:
        return super().concerned(change) or change.concerns(link_fields(self.relation)[0])

    def may_lack(self, row: Any, value: Any, kept_links: dict[Any, dict[Any, Any]]) -> bool:
        assert self.links is not None
        return row.__dict__.get(self.relation.key_name) not in kept_links.get(self.links.identity, {})


# Before 5.0, Django compares the value that the driver returned for a link with the one that it would send, such as a
# date with its text.
_SENT_OTHERWISE = (DateField, TimeField, DecimalField, GenericIPAddressField) if VERSION < (5, 0) else ()
_COMPARED_AS_RETURNED = (BinaryField, DateTimeField, DurationField, JSONField, *_SENT_OTHERWISE)


def _why_not_linked_by(model: Any, target: Any, field: Any, source_key: Any, target_key: Any) -> str | None:
    """Why the links of a many-to-many might not be determined by two columns of its through table; None if they are."""
    if len(source_key.related_fields) != 1 or len(target_key.related_fields) != 1:
        return f"{source_key.model.__name__} has a foreign key of several columns"
    [source_field], [target_field] = source_key.foreign_related_fields, target_key.foreign_related_fields
    reason = (
        why_another_key(model, source_field)
        or why_not_keys((model, _held_key(model, source_field)), (target, target_field))
        or why_not_key(source_key)
        or why_not_key(target_key)
        or why_not_many_to_many(field, source_key, target_key)
    )
    if reason is None and isinstance(value_field(source_field), _COMPARED_AS_RETURNED):
        return f"{model.__name__}.{source_field.name}: Django compares its values in the form that the database returns"
    if reason is None and isinstance(value_field(target_field), (FloatField, DecimalField)):
        return f"{target.__name__}.{target_field.name} may be NaN, which equals no key"
    return reason


def _held_key(model: type[Model], field: Any) -> Any:
    """
    The field in which objects of the model hold the key that their links refer to.

    Before 5.0, Django warns of objects without a primary key, and asks with the key of the parent that has the
    relation.
    """
    return held_field(model, field) if VERSION >= (5, 0) else field


# --- queries


def _fetch_rows(level: Level, keys: list[Any], count: QueryCount) -> list[Any]:
    with count.on(level.alias):
        return fetch_rows(level.source, level.table.key_name, keys, level.instance)


def _fetch_links(level: Level, keys: list[Any], count: QueryCount) -> Iterator[Sequence[tuple[Any, Any]]]:
    links = fetch_links(level.step.relation, level.source, keys, level.instance)
    with count.on(level.alias):
        yield from _also_by_odd_keys(level, keys, links)


def _also_by_odd_keys(
    level: Level, keys: list[Any], links: Iterator[Sequence[tuple[Any, Any]]]
) -> Iterator[Sequence[tuple[Any, Any]]]:
    """
    The same links, and those of objects whose key is not of the column's type, such as "1" for an integer.

    Django compares the keys of objects and links as they are sent to the database.
    """
    field, connection = link_fields(level.step.relation)[1].target_field, connections[level.alias]
    odd = odd_keys(field, keys)
    if not odd:
        yield from links
        return
    given: dict[Any, list[Any]] = defaultdict(list)
    for key in odd:
        given[field.get_db_prep_value(key, connection)].append(key)
    for batch in links:
        yield batch
        yield [
            (key, to)
            for source, to in batch
            for key in given.get(field.get_db_prep_value(source, connection), ())
            if key != source
        ]


def fetch_links(
    relation: Relation, source: RowSource, keys: Sequence[Any], instance: Model
) -> Iterator[Sequence[tuple[Any, Any]]]:
    """
    Yields pairs of source and target key, many at a time.

    They have the order, the duplicates and the filter of the manager's own prefetch query.
    """
    alias = router.db_for_read(link_fields(relation)[2].remote_field.model, instance=instance)
    read = _links_alone if is_link_table_enough(relation, source, alias) else _links_joined
    return read(relation, source, keys, instance)


def is_link_table_enough(relation: Relation, source: RowSource, alias: str) -> bool:
    """
    Whether links can be read from the through table alone, without joining the targets' table.

    That is so if the manager shows every target in no particular order, and a link holds the target's own key. The join
    would drop links to missing targets; without it they are dropped when the target is not found.
    """
    _, source_field, target_field = link_fields(relation)
    target = target_field.remote_field.model
    return (
        not source.reads_links
        and source_field.model is target_field.model
        and plain_manager(target._default_manager)
        and equals_as_python(target_field, connections[alias])
        and not any(why_overridden_once(type(key), ("get_extra_restriction",)) for key in (source_field, target_field))
        and not target._meta.ordering
        and len(target_field.related_fields) == 1
    )


def _links_alone(
    relation: Relation, _: RowSource, keys: Sequence[Any], instance: Model
) -> Iterator[Sequence[tuple[Any, Any]]]:
    source_field, target_field = link_fields(relation)[1:]
    alias = router.db_for_read(target_field.remote_field.model, instance=instance)
    # A through model may have inherited both, and then Django reads the links of its parent.
    queryset: QuerySet[Any] = QuerySet(source_field.model, using=alias)
    queryset.query.clear_ordering(force=True)  # Django's own query ignores the through model's ordering
    if target_field.null:
        queryset = queryset.filter(**{f"{target_field.attname}__isnull": False})
    for batch in batches(keys, queryset):
        rows = with_keys(queryset, by_name(source_field.attname), batch, neighbours=True)
        yield from read_tuples(rows.values_list(source_field.attname, target_field.attname))


def _links_joined(
    relation: Relation, source: RowSource, keys: Sequence[Any], instance: Model
) -> Iterator[Sequence[tuple[Any, Any]]]:
    """Reads two columns of the prefetch query itself: the manager's or the user's queryset, joined to the links."""
    manager = getattr(instance, relation.name)
    queryset = source.queryset(instance) if source.reads_links else unrelated_queryset(manager)
    queryset = hinted(queryset, instance)
    queryset = queryset.using(queryset._db or manager._db)
    if queryset.query.select_related:
        # Raises Django's error for a bad select_related(), even if there are no links and so no rows to read.
        queryset._chain().query.get_compiler(using=queryset.db).setup_query()
    _, source_field, _ = link_fields(relation)
    connection = connections[queryset.db]
    table = source_field.model._meta.db_table
    column = f"{connection.ops.quote_name(table)}.{connection.ops.quote_name(source_field.column)}"
    convert = converter_of(source_field.get_col(table), connection)
    for batch in batches(keys, queryset):
        rows = with_keys(queryset, by_relation(manager.query_field_name), batch)
        assert relation.target_field is not None
        # Use Django's own class: a custom values_list() might return other columns, or another order.
        plain: QuerySet[Any] = QuerySet(queryset.model, query=rows.query, using=rows.db)
        # `extra` as in Django: the through table is joined already, and its first join has the table's own name.
        pairs = plain.extra(select={"_memo_source": column}).values_list("_memo_source", relation.target_field.attname)
        for links in read_tuples(pairs):
            yield links if convert is None else [(convert(key), target) for key, target in links]


def read_tuples(queryset: QuerySet[Any]) -> Iterator[Sequence[Any]]:
    """The rows of a values_list(), many at a time, straight from the driver if they need no conversion."""
    compiler = queryset.query.get_compiler(using=queryset.db)
    try:
        sql, params = compiler.as_sql()
    except EmptyResultSet:
        return
    if compiler.get_converters([expression for expression, _, _ in compiler.select]) or not is_own(
        static_attribute(type(compiler), "execute_sql")  # a caching package may have replaced it
    ):
        yield list(queryset)
        return
    with connections[queryset.db].cursor() as cursor:
        cursor.execute(sql, params)
        # Fewer than the 700 new objects that start the garbage collector. Each batch reuses the memory of the last.
        while rows := cursor.fetchmany(500):
            yield rows


def converter_of(expression: Any, connection: Any) -> Callable[[Any], Any] | None:
    """A function from the driver's value of a column to its Python value; None if both are the same."""
    converters = connection.ops.get_db_converters(expression) + expression.get_db_converters(connection)
    if not converters:
        return None

    def convert(value: Any) -> Any:
        for converter in converters:
            value = converter(value, expression, connection)
        return value

    return convert
