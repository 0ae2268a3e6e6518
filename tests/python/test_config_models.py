"""A config's model is the class of the rows: a proxy or a multi-table relative of the relation's own model."""

from __future__ import annotations

import pytest
from django.db import models
from django.db.models import Prefetch

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.catalogue.models import Item, ListedItem, Loan, Map, Member, VisitingMember
from tests.python.graph import assert_same_as_django
from tests.python.queries import no_queries, query_count


@pytest.fixture(autouse=True)
def loans() -> None:
    items = [Item.objects.create(name=f"item {i}") for i in range(3)]
    maps = [Map.objects.create(name=f"map {i}", scale=i) for i in range(3)]
    members = [Member.objects.create(name=f"member {i}") for i in range(2)]
    for i in range(6):
        Loan.objects.create(
            item=maps[i % 3],
            listed_item_id=items[i % 3].pk if i < 5 else None,
            map=maps[(i + 1) % 3] if i != 2 else None,
            borrower=members[i % 2],
        )


def all_loans() -> list[Loan]:
    return list(Loan.objects.order_by("pk"))


@pytest.mark.parametrize(
    ("attribute", "model"),
    [
        pytest.param("borrower", Member, id="the model itself"),
        pytest.param("borrower", VisitingMember, id="its proxy"),
        pytest.param("listed_item", ListedItem, id="the proxy that the relation names"),
        pytest.param("listed_item", Item, id="the model behind the relation's proxy"),
        pytest.param("item", ListedItem, id="proxy of a parent"),
        pytest.param("item", Map, id="multi-table child"),
        pytest.param("map", Map, id="multi-table child itself"),
    ],
)
def test_class_of_the_rows_is_the_configs_model(attribute: str, model: type[models.Model]) -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(model, [attribute]))
    for queries in (1, 0):
        loans = all_loans()
        with query_count(queries):
            prefetch.process_chunk(loans)
        with no_queries():
            targets = [getattr(loan, attribute) for loan in loans]
            assert {type(target) for target in targets if target is not None} == {model}
            assert [target and target.pk for target in targets] == [getattr(loan, f"{attribute}_id") for loan in loans]
    assert_same_as_django(all_loans, [Prefetch(attribute, model._base_manager.all())], prefetch)


def test_lookup_without_a_config_gives_the_relations_own_class() -> None:
    prefetch = MemoizedPrefetch("item", "listed_item", "map", "borrower")
    for _ in range(2):
        assert_same_as_django(all_loans, ["item", "listed_item", "map", "borrower"], prefetch)


def test_proxy_and_its_model_do_not_mix() -> None:
    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Item, ["item"]),
        MemoizedPrefetchConfig(ListedItem, ["listed_item"]),
        MemoizedPrefetchConfig(Map, ["map"]),
    )
    for _ in range(2):
        assert_same_as_django(all_loans, ["item", "listed_item", "map"], prefetch)
        loans = prefetch.process_chunk(all_loans())
        assert type(loans[0].item) is Item
        assert type(loans[0].listed_item) is ListedItem
        assert type(loans[0].map) is Map


def test_child_config_for_rows_that_are_no_children_finds_nothing() -> None:
    """As Prefetch with the child's queryset: an item that is no map has no row in the child's table."""
    Loan.objects.update(item=Item.objects.create(name="no map"))
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Map, ["item"]))
    for _ in range(2):
        assert_same_as_django(all_loans, [Prefetch("item", Map.objects.all())], prefetch)


def test_parent_config_for_a_childs_relation_is_refused_as_by_setattr() -> None:
    [loan, *_] = all_loans()
    with pytest.raises(ValueError, match="Cannot assign"):
        loan.map = Item.objects.get(pk=loan.map_id)
    with pytest.raises(ValueError, match="map"):
        MemoizedPrefetch(MemoizedPrefetchConfig(Item, ["map"])).process_chunk(all_loans())


@pytest.mark.parametrize("model", [VisitingMember, Member])
def test_chunk_of_a_proxy(model: type[Member]) -> None:
    from tests.python.catalogue.models import Locker

    for member in Member.objects.all():
        Member.objects.filter(pk=member.pk).update(locker=Locker.objects.create(place=member.name))
    prefetch = MemoizedPrefetch("locker")
    for _ in range(2):
        assert_same_as_django(lambda: list(model.objects.order_by("pk")), "locker", prefetch)


def test_chunk_of_a_child_with_its_parents_foreign_key() -> None:
    from tests.python.catalogue.models import Person

    donor = Person.objects.create(name="donor")
    Item.objects.filter(name="map 1").update(donor=donor)
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Person, ["donor"]))
    for _ in range(2):
        assert_same_as_django(lambda: list(Map.objects.order_by("pk")), "donor", prefetch)


def test_link_from_child_to_parent() -> None:
    prefetch = MemoizedPrefetch("item_ptr")
    for _ in range(2):
        assert_same_as_django(lambda: list(Map.objects.order_by("pk")), "item_ptr", prefetch)
