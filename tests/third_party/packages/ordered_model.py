"""Rows and links with a stored order."""

from __future__ import annotations

from django.db import models
from django.db.models import Prefetch
from ordered_model.models import OrderedModel, OrderedModelManager, OrderedModelQuerySet

from tests.third_party.frame import Situation


class Topping(models.Model):
    name = models.CharField(max_length=9)


class Pizza(models.Model):
    toppings = models.ManyToManyField(Topping, through="OnPizza", related_name="pizzas")


class OnPizza(OrderedModel):
    pizza = models.ForeignKey(Pizza, models.CASCADE, related_name="on")
    topping = models.ForeignKey(Topping, models.CASCADE, related_name="on")
    order_with_respect_to = "pizza"

    class Meta:
        ordering = ("pizza", "order")


class StepQuerySet(OrderedModelQuerySet):
    def hot(self) -> models.QuerySet[Step]:
        return self.filter(hot=True)


class Step(OrderedModel):
    pizza = models.ForeignKey(Pizza, models.CASCADE, related_name="steps")
    hot = models.BooleanField(default=False)
    objects = OrderedModelManager.from_queryset(StepQuerySet)()
    order_with_respect_to = "pizza"

    class Meta(OrderedModel.Meta):
        pass


class Guest(models.Model):
    pizza = models.ForeignKey(Pizza, models.CASCADE, related_name="guests")


def rows() -> None:
    toppings = [Topping.objects.create(name=f"t{at}") for at in range(4)]
    pizzas = [Pizza.objects.create() for _ in range(5)]
    for at, pizza in enumerate(pizzas):
        for topping in toppings[: at + 1]:
            OnPizza.objects.create(pizza=pizza, topping=topping).top()
        for step in range(3):
            Step.objects.create(pizza=pizza, hot=step > 0).up()
    for at in range(8):
        Guest.objects.create(pizza=pizzas[at * 2 % 5])


def pizzas() -> models.QuerySet[Pizza]:
    return Pizza.objects.order_by("pk")


SITUATIONS = [
    Situation("steps", pizzas, "steps", read=lambda one: [step.previous() for step in one.steps.all()]),
    Situation("links", pizzas, "on__topping"),
    Situation("in the links' order", pizzas, lambda: Prefetch("toppings", Topping.objects.order_by("on__order"))),
    Situation("many-to-many", pizzas, "toppings"),
    Situation("many-to-many, back", lambda: Topping.objects.order_by("pk"), "pizzas__steps"),
    Situation("in their own order", lambda: Step.objects.all(), "pizza__steps"),
    Situation("links in their own order", lambda: OnPizza.objects.all(), "pizza__toppings", "topping"),
    Situation("below a memo", lambda: Guest.objects.order_by("pk"), "pizza__steps", "pizza__on__topping"),
    Situation("a queryset of its own", pizzas, lambda: Prefetch("steps", Step.objects.hot(), to_attr="hot")),
    Situation("above", pizzas, lambda: Prefetch("steps", Step.objects.all().above(0))),
]
