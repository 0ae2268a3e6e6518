"""Many-to-many relations by what they go through: keys of every type, models of one's own, both sides, inheritance."""

from __future__ import annotations

import pytest

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.catalogue.models import (
    Contribution,
    Country,
    Genre,
    Item,
    Label,
    Labelling,
    Map,
    Person,
    Scan,
    Series,
    SeriesMembership,
    Tag,
    Topic,
    Volume,
)
from tests.python.graph import assert_same_as_django


def all_volumes() -> list[Volume]:
    return list(Volume.objects.order_by("pk"))


@pytest.fixture
def volumes() -> list[Volume]:
    return Volume.objects.bulk_create([Volume(title=f"volume {i}") for i in range(5)])


def test_reverse_without_related_name(volumes: list[Volume]) -> None:
    tags = [Tag.objects.create(word=f"tag {i}") for i in range(3)]
    volumes[0].tags.add(*tags)
    volumes[1].tags.add(tags[0])
    prefetch = MemoizedPrefetch("volume_set")
    for _ in range(2):
        assert_same_as_django(lambda: list(Tag.objects.order_by("pk")), "volume_set", prefetch)


def test_reverse_with_related_query_name(volumes: list[Volume]) -> None:
    topics = [Topic.objects.create(word=f"topic {i}") for i in range(3)]
    volumes[0].topics.add(*topics[:2])
    prefetch = MemoizedPrefetch("volume_set")
    for _ in range(2):
        assert_same_as_django(lambda: list(Topic.objects.order_by("pk")), "volume_set", prefetch)


def contributions(volumes: list[Volume]) -> None:
    people = [Person.objects.create(name=f"person {i}") for i in range(3)]
    editor = Person.objects.create(name="enters things")
    for i, volume in enumerate(volumes[:3]):
        for j in range(3):
            Contribution.objects.create(
                volume=volume, person=people[(i * j) % 3], role=f"role {j}", entered_by=editor, credited=bool(j)
            )


@pytest.mark.parametrize("ways", ["explicit", "lookup"])
def test_duplicate_links_are_kept(volumes: list[Volume], ways: str) -> None:
    contributions(volumes)
    prefetch = (
        MemoizedPrefetch("contributors")
        if ways == "lookup"
        else MemoizedPrefetch(
            MemoizedPrefetchConfig(
                model=Person,
                attributes=["contributors"],
                is_many_to_many=True,
                through_model=Contribution,
                source_field="volume_id",
                target_field="person_id",
            )
        )
    )
    for _ in range(2):
        [first, *_] = assert_same_as_django(all_volumes, "contributors", prefetch)
        # The through model's own manager would hide one of the three links; Django does not ask it.
        assert len(first.contributors.all()) == 3
        assert len({person.pk for person in first.contributors.all()}) == 1


def test_reverse_of_a_custom_through_model(volumes: list[Volume]) -> None:
    contributions(volumes)
    prefetch = MemoizedPrefetch("volumes")
    for _ in range(2):
        assert_same_as_django(lambda: list(Person.objects.order_by("pk")), "volumes", prefetch)


def test_links_to_rows_that_are_gone(volumes: list[Volume]) -> None:
    person = Person.objects.create(name="here")
    Contribution.objects.create(volume=volumes[0], person_id=person.pk + 1)
    Contribution.objects.create(volume=volumes[0], person=person)
    Contribution.objects.create(volume=volumes[1], person_id=person.pk + 1)
    prefetch = MemoizedPrefetch("contributors")
    for _ in range(2):
        assert_same_as_django(all_volumes, "contributors", prefetch)


def test_text_keys_on_the_other_side(volumes: list[Volume]) -> None:
    countries = [Country.objects.create(code=code, name=f"country {code}") for code in ("", "no", "se")]
    volumes[0].countries.add(*countries)
    volumes[1].countries.add(countries[0])
    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(
            model=Country,
            attributes=["countries"],
            is_many_to_many=True,
            through_model=Volume.countries.through,
            source_field="volume_id",
            target_field="country_id",
        )
    )
    for _ in range(2):
        assert_same_as_django(all_volumes, "countries", prefetch)
    prefetch = MemoizedPrefetch("sold_volumes")
    for _ in range(2):
        assert_same_as_django(lambda: list(Country.objects.order_by("pk")), "sold_volumes", prefetch)


def test_uuid_keys(volumes: list[Volume]) -> None:
    scans = [Scan.objects.create(resolution=i) for i in range(3)]
    volumes[0].scans.add(*scans)
    volumes[1].scans.add(scans[0])
    for _ in range(2):
        assert_same_as_django(all_volumes, "scans", MemoizedPrefetch("scans"))
        assert_same_as_django(
            lambda: list(Scan.objects.order_by("pk")), "scanned_volumes", MemoizedPrefetch("scanned_volumes")
        )


@pytest.mark.parametrize("ways", ["explicit", "lookup"])
def test_links_by_to_field(volumes: list[Volume], ways: str) -> None:
    rows = [Series.objects.create(code=f"S{i}", number=i, name=f"series {i}") for i in range(3)]
    SeriesMembership.objects.create(volume=volumes[0], series=rows[2])
    SeriesMembership.objects.create(volume=volumes[0], series=rows[0])
    SeriesMembership.objects.create(volume=volumes[1], series=rows[0])
    prefetch = (
        MemoizedPrefetch("all_series")
        if ways == "lookup"
        else MemoizedPrefetch(
            MemoizedPrefetchConfig(
                Series,
                ["all_series"],
                is_many_to_many=True,
                through_model=SeriesMembership,
                source_field="volume_id",
                target_field="series_id",
            )
        )
    )
    for _ in range(2):
        assert_same_as_django(all_volumes, "all_series", prefetch)
    reverse = MemoizedPrefetch("member_volumes")
    for _ in range(2):
        assert_same_as_django(lambda: list(Series.objects.order_by("pk")), "member_volumes", reverse)


@pytest.mark.parametrize("path", ["colleagues", "substitutes", "substitute_for"])
def test_many_to_many_of_a_model_with_itself(path: str) -> None:
    people = [Person.objects.create(name=f"person {i}") for i in range(4)]
    people[0].colleagues.add(people[1], people[2])
    people[1].substitutes.add(people[0], people[3], people[1])
    people[2].substitutes.add(people[0])
    prefetch = MemoizedPrefetch(path)
    for _ in range(2):
        assert_same_as_django(lambda: list(Person.objects.order_by("pk")), path, prefetch)


def test_inherited_and_own_many_to_many_of_a_child_model() -> None:
    genres = [Genre.objects.create(name=f"genre {i}") for i in range(3)]
    country = Country.objects.create(code="se", name="Sweden")
    maps = [Map.objects.create(name=f"map {i}") for i in range(3)]
    maps[0].genres.add(*genres)
    maps[1].genres.add(genres[1])
    maps[1].regions.add(country)
    prefetch = MemoizedPrefetch("genres", "regions")
    for _ in range(2):
        assert_same_as_django(lambda: list(Map.objects.order_by("pk")), ["genres", "regions"], prefetch)
    for path, model in (("items", Genre), ("maps", Country)):
        prefetch = MemoizedPrefetch(path)
        for _ in range(2):
            assert_same_as_django(lambda model=model: list(model.objects.order_by("pk")), path, prefetch)


def test_chunk_of_parents_and_children_of_one_table() -> None:
    genres = [Genre.objects.create(name=f"genre {i}") for i in range(3)]
    first = Map.objects.create(name="map")
    second = Item.objects.create(name="item")
    first.genres.add(*genres)
    second.genres.add(genres[0])
    prefetch = MemoizedPrefetch("genres")
    for _ in range(2):
        assert_same_as_django(lambda: [*Item.objects.order_by("pk"), *Map.objects.order_by("pk")], "genres", prefetch)


def test_same_named_through_models_of_two_applications(volumes: list[Volume]) -> None:
    from tests.python.archive.models import Label as MuseumLabel
    from tests.python.archive.models import Labelling as MuseumLabelling

    labels = [Label.objects.create(text=f"library {i}") for i in range(3)]
    museum_labels = [MuseumLabel.objects.create(text=f"museum {i}") for i in range(3)]
    Labelling.objects.create(volume=volumes[0], label=labels[0])
    MuseumLabelling.objects.create(volume=volumes[0], label=museum_labels[2])
    prefetch = MemoizedPrefetch("labels", "museum_labels")
    for _ in range(2):
        assert_same_as_django(all_volumes, ["labels", "museum_labels"], prefetch)
