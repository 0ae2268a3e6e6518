"""invalidate_on_change: what a deletion changes in rows that refer to the deleted one, without a signal for these."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import models
from django.test.utils import isolate_apps

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.databases import on_one_database
from tests.python.graph import assert_same_as_django
from tests.python.own_models import own_tables, tables

BY_DATABASE = getattr(models, "DB_SET_NULL", models.SET_NULL)  # since Django 6.1

pytestmark = [on_one_database, own_tables]


@isolate_apps("tests.python.bookshop")
@pytest.mark.parametrize(
    "name", ["by_set", "by_null", "by_default", pytest.param("by_database", marks=pytest.mark.since("6.1"))]
)
def test_rows_that_refer_to_a_deleted_one_are_read_again(name: str) -> None:
    class Person(models.Model):
        name = models.CharField(max_length=9)

        class Meta:
            app_label = "bookshop"

    def stand_in() -> Any:
        return Person.objects.get_or_create(name="deleted")[0]

    class Article(models.Model):
        by_set = models.ForeignKey(Person, models.SET(stand_in), related_name="+")
        by_null = models.ForeignKey(Person, models.SET_NULL, null=True, related_name="+")
        by_default = models.ForeignKey(Person, models.SET_DEFAULT, default=1, related_name="+")
        by_database = models.ForeignKey(Person, BY_DATABASE, null=True, related_name="+")

        class Meta:
            app_label = "bookshop"

    class Comment(models.Model):
        article = models.ForeignKey(Article, models.CASCADE)

        class Meta:
            app_label = "bookshop"

    def comments() -> list[Any]:
        return list(Comment.objects.order_by("pk"))

    with tables(Person, Article, Comment):
        _, person = (Person.objects.create(pk=pk) for pk in (1, 2))
        article = Article.objects.create(by_set=person, by_null=person, by_default=person, by_database=person)
        Comment.objects.create(article=article)
        lookup = f"article__{name}"
        prefetch = MemoizedPrefetch(lookup, invalidate_on_change=True)
        [comment] = assert_same_as_django(comments, [lookup], prefetch)
        assert getattr(comment.article, name) == person
        Person.objects.get(pk=2).delete()
        [comment] = assert_same_as_django(comments, [lookup], prefetch)
        assert getattr(comment.article, name) != person


@pytest.mark.since("6.1")
@isolate_apps("tests.python.bookshop")
def test_rows_that_the_database_deletes_by_a_second_foreign_key() -> None:
    class Person(models.Model):
        class Meta:
            app_label = "bookshop"

    class Article(models.Model):
        editor = models.ForeignKey(Person, getattr(models, "DB_SET_NULL", None), null=True, related_name="+")
        writer = models.ForeignKey(Person, getattr(models, "DB_CASCADE", None), related_name="+")

        class Meta:
            app_label = "bookshop"

    class Comment(models.Model):
        article = models.ForeignKey(Article, getattr(models, "DB_CASCADE", None))

        class Meta:
            app_label = "bookshop"

    class Like(models.Model):
        comment = models.ForeignKey(Comment, models.DO_NOTHING, db_constraint=False)

        class Meta:
            app_label = "bookshop"

    def likes() -> list[Any]:
        return list(Like.objects.order_by("pk"))

    with tables(Person, Article, Comment, Like):
        person = Person.objects.create()
        comment = Comment.objects.create(article=Article.objects.create(writer=person, editor=person))
        Like.objects.create(comment=comment)
        prefetch = MemoizedPrefetch("comment", invalidate_on_change=True)
        [like] = assert_same_as_django(likes, ["comment"], prefetch)
        assert like.comment == comment
        person.delete()
        assert_same_as_django(likes, ["comment"], prefetch)
        assert not Comment.objects.exists()


@isolate_apps("tests.python.bookshop")
def test_a_key_that_cannot_be_hashed() -> None:
    class Setting(models.Model):
        path = models.JSONField(primary_key=True)

        class Meta:
            app_label = "bookshop"

    with tables(Setting):
        prefetch = MemoizedPrefetch("anything", invalidate_on_change=True)
        Setting(path=["a", "b"]).save(force_insert=True)
        prefetch.clear()
