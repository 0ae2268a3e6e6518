"""
Recognises Django's own converters, which turn a driver's value into a field's value; a part of `_stock`.

The engine does the same conversions without Python code. A converter is recognised by its identity, and only while all
functions that it would call are the ones that it came with. Otherwise it is called, as by Django.
"""

from __future__ import annotations

import datetime
import decimal
import functools
import json
import types
import uuid
import zoneinfo
from collections.abc import Callable
from json import scanner
from typing import Any

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DecimalField, JSONField, expressions
from django.utils import dateparse, timezone

from ._stock import is_own, static_attribute

# A conversion of the engine: its name and details.
Conversion = tuple[Any, ...]

_SQLITE, _MYSQL, _BASE = (f"django.db.backends.{name}.operations" for name in ("sqlite3", "mysql", "base"))
_CLASSES = {_SQLITE: "DatabaseOperations", _MYSQL: "DatabaseOperations", _BASE: "BaseDatabaseOperations"}
_HEAP_TYPE = 1 << 9  # in `__flags__`: the class was made by Python code
# With another default context, Django's steps on the way to a decimal may round differently.
_CONTEXT = decimal.Context(
    prec=28,
    rounding=decimal.ROUND_HALF_EVEN,
    Emin=-999_999,
    Emax=999_999,
    capitals=1,
    clamp=0,
    traps=[decimal.DivisionByZero, decimal.Overflow, decimal.InvalidOperation],
)
_MOST_PLACES = 15
_UUID = uuid.UUID  # the class that the engine makes


def conversion_of(function: Any, expression: Any) -> Conversion | None:
    """
    The engine's conversion that gives the same values as a converter; None if there is none.

    Args:
        function: One of the converters that a compiler has for an expression.
    """
    if isinstance(function, types.MethodType):
        plain = function.__func__
        if plain is _FROM_JSON:
            return _json(function.__self__)
        if not isinstance(plain, types.FunctionType):
            return None
        module = plain.__globals__.get("__name__", "")
        make = _METHODS.get((module, plain.__name__))
        if make is None or vars(plain.__globals__[_CLASSES[module]]).get(plain.__name__) is not plain:
            return None
        return make(function.__self__, plain.__globals__)
    if isinstance(function, types.FunctionType):
        if function.__globals__ is vars(expressions):
            kept = _UNCHANGED.get(function.__code__)
            return None if kept is None else ("unchanged", kept)
        if function.__code__.co_name == "converter" and function.__globals__.get("__name__") == _SQLITE:
            return _decimal(function, expression)
    return None


# --- whether what a converter uses is what it came with


def _has_own_dates(used: Any) -> bool:
    """Whether a module's `datetime` has the interpreter's classes. Packages such as freezegun replace them."""
    module = used.get("datetime")
    classes = [getattr(module, name, object) for name in ("datetime", "date", "time", "timedelta")]
    return module is datetime and not any(cls.__flags__ & _HEAP_TYPE for cls in classes)


def _parses(used: Any, name: str) -> bool:
    """Whether the module reads dates with Django's own function, and that has its own classes."""
    parse = used.get(name)
    return (
        parse is getattr(dateparse, name) and is_own(parse) and _has_own_dates(used) and _has_own_dates(vars(dateparse))
    )


# --- the converters of the backends


def _datetime(operations: Any, used: Any) -> Conversion | None:
    if not _parses(used, "parse_datetime"):
        return None
    return _in_time_zone(operations, used, reads_text=True)


def _aware_datetime(operations: Any, used: Any) -> Conversion | None:
    return _in_time_zone(operations, used, reads_text=False)


def _in_time_zone(operations: Any, used: Any, reads_text: bool) -> Conversion | None:
    if used.get("settings") is not settings or used.get("timezone") is not timezone:
        return None
    if not settings.USE_TZ:
        return "datetime", None, reads_text
    connection = operations.connection
    if static_attribute(type(connection), "timezone") is not static_attribute(BaseDatabaseWrapper, "timezone"):
        return None
    zone = connection.timezone
    if type(zone) not in (datetime.timezone, zoneinfo.ZoneInfo):  # pytz does more than to set the zone
        return None
    return ("datetime", zone, reads_text) if is_own(timezone.make_aware) and is_own(timezone.is_aware) else None


def _date(_operations: Any, used: Any) -> Conversion | None:
    return ("date",) if _parses(used, "parse_date") else None


def _time(_operations: Any, used: Any) -> Conversion | None:
    return ("time",) if _parses(used, "parse_time") else None


def _duration(_operations: Any, used: Any) -> Conversion | None:
    return ("duration",) if _has_own_dates(used) else None


def _uuid(_operations: Any, used: Any) -> Conversion | None:
    made_by = uuid.UUID.__init__
    own = isinstance(made_by, types.FunctionType) and made_by.__globals__ is vars(uuid) and uuid.UUID is _UUID
    return ("uuid",) if own and used.get("uuid") is uuid and uuid.UUID.__new__ is object.__new__ else None


def _boolean(_operations: Any, used: Any) -> Conversion | None:
    return ("boolean",) if "bool" not in used else None


_METHODS: dict[tuple[str, str], Callable[[Any, Any], Conversion | None]] = {
    (_SQLITE, "convert_datetimefield_value"): _datetime,
    (_SQLITE, "convert_datefield_value"): _date,
    (_SQLITE, "convert_timefield_value"): _time,
    (_SQLITE, "convert_uuidfield_value"): _uuid,
    (_SQLITE, "convert_booleanfield_value"): _boolean,
    (_MYSQL, "convert_datetimefield_value"): _aware_datetime,
    (_MYSQL, "convert_uuidfield_value"): _uuid,
    (_MYSQL, "convert_booleanfield_value"): _boolean,
    (_BASE, "convert_durationfield_value"): _duration,
}


@functools.lru_cache(maxsize=16)
def _converters_made_by(function: Any) -> frozenset[types.CodeType]:
    """The code of the converters that a function of Django defines and returns; empty if it is not Django's."""
    codes = [code for code in function.__code__.co_consts if isinstance(code, types.CodeType)]
    return frozenset(code for code in codes if code.co_name == "converter") if is_own(function) else frozenset()


def _decimal(function: types.FunctionType, expression: Any) -> Conversion | None:
    """SQLite's converter of decimals is made for each column, and has its last place in a cell."""
    used = function.__globals__
    operations = used["DatabaseOperations"]
    if function.__code__ not in _converters_made_by(operations.get_decimalfield_converter):
        return None
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or ()))
    if "quantize_value" not in cells or used.get("decimal") is not decimal:
        return None
    if "self" in cells:  # since Django 6.1 it calls a method
        owner = type(cells["self"].cell_contents)
        if static_attribute(owner, "_create_decimal") is not vars(operations).get("_create_decimal"):
            return None
        if not is_own(static_attribute(owner, "_create_decimal")):
            return None
    last_place = cells["quantize_value"].cell_contents
    field = expression.output_field
    if static_attribute(type(field), "context") is not static_attribute(DecimalField, "context"):
        return None
    context, places = field.context, -last_place.as_tuple().exponent
    if type(last_place) is not decimal.Decimal or not 0 <= places <= _MOST_PLACES:
        return None
    usual = (_CONTEXT.rounding, _CONTEXT.Emin, _CONTEXT.Emax, _CONTEXT.clamp, _CONTEXT.traps)
    for one in (context, decimal.DefaultContext):
        if type(one) is not decimal.Context or (one.rounding, one.Emin, one.Emax, one.clamp, one.traps) != usual:
            return None
    return "decimal", decimal.Decimal, places, context.prec


# --- the converters of fields and expressions

_FROM_JSON = JSONField.__dict__["from_db_value"]
_SCANNER = vars(scanner)["c_make_scanner"]  # None without the accelerator
_LOADS, _DECODE, _RAW_DECODE = json.loads, json.JSONDecoder.decode, json.JSONDecoder.raw_decode
# They may have been patched before this module was imported.
_HAS_OWN_JSON = all(
    isinstance(function, types.FunctionType) and function.__globals__.get("__name__") in ("json", "json.decoder")
    for function in (_LOADS, _DECODE, _RAW_DECODE)
)


def _json(field: Any) -> Conversion | None:
    if not is_own(_FROM_JSON) or field.decoder is not None or _FROM_JSON.__globals__.get("json") is not json:
        return None
    decoder: Any = json._default_decoder
    own = (
        _HAS_OWN_JSON
        and json.loads is _LOADS
        and type(decoder) is json.JSONDecoder
        and (json.JSONDecoder.decode, json.JSONDecoder.raw_decode) == (_DECODE, _RAW_DECODE)
        and not vars(decoder).keys() & {"decode", "raw_decode"}
    )
    scan = decoder.scan_once
    if not own or _SCANNER is None or type(scan) is not _SCANNER:
        return None
    hooks = (scan.object_hook, scan.object_pairs_hook, scan.parse_float, scan.parse_int)
    return "json", scan, scan.strict and hooks == (None, None, float, int)


def _conversions_of_expressions() -> dict[types.CodeType, type]:
    """The lambdas of `convert_value` that return a value of the right type unchanged, with that type."""
    made_by: Any = static_attribute(expressions.BaseExpression, "convert_value")
    function = getattr(made_by, "func", None)
    if not isinstance(function, types.FunctionType) or not is_own(function):
        return {}
    kinds = {"float": float, "int": int, "Decimal": decimal.Decimal}
    found = {}
    for code in function.__code__.co_consts:
        if isinstance(code, types.CodeType) and len(code.co_names) == 1 and code.co_names[0] in kinds:
            found[code] = kinds[code.co_names[0]]
    return found


_UNCHANGED: dict[types.CodeType, type] = _conversions_of_expressions()
