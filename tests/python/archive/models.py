"""An archive: every type of column, every kind of inheritance, and classes that do more than store their columns."""

from __future__ import annotations

import abc
import uuid
from typing import Any

import django
from django.db import models
from django.db.models.fields.related_descriptors import ForeignKeyDeferredAttribute
from django.db.models.functions import Upper
from django.db.models.query import ModelIterable


class Reading:
    """What Distance columns become: with a comparison of its own."""

    def __init__(self, metres: int) -> None:
        self.metres = metres

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reading) and other.metres == self.metres

    def __hash__(self) -> int:
        return hash(self.metres)


class DistanceField(models.IntegerField):
    def from_db_value(self, value: int | None, expression: Any, connection: Any) -> Reading | None:
        if value is not None and value < 0:
            raise ValueError(f"a distance of {value}")
        return None if value is None else Reading(value)

    def get_prep_value(self, value: Any) -> Any:
        return value.metres if isinstance(value, Reading) else value


class Room(models.Model):
    """No foreign key at all."""

    number = models.IntegerField()
    label = models.CharField(max_length=20, unique=True)

    class Meta:
        ordering = ["pk"]


class Box(models.Model):
    """Foreign keys: to the primary key, to another column, to itself, to nothing, to a row that is not there."""

    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="boxes", null=True, db_constraint=False)
    labelled = models.ForeignKey(
        Room, on_delete=models.CASCADE, to_field="label", related_name="+", null=True, db_constraint=False
    )
    inside = models.ForeignKey("self", on_delete=models.CASCADE, related_name="contents", null=True)
    name = models.CharField(max_length=20)

    class Meta:
        ordering = ["pk"]


class Seal(models.Model):
    """One-to-one, by the primary key."""

    box = models.OneToOneField(Box, on_delete=models.CASCADE, primary_key=True, related_name="seal")
    colour = models.CharField(max_length=20)


class Sheet(models.Model):
    """Every type of column that Django has."""

    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4)
    box = models.ForeignKey(Box, on_delete=models.CASCADE, related_name="sheets", null=True)
    big = models.BigIntegerField(null=True)
    small = models.SmallIntegerField(null=True)
    positive = models.PositiveIntegerField(null=True)
    flag = models.BooleanField(null=True)
    ratio = models.FloatField(null=True)
    price = models.DecimalField(max_digits=8, decimal_places=3, null=True)
    day = models.DateField(null=True)
    moment = models.DateTimeField(null=True)
    hour = models.TimeField(null=True)
    took = models.DurationField(null=True)
    data = models.JSONField(null=True)
    raw = models.BinaryField(null=True)
    text = models.TextField(null=True)
    slug = models.SlugField(null=True)
    mail = models.EmailField(null=True)
    link = models.URLField(null=True)
    address = models.GenericIPAddressField(null=True)
    other_key = models.UUIDField(null=True)
    document = models.FileField(null=True)
    path = models.FilePathField(null=True)
    distance = DistanceField(null=True)

    class Meta:
        ordering = ["uuid"]


class Picture(models.Model):
    """Before Django 5.2 every model with an ImageField has a receiver of post_init."""

    image = models.ImageField()
    title = models.CharField(max_length=20)


class MeasuredPicture(models.Model):
    image = models.ImageField(width_field="width")
    width = models.IntegerField(null=True)


class KeyedByUuid(models.Model):
    """The value of a foreign key is converted, and compared in Python."""

    sheet = models.ForeignKey(Sheet, on_delete=models.CASCADE, null=True, db_constraint=False, related_name="+")


if django.VERSION >= (5, 0):

    class Shouted(models.Model):
        word = models.CharField(max_length=20)
        loud = models.GeneratedField(
            expression=Upper("word"), output_field=models.CharField(max_length=20), db_persist=True
        )


if django.VERSION >= (5, 2):

    class Cell(models.Model):
        pk = models.CompositePrimaryKey("row", "column")
        row = models.IntegerField()
        column = models.IntegerField()
        room = models.ForeignKey(Room, on_delete=models.CASCADE, null=True, related_name="cells")
        value = models.CharField(max_length=20)


# --- inheritance


class ListedRoom(Room):
    class Meta:
        proxy = True


class Piece(models.Model):
    name = models.CharField(max_length=20)
    room = models.ForeignKey(Room, on_delete=models.CASCADE, null=True, related_name="pieces")

    class Meta:
        ordering = ["pk"]


class Vase(Piece):
    height = models.IntegerField()
    box = models.ForeignKey(Box, on_delete=models.CASCADE, null=True, related_name="vases")


class PaintedVase(Vase):
    colour = models.CharField(max_length=20)


class ListedVase(Vase):
    class Meta:
        proxy = True


class Statue(Piece):
    """The link to the parent has a name of its own."""

    piece = models.OneToOneField(Piece, on_delete=models.CASCADE, parent_link=True, related_name="as_statue")


class Restoration(models.Model):
    piece = models.ForeignKey(Piece, on_delete=models.CASCADE, related_name="restorations")
    vase = models.ForeignKey(Vase, on_delete=models.CASCADE, null=True, related_name="vase_restorations")


# --- classes that are more than their columns. Each has `name`, and a Box.


class Named(models.Model):
    name = models.CharField(max_length=20)
    box = models.ForeignKey(Box, on_delete=models.CASCADE, null=True, related_name="+")

    class Meta:
        abstract = True


class WithInit(Named):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.loaded_name = self.name


class WithFromDb(Named):
    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> Any:
        instance = super().from_db(*args, **kwargs)
        instance.loaded_values = instance.name
        return instance


class WithStaticFromDb(Named):
    @staticmethod
    def from_db(db: str, names: Any, values: Any, fetch_mode: Any = None) -> Any:
        return f"no instance: {values[1]}"


class WithSetattr(Named):
    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, f"set to {value}" if name == "name" else value)


class WithGetattribute(Named):
    def __getattribute__(self, name: str) -> Any:
        return super().__getattribute__(name)


class WithGetattr(Named):
    """Runs for names that are not there, which is none that building asks for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return f"no {name}"


class WithNew(Named):
    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        instance = super().__new__(cls)
        instance.made_by_new = True
        return instance


class CallingMeta(models.base.ModelBase):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        instance = super().__call__(*args, **kwargs)
        instance.made_by_call = True
        return instance


class WithMetaclass(Named, metaclass=CallingMeta):
    pass


class AbstractMeta(models.base.ModelBase, abc.ABCMeta):
    pass


class Unfinished(Named, metaclass=AbstractMeta):
    """It cannot be instantiated, not even by a query."""

    @abc.abstractmethod
    def price(self) -> int: ...


class Initialised:
    def __init__(self) -> None:
        self.initialised = True


class WithMixinBehind(Named, Initialised):
    """Model.__init__ calls that of the class behind it."""


class WithMixinBefore(Initialised, Named):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        Named.__init__(self, *args, **kwargs)


class Slotted:
    __slots__ = ("note",)


class WithSlots(Named, Slotted):
    """A place of its own beside the dict."""


class WithEquality(Named):
    def __eq__(self, other: object) -> bool:
        raise AssertionError("no row is compared")

    def __hash__(self) -> int:
        raise AssertionError("no row is hashed")


class Loud:
    """A data descriptor on a column."""

    def __get__(self, instance: Any, owner: Any) -> Any:
        return self if instance is None else instance.__dict__["loud_name"]

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__["loud_name"] = value.upper()


class WithDescriptor(Named):
    pass


WithDescriptor.name = Loud()


class WithProperty(Named):
    pass


WithProperty.name = property(lambda self: "fixed", lambda self, value: None)


class QuietAttribute:
    """Without a `__set__`, so that the value is stored beside it."""

    def __get__(self, instance: Any, owner: Any) -> Any:
        return self


class WithPlainDescriptor(Named):
    pass


WithPlainDescriptor.name = QuietAttribute()


class CountingKey(ForeignKeyDeferredAttribute):
    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__["key_sets"] = instance.__dict__.get("key_sets", 0) + 1
        super().__set__(instance, value)


class WithKeyDescriptor(Named):
    pass


WithKeyDescriptor.box_id = CountingKey(WithKeyDescriptor._meta.get_field("box"))


class CautiousForeignKey(models.ForeignKey):
    """Says by itself what is cached."""

    def is_cached(self, instance: Any) -> bool:
        instance.__dict__["asked"] = True
        return super().is_cached(instance)


class WithOwnCache(models.Model):
    name = models.CharField(max_length=20)
    box = CautiousForeignKey(Box, on_delete=models.CASCADE, null=True, related_name="+")


class WithState(Named):
    """`_state` is an attribute of the class as well."""

    _state = property(lambda self: self.__dict__["_state"], lambda self, value: self.__dict__.update(_state=value))


class Undecided:
    """Equal to everything, None too."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


class UndecidedKey(models.CharField):
    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return None if value is None else Undecided()


class UndecidedTarget(models.Model):
    key = UndecidedKey(max_length=20, primary_key=True)


class WithUndecidedKey(models.Model):
    """Django asks whether the value of a foreign key differs from None."""

    name = models.CharField(max_length=20)
    target = models.ForeignKey(
        UndecidedTarget, on_delete=models.CASCADE, null=True, related_name="+", db_constraint=False
    )


class TracedIterable(ModelIterable):
    def __iter__(self) -> Any:
        for instance in super().__iter__():
            instance.traced = True
            yield instance


class TracedQuerySet(models.QuerySet):
    """Its rows come from an iterable of its own, which takes them from Django's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._iterable_class = TracedIterable

    def _clone(self) -> Any:
        clone = super()._clone()
        clone._iterable_class = self._iterable_class
        return clone


class Traced(Named):
    objects = TracedQuerySet.as_manager()


# --- called like those of the catalogue, with other targets: for chunks of mixed classes, and through models


class Label(models.Model):
    text = models.CharField(max_length=50)

    class Meta:
        ordering = ["text"]


class Labelling(models.Model):
    volume = models.ForeignKey("catalogue.Volume", on_delete=models.CASCADE, related_name="museum_labellings")
    label = models.ForeignKey(Label, on_delete=models.CASCADE)


class Exhibit(models.Model):
    """The same names as in the catalogue, with other targets: chunks of mixed classes."""

    title = models.CharField(max_length=50)
    country = models.ForeignKey("catalogue.Country", on_delete=models.CASCADE, null=True, related_name="exhibits")
    labels = models.ManyToManyField(Label, related_name="exhibits")
