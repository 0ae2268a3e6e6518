"""Columns whose values are equal for the database and not for Python, or the other way round."""

from __future__ import annotations

import datetime
import math
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connection, connections, models

from tests.python.databases import MARIADB, POSTGRESQL, SQLITE

EVERYWHERE = (SQLITE, POSTGRESQL, MARIADB)


class NumberInText(models.IntegerField):  # type: ignore[misc]
    """Integers that an old schema keeps as text."""

    def db_type(self, connection: Any) -> str:
        return "varchar(20)"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return None if value is None else int(value)

    def get_prep_value(self, value: Any) -> Any:
        return None if value is None else str(int(value))


class Lowered(models.CharField):  # type: ignore[misc]
    """Text that Python sees without its case."""

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return None if value is None else value.lower()


class Prefixed(models.CharField):  # type: ignore[misc]
    """Text that Python sees without what stands before each value in the column."""

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return None if value is None else value[2:]

    def get_prep_value(self, value: Any) -> Any:
        return None if value is None else f"k:{value}"


@dataclass(frozen=True)
class Kind:
    """
    A kind of key column.

    Args:
        field: Makes the field of the keys, and of the object ids that generic foreign keys keep.
        keys: What the rows have, different for the database. The first is referred to by itself alone.
        links: What refers to them: the same, what looks alike to the database or to Python, and what is not there.
        raw: The links are written past the field, as the column has them.
        unsaved: What only objects that were never saved have as keys.
        is_paged: By its order, rows can be read in pages of primary keys.
        column_type, link_type: Of the columns of keys, and of those that refer to them. The fields know nothing of
            it, as those of many an old schema; fields that do are left to Django.
        is_own: A field class of the project's own; it is left to Django.
        vendors: The databases that have such columns.
        needs_icu: Of PostgreSQL, one with ICU, which the embedded one is built without.
    """

    field: Callable[..., Any]
    keys: Sequence[Any]
    links: Sequence[Any]
    raw: bool = False
    unsaved: Sequence[Any] = ()
    is_paged: bool = True
    column_type: str = ""
    link_type: str = ""
    is_own: bool = False
    vendors: Sequence[str] = EVERYWHERE
    needs_icu: bool = False

    def stored(self, alias: str) -> list[Any]:
        """The links as the database is given them."""
        if self.raw:
            return list(self.links)
        return [self.field().get_db_prep_save(link, connections[alias]) for link in self.links]


# As citext, which not every PostgreSQL comes with: text whose operators look away from the case.
FOLDED = """
DROP TYPE IF EXISTS folded CASCADE;
CREATE TYPE folded;
CREATE FUNCTION foldedin(cstring) RETURNS folded AS 'textin' LANGUAGE internal IMMUTABLE STRICT;
CREATE FUNCTION foldedout(folded) RETURNS cstring AS 'textout' LANGUAGE internal IMMUTABLE STRICT;
CREATE TYPE folded (INPUT = foldedin, OUTPUT = foldedout, LIKE = text, CATEGORY = 'S', COLLATABLE = true);
CREATE CAST (folded AS text) WITHOUT FUNCTION AS IMPLICIT;
CREATE CAST (text AS folded) WITHOUT FUNCTION AS ASSIGNMENT;
CREATE CAST (varchar AS folded) WITHOUT FUNCTION AS ASSIGNMENT;
"""
for _name, _operator in {"lt": "<", "le": "<=", "eq": "=", "ge": ">=", "gt": ">"}.items():
    FOLDED += f"""
CREATE FUNCTION folded_{_name}(folded, folded) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT
    AS 'SELECT lower($1::text) {_operator} lower($2::text)';
CREATE OPERATOR {_operator} (LEFTARG = folded, RIGHTARG = folded, FUNCTION = folded_{_name});
"""
FOLDED += """
CREATE FUNCTION folded_cmp(folded, folded) RETURNS integer LANGUAGE sql IMMUTABLE STRICT
    AS 'SELECT bttextcmp(lower($1::text), lower($2::text))';
CREATE OPERATOR CLASS folded_ops DEFAULT FOR TYPE folded USING btree AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 folded_cmp(folded, folded);
"""
ICU = """
CREATE COLLATION IF NOT EXISTS lookalike_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE COLLATION IF NOT EXISTS lookalike_base (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
"""


def text(collation: str | None = None, cls: Any = models.CharField) -> Callable[..., Any]:
    return lambda **options: cls(max_length=40, db_collation=collation, **options)


def moment(**options: Any) -> Any:
    return models.DateTimeField(**options)


def of_vendor(**values: str) -> str:
    return values.get(connection.vendor, "")


NOON = datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.timezone.utc)
LATER = NOON + datetime.timedelta(microseconds=400_000)
FIRST, SECOND = uuid.UUID("0a" * 16), uuid.UUID("0b" * 16)
NAN = [math.nan] if connection.vendor == POSTGRESQL else []  # the others have none

CASES = ["zz", "Abc", "abc", "ABC", "DEF", "def", "xyz", "XYZ", "Abc"]
KINDS: dict[str, Kind] = {
    "Case": Kind(
        text("NOCASE" if connection.vendor == SQLITE else None),
        ["zz", "abc", "Def"],
        CASES,
        unsaved=["ABC", "abc"],
        column_type=of_vendor(postgresql="folded"),
    ),
    "Blanks": Kind(
        text("RTRIM" if connection.vendor == SQLITE else None),
        ["zz", "ab", "cd "],
        ["zz", "ab ", "ab", "ab  ", "cd", "cd ", "ef", "ef ", "ab"],
        unsaved=["ab ", "ab"],
        vendors=(SQLITE, MARIADB),
    ),
    "Padded": Kind(
        text(),
        ["zz", "ab", "abcdef", "cd  "],
        ["zz", "ab", "abcdef", "cd", "ef", "ab"],
        link_type="char(6)",
        unsaved=["ab ", "ab"],
    ),
    "Accents": Kind(text(), ["zz", "ete", "naïve"], ["zz", "été", "ete", "ÉTÉ", "naive", "naïve", "ß", "ete"]),
    "Unicode": Kind(
        text(of_vendor(mysql="utf8mb4_unicode_ci", postgresql="lookalike_base")),
        ["zz", "1", "été", "ss"],
        ["zz", "\uff11", "1", "e\u0301te\u0301", "été", "ETE", "ß", "²", "\uff11"],
        vendors=(MARIADB, POSTGRESQL),
        needs_icu=True,
    ),
    "CaseOfIcu": Kind(
        text("lookalike_case"), ["zz", "abc", "Def"], CASES, vendors=(POSTGRESQL,), needs_icu=True, unsaved=["ABC"]
    ),
    "Float": Kind(
        lambda **options: models.FloatField(**options),
        [9.5, 1.5, 0.0, *NAN],
        [9.5, 1.5, -0.0, 0.0, *NAN, 2.5, *NAN, -0.0],
        unsaved=[math.nan, -0.0, 1, True],
    ),
    "Decimal": Kind(
        lambda **options: models.DecimalField(max_digits=6, decimal_places=2, **options),
        [Decimal(9), Decimal("1.5"), Decimal("0.00")],
        [Decimal("9.00"), Decimal("1.50"), Decimal("-0.00"), Decimal(0), Decimal("2.5"), Decimal("1.5")],
        unsaved=[Decimal("1.50"), Decimal("1.500"), Decimal("1.501"), 9, 1.5, "1.5"],
    ),
    "Boolean": Kind(
        lambda **options: models.BooleanField(**options), [True], [True, False, True], unsaved=[1, 0, "t", True]
    ),
    "Date": Kind(
        lambda **options: models.DateField(**options),
        [NOON.date(), datetime.date(2024, 5, 2)],
        [NOON.date(), datetime.date(2024, 5, 3), datetime.date(2024, 5, 2), NOON.date()],
        unsaved=["2024-05-01", NOON.date()],
    ),
    "Microseconds": Kind(moment, [NOON, LATER], [NOON, LATER, NOON.replace(second=1), LATER]),
    "WholeSeconds": Kind(
        moment,
        [NOON.replace(hour=9), NOON],
        [NOON.replace(hour=9), LATER, NOON, LATER],
        unsaved=[LATER, NOON],
        column_type=of_vendor(mysql="datetime", postgresql="timestamptz(0)"),
        link_type=of_vendor(mysql="datetime(6)", postgresql="timestamptz"),
    ),
    "Uuid": Kind(
        lambda **options: models.UUIDField(**options),
        [FIRST, SECOND],
        [FIRST, SECOND, uuid.UUID(int=1), SECOND],
        unsaved=[str(SECOND), SECOND.hex.upper(), SECOND],
    ),
    # Written by other programs, as SQLite and MariaDB up to 10.6 let them.
    "UuidWrittenOtherwise": Kind(
        lambda **options: models.UUIDField(**options),
        [FIRST, SECOND],
        [FIRST.hex, SECOND.hex, SECOND.hex.upper(), str(SECOND), SECOND.hex],
        raw=True,
        vendors=(SQLITE,),
    ),
    "UuidWithDashes": Kind(
        lambda **options: models.UUIDField(**options),
        [FIRST, SECOND],
        [str(FIRST), str(SECOND), str(SECOND).upper(), str(uuid.UUID(int=1)), str(SECOND)],
        raw=True,
        column_type="char(36)",
        vendors=(MARIADB,),
    ),
    "NumberInText": Kind(
        lambda **options: NumberInText(**options),
        [9, 7],
        ["9", "7", "07", "8", "007", "7"],
        raw=True,
        unsaved=["7", 7],
        is_own=True,
        vendors=(SQLITE, MARIADB),
    ),
    "Lowered": Kind(
        text(cls=Lowered),
        ["zz", "abc", "Def"],
        ["zz", "abc", "ABC", "def", "Def", "xyz", "abc"],
        unsaved=["ABC", "abc"],
        is_paged=False,
        is_own=True,
    ),
    "Prefixed": Kind(
        text(cls=Prefixed), ["zz", "abc"], ["zz", "abc", "ABC", "xyz", "abc"], unsaved=["ABC", "abc"], is_own=True
    ),
}
