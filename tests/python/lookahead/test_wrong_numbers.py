"""Numbers of tables, relations and ranks that the engine's look-ahead does not have are errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from django_memoized_prefetch._engine import Lookahead
from tests.python.databases import on_one_database

pytestmark = on_one_database

AUTHORS, BOOKS, LINKS = range(3)  # tables
BOOK, AUTHOR, FRIENDS, TAGS = range(4)  # relations: of the run's rows to one, below it, and to many of either
HUGE = 2**40


def told() -> Lookahead:
    """Three rows, of which each has a book and friends, and each book an author and tags."""
    ahead = Lookahead()
    for _ in (AUTHORS, BOOKS, LINKS):
        ahead.add_table()
    ahead.add_relation(BOOKS, 0)
    ahead.add_relation(AUTHORS, 1, below=BOOK, place=0)
    ahead.add_relation(AUTHORS, 1, to_many=True)
    ahead.add_relation(AUTHORS, 1, below=BOOK, place=1, links=LINKS, to_many=True)
    ahead.read([(1,), (2,), (1,)], [(0, BOOK)])
    ahead.read_below([(1, 10), (2, 20)], BOOKS, [(1, AUTHOR)])
    ahead.read_links([(1, 10), (2, 20), (3, None)], FRIENDS)
    ahead.read_links([(1, 10), (1, 20)], TAGS)
    ahead.read_rows_above([(1,), (2,)], TAGS)
    ahead.end_links(TAGS)
    return ahead


def run(ahead: Lookahead, **others: Any) -> Any:
    arguments: dict[str, Any] = {
        "rows": 3,
        "chunk_size": 2,
        "bounds": [None] * 3,
        "optima": [[2]] * 3,
        "batches": [(None, None, False)] * 2,
        "order": None,
        "curves": True,
    }
    return ahead.run(**{**arguments, **others})


CASES: dict[str, tuple[Callable[[Lookahead], Any], type[Exception], str]] = {
    "relation to an unknown table": (lambda one: one.add_relation(HUGE, 0), IndexError, f"3 tables, got {HUGE}"),
    "relation below itself": (lambda one: one.add_relation(0, 0, 4, 2), IndexError, "4 relations, got 4"),
    "relation with unknown links": (lambda one: one.add_relation(0, 0, BOOK, 2, 3, True), IndexError, "tables, got 3"),
    "relation without a place": (lambda one: one.add_relation(0, 0, BOOK), ValueError, "number of a place, at most 4"),
    "relation at a far place": (lambda one: one.add_relation(0, 0, BOOK, HUGE), ValueError, "number of a place"),
    "place of another table": (lambda one: one.add_relation(0, 0, AUTHOR, 0), ValueError, "place 0, which is of table"),
    "place of the run's rows": (lambda one: one.add_relation(0, 0, place=2), ValueError, "are for relations below"),
    "links of the run's rows": (lambda one: one.add_relation(0, 0, links=2), ValueError, "are for relations below"),
    "rows of an unknown relation": (lambda one: one.read([(1,)], [(0, HUGE)]), IndexError, "4 relations, got"),
    "rows of a relation to many": (lambda one: one.read([(1,)], [(0, TAGS)]), ValueError, "to one row, got relation 3"),
    "below an unknown table": (lambda one: one.read_below([(1,)], 3, []), IndexError, "3 tables, got 3"),
    "below, an unknown relation": (lambda one: one.read_below([(1, 1)], 1, [(1, 4)]), IndexError, "relations, got 4"),
    "below another table": (lambda one: one.read_below([(1, 1)], 0, [(1, AUTHOR)]), ValueError, "rows of table 0, got"),
    "below, one that is not": (lambda one: one.read_below([(9, 1)], 1, [(1, BOOK)]), ValueError, "got relation 0"),
    "below, one to many": (lambda one: one.read_below([(9, 1)], 1, [(1, TAGS)]), ValueError, "one row, got relation 3"),
    "links of an unknown relation": (lambda one: one.read_links([(1, 1)], HUGE), IndexError, "4 relations, got"),
    "links of a relation to one": (lambda one: one.read_links([(1, 1)], BOOK), ValueError, "many rows, got relation 0"),
    "rows above an unknown one": (lambda one: one.read_rows_above([], HUGE), IndexError, "4 relations, got"),
    "rows above the run's rows": (lambda one: one.read_rows_above([], FRIENDS), ValueError, "below another one, got"),
    "end of an unknown one's links": (lambda one: one.end_links(HUGE), IndexError, "4 relations, got"),
    "end of the run's links": (lambda one: one.end_links(FRIENDS), ValueError, "below another one, got relation 2"),
    "end of a relation to one": (lambda one: one.end_links(AUTHOR), ValueError, "many rows, got relation 1"),
    "keys of an unknown table": (lambda one: one.keys(3), IndexError, "3 tables, got 3"),
    "count of an unknown table": (lambda one: one.count(3), IndexError, "3 tables, got 3"),
    "count of an unknown relation": (lambda one: one.rows(HUGE), IndexError, "4 relations, got"),
    "chunks of nothing": (lambda one: run(one, chunk_size=0), ValueError, "chunk size of at least 1, got 0"),
    "too many chunks": (lambda one: run(one, rows=2**64 - 1), ValueError, "fewer than 2.32 chunks"),
    "batches of nothing": (lambda one: run(one, batches=[(1, 0, False)] * 2), ValueError, "at least 1 key, got 0"),
    "few bounds": (lambda one: run(one, bounds=[None]), ValueError, "of 3 tables, got 1 and 3"),
    "few optima": (lambda one: run(one, optima=[[1]]), ValueError, "of 3 tables, got 3 and 1"),
    "order by an unknown one": (lambda one: run(one, order=(HUGE, [0, 1])), IndexError, "4 relations, got"),
    "order by many": (lambda one: run(one, order=(FRIENDS, [0, 1])), ValueError, "to one row, got relation 2"),
    "order by what is below": (lambda one: run(one, order=(AUTHOR, [0, 1])), ValueError, "all 3 rows of the run, got"),
    "order of more rows": (lambda one: run(one, rows=4, order=(BOOK, [0, 1])), ValueError, "all 4 rows of the run"),
    "few ranks": (lambda one: run(one, order=(BOOK, [0])), ValueError, "each of 2 keys, got 1 rank"),
    "a far rank": (lambda one: run(one, order=(BOOK, [0, 2**32 - 1])), ValueError, "a rank below 2 for each"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_number_is_an_error_and_changes_nothing(case: str) -> None:
    call, error, message = CASES[case]
    ahead = told()
    with pytest.raises(error, match=message):
        call(ahead)
    assert run(ahead) == run(told())


def test_chunks_larger_than_any_run() -> None:
    assert run(told(), chunk_size=2**64 - 1) == run(told(), chunk_size=3)


def test_a_right_order_is_taken() -> None:
    for order, fetched in ((None, 3), ((BOOK, [0, 1]), 2), ((BOOK, [1, 0]), 2)):
        tables, _, _ = run(told(), chunk_size=1, bounds=[1] * 3, order=order)
        assert tables[BOOKS][:2] == (3, fetched), "both rows of one book are neighbours only in order"
