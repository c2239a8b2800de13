"""The program as a process of its own: run to its end, run beside a test, or run as a service that is watched.

A fork server starts it in milliseconds. `running` starts a new interpreter.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Timer
from types import TracebackType
from typing import IO, Self

from timeouts import HANG_TIMEOUT

from servers.fork_server import ForkServer
from servers.moments import Moments

COMMAND = [sys.executable, "-c", "from notifier.cli import main; main()"]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what the program needs of this environment, a width of 100 columns, and `more`."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "COLUMNS": "100", **(more or {})}


@cache
def fork_server() -> ForkServer:
    """Return the server that all tests of this process share."""
    server = ForkServer(environment())
    atexit.register(server.close)
    return server


def completed(*args: str, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with nothing on its stdin."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = fork_server().start(args, stdout=out.fileno(), stderr=err.fileno(), cwd=cwd, env=environment(env))
        code = process.wait_for(HANG_TIMEOUT)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(args, code, out.read(), err.read())


@contextmanager
def running(
    *args: str, cwd: Path, env: Mapping[str, str] | None = None, command: Sequence[str] = COMMAND
) -> Iterator[subprocess.Popen[str]]:
    """Run a command beside a test, and kill it at the end, or when the test hangs: then nobody waits for its output."""
    process = subprocess.Popen(  # noqa: S603 - our own program
        [*command, *args],
        cwd=cwd,
        env=environment(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    hanging = Timer(HANG_TIMEOUT, process.kill)
    hanging.start()
    with process:
        try:
            yield process
        finally:
            hanging.cancel()
            process.kill()


def read_until(stream: IO[str] | None, *wanted: str) -> str:
    """Read lines until every one of the texts was seen. A stream that ends before is an error."""
    assert stream is not None
    seen = ""
    while not all(text in seen for text in wanted):
        line = stream.readline()
        assert line, seen
        seen += line
    return seen


class Program:
    """`notifier run`. The moment `log` happens at every line of its stderr."""

    def __init__(self, config: Path, moments: Moments, *options: str) -> None:
        self.log = ""
        self._options = options
        self._config = config
        self._moments = moments

    async def __aenter__(self) -> Self:
        log = await asyncio.to_thread(self._start)
        self._lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(self._lines), log)
        self._listening = asyncio.create_task(self._listen())
        return self

    def _start(self) -> IO[bytes]:
        """Start it and return its stderr."""
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as stderr:
            command = ("run", "-c", str(self._config), *self._options)
            self._process = fork_server().start(command, stderr=stderr.fileno())
        return os.fdopen(reading, "rb")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def kill(self) -> None:
        """End it as a power cut would, and wait until it is gone. Nothing when it has ended by itself."""
        if self._process.returncode is None:
            self._process.kill()
        await self.ended()

    async def ended(self) -> int:
        """Wait for its end and return its exit code; minus a signal's number when that ended it."""
        await self._listening
        return await self._process.wait()

    async def said(self, *texts: str) -> None:
        """Wait until its log contains every one of these. A program that ends before is an error."""
        await self._moments.until(lambda: self._listening.done() or all(text in self.log for text in texts))
        assert all(text in self.log for text in texts), self.log

    async def _listen(self) -> None:
        async for line in self._lines:
            self.log += line.decode()
            await self._moments.happen("log")
        await self._moments.happen("end")
