"""Reads a queryset in pages by primary key, with one query `key > last ORDER BY key LIMIT n + 1` for each page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from django.core.exceptions import EmptyResultSet, ValidationError
from django.db import Error, connections
from django.db.models import F, IntegerField, Model, QuerySet, lookups
from django.db.models.expressions import OrderBy

from .._engine import repeated_neighbour
from .._queries.eligibility import uses_other_rows
from .._queries.equality import why_ambiguous
from .._queries.joins import has_one_row_for_one, join_selected, with_selected
from .._relation import pk_fields
from .._stock import is_own_class, why_not_column, why_not_key, why_not_read_as_stock, why_not_stock
from .closing import closing_readers

# Django 4.2 compares with any number.
IntegerFieldOverflow: Any = getattr(lookups, "IntegerFieldOverflow", ())


class Pages:
    """
    Reads a queryset page by page, in the order of its primary key. Each page sees the database at its own moment.

    Each page is read with one row more, which is not given out. It tells whether there is another page. It also tells
    whether two rows share a key, as they may in a table that Django did not make: if a page ended between them, the
    second would be lost.

    Args:
        queryset: A queryset that nobody else holds and that `why_not_in_pages` accepts.
        where: The function whose errors these are, and what it advises.
    """

    def __init__(self, queryset: QuerySet[Any], where: str = "chunks", advice: str = '; use mode="cursor"') -> None:
        model: Any = queryset.model
        pk: Any = model._meta.pk
        self._queryset, self._name, self._attname = queryset, model.__name__, pk.attname
        self._columns = [column.attname for column in pk_fields(model)]
        self._where, self._advice = where, advice
        query = queryset.query
        # Change the query itself: a queryset class may override filter() and order_by().
        [order] = ordering_of(query) or [pk.attname]
        query.clear_ordering(force=True)
        query.add_ordering(order)
        join_selected(query)  # it may leave rows out, which must not be counted
        self.descending = (key_order(order, model) == "-") == query.standard_ordering
        # Such rows load values for all their peers, so the extra row must not be read together with them.
        self._has_peers = getattr(getattr(queryset, "_fetch_mode", None), "track_peers", False)
        self._may_have_nulls = not model._meta.managed and pk.get_lookup("isnull") is not None
        self._least, self._most = range_of(pk, connections[queryset.db])
        while pk.is_relation:
            pk = pk.target_field
        self.has_integer_keys = isinstance(pk, IntegerField)
        self.start(None)

    def start(self, after: Any) -> None:
        """Makes the next page begin after this key; None for the first row."""
        self._last, self._is_over = after, False
        self._behind: Any = None  # the key of the row after the last page
        self._error: Exception | None = None  # of the row after the last page, which could not be built

    def next(self, count: int) -> list[Any]:
        """The next `count` rows, fewer at the end. Raises ValueError if the keys do not allow pages."""
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error, self._is_over = None, True  # its traceback leads here: a cycle
        if self._is_over:
            return []
        self.refuse_nulls()
        rows = self._read(count, count if self._has_peers else count + 1)
        self._check(rows)
        # Now, before the user gets the rows and may delete or change the last one.
        behind = rows.pop() if len(rows) > count else None
        self._last = getattr(rows[-1], self._attname) if rows else None
        if self._has_peers and len(rows) == count:
            self._behind = self._key_behind()
        else:
            self._behind = getattr(behind, self._attname, None)
        if self._error is not None and rows:
            self._refuse_repeated()
        self._is_over = self._behind is None and self._error is None
        return rows

    def _read(self, count: int, limit: int) -> list[Any]:
        """Up to `limit` rows. If only the row behind the first `count` cannot be built, its error is kept for later."""
        page = self.behind(self._queryset._chain(), self._last)
        page.query.set_limits(high=limit)
        rows: list[Any] = []
        try:
            with closing_readers():
                rows.extend(page._iterable_class(page, chunk_size=limit))  # keeps those before the row that fails
        except Exception as error:
            if len(rows) != count:
                if rows or limit == count or isinstance(error, Error):
                    raise
                rows = self._read(count, count)  # a driver may convert all rows before the first is built
            self._error = error
        return rows

    def first_key(self, backwards: bool = False) -> Any:
        """The first key, or the last one if `backwards`; None if there are no rows."""
        keys = self.keys()
        if backwards:
            keys.query.standard_ordering = not keys.query.standard_ordering
        return next(self._some(keys, 1), None)

    def count(self) -> int:
        """How many rows there are."""
        count: int = self._queryset.query.get_count(using=self._queryset.db)
        return count

    def keys(self) -> Any:
        """A queryset of the keys alone, in their order."""
        if len(self._columns) > 1:
            return self._queryset.values_list(*self._columns)  # of "pk", Django does not convert foreign keys
        return self._queryset.values_list(self._attname, flat=True)

    def behind(self, queryset: QuerySet[Any], key: Any) -> QuerySet[Any]:
        """Leaves only the rows behind this key, in the order of the pages; None for all. It changes the queryset."""
        if key is not None:
            queryset.query.add_filter(f"{self._attname}__{'lt' if self.descending else 'gt'}", key)
        return queryset

    def upto(self, queryset: QuerySet[Any], key: Any) -> QuerySet[Any]:
        """Leaves only the rows up to this key and the one with it; None for all. It changes the queryset."""
        if key is not None:
            queryset.query.add_filter(f"{self._attname}__{'gte' if self.descending else 'lte'}", key)
        return queryset

    def key_at(self, count: int, after: Any) -> Any:
        """The key of the row that lies `count` rows behind this key; None if there are fewer."""
        return self.usable(next(iter(self.keys_at(count, after)), None))

    def keys_at(self, count: int, after: Any) -> Any:
        """A queryset of that key. Its last condition is the one on the key."""
        keys = self.behind(self.keys(), after)
        keys.query.set_limits(low=count - 1, high=count)
        return keys

    def refuse_nulls(self) -> None:
        """Raises ValueError if a row has no key: no condition on the key finds it, wherever the database sorts it."""
        if not self._may_have_nulls:
            return
        self._may_have_nulls = False
        keys = self.keys()
        keys.query.add_filter(f"{self._attname}__isnull", True)
        for _ in self._some(keys, 1):
            self._refuse("a row without a key")

    # --- keys that do not allow pages

    def usable(self, key: Any) -> Any:
        """
        The key. Raises ValueError if it lies outside of the range of its field, as in a table that Django did not make.

        From such a key on, Django takes a condition such as `key > last` for always or never true.
        """
        if isinstance(key, int) and (
            (self._least is not None and key < self._least) or (self._most is not None and key > self._most)
        ):
            kind = type(self._queryset.model._meta.pk).__name__
            self._refuse(f"the key {key}, which is outside of the range of its {kind}")
        return key

    def _check(self, rows: list[Any]) -> None:
        """Raises ValueError if no page can end after these rows, or could not before them."""
        if rows and self.has_integer_keys:
            self.usable(getattr(rows[0], self._attname))
            self.usable(getattr(rows[-1], self._attname))
        if not rows:
            keys: Sequence[Any] = ()
        elif (key := repeated_neighbour(rows, self._attname, self._last)) is not None:
            is_same = getattr(rows[0], self._attname) == self._last
            self._refuse(f"row {key!r} after itself" if is_same else f"several rows with the key {key!r}")
        elif getattr(rows[-1], self._attname) is None:
            self._refuse("a row without a key")
        elif self._behind is None or getattr(rows[0], self._attname) == self._behind:
            return
        else:
            keys = [getattr(row, self._attname) for row in rows]
            if self._last in keys:
                self._refuse(f"row {self._last!r} after itself")
        if self._behind is None or self._behind in keys:
            return
        # That row may be gone, or further back after inserts. Otherwise the database does not sort it after the last.
        passed = self.upto(self.keys(), self._last)
        passed.query.add_filter(f"{self._attname}__exact", self._behind)
        for _ in self._some(passed, 1):
            self._refuse(f"two rows whose keys it considers equal, {self._last!r} and {self._behind!r}")
        self.refuse_unusual_forms()

    def refuse_unusual_forms(self) -> None:
        """
        Raises ValueError if the database does not find a row by its own key.

        That happens if keys are stored in another form than Django writes them, such as UUIDs with hyphens on SQLite.
        No condition on the key is right then, and rows would be lost.
        """
        for backwards in (False, True):
            key = self.first_key(backwards)
            found = self.keys()
            found.query.add_filter(f"{self._attname}__exact", key)
            if key is not None and next(self._some(found, 1), None) is None and self.first_key(backwards) == key:
                self._refuse(f"the key {key!r}, by which it finds no row")

    def _key_behind(self) -> Any:
        """The key of the row after the last one; None if there is none."""
        keys = self.keys()
        keys.query.add_filter(f"{self._attname}__{'lte' if self.descending else 'gte'}", self._last)
        last, *behind = [*self._some(keys, 2), None]
        if last != self._last:
            return last  # the last row has been deleted since
        if behind[0] == self._last:
            self._refuse(f"several rows with the key {self._last!r}")
        return behind[0]

    def _refuse_repeated(self) -> None:
        """Raises ValueError if several rows have the last key, when no row behind it could be built that would tell."""
        same = self.keys()
        same.query.add_filter(f"{self._attname}__exact", self._last)
        if len(list(self._some(same, 2))) > 1:
            self._refuse(f"several rows with the key {self._last!r}")

    def _refuse(self, wrong: str) -> NoReturn:
        msg = f"{self._where}: {self._name} cannot be read in pages, the database returned {wrong}{self._advice}."
        raise ValueError(msg)

    def _some(self, keys: Any, count: int) -> Iterator[Any]:
        keys.query.set_limits(high=count)
        return iter(keys)


def why_not_in_pages(queryset: QuerySet[Any]) -> str | None:
    """Why pages, `key > last ORDER BY key LIMIT n`, might not give the rows of the queryset; None if they do."""
    query = queryset.query
    if query.combinator:
        return f"it is a {query.combinator}"
    if query.is_sliced:
        return "it is sliced"
    if query.distinct:
        return "it is distinct"
    if query.select_for_update:
        return "it locks its rows"
    if query.extra or query.extra_tables or query.extra_order_by:
        return "it uses extra()"
    annotations = query.annotations.values()
    if (
        query.group_by is not None
        or query.where.contains_aggregate
        or any(one.contains_aggregate for one in annotations)
    ):
        return "it aggregates"
    if any(getattr(one, "set_returning", False) for one in annotations):
        return "an annotation may return several rows per object"
    if (what := uses_other_rows(query)) is not None:
        return f"it uses {what}"
    joined = with_selected(query)
    for alias, join in joined.alias_map.items():
        if joined.alias_refcount[alias] and not has_one_row_for_one(join):
            return f"it joins {join.table_name}, which may have several rows per object"
    order = ordering_of(query)
    if len(order) > 1 or any(key_order(one, queryset.model) is None for one in order):
        by_model = " (Meta.ordering)" if query.default_ordering and not (query.order_by or query.extra_order_by) else ""
        return f"it is ordered by {', '.join(order_name(one) for one in order)}{by_model}"
    pk: Any = queryset.model._meta.pk
    if "pk" in query.annotations:
        return "an annotation is called pk"
    for name in ("gt", "lt"):
        if (lookup := pk.get_lookup(name)) is None:
            return f"the database cannot compare {pk.name}"
        if not is_own_class(lookup):
            return f"{pk.name} has its own lookup {name!r}"
    for column in pk_fields(queryset.model):
        # If a key is read differently from how it is written, it does not tell where the next page begins.
        reason = why_not_column(queryset.model, column.attname) or why_not_key(column) or why_ambiguous(column)
        if reason is not None:
            return reason
    return why_not_read_as_stock(type(queryset)) or why_not_stock(queryset)


def check_comparable(queryset: QuerySet[Any], after: Any) -> None:
    """
    Raises ValueError if the database cannot compare with this key: SQLite's driver takes integers of 64 bits only.

    Since Django 5, keys of one column beyond these are compared without asking the database.
    """
    connection, query = connections[queryset.db], QuerySet(queryset.model).query
    if connection.vendor != "sqlite":
        return
    query.add_filter(f"{queryset.model._meta.pk.attname}__gt", after)
    try:
        _, parameters = query.get_compiler(connection=connection).as_sql()
    except EmptyResultSet:
        return
    if any(isinstance(one, int) and not -(2**63) <= one < 2**63 for one in parameters):
        msg = f"chunks: after must be a key that SQLite can compare, whose integers have 64 bits, got {after!r}."
        raise ValueError(msg)


def range_of(key: Any, connection: Any) -> tuple[int | None, int | None]:
    """The least and the largest value that Django compares a key with; None where there is no limit."""
    compares = key.get_lookup("gt")
    if not (isinstance(compares, type) and issubclass(compares, IntegerFieldOverflow)):
        return None, None
    least, most = connection.ops.integer_field_range(key.get_internal_type())
    return least, most


def ordering_of(query: Any) -> Sequence[Any]:
    """What the query is ordered by; if nothing, the model's own ordering."""
    return query.order_by or (query.get_meta().ordering if query.default_ordering else ())


def key_order(order: Any, model: type[Model]) -> str | None:
    """For an ordering by primary key, "-" if descending or "" if ascending; None for any other ordering."""
    sign = ""
    if type(order) is OrderBy and "template" not in vars(order):
        sign, order = "-" if order.descending else "", order.expression
    if type(order) is F:
        order = order.name
    elif isinstance(order, str) and order.startswith("-"):
        sign, order = "-", order[1:]
    pk: Any = model._meta.pk
    # The name of a key that is a relation means the ordering of its target.
    names = ("pk", pk.attname) if pk.is_relation else ("pk", pk.attname, pk.name)
    return sign if order in names else None


def order_name(order: Any) -> str:
    if isinstance(order, OrderBy):
        return f"{order_name(order.expression)}{' descending' if order.descending else ''}"
    return order.name if isinstance(order, F) else str(order)


def key_value(model: type[Model], after: Any, what: str = "chunks: after") -> Any:
    """
    The primary key as rows hold it.

    Args:
        after: It may come from a checkpoint file: as text, and as a list for a key of several columns.
        what: The argument, for the error.

    Raises:
        ValueError: It is not a primary key of the model.
    """
    pk: Any = model._meta.pk
    columns = pk_fields(model)
    try:
        if isinstance(after, Model):
            raise TypeError
        if columns == [pk]:
            return pk.to_python(after)
        if isinstance(after, str) or len(after) != len(columns):
            raise TypeError
        return tuple(column.to_python(value) for column, value in zip(columns, after))
    except (TypeError, OverflowError, ValidationError) as error:
        names = ", ".join(column.name for column in columns)
        msg = f"{what} must be a primary key of {model.__name__} ({names}), got {after!r}."
        raise ValueError(msg) from error
