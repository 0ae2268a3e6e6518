"""A manager that is the field, and prefetches by itself. Tags are reached by generic links or a model's own links."""

from __future__ import annotations

from django.db import models
from django.db.models import Prefetch
from taggit.managers import TaggableManager
from taggit.models import GenericUUIDTaggedItemBase, Tag, TagBase, TaggedItem, TaggedItemBase

from tests.third_party.frame import Situation


class Food(models.Model):
    name = models.CharField(max_length=9)
    tags = TaggableManager()


class TaggedDrink(TaggedItemBase):
    content_object = models.ForeignKey("Drink", models.CASCADE)


class Drink(models.Model):
    tags = TaggableManager(through=TaggedDrink)


class Label(TagBase):
    pass


class Labelled(GenericUUIDTaggedItemBase):
    tag = models.ForeignKey(Label, models.CASCADE, related_name="labelled")


class Spice(models.Model):
    id = models.UUIDField(primary_key=True)
    labels = TaggableManager(through=Labelled)


class Meal(models.Model):
    food = models.ForeignKey(Food, models.CASCADE, related_name="meals")
    drinks = models.ManyToManyField(Drink, related_name="meals")


def rows() -> None:
    foods = [Food.objects.create(name=f"food {at}") for at in range(4)]
    drinks = [Drink.objects.create() for _ in range(4)]
    for at in range(3):
        foods[at].tags.add("a", f"t{at}")
        drinks[at].tags.add("b", f"t{2 - at}")
        Spice.objects.create(id=f"{at}" * 32).labels.add("hot", f"l{at}")
    Spice.objects.create(id="9" * 32)
    for at in range(8):
        Meal.objects.create(food=foods[at % 3]).drinks.set([drinks[at % 4], drinks[0]])


def foods() -> models.QuerySet[Food]:
    return Food.objects.order_by("pk")


def meals() -> models.QuerySet[Meal]:
    return Meal.objects.order_by("pk")


SITUATIONS = [
    Situation("tags", foods, "tags", read=lambda food: (sorted(food.tags.names()), food.tags.count())),
    Situation("another through", lambda: Drink.objects.order_by("pk"), "tags", read=lambda one: len(one.tags.all())),
    Situation("keys that are UUIDs", lambda: Spice.objects.order_by("pk"), "labels"),
    Situation("below a foreign key", meals, "food__tags"),
    Situation("below a many-to-many", meals, "drinks__tags"),
    Situation("both", meals, "food__tags", "drinks__tags", read=lambda meal: sorted(meal.food.tags.slugs())),
    Situation("to_attr", foods, lambda: Prefetch("tags", to_attr="labels")),
    Situation("a queryset", foods, lambda: Prefetch("tags", Tag.objects.filter(name="a")), raises=True),
    Situation(
        "a queryset, to_attr", meals, lambda: Prefetch("food__tags", Tag.objects.all(), to_attr="t"), raises=True
    ),
    Situation("links of a tag", lambda: Tag.objects.order_by("pk"), "taggit_taggeditem_items__content_object"),
    Situation("links", lambda: TaggedItem.objects.order_by("pk"), "tag", "content_object__meals"),
    Situation("links of a through", lambda: TaggedDrink.objects.order_by("pk"), "tag", "content_object__tags"),
    Situation("changed when read", foods, "tags", read=lambda food: food.tags.filter(name="a").exists()),
]
