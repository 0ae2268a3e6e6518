"""Lets this package build every row of Django's ModelIterable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from django.db.models import Model
from django.db.models.query import ModelIterable, RelatedPopulator

from django_memoized_prefetch._hydrating.eligibility import why_not_compiled, why_not_native, why_not_stored
from django_memoized_prefetch._hydrating.iterable import NativeModelIterable
from tests.django_suites.own import take_for_own
from tests.django_suites.queries import unseen


class Rows:
    """How many rows the engine built, and how many Django built, by reason."""

    def __init__(self) -> None:
        self.native = 0
        self.django: Counter[str] = Counter()
        self.related_by_django: Counter[str] = Counter()

    def as_dict(self) -> dict[str, Any]:
        return {"native": self.native, "django": dict(self.django), "related_by_django": dict(self.related_by_django)}


class RowDiffersError(AssertionError):
    """An instance is not as Django makes it."""


def hydrate_everything(*, compare: bool) -> Rows:
    rows = Rows()
    stock, populate = ModelIterable.__iter__, RelatedPopulator.populate

    def native_or_stock(self: ModelIterable) -> Iterator[Any]:
        if isinstance(self, NativeModelIterable):
            # It calls its base class for rows that it does not build itself.
            self.reason = _reason(self)
            yield from stock(self)
            return
        natively = NativeModelIterable(self.queryset, self.chunked_fetch, self.chunk_size)
        natively.reason = None
        for row in compared(natively, self) if compare else natively:
            if natively.reason is None:
                rows.native += 1
            else:
                rows.django[natively.reason] += 1
            yield row

    def compared(natively: ModelIterable, iterable: ModelIterable) -> Iterator[Any]:
        counted = rows.related_by_django.copy()
        with unseen():
            try:
                # Build all of them first: each row adds to the list of peers that all share.
                theirs = list(stock(iterable))
            except Exception:
                # Let the test see the failure in the native run.
                yield from natively
                return
        rows.related_by_django = counted
        ours = list(natively)
        for our, their in zip_longest(ours, theirs):
            if our is None or their is None or dump(our) != dump(their):
                raise RowDiffersError(f"{our and dump(our)} is not {their and dump(their)}")
        yield from ours

    def counted_populate(self: RelatedPopulator, row: Any, from_obj: Any) -> None:
        rows.related_by_django[why_not_stored(self.model_cls) or f"{type(self).__name__}, below Django's"] += 1
        populate(self, row, from_obj)

    take_for_own(native_or_stock)
    take_for_own(counted_populate)
    ModelIterable.__iter__ = native_or_stock
    RelatedPopulator.populate = counted_populate
    return rows


def _reason(iterable: ModelIterable) -> str:
    queryset = iterable.queryset
    compiler = queryset.query.get_compiler(using=queryset.db)
    return why_not_native(queryset, iterable.chunked_fetch) or why_not_compiled(compiler) or "no reason"


def dump(value: Any, seen: tuple[Any, ...] = ()) -> Any:
    """An instance with everything attached to it, in the order of its attributes."""
    if not isinstance(value, Model):
        return type(value), value
    if (above := [one is value for one in reversed(seen)]) and any(above):
        return f"itself, {above.index(True)} above"
    state = dict(vars(value._state))
    cached = state.pop("fields_cache", None)
    peers = state.pop("peers", None)
    inside = (*seen, value)
    return (
        type(value),
        [(name, dump(one, inside)) for name, one in vars(value).items() if name != "_state"],
        list(vars(value)),
        list(vars(value._state)),
        state,
        None if cached is None else [(name, dump(one, inside)) for name, one in cached.items()],
        None if peers is None else (len(peers), any(peer() is value for peer in peers)),
    )
