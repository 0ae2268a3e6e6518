"""Pages: a tree, subclasses, relations edited with their parent, tags by clusters, and images. And `update_index`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection, models
from django.db.models import Prefetch
from django.test.utils import CaptureQueriesContext
from modelcluster.contrib.taggit import ClusterTaggableManager
from modelcluster.fields import ParentalKey, ParentalManyToManyField
from modelcluster.models import ClusterableModel
from taggit.models import TaggedItemBase
from wagtail.blocks import CharBlock
from wagtail.fields import StreamField
from wagtail.images.models import Image
from wagtail.models import Collection, Locale, Orderable, Page

from tests.python.documents import examples
from tests.third_party.frame import Situation
from tests.third_party.search_engine import given


class Topic(models.Model):
    name = models.CharField(max_length=9)

    class Meta:
        ordering = ["-name"]


class BlogTag(TaggedItemBase):
    content_object = ParentalKey("BlogPage", on_delete=models.CASCADE, related_name="tagged_items")


class BlogPage(Page):
    image = models.ForeignKey(Image, models.SET_NULL, null=True, related_name="+")
    topics = ParentalManyToManyField(Topic, related_name="pages")
    tags = ClusterTaggableManager(through=BlogTag)
    body = StreamField([("text", CharBlock())])


class Link(Orderable):
    page = ParentalKey(BlogPage, on_delete=models.CASCADE, related_name="links")
    to = models.ForeignKey(Page, models.CASCADE, related_name="linked_from")
    image = models.ForeignKey(Image, models.SET_NULL, null=True, related_name="+")


class Band(ClusterableModel):
    pass


class Member(Orderable):
    band = ParentalKey(Band, on_delete=models.CASCADE, related_name="members")
    image = models.ForeignKey(Image, models.CASCADE, related_name="members")


class Teaser(models.Model):
    page = models.ForeignKey(Page, models.CASCADE, related_name="teasers")
    blog = models.ForeignKey(BlogPage, models.CASCADE, related_name="blog_teasers")
    pages = models.ManyToManyField(Page, related_name="all_teasers")


class Author(models.Model):
    name = models.CharField(max_length=9)


class Category(models.Model):
    name = models.CharField(max_length=9)


# The class Book of docs/search-indexes.md.
[EXAMPLE] = examples("docs/search-indexes.md", "Wagtail")
NAMES: dict[str, Any] = {"__name__": __name__, "Author": Author, "Category": Category}
exec(compile(EXAMPLE, "example", "exec", dont_inherit=True), NAMES)
Book = NAMES["Book"]


def rows() -> None:
    Collection.add_root(name="root")
    locale = Locale.objects.create(language_code="en")
    images = [Image.objects.create(title=f"i{at}", file=f"{at}.png", width=1, height=1) for at in range(3)]
    topics = [Topic.objects.create(name=f"t{at}") for at in range(4)]
    kind = ContentType.objects.get_for_model(Page)
    root = Page.add_root(title="root", slug="root", locale=locale, content_type=kind)
    pages: list[Page] = [root.add_child(instance=Page(title=f"p{at}", slug=f"p{at}")) for at in range(2)]
    for at in range(5):
        blog = BlogPage(title=f"b{at}", slug=f"b{at}", image=images[at % 3], topics=topics[: at % 3 + 1], live=at != 3)
        blog.body = [("text", f"text {at}")]
        blog.links = [
            Link(to=pages[one % len(pages)], sort_order=2 - one, image=images[(at + one) % 3]) for one in range(3)
        ]
        pages[at % 2].add_child(instance=blog)
        blog.tags.add("a", f"t{at}")
        blog.save()
        pages.append(blog)
    for at in range(6):
        images[at % 3].tags.add(f"i{at}")
        band = Band(members=[Member(image=images[(at + one) % 3], sort_order=3 - one) for one in range(2)])
        band.save()
        teaser = Teaser.objects.create(page=pages[at % 7], blog=pages[2 + at % 5])
        teaser.pages.set([pages[at % 7], pages[(at + 2) % 7]])
    categories = [Category.objects.create(name=f"c{at}") for at in range(3)]
    for at in range(8):
        author, _ = Author.objects.get_or_create(name=f"a{at % 3}")
        Book.objects.create(title=f"b{at}", author=author).categories.set(categories[: at % 3 + 1])


def blogs() -> models.QuerySet[BlogPage]:
    return BlogPage.objects.order_by("pk")


def teasers() -> models.QuerySet[Teaser]:
    return Teaser.objects.order_by("pk")


def bands() -> models.QuerySet[Band]:
    return Band.objects.order_by("pk")


def body(blog: BlogPage) -> list[str]:
    return [str(block.value) for block in blog.body]


SITUATIONS = [
    Situation("foreign key", blogs, "image", "locale", read=body),
    Situation("parental keys", blogs, "links__to", read=lambda blog: [link.pk for link in blog.links.all()]),
    Situation("parental keys, below", bands, "members__image"),
    Situation("parental keys, back", lambda: Member.objects.order_by("pk"), "band__members", "image__members"),
    Situation("parental keys, to_attr", bands, lambda: Prefetch("members", Member.objects.order_by("-pk"), "all")),
    Situation("parental many-to-many", blogs, "topics", read=lambda blog: [topic.name for topic in blog.topics.all()]),
    Situation(
        "parental many-to-many, back",
        lambda: Topic.objects.annotate(n=models.Count("pages")).order_by("pk"),
        "pages",
    ),
    Situation("tags by clusters", blogs, "tags", read=lambda blog: sorted(tag.name for tag in blog.tags.all())),
    Situation("links of tags", blogs, "tagged_items__tag"),
    Situation("tags of images", lambda: Link.objects.order_by("pk"), "image__tags"),
    Situation("pages", lambda: Page.objects.live().order_by("pk"), "linked_from", "teasers"),
    Situation(
        "specific pages", lambda: Page.objects.live().specific().order_by("pk"), "locale", "owner", relates=False
    ),
    Situation("specific pages, deferred", lambda: Page.objects.specific(defer=True).order_by("pk"), "linked_from"),
    Situation("a page's specific one", teasers, "page__content_type", read=lambda teaser: teaser.page.specific),
    Situation("foreign key to specific pages", teasers, lambda: Prefetch("page", Page.objects.specific())),
    Situation("many-to-many", teasers, "pages__linked_from"),
    Situation("below a memo", teasers, "blog__links__to", "blog__topics", "blog__tags", "blog__image__tags", more=2),
    Situation("public pages", teasers, lambda: Prefetch("pages", Page.objects.live().public())),
    Situation("the tree", lambda: Page.objects.first_common_ancestor().get_descendants(), "linked_from"),
]


def indexed() -> tuple[list[Any], int]:
    """What a search engine finds in the books, and how many queries read categories."""
    with CaptureQueriesContext(connection) as queries:
        call_command("update_index", chunk_size=2, verbosity=0)
        books = [
            (book.title, book.author.name, sorted(category.name for category in book.categories.all()))
            for book in given[Book]
        ]
    return books, sum(f'FROM "{Category._meta.db_table}"' in query["sql"] for query in queries.captured_queries)


def update_index() -> Iterator[tuple[str, Any, Any]]:
    """The recipe of docs/search-indexes.md beside what Wagtail does without it."""
    ours, our_reads = indexed()
    del Book.get_indexed_objects
    django, django_reads = indexed()
    if ours != django or len(ours) != 8:
        yield "books", django, ours
    if (django_reads, our_reads) != (4, 2):
        yield "queries for categories", django_reads, our_reads


RECIPES = {"update_index": update_index}
