"""Functions that count as Django's own in a test: this package leaves to Django what runs those of others."""

from __future__ import annotations

from typing import Any, Callable

from django_memoized_prefetch import _stock


def take_for_own(function: Callable[..., Any]) -> None:
    is_own = _stock.is_own

    def is_own_or_this(attribute: Any) -> bool:
        return attribute is function or is_own(attribute)

    _stock.is_own = is_own_or_this
