"""The fast part of `make django-suites`, on the Django that is here; and that its comparisons see what differs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
from django.db.models import prefetch_related_objects

from tests.django_suites import expected, runs
from tests.django_suites.expected import FEWER, MORE, Difference
from tests.django_suites.graph import differences, fresh_copies
from tests.django_suites.hydrated import dump
from tests.django_suites.results import FAILED, OK, SKIPPED, Outcome
from tests.django_suites.runs import Run
from tests.python.bookshop.models import Author, Book, Category
from tests.python.conftest import Bookshop
from tests.python.databases import on_one_database

pytestmark = on_one_database

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("mode", ["hydrate", "fresh"])
def test_prefetch_related_suite_runs_as_under_django(mode: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.django_suites", "--python", sys.executable, mode, "prefetch_related"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "as under Django" in done.stdout


# --- the comparison of what is reachable


LOOKUPS = ("author__books", "translator", "categories", "reviews")


def prefetched(books: list[Book]) -> list[Book]:
    copies: list[Book] = fresh_copies(books)
    prefetch_related_objects(copies, *LOOKUPS)
    return copies


def test_copies_are_fresh_and_alike(bookshop: Bookshop) -> None:
    books = list(Book.objects.order_by("pk"))
    first = prefetched([*books, books[0]])
    assert first[0] is first[-1]
    assert first[0] is not books[0]
    assert not books[0]._state.fields_cache
    again = prefetched(first)
    assert again[0]._state.fields_cache["author"] is not first[0]._state.fields_cache["author"]
    assert not list(differences(again, first))


def no_author(book: Any) -> None:
    book._state.fields_cache["author"] = None


def author_not_cached(book: Any) -> None:
    del book._state.fields_cache["author"]


def another_author(book: Any) -> None:
    book._state.fields_cache["author"] = Author.objects.exclude(pk=book.author_id)[0]


def other_name_below(book: Any) -> None:
    book.author.books.all()[0].title = "other"


def from_another_database(book: Any) -> None:
    book.author._state.db = "other"


def one_category_less(book: Any) -> None:
    book.categories.all()._result_cache.pop()


def a_category_twice(book: Any) -> None:
    book.categories.all()._result_cache *= 2


def another_category(book: Any) -> None:
    book.categories.all()._result_cache[0] = Category.objects.exclude(books=book)[0]


def reviews_are_a_list(book: Any) -> None:
    book._prefetched_objects_cache["reviews"] = list(book.reviews.all())


def more_on_the_chunk_itself(book: Any) -> None:
    book._state.fields_cache["publisher"] = book.publisher


def an_attribute_more(book: Any) -> None:
    book.author.note = 1


@pytest.mark.parametrize(
    "change",
    [
        no_author,
        author_not_cached,
        another_author,
        other_name_below,
        from_another_database,
        one_category_less,
        a_category_twice,
        another_category,
        reviews_are_a_list,
        more_on_the_chunk_itself,
        an_attribute_more,
    ],
)
def test_a_change_is_seen(bookshop: Bookshop, change: Callable[[Any], None]) -> None:
    books = list(Book.objects.order_by("pk"))
    ours, theirs = prefetched(books), prefetched(books)
    change(ours[3])
    assert list(differences(ours, theirs))


def test_shared_rows_may_have_more_cached(bookshop: Bookshop) -> None:
    books = list(Book.objects.order_by("pk"))
    ours, theirs = prefetched(books), prefetched(books)
    prefetch_related_objects([book.author for book in ours], "translations")
    assert not list(differences(ours, theirs))


# --- the comparison of rows


def test_rows_are_compared_to_the_order_of_attributes(bookshop: Bookshop) -> None:
    def book() -> Any:
        return Book.objects.select_related("author").order_by("pk")[1]

    assert dump(book()) == dump(book())

    changed = [book() for _ in range(6)]
    changed[0].title = "other"
    changed[1].__dict__["title"] = changed[1].__dict__.pop("title")
    changed[2]._state.__dict__["adding"] = changed[2]._state.__dict__.pop("adding")
    changed[3].author.name = "other"
    changed[4].author._state.fields_cache = {}
    changed[5].pk = str(changed[5].pk)
    for one in changed:
        assert dump(one) != dump(book())


# --- the judgement of a run


def problems_of(now: list[Outcome], stock: list[Outcome]) -> list[str]:
    run = Run("fresh", "6.1.3", now, {outcome.test: outcome for outcome in stock}, {}, 0)
    run.judge(whole=False)
    return run.problems


def test_failing_as_under_django_is_no_problem() -> None:
    assert problems_of([Outcome("a.b.c", FAILED, "x")], [Outcome("a.b.c", FAILED, "x")]) == []


@pytest.mark.parametrize(
    "now",
    [
        [Outcome("a.b.c", FAILED, "Traceback\nAssertionError: 3 != 2")],
        [Outcome("a.b.c", SKIPPED)],
        [],
        [Outcome("a.b.c", OK), Outcome("setUpClass (a.b)", FAILED)],
    ],
)
def test_what_differs_from_django_is_a_problem(now: list[Outcome]) -> None:
    assert len(problems_of(now, [Outcome("a.b.c", OK)])) == 1


def test_listed_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = (Difference("own text", ("a.b.text",)), Difference("two queries", ("a.b.count",), MORE))
    monkeypatch.setattr(expected, "DIFFERENCES", listed)
    stock = [Outcome("a.b.text", OK), Outcome("a.b.count", OK)]
    assert problems_of([Outcome("a.b.text", FAILED), Outcome("a.b.count", OK, permitted=True)], stock) == []
    passing = problems_of([Outcome("a.b.text", OK), Outcome("a.b.count", OK)], stock)
    assert len(passing) == 2
    assert all("must leave the list" in problem for problem in passing)
    # The number of queries may differ, and nothing else.
    assert len(problems_of([Outcome("a.b.text", FAILED), Outcome("a.b.count", FAILED)], stock)) == 1
    other = [Outcome("a.b.d", OK)]
    assert [problem.partition(", but ")[2] for problem in problems_of(other, other)] == ["there is no such test"] * 2


@pytest.mark.parametrize(
    ("queries", "executed", "permitted"),
    [(MORE, 4, True), (MORE, 5, False), (MORE, 2, False), (FEWER, 2, True), (FEWER, 4, False)],
)
def test_number_of_queries(queries: str, executed: int, permitted: bool) -> None:
    assert Difference("", (), queries).permits(3, executed, many_to_many=1) is permitted


def test_share_of_native_lookups() -> None:
    counts = {"native": dict.fromkeys(runs.NATIVE_AT_LEAST, 19), "django": {}}
    run = Run("fresh", "6.1.3", [], {}, counts, 0)
    run.judge(whole=True)
    assert run.problems == []
    counts["django"]["many-to-many"] = {"a reason": 2}
    run.judge(whole=True)
    assert len(run.problems) == 1
