"""The same models once for each kind of key. Tests make their tables: not every database has columns of each kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import connection, models

from .kinds import KINDS, Kind


@dataclass(frozen=True)
class Family:
    """
    Models around one kind of key.

    Args:
        thing: A row with the key in a column of its own; in order.
        ref, only: Refer to it, by a foreign key and a one-to-one.
        outer: Refers to a ref.
        tag: The key is the primary key; in no order.
        shelf: Its primary key is one too; it has tags by a through model of its own, `shelf_tag`.
        post: Has tags by an automatic through model, and things by one of its own, `post_thing`.
        note: Refers to any tag by a generic foreign key.
    """

    kind: Kind
    thing: Any
    ref: Any
    only: Any
    outer: Any
    tag: Any
    shelf: Any
    shelf_tag: Any
    post: Any
    post_thing: Any
    note: Any

    def models(self) -> list[Any]:
        return [value for name, value in vars(self).items() if name != "kind"]

    @contextmanager
    def columns(self) -> Iterator[None]:
        """In this block, tables are made with the column types of the kind."""
        keys = [one._meta.get_field("code") for one in (self.thing, self.tag, self.shelf)]
        through = self.post._meta.get_field("tags").remote_field.through
        fields = [field for one in (*self.models(), through) for field in one._meta.local_fields]
        links = [field for field in fields if field.is_relation and field.target_field in keys]
        types = dict.fromkeys([*keys, self.note._meta.get_field("object_id")], self.kind.column_type)
        types.update(dict.fromkeys(links, self.kind.link_type or self.kind.column_type))
        typed = {field: column_type for field, column_type in types.items() if column_type}
        for field, column_type in typed.items():
            field.db_type = lambda connection, column_type=column_type: column_type
        try:
            yield
        finally:
            for field in typed:
                del field.db_type


def model(name: str, fields: dict[str, Any], ordering: Sequence[str] = ()) -> Any:
    options = {"app_label": "lookalikes", "managed": False, "ordering": ordering}
    return type(name, (models.Model,), {"__module__": __name__, "Meta": type("Meta", (), options), **fields})


def refers(to: Any, related_name: str = "+", **options: Any) -> Any:
    """A foreign key that no constraint holds to what is there."""
    return models.ForeignKey(
        to, models.DO_NOTHING, db_constraint=False, null=True, related_name=related_name, **options
    )


def to_content_type() -> Any:
    """Nothing leads back: the tables are there for a few tests only."""
    return models.ForeignKey(ContentType, models.DO_NOTHING, db_constraint=False, related_name="+")


def family(name: str, kind: Kind) -> Family:
    thing = model(f"{name}Thing", {"code": kind.field(unique=True)}, ["pk"])
    tag = model(f"{name}Tag", {"code": kind.field(primary_key=True), "notes": GenericRelation(f"{name}Note")})
    ref = model(f"{name}Ref", {"thing": refers(thing, "refs", to_field="code")}, ["pk"])
    one = models.OneToOneField(
        thing, models.DO_NOTHING, to_field="code", db_constraint=False, null=True, related_name="only"
    )
    shelf = model(
        f"{name}Shelf",
        {
            "code": kind.field(primary_key=True),
            "tags": models.ManyToManyField(tag, through=f"{name}ShelfTag", related_name="shelves"),
        },
    )
    post = model(
        f"{name}Post",
        {
            "tags": models.ManyToManyField(tag, db_constraint=False, related_name="posts"),
            "things": models.ManyToManyField(thing, through=f"{name}PostThing", related_name="posts"),
        },
        ["pk"],
    )
    return Family(
        kind,
        thing=thing,
        ref=ref,
        only=model(f"{name}Only", {"thing": one}),
        outer=model(f"{name}Outer", {"ref": refers(ref, "outers")}, ["pk"]),
        tag=tag,
        shelf=shelf,
        shelf_tag=model(f"{name}ShelfTag", {"shelf": refers(shelf), "tag": refers(tag)}),
        post=post,
        post_thing=model(f"{name}PostThing", {"post": refers(post), "thing": refers(thing, to_field="code")}),
        note=model(
            f"{name}Note",
            {
                "content_type": models.ForeignKey(
                    ContentType, models.DO_NOTHING, db_constraint=False, related_name="+"
                ),
                "object_id": kind.field(),
                "target": GenericForeignKey(),
            },
            ["pk"],
        ),
    )


FAMILIES = {name: family(name, kind) for name, kind in KINDS.items() if connection.vendor in kind.vendors}


class Numbered(models.Model):
    remarks = GenericRelation("Remark")

    class Meta:
        managed = False
        ordering = ["pk"]


class Remark(models.Model):
    """Refers by text to rows whose keys are integers."""

    content_type = to_content_type()
    object_id = models.CharField(max_length=20)
    target = GenericForeignKey()

    class Meta:
        managed = False
        ordering = ["pk"]
