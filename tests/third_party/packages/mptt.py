"""Trees by nested sets: the package's own manager and queryset, and children cached on their parents."""

from __future__ import annotations

from django.db import models
from django.db.models import Prefetch
from mptt.managers import TreeManager
from mptt.models import MPTTModel, TreeForeignKey, TreeManyToManyField

from tests.third_party.frame import Situation


class Genre(MPTTModel):
    name = models.CharField(max_length=9, unique=True)
    parent = TreeForeignKey("self", models.CASCADE, null=True, blank=True, related_name="children")

    class MPTTMeta:
        order_insertion_by = ["name"]


class Named(TreeManager):
    def get_queryset(self) -> models.QuerySet[Place]:
        return super().get_queryset().exclude(name="")


class Place(MPTTModel):
    name = models.CharField(max_length=9)
    inside = TreeForeignKey("self", models.CASCADE, null=True, related_name="parts")
    objects = Named()

    class MPTTMeta:
        parent_attr = "inside"

    class Meta:
        base_manager_name = "objects"


class Film(models.Model):
    genre = TreeForeignKey(Genre, models.CASCADE, related_name="films")
    genres = TreeManyToManyField(Genre, related_name="all_films")
    place = models.ForeignKey(Place, models.CASCADE, related_name="films")


def rows() -> None:
    roots = [Genre.objects.create(name=name) for name in "cab"]
    below = [Genre.objects.create(name=f"{root.name}{at}", parent=root) for root in roots for at in (2, 1)]
    genres = [*roots, *below]
    places = [Place.objects.create(name="" if at == 3 else f"p{at}") for at in range(4)]
    places += [Place.objects.create(name="in", inside=places[0])]
    for at in range(9):
        film = Film.objects.create(genre=genres[at * 2 % 9], place=places[at % 5])
        film.genres.set([genres[at], genres[(at + 4) % 9]])


def films() -> models.QuerySet[Film]:
    return Film.objects.order_by("pk")


def genres() -> models.QuerySet[Genre]:
    return Genre.objects.order_by("pk")


def counted() -> models.QuerySet[Genre]:
    return Genre.objects.add_related_count(Genre.objects.all(), Film, "genre", "count", cumulative=True)


SITUATIONS = [
    Situation("in the tree's order", lambda: Genre.objects.all(), "parent", "children", read=str),
    Situation("children", genres, "children__children", read=lambda genre: [*genre.get_children()]),
    Situation("ancestors", genres, "parent", read=lambda genre: [*genre.get_ancestors(include_self=True)]),
    Situation("foreign key", films, "genre", read=lambda film: (film.genre.is_leaf_node(), film.genre.level)),
    Situation("many-to-many", films, "genres", read=lambda film: [*film.genres.all().get_descendants()]),
    Situation("up, and back", films, "genre__parent__films"),
    Situation("down", films, "genre__children__all_films"),
    Situation("a base manager that leaves out", films, "place__inside", "place__parts"),
    Situation("a queryset", films, lambda: Prefetch("genres", counted())),
    Situation("a queryset, to_attr", films, lambda: Prefetch("genre", counted(), to_attr="counted")),
    Situation("descendants", lambda: Genre.objects.get_queryset_descendants(genres(), include_self=True), "films"),
    Situation("to_attr", genres, lambda: Prefetch("children", to_attr="below"), "below__films"),
]
