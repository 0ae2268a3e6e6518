"""Managers whose querysets have prefetch_related() lookups of their own, beside lookups that users give."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import models
from django.db.models import Prefetch, prefetch_related_objects
from django.test.utils import isolate_apps

from django_memoized_prefetch import MemoizedPrefetch, memoized
from tests.python.databases import on_one_database
from tests.python.own_models import OfBookshop, own_tables, tables
from tests.python.queries import no_queries

pytestmark = [on_one_database, own_tables]

django = prefetch_related_objects


def ours(objects: list[Any], lookup: Any) -> None:
    MemoizedPrefetch(lookup).process_chunk(objects)


@isolate_apps("tests.python.bookshop")
@pytest.mark.parametrize("holder", ["Writer", "Shelf", "Loan"])
@pytest.mark.parametrize("before", [[], ["books"], ["books__labels"]], ids=str)
@pytest.mark.parametrize("after", [[], ["books"], ["books__labels__marks"]], ids=str)
def test_a_given_queryset_for_what_the_manager_prefetches(holder: str, before: list[Any], after: list[Any]) -> None:
    class WithGenres(models.Manager):  # type: ignore[type-arg]
        def get_queryset(self) -> Any:
            return super().get_queryset().prefetch_related("labels")

    class Writer(OfBookshop):
        pass

    class Genre(OfBookshop):
        active = models.BooleanField()

    class Mark(OfBookshop):
        label = models.ForeignKey(Genre, models.CASCADE, related_name="marks")

    class Novel(OfBookshop):
        author = models.ForeignKey(Writer, models.CASCADE, related_name="books")
        labels = models.ManyToManyField(Genre, related_name="books")
        objects = WithGenres()

        class Meta:
            app_label = "bookshop"
            base_manager_name = "objects"

    class Shelf(OfBookshop):
        books = models.ManyToManyField(Novel)

    class Loan(OfBookshop):
        books = models.ForeignKey(Novel, models.CASCADE)

    def read(row: Any) -> Any:
        books = [row.books] if holder == "Loan" else row.books.all()
        return [
            [(label.pk, sorted(label.__dict__.get("_prefetched_objects_cache", {}))) for label in book.labels.all()]
            for book in books
        ]

    def outcome(attach: Any) -> Any:
        lookups = [*before, Prefetch("books__labels", Genre.objects.filter(active=True).order_by("pk")), *after]
        rows = list(model.objects.order_by("pk"))
        try:
            rows = attach(rows, lookups)
        except ValueError:
            return ValueError
        return [read(row) for row in rows]

    def by_django(rows: list[Any], lookups: list[Any]) -> list[Any]:
        prefetch_related_objects(rows, *lookups)
        return rows

    def by_memo(rows: list[Any], lookups: list[Any]) -> list[Any]:
        return MemoizedPrefetch(*lookups).process_chunk(rows)

    def by_memoized(rows: list[Any], lookups: list[Any]) -> list[Any]:
        return list(memoized(model.objects.order_by("pk").prefetch_related(*lookups)).iterator(chunk_size=9))

    model: Any = {"Writer": Writer, "Shelf": Shelf, "Loan": Loan}[holder]
    with tables(Writer, Genre, Mark, Novel, Shelf, Loan):
        author, shelf = Writer.objects.create(), Shelf.objects.create()
        labels = [Genre.objects.create(active=number % 2 == 0) for number in range(4)]
        Mark.objects.create(label=labels[0])
        for _ in range(2):
            book = Novel.objects.create(author=author)
            book.labels.set(labels)
            shelf.books.add(book)
            Loan.objects.create(books=book)
        expected = outcome(by_django)
        assert outcome(by_memo) == expected
        assert outcome(by_memoized) == expected


@isolate_apps("tests.python.bookshop")
@pytest.mark.parametrize("holder", ["own_tags", "tags", "tag"])
@pytest.mark.parametrize("given", [[], ["{}__sizes"]], ids=["alone", "with another lookup"])
def test_lookups_that_change_from_chunk_to_chunk(holder: str, given: list[str]) -> None:
    language = "en"

    class InOneLanguage(models.Manager):  # type: ignore[type-arg]
        def get_queryset(self) -> Any:
            current = Translation.objects.filter(language=language)
            return super().get_queryset().prefetch_related(Prefetch("translations", current, to_attr="current"))

    class Entry(OfBookshop):
        pass

    class Tag(OfBookshop):
        post = models.ForeignKey(Entry, models.CASCADE, related_name="own_tags")
        posts = models.ManyToManyField(Entry, related_name="tags")
        objects = InOneLanguage()

        class Meta:
            app_label = "bookshop"
            base_manager_name = "objects"

    class Link(OfBookshop):
        tag = models.ForeignKey(Tag, models.CASCADE)

    class Translation(OfBookshop):
        tag = models.ForeignKey(Tag, models.CASCADE, related_name="translations")
        language = models.CharField(max_length=2)

    class Size(OfBookshop):
        tag = models.ForeignKey(Tag, models.CASCADE, related_name="sizes")

    model: Any = Link if holder == "tag" else Entry
    lookups = [holder, *(lookup.format(holder) for lookup in given)]

    def read(row: Any) -> Any:
        tags = [row.tag] if holder == "tag" else getattr(row, holder).all()
        return [
            ([one.language for one in tag.current], sorted(tag.__dict__.get("_prefetched_objects_cache", {})))
            for tag in tags
        ]

    with tables(Entry, Tag, Link, Translation, Size):
        for _ in range(4):
            post = Entry.objects.create()
            tag = Tag.objects.create(post=post)
            tag.posts.add(post)
            Link.objects.create(tag=tag)
            for name in ("en", "de"):
                Translation.objects.create(tag=tag, language=name)
        prefetch = MemoizedPrefetch(*lookups)
        for row, language in zip(model.objects.order_by("pk"), ("en", "de", "de", "en")):  # noqa: B007
            djangos = model.objects.get(pk=row.pk)
            prefetch_related_objects([djangos], *lookups)
            prefetch.process_chunk([row])
            assert read(row) == read(djangos)


@isolate_apps("tests.python.bookshop")
def test_a_managers_lookup_that_leads_back_by_a_longer_path() -> None:
    class WithWriters(models.Manager):  # type: ignore[type-arg]
        def get_queryset(self) -> Any:
            return super().get_queryset().prefetch_related("marks__novel__author")

    class Writer(OfBookshop):
        pass

    class Novel(OfBookshop):
        author = models.ForeignKey(Writer, models.CASCADE, related_name="books")
        objects = WithWriters()

    class Mark(OfBookshop):
        novel = models.ForeignKey(Novel, models.CASCADE, related_name="marks")

    def writers() -> list[Any]:
        return list(Writer.objects.annotate(top=models.Value(1)))

    with tables(Writer, Novel, Mark):
        Mark.objects.create(novel=Novel.objects.create(author=Writer.objects.create()))
        ours, theirs = writers(), writers()
        MemoizedPrefetch("books").process_chunk(ours)
        prefetch_related_objects(theirs, "books")
        assert not hasattr(theirs[0].books.all()[0].author, "top")
        assert not hasattr(ours[0].books.all()[0].author, "top")


@isolate_apps("tests.python.bookshop")
@pytest.mark.parametrize("single", [False, True])
def test_a_deferred_key_whose_loading_brings_the_row_that_it_refers_to(single: bool) -> None:
    """Django sets the object itself over what the base manager's select_related() has attached."""

    class WithAuthor(models.Manager):  # type: ignore[type-arg]
        def get_queryset(self) -> Any:
            return super().get_queryset().select_related("author")

    class Writer(OfBookshop):
        pass

    class Novel(OfBookshop):
        title = models.CharField(max_length=9)
        author = (models.OneToOneField if single else models.ForeignKey)(
            Writer, models.CASCADE, null=True, related_name="books"
        )
        objects = WithAuthor()
        plain = models.Manager()

        class Meta(OfBookshop.Meta):
            base_manager_name = "objects"

    with tables(Writer, Novel):
        for _ in range(2):
            Novel.objects.create(title="a", author=Writer.objects.create())
        for titles in (Novel.plain.only("title"), Novel.plain.all()):
            for attach in (django, ours):
                writers = list(Writer.objects.all())
                attach(writers, Prefetch("books", titles))
                for writer in writers:
                    [book] = [writer.books] if single else writer.books.all()
                    assert book.author is writer


@isolate_apps("tests.python.bookshop")
@pytest.mark.parametrize("related_name", [None, "stories"])
def test_lookups_of_the_queryset_that_come_to_what_is_attached_already(related_name: str | None) -> None:
    """Without a related_name, Django attaches a reverse relation under another name than that by which it looks."""

    class Genre(OfBookshop):
        pass

    class Story(OfBookshop):
        genres = models.ManyToManyField(Genre, related_name=related_name)

    class Mark(OfBookshop):
        stars = models.IntegerField()
        story = models.ForeignKey(Story, models.CASCADE, related_name="marks")

    name = related_name or "story_set"

    def best() -> Any:
        return Prefetch(f"{name}__marks", Mark.objects.filter(stars=5))

    with tables(Genre, Story, Mark):
        genre, story = Genre.objects.create(), Story.objects.create()
        story.genres.add(genre)
        for stars in (1, 5):
            Mark.objects.create(stars=stars, story=story)

        def stars_of(genres: Any) -> list[int]:
            with no_queries():
                return [mark.stars for one in genres for part in getattr(one, name).all() for mark in part.marks.all()]

        rows = Genre.objects.prefetch_related(name)
        assert stars_of(list(rows.prefetch_related(best()))) == [5]
        assert stars_of(list(memoized(rows, MemoizedPrefetch(best())))) == [5]
        for chunk in MemoizedPrefetch(best()).chunks(rows, 2):
            assert stars_of(chunk) == [5]


@pytest.mark.since("5.2")
@isolate_apps("tests.python.bookshop")
def test_the_way_back_by_a_part_of_a_composite_key() -> None:
    """Loading a deferred column for a lookup of the queryset takes it off; Django sets it after that lookup."""

    class Color(OfBookshop):
        pass

    class Tenant(OfBookshop):
        pass

    class User(OfBookshop):
        pk = models.CompositePrimaryKey("tenant_id", "number")
        tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="users")
        number = models.IntegerField()
        color = models.ForeignKey(Color, models.CASCADE)

    with tables(Color, Tenant, User):
        tenant, color = Tenant.objects.create(), Color.objects.create()
        for number in range(3):
            User.objects.create(tenant=tenant, number=number, color=color)
        lookup = Prefetch("users", User.objects.defer("color").prefetch_related("color"))
        for attach in (django, ours):
            [found] = tenants = list(Tenant.objects.all())
            attach(tenants, lookup)
            with no_queries():
                assert [user.tenant is found for user in found.users.all()] == [True] * 3
