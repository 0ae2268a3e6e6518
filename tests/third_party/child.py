"""
Runs the situations of one package in this process. `__main__.py` starts it with the package's own interpreter.

    python -m tests.third_party.child PACKAGE MODE REPORT
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import django

from tests.third_party.listed import MUTANTS, OURS, SELF_CHECK
from tests.third_party.shop import set_up


def main(name: str, mode: str, report: str) -> None:
    result: dict[str, Any] = {"version": metadata.version(name), "django": django.get_version()}
    try:
        module = set_up(name)
    except Exception as error:
        traceback.print_exc()
        result["refused"] = f"{type(error).__name__}: {error}"
    else:
        result.update(judged(module, mode))
    Path(report).write_text(json.dumps(result, default=str))


def judged(module: ModuleType, mode: str) -> dict[str, Any]:
    found = list(survivors(module) if mode == MUTANTS else differences(module, mode))
    return {"situations": len(module.SITUATIONS), "found": found}


def differences(module: ModuleType, mode: str) -> Iterator[dict[str, Any]]:
    """
    Every situation in every way, with the differences between ours and Django's, even if there are none.

    A module may also have RECIPES: functions by name, which give the differences when the package does something with
    its rows that is no loop.
    """
    # Imported only after Django is set up.
    from tests.third_party.outcomes import Runner, differ, wrong
    from tests.third_party.ways import django_ways, our_ways

    runner = Runner(module)
    for situation in module.SITUATIONS:
        for way in django_ways() if mode == SELF_CHECK else our_ways():
            django_rows = runner.run(way.django, situation)
            ran = {"situation": situation.name, "way": way.name, "differences": []}
            if because := wrong(situation, django_rows):
                ran["differences"] = [("the situation itself is wrong", because, "")]
            else:
                more = way.more_queries(django_rows.many_to_many, len(django_rows.rows))
                ran["differences"] = list(differ(runner.run(way.ours, situation), django_rows, more))
            yield ran
    if mode == OURS:
        for name, recipe in getattr(module, "RECIPES", {}).items():
            yield {"situation": name, "way": "recipe", "differences": list(recipe())}


def survivors(module: ModuleType) -> Iterator[dict[str, Any]]:
    """The deliberate wrong answers that were not found, by situation."""
    from tests.third_party.mutants import overlooked
    from tests.third_party.outcomes import Runner

    if not module.SITUATIONS:
        return
    for name, situations in overlooked(module.SITUATIONS, Runner(module)):
        yield {"situation": name, "way": "mutants", "differences": [("overlooked", one, "") for one in situations]}


if __name__ == "__main__":
    main(*sys.argv[1:])
