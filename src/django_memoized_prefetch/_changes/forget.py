"""
Forgets changed rows, and everything in memory that depends on them.

A changed row may have an entry in a memo, be attached to remembered rows of other tables, and be mentioned by links.
Rows that users already have are left alone: if a remembered row has something stale attached, it is replaced by a copy
without it, which the next chunk completes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any
from weakref import ref

from .._memory.change import Change
from .._memory.context import Context
from .._memory.memory import VARIANT
from .._relation import link_fields
from .._relations.base import Step
from .._relations.place import FIELDS_CACHE, Place, fields_cache, without
from .attached import Attached, Edge, edges_of


def forget(
    contexts: Iterable[Context],
    changes: list[Change],
    steps: Collection[Step],
    borrowed: Collection[tuple[int, str]],
) -> None:
    """
    Forgets what the changes made stale.

    Args:
        steps: All steps that may have attached something to remembered rows.
        borrowed: The reverse one-to-one caches that lead to objects of chunks, as pairs of row id and cache name.
    """
    for context in contexts:
        kept_links = _forget_links(context, changes)
        _forget_absences(context, changes)
        _forget_rows(context, changes, Attached(changes, steps, kept_links), borrowed)


class _Walk:
    """Walks over the remembered rows and all that is attached to them, and notes what is stale and what holds it."""

    def __init__(self, changes: list[Change], attached: Attached, borrowed: Collection[tuple[int, str]]) -> None:
        self._changes, self._attached, self._borrowed = changes, attached, borrowed
        self._seen: dict[int, Any] = {}
        self._holders: dict[int, list[tuple[Any, Edge]]] = defaultdict(list)  # by row id: what it is attached to
        self._keys_of: dict[Any, list[frozenset[Any] | None]] = {}
        self.detached: dict[int, set[Place]] = defaultdict(set)
        self.stale: set[int] = set()

    def walk(self, rows: Iterable[Any]) -> None:
        pending = list(rows)
        while pending:
            row = pending.pop()
            if id(row) in self._seen:
                continue
            self._seen[id(row)] = row
            if self._has_changed(row):
                self.stale.add(id(row))
            if places := set(self._attached.stale(row)):
                self.detached[id(row)] |= places
            for edge in edges_of(row):
                if edge.place.container == FIELDS_CACHE and (id(row), edge.place.name) in self._borrowed:
                    continue  # this leads to an object of a chunk, which is not remembered
                for other in edge.rows:
                    self._holders[id(other)].append((row, edge))
                    pending.append(other)

    def _has_changed(self, row: Any) -> bool:
        model = type(row)
        if model not in self._keys_of:
            self._keys_of[model] = [change.keys(model) for change in self._changes if change.concerns(model)]
        return any(keys is None or row.pk in keys for keys in self._keys_of[model])

    def affected(self) -> set[int]:
        """The ids of rows that are stale or have something stale attached, at any depth."""
        affected = self.stale | set(self.detached)
        outdated = list(affected)
        while outdated:
            for holder, edge in self._holders[outdated.pop()]:
                self.detached[id(holder)].add(edge.place)
                if id(holder) not in affected:
                    affected.add(id(holder))
                    outdated.append(id(holder))
        return affected


def _forget_rows(
    context: Context, changes: list[Change], attached: Attached, borrowed: Collection[tuple[int, str]]
) -> None:
    tables = [(identity, memo) for identity, (memo, _) in list(context.memos.items())]
    entries = [(identity, memo, key, row) for identity, memo in tables for key, row in memo.rows()]
    walk = _Walk(changes, attached, borrowed)
    walk.walk(row for *_, row in entries)
    affected = walk.affected()
    copies: list[tuple[Any, Any, Any, Any]] = []
    for identity, memo, key, row in entries:
        refilled = attached.refilled(row, identity[:-VARIANT])
        if id(row) in walk.stale or not walk.detached.get(id(row), set()) <= refilled:
            memo.discard([key])
        elif id(row) in affected:
            lent = {Place(FIELDS_CACHE, name) for name in fields_cache(row) if (id(row), name) in borrowed}
            copies.append((memo, key, row, without(row, walk.detached[id(row)] | lent)))
    _become_peers([copy for *_, copy in copies])
    for memo, key, row, copy in copies:
        memo.replace(key, row, copy)


def _become_peers(copies: list[Any]) -> None:
    """
    Makes the copies of rows that were read together each other's peers, instead of the rows'.

    What is not there yet is then loaded for all copies at once (Django 6.1's FETCH_PEERS). It must be loaded for the
    instance itself, which is not among the rows' peers.
    """
    together: dict[int, list[Any]] = defaultdict(list)
    for copy in copies:
        if peers := copy._state.__dict__.get("peers"):
            together[id(peers)].append(copy)
    for members in together.values():
        peers = [ref(member) for member in members]
        for member in members:
            member._state.peers = peers


def _forget_absences(context: Context, changes: list[Change]) -> None:
    for memo, model in list(context.memos.values()):
        for change in changes:
            if change.concerns(model):
                # If the memo's key is not the primary key, it is unknown which absences are stale: forget all.
                keys = change.keys_by(model, memo.key_name)
                memo.discard([key for key in memo.absences() if keys is None or key in keys])


def _forget_links(context: Context, changes: list[Change]) -> dict[Any, dict[Any, Any]]:
    """Forgets stale links. Returns those still remembered, by the identity of their table."""
    kept = {}
    for identity, (links, relation, alone) in list(context.links.items()):
        for change in changes:
            _forget_links_of(links, relation, alone, change)
        kept[identity] = dict(links.items())
    return kept


def _forget_links_of(links: Any, relation: Any, alone: bool, change: Change) -> None:
    """Forgets stale links of one table. `alone` means that they depend only on that table and the rows they mention."""
    if change.concerns(link_fields(relation)[0]):
        links.clear()
    _forget_sources(links, relation, change)
    if change.concerns(relation.target):
        targets = change.keys_by(relation.target, relation.target_field.attname) if alone else None
        links.discard(
            [source for source, mentioned in links.items() if targets is None or not targets.isdisjoint(mentioned)]
        )


def _forget_sources(links: Any, relation: Any, change: Change) -> None:
    if change.concerns(relation.model):
        sources = change.keys_by(relation.model, relation.key_name)
        if sources is None:
            links.clear()
        else:
            links.discard(list(sources))


def forget_sources(contexts: Iterable[Context], changes: Iterable[Change]) -> None:
    """Forgets the links of changed source rows, which need not be remembered themselves."""
    for context in contexts:
        for links, relation, _ in list(context.links.values()):
            for change in changes:
                _forget_sources(links, relation, change)
