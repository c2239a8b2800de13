"""Real message brokers on loopback: each a process of its own with a folder of its own, ended with the test."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from servers.tls import Certificate

_PLACES = (
    "/usr/lib/rabbitmq/bin",
    *map(str, Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin")),
    "/usr/sbin",
    "/usr/lib/erlang/bin",
    "/usr/local/bin",
)
"""Where Debian has them besides PATH. The first two have RabbitMQ's own scripts: those in PATH become another user."""
_START_LIMIT = 60.0
"""Seconds that a broker has to start."""


def find_program(name: str) -> str:
    """Return the path of a program of a broker; skip the test where it is not installed."""
    path = os.pathsep.join((*_PLACES, os.environ.get("PATH", "")))
    return shutil.which(name, path=path) or pytest.skip(f"{name} is not installed; on Debian: apt install {name}")


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(slots=True)
class Broker:
    """A broker that runs."""

    port: int
    restart: Callable[[], None]
    """Ends it as a crash does, and starts it with the same data."""
    stop: Callable[[], None]
    """Ends it as a crash does."""
    control: Callable[..., None] = lambda *_command: None
    """Runs a command of the broker's own control program."""
    tls_port: int = 0
    """Where it speaks TLS; 0 where it does not."""


def _wait_until_it_listens(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _START_LIMIT
    while time.monotonic() < until:
        if process.poll() is not None:
            raise AssertionError(f"the broker ended: {log.read_text(errors='replace')[-2000:]}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)  # there is nothing to wait for but the port
    raise AssertionError(f"the broker does not listen: {log.read_text(errors='replace')[-2000:]}")


@contextmanager
def broker_process(
    command: list[str], port: int, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Broker]:
    """Run a broker that listens on a port, in a process group of its own."""
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
        yield Broker(port=port, restart=restart, stop=stop)
    finally:
        stop()


@contextmanager
def nats_server(folder: Path, *options: str) -> Iterator[Broker]:
    """Run a NATS server with JetStream."""
    program, port = find_program("nats-server"), free_port()
    command = [program, "-js", "-a", "127.0.0.1", "-p", str(port), "-sd", str(folder / "js"), *options]
    with broker_process(command, port, folder) as broker:
        yield broker


@contextmanager
def rabbitmq_server(folder: Path, certificate: Certificate) -> Iterator[Broker]:
    """Run a RabbitMQ server, with an Erlang port mapper of its own. It speaks TLS on `tls_port`."""
    program, epmd = find_program("rabbitmq-server"), find_program("epmd")
    port, tls_port, mapper, distribution = free_port(), free_port(), free_port(), free_port()
    values = {
        "listeners.tcp.1": f"127.0.0.1:{port}",
        "listeners.ssl.1": f"127.0.0.1:{tls_port}",
        "ssl_options.certfile": certificate.authority,
        "ssl_options.keyfile": certificate.chain,
        "ssl_options.verify": "verify_none",
        "loopback_users": "none",
        "log.console": "true",
        "log.file": "false",
    }
    (folder / "rabbitmq.conf").write_text("".join(f"{name} = {value}\n" for name, value in values.items()))
    (folder / "plugins").write_text("[].\n")
    environment = {
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(mapper),
        "RABBITMQ_NODENAME": f"test{port}@localhost",
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_BASE": str(folder),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
    }
    with (
        broker_process([epmd, "-port", str(mapper), "-address", "127.0.0.1"], mapper, folder),
        broker_process([program], port, folder, environment) as broker,
    ):
        broker.tls_port = tls_port
        broker.control = partial(_control, find_program("rabbitmqctl"), environment)
        yield broker


def _control(program: str, environment: Mapping[str, str], *command: str) -> None:
    subprocess.run([program, *command], check=True, capture_output=True, env={**os.environ, **environment})  # noqa: S603 - as above
