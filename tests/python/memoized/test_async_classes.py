"""memoized() of queryset classes of every kind, read asynchronously."""

from __future__ import annotations

import pytest

from tests.python.conftest import Bookshop
from tests.python.databases import on_one_database
from tests.python.memoized.classes import CLASSES
from tests.python.memoized.ways import ASYNCHRONOUS, WAYS, same_in_both

pytestmark = on_one_database


@pytest.mark.django_db(databases=["default", "other"], transaction=True)
@pytest.mark.parametrize("name", CLASSES)
def test_every_class_is_read_asynchronously_as_under_django(bookshop: Bookshop, name: str) -> None:
    for way in ASYNCHRONOUS:
        same_in_both(CLASSES[name], way, WAYS[way], True)
