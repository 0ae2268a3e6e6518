"""One engine: a run that goes through, and one in which a worker process is killed in the middle of a part."""

from __future__ import annotations

import os
import signal
import subprocess
import time

from tests.scale_out.engines import Engine
from tests.scale_out.project import PARTS, SECONDS, Project, stats_of

# The worker of so many parts is killed: by then both work, and there is much left to do.
KILLED_AT = 20


def check(engine: Engine) -> str:
    """Raises AssertionError if something is not as the page says. Returns what was seen."""
    with engine.project() as project:
        begin = time.monotonic()
        seen = [whole_run(engine, project), killed_run(engine, project)]
        return f"{'; '.join(seen)}; {time.monotonic() - begin:.0f} s"


def whole_run(engine: Engine, project: Project) -> str:
    run = "whole"
    stats = stats_of(project.run(engine.driver(run)))
    project.check_output(run)
    project.check_begun(run, set())
    processes = len({process for process, _ in project.begun(run)})
    assert processes <= engine.processes
    project.check_stats(stats, engine.processes)
    return f"{processes} processes fetched {stats['tables']['Author']['fetched']:,} authors"


def killed_run(engine: Engine, project: Project) -> str:
    run = "killed"
    driver = project.driver(engine.driver(run))
    begun = project.wait("parts begun", lambda: len(found := project.begun(run)) >= KILLED_AT and found)
    process = begun[-1][0]
    os.kill(process, signal.SIGKILL)
    for worker in engine.workers:
        if worker.pid == process:
            worker.wait()
    interrupted = {name for one, name in project.begun(run) if one == process} - names_of(project, run)
    assert interrupted, "the part was complete already"
    if engine.repeats:
        project.result(driver)
    else:
        interrupted |= start_again(engine, project, run, driver, interrupted)
    project.check_output(run)
    project.check_begun(run, interrupted)
    return f"{len(interrupted)} of {PARTS} parts repeated after a kill"


def start_again(
    engine: Engine, project: Project, run: str, driver: subprocess.Popen[str], interrupted: set[str]
) -> set[str]:
    """Starts the run again when the other workers have done the rest. Returns the parts that were interrupted."""
    if engine.workers:
        engine.start_workers(project)
        # What a killed worker had been given but not begun is lost too.
        project.wait_for_idleness(run, PARTS - len(interrupted))
        driver.kill()
    driver.communicate(timeout=SECONDS)
    left = {name for _, name in project.begun(run)} - names_of(project, run)
    project.run(engine.driver(run))
    return left


def names_of(project: Project, run: str) -> set[str]:
    return {path.stem for path in project.complete(run)}
