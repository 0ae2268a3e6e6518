"""The original package in an environment of its own: both packages have the same import name."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

from .workloads import ORIGINAL_VERSION

# Installed in the same versions as here, if they are here.
LIKE_HERE = ("Django", "django-chunkator", "sqlparse", "asgiref", "psycopg", "psycopg-binary")


def python(directory: Path) -> str:
    """The environment's interpreter. If there is none yet, it is made with the Python, Django and so on of this one."""
    interpreter = directory / "bin" / "python"
    wanted = [f"django-memoized-prefetch=={ORIGINAL_VERSION}"]
    here = {(distribution.metadata["Name"] or "").lower() for distribution in metadata.distributions()}
    wanted += [f"{name}=={metadata.version(name)}" for name in LIKE_HERE if name.lower() in here]
    stamp = directory / "made-of.txt"
    made_of = "\n".join([sys.version, *wanted])
    if not stamp.exists() or stamp.read_text() != made_of:
        print(f"Installing version {ORIGINAL_VERSION} into {directory} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(directory)], check=True)
        subprocess.run(
            [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted], check=True
        )
        stamp.write_text(made_of)
    return str(interpreter)
