"""The benchmarks still run: what they measure on a few rows says nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = "before\n<!-- from docs/benchmarks.md -->\nold\n<!-- end -->\nafter\n"


@pytest.mark.skipif(bool(os.environ.get("DATABASE_URL")), reason="runs on SQLite of its own")
def test_workloads_run_and_are_reported(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(README)
    options = ["--scale", "0.001", "--rounds", "1", "--database", "sqlite"]
    options += ["--workload", "fk", "m2m", "bytes", "chunk-m2m", "--contender", "django", "memoized", "this"]
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
    assert table.split("-->\n")[1].split("<!--")[0] in (tmp_path / "docs" / "benchmarks.md").read_text()
    assert (tmp_path / "docs" / "benchmarks.svg").read_text().count("this, memoized") == 2
    assert (tmp_path / "results.json").exists()
