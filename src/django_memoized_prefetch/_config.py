"""`MemoizedPrefetchConfig`: settings for the rows that some lookups lead to."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any, Optional, Union

from django.db import models
from django.db.models.query import ModelIterable

from ._messages import shown


class DefaultSize(int):
    """A size that nobody has asked for."""


# How many rows of a table are kept if nothing is said of it.
DEFAULT_SIZE = DefaultSize(10_000)
# Of every table, or by name of the table; None for all rows.
Size = Union[int, None, Mapping[str, Optional[int]]]


@dataclasses.dataclass
class MemoizedPrefetchConfig:
    """
    Names a related table to remember and the attributes that lead to it.

    Args:
        model: The related model. The rows are instances of it, or of the queryset's model.
        attributes: Names of relations to `model`, or paths to them (`"author"`, `"book.author"`, `"book__author"`):
            foreign keys, one-to-ones and many-to-manys. For a plain `author_id` column without a relation, write
            `"author"`.
        queryset: The queryset that rows are read from, for `select_related`, `prefetch_related`, annotations or a
            filter. It is never evaluated or changed. Rows that it leaves out become None, as with `Prefetch`.
        prefetch_all: Read the first `lru_cache_size` rows when the MemoizedPrefetch is made.
        lru_cache_size: How many rows, and how many sources of a many-to-many, to keep between chunks; None keeps all.
            If it is given, it holds also where `memory` divides the rest.
        is_many_to_many: Needed only with the next three. A many-to-many is recognised without any of the four.
        through_model: The model of the links.
        source_field: The field or column of `through_model` that holds the key of the chunk's objects.
        target_field: The field or column of `through_model` that holds the key of `model`.

    Raises:
        TypeError: An argument has another type than described above, or `model` is abstract and no queryset is given.
        ValueError: A size is not positive, the queryset does not fit `model`, or only some of the last four arguments
            are given.

    .. versionchanged:: 1.0
        A many-to-many needs only `model` and `attributes`. `lru_cache_size=None` keeps all.
    """

    model: type[models.Model]
    attributes: list[str]
    queryset: models.QuerySet[Any] | None = dataclasses.field(default=None, repr=False)  # repr() of it would read rows
    prefetch_all: bool = False
    lru_cache_size: int | None = DEFAULT_SIZE
    is_many_to_many: bool = False
    through_model: type[models.Model] | None = None
    source_field: str | None = None
    target_field: str | None = None

    def __post_init__(self) -> None:
        where = "MemoizedPrefetchConfig"
        if not (isinstance(self.model, type) and issubclass(self.model, models.Model)):
            msg = f"{where}: model must be a model class, got {shown(self.model)}."
            raise TypeError(msg)
        _check_names(self.attributes, f"{where}({self.model.__name__})")
        where = f"{where}({self.model.__name__}, {self.attributes!r})"
        self._check_table(where)
        check_size(self.lru_cache_size, where)
        for name in ("prefetch_all", "is_many_to_many"):
            # By value: 0 and None were always false.
            if getattr(self, name) not in (True, False, None):
                msg = f"{where}: {name} must be True or False, got {shown(getattr(self, name))}."
                raise TypeError(msg)
        self._check_links(where)
        if self.queryset is not None:
            self._check_queryset(self.queryset, where)

    def _check_table(self, where: str) -> None:
        """Raises TypeError if nothing says where rows are read from: an abstract model has no table."""
        options = getattr(self.model, "_meta", None)  # Model itself has none
        if not self.chooses_rows and (options is None or options.abstract):
            msg = f"{where}: model must have a table, got {self.model.__name__}, which is abstract, and no queryset."
            raise TypeError(msg)

    def _check_links(self, where: str) -> None:
        given = {name: getattr(self, name) for name in ("through_model", "source_field", "target_field")}
        lacking = [name for name, value in given.items() if not value]
        if self.is_many_to_many and lacking:
            msg = (
                "For many-to-many relationships, through_model, source_field, and target_field must be provided: "
                f"{where} lacks {', '.join(lacking)}. Or leave out is_many_to_many with all three: a many-to-many is "
                "recognised without it."
            )
            raise ValueError(msg)
        if not self.is_many_to_many and len(lacking) < len(given):
            msg = f"{where}: through_model, source_field and target_field need is_many_to_many=True."
            raise ValueError(msg)

    def _check_queryset(self, queryset: models.QuerySet[Any], where: str) -> None:
        if not isinstance(queryset, models.QuerySet):
            msg = f"{where}: queryset must be a QuerySet, got {shown(queryset)}."
            raise TypeError(msg)
        if not issubclass(queryset._iterable_class, ModelIterable):
            msg = f"{where}: queryset must give {self.model.__name__} instances, got one of values() or values_list()."
            raise ValueError(msg)
        if not (issubclass(queryset.model, self.model) or issubclass(self.model, queryset.model)):
            msg = f"{where}: queryset must be of {self.model.__name__}, got one of {queryset.model.__name__}."
            raise ValueError(msg)
        if queryset.query.is_sliced and not self.prefetch_all:
            msg = f"{where}: a sliced queryset cannot be filtered by key; remove the slice or set prefetch_all=True."
            raise ValueError(msg)

    @property
    def overrides_queryset(self) -> bool:
        """Whether a subclass overrides `get_queryset`."""
        return type(self).get_queryset is not MemoizedPrefetchConfig.get_queryset

    @property
    def chooses_rows(self) -> bool:
        """Whether it says which rows are read. Otherwise they are those that the relation or the model shows."""
        return self.queryset is not None or self.overrides_queryset

    def get_queryset(self) -> models.QuerySet[Any]:
        """The queryset that rows are read from. You may override it in a subclass; it is called for every query."""
        queryset = self.queryset
        if queryset is None:
            queryset = getattr(self.model, "objects", self.model._default_manager).all()
        if hasattr(queryset, "seal"):  # django-seal
            queryset = queryset.seal()
        return queryset


def _check_names(attributes: Any, where: str) -> None:
    """Raises TypeError unless it is a list of names."""
    if isinstance(attributes, str):
        got = f"the string {attributes!r}; write [{attributes!r}]"
    elif not isinstance(attributes, (list, tuple)):
        got = shown(attributes)
    elif others := [name for name in attributes if not isinstance(name, str)]:
        got = f"{shown(attributes)} with {shown(others[0])}"
    else:
        return
    msg = f"{where}: attributes must be a list of names, got {got}."
    raise TypeError(msg)


def check_size(size: Any, where: str) -> None:
    """Raises TypeError or ValueError unless `size` is a positive number of rows to keep, or None."""
    _check_one(size, f"{where}: lru_cache_size")


def check_sizes(sizes: Any, where: str) -> None:
    """The same for a size of all tables, or sizes by name of the table."""
    if not isinstance(sizes, Mapping):
        check_size(sizes, where)
        return
    for name, size in sizes.items():
        if not isinstance(name, str):
            msg = f"{where}: lru_cache_size must have names of tables, as in stats().tables, got {name!r}."
            raise TypeError(msg)
        _check_one(size, f"{where}: lru_cache_size[{name!r}]")


def _check_one(size: Any, what: str) -> None:
    if size is None:
        return
    if isinstance(size, bool) or not isinstance(size, int):
        msg = f"{what} must be a positive int or None, got {size!r}."
        raise TypeError(msg)
    if size <= 0:
        msg = f"{what} must be a positive int or None, got {size}."
        raise ValueError(msg)
    if size > sys.maxsize:
        msg = f"{what} must be at most {sys.maxsize}, or None to keep all, got {size}."
        raise ValueError(msg)
