"""Every kind of relation that there is, with what the contract needs of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import django
from django.contrib.contenttypes.models import ContentType
from django.db.models import Prefetch, QuerySet, prefetch_related_objects

from django_memoized_prefetch import MemoizedPrefetchConfig
from tests.python.catalogue.models import CardIndexEntry, LegacyRecord, Pamphlet
from tests.python.catalogue.models import Person as Lender
from tests.python.customised.models import Article, Editor, Journal, Registration, Remark, Subject
from tests.python.theatre.models import Locker, Note, Person, Play, Tag
from tests.python.theatre.rows import fill_theatre

ALIASES = ("default", "other")

# What the contract asks of every kind, by the names of its tests.
SITUATIONS = (
    *("remembered", "evicted", "absent", "two_databases", "mixed_databases", "sealed"),
    *("unsaved", "to_attr", "chosen_rows", "nested", "failing_query", "stale_row"),
)

# django-seal 1.7.1 cannot prefetch a one-to-one on Django 6.1: there is nothing to compare with.
SEALS_ONE_TO_ONES = django.VERSION < (6, 1)
NO_SEALED_ONE_TO_ONES = {} if SEALS_ONE_TO_ONES else {"sealed": "django-seal cannot prefetch a one-to-one"}


def by_django(objects: Sequence[Any], *lookups: Any) -> None:
    prefetch_related_objects(objects, *lookups)


def by_hand(objects: Sequence[Any], *lookups: Any) -> None:
    """What Django has no lookup for: the rows of a column that is no foreign key."""
    for config in lookups:
        [name] = config.attributes
        queryset = config.model.objects.using(objects[0]._state.db)
        rows = (queryset.seal() if getattr(objects[0]._state, "sealed", False) else queryset).in_bulk()
        for one in objects:
            setattr(one, name, rows.get(getattr(one, f"{name}_id")))


@dataclass(frozen=True)
class Kind:
    """
    One kind of relation.

    Args:
        model: Whose objects are processed.
        lookup: What is attached to them.
        target: The class of the rows that come of it.
        below: A relation of these rows.
        before: Lookups that come first.
        above: For rows that belong to their object: a model, and its relation that leads to remembered objects.
        empty: From the objects to what the relation leads nowhere in: an update of their columns, or a relation to
            clear.
        sealed: The same kind between models of django-seal: the queryset, the lookups and the class of the rows.
        column: One of the target that may change.
        by_config: Only a config names it.
        reference: What attaches the right rows.
        left_out: The situations that cannot be, and why.
    """

    model: Any
    lookup: str
    target: Any
    below: str | None = None
    before: Sequence[str] = ()
    above: tuple[Any, str] | None = None
    empty: Mapping[str, Any] | str = field(default_factory=dict)
    sealed: tuple[Callable[[], QuerySet[Any]], Sequence[str], Any] | None = None
    column: str = "name"
    by_config: bool = False
    reference: Callable[..., None] = by_django
    left_out: Mapping[str, str] = field(default_factory=dict)

    def lookups(self, path: str | None = None, **options: Any) -> list[Any]:
        """
        Made anew: Django changes those that it has used.

        Args:
            path: In place of the kind's own.
            options: Of a Prefetch.
        """
        if self.by_config:
            return [MemoizedPrefetchConfig(self.target, [self.lookup])]
        return [*self.before, Prefetch(path or self.lookup, **options) if options else path or self.lookup]

    def sealed_lookups(self) -> list[Any]:
        assert self.sealed is not None
        _, paths, target = self.sealed
        return [MemoizedPrefetchConfig(target, paths)] if self.by_config else list(paths)

    def objects(self, alias: str = "default") -> list[Any]:
        return list(self.model._base_manager.using(alias).order_by("pk"))

    def unsaved(self) -> Any:
        one = self.model()
        one.pk = None  # where it has a default
        return one

    def lead_nowhere(self, alias: str = "default") -> None:
        if isinstance(self.empty, str):
            for one in self.objects(alias):
                manager = getattr(one, self.empty)
                through = getattr(manager, "through", None)
                rows = through._base_manager.using(alias) if through is not None else manager.all()
                rows.all().delete()
        else:
            self.model._base_manager.using(alias).update(**self.empty)


KINDS: dict[str, Kind] = {
    "foreign key": Kind(
        Play,
        "author",
        Person,
        below="hometown",
        empty={"author": 99},
        sealed=(lambda: Article.objects.seal(), ["journal"], Journal),
    ),
    "foreign key to another column": Kind(
        Play,
        "sequel_of",
        Play,
        below="author",
        empty={"sequel_of": "gone"},
        sealed=(lambda: Article.objects.seal(), ["coded"], Journal),
    ),
    "one-to-one": Kind(
        Locker,
        "holder",
        Person,
        below="hometown",
        empty={"holder": None},
        sealed=(lambda: Registration.objects.seal(), ["journal"], Journal),
        left_out=NO_SEALED_ONE_TO_ONES,
    ),
    "key only": Kind(
        CardIndexEntry,
        "legacy",
        LegacyRecord,
        empty={"legacy_id": 99},
        column="text",
        by_config=True,
        reference=by_hand,
        sealed=(lambda: Journal.objects.seal(), ["archivist"], Editor),
        left_out={
            "to_attr": "only a config names it, which has no to_attr",
            "chosen_rows": "no Prefetch names it, with which to compare",
            "nested": "only a config names it, whose rows are the last",
        },
    ),
    "many-to-many": Kind(
        Play,
        "tags",
        Tag,
        below="works",
        empty="tags",
        sealed=(lambda: Article.objects.seal(), ["subjects"], Subject),
    ),
    "many-to-many, from the other side": Kind(
        Tag,
        "play_set",
        Play,
        below="author",
        empty="play_set",
        sealed=(lambda: Subject.objects.seal(), ["journals"], Journal),
    ),
    "reverse one-to-one": Kind(
        Person,
        "locker",
        Locker,
        below="notes",
        above=(Play, "author"),
        sealed=(lambda: Journal.objects.seal(), ["registration"], Registration),
        left_out=NO_SEALED_ONE_TO_ONES,
    ),
    "reverse foreign key": Kind(
        Person,
        "written",
        Play,
        below="tags",
        above=(Play, "director"),
        empty="written",
        sealed=(lambda: Journal.objects.seal(), ["articles"], Article),
    ),
    "generic relation": Kind(
        Person,
        "notes",
        Note,
        below="writer",
        above=(Play, "author"),
        empty="notes",
        sealed=(lambda: Journal.objects.seal(), ["remarks"], Remark),
    ),
    "generic foreign key": Kind(
        Note,
        "target",
        Person,
        below="notes",
        empty={"object_id": "99"},
        left_out={"chosen_rows": "a config's queryset is of one model, but it leads to several"},
        sealed=(lambda: Remark.objects.seal(), ["subject"], Journal),
    ),
    "by Django": Kind(
        Pamphlet,
        "lender",
        Lender,
        below="mentor",
        empty={"lender": None},
        left_out={
            "remembered": "Django reads it for every chunk",
            "evicted": "nothing of it is remembered",
            "sealed": "its descriptor is its own, which django-seal does not seal",
        },
    ),
    "passed through": Kind(
        Play,
        "writer__hometown",
        Person.hometown.field.related_model,
        below="companies",
        before=("author",),
        empty={"author": None},
        sealed=(lambda: Article.objects.seal(), ["journal", "paper__editor"], Editor),
    ),
}


def cases(situation: str) -> Iterable[tuple[str, Kind]]:
    return [(name, kind) for name, kind in KINDS.items() if situation not in kind.left_out]


def fill_kinds() -> None:
    for alias in ALIASES:
        fill_theatre(11, 5, alias, noted=[Person, Play])
        for model in (Person, Play):
            ContentType.objects.db_manager(alias).get_for_model(model)
        records = [LegacyRecord(pk=i, text=f"record {i} of {alias}") for i in range(3)]
        LegacyRecord.objects.using(alias).bulk_create(records)
        CardIndexEntry.objects.using(alias).bulk_create(
            CardIndexEntry(pk=i, heading=f"entry {i}", legacy_id=[0, 1, None, 99, 2, 0][i]) for i in range(6)
        )
        lenders = [Lender(pk=i, name=f"lender {i} of {alias}", mentor_id=i % 2 or None) for i in range(1, 4)]
        Lender.objects.using(alias).bulk_create(lenders)
        Pamphlet.objects.using(alias).bulk_create(Pamphlet(pk=i, lender_id=[1, None, 2, 1, 3][i]) for i in range(5))
    editors = [Editor.objects.create(name=f"editor {i}") for i in range(3)]
    subjects = [Subject.objects.create(name=f"subject {i}") for i in range(3)]
    for i in range(4):
        archivist = [editors[0].pk, None, 2**30, editors[1].pk][i]
        journal = Journal.objects.create(name=f"{i}", code=f"J{i}", editor=editors[i % 2], archivist_id=archivist)
        journal.subjects.add(*subjects[i:])
        if i:
            Registration.objects.create(journal=journal)
            Remark.objects.create(subject=journal)
        for number in range(i):
            article = Article.objects.create(title=f"{number}", journal=journal, coded=journal if number else None)
            article.subjects.add(*subjects[: number + 1])
