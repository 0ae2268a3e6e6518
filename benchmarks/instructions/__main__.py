"""Counts the instructions of the hot paths and compares them with the baseline: `make bench-check`.

Times are noisy, instructions are not. The instructions of the database's driver are left out. The engine's own are also
compared separately, because Django's work for a query would hide them in the sum.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.bookshop import data

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
BASELINE = HERE / "baseline.json"
BUILD = ROOT / "build" / "bench"
SCALE = 0.02
# More growth than this fails.
MOST = 0.05

Counts = dict[str, dict[str, float]]  # by hot path: instructions per object, in all and in the engine


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--update", action="store_true", help="make what is counted now the baseline")
    parser.add_argument("--baseline", type=Path, default=BASELINE, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("bench-check needs valgrind: script/bootstrap --bench installs it, or says how")
    made_with = versions()
    baselines = json.loads(arguments.baseline.read_text()) if arguments.baseline.exists() else []
    of_these = [one for one in baselines if one["made with"] == made_with]
    if not (of_these or arguments.update):
        refuse(baselines, made_with)
    counts = {
        name: {part: round(value, 1) for part, value in parts.items()}
        for name, parts in {**count_core(), **count_hot_paths()}.items()
    }
    result = compare(of_these[0]["instructions"] if of_these else {}, counts, judge=not arguments.update)
    if arguments.update:
        others = [one for one in baselines if one not in of_these]
        arguments.baseline.write_text(
            json.dumps([*others, {"made with": made_with, "instructions": counts}], indent=2) + "\n"
        )
        print(f"\n{arguments.baseline} has these counts now.")
    return result


# --- comparing


def versions() -> dict[str, str]:
    """Everything outside this repository that the number of instructions depends on."""
    import django

    import django_memoized_prefetch

    engine = Path(django_memoized_prefetch._engine.__file__).read_bytes()
    compiler = re.search(rb"(GCC: \([^)]*\) [\d.]+|[^\0]*clang version [\d.]+)", engine)
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    flags = " ".join(re.findall(r"--(?:enable-optimizations|with-lto|with-pydebug|disable-gil)", options))
    valgrind = subprocess.run(["valgrind", "--version"], stdout=subprocess.PIPE, text=True, check=True)
    return {
        "compiler of the engine": compiler[0].decode() if compiler else "unknown",
        "Python": f"{platform.python_version()}, {platform.python_compiler()}, {flags or 'not optimized'}",
        "Django": django.__version__,
        "C library": " ".join(platform.libc_ver()),
        "machine": platform.machine(),
        "valgrind": valgrind.stdout.strip(),
    }


def refuse(baselines: list[Any], ours: dict[str, str]) -> NoReturn:
    """Ends the program: counts of other versions cannot be compared."""
    lines = ["No baseline is for what is here:"]
    lines += [f"  {name}: {value}" for name, value in ours.items()]
    for one in baselines:
        theirs = one["made with"]
        lines += ["There is a baseline that differs in:"]
        lines += [f"  {name}: {theirs.get(name)}" for name, value in ours.items() if theirs.get(name) != value]
    lines += ["Use those versions, or count the last good commit here: make bench-check UPDATE=1"]
    sys.exit("\n".join(lines))


def compare(baseline: Counts, counts: Counts, *, judge: bool) -> int:
    """Prints a table. Returns 1 if it judges and something has grown too much, else 0."""
    width = max(map(len, counts))
    print(f"{'instructions':{width}}  {'in all':>8}  {'change':>7}  {'engine':>8}  {'change':>7}")
    grown = []
    for name, now in counts.items():
        line = f"{name:{width}}"
        for part, value in now.items():
            before = baseline.get(name, {}).get(part)
            change = value / before - 1 if before else None
            line += f"  {value:8,.0f}  " + (f"{change:+7.1%}" if change is not None else "    new")
            if change is not None and change > MOST:
                grown.append(f"{name}, {part}: {before:,.0f} before, {value:,.0f} now ({change:+.1%})")
        print(line)
    grown += [f"{name}: was not counted" for name in baseline.keys() - counts.keys()]
    if not judge:
        return 0
    if grown:
        print(f"\nFAIL  more than {MOST:.0%} above the baseline:")
        print("\n".join(f"      {one}" for one in grown))
        return 1
    print(f"\nPASS  nothing grew by more than {MOST:.0%}.")
    return 0


# --- counting


def count_core() -> Counts:
    compiler = os.environ.get("CXX", "c++")
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "core"
        flags = ["-std=c++20", "-O3", "-DNDEBUG", f"-I{ROOT / 'include'}"]
        subprocess.run([compiler, *flags, HERE / "core.cpp", "-o", program], check=True)
        output, dumps = callgrind(Path(directory), [str(program)])
    keys = int(output)
    return {f"{name}, per key": {"in all": sum(dump.values()) / keys} for name, dump in dumps.items()}


def count_hot_paths() -> Counts:
    BUILD.mkdir(parents=True, exist_ok=True)
    database = data.file_for(BUILD, SCALE)
    if not database.exists():
        subprocess.run(
            [sys.executable, "-m", "benchmarks.bookshop.data", str(database), str(SCALE)], cwd=ROOT, check=True
        )
    with tempfile.TemporaryDirectory() as directory:
        library = Path(directory) / "collect.so"
        compiler = os.environ.get("CXX", "c++")
        subprocess.run([compiler, "-O2", "-fPIC", "-shared", HERE / "collect.cpp", "-o", library], check=True)
        command = [sys.executable, "-m", "benchmarks.instructions.hot_paths", str(database), str(library)]
        output, dumps = callgrind(Path(directory), command)
    objects = json.loads(output.splitlines()[-1])
    return {
        name: {
            "in all": sum(dump.values()) / objects[name],
            "engine": sum(count for library, count in dump.items() if library.startswith("_engine")) / objects[name],
        }
        for name, dump in dumps.items()
    }


def callgrind(directory: Path, command: list[str]) -> tuple[str, dict[str, dict[str, int]]]:
    """Runs a program. Returns its output and, by name of each count, the instructions of each library."""
    # The layout of sets and dictionaries of strings depends on their hashes.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    options = ["--tool=callgrind", "--instr-atstart=no", "--compress-strings=no", "--compress-pos=no"]
    files = directory / "callgrind.out"
    done = subprocess.run(
        ["valgrind", "--quiet", *options, f"--callgrind-out-file={files}", *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed under valgrind:\n{done.stderr}")
    dumps = {}
    for file in sorted(directory.glob("callgrind.out.*"), key=lambda file: int(file.suffix[1:])):
        name, counts = read_dump(file)
        if name:
            dumps[name] = counts
    return done.stdout, dumps


def read_dump(file: Path) -> tuple[str, dict[str, int]]:
    name, library, inclusive = "", "", False
    counts: dict[str, Any] = {}
    with file.open() as lines:
        for line in lines:
            if line[0].isdigit():
                # The line after `calls=` has the cost of the called functions, which is counted there.
                if not inclusive:
                    counts[library] = counts.get(library, 0) + int(line.split()[-1])
                inclusive = False
            elif line.startswith("ob="):
                library = Path(line[3:].strip()).name
            elif line.startswith("calls="):
                inclusive = True
            elif line.startswith("desc: Trigger: Client Request: "):
                name = line.rpartition("Request: ")[2].strip()
    return name, counts


if __name__ == "__main__":
    sys.exit(main())
