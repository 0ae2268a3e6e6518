"""
Runs third-party packages with this package, and compares with Django; `make third-party` calls it.

    python -m tests.third_party                        every Django and package
    python -m tests.third_party 4.2 django-taggit      these
    python -m tests.third_party --mode self-check      Django in place of this package: must not differ
    python -m tests.third_party --mode mutants         deliberate wrong answers: all must be found

Environments are kept in build/third-party. To get a newer version of a package, delete its folder there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.matrix import interpreters
from tests.run import JOBS, ROOT, heading
from tests.third_party.environments import PYTHONS, Base, existing_base, install, make_base, reason
from tests.third_party.listed import MODES, OURS, PACKAGES
from tests.third_party.report import Result

# A package that hangs must not hold up the others.
SECONDS = 300


def run(base: Base, name: str, mode: str) -> Result:
    """Runs the package's situations in their own process."""
    python = install(base, name)
    if python is None:
        return Result(name, base.django, refused=f"cannot be installed: {reason(base, name)}")
    report, log = python.parents[2] / f"{mode}.json", python.parents[2] / f"{mode}.log"
    report.unlink(missing_ok=True)
    # Write no bytecode beside the sources, and give sets a fixed order.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    command = [str(python), "-m", "tests.third_party.child", name, mode, str(report)]
    with log.open("w") as output:
        try:
            ended = subprocess.run(
                command, cwd=ROOT, env=environment, stdout=output, stderr=output, check=False, timeout=SECONDS
            ).returncode
        except subprocess.TimeoutExpired:
            return Result(name, base.django, failed=f"still running after {SECONDS} s; see {log}")
    if not report.exists():
        return Result(name, base.django, failed=f"ended with {ended}; see {log}")
    return read(name, base.django, report)


def read(name: str, django: str, report: Path) -> Result:
    found = json.loads(report.read_text())
    if "refused" in found:
        # An error that is not listed may be a mistake in the package's module here.
        is_known = PACKAGES[name].refuses.get(django, "nothing") in found["refused"]
        return Result(name, django, found["version"], **{"refused" if is_known else "failed": found["refused"]})
    return Result(name, django, found["version"], situations=found["situations"], ran=tuple(found["found"]))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.third_party", description=__doc__.split("\n\n")[0].strip())
    parser.add_argument("what", nargs="*", help="versions of Django and packages; all, when there are none")
    parser.add_argument("--mode", choices=MODES, default=OURS)
    parser.add_argument("--as-built", action="store_true", help="with what an earlier run has installed")
    options = parser.parse_args(arguments)
    if unknown := set(options.what) - {*PYTHONS, *PACKAGES}:
        parser.error(f"no such version or package: {', '.join(sorted(unknown))}")
    versions = [version for version in PYTHONS if version in options.what] or list(PYTHONS)
    names = [name for name in PACKAGES if name in options.what] or list(PACKAGES)
    here = interpreters()
    if missing := [PYTHONS[version] for version in versions if PYTHONS[version] not in here]:
        sys.exit(f"There is no Python {' and '.join(missing)} here.")

    results: list[Result] = []
    start = time.monotonic()
    for version in versions:
        base = existing_base(version) if options.as_built else make_base(version, here[PYTHONS[version]])
        heading(f"Django {base.exact}, {options.mode}")
        with ThreadPoolExecutor(int(JOBS)) as pool:
            for result in pool.map(lambda name, base=base: run(base, name, options.mode), names):
                print(result.line(), flush=True)
                results.append(result)
    heading("Third-party packages")
    for result in results:
        for line in result.details():
            print(line)
    unwell = [result for result in results if not result.is_well]
    refused = sum(bool(result.refused) for result in results)
    print(
        f"{len(results)} packages and Djangos in {time.monotonic() - start:.0f} s: {len(unwell)} with differences, "
        f"{refused} that do not run together"
    )
    return 1 if unwell or refused == len(results) else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        sys.exit(130)
