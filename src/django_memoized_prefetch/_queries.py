"""The queries that the package runs: rows by key, links by source, deferred columns. Each works on a clone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Callable

from django import VERSION
from django.core.exceptions import EmptyResultSet
from django.db import connections, router
from django.db.models import Model, Q, QuerySet
from django.db.models.expressions import F, OrderBy, RawSQL, Subquery
from django.db.models.fields.related import ForeignObject
from django.db.models.functions import Now, Random
from django.db.models.sql.where import ExtraWhere

from ._engine import group_by_value
from ._hydrate import natively
from ._keys import batches, by_name, by_relation, equals_as_python, with_keys
from ._relations import GENERIC_MANY, REVERSE_ONE, TO_MANY, Relation, link_fields, unrelated_queryset
from ._stock import has_stock_querysets, is_own, plain_manager, static_attribute, why_not_stock, why_overridden_once

try:
    from django.db.models import FETCH_ONE
except ImportError:  # before Django 6.1
    FETCH_ONE = None

if TYPE_CHECKING:
    from ._config import MemoizedPrefetchConfig


@dataclass(frozen=True, eq=False)
class RowSource:
    """
    Where rows of a model are read from.

    identity: Relations whose sources have equal identities share rows.
    make: From the first instance of a chunk, as a hint to the router, to a queryset that nobody else holds.
    custom: The queryset is the user's own: it says by itself how its rows are fetched.
    rest: Keys that it has no row for are asked of the base manager.
    of_manager: A manager of the project's own makes the queryset: what it holds takes an instance to be known.
    varies: And it does so by code of its own, which may give another one for every chunk.
    takes_mode: Its rows fetch as the instance does (Django 6.1).
    own_lookups: Its prefetch_related lookups are run by Django with every fetch; otherwise they are lookups of ours.
    seals: django-seal: its rows are sealed when the instance is.
    """

    identity: tuple[Any, ...]
    model: type[Model]
    make: Callable[[Model], QuerySet[Any]]
    custom: bool = False
    rest: bool = False
    of_manager: bool = False
    varies: bool = False
    takes_mode: bool = False
    own_lookups: bool = False
    seals: bool = False

    @property
    def is_given(self) -> bool:
        """Whether it is a queryset that was given to the lookup, and not what a manager makes."""
        return self.reads_links and self.identity[0] not in ("related", "default")

    @property
    def reads_links(self) -> bool:
        """Whether a many-to-many shows what this source gives, in its order, and not what the default manager gives."""
        return self.custom and not self.rest

    def queryset(self, instance: Model) -> QuerySet[Any]:
        """What to read the rows from for an instance: without lookups that are ours."""
        queryset = self.make(instance)
        if self.takes_mode and _fetches_otherwise(instance._state):
            queryset._fetch_mode = instance._state.fetch_mode
        if self.seals and getattr(instance._state, "sealed", False) and hasattr(queryset, "seal"):
            queryset = queryset.seal()
        if not self.own_lookups and queryset._prefetch_related_lookups:
            queryset = queryset._chain()
            queryset._prefetch_related_lookups = ()
        return queryset

    def variant(self, instance: Model) -> tuple[Any, ...]:
        """What else tells rows apart: Django 6.1's fetch mode, which they get from the instance, and being sealed."""
        mode = instance._state.fetch_mode if self.takes_mode and _fetches_otherwise(instance._state) else None
        return mode, self.seals and getattr(instance._state, "sealed", False)


def base_rows(model: type[Model], takes_mode: bool = True) -> RowSource:
    """The rows that a foreign key shows."""

    def make(instance: Model) -> QuerySet[Any]:
        # As the running Django's descriptors ask it: a manager may have an all() of its own, or look at its hints.
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
    if plain_manager(manager):
        return base_rows(relation.target, takes_mode=False)
    shared = has_stock_querysets(manager)  # else the manager may look at the relation, and at the instance
    return replace(related_rows(relation), identity=("default", relation.target if shared else relation))


def related_rows(relation: Relation) -> RowSource:
    """The rows that a relation to many shows."""

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
        hints: The router is told which instance they are read for.
    """

    def make(instance: Model) -> QuerySet[Any]:
        return hinted(queryset, instance) if hints else unshared(queryset)

    identity = ("queryset", id(queryset))
    return RowSource(identity, queryset.model, make, custom=True, own_lookups=own_lookups, seals=seals)


def content_type_rows(model: type[Model], content_type: Any) -> RowSource:
    """The rows that a generic foreign key leads to."""

    def make(instance: Model) -> QuerySet[Any]:
        queryset: QuerySet[Any] = content_type.get_all_objects_for_this_type()
        return queryset

    return replace(base_rows(model), make=make)


def config_rows(config: MemoizedPrefetchConfig) -> RowSource:
    plain = config.queryset is None and not config.overrides_queryset
    identity: tuple[Any, ...]
    varies = False
    if plain:
        manager = getattr(config.model, "objects", config.model._default_manager)
        if plain_manager(manager):
            return base_rows(config.model)
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
        rest=plain,
        of_manager=plain,
        varies=varies,
        own_lookups=config.overrides_queryset,
    )


def unshared(queryset: QuerySet[Any]) -> QuerySet[Any]:
    """
    A copy that can be given hints: clones by Django share the dict of these.

    No method of its class is called. Django takes the queryset as it is, and a class may do more than copy in _clone().
    """
    query = queryset.query.chain()
    copy: QuerySet[Any] = object.__new__(type(queryset))
    copy.__dict__.update(queryset.__dict__)
    copy.__dict__.update(_query=query, _hints=dict(queryset._hints), _result_cache=None, _prefetch_done=False)
    return copy


def hinted(queryset: QuerySet[Any], instance: Model) -> QuerySet[Any]:
    queryset = unshared(queryset)
    queryset._add_hints(instance=instance)
    return queryset


def fetch_rows(source: RowSource, field_name: str, keys: Sequence[Any], instance: Model) -> list[Any]:
    """The rows whose `field_name` is among the keys, in no order, as few queries as the database allows."""
    rows = _rows_of(source.queryset(instance), field_name, keys)
    if source.rest and len(rows) < len(keys):
        found = {getattr(row, field_name) for row in rows}
        if hidden := [key for key in keys if key not in found]:
            rows += _rows_of(base_rows(source.model).queryset(instance), field_name, hidden)
    return rows


def _rows_of(queryset: QuerySet[Any], field_name: str, keys: Sequence[Any]) -> list[Any]:
    if queryset.query.is_sliced:
        return []  # read whole before; what is not in the slice is not there
    if VERSION >= (5, 0) or not queryset.query.order_by:
        queryset.query.clear_ordering()  # before, Django takes the first of several rows that a join makes
    rows: list[Any] = []
    for batch in batches(keys, queryset):
        rows += natively(with_keys(queryset, by_name(field_name), batch))
    return rows


def fetch_referring(relation: Relation, source: RowSource, keys: Sequence[Any], instance: Model) -> list[Any]:
    """The rows that refer to the keys, in the order in which their collections show them."""
    queryset = source.queryset(instance)
    if relation.kind == REVERSE_ONE and (VERSION >= (5, 0) or not queryset.query.order_by):
        queryset.query.clear_ordering()
    if relation.kind == GENERIC_MANY:
        return fetch_tagged(relation, source, [(instance, keys)])
    name = relation.field.name
    rows: list[Any] = []
    for batch in batches(keys, queryset):
        ask = by_relation(name)
        if queryset.query.is_sliced:
            rows += natively(ask(queryset, batch))
        else:
            rows += natively(with_keys(queryset, ask, batch))
    return rows


def fetch_linked(relation: Relation, source: RowSource, instances: Sequence[Model]) -> tuple[list[Any], dict[Any, Any]]:
    """
    The rows of a many-to-many by Django's own prefetch query, one for each link.

    Returns:
        The rows, and the key of an instance by what a row has as the key that it is linked from.
    """
    manager = getattr(instances[0], relation.name)
    queryset = source.queryset(instances[0]) if source.reads_links else None
    if hasattr(manager, "get_prefetch_querysets"):
        result = manager.get_prefetch_querysets(instances, None if queryset is None else [queryset])[0]
    else:
        result = manager.get_prefetch_queryset(instances, queryset)[0]
    result = result._chain()
    result._prefetch_related_lookups = ()
    rows = list(natively(result))
    _, source_field, _ = link_fields(relation)
    connection = connections[result.db]
    [target_field] = source_field.foreign_related_fields
    keys = {
        target_field.get_db_prep_value(key, connection): key for key, _ in group_by_value(instances, relation.key_name)
    }
    values = [value for value, _ in group_by_value(rows, f"_prefetch_related_val_{source_field.attname}")]
    return rows, {value: keys.get(source_field.get_db_prep_value(value, connection)) for value in values}


def fetch_tagged(relation: Relation, source: RowSource, keys: Sequence[tuple[Model, Sequence[Any]]]) -> list[Any]:
    """
    The rows of a generic relation that refer to the keys.

    Args:
        keys: An instance of each content type, and the primary keys of that type.
    """
    field, queryset = relation.field, source.queryset(keys[0][0])
    rows: list[Any] = []
    if len(keys) == 1:
        [(instance, pks)] = keys
        content_type = content_type_of(instance, field.for_concrete_model)
        queryset = queryset.filter(**{f"{field.content_type_field_name}__pk": content_type.pk})
        for batch in batches(pks, queryset):
            rows += natively(with_keys(queryset, by_name(field.object_id_field_name), batch))
        return rows
    condition = Q()
    for instance, pks in keys:
        content_type = content_type_of(instance, field.for_concrete_model)
        condition |= Q(
            **{f"{field.content_type_field_name}__pk": content_type.pk, f"{field.object_id_field_name}__in": pks}
        )
    return list(natively(queryset.filter(condition)))


def content_type_of(instance: Model, for_concrete_model: bool) -> Any:
    from django.contrib.contenttypes.models import ContentType

    manager = ContentType.objects.db_manager(instance._state.db)
    return manager.get_for_model(instance, for_concrete_model=for_concrete_model)


def fetch_links(
    relation: Relation, source: RowSource, keys: Sequence[Any], instance: Model
) -> Iterator[Sequence[tuple[Any, Any]]]:
    """
    Source and target keys, some at a time: in the order, with the duplicates and the filter of the manager's own
    prefetch query.
    """
    alias = router.db_for_read(link_fields(relation)[2].remote_field.model, instance=instance)
    read = _links_alone if is_link_table_enough(relation, source, alias) else _links_joined
    return read(relation, source, keys, instance)


def is_link_table_enough(relation: Relation, source: RowSource, alias: str) -> bool:
    """
    Whether the manager shows every target, in no order, and a link's value is the target's own key.

    Then the target's table need not be joined.

    A link to a target that does not exist, which the join would drop, is dropped when the target is not found.
    """
    _, source_field, target_field = link_fields(relation)
    target = target_field.remote_field.model
    return (
        not source.reads_links
        and plain_manager(target._default_manager)
        and equals_as_python(target_field, connections[alias])
        and not any(why_overridden_once(type(key), ("get_extra_restriction",)) for key in (source_field, target_field))
        and not target._meta.ordering
        and len(target_field.related_fields) == 1
    )


def _links_alone(
    relation: Relation, _: RowSource, keys: Sequence[Any], instance: Model
) -> Iterator[Sequence[tuple[Any, Any]]]:
    through, source_field, target_field = link_fields(relation)
    alias = router.db_for_read(target_field.remote_field.model, instance=instance)
    queryset: QuerySet[Any] = QuerySet(through, using=alias)
    queryset.query.clear_ordering(force=True)  # that of the through model, which Django's own query does not have
    if target_field.null:
        queryset = queryset.filter(**{f"{target_field.attname}__isnull": False})
    for batch in batches(keys, queryset):
        rows = with_keys(queryset, by_name(source_field.attname), batch, neighbours=True)
        yield from read_tuples(rows.values_list(source_field.attname, target_field.attname))


def _links_joined(
    relation: Relation, source: RowSource, keys: Sequence[Any], instance: Model
) -> Iterator[Sequence[tuple[Any, Any]]]:
    """Two columns of the prefetch query itself: the related manager's queryset, or the user's, joined to the links."""
    manager = getattr(instance, relation.name)
    queryset = source.queryset(instance) if source.reads_links else unrelated_queryset(manager)
    queryset = hinted(queryset, instance)
    queryset = queryset.using(queryset._db or manager._db)
    if queryset.query.select_related:
        # What Django would say of it, also when there is no link and so no row to be read.
        queryset._chain().query.get_compiler(using=queryset.db).setup_query()
    _, source_field, _ = link_fields(relation)
    connection = connections[queryset.db]
    table = source_field.model._meta.db_table
    column = f"{connection.ops.quote_name(table)}.{connection.ops.quote_name(source_field.column)}"
    convert = converter_of(source_field.get_col(table), connection)
    for batch in batches(keys, queryset):
        rows = with_keys(queryset, by_relation(manager.query_field_name), batch)
        assert relation.target_field is not None
        # Django's own class: another may have a values_list() that gives other columns, or in another order.
        plain: QuerySet[Any] = QuerySet(queryset.model, query=rows.query, using=rows.db)
        # `extra` as Django does it: the join to the through table is there, and is the first one of its name.
        pairs = plain.extra(select={"_memo_source": column}).values_list("_memo_source", relation.target_field.attname)
        for links in read_tuples(pairs):
            yield links if convert is None else [(convert(key), target) for key, target in links]


def read_tuples(queryset: QuerySet[Any]) -> Iterator[Sequence[Any]]:
    """What a values_list() gives, some rows at a time; as the driver gives it where its tuples need no conversion."""
    compiler = queryset.query.get_compiler(using=queryset.db)
    try:
        sql, params = compiler.as_sql()
    except EmptyResultSet:
        return
    if compiler.get_converters([expression for expression, _, _ in compiler.select]) or not is_own(
        static_attribute(type(compiler), "execute_sql")  # which a cache may have in its place
    ):
        yield list(queryset)
        return
    with connections[queryset.db].cursor() as cursor:
        cursor.execute(sql, params)
        # Less than the 700 objects after which the collector would look at them; then the next ones take their memory.
        while rows := cursor.fetchmany(500):
            yield rows


def converter_of(expression: Any, connection: Any) -> Callable[[Any], Any] | None:
    """From what the driver gives for a column to its Python value; None when that is the same."""
    converters = connection.ops.get_db_converters(expression) + expression.get_db_converters(connection)
    if not converters:
        return None

    def convert(value: Any) -> Any:
        for converter in converters:
            value = converter(value, expression, connection)
        return value

    return convert


def load_missing(instances: Sequence[Any], attname: str, count: Callable[[str], Any]) -> None:
    """Loads a column of those instances that have it deferred."""
    if deferred := [one for one in instances if attname not in one.__dict__]:
        load_deferred(deferred, attname, count)


def load_deferred(instances: Sequence[Any], attname: str, count: Callable[[str], Any]) -> None:
    """Loads one deferred column of many instances with one query, as each would load it for itself."""
    groups: dict[tuple[type[Model], str | None], list[Any]] = defaultdict(list)
    for instance in instances:
        state = instance._state
        if state.db is None or getattr(state, "sealed", False) or _fetches_otherwise(state):
            getattr(instance, attname)  # Django's own answer: an error, a warning, or the peers' values too
        elif attname not in instance.__dict__:
            groups[type(instance), state.db].append(instance)
    for (model, db), members in groups.items():
        queryset = model._base_manager.db_manager(db, hints={"instance": members[0]}).all()
        values: dict[Any, Any] = {}
        with count(queryset.db):
            for batch in batches([member.pk for member in members], queryset):
                values.update(queryset.filter(pk__in=batch).values_list("pk", attname))
        keys: Any = getattr(model._meta, "pk_fields", [model._meta.pk])
        for member in members:
            if member.pk in values:
                setattr(member, attname, values[member.pk])
                for field in keys:  # read anew with it, which drops the row that it leads to
                    if field.is_relation and field.is_cached(member):
                        field.delete_cached_value(member)
            else:
                getattr(member, attname)  # the row is gone: Django says so


def _fetches_otherwise(state: Any) -> bool:
    """Whether an instance's deferred and related values are fetched otherwise than one by one."""
    return FETCH_ONE is not None and state.fetch_mode is not FETCH_ONE


# --- counting ------------------------------------------------------------------------------------------------------


class QueryCount:
    """Counts the statements of a `with` block, with those that Django's own prefetches run in it."""

    def __init__(self) -> None:
        self.queries = 0

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        self.queries += 1
        return result

    @contextmanager
    def on(self, alias: str) -> Iterator[None]:
        with connections[alias].execute_wrapper(self):
            yield


# --- what may be remembered ----------------------------------------------------------------------------------------


def why_not_remembered(queryset: QuerySet[Any], relation: Relation) -> str | None:
    """Why a row of this queryset may depend on the other keys asked for, or on the link; None when it cannot."""
    query = queryset.query
    if query.combinator:
        return f"the queryset is a {query.combinator}"
    if query.distinct:
        return "the queryset is distinct"
    if query.select_for_update:
        return "the queryset locks its rows"
    if query.extra or query.extra_tables or query.extra_order_by:
        return "the queryset uses extra()"
    if (reason := why_not_stock(queryset)) is not None:
        return reason
    expressions = [
        *query.annotations.values(),
        query.where,
        *(order for order in query.order_by if not isinstance(order, str)),
    ]
    for expression in all_expressions(expressions):
        if isinstance(expression, (RawSQL, ExtraWhere)):
            return "the queryset uses raw SQL"
        if isinstance(expression, (Random, Now)):
            return f"the queryset uses {type(expression).__name__}"
        if getattr(expression, "contains_over_clause", False):
            return "the queryset uses a window function"
    if "?" in query.order_by:
        return "the queryset is in random order"
    return why_not_linked(queryset, relation) if relation.kind == TO_MANY else None


def why_not_referring(queryset: QuerySet[Any]) -> str | None:
    """Why rows that refer to objects cannot be asked for by these objects' keys; None when they can."""
    if queryset.query.combinator:
        return f"the queryset is a {queryset.query.combinator}"
    return why_not_stock(queryset)


def selects(queryset: QuerySet[Any], name: str) -> bool:
    """Whether the rows come with this relation attached, by select_related()."""
    selected = queryset.query.select_related
    return name in selected if isinstance(selected, dict) else False


def aggregates(queryset: QuerySet[Any]) -> bool:
    query = queryset.query
    return query.group_by is not None or any(one.contains_aggregate for one in query.annotations.values())


def why_not_linked(queryset: QuerySet[Any], relation: Relation) -> str | None:
    """For a many-to-many: why what the queryset says of a row may be different for each link."""
    query = queryset.query
    if aggregates(queryset):
        return "the queryset aggregates"
    through = link_fields(relation)[0]._meta.db_table
    for join in query.alias_map.values():
        if join.table_name == through:
            return "the queryset joins the through table"
        field = getattr(join, "join_field", None)
        if field is not None and not isinstance(field, ForeignObject):
            return "the queryset joins a table with many rows for one"
    for order in query.order_by:
        if isinstance(order, OrderBy):
            order = order.expression
        name = order.name if isinstance(order, F) else order
        if not isinstance(name, str) or "__" in name:
            return "the queryset is ordered by more than its own columns"
    return None


def all_expressions(expressions: Iterable[Any]) -> Iterator[Any]:
    pending = list(expressions)
    while pending:
        expression = pending.pop()
        if expression is None or isinstance(expression, str):
            continue
        yield expression
        if isinstance(expression, Subquery):
            continue  # a statement of its own, which sees one row of this one at a time
        if hasattr(expression, "get_source_expressions"):
            pending += expression.get_source_expressions()
        pending += getattr(expression, "children", ())
