"""Values that the engine converts are those of Django's converters, over the whole range of each type."""

from __future__ import annotations

import datetime
import decimal
import importlib.util
import json
import math
import sys
import types
import uuid
import zoneinfo
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
from django.db import models
from django.db.backends.sqlite3.base import DatabaseOperations, DatabaseWrapper
from django.db.models.fields.json import KeyTransform
from django.test import override_settings
from django.utils import dateparse, timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_memoized_prefetch._stock_converters import conversion_of
from tests.python.archive.models import Sheet
from tests.python.generated import example_count
from tests.python.hydrating.conversions import Engine, check, column, sqlite

GENERATED = settings(max_examples=example_count(200), deadline=None, suppress_health_check=list(HealthCheck))
CONNECTION = sqlite()
operations: Any = sys.modules[DatabaseOperations.__module__]  # to import it first would be a circle
ZONES = [None, "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]

# What no database returns for the type, unless somebody put it there.
ODD = [b"", "", " ", "x", 3, -1, 2**70, 1.5, math.nan, math.inf, True, False, [], {}, object, "\ud800", "\0", "2020"]
TEXTS = st.text(max_size=40) | st.text("0123456789-:. TZ+abcdef{}", max_size=40)


def spoiled(texts: Any) -> Any:
    """Texts of a form, and texts that are nearly of it."""

    def spoil(text: str, at: int, replacement: str) -> str:
        at %= len(text) + 1
        return text[:at] + replacement + text[at + 1 :]

    return texts | st.builds(spoil, texts, st.integers(0, 60), st.text(max_size=1) | st.sampled_from("0 -:.9"))


# --- dates and times

DATES = st.dates().map(str)
TIMES = st.times().map(str)
MOMENTS = st.builds(
    lambda moment, separator, precision: moment.isoformat(separator, precision),
    st.datetimes(),
    st.sampled_from(" T"),
    st.sampled_from(["auto", "seconds", "microseconds", "milliseconds", "minutes", "hours"]),
)
OFFSETS = st.sampled_from(["", "Z", "+00:00", "+01:00", "-03:30", "+0530", "+05", " "])


@GENERATED
@given(value=spoiled(DATES) | st.dates() | st.datetimes() | TEXTS)
def test_dates(value: Any) -> None:
    check(column("day"), CONNECTION, [value])


@GENERATED
@given(value=spoiled(TIMES) | st.times() | TEXTS)
def test_times(value: Any) -> None:
    check(column("hour"), CONNECTION, [value])


@GENERATED
@given(
    value=spoiled(st.builds(str.__add__, MOMENTS, OFFSETS))
    | st.datetimes(timezones=st.none() | st.timezones())
    | TEXTS,
    zone=st.sampled_from(ZONES),
    is_aware=st.booleans(),
)
def test_datetimes(value: Any, zone: str | None, is_aware: bool) -> None:
    with override_settings(USE_TZ=is_aware):
        check(column("moment"), sqlite(time_zone=zone), [value])


def test_moments_that_come_twice_or_never() -> None:
    """Where clocks change: both folds, as text and as values."""
    connection = sqlite(time_zone="Europe/Berlin")
    moments = [datetime.datetime(2021, month, day, 2, 30) for month, day in ((3, 28), (10, 31))]
    folded = [moment.replace(fold=1) for moment in moments]
    check(column("moment"), connection, [*moments, *folded, *map(str, moments)], True)


def test_the_ends_of_time() -> None:
    first, last = datetime.datetime.min, datetime.datetime.max
    check(column("moment"), CONNECTION, [first, last, str(first), str(last)], True)
    check(column("day"), CONNECTION, ["0001-01-01", "9999-12-31", "2000-02-29", "2024-02-29"], True)
    check(
        column("day"),
        CONNECTION,
        ["0000-01-01", "1900-02-29", "2023-02-29", "2023-13-01", "2023-04-31", "2023-1-1"],
        False,
    )
    check(column("hour"), CONNECTION, ["00:00:00", "23:59:59.999999"], True)
    check(column("hour"), CONNECTION, ["24:00:00", "23:60:00", "23:59:60", "1:2:3", "12:30", "12:30:00.5"], False)


@GENERATED
@given(value=st.integers() | st.timedeltas() | TEXTS)
def test_durations(value: Any) -> None:
    check(column("took"), CONNECTION, [value])


def test_durations_at_the_limits() -> None:
    limits = [0, 1, -1, 999_999, 1_000_000, -1_000_000, 86_400_000_000, -86_400_000_001, 2**63 - 1, -(2**63)]
    check(column("took"), CONNECTION, limits, True)
    check(column("took"), CONNECTION, [2**63, -(2**63) - 1, 10**30], False)


# --- numbers


def price(max_digits: int, places: int) -> Any:
    field = models.DecimalField(max_digits=max_digits, decimal_places=places)
    field.set_attributes_from_name("price")
    field.model = Sheet
    return models.expressions.Col("sheet", field)


@GENERATED
@given(data=st.data(), max_digits=st.integers(1, 38))
def test_decimals(data: Any, max_digits: int) -> None:
    places = data.draw(st.integers(0, max_digits))
    fitting = st.integers(-(10**max_digits) + 1, 10**max_digits - 1).map(lambda n: decimal.Decimal(n).scaleb(-places))
    value = data.draw(
        fitting.map(float)
        | fitting.map(str)
        | st.floats()
        | st.floats(-1000, 1000)
        | st.integers(-(10**max_digits), 10**max_digits)
        | st.integers()
        | TEXTS
    )
    check(price(max_digits, places), CONNECTION, [value])


def test_usual_decimals_are_converted_natively() -> None:
    amounts = [0.0, 0.5, 19.99, -19.99, 0.01, -0.01, 1234.56, 99999.99, 3, 0, -7, 100000.0 - 0.01]
    check(price(7, 2), CONNECTION, amounts, True)
    check(price(15, 15), CONNECTION, [0.1, 0.123456789012345, 1e-15], True)
    check(price(20, 0), CONNECTION, [1.0, 123456.0, -5, 0], True)
    for digits, places in ((10, 2), (19, 0), (38, 15)):
        check(price(digits, places), CONNECTION, [2**63 - 1, -(2**63), -(2**63) + 1, 10**15, -(10**15)], False)
    # More digits than there are places or in all, negative zero, no number.
    check(price(7, 2), CONNECTION, [0.005, 1.005, 100000.0, 100000, -0.0, math.nan, math.inf, 1e300, 5e-324], False)


def test_every_price_up_to_a_thousand() -> None:
    check(price(8, 2), CONNECTION, [cents / 100 for cents in range(-1000, 100_000, 7)], True)


@GENERATED
@given(value=st.integers() | st.floats() | st.booleans() | TEXTS)
def test_booleans(value: Any) -> None:
    check(column("flag"), CONNECTION, [value])


def test_booleans_of_integers() -> None:
    check(column("flag"), CONNECTION, [0, 1, True, False, None, 2, -1, 2**80], True)


@GENERATED
@given(value=st.integers() | st.floats() | st.booleans() | st.decimals() | TEXTS)
@pytest.mark.parametrize(
    "output", [models.FloatField(), models.IntegerField(), models.DecimalField(max_digits=9, decimal_places=2)]
)
def test_values_of_expressions(output: Any, value: Any) -> None:
    check(models.ExpressionWrapper(models.F("big"), output_field=output), CONNECTION, [value])


# --- UUIDs


@GENERATED
@given(value=st.uuids().flatmap(lambda one: spoiled(st.sampled_from(uuid_forms(one)))) | TEXTS)
def test_uuids(value: Any) -> None:
    check(column("other_key"), CONNECTION, [value])


def uuid_forms(one: uuid.UUID) -> list[str]:
    text = str(one)
    return [one.hex, text, one.hex.upper(), text.upper(), f"{{{text}}}", one.urn, f" {text}", text.replace("-", "", 1)]


def test_uuids_as_django_stores_them() -> None:
    ones = [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.UUID(int=1 << 127), uuid.uuid4(), uuid.uuid1()]
    check(column("other_key"), CONNECTION, [form for one in ones for form in uuid_forms(one)[:4]], True)
    check(column("other_key"), CONNECTION, [form for one in ones for form in uuid_forms(one)[4:]], False)


def test_a_uuid_is_whole() -> None:
    given = uuid.uuid4()
    engine = Engine(column("other_key"), CONNECTION)
    into: list[Any] = []
    engine._hydrator.build([(given.hex,)], into)
    [made] = [one.__dict__["text"] for one in into]
    assert (made, hash(made), made.int, made.is_safe) == (given, hash(given), given.int, uuid.SafeUUID.unknown)
    assert made.__reduce__() == given.__reduce__()
    with pytest.raises(TypeError, match="immutable"):
        made.int = 3


# --- JSON

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@GENERATED
@given(
    value=JSON,
    indent=st.none() | st.integers(0, 2),
    is_ascii=st.booleans(),
    spaces=st.text(" \t\n\r\f\xa0", max_size=2),
)
def test_json(value: Any, indent: int | None, is_ascii: bool, spaces: str) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=is_ascii)
    check(column("data"), CONNECTION, [text], True)
    check(column("data"), CONNECTION, [spaces + text, text + spaces, text[:-1], text + "1", text[1:]])


def test_keys_of_one_document_after_another() -> None:
    """The engine keeps some keys for the next document; equal, similar and many keys are not mixed up."""
    documents = [{f"key {i}": i, "k" * i: [i], "": {}, "same": {"same": i}} for i in range(300)]
    check(column("data"), CONNECTION, [json.dumps(document) for document in documents], True)


def test_arrays_and_objects_as_deep_as_may_be() -> None:
    for depth in (10, 63, 64, 65, 66, 150):
        texts = ["[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth]
        check(column("data"), CONNECTION, [*texts, *(text[:-1] for text in texts)])


JSON_TEXTS = (
    *(
        '{"a": 1, "a": 2}',
        '"\\ud83d\\ude00 \\ud800"',
        '"\ud800"',
        "NaN",
        "-Infinity",
        "Infinity",
        "1e400",
        "-0",
        "-0.0",
    ),
    *("1" * 5000, "0.1e-5", "[1, 2, [3, {}]]", " \n[ ]\t", "true", "null", "12345678901234567890123", '"\\u0000"'),
)
NO_JSON = ("", " ", "\ufeff1", "[1,]", "{a: 1}", "'a'", '"a\nb"', "1 2", "nul", "[", "\xa01", "[" * 100_000, "01", "+1")


def test_texts_that_are_json_or_not() -> None:
    check(column("data"), CONNECTION, JSON_TEXTS[:9] + JSON_TEXTS[10:], True)
    check(column("data"), CONNECTION, JSON_TEXTS)
    check(column("data"), CONNECTION, NO_JSON, False)
    check(KeyTransform("a", column("data")), CONNECTION, [*JSON_TEXTS, *NO_JSON, 1, 1.5, None])


# --- what no type of column has


@pytest.mark.parametrize("name", ["flag", "price", "day", "moment", "hour", "took", "data", "other_key"])
def test_nulls_and_odd_values(name: str) -> None:
    assert Engine(column(name), CONNECTION).is_native
    check(column(name), CONNECTION, [None], True)
    subclasses = [type(f"Own{cls.__name__}", (cls,), {})("1") for cls in (str, int, float)]
    check(column(name), CONNECTION, [*ODD, *subclasses, uuid.uuid4(), decimal.Decimal(1), datetime.timedelta(1)])


# --- MySQL and MariaDB, where their driver is installed


def backends() -> list[Any]:
    if importlib.util.find_spec("MySQLdb") is None:
        return [CONNECTION]
    from django.db.backends.mysql.base import DatabaseWrapper as MySQL

    return [CONNECTION, sqlite(MySQL), sqlite(MySQL, "Europe/Berlin")]


@pytest.mark.parametrize("connection", backends(), ids=lambda one: f"{one.vendor}-{one.timezone_name}")
def test_converters_of_every_backend(connection: Any) -> None:
    check(column("flag"), connection, [0, 1, True, False, None, 2, -1], True)
    check(column("flag"), connection, [1.0, "1", b"", decimal.Decimal(1)], False)
    check(column("other_key"), connection, [uuid.uuid4().hex, str(uuid.uuid4()), None], True)
    check(column("other_key"), connection, ["", "x", 3, b"1", uuid.uuid4()], False)
    check(column("data"), connection, ['{"a": [1, 2.5, null]}', None], True)
    moments = [datetime.datetime(2020, 2, 29, 1, 2, 3, 4), datetime.datetime(2021, 10, 31, 2, 30, fold=1), None]
    for is_aware in (True, False):
        with override_settings(USE_TZ=is_aware):
            check(column("moment"), connection, moments)
            check(column("moment"), connection, ["2020-01-01 00:00:00", "x", 3, moments[0].astimezone()])
    check(column("moment"), connection, moments, True)
    check(column("took"), connection, [0, -1, 10**12, None], True)


# --- converters that are not, or no longer, Django's own


class WithOwnConverters(DatabaseWrapper):
    class ops_class(operations.DatabaseOperations):  # noqa: N801
        def convert_uuidfield_value(self, value: Any, expression: Any, connection: Any) -> Any:
            return ("own", value)

        def convert_datefield_value(self, value: Any, expression: Any, connection: Any) -> Any:
            return super().convert_datefield_value(value, expression, connection)


class WithOwnTimeZone(DatabaseWrapper):
    zone = zoneinfo.ZoneInfo("Asia/Tokyo")

    @property
    def timezone(self) -> Any:
        return self.zone


def test_a_backend_s_own_converters_run() -> None:
    connection = sqlite(WithOwnConverters)
    for name, value in (("other_key", uuid.uuid4().hex), ("day", "2020-01-01")):
        check(column(name), connection, [value], False)
    check(column("moment"), connection, ["2020-01-01 00:00:00"], True)
    check(column("moment"), sqlite(WithOwnTimeZone), ["2020-01-01 00:00:00"], False)


def given_an_own(name: str) -> Any:
    stock = getattr(operations.DatabaseOperations, name)

    def own(self: Any, *arguments: Any) -> Any:
        return ("own", stock(self, *arguments))

    return mock.patch.object(operations.DatabaseOperations, name, own)


@contextmanager
def with_default_context(name: str, value: Any) -> Iterator[None]:
    before = getattr(decimal.DefaultContext, name)
    setattr(decimal.DefaultContext, name, value)
    try:
        yield
    finally:
        setattr(decimal.DefaultContext, name, before)


@pytest.mark.parametrize(
    ("name", "value", "patch"),
    [
        ("other_key", "12" * 16, lambda: given_an_own("convert_uuidfield_value")),
        ("flag", 1, lambda: given_an_own("convert_booleanfield_value")),
        ("moment", "2020-01-01 00:00:00", lambda: mock.patch.object(operations, "parse_datetime", return_value=None)),
        ("moment", "2020-01-01 00:00:00", lambda: mock.patch.object(dateparse, "datetime", mock.MagicMock())),
        ("moment", "2020-01-01 00:00:00", lambda: mock.patch.object(timezone, "make_aware", lambda value, zone: value)),
        ("day", "2020-01-01", lambda: mock.patch.object(operations, "parse_date", lambda text: text)),
        ("hour", "20:01:01", lambda: mock.patch.object(operations, "parse_time", lambda text: text)),
        ("took", 3, lambda: mock.patch("django.db.backends.base.operations.datetime", mock.MagicMock())),
        ("price", 1.5, lambda: mock.patch.object(models.DecimalField, "context", decimal.Context(prec=1))),
        ("price", 1.5, lambda: with_default_context("rounding", decimal.ROUND_UP)),
        ("price", 0.1, lambda: with_default_context("Emin", -1)),
        ("data", "[1]", lambda: mock.patch.object(json, "loads", lambda text, cls: text)),
        ("data", "[1]", lambda: mock.patch.object(json.JSONDecoder, "decode", lambda self, text: text)),
        ("data", "[1]", lambda: mock.patch.object(models.JSONField, "from_db_value", return_value="own")),
        ("other_key", "12" * 16, lambda: mock.patch.object(uuid.UUID, "__init__", return_value=None)),
    ],
)
def test_patches_are_followed(name: str, value: Any, patch: Any) -> None:
    expression = column(name)
    vars(expression.output_field).pop("context", None)
    with patch():
        check(expression, CONNECTION, [value], False)
    vars(expression.output_field).pop("context", None)
    check(expression, CONNECTION, [value], True)


def test_another_default_decoder_is_used() -> None:
    with mock.patch.object(json, "_default_decoder", json.JSONDecoder(parse_int=str)):
        check(column("data"), CONNECTION, ["[1]"])


def test_fields_of_their_own() -> None:
    class Upper(models.UUIDField):
        def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
            return str(value).upper()

    class Decoder(json.JSONDecoder):
        def decode(self, text: str) -> Any:
            return ["own", super().decode(text)]

    upper, decoded = Upper(), models.JSONField(decoder=Decoder)
    for field in (upper, decoded):
        field.set_attributes_from_name("own")
        field.model = Sheet
    check(models.expressions.Col("sheet", upper), CONNECTION, [uuid.uuid4().hex], False)
    check(models.expressions.Col("sheet", decoded), CONNECTION, ["[1]"], False)


def test_zones_of_other_classes_are_left_to_django() -> None:
    """Such as those of pytz: Django makes a value aware by their `localize()`."""

    class Zone(datetime.tzinfo):
        def utcoffset(self, moment: Any) -> Any:
            return datetime.timedelta(hours=1)

    connection = sqlite()
    connection.__dict__["timezone"] = Zone()
    check(column("moment"), connection, ["2020-01-01 00:00:00"], False)
    connection.__dict__["timezone"] = zoneinfo.ZoneInfo("Asia/Tokyo")
    check(column("moment"), connection, ["2020-01-01 00:00:00"], True)


def test_a_bound_method_of_something_else() -> None:
    """A converter is recognised by its identity, not by its name."""

    def convert_uuidfield_value(self: Any, value: Any, expression: Any, connection: Any) -> Any:
        return "own"

    function = types.MethodType(convert_uuidfield_value, CONNECTION.ops)
    assert conversion_of(function, column("other_key")) is None
    assert conversion_of(CONNECTION.ops.convert_uuidfield_value, column("other_key")) == ("uuid",)
