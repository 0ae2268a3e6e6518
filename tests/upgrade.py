"""Installs version 0.1.2, then the given wheel over it, in one environment, and runs the documented examples of 0.1.2.

python tests/upgrade.py dist/*.whl
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NEEDS = ["django-chunkator", "django-seal", "pytest", "pytest-django"]
VERSION = "import importlib.metadata as m; print(m.version('django-memoized-prefetch'))"


def main(wheel: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="upgrade") as directory:
        venv.create(directory, with_pip=True)
        python = str(Path(directory) / "bin" / "python")
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        subprocess.run([*pip, "django-memoized-prefetch==0.1.2", *NEEDS], check=True)
        before = subprocess.check_output([python, "-c", VERSION], text=True).strip()
        subprocess.run([*pip, str(wheel)], check=True)
        after = subprocess.check_output([python, "-c", VERSION], text=True).strip()
        if (before, after) != ("0.1.2", wheel.name.split("-")[1]):
            sys.exit(f"expected 0.1.2 and then the version of {wheel.name}, got {before} and {after}")
        # Only the tests of this tree are on the path.
        subprocess.run(
            [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/python/test_original_examples.py"],
            cwd=ROOT,
            check=True,
        )
        print(f"{before} was replaced by {after}; the examples run")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve())
