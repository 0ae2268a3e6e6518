"""
Runs the recipes of docs/scale-out.md on the real engines; `make scale-out` calls it.

    python -m tests.scale_out                  every engine
    python -m tests.scale_out celery dask      these
    python -m tests.scale_out --here celery    with the running Python, which has what they need
"""

from __future__ import annotations

import argparse
import signal
import sys
import traceback
from pathlib import Path

from tests.matrix import build_wheel, install_into, interpreters
from tests.run import ROOT, SIGNALS, heading, interrupt
from tests.scale_out.check import check
from tests.scale_out.engines import ENGINES

HOME = ROOT / "build" / "scale-out"
# django.tasks needs Django 6, which needs Python 3.12. Ray is late with newer ones.
PYTHONS = ("3.12", "3.13")


def environment() -> Path:
    """The Python of an environment with all engines and a wheel of the current sources."""
    here = interpreters()
    version = next((one for one in PYTHONS if one in here), None)
    if version is None:
        raise SystemExit(f"make scale-out needs Python {' or '.join(PYTHONS)}; script/bootstrap --pythons lists yours.")
    heading(f"Building for Python {version}")
    builder, wheel = build_wheel(version, here[version])
    return install_into(HOME, builder, wheel, "django>=6.0", "--group", "scale-out")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.scale_out", description=__doc__.strip().splitlines()[0])
    parser.add_argument("engines", nargs="*", metavar="engine", help=", ".join(ENGINES))
    parser.add_argument("--here", action="store_true", help="use the running Python")
    arguments = parser.parse_args()
    if unknown := set(arguments.engines) - set(ENGINES):
        parser.error(f"no such engine: {', '.join(sorted(unknown))}; there are {', '.join(ENGINES)}")
    for number in SIGNALS:
        signal.signal(number, interrupt)
    python = sys.executable if arguments.here else str(environment())
    failed = []
    for name in arguments.engines or ENGINES:
        heading(name)
        try:
            print(check(ENGINES[name](python)), flush=True)
        except AssertionError:
            traceback.print_exc()
            failed.append(name)
    heading("Summary")
    print(f"{len(arguments.engines or ENGINES) - len(failed)} passed, {len(failed)} failed {' '.join(failed)}".rstrip())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
