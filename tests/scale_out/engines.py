"""The engines of the page: how their workers are started, and how a run goes to its end on them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.scale_out.project import Project, as_json


@contextmanager
def redis() -> Iterator[int]:
    """Runs a Redis server that keeps nothing, and gives its port."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("there is no redis-server: script/bootstrap --scale-out installs it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", directory]
        server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            deadline = time.monotonic() + 30
            while socket.socket().connect_ex(("127.0.0.1", port)):
                assert server.poll() is None, "Redis did not start"
                assert time.monotonic() < deadline, "Redis did not start"
                time.sleep(0.02)
            yield port
        finally:
            server.kill()
            server.wait()


class Engine:
    """
    One way to run the page's recipe.

    heading: Of the recipe.
    processes: How many processes work, so how many memories there are.
    repeats: Whether the engine itself repeats the part of a process that was killed. If not, the run is started again.
    worker: The command that starts a worker; () if the program that starts a run starts its own.
    workers_wanted: How many of them.
    module: Where the recipe's `start()` and `total()` are.
    """

    heading: str
    module = "shop.tasks"
    processes = 2
    repeats = True
    worker: tuple[str, ...] = ()
    workers_wanted = 0

    def __init__(self, python: str) -> None:
        self.python = python
        self.workers: list[subprocess.Popen[str]] = []
        self.replaced: dict[str, str] = {}

    @contextmanager
    def project(self) -> Iterator[Project]:
        """The project, with workers that wait for parts."""
        with tempfile.TemporaryDirectory(prefix="scale-out-") as name, ExitStack() as stack:
            self.prepare(stack)
            project = Project(Path(name).resolve() / "project", self.heading, self.python, self.replaced)
            project.make()
            try:
                self.start_workers(project)
                yield project
            finally:
                self.stop_workers()

    def prepare(self, stack: ExitStack) -> None:
        """Starts what the workers need."""
        self.replaced = {}

    def start_workers(self, project: Project) -> None:
        """Starts as many workers as there should be, in place of those that have ended."""
        self.workers = [one for one in self.workers if one.poll() is None]
        while len(self.workers) < self.workers_wanted:
            self.workers.append(project.start(*self.worker))

    def stop_workers(self) -> None:
        for worker in self.workers:
            kill_all_of(worker)
        self.workers = []

    def driver(self, run: str) -> str:
        """Python code that starts a run, waits for its end, and prints its stats."""
        return (
            "import django; django.setup()\n"
            f"from {self.module} import start, total\n"
            f"stats = total(start({run!r})); {as_json('stats')} if stats else print('{{}}')"
        )


def kill_all_of(worker: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


class WithRedis(Engine):
    def prepare(self, stack: ExitStack) -> None:
        port = stack.enter_context(redis())
        self.replaced = {"localhost:6379": f"127.0.0.1:{port}"}
        self.url = f"redis://127.0.0.1:{port}/0"


class Celery(WithRedis):
    heading = "Celery"
    worker = ("celery", "--app", "shop.celery", "worker", "--loglevel", "WARNING", "--concurrency", "2")
    workers_wanted = 1


class CeleryThreads(Celery):
    worker = (*Celery.worker[:-1], "8", "--pool", "threads")
    processes = 1
    repeats = False


class CeleryGevent(CeleryThreads):
    worker = (*CeleryThreads.worker[:-1], "gevent")


class DjangoTasks(Engine):
    heading = "django.tasks"
    repeats = False
    worker = ("python", "-m", "django", "db_worker", "--interval", "0.05")
    workers_wanted = 2

    def prepare(self, stack: ExitStack) -> None:
        super().prepare(stack)
        has_own = [self.python, "-c", "import django.tasks"]
        if subprocess.run(has_own, stderr=subprocess.DEVNULL, check=False).returncode:
            self.replaced["from django.tasks "] = "from django_tasks "  # as the page says of Django 5.2


class RQ(WithRedis):
    heading = "RQ"
    module = "shop.on_rq"
    repeats = False
    workers_wanted = 2

    def prepare(self, stack: ExitStack) -> None:
        super().prepare(stack)
        options = ("--worker-class", "rq.worker.SimpleWorker", "--url", self.url, "--quiet")
        self.worker = ("rq", "worker", *options, "exports")


class Dask(Engine):
    heading = "Dask"
    threads = 1

    def driver(self, run: str) -> str:
        return (
            "from dask.distributed import LocalCluster\n"
            "from shop.on_dask import start\n"
            "if __name__ == '__main__':\n"
            f"    options = {{'n_workers': 2, 'threads_per_worker': {self.threads}, 'dashboard_address': None}}\n"
            "    with LocalCluster(**options) as cluster:\n"
            f"        stats = start({run!r}, cluster); {as_json('stats')}"
        )


class DaskThreads(Dask):
    threads = 2


class Ray(Engine):
    heading = "Ray"

    def driver(self, run: str) -> str:
        return (
            "import ray\n"
            "ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)\n"
            "from shop.on_ray import start\n"
            f"stats = start({run!r}); {as_json('stats')}"
        )


class Pool(Engine):
    heading = "Without a queue"
    repeats = False

    def driver(self, run: str) -> str:
        return (
            "from shop.on_pool import start\n"
            "if __name__ == '__main__':\n"
            f"    stats = start({run!r}, 2); {as_json('stats')} if stats else print('{{}}')"
        )


ENGINES: dict[str, type[Engine]] = {
    "celery": Celery,
    "celery-threads": CeleryThreads,
    "celery-gevent": CeleryGevent,
    "django-tasks": DjangoTasks,
    "rq": RQ,
    "dask": Dask,
    "dask-threads": DaskThreads,
    "ray": Ray,
    "pool": Pool,
}
