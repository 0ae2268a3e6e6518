"""What makes a table of remembered rows or links: what is in it, and who shares it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db.models import Model

from .._engine import Memo
from .._queries.sources import RowSource
from .._relation import Relation, is_data_descriptor, pk_fields


@dataclass(frozen=True)
class TableSpec:
    """
    A table of remembered rows.

    source: Where they are read from.
    key_name: The attribute that they are found by.
    custom_below: What is attached to them that other lookups must not see.
    """

    source: RowSource
    key_name: str
    custom_below: tuple[Any, ...] = ()

    @property
    def identity(self) -> tuple[Any, ...]:
        """Rows with equal ones are shared."""
        return (self.source.identity, self.key_name, self.custom_below)

    @property
    def label(self) -> str:
        """What the memo is called in a report."""
        name = self.source.model.__name__
        source = self.source.identity[0]
        return name if source == "base" else f"{name} ({source})"

    def new_memo(self, size: int | None) -> Memo:
        model = self.source.model
        pk_name = pk_fields(model)[0].attname
        in_dict = is_data_descriptor(model, self.key_name)
        return Memo(size, self.key_name, in_dict, None if pk_name == self.key_name else pk_name)


@dataclass(frozen=True)
class LinkSpec:
    """
    A table of remembered links of a many-to-many.

    identity: Links with equal ones are shared.
    model: That of the targets.
    name: What `through_model_source_target_cache` calls them: the through model and its two columns.
    are_alone: Whether, read from this database, they depend on the through table alone.
    """

    identity: tuple[Any, ...]
    relation: Relation
    model: type[Model]
    name: str
    are_alone: Callable[[str], bool]

    @property
    def label(self) -> str:
        """What they are called in a report."""
        return f"{self.relation.label} links"
