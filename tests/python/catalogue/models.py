"""A library's catalogue: every kind of key and relation that the bookshop does not have."""

from __future__ import annotations

import uuid

import django
from django.db import models
from django.db.models.fields.related_descriptors import ForwardManyToOneDescriptor

from tests.django_suites.own import take_for_own


class Country(models.Model):
    """A text key under its own name; the empty string is a value like any other."""

    code = models.CharField(max_length=10, primary_key=True)
    name = models.CharField(max_length=50)


class Shelf(models.Model):
    """An integer key under its own name; 0 is a value like any other."""

    number = models.IntegerField(primary_key=True)
    room = models.CharField(max_length=50)


class Scan(models.Model):
    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4)
    resolution = models.IntegerField(default=300)


class Series(models.Model):
    """Foreign keys lead to `code` and to `number`, whose values overlap with those of other rows' ids."""

    code = models.CharField(max_length=20, unique=True)
    number = models.IntegerField(unique=True)
    name = models.CharField(max_length=50)


class Tag(models.Model):
    word = models.CharField(max_length=50)


class Topic(models.Model):
    word = models.CharField(max_length=50)


class Genre(models.Model):
    name = models.CharField(max_length=50)
    rank = models.IntegerField(default=0)
    added = models.DateField(null=True)
    changed = models.DateTimeField(null=True)

    class Meta:
        ordering = ["rank", "-name"]


class VisibleNoticeManager(models.Manager):
    def get_queryset(self) -> models.QuerySet[Notice]:
        return super().get_queryset().filter(withdrawn=False)


class Notice(models.Model):
    """Soft delete: the default manager hides rows, the base manager does not."""

    text = models.CharField(max_length=50)
    withdrawn = models.BooleanField(default=False)

    objects = VisibleNoticeManager()
    everything = models.Manager()

    class Meta:
        ordering = ["text"]


class OpenLedgerManager(models.Manager):
    def get_queryset(self) -> models.QuerySet[Ledger]:
        return super().get_queryset().filter(closed=False)


class Ledger(models.Model):
    """Here the base manager hides rows, so that a foreign key to a hidden one finds nothing."""

    name = models.CharField(max_length=50)
    closed = models.BooleanField(default=False)

    objects = models.Manager()
    open_ones = OpenLedgerManager()

    class Meta:
        base_manager_name = "open_ones"


class Curator(models.Model):
    """No manager is called `objects`."""

    name = models.CharField(max_length=50)

    staff = models.Manager()


class Person(models.Model):
    name = models.CharField(max_length=50)
    mentor = models.ForeignKey("self", on_delete=models.CASCADE, null=True, related_name="pupils", db_constraint=False)
    colleagues = models.ManyToManyField("self")
    substitutes = models.ManyToManyField("self", symmetrical=False, related_name="substitute_for")


class Label(models.Model):
    text = models.CharField(max_length=50)

    class Meta:
        ordering = ["text"]


class Volume(models.Model):
    title = models.CharField(max_length=50)
    country = models.ForeignKey(
        Country, on_delete=models.CASCADE, null=True, related_name="volumes", db_constraint=False
    )
    shelf = models.ForeignKey(Shelf, on_delete=models.CASCADE, null=True, related_name="volumes", db_constraint=False)
    scan = models.ForeignKey(Scan, on_delete=models.CASCADE, null=True, related_name="volumes", db_constraint=False)
    series = models.ForeignKey(
        Series, on_delete=models.CASCADE, to_field="code", null=True, related_name="volumes", db_constraint=False
    )
    numbered_series = models.ForeignKey(
        Series, on_delete=models.CASCADE, to_field="number", null=True, related_name="+", db_constraint=False
    )
    plain_series = models.ForeignKey(
        Series, on_delete=models.CASCADE, null=True, related_name="plain_volumes", db_constraint=False
    )
    notice = models.ForeignKey(Notice, on_delete=models.CASCADE, null=True, related_name="volumes")
    ledger = models.ForeignKey(Ledger, on_delete=models.CASCADE, null=True, related_name="volumes")
    curator = models.ForeignKey(Curator, on_delete=models.CASCADE, null=True, related_name="volumes")

    tags = models.ManyToManyField(Tag)
    topics = models.ManyToManyField(Topic, related_query_name="about")
    genres = models.ManyToManyField(Genre, related_name="volumes")
    notices = models.ManyToManyField(Notice, related_name="pinned_to")
    countries = models.ManyToManyField(Country, related_name="sold_volumes")
    scans = models.ManyToManyField(Scan, related_name="scanned_volumes")
    all_series = models.ManyToManyField(Series, through="SeriesMembership", related_name="member_volumes")
    contributors = models.ManyToManyField(
        Person, through="Contribution", through_fields=("volume", "person"), related_name="volumes"
    )
    labels = models.ManyToManyField(Label, through="Labelling", related_name="volumes")
    museum_labels = models.ManyToManyField("archive.Label", through="archive.Labelling", related_name="volumes")


class SeriesMembership(models.Model):
    """Links by a unique column that is not the primary key."""

    volume = models.ForeignKey(Volume, on_delete=models.CASCADE)
    series = models.ForeignKey(Series, on_delete=models.CASCADE, to_field="code")


class CreditedManager(models.Manager):
    def get_queryset(self) -> models.QuerySet[Contribution]:
        return super().get_queryset().filter(credited=True)


class Contribution(models.Model):
    """One person may contribute to one volume in several roles. Django ignores a through model's manager."""

    volume = models.ForeignKey(Volume, on_delete=models.CASCADE)
    person = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="contributions", db_constraint=False)
    entered_by = models.ForeignKey(Person, on_delete=models.CASCADE, null=True, related_name="+")
    role = models.CharField(max_length=20, default="author")
    credited = models.BooleanField(default=True)

    objects = CreditedManager()


class Labelling(models.Model):
    volume = models.ForeignKey(Volume, on_delete=models.CASCADE)
    label = models.ForeignKey(Label, on_delete=models.CASCADE)


class Copy(models.Model):
    """The volume is required, and still the row may be gone: a table without constraints."""

    barcode = models.CharField(max_length=20, primary_key=True)
    volume = models.ForeignKey(Volume, on_delete=models.CASCADE, related_name="copies", db_constraint=False)


class Locker(models.Model):
    place = models.CharField(max_length=50)


class Member(models.Model):
    name = models.CharField(max_length=50)
    locker = models.OneToOneField(
        Locker, on_delete=models.CASCADE, null=True, related_name="member", db_constraint=False
    )


class Card(models.Model):
    """The relation is the primary key."""

    member = models.OneToOneField(Member, on_delete=models.CASCADE, primary_key=True, related_name="card")
    number = models.IntegerField(default=0)


class Stamp(models.Model):
    """Two steps of one-to-one relations below each other."""

    card = models.OneToOneField(Card, on_delete=models.CASCADE, related_name="stamp")


class VisitingMember(Member):
    class Meta:
        proxy = True


class Item(models.Model):
    name = models.CharField(max_length=50)
    donor = models.ForeignKey(Person, on_delete=models.CASCADE, null=True, related_name="donated")
    genres = models.ManyToManyField(Genre, related_name="items")


class ListedItem(Item):
    class Meta:
        proxy = True


class Map(Item):
    """Multi-table inheritance: a row of its own and one of Item."""

    scale = models.IntegerField(default=25_000)
    regions = models.ManyToManyField(Country, related_name="maps")


class Loan(models.Model):
    item = models.ForeignKey(Item, on_delete=models.CASCADE, null=True, related_name="loans")
    listed_item = models.ForeignKey(ListedItem, on_delete=models.CASCADE, null=True, related_name="listed_loans")
    map = models.ForeignKey(Map, on_delete=models.CASCADE, null=True, related_name="map_loans")
    borrower = models.ForeignKey(Member, on_delete=models.CASCADE, null=True, related_name="loans")


class Branch(models.Model):
    name = models.CharField(max_length=50)
    country = models.ForeignKey(Country, on_delete=models.CASCADE, null=True, related_name="branches")


class Transfer(models.Model):
    """Three foreign keys to one table."""

    volume = models.ForeignKey(Volume, on_delete=models.CASCADE, null=True, related_name="transfers")
    origin = models.ForeignKey(Branch, on_delete=models.CASCADE, related_name="departures")
    via = models.ForeignKey(Branch, on_delete=models.CASCADE, null=True, related_name="passages")
    destination = models.ForeignKey(Branch, on_delete=models.CASCADE, related_name="arrivals")


class LegacyRecord(models.Model):
    """A table that nothing refers to by a real foreign key."""

    text = models.CharField(max_length=50)


class CardIndexEntry(models.Model):
    """`legacy_id` is a plain column; the attribute `legacy` exists only after a prefetch."""

    heading = models.CharField(max_length=50)
    legacy_id = models.IntegerField(null=True)


class CountingText(str):
    """A key that counts how often it is hashed."""

    hashed = 0

    def __hash__(self) -> int:
        CountingText.hashed += 1
        return super().__hash__()

    __eq__ = str.__eq__


class CountingTextField(models.CharField):
    def from_db_value(self, value: str | None, expression: object, connection: object) -> CountingText | None:
        return None if value is None else CountingText(value)


take_for_own(CountingTextField.from_db_value)  # otherwise left to Django, and the engine would not see its keys


class Signature(models.Model):
    text = CountingTextField(max_length=20, primary_key=True)


class Signed(models.Model):
    signature = models.ForeignKey(Signature, on_delete=models.CASCADE, db_constraint=False)


class Touchy(models.Model):
    """Its instances can be neither hashed nor compared."""

    name = models.CharField(max_length=50)
    friends = models.ManyToManyField("self")
    best = models.ForeignKey("self", on_delete=models.CASCADE, null=True, related_name="fans")

    def __eq__(self, other: object) -> bool:
        raise AssertionError("an instance was compared")

    def __hash__(self) -> int:
        raise AssertionError("an instance was hashed")


class LendingDescriptor(ForwardManyToOneDescriptor):
    """A third party's descriptor, with a side effect of its own."""

    read = 0

    def __get__(self, instance: models.Model | None, cls: type[models.Model] | None = None) -> object:
        LendingDescriptor.read += instance is not None
        return super().__get__(instance, cls)


class LendingForeignKey(models.ForeignKey):
    forward_related_accessor_class = LendingDescriptor


class Pamphlet(models.Model):
    lender = LendingForeignKey(Person, on_delete=models.CASCADE, null=True, related_name="pamphlets")
    place = models.ForeignKey(Country, on_delete=models.CASCADE, null=True, related_name="pamphlets")


if django.VERSION >= (5, 2):

    class Placement(models.Model):
        """The streamed rows have a key of two columns."""

        pk = models.CompositePrimaryKey("room", "position")
        room = models.IntegerField()
        position = models.IntegerField()
        volume = models.ForeignKey(Volume, on_delete=models.CASCADE, null=True, related_name="placements")
