"""On which databases a test runs. On others it is not skipped but deselected: there is nothing of theirs to test."""

from __future__ import annotations

import pytest

SQLITE, POSTGRESQL, MARIADB = "sqlite", "postgresql", "mysql"  # as Django names what it takes each of them for


def only_on(*databases: str) -> pytest.MarkDecorator:
    return pytest.mark.only_on(*databases)


# What such a test is about happens in Python, whatever the database answers: once is enough.
on_one_database = only_on(SQLITE)
