"""The demo, end to end on a handful of flights: script/demo itself runs it on all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from django.db import connection

from tests.python.databases import POSTGRESQL, SQLITE, only_on

if TYPE_CHECKING:
    from types import ModuleType

pytestmark = only_on(SQLITE, POSTGRESQL)  # the demo knows no other
EXAMPLES = Path(__file__).parents[2] / "examples"

TABLES = {
    "airlines": ["carrier,name", "AA,American", "B6,JetBlue"],
    "airports": [
        "faa,name,lat,lon,alt,tz,dst,tzone",
        "JFK,Kennedy,40.6,-73.7,13,-5,A,America/New_York",
        "MIA,Miami,25.7,-80.2,8,-5,A,NA",
    ],
    "planes": [
        "tailnum,year,type,manufacturer,model,engines,seats,speed,engine",
        "N1,2003,Fixed wing,BOEING,737,2,149,NA,Turbo-fan",
        "N2,NA,Fixed wing,AIRBUS,A320,2,182,NA,Turbo-fan",
    ],
    "flights": [
        "dep_delay,arr_delay,carrier,flight,tailnum,origin,dest,air_time,distance,minute,time_hour",
        "2,11,AA,1,N1,JFK,MIA,160,1000,5,2013-01-01T10:00:00Z",
        "NA,NA,AA,2,NA,JFK,MIA,NA,1000,59,2013-01-01T11:00:00Z",
        "4,1,AA,3,N404,JFK,SJU,190,1600,0,2013-01-01T12:00:00Z",
        "-1,0,B6,4,N2,JFK,MIA,160,1000,40,2013-01-01T13:00:00Z",
    ],
}
RUN = """
import sys
from pathlib import Path
from flights import __main__ as demo, data
data.COUNTS = {"airlines": 2, "airports": 2, "planes": 2, "pairs of destination and airline": 3}
data.COUNTS_PER_YEAR = {
    "flights": 4,
    "flights without a plane": 1,
    "flights whose plane is not in the table": 1,
    "flights whose destination is not in the table": 1,
}
demo.ROOT = demo.CACHE = Path(sys.argv.pop(1))
demo.CSV_FILES = demo.CACHE / "csv"
sys.exit(demo.main())
"""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    (tmp_path / "csv").mkdir()
    for name, lines in TABLES.items():
        (tmp_path / "csv" / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.fixture
def start(cache: Path, db: None) -> Any:
    """Start the demo on the few flights; on PostgreSQL in the database of this test run."""
    python_path = os.pathsep.join(filter(None, [str(EXAMPLES), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": python_path}
    environment.pop("DATABASE_URL", None)
    # The matplotlib for Python 3.9 uses old names of pyparsing.
    ignored = [f"ignore::DeprecationWarning:matplotlib.{name}" for name in ("_fontconfig_pattern", "_mathtext")]
    environment["PYTHONWARNINGS"] = ",".join(ignored)
    if connection.vendor == POSTGRESQL:
        url = urlsplit(os.environ["DATABASE_URL"])
        environment["DATABASE_URL"] = url._replace(path=f"/{connection.settings_dict['NAME']}").geturl()

    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", RUN, str(cache), *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def own_schemas() -> int:
    if connection.vendor != POSTGRESQL:
        return 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'memoized_prefetch_demo'")
        return cursor.fetchone()[0]


def test_demo_compares_the_contenders(start: Any) -> None:
    for already_loaded in (False, True):
        process = start("--scale", "2")
        output, errors = process.communicate()

        assert (process.returncode, errors) == (0, "")
        assert ("loaded earlier" in output) == (already_loaded and connection.vendor == SQLITE)
        table = {line[:34].strip(): line[34:].split() for line in output.splitlines()}
        assert "All three computed the same:" in output
        # Flights, planes with a known year, their mean age, mean distance, rivals.
        assert "AA American                       6       1      10.0       1,200  1" in output
        assert "B6 JetBlue                        2       0   unknown       1,000  1" in output
        # Django: 1 origin, 1 destination, 2 planes, 2 airlines, 2 pairs.
        assert table["related rows read"][0] == "8"
        assert table["queries"][0] == "6"
        assert all(int(queries) <= 6 for queries in table["queries"])
        assert len(table["seconds, end to end"]) == 3
        assert len(table["times as fast as Django"]) == 2
        assert "prefetch.process_chunk(chunk)" in output
        assert "yield from memoized(flights.prefetch_related(*RELATIONS))" in output
        assert own_schemas() == 0


def test_demo_compares_workers_with_one_process(start: Any, cache: Path) -> None:
    process = start("--scale", "40", "--workers", "2")
    output, errors = process.communicate()

    assert (process.returncode, errors) == (0, "")
    assert "One process and 2 workers computed the same:" in output
    assert "AA American                     120       1      10.0       1,200  1" in output
    table = {line[:24].strip(): line[24:].split() for line in output.splitlines()}
    assert table["one process, all"][:2] == ["1", "160"]
    assert table["all workers"][:2] == ["64", "160"]
    workers = [numbers for name, numbers in table.items() if name.startswith("worker ")]
    assert sum(int(parts) for parts, *_ in workers) == 64
    assert sum(int(flights) for _, flights, *_ in workers) == 160
    # Each worker reads 2 airports, 2 planes, 2 airlines and 2 pairs at most.
    assert all(int(rows) <= 8 for *_, rows in workers)
    assert output.splitlines()[-1] == "Which worker did which part when: workers.svg"
    assert "one box each" in (cache / "workers.svg").read_text()
    assert own_schemas() == 0


def test_stopped_demo_cleans_up(start: Any) -> None:
    process = start()
    for line in process.stdout:
        if line.startswith("  load "):
            break
    assert own_schemas() == (connection.vendor == POSTGRESQL)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()

    assert process.returncode == 128 + signal.SIGTERM
    assert errors == "\nStopped, and cleaned up.\n"
    assert own_schemas() == 0


def test_data_of_other_counts_is_refused(start: Any, cache: Path) -> None:
    (cache / "csv" / "airlines.csv").write_text("carrier,name\nAA,American\nB6,JetBlue\nUA,United\n")
    process = start()
    _, errors = process.communicate()

    assert process.returncode == 1
    assert "3 airlines instead of 2" in errors
    assert own_schemas() == 0


def test_different_results_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from flights import __main__ as demo

    same = {"result": [{"carrier": "AA", "flights": 3}]}
    other = {"result": [{"carrier": "AA", "flights": 2}]}
    with pytest.raises(demo.DemoError, match=r"Django: .*3.*\. memoized: .*2"):
        demo.compare({"django": same, "process_chunk": same, "memoized": other})


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from flights import database

    return database


def test_database_url_is_understood(database: ModuleType) -> None:
    settings = database.connection_settings("postgres://me:se%40cret@example.org:5433/shop?sslmode=require")

    assert settings == {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "example.org",
        "PORT": 5433,
        "NAME": "shop",
        "USER": "me",
        "PASSWORD": "se@cret",
        "OPTIONS": {"sslmode": "require", "options": "-c search_path=memoized_prefetch_demo"},
    }
    assert database.connection_settings("postgresql://postgres:@/postgres?host=/run")["HOST"] == "/run"


def test_password_is_not_shown(database: ModuleType) -> None:
    assert database.without_password("postgres://me:secret@example.org:5433/shop") == "postgres://example.org:5433/shop"
    assert database.without_password("postgres:///shop?host=db&password=secret") == "postgres://db/shop"
