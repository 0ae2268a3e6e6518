"""The benchmarks still run: what they measure on a few rows says nothing."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django import get_version

from benchmarks.cpp import end_to_end
from benchmarks.instructions.__main__ import compare, refuse
from benchmarks.measured import Measured
from benchmarks.musts import verdicts
from tests.python.databases import on_one_database

ROOT = Path(__file__).resolve().parents[2]
README = "before\n<!-- from docs/benchmarks.md -->\nold\n<!-- end -->\nafter\n"


@on_one_database
def test_workloads_run_and_are_reported(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(README)
    options = ["--scale", "0.001", "--rounds", "1", "--database", "sqlite"]
    options += ["--workload", "fk", "m2m", "bytes", "chunk-m2m", "--contender", "django", "memoized", "this", "chunks"]
    options += ["--build", str(tmp_path), "--docs", str(tmp_path / "docs"), "--readme", str(readme)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    table = readme.read_text()
    assert table.startswith("before\n")
    assert table.endswith("<!-- end -->\nafter\n")
    assert "| this, `memoized` | **" in table
    assert "old" not in table
    figures = (tmp_path / "docs" / "benchmarks.md").read_text()
    lines = table.split("-->\n")[1].split("<!--")[0].splitlines()
    assert set(lines) < set(figures.splitlines())
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| Django `prefetch_related().iterator()`",
        "| this, `process_chunk`, chunkator",
        "| this, `memoized`",
    ]
    assert "| this, `chunks` | " in figures
    assert (tmp_path / "docs" / "benchmarks.svg").read_text().count("this, memoized") == 2
    assert figures.count("<!-- versions of Python -->\n<!-- end of versions -->\n") == 1
    results = str(tmp_path / "results.json")
    for options in (["--versions", results], []):  # the second run keeps the first one's table of versions
        again = [results, "--docs", str(tmp_path / "docs"), *options]
        subprocess.run([sys.executable, "-m", "benchmarks.report", *again], cwd=ROOT, check=True, capture_output=True)
        page = (tmp_path / "docs" / "benchmarks.md").read_text()
        compared = page.split("<!-- versions of Python -->\n")[1].split("<!-- end of versions -->")[0].splitlines()
        cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in compared]
        assert cells[0][:3] == ["versions", "database", "foreign keys"]
        assert [row[:2] for row in cells[2:]] == [
            [f"Python {platform.python_version()}, Django {get_version()}", "SQLite"]
        ] * 2
        assert re.fullmatch(r"\d+\.\d \(\d.*\)", cells[2][2])
        assert cells[2][-1] == "-"


@pytest.mark.parametrize(("ours", "passed"), [(1826.983, True), (1827.4, True), (1828.0, False), (1827.6, False)])
def test_bytes_of_an_instance_are_whole(ours: float, passed: bool) -> None:
    measured = {
        name: Measured([{"samples": {"per Book": [567.6], "per Edition": [edition]}}])
        for name, edition in (("django", 1826.973), ("memoized", ours))
    }
    assert [verdict.passed for verdict in verdicts({"bytes": measured}, older=False)] == [passed]


@pytest.mark.parametrize(
    ("now", "code", "said"),
    [
        ({"in all": 104.0, "engine": 50.0}, 0, "PASS  nothing grew by more than 5%."),
        ({"in all": 100.0, "engine": 53.0}, 1, "path, engine: 50 before, 53 now (+6.0%)"),
        ({"in all": 106.0, "engine": 40.0}, 1, "path, in all: 100 before, 106 now (+6.0%)"),
    ],
)
def test_what_grew_is_named(now: dict[str, float], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare({"path": {"in all": 100.0, "engine": 50.0}}, {"path": now}, judge=True) == code
    assert said in capsys.readouterr().out


def test_a_path_that_is_not_counted_any_more_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare({"path": {"in all": 100.0}, "gone": {"in all": 1.0}}, {"path": {"in all": 100.0}}, judge=True) == 1
    assert "gone: was not counted" in capsys.readouterr().out


def test_counts_of_other_versions_are_refused() -> None:
    ours = {"Python": "3.12.1", "Django": "6.1"}
    with pytest.raises(SystemExit, match=r"There is a baseline that differs in:\s+Django: 5\.2\s+Use"):
        refuse([{"made with": {"Python": "3.12.1", "Django": "5.2"}}], ours)


def ran(seconds: float, *, queries: int = 200, checksum: int = 1, report: str = "") -> str:
    """What a run of benchmarks/cpp/end_to_end prints."""
    samples = {"seconds": [seconds], "fetching": [seconds / 2]}
    return report + json.dumps({"samples": samples, "queries": queries, "checksum": checksum, "peak_bytes": 2**24})


@pytest.mark.parametrize(
    ("memo", "code"),
    [
        ({"zipf": 0.5, "uniform": 1.0}, [True, True]),
        ({"zipf": 1.0, "uniform": 1.1}, [False, False]),
    ],
)
def test_jobs_with_a_database_are_judged(memo: dict[str, float], code: list[bool]) -> None:
    results: end_to_end.Results = {}
    for workload, seconds in memo.items():
        for slower in (1.5, 1.0):
            end_to_end.add(results, "sqlite", workload, "join", ran(slower, queries=0))
            end_to_end.add(results, "sqlite", workload, "in", ran(slower))
            end_to_end.add(results, "sqlite", workload, "memo", ran(seconds * slower))
    verdicts = end_to_end.musts(results)
    assert [passed for passed, _ in verdicts] == code
    assert f"SQLite, zipf: at least 1.3 times the speed of IN per chunk: {1 / memo['zipf']:.2f};" in verdicts[0][1]
    rows = [line.split() for line in end_to_end.table(results).splitlines()]
    assert ["join", "1.000", "+50%", "2", "-", "-", "16.0", f"{1 / memo['zipf']:.2f}"] in rows
    assert ["memo", f"{memo['uniform']:.3f}", "+50%", "2", "200", "50%", "16.0", "1.00"] in rows


@pytest.mark.parametrize("other", [ran(1.0, checksum=2), ran(1.0, report="UA 3 flights\n")])
def test_jobs_with_other_results_are_refused(other: str) -> None:
    results: end_to_end.Results = {}
    end_to_end.add(results, "sqlite", "flights", "in", ran(1.0, report="UA 2 flights\n"))
    with pytest.raises(SystemExit, match="the job of memo had a different result"):
        end_to_end.add(results, "sqlite", "flights", "memo", other)
