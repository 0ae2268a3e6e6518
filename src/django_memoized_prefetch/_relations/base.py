"""`Step`: the interface of all kinds of relations, which attaches one lookup to the objects of one model class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ObjectDoesNotExist
from django.db import connections, router
from django.db.models import Model, Prefetch, QuerySet
from django.db.models.query import get_prefetcher
from django.utils.functional import cached_property

from .._engine import follow_attribute
from .._lookups import Lookup
from .._memory.change import Change
from .._memory.table import LinkSpec, TableSpec
from .._queries.counting import QueryCount
from .._queries.eligibility import why_not_read_by_key, why_not_remembered
from .._queries.equality import check_asked_for, equals_as_python, odd_keys
from .._queries.sources import RowSource, config_rows, queryset_rows, unshared
from .._relation import Relation
from .._stock import static_attribute
from .place import ATTRIBUTE, DICT, FIELDS_CACHE, Place

if TYPE_CHECKING:
    from .._running.chunk import ChunkRun
    from .._running.level import Level


class Given(Enum):
    """How rows came with a relation filled, from the lookup that attached them."""

    SELECTED = "select_related() brought it along"
    BACK = "it leads back to the object that the rows are attached to"


class Step(ABC):
    """
    Attaches one lookup to the objects of one model class. It does not change once it is planned, but for its parts.

    Args:
        given: How the lookup that attached the objects has filled this relation too, if it has.

    source: Where rows are read from. None if Django or the objects decide.
    table: The table in which its rows are remembered, if they are.
    links: The table in which its links are remembered, if it has links.
    rereads: Whether its rows depend on what else is asked for. Below a remembered row, such rows are read again for
        every chunk.
    reason: Why Django attaches it, or why it rereads.
    is_judged: Whether a custom manager was asked for its queryset.
    selected: What `select_related()` of the given queryset, or of the manager's, brings along.
    given_lookup: The lookup without those that a custom manager's queryset has added.
    managers_lookups: What these ask for, when the manager was asked first.
    whole_querysets: Those whose own lookups Django does when it reads the rows, and which are remembered with them.
    parts: The steps that its objects were split into so far, by what decides it.
    """

    by_django = False
    is_to_one = False  # found by the object's own key; several such relations to one table share a query
    is_collection = False  # its rows refer to the object, belong to it and have no table of their own
    is_single = False  # attaches one row at most
    keeps_way_back = False  # Django leaves a way back alone that lookups of the rows' queryset have attached

    def __init__(self, lookup: Lookup, relation: Relation, given: Given | None = None) -> None:
        self.lookup, self.relation, self.given = lookup, relation, given
        self.given_lookup, self.managers_lookups = lookup, list[Any]()
        self.source: RowSource | None = None
        self.table: TableSpec | None = None
        self.links: LinkSpec | None = None
        self.rereads = False
        self.reason: str | None = None
        self.is_judged = False
        self.selected: Any = {}
        self.whole_querysets: tuple[QuerySet[Any], ...] = ()
        self.parts: dict[Any, Step] = {}

    # --- planning

    def set_up(self) -> str | None:
        """
        Sets `source`, `table` and `links`.

        Returns:
            Why Django has to attach it; None if the engine can.

        Raises:
            ValueError: The lookup's config does not fit the relation.
        """
        return None

    def judge(self, queryset: QuerySet[Any], whole: bool = False) -> str | None:
        """
        Why rows of this queryset cannot be read by key and remembered; None if they can.

        Args:
            whole: Whether the whole queryset is read in advance, so that it may be a slice.
        """
        self.selected = selected_by(queryset)
        return why_not_remembered(queryset) if whole else why_not_read_by_key(queryset)

    # --- what it leads to

    @property
    def row_source(self) -> RowSource:
        assert self.source is not None, f"{self.relation.label} has no source of rows"
        return self.source

    @property
    def row_model(self) -> type[Model] | None:
        """The model of the rows it attaches; None if unknown."""
        return self.source.model if self.source is not None else self.relation.target

    @property
    def joined_by(self) -> Any:
        """Steps for several classes are done together, with one query, if these values are equal."""
        return self

    def gives(self, name: str) -> Given | None:
        """How the rows come with relation `name` filled; None if they do not."""
        return Given.SELECTED if name in self.selected else None

    @property
    def compared_field(self) -> Any:
        """
        The field that the database compares with the objects' keys, if Django sets, on each row, the object that the
        row leads back to. None otherwise.
        """
        return None

    def alias(self, instance: Model) -> str:
        """The database that rows for this instance are read from, as Django chooses it."""
        alias: str
        if self.source is not None and (self.source.custom or self.source.of_manager):
            alias = self.source.make(instance).db
        else:
            alias = router.db_for_read(self.row_model or type(instance), instance=instance)
        return alias

    # --- where it attaches

    @property
    @abstractmethod
    def place(self) -> Place:
        """Where Django attaches the relation if there is no `to_attr`."""

    def asked_at(self, instance: Model) -> Place:
        """Where Django looks to see if the relation was attached before."""
        name, to_attr = self.relation.name, self.lookup.to_attr
        if to_attr is None:
            return self.place
        if self.is_single and not is_before_way_back(self):
            is_fetched = get_prefetcher(instance, name, to_attr)[3]
            if is_fetched == self.relation.descriptor.is_cached:  # Django 4.2
                return self.place
        on_class = static_attribute(type(instance), to_attr)
        return Place(DICT if isinstance(on_class, cached_property) else ATTRIBUTE, to_attr)

    @property
    def attached_at(self) -> tuple[Place, ...]:
        """The places where attached rows are found later."""
        to_attr = self.lookup.to_attr
        return (self.place,) if to_attr is None else (Place(ATTRIBUTE, to_attr),)

    def not_attached(self, objects: Sequence[Any]) -> Sequence[Any]:
        """The objects that Django would fetch the relation for; the sequence itself if that is all of them."""
        return self.asked_at(objects[0]).empty_in(objects)

    def asks_relation(self, instance: Model) -> bool:
        """Whether Django checks the relation itself even though it attaches to a `to_attr` (before Django 5.0)."""
        return self.lookup.to_attr is not None and self.asked_at(instance).container == FIELDS_CACHE

    def is_given(self, instance: Model) -> bool:
        """Whether the lookup that attached the objects has already filled the place that Django checks."""
        if self.given is None or is_before_way_back(self):
            return False
        return self.lookup.to_attr is None or self.asks_relation(instance)

    def take_off(self, objects: Sequence[Any]) -> None:
        """Removes what was attached to the objects."""
        if not objects or self.is_given(objects[0]):
            return
        for place in self.attached_at:
            for one in objects:
                place.take_off(one)

    # --- attaching

    def split(
        self, objects: Sequence[Any], remembered: bool, run: ChunkRun
    ) -> Iterator[tuple[Step, Sequence[Any], dict[Any, Any] | None]]:
        """
        Groups the objects by step, if their values decide which step attaches to them.

        Yields:
            The step, its objects, and for a generic foreign key the rows' keys by the values that the objects hold.
        """
        yield self, objects, None

    def settled(self, instance: Model) -> Step:
        """The final step to take, for steps that can be decided only when their turn has come."""
        return self

    def asks_like(self, other: Step) -> bool:
        """Whether one query can read the rows of both."""
        return False

    def spec(self, instance: Model, counts: Any, alias: str, translated: dict[Any, Any] | None = None) -> Any:
        """
        What the engine is told of this relation.

        Args:
            instance: The first object, through which managers are reached.
            counts: The counters of the lookup.
            alias: The database that rows are read from.
            translated: The rows' keys by the values that the objects hold, or the objects' keys by those of the rows.
        """
        raise NotImplementedError

    @abstractmethod
    def attach(self, levels: list[Level], run: ChunkRun, count: QueryCount) -> None:
        """Attaches the rows of levels that share a query: levels of this step, or of others with the same table."""

    def follow(self, objects: Sequence[Any]) -> list[Any]:
        """The distinct rows attached to these objects; none if no lookup continues this one."""
        if not self.lookup.below:
            return []
        if self.lookup.to_attr_given:
            return follow_attribute(objects, self.lookup.attribute, ObjectDoesNotExist)
        return self._follow(objects)

    def _follow(self, objects: Sequence[Any]) -> list[Any]:
        return follow_attribute(objects, self.relation.name, ObjectDoesNotExist)

    # --- when rows change

    def concerned(self, change: Change) -> bool:
        """Whether the rows that it attaches may have changed."""
        return self.relation.target is None or change.concerns(self.relation.target)

    def may_lack(self, row: Any, value: Any, kept_links: dict[Any, dict[Any, Any]]) -> bool:
        """
        Whether changed rows may be missing from what is attached to a remembered row.

        Args:
            value: What is attached.
            kept_links: The links that are still remembered, by the identity of their table.
        """
        return value is None and row.__dict__.get(self.relation.key_name) is not None


def refuses_strays(step: Step, alias: str) -> bool:
    """
    Whether Django may find no object for a row that the database returned, and raise.

    That can happen only if the database compares keys differently from Python.
    """
    field = step.compared_field
    return field is not None and not equals_as_python(field, connections[alias])


def check_strays(level: Level, rows: Sequence[Any], row_key: str, keys: list[Any]) -> None:
    """Raises KeyError, as Django does, for a row that leads back to none of the objects."""
    step, field = level.step, level.step.compared_field
    if field is not None and (refuses_strays(step, level.alias) or odd_keys(field, keys)):
        check_asked_for(step.relation, rows, row_key, keys, level.objects)


def find_source(step: Step, default: Callable[[], RowSource]) -> str | None:
    """Sets the step's source of rows. Returns why Django has to attach it, like `set_up`."""
    lookup, config = step.lookup, step.lookup.config
    if config is not None and (config.chooses_rows or not step.is_collection):
        source = config_rows(config, step.is_to_one)
    elif lookup.querysets is None:
        source = default()
    else:
        seals = not step.is_to_one or step.relation.reverse_name is not None
        source = queryset_rows(lookup.querysets[0], seals=seals)
    check_target(step)
    step.source = source
    if config is not None and source.custom and not source.of_manager:
        queryset = config.get_queryset()
        if source.own_lookups:
            step.whole_querysets = (queryset,)
        return step.judge(queryset, whole=config.prefetch_all)
    if lookup.querysets is None:
        return None
    reason = step.judge(lookup.querysets[0])
    if not issubclass(lookup.querysets[0].model, step.relation.to._meta.concrete_model):
        return f"the queryset is of {lookup.querysets[0].model.__name__}"
    return reason


def selected_by(queryset: QuerySet[Any]) -> dict[str, Any]:
    """The relations that `select_related()` names, or follows without names; below each, where it goes on to."""
    selected = queryset.query.select_related
    if selected is True:
        return _followed(queryset.model, queryset.query.max_depth)
    return selected if isinstance(selected, dict) else {}


def _followed(model: type[Model], depth: int) -> dict[str, Any]:
    """The relations that `select_related()` without names follows."""
    fields = [field for field in model._meta.fields if field.remote_field and not field.null] if depth else []
    return {
        field.name: _followed(field.related_model, depth - 1) for field in fields if not field.remote_field.parent_link
    }


def check_target(step: Step) -> None:
    """Raises ValueError if a config is for another model than the relation leads to."""
    config, relation = step.lookup.config, step.relation
    if config is None or relation.target is None:
        return
    model = config.model if config.queryset is None else config.queryset.model
    if not issubclass(model, relation.to._meta.concrete_model):
        expected, got, hint = relation.to.__name__, model.__name__, ""
        if expected == got:
            expected, got = (f"{one.__module__}.{one.__name__}" for one in (relation.to, model))
            hint = "; in a migration, take every model from apps.get_model()"
        msg = f"{step.lookup.where}: {relation.label} leads to {expected}, not {got}{hint}."
        raise ValueError(msg)


def to_attr_spec(step: Step, instance: Model) -> tuple[str, int] | None:
    """A `to_attr` for the engine: its name, and where Django looks whether it was attached before."""
    to_attr = step.lookup.to_attr
    return None if to_attr is None else (to_attr, step.asked_at(instance).container)


def check_no_links(step: Step) -> None:
    """Raises ValueError if a config declares the relation a many-to-many."""
    config = step.lookup.config
    if config is not None and config.is_many_to_many:
        msg = f"{step.lookup.where}: {step.relation.label} is not a many-to-many; leave out is_many_to_many."
        raise ValueError(msg)


def check_to_attr(step: Step) -> None:
    """Raises Django's ValueError if `to_attr` is the name of a field."""
    if not step.lookup.to_attr_given:
        return
    model, to_attr = step.relation.model, step.lookup.attribute
    fields = model._meta.get_fields(include_hidden=True)
    if any(to_attr in (field.name, getattr(field, "attname", None)) for field in fields):
        msg = f"to_attr={to_attr} conflicts with a field on the {model.__name__} model."
        raise ValueError(msg)


def is_before_way_back(step: Step) -> bool:
    """Whether it is done before Django sets the rows' way back, as for lookups of the rows' own queryset."""
    return step.given is Given.BACK and step.lookup.is_inner


def django_lookup(step: Step, whole: bool = False) -> str | Prefetch[Any]:
    """The lookup as Django takes it, for this level alone; `whole`: with the lookups of its queryset."""
    lookup, config = step.lookup, step.lookup.config
    name = step.relation.name
    if config is not None:
        if not config.chooses_rows:
            return name
        return Prefetch(name, queryset=unshared(config.get_queryset()))
    if lookup.querysets is None:
        return Prefetch(name, to_attr=lookup.attribute) if lookup.to_attr_given else name
    to_attr = lookup.attribute if lookup.to_attr_given else None
    if lookup.generic:
        from django.contrib.contenttypes.prefetch import GenericPrefetch

        return GenericPrefetch(name, [unshared(queryset) for queryset in lookup.querysets], to_attr=to_attr)
    queryset = unshared(lookup.querysets[0])
    if not whole:
        queryset._prefetch_related_lookups = ()
    return Prefetch(name, queryset=queryset, to_attr=to_attr)
