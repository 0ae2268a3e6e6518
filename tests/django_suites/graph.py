"""Compares what can be reached from prefetched instances with what Django's own prefetching attaches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.db.models import Model, QuerySet
from django.db.models.base import ModelState


def fresh_copies(instances: Iterable[Any]) -> list[Any]:
    """Copies of the rows with nothing attached. An instance that occurs twice has one copy, which occurs twice."""
    copies: dict[int, Any] = {}
    return [copies.get(id(one)) or copies.setdefault(id(one), _fresh_copy(one)) for one in instances]


def _fresh_copy(instance: Any) -> Any:
    copied = instance.__class__.__new__(instance.__class__)
    state = copied.__dict__["_state"] = ModelState()
    for name in ("adding", "db", "fetch_mode"):
        if name in instance._state.__dict__:
            setattr(state, name, getattr(instance._state, name))
    for name, value in instance.__dict__.items():
        if name not in ("_state", "_prefetched_objects_cache") and not _is_related(value):
            copied.__dict__[name] = value
    return copied


def _is_related(value: Any) -> bool:
    return isinstance(value, (Model, QuerySet)) or (isinstance(value, list) and any(map(_is_related, value)))


def differences(ours: Sequence[Any], theirs: Sequence[Any]) -> Iterator[str]:
    """
    Says where `ours` lead to something else than `theirs`, which Django prefetched.

    Shared rows may have more relations cached, but the chunk's own instances may not.
    """
    seen: set[tuple[int, int]] = set()
    todo = [(our, their, f"[{index}]", True) for index, (our, their) in enumerate(zip(ours, theirs))]
    if len(ours) != len(theirs):
        yield f"{len(ours)} instances, not {len(theirs)}"
    while todo:
        our, their, where, first = todo.pop()
        if (id(our), id(their)) in seen:
            continue
        seen.add((id(our), id(their)))
        if our is None or their is None:
            if our is not their:
                yield f"{where}: {our!r}, not {their!r}"
            continue
        our_row, their_row = _row(our), _row(their)
        if not first and isinstance(our_row, dict) and isinstance(their_row, dict):
            # Another lookup may have attached something to a shared row by `to_attr`.
            for name in set(our_row) - set(their_row):
                if isinstance(our.__dict__.get(name), (Model, list)):
                    del our_row[name]
        if our_row != their_row:
            yield f"{where}: {our_row}, not {their_row}"
            continue
        our_fields, their_fields = our._state.fields_cache, their._state.fields_cache
        our_many, their_many = (getattr(one, "_prefetched_objects_cache", {}) for one in (our, their))
        if missing := (set(their_fields) - set(our_fields)) | (set(their_many) - set(our_many)):
            yield f"{where}: {sorted(missing)} not cached"
            continue
        if first and (more := (set(our_fields) - set(their_fields)) | (set(our_many) - set(their_many))):
            yield f"{where}: {sorted(more)} cached as well"
        for name, value in their_fields.items():
            todo.append((our_fields[name], value, f"{where}.{name}", False))
        for name, queryset in their_many.items():
            if type(our_many[name]).__name__ != type(queryset).__name__:
                yield f"{where}.{name}: a {type(our_many[name])}, not a {type(queryset)}"
                continue
            pairs = _pairs(list(our_many[name]), list(queryset), queryset.ordered)
            if pairs is None:
                yield f"{where}.{name}: {list(our_many[name])}, not {list(queryset)}"
                continue
            todo += [(one, other, f"{where}.{name}[{at}]", False) for at, (one, other) in enumerate(pairs)]
        for name, value in their.__dict__.items():
            if not _is_related(value):
                continue
            attached, expected = (one if isinstance(one, list) else [one] for one in (our.__dict__[name], value))
            pairs = _pairs(attached, expected, True)
            if pairs is None:
                yield f"{where}.{name}: {our.__dict__[name]}, not {value}"
                continue
            todo += [(one, other, f"{where}.{name}[{at}]", False) for at, (one, other) in enumerate(pairs)]


def _row(instance: Any) -> Any:
    if not isinstance(instance, Model):
        return instance
    state = instance._state
    values = {
        name: "related" if _is_related(value) else value
        for name, value in instance.__dict__.items()
        if name not in ("_state", "_prefetched_objects_cache") and not name.startswith("_prefetch_related_val_")
    }
    return {
        **values,
        "class": type(instance),
        "state": (state.db, state.adding, getattr(state, "fetch_mode", None)),
    }


def _pairs(ours: list[Any], theirs: list[Any], ordered: bool) -> list[tuple[Any, Any]] | None:
    if len(ours) != len(theirs):
        return None
    if not ordered:
        # The database chooses the order, and may choose another one for another statement.
        ours, theirs = (sorted(rows, key=lambda row: (type(row).__name__, str(row.pk))) for rows in (ours, theirs))
    return list(zip(ours, theirs))
