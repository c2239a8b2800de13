"""Start the program in milliseconds: a process that has imported it forks, and each child runs it from `main`.

Imports are most of a start, and the tests start the program hundreds of times. A child differs from a new process in
nothing else: it has its own arguments, environment, folder and streams, and ends as an interpreter ends.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

MODULES = (
    "notifier.cli.root",
    "notifier.cli.run",
    "notifier.cli.poll",
    "notifier.cli.check",
    "notifier.service.service",
    "notifier.http",
    "notifier.wording.summary",
    "notifier.sources.gaussdb",
    "notifier.sources.api",
    "notifier.sources.credentials",
    "notifier.integrations.webhook.channel",
    "notifier.store.engine",
    "pysqlite3",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "uvloop",
)
"""Modules to import before the first fork, if they exist."""

# ---- the side of the tests ----


class ForkedProcess:
    """A forked process. Its exit code comes over a socket, because it is a child of the server."""

    def __init__(self, news: socket.socket) -> None:
        self._news = news
        self._code: int | None = None
        self._ending: asyncio.Task[int] | None = None
        self.pid = int(self._read())

    @property
    def returncode(self) -> int | None:
        """Its exit code, minus a signal's number when that ended it; None while it runs."""
        if self._code is None and self._ending is None and select.select([self._news], [], [], 0)[0]:
            self._end(self._read())
        return self._code

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Wait for its end and return its exit code."""
        if self._code is None:
            self._ending = self._ending or asyncio.ensure_future(self._wait())
            await asyncio.shield(self._ending)
        assert self._code is not None
        return self._code

    def wait_for(self, seconds: float) -> int:
        """Wait for its end, without an event loop; kill it after that time."""
        if self._code is None and not select.select([self._news], [], [], seconds)[0]:
            self.kill()
        return self._code if self._code is not None else self._end(self._read())

    async def _wait(self) -> int:
        self._news.setblocking(False)  # noqa: FBT003 - the name of the method says it
        return self._end((await asyncio.get_running_loop().sock_recv(self._news, 16)).decode())

    def _read(self) -> str:
        message = self._news.recv(16).decode()
        assert message, "the fork server has ended"
        return message

    def _end(self, message: str) -> int:
        self._news.close()
        self._code = int(message)
        return self._code


class ForkServer:
    """Holds the forking process. `prepare` is a statement for it to execute before the first fork."""

    def __init__(self, environment: Mapping[str, str], prepare: str = "pass") -> None:
        self._environment = {**environment, "PYTHONPATH": str(Path(__file__).parents[1])}
        self._prepare = prepare
        self._process: subprocess.Popen[bytes] | None = None
        self._opening = threading.Lock()

    def start(
        self,
        argv: Sequence[str],
        *,
        stderr: int,
        stdout: int | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> ForkedProcess:
        """Fork a child that runs the program with these arguments and streams. Its stdin is empty.

        Blocks until it is born: milliseconds, and for the first one a second. May be called in any thread.
        """
        with self._opening:
            if self._process is None:
                self._open()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs, Path(os.devnull).open("wb") as nothing:
            request = {"argv": list(argv), "cwd": str(cwd or Path.cwd()), "env": dict(env or self._environment)}
            ours.sendall(json.dumps(request).encode() + b"\n")
            socket.send_fds(
                self._requests, [b"."], [theirs.fileno(), nothing.fileno() if stdout is None else stdout, stderr]
            )
        return ForkedProcess(ours)

    def _open(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        script = f"{self._prepare}; from servers.fork_server import serve; serve({theirs.fileno()})"
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own script
                [sys.executable, "-c", script],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def close(self) -> None:
        """End the server and all that it forked."""
        if self._process is not None:
            self._requests.close()
            self._process.wait()
            self._process = None


# ---- the side that forks ----


def serve(requests_fd: int) -> None:
    """Fork on request until the requests end; then kill the remaining children. Returns in a child, to end it."""
    for name in MODULES:
        with suppress(ImportError):
            importlib.import_module(name)
    sys.path[:] = ["", *(path for path in sys.path if path and path != str(Path(__file__).parents[1]))]
    gc.freeze()
    requests = socket.socket(fileno=requests_fd)
    children: dict[int, socket.socket] = {}
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler, so that a signal writes to the pipe
    signal.set_wakeup_fd(wakes)
    while True:
        ready, _, _ = select.select([requests_fd, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _report_ended(children)
        if requests_fd not in ready:
            continue
        message, fds, _, _ = socket.recv_fds(requests, 1, 3)
        if not message:
            break
        news, *streams = socket.socket(fileno=fds[0]), *fds[1:]
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for inherited in (requests, *children.values()):
                inherited.close()
            os.close(woken)
            os.close(wakes)
            run_program(news, *streams)
            return
        for stream in streams:
            os.close(stream)
        children[pid] = news
        news.send(b"%d" % pid)
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _report_ended(children: dict[int, socket.socket]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with children.pop(pid) as news, suppress(OSError):  # whoever started it may be gone
            news.send(b"%d" % os.waitstatus_to_exitcode(status))


def run_program(news: socket.socket, stdout: int, stderr: int) -> None:
    """Become the program. Raises SystemExit where the program does."""
    with news, news.makefile("rb") as lines:
        request: dict[str, Any] = json.loads(lines.readline())
    nothing = os.open(os.devnull, os.O_RDWR)
    for target, source in ((0, nothing), (1, stdout), (2, stderr)):
        os.dup2(source, target)
        os.close(source)
    # The objects of a new interpreter: those of the server know whether its own files can seek.
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    sys.stderr.reconfigure(errors="backslashreplace")
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    sys.argv = ["-c", *request["argv"]]
    from notifier.cli import main  # noqa: PLC0415 - imported already, and patched perhaps

    main()
