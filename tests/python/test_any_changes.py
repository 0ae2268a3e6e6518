"""
Any lookups with invalidate_on_change, over rows that are saved, created, deleted and linked: what Django reads now.
"""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.core.management.color import no_style
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from tests.python.generated import as_given, compare, make_content_types, processing, property_settings, theatre
from tests.python.lookups import (
    PLAIN,
    Bounds,
    Rows,
    Wanted,
    key_columns,
    lookup_sets,
)
from tests.python.theatre.models import City, Company, Genre, Locker, Note, Person, Play, Role, Tag, Work
from tests.python.theatre.rows import NOTED

CHANGED = [City, Company, Genre, Locker, Note, Person, Play, Role, Tag, Work]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, ...]:
    model = draw(st.sampled_from([Play, Person, Note, Role]))
    note = draw(st.sampled_from([None, Person, City]))
    # Rows whose querysets read other tables are not noticed, as the documentation says.
    lookups = draw(lookup_sets(model, Bounds(note, (*PLAIN, "select")), depth=3, most=3))
    return model, note, [lookup for lookup in lookups if not has_hidden_lookups(lookup)]


def has_hidden_lookups(lookup: Wanted) -> bool:
    """Whether lookups of its queryset are not known before its rows are read."""
    rows = lookup.rows if isinstance(lookup.rows, tuple) else (lookup.rows,)
    is_hidden = isinstance(lookup.rows, tuple) or lookup.as_config == "own"
    inner = [below for one in rows if one is not None for below in one.lookups]
    return bool(is_hidden and inner) or any(map(has_hidden_lookups, inner))


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["save", "save", "create", "delete", "link"]),
        st.sampled_from(CHANGED),
        st.integers(0, 9),
        st.integers(0, 30),
        st.integers(0, 9),
    ),
    min_size=1,
    max_size=6,
)


def continue_keys() -> None:
    """Rows that are created get keys behind those of the theatre."""
    models = apps.get_app_config("theatre").get_models(include_auto_created=True)
    for statement in connection.ops.sequence_reset_sql(no_style(), list(models)):
        with connection.cursor() as cursor:
            cursor.execute(statement)


def any_row(model: Any, place: int) -> Any:
    rows = list(model._base_manager.order_by(*key_columns(model)))
    return rows[place % len(rows)] if rows else None


def change(kind: str, model: Any, place: int, what: int, value: int) -> None:
    """Saves, creates, deletes or links a row, with Django's signals."""
    row = any_row(model, place)
    if row is None:
        return
    if kind == "delete":
        row.delete()
        return
    if kind == "link":
        link(row, what, value)
        return
    if kind == "create":
        row.pk = {City: f"new {value}"}.get(model)
        row._state.adding = True
        if model is Locker:
            row.pk = Locker._meta.pk.get_default()
            row.holder_id = None
        if model is Play:
            row.code = f"new {Play.objects.count()} {value}"
        if model is City and City.objects.filter(pk=row.pk).exists():
            return
    columns = [field for field in model._meta.concrete_fields if not field.primary_key and field.name != "closed"]
    field = columns[what % len(columns)]
    set_column(row, field, value)
    row.save(force_insert=kind == "create")


def set_column(row: Any, field: Any, value: int) -> None:
    """Gives a column another value; a foreign key also one that leads nowhere."""
    if field.remote_field is not None and field.related_model is not ContentType:
        target = any_row(field.related_model, value)
        if value == 9 or target is None:
            new = None if field.null else 99
        else:
            new = getattr(target, field.target_field.attname)
        if field.unique and new is not None and type(row)._base_manager.filter(**{field.attname: new}).exists():
            new = None
        setattr(row, field.attname, new)
    elif field.name in ("rank", "acts"):
        setattr(row, field.name, value % 3)
    elif field.name == "name":
        row.name = f"changed {value}"
    elif field.name == "object_id" and row.object_id is not None:
        row.object_id = str(value)


def link(row: Any, what: int, value: int) -> None:
    """Changes the links of a many-to-many, from either side."""
    names = [
        name
        for name in dir(type(row))
        if hasattr(getattr(type(row), name, None), "through") and getattr(type(row), name).through._meta.auto_created
    ]
    if not names:
        return
    name = names[what % len(names)]
    manager = getattr(row, name)
    target = any_row(manager.model, value)
    if target is None:
        return
    way = ("add", "remove", "clear", "set")[what // 5 % 4]
    if way == "clear":
        manager.clear()
    else:
        getattr(manager, way)([target] if way == "set" else target)


@property_settings(60)
@given(
    case=cases(),
    seed=st.integers(0, 10_000),
    size=st.sampled_from([1, 3, 10_000, None]),
    places=st.lists(st.integers(0, 5), min_size=1, max_size=6, unique=True),
    changes=CHANGES,
)
def test_any_changes(case: Any, seed: int, size: Any, places: list[int], changes: list[Any]) -> None:
    model, note, lookups = case
    with theatre(seed, 4, noted=NOTED if note is None else [note], then=continue_keys):
        run(model, lookups, size, places, changes)


def run(model: Any, lookups: list[Wanted], size: Any, places: list[int], changes: list[Any]) -> None:
    process = processing(as_given(lookups, size), lookups, lru_cache_size=size, invalidate_on_change=True)

    def chunk() -> list[Any]:
        rows = list(Rows(model, "_base_manager").make().order_by(*key_columns(model)))
        return [rows[place] for place in sorted({place % len(rows) for place in places})] if rows else []

    for one in [None, *changes]:
        if one is not None:
            change(*one)
        compare(process, lookups, chunk(), chunk())


@pytest.fixture(autouse=True)
def content_types() -> None:
    make_content_types()
