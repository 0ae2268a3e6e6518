"""Relations whose tables are unusual: inherited links, links to a column that is not read, several rows for one."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import models
from django.db.models import Prefetch
from django.test.utils import isolate_apps

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.databases import on_one_database
from tests.python.own_models import check, own_tables, pks, tables
from tests.python.queries import no_queries, query_count

pytestmark = [on_one_database, own_tables]


@isolate_apps("tests.python.bookshop")
def test_a_through_model_that_inherits_its_foreign_keys() -> None:
    """Django reads the parent's links. Some of these may be none of the child's."""

    class Person(models.Model):
        class Meta:
            app_label = "bookshop"

    class Membership(models.Model):
        person = models.ForeignKey(Person, models.CASCADE, related_name="memberships")
        group = models.ForeignKey("Group", models.CASCADE, related_name="+")

        class Meta:
            app_label = "bookshop"

    class PaidMembership(Membership):
        class Meta:
            app_label = "bookshop"

    class Group(models.Model):
        members = models.ManyToManyField(Person, through=PaidMembership, related_name="groups")

        class Meta:
            app_label = "bookshop"

    with tables(Person, Group, Membership, PaidMembership):
        groups, people = [Group.objects.create() for _ in range(2)], [Person.objects.create() for _ in range(2)]
        Membership.objects.create(person=people[0], group=groups[0])
        PaidMembership.objects.create(person=people[1], group=groups[0])
        Membership.objects.create(person=people[1], group=groups[1])

        def all_groups() -> list[Any]:
            return list(Group.objects.order_by("pk"))

        members = check(all_groups, "members", pks("members"))
        assert members == [[people[0].pk, people[1].pk], [people[1].pk]]
        assert check(all_groups, Prefetch("members", Person.objects.order_by("-pk")), pks("members")) == members
        check(lambda: list(Person.objects.order_by("pk")), "groups", pks("groups"))
        # It joins the links that the relation is read through, so that a person's row depends on the group.
        joined = Person.objects.filter(memberships__group__gt=groups[0].pk)
        check(all_groups, Prefetch("members", joined), pks("members"))


@isolate_apps("tests.python.bookshop")
@pytest.mark.parametrize("leave_out", [lambda rows: rows.only("name"), lambda rows: rows.defer("code")])
def test_a_queryset_without_the_column_that_links_hold(leave_out: Any) -> None:
    class Country(models.Model):
        code = models.CharField(max_length=5, unique=True)
        name = models.CharField(max_length=9)

        class Meta:
            app_label = "bookshop"

    class Region(models.Model):
        countries = models.ManyToManyField(Country, through="Place", related_name="regions")

        class Meta:
            app_label = "bookshop"

    class Place(models.Model):
        region = models.ForeignKey(Region, models.CASCADE, related_name="+")
        country = models.ForeignKey(Country, models.CASCADE, to_field="code", related_name="+")

        class Meta:
            app_label = "bookshop"

    with tables(Country, Region, Place):
        region = Region.objects.create()
        for number in range(5):
            Place.objects.create(region=region, country=Country.objects.create(code=f"c{number}", name="n"))
        prefetch = MemoizedPrefetch(Prefetch("countries", leave_out(Country.objects.order_by("pk"))))
        for _ in range(2):
            rows = list(Region.objects.all())
            with query_count(1):
                prefetch.process_chunk(rows)
            with no_queries():
                assert [one.name for one in rows[0].countries.all()] == ["n"] * 5
            assert all(one.get_deferred_fields() == {"code"} for one in rows[0].countries.all())


@isolate_apps("tests.python.bookshop")
@pytest.mark.parametrize("to_attr", [None, "found"])
def test_the_first_of_several_rows_of_a_one_to_one_is_attached(to_attr: str | None) -> None:
    """A join in the given queryset may return several, or a table without the unique constraint."""

    class Account(models.Model):
        class Meta:
            app_label = "bookshop"

    class Profile(models.Model):
        account = models.OneToOneField(Account, models.CASCADE, related_name="profile")

        class Meta:
            app_label = "bookshop"

    class Phone(models.Model):
        profile = models.ForeignKey(Profile, models.CASCADE, related_name="phones")
        number = models.CharField(max_length=9)

        class Meta:
            app_label = "bookshop"

    def number_of(account: Any) -> Any:
        return getattr(account, to_attr or "profile").number

    with tables(Account, Profile, Phone):
        for _ in range(2):
            profile = Profile.objects.create(account=Account.objects.create())
            for number in "312":
                Phone.objects.create(profile=profile, number=number)
        with_number = Profile.objects.annotate(number=models.F("phones__number"))
        lookup = Prefetch("profile", with_number, to_attr=to_attr)
        assert check(lambda: list(Account.objects.order_by("pk")), lookup, number_of) == ["3", "3"]
