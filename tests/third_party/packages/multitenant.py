"""Rows of one tenant: managers add the current tenant to each query, and keys have two columns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from django.db import models
from django.db.models import Prefetch
from django_multitenant.fields import TenantForeignKey
from django_multitenant.mixins import TenantManagerMixin, TenantModelMixin
from django_multitenant.models import TenantModel
from django_multitenant.utils import set_current_tenant, unset_current_tenant

from tests.third_party.frame import Situation


class Store(TenantModel):
    name = models.CharField(max_length=9)

    class TenantMeta:
        tenant_field_name = "id"


class OpenQuerySet(models.QuerySet["Purchase"]):
    def open(self) -> models.QuerySet[Purchase]:
        return self.filter(closed=False)


class Tenants(TenantManagerMixin, models.Manager.from_queryset(OpenQuerySet)):  # type: ignore[misc]
    pass


class Product(TenantModel):
    store = models.ForeignKey(Store, models.CASCADE, related_name="products")
    name = models.CharField(max_length=9)

    class TenantMeta:
        tenant_field_name = "store_id"

    class Meta:
        unique_together = ["id", "store"]


class Purchase(TenantModelMixin, models.Model):
    store = models.ForeignKey(Store, models.CASCADE)
    product = TenantForeignKey(Product, models.CASCADE, related_name="purchases")
    products = models.ManyToManyField(Product, related_name="all_purchases")
    closed = models.BooleanField(default=False)
    objects = Tenants()
    tenant_id = "store_id"


def rows() -> None:
    for at in range(2):
        store = Store.objects.create(name=f"s{at}")
        products = [Product.objects.create(store=store, name=f"p{one}") for one in range(3)]
        for one in range(7):
            purchase = Purchase.objects.create(store=store, product=products[one % 3], closed=one % 2)
            with connected(store):
                purchase.products.set([products[one % 3], products[0]])
    # A purchase of the first store refers to a product of the other, which its tenant must not see.
    models.QuerySet(Purchase).filter(pk=3).update(product=Product.objects.order_by("pk").last())


@contextmanager
def connected(store: Store | list[Store]) -> Iterator[None]:
    set_current_tenant(store)
    try:
        yield
    finally:
        unset_current_tenant()


def first() -> AbstractContextManager[None]:
    return connected(Store.objects.order_by("pk")[0])


def both() -> AbstractContextManager[None]:
    return connected(list(Store.objects.order_by("pk")))


def purchases() -> models.QuerySet[Purchase]:
    return Purchase.objects.order_by("pk")


def products() -> models.QuerySet[Product]:
    return Product.objects.order_by("pk")


SITUATIONS = [
    Situation("no tenant", purchases, "product", "products", "store"),
    Situation("foreign key", purchases, "product", around=first),
    Situation("foreign key, two tenants", purchases, "product__store", around=both),
    Situation("many-to-many", purchases, "products", around=first),
    Situation("back", products, "purchases", "all_purchases", around=both),
    Situation("below a memo", purchases, "product__purchases__products", around=first),
    Situation(
        "a queryset of its own",
        purchases,
        lambda: Prefetch("product__purchases", Purchase.objects.open()),
        around=first,
    ),
    Situation("to_attr", purchases, lambda: Prefetch("products", Product.objects.all(), to_attr="all"), around=first),
]
