"""Permissions of users for single objects, stored as rows with generic foreign keys to any model."""

from __future__ import annotations

from django.contrib.auth.models import Group, User
from django.db import models
from django.db.models import Prefetch
from guardian.models import GroupObjectPermissionBase, UserObjectPermission, UserObjectPermissionBase
from guardian.shortcuts import assign_perm, get_objects_for_user, get_users_with_perms

from tests.third_party.frame import Situation


class Project(models.Model):
    name = models.CharField(max_length=9)


class Task(models.Model):
    project = models.ForeignKey(Project, models.CASCADE, related_name="tasks")


class TaskUser(UserObjectPermissionBase):
    content_object = models.ForeignKey(Task, models.CASCADE)


class TaskGroup(GroupObjectPermissionBase):
    content_object = models.ForeignKey(Task, models.CASCADE)


def rows() -> None:
    users = [User.objects.create_user(f"u{at}") for at in range(4)]
    group = Group.objects.create(name="g")
    users[0].groups.add(group)
    for at in range(6):
        project = Project.objects.create(name=f"p{at}")
        task = Task.objects.create(project=project)
        for user in users[at % 2 :]:
            assign_perm("view_project", user, project)
            assign_perm("change_task", user, task)
        assign_perm("change_project", group, project)
        assign_perm("view_task", group, task)


def visible() -> models.QuerySet[Project]:
    return get_objects_for_user(User.objects.get(username="u1"), "view_project", Project).order_by("pk")


def changeable() -> models.QuerySet[Task]:
    return get_objects_for_user(User.objects.get(username="u1"), "shop.change_task").order_by("pk")


def users() -> models.QuerySet[User]:
    return User.objects.order_by("pk")


def permissions() -> models.QuerySet[UserObjectPermission]:
    return UserObjectPermission.objects.order_by("pk")


SITUATIONS = [
    Situation("objects of a user", visible, "tasks__project"),
    Situation("objects by their own table", lambda: Task.objects.order_by("pk"), "taskuser_set__user"),
    Situation("objects of a user by their own table", changeable, "project", "taskgroup_set__permission"),
    Situation("permissions", permissions, "content_object", "user", "permission__content_type"),
    Situation("permissions, and below", permissions, "content_object__tasks"),
    Situation("users", users, "userobjectpermission_set__content_object", "groups", read=lambda one: one.username),
    Situation(
        "users, of some",
        users,
        lambda: Prefetch(
            "userobjectpermission_set", UserObjectPermission.objects.filter(object_pk__lt="4"), to_attr="some"
        ),
    ),
    Situation(
        "users of an object", lambda: get_users_with_perms(Project.objects.get(name="p0")).order_by("pk"), "groups"
    ),
    Situation("what a user may", visible, read=lambda one: User.objects.get(pk=2).has_perm("view_project", one)),
]
