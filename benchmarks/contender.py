"""One run of one contender in a process of its own: `python -m benchmarks.contender WORKLOAD CONTENDER DATABASE`.

Prints a line of JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from .workloads import ORIGINAL_VERSION, OURS, WORKLOADS


def main(workload: str, contender: str, database: str) -> None:
    if contender == "original" or contender in OURS:
        version = metadata.version("django-memoized-prefetch")
        if (version == ORIGINAL_VERSION) != (contender == "original"):
            sys.exit(f"{contender}: found django-memoized-prefetch {version} in {sys.prefix}")
        importlib.import_module("django_memoized_prefetch")
    os.environ["BENCHMARK_DATABASE"] = database
    module = WORKLOADS[workload].module
    if contender == "sqlalchemy":
        module += "_sqlalchemy"
    else:
        os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
        if contender == "auto_prefetch":
            os.environ["BENCHMARK_APP"] = "benchmarks.auto_prefetch_bookshop"
        import django

        django.setup()
    outcome = importlib.import_module(f"benchmarks.{module}").run(workload, contender)
    print(json.dumps({**asdict(outcome), "peak_bytes": peak_bytes()}))


def peak_bytes() -> int:
    # getrusage() starts from the parent's high water mark on Linux; VmHWM is this program's own.
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
