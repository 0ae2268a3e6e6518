"""Dates with time that PostgreSQL's driver loads natively are those of Django's own loader."""

from __future__ import annotations

import datetime
import gc
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
from django.db import connection, connections
from django.db.models import DateTimeField, F, Max
from django.db.models.expressions import RawSQL
from django.test import override_settings
from django.utils import timezone

from django_memoized_prefetch import MemoizedPrefetch, memoized
from tests.python.archive.models import KeyedByUuid, Sheet
from tests.python.databases import POSTGRESQL, only_on
from tests.python.hydrating.conversions import described

pytestmark = [
    pytest.mark.django_db(transaction=True),
    only_on(POSTGRESQL),
]
UTC = datetime.timezone.utc
MOMENTS = [
    datetime.datetime(1, 1, 1, tzinfo=UTC),
    datetime.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime.datetime(2020, 2, 29, 12, 0, 0, tzinfo=UTC),
    *(datetime.datetime(2021, 10, 31, 1, 30, 0, microsecond, tzinfo=UTC) for microsecond in (1, 10, 100_000, 120_300)),
]


@pytest.fixture
def sheets() -> Iterator[Any]:
    if not timezone.is_aware(timezone.now()):
        pytest.fail("the settings are expected to have USE_TZ")
    Sheet.objects.bulk_create([Sheet(uuid=uuid.UUID(int=i), moment=one) for i, one in enumerate([*MOMENTS, None])])
    return Sheet.objects.order_by("uuid")


def moments(read: Callable[[], Any]) -> Any:
    try:
        return [described(row.moment) for row in read()]
    except Exception as error:
        return type(error), str(error)


def calls_of_loader(function: Callable[[], Any]) -> tuple[Any, int]:
    from django.db.backends.postgresql import psycopg_any

    code, calls = psycopg_any.BaseTzLoader.load.__code__, 0

    def count(frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code is code

    sys.setprofile(count)
    try:
        return function(), calls
    finally:
        sys.setprofile(None)


def check(queryset: Any, is_native: bool | None = True) -> None:
    theirs = moments(lambda: list(queryset.all()))
    for read in (
        lambda: list(memoized(queryset)),
        lambda: list(memoized(queryset).iterator(chunk_size=2)),
        lambda: [row for chunk in MemoizedPrefetch().chunks(queryset, 3) for row in chunk],
    ):
        ours, calls = calls_of_loader(lambda read=read: moments(read))
        assert ours == theirs
        assert is_native is None or (calls == 0) is is_native


def test_values(sheets: Any) -> None:
    check(sheets)
    check(sheets.filter(moment=None))


def test_columns_of_related_rows_and_annotations(sheets: Any) -> None:
    KeyedByUuid.objects.create(pk=1, sheet=sheets[1])
    theirs = KeyedByUuid.objects.select_related("sheet").annotate(moment=Max("sheet__moment"), again=F("sheet__moment"))
    check(theirs)
    ours, theirs = memoized(theirs)[0], theirs[0]
    assert described(ours.sheet.moment) == described(theirs.sheet.moment)
    assert described(ours.again) == described(theirs.again)


@pytest.mark.parametrize("text", ["infinity", "-infinity", "10000-01-01 00:00:00+00", "0044-03-15 12:00:00+00 BC"])
def test_moments_that_python_has_not(sheets: Any, text: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {Sheet._meta.db_table} SET moment = %s WHERE uuid = %s", [text, uuid.UUID(int=0)])
    check(sheets, None)


@pytest.mark.parametrize("zone", ["Europe/London", "Africa/Abidjan", "Asia/Kathmandu", "UTC"])
def test_another_zone_of_the_session(sheets: Any, zone: str) -> None:
    """Django takes over the clock time of the session, whatever its zone is."""
    with connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE %s", [zone])
    try:
        check(sheets, zone == "UTC")
    finally:
        connection.close()


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC"])
def test_another_zone_of_the_connection(sheets: Any, zone: str) -> None:
    def forget() -> None:
        connection.close()
        for name in ("timezone", "timezone_name"):
            vars(connections["default"]).pop(name, None)

    with mock.patch.dict(connection.settings_dict, TIME_ZONE=zone):
        forget()
        try:
            check(sheets, False)
        finally:
            forget()


def test_naive_moments(sheets: Any) -> None:
    with override_settings(USE_TZ=False):
        check(sheets, None)


def test_another_style_of_dates(sheets: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET datestyle TO 'SQL, DMY'")
    try:
        check(sheets, None)
    finally:
        connection.close()


def test_arrays_of_moments(sheets: Any) -> None:
    """Their elements are loaded by the same loader."""
    sql = "ARRAY['2020-01-01 00:00:00+00'::timestamptz, NULL, 'now'::date + '1 s'::interval]"
    queryset = sheets.annotate(several=RawSQL(sql, [], output_field=DateTimeField()))
    theirs, ours = queryset[0].several, memoized(queryset)[0].several
    assert [*map(described, ours)] == [*map(described, theirs)]


def test_a_patched_loader_is_called(sheets: Any) -> None:
    from django.db.backends.postgresql import psycopg_any

    with mock.patch.object(psycopg_any.BaseTzLoader, "load", lambda self, data: bytes(data)):
        assert moments(lambda: memoized(sheets)) == moments(lambda: sheets.all()) != []


def test_a_loader_of_the_user_is_called(sheets: Any) -> None:
    from psycopg.types.string import TextLoader

    connection.connection.adapters.register_loader("timestamptz", type("Own", (TextLoader,), {"timezone": UTC}))
    try:
        assert moments(lambda: memoized(sheets)) == moments(lambda: sheets.all()) != []
    finally:
        connection.close()


def test_wrappers_of_the_user_see_the_same(sheets: Any) -> None:
    seen: list[Any] = []

    def wrapper(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        seen.append((sql, params, many, sorted(context)))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(wrapper):
        list(sheets.all())
        list(memoized(sheets))
        assert connection.execute_wrappers == [wrapper]
    assert seen[0] == seen[1]


def test_loaders_do_not_stay(sheets: Any) -> None:
    def loaders() -> int:
        gc.collect()
        return sum("NativeLoader" in type(one).__name__ for one in gc.get_objects())

    list(memoized(sheets))
    before = loaders()
    for _ in range(20):
        list(memoized(sheets))
    assert loaders() <= before
