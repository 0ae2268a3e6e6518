"""Makes functions count as Django's own, since this package leaves relations to Django if others' code takes part."""

from __future__ import annotations

from typing import Any, Callable

from django_memoized_prefetch import _stock


def take_for_own(function: Callable[..., Any]) -> None:
    is_own = _stock.is_own

    def is_own_or_this(attribute: Any) -> bool:
        return attribute is function or is_own(attribute)

    _stock.is_own = is_own_or_this
