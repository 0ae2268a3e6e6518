"""The same job on several processes: even parts of the flights, and a picture of which process did which part when."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
from django.db import connection

from flights.measure import Meter
from flights.progress import progress_bar

if TYPE_CHECKING:
    from django_memoized_prefetch import Partition, Stats
    from flights.job import Job

PARTS = 64


@dataclass(frozen=True)
class Done:
    """
    A part that is done.

    process: The one that did it.
    begin, end: In seconds of the system's clock, which all processes share.
    related_rows: How many rows of other tables it read.
    """

    process: int
    begin: float
    end: float
    flights: int
    related_rows: int
    job: Job
    stats: Stats


def start_worker() -> None:
    """Set a new process up. Ctrl-C in a terminal reaches it too, but it is the main process that stops it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    django.setup()


def work(part: Partition) -> Done:
    """Do one part. It is called in a worker."""
    from django_memoized_prefetch import MemoizedPrefetch
    from flights.contenders import CHUNK_SIZE, RELATIONS
    from flights.job import Job
    from flights.models import Airline, Airport, Flight, Plane

    begin, number, job = time.time(), 0, Job()
    meter = Meter(Flight, [Airline, Airport, Plane])
    prefetch = MemoizedPrefetch.for_run(part, lambda: MemoizedPrefetch(*RELATIONS))
    with connection.execute_wrapper(meter):
        for chunk in prefetch.chunks(part.of(Flight.objects.order_by("pk")), CHUNK_SIZE):
            job.add(chunk)
            number += len(chunk)
    return Done(os.getpid(), begin, time.time(), number, meter.related_rows, job, prefetch.take_stats())


def run(workers: int) -> list[Done]:
    """Do all parts on so many processes, with one bar for all of them."""
    from django_memoized_prefetch import partitions
    from flights.models import Flight

    flights = Flight.objects.order_by("pk")
    parts = partitions(flights, PARTS)
    total = flights.count()
    connection.close()  # before other processes are made
    done: list[Done] = []
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), start_worker)
    try:
        with progress_bar("all workers", total) as advance:
            for future in as_completed([pool.submit(work, part) for part in parts]):
                done.append(future.result())
                advance(done[-1].flights)
    finally:
        pool.shutdown(cancel_futures=True)
    return sorted(done, key=lambda each: each.begin)


def result(done: list[Done]) -> list[dict[str, Any]]:
    """What the parts computed, put together."""
    from flights.job import Job

    whole = Job()
    for each in done:
        whole.merge(each.job)
    return whole.result()


def seconds(done: list[Done]) -> float:
    """From the first part's begin to the last part's end."""
    return max(each.end for each in done) - done[0].begin


def by_process(done: list[Done]) -> dict[int, list[Done]]:
    """The parts of each process, the process that began first being the first one."""
    found: dict[int, list[Done]] = {}
    for each in done:
        found.setdefault(each.process, []).append(each)
    return found


def table(done: list[Done], alone: dict[str, Any]) -> Iterator[str]:
    """
    Compare the processes with one process that read the flights in one piece.

    Args:
        alone: The output of `flights.measure` for that one.
    """
    yield f"{'':22}{'parts':>7}{'flights':>11}{'seconds':>9}{'related rows read':>19}"
    seconds_alone = alone["reading"] + alone["working"]
    yield _line("one process, all", 1, alone["flights"], seconds_alone, alone["related rows"])
    for number, parts in enumerate(by_process(done).values(), 1):
        yield _line(f"worker {number}", len(parts), *_sums(parts))
    flights, _, rows = _sums(done)
    yield _line("all workers", len(done), flights, seconds(done), rows)
    yield ""
    times = seconds_alone / seconds(done)
    if times >= 1:
        yield f"{times:.1f} times as fast as one process, from the first part to the last."
    else:
        yield f"{1 / times:.1f} times as long as one process. Is a core free for each worker?"


def _sums(done: list[Done]) -> tuple[int, float, int]:
    return (
        sum(each.flights for each in done),
        sum(each.end - each.begin for each in done),
        sum(each.related_rows for each in done),
    )


def _line(name: str, parts: int, flights: int, seconds: float, rows: int) -> str:
    return f"{name:22}{parts:>7,}{flights:>11,}{seconds:>9.2f}{rows:>19,}"


def draw(done: list[Done], file: Path) -> None:
    """Draw the parts of each process over time. A part is the darker the more related rows it read."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    lanes = by_process(done)
    begin = done[0].begin
    most = max(each.related_rows for each in done)
    shades = ScalarMappable(LogNorm(1, max(most, 2)), "Blues")
    figure = Figure(figsize=(8, 1.6 + 0.45 * len(lanes)), layout="constrained")
    axes = figure.subplots()
    for lane, parts in enumerate(lanes.values()):
        spans = [(each.begin - begin, each.end - each.begin) for each in parts]
        colours = [shades.to_rgba(max(each.related_rows, 1)) for each in parts]
        axes.broken_barh(spans, (lane - 0.4, 0.8), facecolors=colours, edgecolors="#808080", linewidth=0.6)
    axes.set_yticks(range(len(lanes)), [f"worker {number}" for number in range(1, len(lanes) + 1)])
    axes.invert_yaxis()
    axes.set_xlim(0, seconds(done) * 1.005)
    axes.set_xlabel("seconds since the first part began")
    axes.set_title(f"{len(done)} parts of {sum(each.flights for each in done):,} flights, one box each", fontsize=11)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    scale = figure.colorbar(shades, ax=axes, pad=0.01, format=FuncFormatter(lambda rows, _: f"{rows:,.0f}"))
    scale.set_label("related rows read")
    figure.savefig(file, facecolor="white")
