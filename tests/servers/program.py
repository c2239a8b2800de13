"""`notifier run` as a process of its own: started, told, killed and listened to."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from servers.moments import Moments

COMMAND = [sys.executable, "-c", "from notifier.cli import main; main()"]


class Program:
    """One process. `log` happens at every line of its stderr."""

    def __init__(self, config: Path, moments: Moments, *options: str) -> None:
        self.log = ""
        self._options = options
        self._config = config
        self._moments = moments

    async def __aenter__(self) -> Self:
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        self._process = await asyncio.create_subprocess_exec(
            *COMMAND,
            "run",
            "-c",
            str(self._config),
            *self._options,
            env=kept,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        self._listening = asyncio.create_task(self._listen())
        return self

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
        assert self._process.stderr
        async for line in self._process.stderr:
            self.log += line.decode()
            await self._moments.happen("log")
        await self._moments.happen("end")
