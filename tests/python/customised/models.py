from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models.fields.related_descriptors import ManyToManyDescriptor, ReverseManyToOneDescriptor
from django.db.models.functions import RowNumber
from seal.models import SealableModel

# --- querysets and managers


class LiveQuerySet(models.QuerySet):  # type: ignore[type-arg]
    """Adds a condition of its own behind every other."""

    def filter(self, *args: Any, **kwargs: Any) -> Any:
        return models.QuerySet.filter(super().filter(*args, **kwargs), status__in=["live", "old"])


class RankedManager(models.Manager):  # type: ignore[type-arg]
    """A row's place depends on what else is asked for."""

    def get_queryset(self) -> Any:
        return super().get_queryset().annotate(place=models.Window(RowNumber(), order_by=models.F("pk").asc()))


class KnowingManager(models.Manager):  # type: ignore[type-arg]
    """A related manager has the instance; the default manager has none."""

    def get_queryset(self) -> Any:
        of = type(getattr(self, "instance", None)).__name__
        return super().get_queryset().annotate(of=models.Value(of))


class Tenant(threading.local):
    name = "a"


tenant = Tenant()


class TenantManager(models.Manager):  # type: ignore[type-arg]
    def get_queryset(self) -> Any:
        return super().get_queryset().filter(tenant=tenant.name)


class ShoutingManager(models.Manager):  # type: ignore[type-arg]
    """Its all() is not what Django asks a many-to-many for; a foreign key is asked by it up to Django 6.0."""

    calls = 0

    def all(self) -> Any:
        type(self).calls += 1
        return super().all().annotate(loud=models.Value(True))


class Backwards(models.query.ModelIterable):  # type: ignore[misc]
    def __iter__(self) -> Iterator[Any]:
        yield from reversed(list(super().__iter__()))


class BackwardsQuerySet(models.QuerySet):  # type: ignore[type-arg]
    def backwards(self) -> Any:
        queryset = self._chain()
        queryset._iterable_class = Backwards
        return queryset


class SwappedQuerySet(models.QuerySet):  # type: ignore[type-arg]
    """Gives the columns of values_list() in another order, as packages that rewrite names do."""

    def values_list(self, *fields: Any, **options: Any) -> Any:
        return super().values_list(*reversed(fields), **options)


# --- descriptors


class Labels:
    """A manager of its own, which knows how to prefetch."""

    def __init__(self, instance: Any) -> None:
        self.instance = instance

    def get_queryset(self) -> Any:
        prefetched = getattr(self.instance, "_prefetched_objects_cache", {})
        return prefetched.get("labels", Label.objects.filter(item=self.instance))

    def all(self) -> Any:
        return self.get_queryset()

    def get_prefetch_querysets(self, instances: Any, querysets: Any = None) -> Any:
        rows = Label.objects.filter(item__in=instances).order_by("pk")
        return rows, lambda row: row.item_id, lambda one: one.pk, False, "labels", False

    get_prefetch_queryset = get_prefetch_querysets


class LabelsAttribute:
    """Knows nothing of prefetching itself."""

    def __get__(self, instance: Any, owner: Any) -> Any:
        return self if instance is None else Labels(instance)


class SortedDescriptor(ManyToManyDescriptor):  # type: ignore[misc]
    """Its manager orders by the link, also when it prefetches."""

    @property
    def related_manager_cls(self) -> Any:
        class Manager(super().related_manager_cls):  # type: ignore[misc]
            def get_queryset(self) -> Any:
                rows = super().get_queryset()
                return rows if rows._prefetch_done else rows.order_by("-custom_place_links__position")

            def get_prefetch_querysets(self, instances: Any, querysets: Any = None) -> Any:
                rows, *rest = super().get_prefetch_querysets(instances, querysets)
                return rows.order_by("-custom_place_links__position"), *rest

            def get_prefetch_queryset(self, instances: Any, queryset: Any = None) -> Any:
                rows, *rest = super().get_prefetch_queryset(instances, queryset)
                return rows.order_by("-custom_place_links__position"), *rest

        return Manager


class SortedField(models.ManyToManyField):  # type: ignore[type-arg]
    def contribute_to_class(self, cls: Any, name: str, **options: Any) -> None:
        super().contribute_to_class(cls, name, **options)
        setattr(cls, name, SortedDescriptor(self.remote_field))


class LiveDescriptor(ReverseManyToOneDescriptor):  # type: ignore[misc]
    """Its all() asks the database every time, also where rows are prefetched."""

    @property
    def related_manager_cls(self) -> Any:
        class Manager(super().related_manager_cls):  # type: ignore[misc]
            def all(self) -> Any:
                return self._apply_rel_filters(Speaker.objects.get_queryset())

        return Manager

    def __get__(self, instance: Any, cls: Any = None) -> Any:
        return self if instance is None else self.related_manager_cls(instance)


class LiveKey(models.ForeignKey):  # type: ignore[type-arg]
    related_accessor_class = LiveDescriptor


class Doubled(models.Field):  # type: ignore[type-arg]
    """What is stored is twice what is read."""

    def get_internal_type(self) -> str:
        return "IntegerField"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return None if value is None else value // 2

    def get_prep_value(self, value: Any) -> Any:
        return None if value is None else int(value) * 2


class TextInteger(models.IntegerField):  # type: ignore[type-arg]
    """An integer whose column is text."""

    def db_type(self, connection: Any) -> str:
        return "varchar(20)"

    def rel_db_type(self, connection: Any) -> str:
        return "varchar(20)"

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        value = super().get_db_prep_value(value, connection, prepared)
        return None if value is None else str(value)

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return None if value is None else int(value)


# --- models


class Custom(models.Model):
    class Meta:
        abstract = True
        ordering = ("pk",)


class Status(Custom):
    status = models.CharField(max_length=9, default="live")
    objects = LiveQuerySet.as_manager()

    class Meta(Custom.Meta):
        base_manager_name = "objects"


class Ranked(Custom):
    objects = RankedManager()

    class Meta(Custom.Meta):
        base_manager_name = "objects"


class Knowing(Custom):
    objects = KnowingManager()


class Owned(Custom):
    tenant = models.CharField(max_length=9)
    objects = TenantManager()

    class Meta(Custom.Meta):
        base_manager_name = "objects"


class Loud(Custom):
    objects = ShoutingManager()

    class Meta(Custom.Meta):
        base_manager_name = "objects"


class Backward(Custom):
    objects = BackwardsQuerySet.as_manager()


class Swapped(Custom):
    name = models.CharField(max_length=9)
    objects = SwappedQuerySet.as_manager()

    class Meta(Custom.Meta):
        ordering = ("-name",)


class Twice(models.Model):
    number = Doubled(primary_key=True)


class TextKey(models.Model):
    number = TextInteger(primary_key=True)


class Place(Custom):
    owner = models.ForeignKey(Owned, models.CASCADE, null=True, related_name="+")
    owners = models.ManyToManyField(Owned, related_name="+")


class Renamed(models.Model):
    """What it calls its pk is not its primary key."""

    number = models.IntegerField(primary_key=True)

    @property
    def pk(self) -> Any:
        return None if self.number is None else -self.number

    @pk.setter
    def pk(self, value: Any) -> None:
        self.number = value


class Item(Custom):
    status = models.ForeignKey(Status, models.CASCADE, null=True, related_name="items")
    ranked = models.ForeignKey(Ranked, models.CASCADE, null=True, related_name="items")
    owned = models.ForeignKey(Owned, models.CASCADE, null=True, related_name="items")
    loud = models.ForeignKey(Loud, models.CASCADE, null=True, related_name="items")
    twice = models.ForeignKey(Twice, models.CASCADE, null=True, related_name="items")
    text_key = models.ForeignKey(TextKey, models.CASCADE, null=True, related_name="items")
    home = models.ForeignKey(Place, models.CASCADE, null=True, related_name="+")
    statuses = models.ManyToManyField(Status, related_name="+")
    many_ranked = models.ManyToManyField(Ranked, related_name="+")
    many_knowing = models.ManyToManyField(Knowing, related_name="+")
    many_owned = models.ManyToManyField(Owned, related_name="+")
    many_loud = models.ManyToManyField(Loud, related_name="+")
    backward = models.ManyToManyField(Backward, related_name="+")
    swapped = models.ManyToManyField(Swapped, related_name="+")
    places = SortedField(Place, through="PlaceLink", related_name="+")
    linked = models.ManyToManyField(Place, through="OrderedLink", related_name="+")
    labels = LabelsAttribute()
    renamed = models.ForeignKey(Renamed, models.CASCADE, null=True, related_name="items")
    many_renamed = models.ManyToManyField(Renamed, related_name="+", db_constraint=False)

    @property
    def notes_of_it(self) -> Any:
        """A manager that only reading the attribute gives."""
        return self.notes


class PlaceLink(models.Model):
    item = models.ForeignKey(Item, models.CASCADE)
    place = models.ForeignKey(Place, models.CASCADE, related_name="custom_place_links")
    position = models.IntegerField()


class OrderedLink(models.Model):
    """Ordered over a relation to many, which would multiply the links."""

    item = models.ForeignKey(Item, models.CASCADE)
    place = models.ForeignKey(Place, models.CASCADE)

    class Meta:
        ordering = ("item__notes__stars",)


class Note(Custom):
    item = models.ForeignKey(Item, models.CASCADE, related_name="notes")
    stars = models.IntegerField(default=0)


class Label(Custom):
    item = models.ForeignKey(Item, models.CASCADE, related_name="+")


class Speaker(Custom):
    item = LiveKey(Item, models.CASCADE, related_name="speakers")
    place = models.ForeignKey(Place, models.CASCADE, related_name="+")


class Price(models.Model):
    amount = models.DecimalField(primary_key=True, max_digits=5, decimal_places=2)


class Pointer(Custom):
    content_type = models.ForeignKey(ContentType, models.CASCADE, null=True)
    object_id = models.CharField(max_length=9)
    target = GenericForeignKey("content_type", "object_id")


# --- django-seal


class Editor(SealableModel):
    name = models.CharField(max_length=50)


class Subject(SealableModel):
    name = models.CharField(max_length=50)

    class Meta:
        ordering = ["-name"]


class Journal(SealableModel):
    name = models.CharField(max_length=50)
    editor = models.ForeignKey(Editor, on_delete=models.CASCADE, null=True, related_name="journals")
    subjects = models.ManyToManyField(Subject, related_name="journals")
    code = models.CharField(max_length=20, unique=True, null=True)
    archivist_id = models.IntegerField(null=True)  # of an editor, and no foreign key
    remarks = GenericRelation("Remark")


class Registration(SealableModel):
    journal = models.OneToOneField(Journal, on_delete=models.CASCADE, related_name="registration")


class Article(SealableModel):
    title = models.CharField(max_length=50)
    journal = models.ForeignKey(Journal, on_delete=models.CASCADE, related_name="articles")
    reviewer = models.ForeignKey(Editor, on_delete=models.CASCADE, null=True, related_name="reviewed")
    subjects = models.ManyToManyField(Subject, related_name="articles")
    coded = models.ForeignKey(Journal, on_delete=models.CASCADE, to_field="code", null=True, related_name="+")

    @property
    def paper(self) -> Journal:
        return self.journal


class Clipping(models.Model):
    """Not sealable itself, its relation is."""

    article = models.ForeignKey(Article, on_delete=models.CASCADE, related_name="clippings")


class Remark(SealableModel):
    content_type = models.ForeignKey(ContentType, on_delete=models.CASCADE)
    object_id = models.IntegerField()
    subject = GenericForeignKey()
