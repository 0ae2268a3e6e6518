"""Fields for tags, with the package's own descriptors and managers."""

from __future__ import annotations

import tagulous.models
from django.db import models
from django.db.models import Prefetch

from tests.third_party.frame import Situation


class Skill(tagulous.models.TagTreeModel):
    class TagMeta:
        space_delimiter = False


class Person(models.Model):
    title = tagulous.models.SingleTagField(related_name="people")
    skills = tagulous.models.TagField(Skill, related_name="people")


class Visit(models.Model):
    person = models.ForeignKey(Person, models.CASCADE, related_name="visits")


def rows() -> None:
    people = [Person.objects.create(title=f"t{at % 2}", skills=f"a/b{at % 3}, c{at % 2}") for at in range(6)]
    for at in range(8):
        Visit.objects.create(person=people[at * 5 % 6])


def people() -> models.QuerySet[Person]:
    return Person.objects.order_by("pk")


def visits() -> models.QuerySet[Visit]:
    return Visit.objects.order_by("pk")


SITUATIONS = [
    Situation("tags", people, "skills", read=lambda person: str(person.skills)),
    Situation("one tag", people, "title", read=lambda person: str(person.title), raises=True),
    Situation("not prefetched", people, read=lambda person: (str(person.title), str(person.skills))),
    Situation("back", lambda: Skill.objects.order_by("pk"), "people", "parent"),
    Situation("below a memo", visits, "person__skills__people", read=lambda visit: str(visit.person.skills)),
    Situation("a queryset", people, lambda: Prefetch("skills", Skill.objects.filter(name__startswith="a"))),
    Situation("to_attr", people, lambda: Prefetch("skills", Skill.objects.order_by("-name"), to_attr="some")),
    Situation("filtered by tags", lambda: Person.objects.exclude(skills="a/b1, c1").order_by("pk"), "skills"),
]
