"""Models made at run time from given classes, and the methods of these classes that prefetching calls, by tracing."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable

from django.apps import apps
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import connections, models
from django.db.models import QuerySet
from django.db.models.fields.reverse_related import ManyToOneRel, OneToOneRel
from django.db.models.manager import BaseManager
from django.db.models.query import ModelIterable
from django.db.models.sql.query import Query

if TYPE_CHECKING:
    from typing_extensions import Self

LABEL = "catalogue"  # any application that is installed: a content type finds its model there
PREFIX = "overridden"


class PlainQuerySet(QuerySet[Any]):
    pass


class PlainManager(models.Manager[Any]):
    pass


# What a family is made of. The relation's descriptor and manager are Django's to make, and are replaced afterwards.
PLAIN: dict[str, Any] = {
    "queryset": PlainQuerySet,
    "manager": PlainManager,
    "iterable": ModelIterable,
    "query": Query,
    "key": models.BigAutoField,
    "column": models.IntegerField,
    "foreign key": models.ForeignKey,
    "one-to-one": models.OneToOneField,
    "many-to-many": models.ManyToManyField,
    "generic foreign key": GenericForeignKey,
    "generic relation": GenericRelation,
    "reverse of foreign key": ManyToOneRel,
    "reverse of one-to-one": OneToOneRel,
}
REPLACED = ("descriptor", "related manager")

# The relations, and whether the chunks are of Near.
KINDS = {
    "far": True,
    "only": True,
    "fars": True,
    "linked": True,
    "anything": True,
    "nears": False,
    "only_near": False,
    "fars_of": False,
    "linked_of": False,
    "attached": False,
}
TO_MANY = ("fars", "linked", "fars_of", "linked_of")

Transform = Callable[[Any], Any]


@dataclass
class Family:
    """Near and Far, related in every way; `kind` is the relation that is looked at."""

    near: Any
    far: Any
    link: Any
    kind: str
    set_up: Callable[[QuerySet[Any]], QuerySet[Any]]

    @property
    def model(self) -> Any:
        """Of the chunks."""
        return self.near if KINDS[self.kind] else self.far

    @property
    def target(self) -> Any:
        return self.far if KINDS[self.kind] else self.near

    @property
    def models(self) -> tuple[Any, ...]:
        return self.near, self.far, self.link

    def given(self) -> QuerySet[Any]:
        """What a Prefetch object gets."""
        return self.set_up(self.target.objects.all())


@contextmanager
def family(kind: str, role: str = "", transform: Transform | None = None, ordering: Any = ()) -> Iterator[Family]:
    """
    A family whose classes are Django's, but for one.

    Args:
        role: Which; a key of PLAIN or one of REPLACED.
        transform: Makes it of Django's.
    """
    classes = {name: transform(cls) if name == role and transform else cls for name, cls in PLAIN.items()}
    known = {*apps.all_models[LABEL]}
    try:
        made = _models(classes, kind, role, ordering)
        if role in REPLACED and transform is not None:
            _replace(made.model, kind, role, transform)
        yield made
    finally:
        for name in {*apps.all_models[LABEL]} - known:
            del apps.all_models[LABEL][name]
        apps.clear_cache()
        ContentType.objects.clear_cache()


def _models(classes: dict[str, Any], kind: str, role: str, ordering: Any) -> Family:
    def set_up(queryset: QuerySet[Any]) -> QuerySet[Any]:
        if role == "iterable":
            queryset._iterable_class = classes["iterable"]
        if role == "query":
            queryset.query = queryset.query.chain(klass=classes["query"])
        return queryset

    manager = classes["manager"].from_queryset(classes["queryset"])
    if role in ("iterable", "query"):
        plain = manager
        manager = type("SettingManager", (manager,), {"get_queryset": lambda self: set_up(plain.get_queryset(self))})
    for name in ("foreign key", "one-to-one"):
        if f"reverse of {name}" == role:
            classes[name] = type("OwnRelated", (classes[name],), {"rel_class": classes[role]})
    key, column, foreign_key = classes["key"], classes["column"], classes["foreign key"]

    def model(name: str, **fields: Any) -> Any:
        options = {"app_label": LABEL, "db_table": f"{PREFIX}_{name}", "base_manager_name": "objects"}
        meta = type("Meta", (), {**options, "ordering": ordering})
        columns = {
            "id": key(primary_key=True),
            "name": models.CharField(max_length=20),
            "rank": models.IntegerField(default=0),
        }
        attributes = {**columns, "tenant": column(default=0), **fields, "objects": manager()}
        return type(
            f"{PREFIX}_{name}".title().replace("_", ""),
            (models.Model,),
            {"__module__": __name__, "Meta": meta, **attributes},
        )

    loose = {"on_delete": models.CASCADE, "db_constraint": False}
    far = model("far", attached=classes["generic relation"](f"{LABEL}.OverriddenNear"))
    near = model(
        "near",
        far=foreign_key(far, null=True, related_name="nears", **loose),
        only=classes["one-to-one"](far, null=True, related_name="only_near", **loose),
        fars=classes["many-to-many"](far, related_name="fars_of", db_table=f"{PREFIX}_fars"),
        linked=classes["many-to-many"](far, related_name="linked_of", through=f"{LABEL}.OverriddenLink"),
        content_type=models.ForeignKey(ContentType, null=True, related_name="+", **loose),
        object_id=models.BigIntegerField(null=True),
        anything=classes["generic foreign key"](),
    )
    link = model(
        "link",
        near=foreign_key(near, related_name="links", **loose),
        far=foreign_key(far, related_name="links", **loose),
    )
    return Family(near, far, link, kind, set_up)


def _replace(model: Any, kind: str, role: str, transform: Transform) -> None:
    descriptor = inspect.getattr_static(model, kind)
    if role == "related manager":
        descriptor.__dict__["related_manager_cls"] = transform(descriptor.related_manager_cls)
        return
    own = object.__new__(transform(type(descriptor)))
    own.__dict__.update(descriptor.__dict__)
    setattr(model, kind, own)


# --- rows


def create_tables(alias: str) -> None:
    with family("far") as made, connections[alias].schema_editor() as editor:
        for model in made.models:
            editor.create_model(model)


def drop_tables(alias: str) -> None:
    with family("far") as made, connections[alias].schema_editor() as editor:
        for model in (made.link, made.near, made.far):
            editor.delete_model(model)


def fill(alias: str) -> None:
    """Eight of each, with repeated and missing relations; another name in every database."""
    with family("far") as made:
        near, far, link = made.models
        far_type, near_type = (ContentType.objects.db_manager(alias).get_for_model(one) for one in (far, near))
        for model in (far, near):
            common = [{"id": i, "name": f"{(i * 5) % 8} {alias}", "rank": i % 4, "tenant": i % 2} for i in range(1, 9)]
            if model is near:
                for i, columns in enumerate(common):
                    columns |= {"far_id": i % 5 or None, "only_id": None if i % 3 == 1 else 8 - i}
                    columns |= {
                        "content_type": None if i == 3 else far_type if i % 4 else near_type,
                        "object_id": i % 6 + 1,
                    }
            model._base_manager.using(alias).bulk_create(model(**columns) for columns in common)
        pairs = [{"near_id": i, "far_id": (i + j * j) % 8 + 1} for i in range(1, 9) for j in range(i % 4)]
        near.fars.through._base_manager.using(alias).bulk_create(
            near.fars.through(**_names(near, pair)) for pair in pairs
        )
        link._base_manager.using(alias).bulk_create(link(**pair, name=str(i)) for i, pair in enumerate(pairs))


def _names(near: Any, pair: dict[str, int]) -> dict[str, int]:
    field = near._meta.get_field("fars")
    return {f"{field.m2m_field_name()}_id": pair["near_id"], f"{field.m2m_reverse_field_name()}_id": pair["far_id"]}


def know_types(made: Family) -> None:
    """Content types are found in their cache: who comes first does not read them for both."""
    for alias in ("default", "other"):
        for model in (made.near, made.far):
            ContentType.objects.db_manager(alias).get_for_model(model)


# --- tracing


@dataclass(frozen=True)
class Method:
    """
    returns: What its result is called in the ways to change it; of several calls there may be several.
    by_django: Django calls it, not only ours.
    """

    role: str
    name: str
    by_django: bool
    returns: set[str] = field(default_factory=set)


class Tracer:
    """Collects the methods of a family's objects that are called in a `with` block."""

    def __init__(self, made: Family, of_django: bool) -> None:
        self._of_django = of_django
        self.found: dict[tuple[str, str], Method] = {}
        self._models = set(made.models)
        self._descriptor = inspect.getattr_static(made.model, made.kind)
        self._fields: dict[int, str] = {}
        for model in made.models:
            for one in (*model._meta.get_fields(include_hidden=True), *model._meta.private_fields):
                role = (
                    "column"
                    if one.name == "tenant"
                    else next((name for name, cls in PLAIN.items() if type(one) is cls), "")
                )
                self._fields[id(one)] = role

    def __enter__(self) -> Self:
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _profile(self, frame: Any, event: str, result: Any) -> None:
        if event not in ("call", "return") or not frame.f_code.co_argcount:
            return
        owner = frame.f_locals.get(frame.f_code.co_varnames[0])
        for role in self._roles(owner):
            name = frame.f_code.co_name
            if name == "manager_method":  # all that managers pass on to their queryset
                name = frame.f_locals["name"]
            if not overridable(owner, name, frame.f_code) or (role == "manager" and not hasattr(PlainManager, name)):
                continue  # of Django's own making
            method = self.found.setdefault((role, name), Method(role, name, self._of_django))
            if event == "return":
                method.returns.update(self._kind_of(result, frame.f_code))

    def _roles(self, owner: Any) -> list[str]:
        if owner is self._descriptor:
            return ["descriptor", *filter(None, [self._fields.get(id(owner))])]
        if isinstance(owner, (QuerySet, Query)):
            role = "queryset" if isinstance(owner, QuerySet) else "query"
            return [role] if getattr(owner, "model", None) in self._models else []
        if isinstance(owner, ModelIterable):
            return ["iterable"] if "queryset" in vars(owner) and owner.queryset.model in self._models else []
        if isinstance(owner, BaseManager):
            if getattr(owner, "model", None) not in self._models:
                return []
            return ["related manager", "manager"] if hasattr(owner, "_apply_rel_filters") else ["manager"]
        return [found] if (found := self._fields.get(id(owner))) else []

    def _kind_of(self, result: Any, code: Any) -> Iterator[str]:
        if code.co_flags & inspect.CO_GENERATOR:
            yield "iterator"
        elif isinstance(result, QuerySet) or (isinstance(result, tuple) and result and isinstance(result[0], QuerySet)):
            yield "queryset"
        elif isinstance(result, Query):
            yield "query"
        elif result is not None:
            yield type(result).__name__


def function_of(attribute: Any) -> Any:
    """The function behind a method, property or class method."""
    for name in ("fget", "func", "__func__"):
        if inspect.isfunction(inner := getattr(attribute, name, None)):
            return inner
    return attribute if inspect.isfunction(attribute) else None


def overridable(owner: Any, name: str, code: Any) -> bool:
    """Whether a subclass that has the name would be asked."""
    attributes = (base.__dict__.get(name) for base in type(owner).__mro__)
    return any(getattr(function_of(attribute), "__code__", None) is code for attribute in attributes)


def overriding(base: Any, name: str, change: Callable[[Any, Callable[[], Any]], Any]) -> Any:
    """A subclass whose method, property or class method calls that of the class, and does something more."""
    attribute = inspect.getattr_static(base, name)
    function = function_of(attribute)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return change(self, lambda: function(self, *args, **kwargs))

    own = type(f"Own{base.__name__}", (base,), {"__module__": __name__})
    wrapped = method if inspect.isfunction(attribute) else type(attribute)(method)
    if hasattr(wrapped, "__set_name__"):
        wrapped.__set_name__(own, name)
    setattr(own, name, wrapped)
    return own
