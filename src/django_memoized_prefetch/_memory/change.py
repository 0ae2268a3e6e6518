"""`Change`: which rows of a model were saved, deleted or otherwise changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._relation import has_key_of, pk_fields


@dataclass(frozen=True)
class Change:
    """
    Rows of a model were saved, deleted or otherwise changed.

    model: Their model.
    pks: Their primary keys; None if any row may have changed.
    """

    model: Any
    pks: frozenset[Any] | None

    def concerns(self, model: Any) -> bool:
        """Whether rows of that model may have changed: it is the same model, or one inherits from the other."""
        mine, other = self.model._meta.concrete_model, model._meta.concrete_model
        return issubclass(other, mine) or issubclass(mine, other)

    def keys(self, model: Any) -> frozenset[Any] | None:
        """The primary keys of that model's changed rows; None if unknown."""
        mine, other = self.model._meta.concrete_model, model._meta.concrete_model
        return self.pks if has_key_of(mine, other) or has_key_of(other, mine) else None

    def keys_by(self, model: Any, key_name: str) -> frozenset[Any] | None:
        """Their values of `key_name`; None if unknown, as for any column but the primary key."""
        return self.keys(model) if [field.attname for field in pk_fields(model)] == [key_name] else None
