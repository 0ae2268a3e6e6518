"""Specifications of the tables of remembered rows and links: what they hold, and which lookups share them."""

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
    Describes a table of remembered rows.

    source: Where the rows are read from.
    key_name: The attribute that they are found by.
    custom_below: Lookups that attach to these rows what other lookups must not see.
    """

    source: RowSource
    key_name: str
    custom_below: tuple[Any, ...] = ()

    @property
    def identity(self) -> tuple[Any, ...]:
        """Lookups whose tables have equal identities share rows."""
        return (self.source.identity, self.key_name, self.custom_below)

    @property
    def label(self) -> str:
        """The name of the table in reports."""
        name = self.source.model.__name__
        source = self.source.identity[0]
        return name if source == "base" else f"{name} ({source})"

    @property
    def shown_as(self) -> type[Model]:
        """The key of its rows in `memoized_objects`."""
        return self.source.model

    def new_memo(self, size: int | None) -> Memo:
        model = self.source.model
        pk_name = pk_fields(model)[0].attname
        in_dict = is_data_descriptor(model, self.key_name)
        return Memo(size, self.key_name, in_dict, None if pk_name == self.key_name else pk_name)


@dataclass(frozen=True)
class LinkSpec:
    """
    Describes a table of remembered links of a many-to-many.

    identity: Lookups whose tables have equal identities share links.
    relation: The many-to-many.
    model: The model of the targets.
    shown_as: Their key in `through_model_source_target_cache`.
    are_alone: Tells for a database alias whether links read from it depend on the through table alone.
    """

    identity: tuple[Any, ...]
    relation: Relation
    model: type[Model]
    shown_as: str
    are_alone: Callable[[str], bool]

    @property
    def label(self) -> str:
        """The name of the table in reports."""
        return f"{self.relation.label} links"


def name_of_links(through: type[Model], source: str | None, target: str | None) -> str:
    """The name of links in `through_model_source_target_cache`, from the through model and its two columns."""
    return f"{through.__name__}_{source}_{target}"
