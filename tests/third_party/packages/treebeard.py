"""Trees of three kinds, with managers that order their rows, and their own queryset classes."""

from __future__ import annotations

from django.db import models
from django.db.models import Prefetch
from treebeard.al_tree import AL_Node
from treebeard.mp_tree import MP_Node, MP_NodeManager, MP_NodeQuerySet
from treebeard.ns_tree import NS_Node

from tests.third_party.frame import Situation


class Category(MP_Node):
    name = models.CharField(max_length=9)
    node_order_by = ["name"]


class ShownQuerySet(MP_NodeQuerySet):
    def shown(self) -> models.QuerySet[Page]:
        return self.filter(hidden=False)


class Shown(MP_NodeManager):
    def get_queryset(self) -> models.QuerySet[Page]:
        return ShownQuerySet(self.model).order_by("path").shown()


class Page(MP_Node):
    hidden = models.BooleanField(default=False)
    objects = Shown()


class Section(NS_Node):
    name = models.CharField(max_length=9)


class Part(AL_Node):
    name = models.CharField(max_length=9)
    parent = models.ForeignKey("self", models.CASCADE, null=True, related_name="children_set")
    sib_order = models.PositiveIntegerField()


class Item(models.Model):
    category = models.ForeignKey(Category, models.CASCADE, related_name="items")
    categories = models.ManyToManyField(Category, related_name="all_items")
    pages = models.ManyToManyField(Page, related_name="items")
    section = models.ForeignKey(Section, models.CASCADE, related_name="items")
    part = models.ForeignKey(Part, models.CASCADE, related_name="items")


def rows() -> None:
    for name in "cab":
        category = Category.add_root(name=name)
        category.add_child(name=f"{name}2")
        Category.objects.get(pk=category.pk).add_child(name=f"{name}1")
        section = Section.add_root(name=name)
        section.add_child(name=f"{name}1")
        part = Part.add_root(name=name, sib_order=1)
        part.add_child(name=f"{name}1", sib_order=1)
        Page.add_root()
    models.QuerySet(Page).filter(pk=2).update(hidden=True)
    categories, sections = list(Category.objects.order_by("pk")), list(Section.objects.order_by("pk"))
    parts, pages = list(Part.objects.order_by("pk")), list(models.QuerySet(Page).order_by("pk"))
    for at in range(9):
        item = Item(category=categories[at * 2 % 9], section=sections[at % 6], part=parts[at * 5 % 6])
        item.save()
        item.categories.set([categories[at], categories[(at + 4) % 9]])
        item.pages.set(pages[: at % 3 + 1])


def items() -> models.QuerySet[Item]:
    return Item.objects.order_by("pk")


SITUATIONS = [
    Situation("in the tree's order", lambda: Category.objects.all(), "items", read=lambda one: [*one.get_children()]),
    Situation("foreign key", items, "category", "section", read=lambda item: item.category.get_ancestors().count()),
    Situation("many-to-many", items, "categories"),
    Situation("many-to-many, back", lambda: Category.objects.order_by("pk"), "all_items__category"),
    Situation("a manager that leaves out", items, "pages"),
    Situation("below a memo", items, "category__all_items", "pages__items"),
    Situation("parents", items, "part__parent", "part__children_set"),
    Situation("the parent is cached", items, "part", read=lambda item: item.part.get_parent()),
    Situation("nested sets in order", lambda: Section.objects.all(), "items__section"),
    Situation("a queryset", items, lambda: Prefetch("pages", Page.objects.all(), to_attr="shown")),
    Situation("a tree", items, lambda: Prefetch("categories", Category.get_tree(), to_attr="tree")),
]
