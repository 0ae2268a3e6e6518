"""Translated fields stored as rows of another model, prefetched under their own name, and kept in Django's cache."""

from __future__ import annotations

from django.core.cache import cache
from django.db import models
from django.db.models import Prefetch
from django.utils import translation
from parler.managers import TranslatableManager, TranslatableQuerySet
from parler.models import TranslatableModel, TranslatedFields

from tests.third_party.frame import Situation

# The translations that were read, by language. What is read of them is compared anyway.
IGNORED = {"_translations_cache"}


class GoodQuerySet(TranslatableQuerySet):
    def cheap(self) -> models.QuerySet[Good]:
        return self.filter(price__lt=3)


class Good(TranslatableModel):
    price = models.IntegerField()
    translations = TranslatedFields(title=models.CharField(max_length=9), text=models.CharField(max_length=9))
    objects = TranslatableManager.from_queryset(GoodQuerySet)()

    class Meta:
        ordering = ["pk"]


class Sale(models.Model):
    good = models.ForeignKey(Good, models.CASCADE, related_name="sales")
    goods = models.ManyToManyField(Good, related_name="all_sales")


def rows() -> None:
    goods = []
    for at in range(5):
        goods.append(Good(price=at))
        for language in ("en", "nl")[: 1 + at % 2]:
            goods[-1].set_current_language(language)
            goods[-1].title = f"{language} {at}"
        goods[-1].save()
    for at in range(9):
        Sale.objects.create(good=goods[at % 5]).goods.set([goods[at % 5], goods[(at + 1) % 5]])


def clear() -> None:
    cache.clear()


def goods() -> models.QuerySet[Good]:
    return Good.objects.order_by("pk")


def sales() -> models.QuerySet[Sale]:
    return Sale.objects.order_by("pk")


def titles(good: Good) -> list[object]:
    return [good.title, good.safe_translation_getter("text"), good.get_current_language(), good.has_translation("nl")]


SITUATIONS = [
    Situation("translations", goods, "translations", read=titles),
    Situation("none prefetched", sales, "good", read=lambda sale: titles(sale.good)),
    Situation("below a foreign key", sales, "good__translations", read=lambda sale: titles(sale.good)),
    Situation("below a many-to-many", sales, "goods__translations", read=lambda sale: [*map(titles, sale.goods.all())]),
    Situation(
        "in Dutch",
        sales,
        "good__translations",
        read=lambda sale: titles(sale.good),
        around=lambda: translation.override("nl"),
    ),
    Situation("a queryset in Dutch", lambda: goods().language("nl"), "translations", "sales", read=titles),
    Situation(
        "rows in Dutch",
        sales,
        lambda: Prefetch("good", Good.objects.language("nl")),
        read=lambda sale: titles(sale.good),
    ),
    Situation(
        "rows in Dutch, to_attr",
        sales,
        lambda: Prefetch("goods", Good.objects.language("nl").cheap(), "nl"),
        read=lambda sale: [*map(titles, sale.nl)],
    ),
    Situation("translated", lambda: goods().translated("en", title__gt="en"), "all_sales__good", read=titles),
    Situation("cached by an earlier run", sales, "good", read=lambda sale: titles(sale.good), warm=True),
    Situation(
        "some translations",
        sales,
        lambda: Prefetch("good__translations", Good.translations.field.model.objects.filter(language_code="nl")),
        read=lambda sale: titles(sale.good),
    ),
]
