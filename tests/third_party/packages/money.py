"""Amounts of money: a descriptor makes one value from a field's two columns, and managers are patched."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Prefetch, Sum
from djmoney.models.fields import MoneyField
from djmoney.models.managers import money_manager
from djmoney.money import Money

from tests.third_party.frame import Situation

# Until it is first read, it holds an amount without a currency. What is read is compared anyway.
IGNORED = {"amount", "balance", "limit"}


class Account(models.Model):
    balance = MoneyField(max_digits=9, decimal_places=2, default_currency="EUR")
    limit = MoneyField(max_digits=9, decimal_places=2, null=True, default_currency=None)


class DearQuerySet(models.QuerySet["Payment"]):
    def dear(self) -> models.QuerySet[Payment]:
        return self.filter(amount__gt=Money(2, "EUR"))


class Payment(models.Model):
    account = models.ForeignKey(Account, models.CASCADE, related_name="payments")
    others = models.ManyToManyField(Account, related_name="all_payments")
    amount = MoneyField(max_digits=9, decimal_places=2, default_currency="EUR")
    objects = money_manager(DearQuerySet.as_manager())


def rows() -> None:
    accounts = [
        Account.objects.create(balance=Money(at, "EUR" if at % 2 else "USD"), limit=Money(9, "EUR") if at else None)
        for at in range(4)
    ]
    for at in range(9):
        payment = Payment.objects.create(account=accounts[at % 4], amount=Money(at, "EUR" if at % 3 else "USD"))
        payment.others.set([accounts[at % 4], accounts[(at + 1) % 4]])


def payments() -> models.QuerySet[Payment]:
    return Payment.objects.order_by("pk")


def accounts() -> models.QuerySet[Account]:
    return Account.objects.order_by("pk")


def amounts(account: Account) -> list[object]:
    return [account.balance, account.balance_currency, account.limit, account.limit_currency]


SITUATIONS = [
    Situation(
        "foreign key", payments, "account", read=lambda one: [one.amount, one.amount_currency, *amounts(one.account)]
    ),
    Situation("many-to-many", payments, "others", read=lambda one: [*map(amounts, one.others.all())]),
    Situation("back", accounts, "payments", "all_payments", read=amounts),
    Situation("below a memo", payments, "account__payments__others"),
    Situation("a queryset of its own", accounts, lambda: Prefetch("payments", Payment.objects.dear())),
    Situation("to_attr", accounts, lambda: Prefetch("all_payments", Payment.objects.filter(amount=F("amount")), "all")),
    Situation("not all columns", lambda: accounts().defer("balance"), "payments", read=amounts),
    Situation("only the amount", lambda: payments().only("amount"), "others", read=lambda one: one.amount),
    Situation("with a sum", lambda: accounts().annotate(paid=Sum("payments__amount")), "payments"),
    Situation("by amount", lambda: Payment.objects.order_by("-amount", "pk"), "account"),
]
