"""`ChangeLog`: what this process saves and deletes during a run, as Django's signals report it."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from threading import RLock
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import CASCADE, DO_NOTHING, PROTECT, RESTRICT, Model
from django.db.models.signals import m2m_changed, post_delete, post_save

from .._memory.change import Change

try:
    from django.db.models import DB_CASCADE
except ImportError:  # before Django 6.1
    DB_CASCADE = None

# With more changed rows of one model than this, any of its rows may have changed.
MAX_CHANGES = 10_000
ANY = object()
_WITHOUT_CHANGES = (CASCADE, DO_NOTHING, PROTECT, RESTRICT)  # or with a signal for each row


class ChangeLog:
    """Collects the changes since the last chunk began, those made while a chunk runs included."""

    def __init__(self) -> None:
        self._changed: dict[type[Model], set[Any]] = {}
        self._lock = RLock()  # several threads may save

    def listen(self) -> None:
        # Signals hold their receivers weakly, so they do not keep this log alive.
        post_save.connect(self._row_changed)
        post_delete.connect(self._row_deleted)
        m2m_changed.connect(self._links_changed)

    def _row_changed(self, sender: type[Model], instance: Model, **_: Any) -> None:
        self.record_change(sender, instance.pk)

    def _row_deleted(self, sender: type[Model], instance: Model, **_: Any) -> None:
        self.record_change(sender, instance.pk)
        for model in changed_by_deletion(sender):  # type: ignore[arg-type]
            self.record_change(model, None)

    def _links_changed(self, sender: type[Model], action: str, **_: Any) -> None:
        if action.startswith("post_"):
            self.record_change(sender, None)

    def record_change(self, model: type[Model], pk: Any) -> None:
        with self._lock:
            pks = self._changed.setdefault(model, set())
            if pk is None or len(pks) >= MAX_CHANGES or not _is_hashable(pk):
                pks = self._changed[model] = {ANY}
            if ANY not in pks:
                pks.add(pk)

    def take(self) -> list[Change]:
        """Returns the changes so far and empties the log."""
        if not self._changed:
            return []
        with self._lock:
            changed, self._changed = self._changed, {}
        return [Change(model, None if ANY in pks else frozenset(pks)) for model, pks in changed.items()]

    def clear(self) -> None:
        self._changed, self._lock = {}, RLock()  # a forked child may have inherited the lock of another thread


def _is_hashable(pk: Any) -> bool:
    """A JSON key may be a list."""
    try:
        hash(pk)
    except TypeError:
        return False
    return True


@functools.lru_cache(maxsize=256)
def changed_by_deletion(model: Any) -> frozenset[type[Model]]:
    """
    The models whose rows Django or the database changes without a signal when a row of this model is deleted.

    That is what `on_delete` says: SET_NULL, SET_DEFAULT, SET() and those of Django 6.1 that the database carries out.
    """
    changed: set[type[Model]] = set()
    deleted, pending = {model}, [model]
    while pending:
        for related in pending.pop()._meta.get_fields(include_hidden=True):
            on_delete: Any = getattr(related, "on_delete", None) if related.auto_created else None
            if on_delete in (None, *_WITHOUT_CHANGES):
                continue
            changed.add(related.related_model)
            if on_delete is DB_CASCADE and related.related_model not in deleted:
                deleted.add(related.related_model)
                pending.append(related.related_model)
    return frozenset(changed)


def changed_keys(model: type[Model], pks: Iterable[Any]) -> frozenset[Any]:
    """
    The primary keys as rows hold them. The given ones may be text, for example from a form or a URL.

    Raises:
        TypeError: One of them is a model instance.
        ValueError: One of them is not a valid key.
    """
    keys = list(pks)
    for key in keys:
        if isinstance(key, Model):
            msg = f"invalidate: expected primary keys of {model.__name__}, got the instance {key!r}; give its pk."
            raise TypeError(msg)
    pk: Any = model._meta.pk
    try:
        return frozenset(pk.to_python(key) for key in keys if key is not None)
    except ValidationError as error:
        msg = f"invalidate: {keys!r} are not all primary keys of {model.__name__}: {error.messages[0]}"
        raise ValueError(msg) from error
