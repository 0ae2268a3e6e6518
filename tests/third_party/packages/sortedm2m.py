"""Many-to-many relations in the order in which they were set. The links store it."""

from __future__ import annotations

from django.db import models
from django.db.models import Prefetch
from sortedm2m.fields import SortedManyToManyField

from tests.third_party.frame import Situation


class Song(models.Model):
    title = models.CharField(max_length=9)

    class Meta:
        ordering = ["title"]


class Playlist(models.Model):
    songs = SortedManyToManyField(Song, related_name="playlists")
    unsorted = SortedManyToManyField(Song, sorted=False, related_name="in_any_order")
    like = SortedManyToManyField("self")


class Party(models.Model):
    playlist = models.ForeignKey(Playlist, models.CASCADE, related_name="parties")


def rows() -> None:
    songs = {title: Song.objects.create(title=title) for title in "abcd"}
    playlists: list[Playlist] = []
    for order in ("dab", "cbd", "bda", "adcb", ""):
        playlist = Playlist.objects.create()
        playlist.songs.set([songs[title] for title in order])
        playlist.unsorted.set([songs[title] for title in order])
        playlist.like.set(playlists[::-1])
        playlists.append(playlist)
    for at in range(8):
        Party.objects.create(playlist=playlists[at * 2 % 5])


def playlists() -> models.QuerySet[Playlist]:
    return Playlist.objects.order_by("pk")


SITUATIONS = [
    Situation("sorted", playlists, "songs", read=lambda one: "".join(song.title for song in one.songs.all())),
    Situation("not sorted", playlists, "unsorted"),
    Situation("back", lambda: Song.objects.all(), "playlists", "in_any_order"),
    Situation("to itself", playlists, "like", "like__songs"),
    Situation("below a foreign key", lambda: Party.objects.order_by("pk"), "playlist__songs"),
    Situation("below a many-to-many", playlists, "songs__playlists__songs"),
    Situation("to_attr", playlists, lambda: Prefetch("songs", to_attr="in_order")),
    Situation("a queryset", playlists, lambda: Prefetch("songs", Song.objects.exclude(title="b"))),
    Situation("a sorted queryset", playlists, lambda: Prefetch("songs", Song.objects.order_by("-title"), to_attr="s")),
]
