"""The systems under test. Each is a module here that runs as processes of its own, with its fastest settings."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import services
import work

OWN_PYTHON = sys.executable
PEERS_PYTHON = str(Path(__file__).parents[3] / ".venv-peers" / "bin" / "python")


class Submitter:
    """The process that accepts events. For some systems it is the whole system."""

    def __init__(self, process: subprocess.Popen[str], others: Sequence[int]) -> None:
        self._pids = [process.pid, *others]
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        if self._out.readline().strip() != "ready":
            raise RuntimeError("the system did not come up; its log is in the folder of the run")

    def submit(self, job: work.Job) -> work.Submitted:
        """Submit the events of a job and return when each was accepted."""
        self._in.write(work.line(asdict(job)))
        self._in.flush()
        return work.Submitted(**work.answer(self._out.readline()))

    def cpu_seconds(self) -> float:
        """Return the processor time of the whole system so far, its database included."""
        return services.cpu_seconds(self._pids)


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A system under test: what it needs and how it runs."""

    name: str
    configuration: str
    module: str
    python: str = OWN_PYTHON
    imports: str = ""
    """A module that its interpreter must have."""
    program: str = ""
    """A program that must be installed."""
    store: Literal["", "redis", "postgres"] = ""
    install: bool = False
    """Whether the module creates its tables when its argument is `install`."""
    workers: Sequence[Sequence[str]] = ()
    """Arguments of the interpreter for each process besides the one that submits."""

    def missing(self) -> str | None:
        """Return why it cannot run here, with the remedy; None where it can."""
        if not Path(self.python).exists():
            return "the peers are not installed: make bench-peers"
        if self.imports and subprocess.run([self.python, "-c", f"import {self.imports}"], check=False).returncode:
            return f"{self.imports} is not installed: make bench-peers"
        for program in filter(None, (self.program, "redis-server" if self.store == "redis" else "")):
            if shutil.which(program) is None:
                return f"{program} is not installed; on Debian: apt install {program}"
        return None

    @contextmanager
    def running(self, place: work.Place) -> Iterator[Submitter]:
        """Run all of its processes."""
        folder = Path(place.folder)
        log = folder / f"{self.name}.log"
        with ExitStack() as stack:
            pids = []
            if self.store:
                store = stack.enter_context(services.redis(folder) if self.store == "redis" else services.postgres())
                place = replace(place, store=store.url)
                pids.append(store.pid)
            environment = place.environment()
            if self.install:
                command = [self.python, "-m", self.module, "install"]
                with log.open("a") as errors:
                    subprocess.run(command, check=True, cwd=services.HERE, env=environment, stderr=errors)
            for arguments in self.workers:
                worker = stack.enter_context(services.process([self.python, *arguments], log, environment))
                pids.append(worker.pid)
            command = [self.python, "-m", self.module]
            yield Submitter(stack.enter_context(services.process(command, log, environment, talk=True)), pids)


SYSTEMS = (
    System(
        name="ours",
        configuration="SQLite, a signed webhook channel for each receiver, concurrency 64, one transaction a batch",
        module="systems.ours",
    ),
    System(
        name="ours-postgresql",
        configuration="the same on PostgreSQL",
        module="systems.ours",
        imports="psycopg",
        store="postgres",
    ),
    System(
        name="celery",
        configuration="Redis in memory, 2 workers of 16 threads, prefetch 64, no results, acknowledged early, urllib3",
        module="systems.celery_redis",
        python=PEERS_PYTHON,
        imports="celery",
        store="redis",
        workers=[
            (
                "-m",
                "celery",
                "-A",
                "systems.celery_redis",
                "worker",
                "-l",
                "warning",
                "-P",
                "threads",
                "-c",
                "16",
                "-n",
                n,
            )
            for n in ("first", "second")
        ],
    ),
    System(
        name="dramatiq",
        configuration="Redis in memory, 2 processes of 16 threads, no retries, urllib3",
        module="systems.dramatiq_redis",
        python=PEERS_PYTHON,
        imports="dramatiq",
        store="redis",
        workers=[["-m", "dramatiq", "systems.dramatiq_redis", "--processes", "2", "--threads", "16"]],
    ),
    System(
        name="taskiq",
        configuration="Redis list in memory, 2 processes of 100 tasks, prefetch 100, uvloop, aiohttp",
        module="systems.taskiq_redis",
        python=PEERS_PYTHON,
        imports="taskiq_redis",
        store="redis",
        workers=[
            (
                *("-m", "taskiq", "worker", "systems.taskiq_redis:broker", "--log-level", "WARNING", "--workers", "2"),
                *("--max-async-tasks", "100", "--max-prefetch", "100", "--no-parse"),
            )
        ],
    ),
    System(
        name="procrastinate",
        configuration="PostgreSQL, one process, concurrency 64, listen/notify, jobs deleted, aiohttp",
        module="systems.procrastinate_postgresql",
        python=PEERS_PYTHON,
        imports="procrastinate",
        store="postgres",
        install=True,
        workers=[["-m", "systems.procrastinate_postgresql", "worker"]],
    ),
    System(
        name="pgqueuer",
        configuration="PostgreSQL, one process, asyncpg, uvloop, batches of 250, 64 requests a receiver, aiohttp",
        module="systems.pgqueuer_postgresql",
        python=PEERS_PYTHON,
        imports="pgqueuer",
        store="postgres",
        install=True,
        workers=[["-m", "systems.pgqueuer_postgresql", "worker"]],
    ),
    System(
        name="alertmanager",
        configuration="group_by ..., group_wait 0s, no resolve messages, no cluster, one POST a batch of alerts",
        module="systems.alertmanager",
        program="prometheus-alertmanager",
    ),
    System(
        name="raw-outbox",
        configuration="SQLite WAL, synchronous=FULL, one process, 64 workers on one queue, aiohttp, unsigned",
        module="systems.raw_outbox",
    ),
)
