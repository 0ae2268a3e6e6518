"""Querysets and relations whose rows are instances of subclasses, read by further queries."""

from __future__ import annotations

from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models import Prefetch
from polymorphic.managers import PolymorphicManager
from polymorphic.models import PolymorphicModel
from polymorphic.query import PolymorphicQuerySet

from tests.third_party.frame import Situation

# It names the annotations, among them the one by which Django joins the links of a many-to-many.
IGNORED = {"polymorphic_extra_select_names"}


class Topic(models.Model):
    pass


class ProjectQuerySet(PolymorphicQuerySet):
    def large(self) -> PolymorphicQuerySet:
        return self.filter(size__gt=2)


class Project(PolymorphicModel):
    size = models.IntegerField(default=0)
    topic = models.ForeignKey(Topic, models.CASCADE, related_name="projects")
    objects = PolymorphicManager.from_queryset(ProjectQuerySet)()


class ArtProject(Project):
    artist = models.CharField(max_length=9)
    helpers = models.ManyToManyField(Topic, related_name="helped")


class ResearchProject(Project):
    supervisor = models.CharField(max_length=9)


class Report(models.Model):
    project = models.ForeignKey(Project, models.CASCADE, related_name="reports")
    art = models.ForeignKey(ArtProject, models.CASCADE, null=True, related_name="art_reports")
    others = models.ManyToManyField(Project, related_name="mentions")
    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.PositiveIntegerField()
    subject = GenericForeignKey()


def rows() -> None:
    topics = [Topic.objects.create() for _ in range(4)]
    projects: list[Project] = []
    for at in range(6):
        topic = topics[at % 3]
        if at % 3 == 0:
            projects.append(Project.objects.create(size=at, topic=topic))
        elif at % 3 == 1:
            projects.append(ArtProject.objects.create(size=at, topic=topic, artist=f"a{at}"))
            projects[-1].helpers.set(topics[:2])
        else:
            projects.append(ResearchProject.objects.create(size=at, topic=topic, supervisor=f"s{at}"))
    base = ContentType.objects.get_for_model(Project, for_concrete_model=False)
    for at in range(9):
        art = projects[1 + 3 * (at % 2)] if at % 3 else None
        # Some refer to the class itself, as earlier versions wrote them, and some to the base class.
        kind = base if at % 2 else ContentType.objects.get_for_model(projects[at % 6])
        report = Report(project=projects[at * 2 % 6], art=art, content_type=kind, object_id=projects[at % 6].pk)
        report.save()
        report.others.set([projects[at % 6], projects[(at + 2) % 6]])


def reports() -> models.QuerySet[Report]:
    return Report.objects.order_by("pk")


def projects() -> models.QuerySet[Project]:
    return Project.objects.order_by("pk")


SITUATIONS = [
    Situation("rows themselves", projects, read=lambda project: project.get_real_instance()),
    Situation("rows, and a foreign key of the base", projects, "topic"),
    Situation("rows, and back", projects, "reports"),
    Situation("rows of the base only", lambda: projects().non_polymorphic(), "topic", "mentions"),
    Situation("rows of a subclass", lambda: projects().instance_of(ArtProject, ResearchProject), "topic__projects"),
    Situation("rows whose subclasses lack columns", lambda: projects().defer("ArtProject___artist", "size"), "topic"),
    Situation("foreign key", reports, "project"),
    Situation("foreign key to a subclass", reports, "art__helpers"),
    Situation("many-to-many", reports, "others"),
    Situation("many-to-many, and below", reports, "others__topic"),
    Situation("below a foreign key", reports, "project__topic", "project__reports"),
    Situation("back", lambda: Topic.objects.order_by("pk"), "projects", "helped"),
    Situation("back, nested", reports, "project__topic__projects"),
    Situation("generic foreign key", reports, "subject"),
    Situation("generic foreign key, and below", reports, "subject__topic"),
    Situation("a queryset", reports, lambda: Prefetch("project", Project.objects.non_polymorphic())),
    Situation("a queryset of its own", reports, lambda: Prefetch("others", Project.objects.large(), to_attr="large")),
    Situation("instance_of", reports, lambda: Prefetch("others", Project.objects.instance_of(ArtProject))),
    Situation("to_attr", reports, lambda: Prefetch("others", to_attr="everything"), "everything__topic"),
    Situation("select_related", lambda: reports().select_related("project"), "project__topic"),
]
