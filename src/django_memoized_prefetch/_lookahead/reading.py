"""Reads the key columns of a run: one statement for its rows, and one for each many-to-many."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import F, Model, QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.functions import Random
from django.db.models.sql.where import ExtraWhere

from .._memory.table import TableSpec
from .._queries.eligibility import all_expressions
from .._queries.joins import join_selected
from .._queries.sources import unshared
from .._relations.foreign_key import ForeignKey
from .._streaming.pages import ordering_of, why_not_in_pages
from .levels import Levels, PlannedLevel, links_of, stand_in

# As many rows as the driver returns at a time: fewer than the 700 new objects that start the garbage collector.
BATCH = 500


class Reader:
    """
    Reads the keys of planned levels.

    Args:
        levels: They get the keys. Those whose keys cannot be read are added to `untold`.
        limit: How many rows of the run to read; None for all.
        report: Called with the number of rows of each batch.

    joined: For each level that the rows' own statement can read, the path to its key.
    """

    def __init__(self, levels: Levels, limit: int | None, report: Callable[[int], None]) -> None:
        # Databases accept 64-bit limits.
        self._levels, self._limit, self._report = levels, None if limit is None else min(limit, sys.maxsize), report
        self.statements = 0
        self.rows = 0
        self.joined: dict[PlannedLevel, str] = {}

    # --- the rows of the run

    def read_queryset(self, queryset: QuerySet[Any]) -> None:
        """Reads the keys that a queryset's rows hold, then those of the rows that these lead to."""
        # Only in pages are rows without an order read in that of the key.
        is_ordered = bool(ordering_of(queryset.query)) or why_not_in_pages(queryset) is None
        rows = bare(queryset)
        selected = join_selected(rows.query)
        rows.query.select_related = False
        joins = may_join(rows)
        linked: QuerySet[Any] | None = rows
        if not joins:
            multiplies = bool(selected) and joins_several(rows.query)
            linked = None if multiplies else wrapped(rows)
        for level in self._levels.told:
            if level.parent is None and (reason := why_unread(level, rows, linked, is_ordered)) is not None:
                self._levels.leave(level.step, reason)
        self._levels.leave_shared()
        for level in self._levels.told:
            path = self._path(level, joins)
            if path is not None:
                self.joined[level] = path
        told = list(self.joined)
        # The keys keep apart equal values, for a queryset that is distinct or aggregates.
        keys = [] if joins else ["pk", *(f"{name}__pk" for name in selected)]
        # They come last, since a composite key has several columns.
        columns = list(dict.fromkeys([*self.joined.values(), *keys]))
        if told:
            at = [(columns.index(self.joined[level]), level.number) for level in told]
            limited = rows if self._limit is None or rows.query.is_sliced else rows[: self._limit]
            for batch in islice_rows(self._tuples(limited.values_list(*columns)), self._limit):
                self._levels.ahead.read(batch, at)
                self.rows += len(batch)
                self._report(len(batch))
        for level in self._levels.told:
            if level.links is not None and level.parent is None and linked is not None:
                self._read_links(level, linked, ordering_of(rows.query))
        self._read_below()

    def read_objects(self, objects: Iterator[Any]) -> None:
        """Reads the keys that objects hold, but not what these lead to: the database may have keys of another type."""
        for level in self._levels.told:
            if level.parent is not None:
                self._levels.leave(level.step, "only the keys that objects hold are known")
        self._levels.leave_shared()
        told = self._levels.told
        at = [(position, level.number) for position, level in enumerate(told)]
        attributes = [level.key_name for level in told]
        taken = islice(objects, self._limit)
        while chunk := list(islice(taken, BATCH)):
            for one in chunk:
                if type(one) is not self._levels.model:
                    msg = (
                        f"plan: expected objects of one class, got {type(one).__name__} after "
                        f"{self._levels.model.__name__}."
                    )
                    raise TypeError(msg)
            # What is attached to an object is not asked for.
            lacking = [{id(one) for one in level.step.not_attached(chunk)} for level in told]
            keys = [
                tuple(getattr(one, name) if id(one) in those else None for name, those in zip(attributes, lacking))
                for one in chunk
            ]
            if told:
                self._levels.ahead.read(keys, at)
            self.rows += len(chunk)
            self._report(len(chunk))

    def _path(self, level: PlannedLevel, joins: bool) -> str | None:
        """The path from the run's rows to the level's key; None if it has to be read by itself."""
        if level.links is not None:
            return None
        if level.parent is None:
            return level.key_name
        above = self.joined.get(level.parent)
        if not joins or above is None or not self._joins(level.parent):
            return None
        relations = above.rpartition("__")[0]
        name = level.parent.step.relation.name
        return f"{relations}__{name}__{level.key_name}" if relations else f"{name}__{level.key_name}"

    def _joins(self, level: PlannedLevel) -> bool:
        """Whether a join leads to the same rows as the level, and loses none."""
        step = level.step
        if not isinstance(step, ForeignKey) or level.alias != self._levels.alias:
            return False
        field = step.relation.descriptor.field
        has_constraint = field.db_constraint and connections[level.alias].features.supports_foreign_keys
        return step.row_source.identity[0] == "base" and not step.row_source.of_manager and bool(has_constraint)

    # --- what the rows lead to

    def _read_links(self, level: PlannedLevel, rows: QuerySet[Any], order: Sequence[Any]) -> None:
        _, _, _, path = links_of(level.step.relation)
        # The key keeps the links of one object together if others are equal in that order.
        linked = rows.order_by(*order, "pk", *ordering_through(level, path))
        for batch in self._tuples(linked.values_list("pk", path)):
            self._levels.ahead.read_links(batch, level.number)
            read = self._levels.ahead.rows(level.number)
            if not self.joined:
                self._report(read - self.rows)
                self.rows = read
            if self._limit is not None and read > self._limit:
                break
        if not self.joined and self._limit is not None:
            self.rows = min(self.rows, self._limit)

    def _read_below(self) -> None:
        """Reads what no join gives: for each table above, its rows' keys and those that they hold."""
        told = self._levels.told
        for parent in told:  # each before what is below it, since rows are looked up by the keys read so far
            below = [level for level in told if level.parent is parent and level not in self.joined]
            for level in below:
                if level.links is not None:
                    self._read_links_below(level)
            levels = [level for level in below if level.links is None]
            if levels:
                columns = [key_name_of(parent), *(level.key_name for level in levels)]
                at = [(position + 1, level.number) for position, level in enumerate(levels)]
                for batch in self._tuples(self._rows_of(parent).values_list(*columns)):
                    self._levels.ahead.read_below(batch, parent.memo.number, at)

    def _rows_of(self, level: PlannedLevel) -> QuerySet[Any]:
        """All rows that the level may attach."""
        rows = level.step.row_source.queryset(stand_in(level.model, level.alias))
        rows.query.clear_ordering(force=True)
        return rows

    def _read_links_below(self, level: PlannedLevel) -> None:
        through, source, target, _ = links_of(level.step.relation)
        links: QuerySet[Any] = QuerySet(through, using=level.alias)
        links.query.clear_ordering(force=True)
        if ordering := ordering_through(level, target):
            links = links.order_by(*ordering)
        for batch in self._tuples(links.filter(**{f"{target}__isnull": False}).values_list(source, target)):
            self._levels.ahead.read_links(batch, level.number)
        parent = level.parent
        assert parent is not None
        if not self._joins(parent):  # keys may lead to no row
            self._levels.ahead.read_rows_above([], level.number)
            for batch in self._tuples(self._rows_of(parent).values_list(key_name_of(parent))):
                self._levels.ahead.read_rows_above(batch, level.number)
        self._levels.ahead.end_links(level.number)

    def _tuples(self, queryset: QuerySet[Any]) -> Iterator[list[Any]]:
        """The rows as the driver returns them: keys are only compared with each other."""
        connection = connections[queryset.db]
        try:
            sql, params = queryset.query.get_compiler(using=queryset.db).as_sql()
        except EmptyResultSet:
            return
        self.statements += 1
        # On PostgreSQL a cursor of the server, so that not all rows are in memory at once.
        chunked = not connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS")
        with connection.chunked_cursor() if chunked else connection.cursor() as cursor:
            cursor.execute(sql, params)
            while batch := cursor.fetchmany(BATCH):
                yield batch if isinstance(batch, list) else list(batch)


def bare(queryset: QuerySet[Any]) -> QuerySet[Any]:
    """
    The queryset for a statement that reads its keys: without what only its objects need, in a definite order.

    It still has its `select_related`, which may join more.
    """
    rows = unshared(queryset)
    query = rows.query
    query.clear_deferred_loading()
    query.select_for_update = False
    if not ordering_of(query) and not query.combinator and not query.is_sliced:
        query.add_ordering("pk")
    model: type[Model] = queryset.model
    plain: QuerySet[Any] = QuerySet(model, query=query, using=queryset.db)  # a subclass may override values_list()
    return plain


def is_random(queryset: QuerySet[Any]) -> bool:
    """Whether the rows come in another order each time."""
    query = queryset.query
    for one in ordering_of(query):
        if isinstance(one, str):
            one = query.annotations.get(one.lstrip("-+"), one)
        if one == "?" or isinstance(getattr(one, "expression", one), Random):
            return True
    return False


def why_unread(level: PlannedLevel, rows: QuerySet[Any], linked: QuerySet[Any] | None, is_ordered: bool) -> str | None:
    """
    Why a relation of the run's own rows cannot be read; None if it can.

    Args:
        linked: The rows as a queryset that can be joined with links, if there is one.
        is_ordered: Whether it is known in which order the run reads its rows.
    """
    if not is_ordered:
        return "the rows come in no certain order; add order_by()"
    if is_random(rows):
        return "the rows come in random order"
    if level.links is None:
        return None
    order = ordering_of(rows.query)
    # Other orders cannot be repeated in the joined statement.
    is_named = all(isinstance(one, str) and one.lstrip("-+") not in rows.query.annotations for one in order)
    return None if linked is not None and order and is_named else "the queryset cannot be joined with the links"


def may_join(queryset: QuerySet[Any]) -> bool:
    """Whether joining further tables leaves its rows as they are."""
    query = queryset.query
    is_raw = query.extra or query.extra_tables or query.extra_order_by or has_raw_sql(query)
    is_grouped = query.distinct or query.group_by is not None
    return not (query.combinator or is_grouped or query.is_sliced or joins_several(query) or is_raw)


def has_raw_sql(query: Any) -> bool:
    """Whether columns of further tables might become ambiguous."""
    orders = [one for one in query.order_by if hasattr(one, "get_source_expressions")]
    expressions = all_expressions([*query.annotations.values(), query.where, *orders])
    return any(isinstance(one, (RawSQL, ExtraWhere)) for one in expressions)


def joins_several(query: Any) -> bool:
    """Whether a join may have several rows for one."""
    return any(
        query.alias_refcount[alias] and getattr(join, "join_field", None) is not None and not is_to_one(join)
        for alias, join in query.alias_map.items()
    )


def wrapped(queryset: QuerySet[Any]) -> QuerySet[Any] | None:
    """The rows with these primary keys, which can be joined; None if they may be others."""
    query = queryset.query
    if query.is_sliced and joins_several(query):
        return None
    is_once = query.distinct and not query.distinct_fields
    if query.combinator or not (query.is_sliced or is_once or query.group_by is not None):
        return None
    if query.is_sliced and not connections[queryset.db].features.allow_sliced_subqueries_with_in:
        return None
    rows: QuerySet[Any] = QuerySet(queryset.model, using=queryset.db)
    return rows.filter(pk__in=queryset.values("pk"))


def is_to_one(join: Any) -> bool:
    field = join.join_field
    return bool(getattr(field, "many_to_one", False) or getattr(field, "one_to_one", False))


def key_name_of(level: PlannedLevel) -> str:
    """The column by which the level's rows are found."""
    assert isinstance(level.memo.spec, TableSpec)
    return level.memo.spec.key_name


def ordering_through(level: PlannedLevel, path: str) -> list[Any]:
    """The order of the links of one object: that of the targets' own model, reached through `path`."""
    through = path.rpartition("__")[0] or path
    ordering: Sequence[Any] = level.step.relation.to._meta.ordering
    return [
        F(f"{through}__{name.lstrip('-')}").desc() if name.startswith("-") else F(f"{through}__{name}")
        for name in ordering
    ]


def islice_rows(batches: Iterator[list[Any]], limit: int | None) -> Iterator[list[Any]]:
    """The first rows, in batches."""
    left = limit
    for batch in batches:
        if left is None:
            yield batch
            continue
        if left <= 0:
            return
        yield batch[:left]
        left -= len(batch)
