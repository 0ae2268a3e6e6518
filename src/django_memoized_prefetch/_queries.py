"""The queries that the package runs: rows by key, links by source, deferred columns. Each works on a clone."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

from django.core.exceptions import EmptyResultSet
from django.db import connections, router
from django.db.models import CharField, Field, IntegerField, Model, QuerySet
from django.db.models.expressions import F, OrderBy, RawSQL, Subquery
from django.db.models.fields import AutoFieldMixin
from django.db.models.fields.related import ForeignObject
from django.db.models.fields.related_descriptors import _filter_prefetch_queryset
from django.db.models.functions import Now, Random
from django.db.models.lookups import In
from django.db.models.query import ModelIterable
from django.db.models.sql.where import ExtraWhere, WhereNode

from ._relations import Relation, link_fields, plain_manager, unrelated_queryset

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
    """

    identity: tuple[Any, ...]
    model: type[Model]
    make: Callable[[Model], QuerySet[Any]]
    custom: bool = False
    rest: bool = False

    @property
    def reads_links(self) -> bool:
        """Whether a many-to-many shows what this source gives, in its order, and not what the default manager gives."""
        return self.custom and not self.rest

    def fetch_mode(self, instance: Model) -> Any:
        """Django 6.1: rows read for an instance fetch as it does. None stands for the ordinary mode."""
        return None if self.custom or not _fetches_otherwise(instance._state) else instance._state.fetch_mode


def base_rows(model: type[Model]) -> RowSource:
    def make(instance: Model) -> QuerySet[Any]:
        queryset = model._base_manager.db_manager(hints={"instance": instance}).all()
        if _fetches_otherwise(instance._state):
            queryset._fetch_mode = instance._state.fetch_mode
        return queryset

    return RowSource(("base", model), model, make)


def default_rows(model: type[Model]) -> RowSource:
    """The rows that a many-to-many shows: those of the default manager."""
    manager = model._default_manager
    if plain_manager(manager):
        return base_rows(model)
    return RowSource(("default", model), model, lambda instance: hinted(manager.all(), instance), custom=True)


def config_rows(config: MemoizedPrefetchConfig) -> RowSource:
    plain = config.queryset is None and not config.overrides_queryset
    identity: tuple[Any, ...]
    if plain:
        manager = getattr(config.model, "objects", config.model._default_manager)
        if plain_manager(manager):
            return base_rows(config.model)
        identity = ("objects", config.model)
    elif config.overrides_queryset:
        identity = ("config", id(config))
    else:
        identity = ("queryset", id(config.queryset))
    return RowSource(
        identity, config.model, lambda instance: hinted(config.get_queryset(), instance), custom=True, rest=plain
    )


def unshared(queryset: QuerySet[Any]) -> QuerySet[Any]:
    """A clone that can be given hints: clones by Django share the dict of these."""
    queryset = queryset.all()
    queryset._hints = dict(queryset._hints)
    return queryset


def hinted(queryset: QuerySet[Any], instance: Model) -> QuerySet[Any]:
    queryset = unshared(queryset)
    queryset._add_hints(instance=instance)
    return queryset


def fetch_rows(source: RowSource, field_name: str, keys: Sequence[Any], instance: Model) -> list[Any]:
    """The rows whose `field_name` is among the keys, in no order, as few queries as the database allows."""
    rows = _rows_of(source.make(instance), field_name, keys)
    if source.rest and len(rows) < len(keys):
        found = {getattr(row, field_name) for row in rows}
        if hidden := [key for key in keys if key not in found]:
            rows += _rows_of(base_rows(source.model).make(instance), field_name, hidden)
    return rows


def _rows_of(queryset: QuerySet[Any], field_name: str, keys: Sequence[Any]) -> list[Any]:
    if queryset.query.is_sliced:
        return []  # read whole before; what is not in the slice is not there
    queryset.query.clear_ordering()
    rows: list[Any] = []
    for batch in batches(keys, queryset):
        rows += with_keys(queryset.filter(**{f"{field_name}__in": batch[:1]}), batch)
    return rows


def fetch_links(relation: Relation, source: RowSource, keys: Sequence[Any], instance: Model) -> list[tuple[Any, Any]]:
    """Source and target keys, in the order, with the duplicates and the filter of the manager's own prefetch query."""
    if is_link_table_enough(relation, source):
        return _links_alone(relation, keys, instance)
    return _links_joined(relation, source, keys, instance)


def is_link_table_enough(relation: Relation, source: RowSource) -> bool:
    """
    Whether the manager shows every target, in no order: then the target's table need not be joined.

    A link to a target that does not exist, which the join would drop, is dropped when the target is not found.
    """
    _, _, target_field = link_fields(relation)
    target = target_field.remote_field.model
    return (
        not source.reads_links
        and plain_manager(target._default_manager)
        and not target._meta.ordering
        and len(target_field.related_fields) == 1
        and target_field.foreign_related_fields[0].primary_key
    )


def _links_alone(relation: Relation, keys: Sequence[Any], instance: Model) -> list[tuple[Any, Any]]:
    through, source_field, target_field = link_fields(relation)
    alias = router.db_for_read(target_field.remote_field.model, instance=instance)
    queryset: QuerySet[Any] = QuerySet(through, using=alias)
    if target_field.null:
        queryset = queryset.filter(**{f"{target_field.attname}__isnull": False})
    found: list[tuple[Any, Any]] = []
    for batch in batches(keys, queryset):
        rows = with_keys(queryset.filter(**{f"{source_field.attname}__in": batch[:1]}), batch)
        found += read_tuples(rows.values_list(source_field.attname, target_field.attname))
    return found


def _links_joined(relation: Relation, source: RowSource, keys: Sequence[Any], instance: Model) -> list[tuple[Any, Any]]:
    """Two columns of the prefetch query itself: the related manager's queryset, or the user's, joined to the links."""
    manager = getattr(instance, relation.name)
    queryset = source.make(instance) if source.reads_links else unrelated_queryset(manager)
    queryset = hinted(queryset, instance)
    queryset = queryset.using(queryset._db or manager._db)
    _, source_field, _ = link_fields(relation)
    connection = connections[queryset.db]
    table = source_field.model._meta.db_table
    column = f"{connection.ops.quote_name(table)}.{connection.ops.quote_name(source_field.column)}"
    convert = converter_of(source_field.get_col(table), connection)
    found: list[tuple[Any, Any]] = []
    for batch in batches(keys, queryset):
        rows = _filter_prefetch_queryset(queryset._next_is_sticky().all(), manager.query_field_name, batch[:1])
        rows = with_keys(rows, batch)
        # `extra` as Django does it: the join to the through table is there, and is the first one of its name.
        pairs = rows.extra(select={"_memo_source": column}).values_list("_memo_source", queryset.model._meta.pk.attname)
        links = read_tuples(pairs)
        found += links if convert is None else [(convert(key), target) for key, target in links]
    return found


def read_tuples(queryset: QuerySet[Any]) -> list[Any]:
    """What a values_list() gives; by one call of the driver where its tuples need no conversion."""
    compiler = queryset.query.get_compiler(using=queryset.db)
    try:
        sql, params = compiler.as_sql()
    except EmptyResultSet:
        return []
    if compiler.get_converters([expression for expression, _, _ in compiler.select]):
        return list(queryset)
    # A tenth of a many-to-many's time less than through results_iter, which asks for 100 rows at a time.
    with connections[queryset.db].cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


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
        for member in members:
            if member.pk in values:
                setattr(member, attname, values[member.pk])
            else:
                getattr(member, attname)  # the row is gone: Django says so


def _fetches_otherwise(state: Any) -> bool:
    """Whether an instance's deferred and related values are fetched otherwise than one by one."""
    return FETCH_ONE is not None and state.fetch_mode is not FETCH_ONE


# --- lists of keys -------------------------------------------------------------------------------------------------


class KeyIn(In):  # type: ignore[misc]
    """
    `column IN (keys)` for keys that are distinct, not null, and as the column gave them: no resolving, cleaning and
    deduplicating of each, which costs Django 2.5 us per key, more than twice what the database takes for it.
    """

    def __init__(self, lhs: Any, rhs: Sequence[Any]) -> None:
        # Past Lookup.__init__, which prepares every key.
        self.lhs, self.rhs = lhs, rhs
        self.bilateral_transforms: list[Any] = []

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        sql, params = self.process_lhs(compiler, connection)
        field = self.lhs.output_field
        field = getattr(field, "target_field", field)
        keys = self.rhs
        if not is_stored_as_is(field, keys):
            keys = [field.get_db_prep_value(key, connection, prepared=False) for key in keys]
        return f"{sql} IN ({', '.join(['%s'] * len(keys))})", (*params, *keys)


def with_keys(queryset: QuerySet[Any], keys: Sequence[Any]) -> QuerySet[Any]:
    """The queryset, whose last condition is `IN (keys[0])`, with all the keys in that condition."""
    where = queryset.query.where
    last = where.children[-1]
    while isinstance(last, WhereNode) and len(last.children) == 1 and not last.negated:
        where, last = last, last.children[-1]
    if connections[queryset.db].ops.max_in_list_size() is None and isinstance(last, In) and hasattr(last.lhs, "target"):
        where.children[-1] = KeyIn(last.lhs, keys)
    elif len(keys) > 1:
        where.children[-1] = type(last)(last.lhs, list(keys))
    return queryset


def is_stored_as_is(field: Field[Any, Any], keys: Sequence[Any]) -> bool:
    """Whether the column's parameters are the very Python values."""
    cls = type(field)
    if isinstance(field, IntegerField):
        kind: type = int
        stock = cls.get_prep_value is IntegerField.get_prep_value
    elif isinstance(field, CharField):
        kind, stock = str, cls.get_prep_value is CharField.get_prep_value
    else:
        return False
    stock = stock and cls.get_db_prep_value in (
        Field.get_db_prep_value,
        AutoFieldMixin.get_db_prep_value,
        IntegerField.get_db_prep_value,
    )
    return stock and set(map(type, keys)) == {kind}


# --- what a statement can hold -------------------------------------------------------------------------------------


def batches(keys: Sequence[Any], queryset: QuerySet[Any]) -> Iterator[Sequence[Any]]:
    """The keys in as few lists as the database takes parameters."""
    limit = parameter_limit(connections[queryset.db])
    if limit is None or len(keys) * 2 < limit:
        yield keys
        return
    own = queryset.query.get_compiler(using=queryset.db).as_sql()[1] if queryset.query.where else ()
    size = max(limit - len(own) - 16, 1)
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


def parameter_limit(connection: Any) -> int | None:
    """
    How many parameters one statement can have; None when there is no limit.

    Of SQLite the library itself is asked, since Django 4.2 and 5.2 say 999, which has not been the default since 2020.
    """
    if connection.vendor == "sqlite":
        connection.ensure_connection()
        return sqlite_limit(connection.connection)
    if connection.vendor == "postgresql":
        options = connection.settings_dict.get("OPTIONS", {})
        return 65_535 if options.get("server_side_binding") else None
    return connection.features.max_query_params  # type: ignore[no-any-return]


def sqlite_limit(database: sqlite3.Connection) -> int:
    if hasattr(database, "getlimit"):  # Python 3.11
        return database.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
    for (option,) in database.execute("PRAGMA compile_options").fetchall():
        if option.startswith("MAX_VARIABLE_NUMBER="):
            return int(option.partition("=")[2])
    return 32_766 if sqlite3.sqlite_version_info >= (3, 32) else 999


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
    if not issubclass(queryset._iterable_class, ModelIterable):
        return f"the queryset gives no instances but {queryset._iterable_class.__name__}"
    expressions = [
        *query.annotations.values(),
        query.where,
        *(order for order in query.order_by if not isinstance(order, str)),
    ]
    for expression in _flatten(expressions):
        if isinstance(expression, (RawSQL, ExtraWhere)):
            return "the queryset uses raw SQL"
        if isinstance(expression, (Random, Now)):
            return f"the queryset uses {type(expression).__name__}"
        if getattr(expression, "contains_over_clause", False):
            return "the queryset uses a window function"
    if "?" in query.order_by:
        return "the queryset is in random order"
    return why_not_linked(queryset, relation) if relation.kind == "to many" else None


def why_not_linked(queryset: QuerySet[Any], relation: Relation) -> str | None:
    """For a many-to-many: why what the queryset says of a row may be different for each link."""
    query = queryset.query
    if query.group_by is not None or any(annotation.contains_aggregate for annotation in query.annotations.values()):
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


def _flatten(expressions: Iterable[Any]) -> Iterator[Any]:
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
