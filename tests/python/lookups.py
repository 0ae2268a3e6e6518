"""Descriptions of lookups and querysets that hypothesis draws, and from which any number of equal ones are made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import django
from django.core.exceptions import FieldError
from django.db import models
from django.db.models import Count, Exists, F, OuterRef, Prefetch, Q, Window
from django.db.models.functions import RowNumber
from hypothesis import strategies as st

from django_memoized_prefetch import MemoizedPrefetchConfig
from tests.python.attributes import relations

if django.VERSION >= (5, 0):
    from django.contrib.contenttypes.prefetch import GenericPrefetch

MAX_DEPTH = 3
# What a row of the queryset says depends on the row alone, or also on other rows and tables, or on other keys.
PLAIN = ["filter", "order", "only", "annotate"]
KINDS = [*PLAIN, "join", "select", "distinct", "exists", "window", "count", "link", "slice"]


@dataclass(frozen=True)
class Bounds:
    """
    What is drawn.

    note: What a note's generic foreign key leads to, when that is one class only.
    kinds: What is done to querysets.
    """

    note: type[models.Model] | None = None
    kinds: tuple[str, ...] = tuple(KINDS)


@dataclass(frozen=True)
class Rows:
    """A queryset: the manager it starts from, and the methods called on it."""

    model: type[models.Model]
    manager: str
    calls: tuple[tuple[str, tuple[Any, ...], dict[str, Any]], ...] = ()
    lookups: tuple[Wanted, ...] = ()
    limit: int | None = None

    def make(self) -> models.QuerySet[Any]:
        queryset = getattr(self.model, self.manager).all()
        for method, arguments, named in self.calls:
            queryset = getattr(queryset, method)(*arguments, **named)
        if self.lookups:
            queryset = queryset.prefetch_related(*(lookup.make() for lookup in self.lookups))
        return queryset if self.limit is None else queryset[: self.limit]

    @property
    def is_ordered(self) -> bool:
        try:
            return bool(self.make().ordered)
        except FieldError:
            return False  # refused when the lookup is made

    def __repr__(self) -> str:
        text = f"{self.model.__name__}.{self.manager}.all()"
        for method, arguments, named in self.calls:
            given = [*map(repr, arguments), *(f"{name}={value!r}" for name, value in named.items())]
            text += f".{method}({', '.join(given)})"
        if self.lookups:
            text += f".prefetch_related({', '.join(map(repr, self.lookups))})"
        return text if self.limit is None else f"{text}[:{self.limit}]"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))


@dataclass(frozen=True)
class Wanted:
    """
    A lookup string, or with rows or an attribute a Prefetch, or with several rows a GenericPrefetch.

    as_config: How it is given as a config, if it is: "queryset" with these rows as its queryset, "all" with all of them
        read in advance, "own" with a class that overrides get_queryset(), "plain" with the relation's target alone.
    target: What the relation leads to.
    """

    path: str
    rows: Rows | tuple[Rows, ...] | None = None
    to_attr: str | None = None
    as_config: str | None = None
    target: type[models.Model] | None = None

    def given(self, size: int | None) -> Any:
        """As MemoizedPrefetch takes it."""
        if self.as_config is None:
            return self.make()
        assert self.target is not None
        if self.as_config == "own":
            own = OwnRows(self.target, [self.path], lru_cache_size=size)
            own.rows = self.rows
            return own
        queryset = self.rows.make() if isinstance(self.rows, Rows) else None
        everything = self.as_config == "all"
        return MemoizedPrefetchConfig(self.target, [self.path], queryset, everything, lru_cache_size=size)

    def make(self) -> Any:
        if isinstance(self.rows, tuple):
            return GenericPrefetch(self.path, [rows.make() for rows in self.rows], to_attr=self.to_attr)
        if self.rows is None and self.to_attr is None:
            return self.path
        return Prefetch(self.path, None if self.rows is None else self.rows.make(), to_attr=self.to_attr)

    def __repr__(self) -> str:
        if self.rows is None and self.to_attr is None and self.as_config is None:
            return repr(self.path)
        kind, given = "Prefetch", [repr(self.path)]
        if isinstance(self.rows, tuple):
            kind, given = "GenericPrefetch", [*given, repr(list(self.rows))]
        elif self.rows is not None:
            given.append(f"queryset={self.rows!r}")
        if self.to_attr is not None:
            given.append(f"to_attr={self.to_attr!r}")
        if self.as_config is not None:
            given.append(f"as_config={self.as_config!r}")
        return f"{kind}({', '.join(given)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))


class OwnRows(MemoizedPrefetchConfig):
    """A config that overrides get_queryset()."""

    rows: Any

    def get_queryset(self) -> models.QuerySet[Any]:
        return self.rows.make()


def is_ordered_attribute(name: str) -> bool | None:
    """By its name, whether the rows that a drawn lookup stores there have an order; None: it is no such attribute."""
    return {"ordered": True, "some": False}.get(name.partition("_")[0]) if "_" in name else None


def columns(model: type[models.Model]) -> list[str]:
    return [field.name for field in model._meta.concrete_fields]


def to_one(model: type[models.Model]) -> list[str]:
    """What select_related() can follow."""
    return [
        field.name if field.concrete or not field.auto_created else field.get_accessor_name()
        for field in model._meta.get_fields()
        if (field.many_to_one or field.one_to_one) and field.related_model is not None
    ]


@st.composite
def changes(
    draw: st.DrawFn, model: type[models.Model], link: str | None = None, kinds: tuple[str, ...] = tuple(KINDS)
) -> tuple[Any, ...]:
    """Up to two method calls on a queryset."""
    found: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
    if not (hasattr(model, "rank") and hasattr(model, "name")):  # another schema's, by way of a content type
        kinds = tuple(kind for kind in kinds if kind not in ("filter", "order", "annotate", "exists", "window"))
    for kind in draw(st.lists(st.sampled_from(kinds), max_size=2, unique=True)) if kinds else ():
        if kind == "filter":
            condition = st.sampled_from([{"rank": 0}, {"rank__gte": 1}, {"rank__in": [0, 2]}, {"pk__isnull": True}])
            found.append((draw(st.sampled_from(["filter", "exclude"])), (), draw(condition)))
        elif kind == "join":
            forward = [field.name for field in model._meta.concrete_fields if field.many_to_one]
            names = [f"{name}__rank" for name in forward if hasattr(getattr(model, name).field.related_model, "rank")]
            if names:
                found.append(("filter", (Q(**{f"{draw(st.sampled_from(names))}__gte": 1}),), {}))
        elif kind == "order":
            name = draw(st.sampled_from(["rank", "-rank", "name", "-name"]))
            found.append(("order_by", (name, *key_columns(model)), {}))
        elif kind == "only" and not forgets(model):
            names = draw(st.lists(st.sampled_from(columns(model)), min_size=1, max_size=3, unique=True))
            found.append((draw(st.sampled_from(["only", "defer"])), tuple(names), {}))
        elif kind == "select" and to_one(model):
            found.append(("select_related", (draw(st.sampled_from(to_one(model))),), {}))
        elif kind == "annotate":
            found.append(("annotate", (), {"extra_1": F("rank") + 1}))
        elif kind == "distinct":
            found.append(("distinct", (), {}))
        elif kind == "exists" and hasattr(model, "rank"):
            found.append(("annotate", (), {"extra_2": Exists(model._base_manager.filter(rank__gt=OuterRef("rank")))}))
        elif kind == "window":
            order = [F("rank").asc(), *(F(name).asc() for name in key_columns(model))]
            found.append(("annotate", (), {"extra_3": Window(RowNumber(), order_by=order)}))
        elif kind == "count":
            many = [name for name, target in relations(model).items() if target is not None and is_many(model, name)]
            if many:
                name = query_name(model, draw(st.sampled_from(many)))
                found.append(("annotate", (), {"extra_4": Count(name)}))
        elif kind == "link" and link is not None:
            # Of one of the links, or of all of them, by the join that Django shares with the lookup's own.
            found.append(("annotate", (), {"extra_5": F(link)}))
    return tuple(found)


def forgets(model: type[models.Model]) -> bool:
    """Whether Django, when it loads a deferred column, drops what is attached by others: by the key, or by several."""
    return any(
        field.primary_key or len(field.related_fields) > 1
        for field in model._meta.get_fields()
        if isinstance(field, models.ForeignObject)
    )


def key_columns(model: type[models.Model]) -> list[str]:
    names = getattr(model._meta, "pk_fields", [model._meta.pk])
    return [field.name for field in names]


def is_many(model: type[models.Model], name: str) -> bool:
    return hasattr(getattr(model, name), "rel") and not hasattr(getattr(model, name), "related")


def query_name(model: type[models.Model], name: str) -> str:
    """What a reverse relation is called in a filter."""
    for field in model._meta.related_objects:
        if field.get_accessor_name() == name:
            return str(field.name)
    return name


@st.composite
def querysets(draw: st.DrawFn, model: type[models.Model], link: str | None, depth: int, bounds: Bounds) -> Rows:
    managers = [manager.name for manager in model._meta.managers] or ["_base_manager"]
    calls = draw(changes(model, link, bounds.kinds))
    lookups = ()
    if depth > 0 and draw(st.integers(0, 3)) == 0:
        lookups = tuple(draw(lookup_sets(model, bounds, depth=depth, most=2)))
    limit = draw(st.sampled_from([None] * 9 + [1, 2])) if "slice" in bounds.kinds else None
    if limit is not None:
        calls = tuple(call for call in calls if call[0] != "order_by")
        calls += (("order_by", tuple(key_columns(model)), {}),)
    return Rows(model, draw(st.sampled_from(managers)), calls, lookups, limit)


@st.composite
def lookup_sets(
    draw: st.DrawFn,
    model: type[models.Model],
    bounds: Bounds = Bounds(),
    depth: int = MAX_DEPTH,
    most: int = 4,
) -> list[Wanted]:
    """
    Lookups for objects of a model.

    Args:
        depth: How many steps a path has at most, the nested ones of its querysets included.
        most: How many lookups there are at most.
    """
    # The places from where a path can go on, also an attribute that an earlier lookup made.
    places: list[tuple[str, type[models.Model], int]] = [("", model, depth)]
    found: list[Wanted] = []
    for _ in range(draw(st.integers(1, most))):
        prefix, here, left = draw(st.sampled_from(places))
        for _ in range(draw(st.integers(1, left))):
            name = draw(st.sampled_from(sorted(relations(here))))
            start, source, left = prefix, here, left - 1
            prefix = joined(start, name)
            target = relations(source)[name] or bounds.note
            if target is None or not relations(target) or left == 0:
                break
            places.append((prefix, target, left))
            here = target
        wanted = draw(ends(source, start, name, left, bounds))
        if any(joined(other.path, "").startswith(joined(wanted.path, "")) for other in found):
            # Django allows no queryset for what another lookup has attached, but in any order a config says it for all.
            wanted = replace(wanted, as_config=None)
        if any(joined(wanted.path, "").startswith(joined(other.path, "")) and has_lookups(other) for other in found):
            wanted = replace(wanted, as_config=None)  # they may concern the same relation
        if wanted.as_config == "plain" and any((one.as_config, one.target) == ("plain", target) for one in found):
            wanted = replace(wanted, as_config=None)  # two configs could be one
        found.append(wanted)
        if wanted.to_attr is not None and target is not None and relations(target) and left > 0:
            places.append((joined(start, wanted.to_attr), target, left))
    return found


def has_lookups(wanted: Wanted) -> bool:
    """Whether a queryset of it has lookups of its own."""
    return any(one is not wanted for one in every([wanted]))


def joined(start: str, name: str) -> str:
    return f"{start}__{name}" if start else name


@st.composite
def ends(draw: st.DrawFn, source: type[models.Model], start: str, name: str, left: int, bounds: Bounds) -> Wanted:
    """The lookup at the end of a path."""
    path, target = joined(start, name), relations(source)[name]
    rows: Any = None
    if draw(st.integers(0, 2)) == 0:
        if target is None:
            if bounds.note is None or django.VERSION < (5, 0):
                return Wanted(path)
            rows = (draw(querysets(bounds.note, None, left, bounds)),)
        elif target._meta.app_label != "contenttypes":
            rows = draw(querysets(target, link_of(source, name), left, bounds))
    to_attr = None
    # Django refuses slices that are not stored as a list.
    is_sliced = isinstance(rows, Rows) and rows.limit is not None
    if draw(st.integers(0, 3)) == 0 or (is_sliced and draw(st.integers(0, 3)) > 0):
        default = target is not None and bool(target._meta.ordering)
        ordered = rows.is_ordered if isinstance(rows, Rows) else default
        to_attr = f"{'ordered' if ordered else 'some'}_{draw(st.sampled_from('abc'))}"
    as_config = None
    if target is not None and to_attr is None and not is_sliced:  # otherwise a config refuses it, or has no such thing
        as_config = draw(st.sampled_from([None, None, *(["plain"] if rows is None else ["queryset", "own", "all"])]))
    return Wanted(path, rows, to_attr, as_config, target)


def link_of(source: type[models.Model], name: str) -> str | None:
    """How the target of Play.cast says the rank of the role."""
    return {"cast": "roles__rank", "plays_in": "roles__rank"}.get(name)


def every(lookups: Iterator[Wanted] | list[Wanted] | tuple[Wanted, ...]) -> Iterator[Wanted]:
    """The lookups with those in their querysets."""
    for lookup in lookups:
        yield lookup
        for rows in lookup.rows if isinstance(lookup.rows, tuple) else (lookup.rows,):
            if rows is not None:
                yield from every(rows.lookups)


def by_chance(lookups: list[Wanted]) -> set[str]:
    """The relations whose rows an attribute holds."""
    return {lookup.path.rpartition("__")[2] for lookup in every(lookups) if lookup.to_attr is not None}


def count_many_to_many(model: type[models.Model], lookups: list[Wanted] | tuple[Wanted, ...], note: Any) -> int:
    """How many of the steps are many-to-many: those whose links and targets are two queries."""
    # By path; of several lookups with one `to_attr` the first that runs decides what is there.
    targets: dict[str, set[type[models.Model]]] = {"": {model}}
    found = set()
    nested = 0
    for lookup in lookups:
        path = ""
        for step in lookup.path.split("__"):
            sources = [source for source in targets[path] if step in relations(source)]
            path = joined(path, step)
            here = targets.setdefault(path, set())
            here.update(target for source in sources if (target := relations(source)[step] or note) is not None)
            if any(is_link(source, step) for source in sources):
                found.add(path)
        if lookup.to_attr is not None:
            *start, _ = lookup.path.split("__")
            attribute = joined("__".join(start), lookup.to_attr)
            targets.setdefault(attribute, set()).update(targets[path])
            if path in found:
                found.add(f"{path} as {lookup.to_attr}")
        for rows in lookup.rows if isinstance(lookup.rows, tuple) else (lookup.rows,):
            if rows is not None:
                nested += count_many_to_many(rows.model, rows.lookups, note)
    return len(found) + nested


def is_link(model: type[models.Model], name: str) -> bool:
    return hasattr(getattr(model, name), "through")
