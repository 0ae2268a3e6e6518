"""
Forgetting rows that changed, in all their consequences.

What was remembered of a changed row is its entry in a memo, what is attached to remembered rows of other tables, and
the links that mention it. Rows that users already have are left as they are: a remembered row that has something stale
attached gives way to a copy without it, which the next chunk completes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import Model, QuerySet
from django.db.models.base import ModelState

from ._attach import AS_ATTRIBUTE, IN_FIELDS_CACHE, IN_PREFETCHED, Attachment
from ._relations import COLLECTIONS, DJANGO, TO_MANY, link_fields, pk_fields

if TYPE_CHECKING:
    from ._memory import Context

_PREFETCHED = "_prefetched_objects_cache"


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


def matters(change: Change, attachments: Iterable[Attachment], streamed: Collection[type[Model]]) -> bool:
    """
    Whether remembered rows may be or show those that changed.

    Jobs save the rows that they stream, and then no walk over all that is remembered is wanted for each chunk: of
    such a model it is enough to know that no relation leads to it.
    """
    if not any(change.concerns(model) for model in streamed):
        return True
    for attachment in attachments:
        relation = attachment.relation
        if relation.target is None or attachment.row_model is None or change.concerns(attachment.row_model):
            return True
        if concerned(attachment, change):
            return True
    return False


@dataclass(frozen=True)
class Edge:
    """What a row has attached: where, under which name, and the rows there."""

    where: int
    name: str
    rows: tuple[Any, ...]


def edges_of(row: Any) -> Iterator[Edge]:
    for name, value in list(fields_cache(row).items()):
        if isinstance(value, Model):
            yield Edge(IN_FIELDS_CACHE, name, (value,))
    for name, value in list(row.__dict__.get(_PREFETCHED, {}).items()):
        yield Edge(IN_PREFETCHED, name, rows_in(value))
    for name, value in list(row.__dict__.items()):
        if isinstance(value, Model) or (isinstance(value, list) and value and isinstance(value[0], Model)):
            yield Edge(AS_ATTRIBUTE, name, rows_in(value))


def fields_cache(row: Any) -> dict[str, Any]:
    cache: dict[str, Any] = row._state.__dict__.get("fields_cache", {})
    return cache


def rows_in(value: Any) -> tuple[Any, ...]:
    if isinstance(value, QuerySet):
        value = value.__dict__.get("_result_cache") or ()
    members = value if isinstance(value, (list, tuple)) else (value,)
    return tuple(member for member in members if isinstance(member, Model))


MISSING = object()


def attached_to(row: Any, where: int, name: str) -> Any:
    """What is attached under that name, MISSING when nothing ever was."""
    if where == IN_FIELDS_CACHE:
        return fields_cache(row).get(name, MISSING)
    return (row.__dict__.get(_PREFETCHED, {}) if where == IN_PREFETCHED else row.__dict__).get(name, MISSING)


def forget(
    context: Context,
    changes: Iterable[Change],
    attachments: Collection[Attachment],
    borrowed: Collection[tuple[int, str]],
) -> None:
    """
    Forgets what became stale in one context.

    Args:
        borrowed: Reverse one-to-one caches, by id of the row and name, that lead to objects of chunks.
    """
    changes = list(changes)
    kept_links = _forget_links(context, changes)
    _forget_absences(context, changes)
    _forget_rows(context, changes, Attached(changes, attachments, kept_links), borrowed)


class Attached:
    """What lookups attach to the rows of each model, and which of it no longer shows what the database has."""

    def __init__(
        self,
        changes: list[Change],
        attachments: Collection[Attachment],
        kept_links: dict[Any, dict[Any, Any]],
    ) -> None:
        self._kept_links = kept_links
        self.own: dict[Any, set[tuple[int, str]]] = defaultdict(set)  # they will do it again
        self._concerned: dict[Any, list[tuple[Attachment, tuple[tuple[int, str], ...]]]] = defaultdict(list)
        for attachment in attachments:
            relation = attachment.relation
            names = tuple(attachment.attached_as)
            self.own[relation.model].update(names)
            if relation.reverse_name is not None and attachment.row_model is not None:
                self.own[attachment.row_model].add((IN_FIELDS_CACHE, relation.reverse_name))
            if any(concerned(attachment, change) for change in changes):
                self._concerned[relation.model].append((attachment, names))

    def stale(self, row: Any) -> Iterator[tuple[int, str]]:
        """What may have to show rows that it does not show now."""
        for attachment, names in self._concerned[type(row)]:
            for where, name in names:
                value = attached_to(row, where, name)
                if value is not MISSING and self._may_lack(attachment, row, value):
                    yield where, name

    def _may_lack(self, attachment: Attachment, row: Any, value: Any) -> bool:
        relation = attachment.relation
        key = row.__dict__.get(relation.key_name)
        if attachment.kind == TO_MANY:
            return key not in self._kept_links.get(attachment.link_identity, {})
        if relation.kind in (TO_MANY, *COLLECTIONS) or (relation.target is None and attachment.kind == DJANGO):
            return True
        return value is None and (key is not None or attachment.kind == DJANGO)


def concerned(attachment: Attachment, change: Change) -> bool:
    relation = attachment.relation
    if relation.target is None or change.concerns(relation.target):
        return True
    return relation.kind == TO_MANY and change.concerns(link_fields(relation)[0])


def _forget_rows(
    context: Context, changes: list[Change], attached: Attached, borrowed: Collection[tuple[int, str]]
) -> None:
    entries = [(memo, key, row) for memo, _ in list(context.memos.values()) for key, row in memo.rows()]
    seen: dict[int, Any] = {}
    holders: dict[int, list[tuple[Any, Edge]]] = defaultdict(list)  # by row: what it is attached to
    detached: dict[int, set[tuple[int, str]]] = defaultdict(set)
    stale: set[int] = set()
    keys_of: dict[Any, list[frozenset[Any] | None]] = {}
    pending = [row for _, _, row in entries]
    while pending:
        row = pending.pop()
        if id(row) in seen:
            continue
        seen[id(row)] = row
        model = type(row)
        if model not in keys_of:
            keys_of[model] = [change.keys(model) for change in changes if change.concerns(model)]
        if any(keys is None or row.pk in keys for keys in keys_of[model]):
            stale.add(id(row))
        if names := set(attached.stale(row)):
            detached[id(row)] |= names
        for edge in edges_of(row):
            if edge.where == IN_FIELDS_CACHE and (id(row), edge.name) in borrowed:
                continue  # an object of a chunk, which is none of ours
            for other in edge.rows:
                holders[id(other)].append((row, edge))
                pending.append(other)
    affected = stale | set(detached)
    outdated = list(affected)
    while outdated:
        for holder, edge in holders[outdated.pop()]:
            detached[id(holder)].add((edge.where, edge.name))
            if id(holder) not in affected:
                affected.add(id(holder))
                outdated.append(id(holder))
    for memo, key, row in entries:
        if id(row) in stale or not detached.get(id(row), set()) <= attached.own[type(row)]:
            memo.discard([key])
        elif id(row) in affected:
            lent = {(IN_FIELDS_CACHE, name) for name in fields_cache(row) if (id(row), name) in borrowed}
            memo.replace(key, row, without(row, detached[id(row)] | lent))


def without(row: Any, names: set[tuple[int, str]]) -> Any:
    """A copy of a row that has less attached."""
    copy: Any = object.__new__(type(row))
    copy.__dict__.update(row.__dict__)
    state = copy._state = ModelState()
    state.__dict__.update(row._state.__dict__)
    cache = fields_cache(row)
    state.fields_cache = {name: value for name, value in cache.items() if (IN_FIELDS_CACHE, name) not in names}
    if _PREFETCHED in copy.__dict__:
        prefetched = copy.__dict__[_PREFETCHED]
        kept = {name: value for name, value in prefetched.items() if (IN_PREFETCHED, name) not in names}
        copy.__dict__[_PREFETCHED] = kept
    for where, name in names:
        if where == AS_ATTRIBUTE:
            copy.__dict__.pop(name, None)
    return copy


def _forget_absences(context: Context, changes: list[Change]) -> None:
    for memo, model in list(context.memos.values()):
        for change in changes:
            if change.concerns(model):
                # Of a memo by another column than the primary key it is not known which absence it was.
                keys = change.keys_by(model, memo.key_name)
                memo.discard([key for key in memo.absences() if keys is None or key in keys])


def _forget_links(context: Context, changes: list[Change]) -> dict[Any, dict[Any, Any]]:
    """Returns the links that are still known."""
    kept = {}
    for identity, (links, relation, alone) in list(context.links.items()):
        for change in changes:
            _forget_links_of(links, relation, alone, change)
        kept[identity] = dict(links.items())
    return kept


def _forget_links_of(links: Any, relation: Any, alone: bool, change: Change) -> None:
    """`alone`: the links depend on nothing but their own table, so that each mentions all that it depends on."""
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


def forget_sources(context: Context, changes: Iterable[Change]) -> None:
    """Forgets the links of rows that are themselves not remembered."""
    for links, relation, _ in list(context.links.values()):
        for change in changes:
            _forget_sources(links, relation, change)
