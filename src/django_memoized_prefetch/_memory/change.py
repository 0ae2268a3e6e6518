"""Rows that were saved, deleted or otherwise changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._relation import pk_fields


@dataclass(frozen=True)
class Change:
    """
    Rows of a model were saved, deleted or otherwise changed.

    pks: Which; None: any.
    """

    model: Any
    pks: frozenset[Any] | None

    def concerns(self, model: Any) -> bool:
        """Whether rows of that model may be among those that changed: one of the two inherits from the other."""
        mine, other = self.model._meta.concrete_model, model._meta.concrete_model
        return issubclass(other, mine) or issubclass(mine, other)

    def keys(self, model: Any) -> frozenset[Any] | None:
        """The primary keys of that model's rows among those that changed; None: they are not known."""
        mine, other = self.model._meta.concrete_model, model._meta.concrete_model
        return self.pks if has_key_of(mine, other) or has_key_of(other, mine) else None

    def keys_by(self, model: Any, key_name: str) -> frozenset[Any] | None:
        """The same, of a column that may be another one."""
        return self.keys(model) if [field.attname for field in pk_fields(model)] == [key_name] else None


def has_key_of(model: Any, parent: Any) -> bool:
    """Whether a row has the same primary key as its row of the parent model, or is of the same model."""
    while model is not parent:
        link = model._meta.pk.remote_field
        if link is None or not getattr(link, "parent_link", False):
            return False
        model = link.model._meta.concrete_model
    return True
