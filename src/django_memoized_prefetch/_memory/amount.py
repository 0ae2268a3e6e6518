"""Amounts of memory as users write them."""

from __future__ import annotations

import re
import sys

from .._config import DefaultSize, Size

UNITS = {
    "": 1,
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KIB": 1024,
    "MIB": 1024**2,
    "GIB": 1024**3,
    "TIB": 1024**4,
}

# Room for about ten rows: less keeps nothing, and whoever writes a smaller number means megabytes.
LEAST = 10_000


def amount_of(memory: int | str | None, size: Size, where: str) -> int | None:
    """The bytes that a `memory` argument stands for. Raises ValueError if `lru_cache_size` is given too."""
    if memory is None:
        return None
    if not isinstance(size, DefaultSize):
        msg = f"{where}: give either memory or lru_cache_size, got memory={memory!r} and lru_cache_size={size!r}."
        raise ValueError(msg)
    return parse_bytes(memory, where)


def parse_bytes(amount: int | str, where: str) -> int:
    """
    A number of bytes, from bytes or from a text such as "200 MB" or "1.5 GiB".

    Raises:
        ValueError: It is less than 10 kB, or is no amount of memory.
        TypeError: It is neither an integer nor a text.
    """
    if isinstance(amount, bool) or not isinstance(amount, (int, str)):
        msg = f'{where}: memory must be a number of bytes or a text such as "200 MB", got {amount!r}.'
        raise TypeError(msg)
    number, digits, has_unit = amount, str(amount), False
    if isinstance(amount, str):
        # A comma separates thousands: "1,5 GB" is not 15 GB.
        whole = r"[0-9]{1,3}(?:,[0-9]{3})+|[0-9][0-9_]*"
        match = re.fullmatch(rf"\s*((?:{whole})(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", amount)
        unit = UNITS.get(match[2].upper()) if match else None
        if match is None or unit is None:
            msg = f'{where}: memory must be bytes or a text such as "200 MB" or "1.5 GiB", got {amount!r}.'
            raise ValueError(msg)
        value = float(re.sub("[_,]", "", match[1])) * unit
        number = round(value) if value < sys.maxsize else sys.maxsize
        digits, has_unit = match[1], bool(match[2])
    assert isinstance(number, int)
    if number <= 0:
        msg = f"{where}: memory must be positive, got {amount!r}."
        raise ValueError(msg)
    if number < LEAST:
        hint = 'write for example "200 MB"' if has_unit else f'for megabytes write "{digits} MB"'
        got = f"{amount!r}{'' if has_unit else ', a number of bytes'}; {hint}"
        msg = f"{where}: memory must be at least 10 kB, room for about ten rows, got {got}."
        raise ValueError(msg)
    return number


def in_units(amount: int) -> str:
    """A number of bytes as text, such as "200.0 MB" or "20.0 kB"."""
    if abs(amount) >= UNITS["MB"]:
        return f"{amount / UNITS['MB']:,.1f} MB"
    if abs(amount) >= UNITS["KB"]:
        return f"{amount / UNITS['KB']:.1f} kB"
    return f"{amount} byte{'' if amount == 1 else 's'}"
