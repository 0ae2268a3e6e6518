"""Managers that refuse every query outside a scope, and filter by it inside."""

from __future__ import annotations

from contextlib import AbstractContextManager

from django.db import models
from django.db.models import Prefetch
from django_scopes import ScopedManager, scope, scopes_disabled

from tests.third_party.frame import Situation


class Site(models.Model):
    pass


class PostQuerySet(models.QuerySet["Post"]):
    def shown(self) -> models.QuerySet[Post]:
        return self.filter(hidden=False)


class Tag(models.Model):
    site = models.ForeignKey(Site, models.CASCADE)
    objects = ScopedManager(site="site")


class Post(models.Model):
    site = models.ForeignKey(Site, models.CASCADE, related_name="posts")
    hidden = models.BooleanField(default=False)
    tags = models.ManyToManyField(Tag, related_name="posts")
    objects = ScopedManager(site="site", _manager_class=models.Manager.from_queryset(PostQuerySet))


class Comment(models.Model):
    post = models.ForeignKey(Post, models.CASCADE, related_name="comments")
    objects = ScopedManager(site="post__site")


class Like(models.Model):
    comment = models.ForeignKey(Comment, models.CASCADE, related_name="likes")
    post = models.ForeignKey(Post, models.CASCADE, related_name="likes")


@scopes_disabled()
def rows() -> None:
    for _ in range(2):
        site = Site.objects.create()
        tags = [Tag.objects.create(site=site) for _ in range(3)]
        posts = [Post.objects.create(site=site, hidden=at == 1) for at in range(4)]
        for at in range(6):
            posts[at % 4].tags.set([*tags[: at % 3 + 1], Tag.objects.order_by("pk")[0]])
            comment = Comment.objects.create(post=posts[at % 4])
            Like.objects.create(comment=comment, post=posts[at % 3])


def second() -> AbstractContextManager[None]:
    return scope(site=Site.objects.get(pk=2))  # type: ignore[no-any-return]


def posts() -> models.QuerySet[Post]:
    return Post.objects.order_by("pk")


def comments() -> models.QuerySet[Comment]:
    return Comment.objects.order_by("pk")


def likes() -> models.QuerySet[Like]:
    return Like.objects.order_by("pk")


SITUATIONS = [
    Situation("rows", posts, "site", "tags", around=second),
    Situation("no scope at all", posts, "site", raises=True),
    Situation("all scopes", posts, "tags", "comments", around=scopes_disabled),
    Situation("foreign key", comments, "post__site", around=second),
    Situation("foreign key, of another scope", likes, "comment__post", around=second),
    Situation("foreign key, no scope", likes, "comment__post"),
    Situation("back", posts, "comments", "likes", around=second),
    Situation("back, no scope", likes, "post__comments", raises=True),
    Situation("many-to-many, no scope", likes, "post__tags", raises=True),
    Situation("many-to-many", likes, "post__tags__posts", around=second),
    Situation("a queryset of its own", likes, lambda: Prefetch("post", Post.objects.shown()), around=second),
    Situation("to_attr", posts, lambda: Prefetch("tags", Tag.objects.filter(pk__gt=1), to_attr="some"), around=second),
]
