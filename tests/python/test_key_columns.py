"""Keys of every kind of column: they are compared by the database as a literal of each would be."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, models
from django.test.utils import isolate_apps

from django_memoized_prefetch import MemoizedPrefetch
from tests.python.graph import assert_same_as_django
from tests.python.own_models import own_tables
from tests.python.queries import captured_queries

ON_POSTGRESQL = connection.vendor == "postgresql"


class OfType(models.Field):  # type: ignore[type-arg]
    """A column of any type that the database has, its values as the driver gives them."""

    def __init__(self, column_type: str = "", **options: Any) -> None:
        self.column_type = column_type
        super().__init__(**options)

    def db_type(self, connection: Any) -> str:
        return self.column_type

    def deconstruct(self) -> Any:
        name, path, arguments, options = super().deconstruct()
        return name, path, [self.column_type, *arguments], options


@contextmanager
def labels_and_items(label: models.Field[Any, Any], item: models.Field[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """Two tables whose columns have these types: labels, and the items that name them, in no constraint."""
    with isolate_apps("tests.python.bookshop"):

        class Label(models.Model):
            code = label

            class Meta:
                app_label = "bookshop"

        class Item(models.Model):
            label = models.ForeignKey(Label, models.DO_NOTHING, to_field="code", db_constraint=False, null=True)

            class Meta:
                app_label = "bookshop"

    with connection.schema_editor() as editor:
        editor.create_model(Label)
        editor.create_model(Item)
    # The other side's column may have a type of its own.
    if ON_POSTGRESQL and type(item) is OfType:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE bookshop_item ALTER label_id TYPE {item.column_type} USING NULL")
    try:
        yield Label, Item
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(Item)
            editor.delete_model(Label)


def compare(label: Any, item: Any, codes: list[Any], keys: list[Any]) -> list[Any]:
    label.objects.bulk_create([label(code=code) for code in codes])
    item.objects.bulk_create([item(label_id=key) for key in keys])
    prefetch = MemoizedPrefetch("label")
    with captured_queries() as queries:
        prefetch.process_chunk(list(item.objects.order_by("pk")))
    assert queries.of(label) == 1
    for _ in range(2):
        items = assert_same_as_django(lambda: list(item.objects.order_by("pk")), ["label"], MemoizedPrefetch("label"))
    return [one.label for one in items]


KINDS: dict[str, tuple[Any, list[Any]]] = {
    "text": (
        lambda: models.TextField(unique=True),
        ["", "NULL", "a,b", '"', "\\", '\\"', "{", "}", "{}", " a ", "'", "%s", "%", "é", "日本", "\n", "1"],
    ),
    # In another column, because MariaDB finds it equal to "NULL".
    "varchar": (lambda: models.CharField(max_length=4, unique=True), ["", "abc", "ab ", "a", '"a"', "\\", "null"]),
    "uuid": (lambda: models.UUIDField(unique=True), [uuid.UUID(int=number) for number in (0, 1, 2**127)]),
    "smallint": (lambda: models.SmallIntegerField(unique=True), [-(2**15), -1, 0, 1, 2**15 - 1]),
    "integer": (lambda: models.IntegerField(unique=True), [-(2**31), -1, 0, 1, 2**31 - 1]),
    "bigint": (lambda: models.BigIntegerField(unique=True), [-(2**63), -1, 0, 1, 2**63 - 1]),
    "decimal": (
        lambda: models.DecimalField(max_digits=6, decimal_places=2, unique=True),
        [Decimal("0.01"), Decimal("1.00"), Decimal("-9999.99")],
    ),
    "boolean": (lambda: models.BooleanField(unique=True), [False, True]),
}


@own_tables
@pytest.mark.parametrize("kind", KINDS)
def test_values_find_themselves(kind: str) -> None:
    field, values = KINDS[kind]
    with labels_and_items(field(), field()) as (label, item):
        found = compare(label, item, values[1:], [*values, None])
        assert [one and one.code for one in found] == [None, *values[1:], None]


@own_tables
def test_a_key_that_the_column_cannot_hold_is_a_missing_row() -> None:
    with labels_and_items(models.SmallIntegerField(unique=True), models.IntegerField()) as (label, item):
        label.objects.create(code=1)
        items = [item(label_id=key) for key in (1, 2**15, 2**31, -(2**40))]
        with captured_queries() as queries:
            MemoizedPrefetch("label").process_chunk(items)
        assert len(queries) == 1
        assert [one.label and one.label.code for one in items] == [1, None, None, None]


if ON_POSTGRESQL:

    @pytest.fixture
    def types(db: None) -> Iterator[None]:
        drop = "DROP TYPE IF EXISTS mood; DROP DOMAIN IF EXISTS shouted"
        with connection.cursor() as cursor:
            cursor.execute(drop)
            cursor.execute("CREATE TYPE mood AS ENUM ('sad', 'happy')")
            cursor.execute("CREATE DOMAIN shouted AS varchar CHECK (length(VALUE) < 4)")
        yield
        with connection.cursor() as cursor:
            cursor.execute(drop)

    @own_tables
    @pytest.mark.parametrize(
        ("column_type", "codes", "keys"),
        [
            ("mood", ["sad"], ["sad", "happy"]),
            ("shouted", ["Ada"], ["Ada", "ada", "abcdef"]),
            ('text COLLATE "C"', ["Ada", "é"], ["ada", "Ada", "é"]),
            ("char(4)", ["ab", "cd"], ["ab", "cd", "ef"]),
            ("inet", ["10.0.0.1"], ["10.0.0.1", "10.0.0.2"]),
            ("jsonb", ["1"], ["1", "2"]),
        ],
    )
    def test_the_columns_own_operator_compares(
        types: None, column_type: str, codes: list[Any], keys: list[Any]
    ) -> None:
        other = "text" if column_type == "shouted" else column_type
        with labels_and_items(OfType(column_type, unique=True), OfType(other)) as (label, item):
            label.objects.bulk_create([label(code=code) for code in codes])
            item.objects.bulk_create([item(label_id=key) for key in keys])
            chunk = list(item.objects.order_by("pk"))
            with captured_queries() as queries:
                MemoizedPrefetch("label").process_chunk(chunk)
            assert queries.of(label) == 1
            expected = {str(one.code) for one in label.objects.filter(code__in=[one.label_id for one in chunk])}
            assert expected
            assert_same_as_django(lambda: list(item.objects.order_by("pk")), ["label"], MemoizedPrefetch("label"))
