"""Actions with three generic foreign keys, from a manager that can prefetch them."""

from __future__ import annotations

from actstream import action, registry
from actstream.actions import follow
from actstream.models import Action, Follow, actor_stream, followers, model_stream, user_stream
from django.contrib.auth.models import Group, User
from django.db import models

from tests.third_party.frame import Situation


class Picture(models.Model):
    of = models.ForeignKey(User, models.CASCADE, related_name="pictures")


def rows() -> None:
    registry.register(User, Group, Picture)
    users = [User.objects.create_user(f"u{at}") for at in range(5)]
    groups = [Group.objects.create(name=f"g{at}") for at in range(3)]
    users[0].groups.set(groups)
    for at in range(18):
        picture = Picture.objects.create(of=users[at % 3])
        action.send(users[at % 5], verb="made", action_object=picture, target=(groups if at % 3 else users)[at % 3])
    for one in users:
        if one != users[1]:
            follow(one, users[1], actor_only=one != users[0])


def actions() -> models.QuerySet[Action]:
    return Action.objects.order_by("pk")


def user() -> User:
    return User.objects.get(username="u1")


SITUATIONS = [
    Situation("actors", actions, "actor", read=str),
    Situation("all three", actions, "actor", "action_object", "target"),
    Situation("and below", actions, "action_object__of", "actor__groups", more=1),
    Situation("public", lambda: Action.objects.public().order_by("pk"), "target", "actor__groups", more=1),
    Situation("those of an actor", lambda: actor_stream(User.objects.get(pk=1)), "target"),
    Situation("those that a user follows", lambda: user_stream(User.objects.get(username="u0")), "actor"),
    Situation("those of a model", lambda: model_stream(User), "target"),
    Situation("back", lambda: User.objects.order_by("pk"), "actor_actions__target", "pictures"),
    Situation("from the objects", lambda: Picture.objects.order_by("pk"), "action_object_actions__actor", "of"),
    Situation("who follows whom", lambda: Follow.objects.order_by("pk"), "user", "follow_object"),
    Situation(
        "followers",
        lambda: User.objects.filter(pk__in=[one.pk for one in followers(user())]).order_by("pk"),
        "target_actions",
    ),
]
