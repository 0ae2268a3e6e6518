"""`Partition`: one part of a table, small enough for any task queue's message."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import isfinite
from types import SimpleNamespace
from typing import Any, TypeVar

from django.apps import apps
from django.db.models import Manager, Model, QuerySet

from .._messages import shown
from .._relation import pk_fields, value_field
from .._streaming.pages import key_value
from .ranges import of_whole, same_rows

Row = TypeVar("Row", bound=Model)

# Types that JSON has.
_PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class Partition:
    """
    A range of primary keys of one queryset. `partitions()` makes them.

    Attributes:
        run: The name of the run that it belongs to.
        index: Its number, from 0.
        count: How many parts there are.
        after: The last key before the range; None at the beginning.
        upto: The last key of the range; None at the end. Rows with new keys beyond either end belong to a part too.
        rows: How many rows it had when the table was cut.
        model: The label of the queryset's model, such as "shop.Book".
        rows_of: A hash of the SQL and the parameters that choose the queryset's rows.
        cut: Differs each time that a table is cut, even if the run has the same name.

    .. versionadded:: 1.0
    """

    run: str
    index: int
    count: int
    after: Any
    upto: Any
    rows: int
    model: str
    rows_of: str
    cut: str = field(compare=False)

    @property
    def name(self) -> str:
        """
        A name for a file of its own, such as "nightly-007-of-064-1f0c9a3b5d7e". Parts with other keys have other names.

        Names of a run sort like its parts. Characters of the run's name that no file name may have become "_", and only
        the first hundred are used. Other runs have other names all the same.
        """
        width = len(str(self.count))
        keys = f"{self.run} {self.model} {self.rows_of} {self._as_json(self.after)!r} {self._as_json(self.upto)!r}"
        digest = hashlib.blake2b(keys.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
        run = re.sub(r"[^\w.=@+-]", "_", self.run)[:100]
        return f"{run}-{self.index + 1:0{width}}-of-{self.count}-{digest}"

    def of(self, queryset: QuerySet[Row] | Manager[Row]) -> QuerySet[Row]:
        """
        The rows of this part.

        Args:
            queryset: Made as the one that was cut: the same model, conditions and order. Its lookups to prefetch, its
                columns, `select_related()` and the database's alias may differ.

        Raises:
            ValueError: It chooses other rows, or cannot be read in pages.
            TypeError: It is neither a queryset nor a manager.
        """
        where = f"Partition {self.index + 1} of {self.count} of run {self.run!r}"
        pages, clone = of_whole(queryset, where)
        if clone.model._meta.label != self.model:
            msg = f"{where}: expected a queryset of {self.model}, got one of {clone.model._meta.label}."
            raise ValueError(msg)
        if reason := same_rows(pages, self.rows_of):
            msg = f"{where}: this is not the queryset of {clone.model.__name__} that was cut; {reason}."
            raise ValueError(msg)
        return pages.upto(pages.behind(clone, self.after), self.upto)

    def as_dict(self) -> dict[str, Any]:
        """All fields as values that JSON has. Keys of other types become the text that Django's serializers write."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**values, "after": self._as_json(self.after), "upto": self._as_json(self.upto)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Partition:
        """
        The part that `as_dict()` described, equal to the original.

        Raises:
            ValueError: `values` lacks a field, has another, or names a model or a key that does not exist.
            TypeError: `values` is not a mapping.
        """
        where = "Partition.from_dict"
        names = [one.name for one in fields(cls)]
        if not isinstance(values, Mapping):
            msg = f"{where}: expected what as_dict() returned, got {shown(values)}."
            raise TypeError(msg)
        if set(values) != set(names):
            msg = f"{where}: expected the fields {', '.join(names)}, got {', '.join(map(str, values)) or 'none'}."
            raise ValueError(msg)
        try:
            model = apps.get_model(values["model"])
        except (LookupError, ValueError, AttributeError, TypeError) as error:
            msg = f"{where}: there is no model {values['model']!r}."
            raise ValueError(msg) from error
        for name, kind in (("run", str), ("index", int), ("count", int), ("rows", int), ("rows_of", str), ("cut", str)):
            if not isinstance(values[name], kind):
                msg = f"{where}: {name} must be of type {kind.__name__}, got {values[name]!r}."
                raise ValueError(msg)
        keys = {
            name: None if values[name] is None else key_value(model, values[name], f"{where}: {name}")
            for name in ("after", "upto")
        }
        return cls(**{**values, **{name: _plain(key) for name, key in keys.items()}})

    def _as_json(self, key: Any) -> Any:
        columns = pk_fields(apps.get_model(self.model))
        if len(columns) > 1:
            return None if key is None else [_as_json(column, value) for column, value in zip(columns, key)]
        return _as_json(columns[0], key)


def _plain(key: Any) -> Any:
    """A memoryview, which a BinaryField makes, cannot be pickled."""
    if isinstance(key, tuple):
        return tuple(map(_plain, key))
    return bytes(key) if isinstance(key, memoryview) else key


def _as_json(column: Any, value: Any) -> Any:
    if type(value) in _PLAIN and not (isinstance(value, float) and not isfinite(value)):  # JSON has no NaN
        return value
    column = value_field(column)
    return column.value_to_string(SimpleNamespace(**{column.attname: value}))
