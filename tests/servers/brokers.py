"""Real message brokers on loopback: each a process of its own with a folder of its own, ended with the test."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from servers.processes import ServerProcess, free_port, server_process
from servers.tls import Certificate

_PLACES = (
    "/usr/lib/rabbitmq/bin",
    *map(str, Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin")),
    "/usr/sbin",
    "/usr/lib/erlang/bin",
    "/usr/local/bin",
)
"""Where Debian has them besides PATH. The first two have RabbitMQ's own scripts: those in PATH become another user."""


def find_program(name: str) -> str:
    """Return the path of a program of a broker; skip the test where it is not installed."""
    path = os.pathsep.join((*_PLACES, os.environ.get("PATH", "")))
    return shutil.which(name, path=path) or pytest.skip(f"{name} is not installed; on Debian: apt install {name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker(ServerProcess):
    """A broker that runs."""

    control: Callable[..., None] = lambda *_command: None
    """Runs a command of the broker's own control program."""
    tls_port: int = 0
    """Where it speaks TLS; 0 where it does not."""


def _broker(process: ServerProcess, **more: Any) -> Broker:
    return Broker(port=process.port, restart=process.restart, stop=process.stop, **more)


@contextmanager
def nats_server(folder: Path, *options: str) -> Iterator[Broker]:
    """Run a NATS server with JetStream."""
    program, port = find_program("nats-server"), free_port()
    command = [program, "-js", "-a", "127.0.0.1", "-p", str(port), "-sd", str(folder / "js"), *options]
    with server_process(command, port, folder) as process:
        yield _broker(process)


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
        server_process([epmd, "-port", str(mapper), "-address", "127.0.0.1"], mapper, folder),
        server_process([program], port, folder, environment) as process,
    ):
        control = partial(_control, find_program("rabbitmqctl"), environment)
        yield _broker(process, tls_port=tls_port, control=control)


def _control(program: str, environment: Mapping[str, str], *command: str) -> None:
    subprocess.run([program, *command], check=True, capture_output=True, env={**os.environ, **environment})  # noqa: S603 - as above
