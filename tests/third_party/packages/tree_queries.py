"""Trees by recursive queries: a queryset with its own compiler adds depth, path and order to its rows."""

from __future__ import annotations

from django.db import models
from django.db.models import Prefetch
from tree_queries.fields import TreeNodeForeignKey
from tree_queries.models import TreeNode
from tree_queries.query import TreeQuerySet

from tests.third_party.frame import Situation


class Node(TreeNode):
    name = models.CharField(max_length=9)
    position = models.IntegerField()
    objects = TreeQuerySet.as_manager(with_tree_fields=True)

    class Meta:
        ordering = ["position"]


class Plain(TreeNode):
    name = models.CharField(max_length=9)


class Leaf(models.Model):
    node = TreeNodeForeignKey(Node, models.CASCADE, related_name="leaves")
    nodes = models.ManyToManyField(Node, related_name="all_leaves")
    plain = models.ForeignKey(Plain, models.CASCADE, related_name="leaves")


def rows() -> None:
    nodes: list[Node] = []
    plains: list[Plain] = []
    for at in range(7):
        above = (at - 1) // 2
        parent = nodes[above] if at else None
        nodes.append(Node.objects.create(name=f"n{at}", position=9 - at, parent=parent))
        plains.append(Plain.objects.create(name=f"p{at}", parent=plains[above] if at else None))
    for at in range(9):
        leaf = Leaf.objects.create(node=nodes[at * 2 % 7], plain=plains[at % 7])
        leaf.nodes.set([nodes[at % 7], nodes[(at + 1) % 7]])


def leaves() -> models.QuerySet[Leaf]:
    return Leaf.objects.order_by("pk")


def nodes() -> models.QuerySet[Node]:
    return Node.objects.all()


def fields(node: Node) -> list[object]:
    return [getattr(node, name, None) for name in ("tree_depth", "tree_path", "tree_ordering")]


SITUATIONS = [
    Situation("depth first", nodes, "children", "parent", read=fields),
    Situation(
        "breadth first",
        lambda: Node.objects.extra(order_by=["__tree.tree_depth", "-position"]),
        "leaves",
        read=fields,
    ),
    Situation("siblings in another order", lambda: nodes().order_siblings_by("name"), "leaves", read=fields),
    Situation("without", lambda: nodes().without_tree_fields().order_by("pk"), "children", read=fields),
    Situation("asked for", lambda: Plain.objects.with_tree_fields(), "leaves", read=fields),
    Situation("ancestors", nodes, read=lambda node: [*node.ancestors(include_self=True)]),
    Situation("descendants", lambda: nodes().descendants(Node.objects.get(name="n0")), "leaves__node", read=fields),
    Situation("with more", lambda: nodes().tree_fields(names="name"), "leaves", read=lambda node: node.names),
    Situation("foreign key", leaves, "node", read=lambda leaf: fields(leaf.node)),
    Situation("many-to-many", leaves, "nodes", read=lambda leaf: [*map(fields, leaf.nodes.all())]),
    Situation("below a memo", leaves, "node__parent__children", "plain__children"),
    Situation("a queryset", leaves, lambda: Prefetch("plain", Plain.objects.with_tree_fields())),
    Situation("to_attr", leaves, lambda: Prefetch("nodes", Node.objects.filter(position__gt=3), to_attr="some")),
    Situation("filtered first", lambda: nodes().tree_filter(position__gt=2), "children", read=fields),
]
