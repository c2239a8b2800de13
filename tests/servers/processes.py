"""Real servers on loopback: each a process of its own with a folder of its own, ended with the test."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
START_LIMIT = 60.0
"""Seconds that a server has to start."""


def server_python(name: str) -> str:
    """Return the interpreter of the environment of a server, which `make servers` makes; skip the test without it."""
    place = Path(os.environ.get("NOTIFIER_TEST_SERVERS", ROOT / ".venv-servers")) / name
    if not (place / ".done").exists():
        pytest.skip(f"{name} is not installed in {place}: make servers")
    return str(place / "bin" / "python")


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProcess:
    """A server that runs."""

    port: int
    restart: Callable[[], None]
    """Ends it as a crash does, and starts it with the same data."""
    stop: Callable[[], None]
    """Ends it as a crash does."""


@contextmanager
def server_process(
    command: Sequence[str], port: int, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[ServerProcess]:
    """Run a server that listens on a port, in a process group of its own."""
    log = folder / "output.txt"
    running: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - a program of this machine
                command,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        running.append(process)
        _wait_until_it_listens(port, process, log)

    def stop() -> None:
        while running:
            process = running.pop()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def restart() -> None:
        stop()
        start()

    try:
        start()
        yield ServerProcess(port=port, restart=restart, stop=stop)
    finally:
        stop()


def _wait_until_it_listens(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_LIMIT
    while time.monotonic() < until:
        if process.poll() is not None:
            raise AssertionError(f"the server ended: {log.read_text(errors='replace')[-2000:]}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)  # there is nothing to wait for but the port
    raise AssertionError(f"the server does not listen: {log.read_text(errors='replace')[-2000:]}")
