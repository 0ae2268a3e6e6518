"""The theatre's rows, drawn at random from few values, so that keys repeat, are null and lead nowhere."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import models

from tests.python.theatre.models import (
    City,
    Company,
    Genre,
    Locker,
    Note,
    Opera,
    Passport,
    Person,
    Play,
    Prop,
    Review,
    Role,
    Seat,
    Sponsor,
    Tag,
    Ticket,
    Work,
)

NOTED: list[type[models.Model]] = [Person, City, Locker, Play]


def identifier(table: int, number: int) -> uuid.UUID:
    return uuid.UUID(int=(table << 64) + number)


def fill_theatre(
    seed: int, size: int, alias: str = "default", noted: Sequence[type[models.Model]] = tuple(NOTED)
) -> None:
    """
    Fills every table.

    Args:
        size: About how many rows a table gets.
        noted: The classes that notes are about.
    """
    random = Random(seed)
    some = list(range(1, size + 1))

    def rank() -> int:
        return random.randrange(3)

    def key(keys: Sequence[Any], gone: Any, null: bool = True) -> Any:
        return random.choice([*keys, *keys, gone, None] if null else [*keys, *keys, gone])

    def save(model: Any, make: Callable[[int], dict[str, Any]], count: int = size) -> None:
        rows = [model(**make(i)) for i in range(1, count + 1)]
        model._base_manager.using(alias).bulk_create(rows)

    def link(field: Any, sources: Sequence[Any], targets: Sequence[Any]) -> None:
        through = field.through
        ends = [f.attname for f in through._meta.get_fields() if isinstance(f, models.ForeignKey)]
        pairs = [(source, target) for source in sources for target in targets if random.random() < 0.4]
        random.shuffle(pairs)
        through.objects.using(alias).bulk_create(
            through(pk=i, **dict(zip(ends, pair))) for i, pair in enumerate(pairs, 1)
        )

    codes = ["", "a", "b", "c", "d"][:size]
    for code in codes:
        City.objects.using(alias).create(code=code, name=f"city {code} of {alias}", rank=rank())
    save(
        Person,
        lambda i: {
            "pk": i,
            "name": f"person {i} of {alias}",
            "rank": rank(),
            "hometown_id": key(codes, "gone"),
            "mentor_id": key(some, 99),
        },
    )
    save(Passport, lambda i: {"pk": i * 2, "name": f"passport {i}", "rank": rank(), "issued_in_id": key(codes, "x")})
    holders = random.sample([*some, 98, None], k=len(some))
    save(
        Locker,
        lambda i: {"pk": identifier(1, i), "name": f"locker {i}", "rank": rank(), "holder_id": holders[i - 1]},
    )
    save(
        Company,
        lambda i: {
            "pk": i,
            "name": f"company {i} of {alias}",
            "rank": rank(),
            "closed": i % 3 == 0,
            "seat_id": key(codes, "gone"),
        },
    )
    save(Sponsor, lambda i: {"pk": i, "name": f"sponsor {i}", "rank": rank(), "closed": i % 2 == 0})
    for model in (Tag, Genre):
        save(model, lambda i: {"pk": i, "name": f"name {i} of {alias}", "rank": rank()})
    save(Prop, lambda i: {"pk": identifier(2, i), "name": f"prop {i}", "rank": rank()})
    plays = list(range(size + 2))
    save(
        Play,
        lambda i: {
            "pk": i - 1,
            "name": f"play {i} of {alias}",
            "rank": rank(),
            "code": f"P{i - 1}",
            "author_id": key(some, 99),
            "director_id": key(some, 99),
            "city_id": key(codes, "gone"),
            "company_id": key(some, 99),
            "sponsor_id": key(some, 99),
            "sequel_of_id": key([f"P{play}" for play in plays], "gone"),
        },
        size + 2,
    )
    save(
        Role,
        lambda i: {
            "pk": i,
            "name": f"role {i}",
            "rank": rank(),
            "credited": i % 4 != 0,
            "play_id": key(plays, 97, null=False),
            "person_id": key(some, 99, null=False),
            "understudy_id": key(some, 99),
        },
        size * 3,
    )
    save(
        Work,
        lambda i: {"pk": i, "name": f"work {i} of {alias}", "rank": rank(), "composer_id": key(some, 99)},
    )
    for i in some[::2]:
        Opera(work_ptr_id=i, acts=i, librettist_id=key(some, 99)).save_base(raw=True, using=alias)
    save(
        Review,
        lambda i: {
            "pk": i,
            "name": f"review {i}",
            "rank": rank(),
            "work_id": key(some, 99),
            "opera_id": key(some, 99),
            "listed_id": key(some, 99),
        },
        size * 2,
    )
    save(
        Seat,
        lambda i: {
            "hall": i % 2,
            "number": i // 2,
            "name": f"seat {i}",
            "rank": rank(),
            "subscriber_id": key(some, 99),
            # Only where the key has one column.
            **({"pk": i} if Seat._meta.pk.concrete else {}),
        },
    )
    save(
        Ticket,
        lambda i: {
            "pk": i,
            "name": f"ticket {i}",
            "rank": rank(),
            "hall": random.randrange(2),
            "number": random.randrange(size // 2 + 1),
            "play_id": key(plays, 97),
        },
        size * 2,
    )

    numbers: dict[type[models.Model], Sequence[Any]] = {
        Person: some,
        City: codes,
        Locker: [identifier(1, i) for i in some],
        Play: plays,
    }
    gone: dict[type[models.Model], Any] = {Person: 99, City: "gone", Locker: identifier(9, 9), Play: 99}

    def note(i: int) -> dict[str, Any]:
        model = random.choice(noted)
        noted_key = key(numbers[model], gone[model])
        return {
            "pk": i,
            "name": f"note {i} of {alias}",
            "rank": rank(),
            "writer_id": key(some, 99),
            "content_type": random.choice([*[ContentType.objects.db_manager(alias).get_for_model(model)] * 5, None]),
            "object_id": None if noted_key is None else str(noted_key),
        }

    save(Note, note, size * 3)
    link(Person.friends, some, some)
    link(Person.idols, some, some)
    link(Play.tags, plays, some)
    link(Play.genres, plays, some)
    link(Play.props, plays, [identifier(2, i) for i in some])
    link(Play.cities, plays, codes)
    link(Play.companies, plays, some)
    link(Work.tags, some, some)
    link(Opera.genres, some[::2], some)
