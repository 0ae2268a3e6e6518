"""plan_prefetch: what it prints, and what it says of wrong arguments."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_memoized_prefetch import MemoizedPrefetch
from django_memoized_prefetch.management.commands.plan_prefetch import Command
from tests.python.bookshop.models import Book
from tests.python.conftest import FIRST_KEY
from tests.python.databases import on_one_database
from tests.python.lookahead.library import fill_library
from tests.python.queries import query_count

pytestmark = on_one_database


def told(*arguments: str, **options: Any) -> str:
    output = io.StringIO()
    call_command(Command(stdout=output, stderr=io.StringIO()), *arguments, **options)
    return output.getvalue()


def test_it_prints_the_plan() -> None:
    fill_library(1)
    text = told("bookshop.Book", "author", "publisher", "--chunk-size", "20", "--lru-cache-size", "5")
    plan = MemoizedPrefetch("author", "publisher", lru_cache_size=5).plan(Book.objects.all(), 20)
    assert text.rstrip() == str(plan)


def test_it_finds_sizes() -> None:
    fill_library(2)
    text = told("bookshop.Book", "author", "--memory", "10 kB")
    assert "the best within 10 kB: lru_cache_size={'Author': " in text
    text = told("bookshop.Book", "author", "--memory", "1 MB", "--rows", "60", "--chunk-size", "20")
    assert (
        "the best within 1 MB for the first 60 rows; what they leave is shared out: lru_cache_size={'Author': " in text
    )


def test_it_prints_json() -> None:
    fill_library(3)
    figures = json.loads(
        told("bookshop.book", "author", "--json", "--memory", "1 MB", "--rows", "50", "--chunk-size", "9")
    )
    assert figures["rows"] == 50
    assert figures["sizes"].keys() == figures["tables"].keys() == {"Author"}


def test_conditions_and_order() -> None:
    fill_library(4)
    arguments = ["--filter", f"pk__gte={FIRST_KEY + 20}", "--filter", "translator__isnull=true", "--order-by=-pk"]
    rows = Book.objects.filter(pk__gte=FIRST_KEY + 20, translator__isnull=True).order_by("-pk")
    assert told("bookshop.Book", "author", *arguments).rstrip() == str(MemoizedPrefetch("author").plan(rows))
    some = f"pk__in={FIRST_KEY + 1},{FIRST_KEY + 2}"
    assert told("bookshop.Book", "author", "--filter", some).startswith("2 rows of Book")
    assert told("bookshop.Book", "author", "--database", "other").startswith("0 rows of Book")


def test_it_draws(tmp_path: Path) -> None:
    fill_library(5)
    file = tmp_path / "curves.svg"
    told("bookshop.Book", "author", "--svg", str(file))
    assert "<svg" in file.read_text()


def test_it_cannot_draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with query_count(0), pytest.raises(CommandError, match="--svg: there is no directory /nowhere"):
        told("bookshop.Book", "author", "--svg", "/nowhere/curves.svg")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with query_count(0), pytest.raises(CommandError, match=r'pip install "django-memoized-prefetch\[plot\]"'):
        told("bookshop.Book", "author", "--svg", str(tmp_path / "curves.svg"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bookshop.Bok", "author"], "there is no model 'bookshop.Bok'; did you mean 'bookshop.Book'?"),
        (["Book", "author"], "did you mean 'bookshop.Book'?"),
        (["bookshop.Book", "auther"], "did you mean 'author'"),
        (["bookshop.Book", "author", "--filter", "title"], "--filter must be FIELD=VALUE"),
        (["bookshop.Book", "author", "--filter", "nothing=1"], "Cannot resolve keyword 'nothing'"),
        (["bookshop.Book", "author", "--filter", "pk=x"], "expected a number but got 'x'"),
        (["bookshop.Book", "author", "--filter", "author__isnull=perhaps"], "must be true or false"),
        (["bookshop.Book", "author", "--order-by", "nothing"], "Cannot resolve keyword 'nothing'"),
        (["bookshop.Book", "author", "--chunk-size", "0"], "chunk_size must be at least 1"),
        (["bookshop.Book", "author", "--memory", "much"], "--memory: memory must be bytes or a text such as"),
        (["bookshop.Book", "author", "--memory", "20"], 'write "20 MB"'),
        (["bookshop.Book"], "the following arguments are required: lookups"),
        (["bookshop.Book", "author", "--database", "none"], "there is no database 'none'; databases: default, other"),
        (["bookshop.Book", "author", "--svg", "."], "Is a directory: '.'"),
    ],
)
def test_wrong_arguments(arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError) as error:
        told(*arguments)
    assert message in str(error.value)


def run_module(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {"DJANGO_SETTINGS_MODULE": "", "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment}
    command = [sys.executable, "-m", "django_memoized_prefetch", *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def test_without_the_app() -> None:
    done = run_module("plan", "bookshop.Book", "auther", "--settings", "tests.python.settings")
    assert done.returncode == 1
    assert "did you mean 'author'" in done.stderr
    assert run_module().stderr.startswith("usage: python -m django_memoized_prefetch plan")
    assert run_module("paln").returncode == 2
    done = run_module("plan", "bookshop.Book", "author")
    assert done.returncode == 1
    assert "DJANGO_SETTINGS_MODULE" in done.stderr
    assert run_module("plan", "--settings", "nowhere", "a.B", "c").stderr.startswith("No module named 'nowhere'")
    done = run_module("plan", "--help")
    assert done.returncode == 0
    assert "--chunk-size N" in done.stdout


def test_as_an_app(tmp_path: Path) -> None:
    (tmp_path / "with_app.py").write_text(
        "from tests.python.settings import *\nINSTALLED_APPS = ['django_memoized_prefetch', *INSTALLED_APPS]\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "with_app", "PYTHONPATH": path}
    command = [sys.executable, "-m", "django", "plan_prefetch", "bookshop.Book", "auther"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "CommandError" in done.stderr
    assert "did you mean 'author'" in done.stderr
