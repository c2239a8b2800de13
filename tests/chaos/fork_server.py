"""Start the program in milliseconds: a process that has imported it forks, and each child runs it from `main`.

A thousand kills need a thousand starts, and imports are most of a start. The server reads one request a line,
`{"argv": […], "log": "…"}`, writes `{"born": pid}` and, when a child has ended, `{"dead": pid, "code": n}`.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import select
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

MODULES = (
    "notifier.cli",
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

# ---- the harness's side ----


class ForkedProcess:
    """A forked process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = asyncio.Event()

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    async def wait(self) -> int:
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def end(self, code: int) -> None:
        self.returncode = code
        self._ended.set()


class ForkServer:
    """Holds the forking process. `arguments` name a mistake to make in it first."""

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        self._arguments = arguments
        self._process: Process | None = None
        self._forked: asyncio.Queue[ForkedProcess] = asyncio.Queue()
        self._children: dict[int, ForkedProcess] = {}

    async def start(self, argv: Sequence[str], log: Path) -> ForkedProcess:
        """Fork a child that runs the program with these arguments."""
        if self._process is None:
            command = [sys.executable, "-m", "chaos.fork_server", *self._arguments]
            env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
            self._process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=env)
            self._listening = asyncio.create_task(self._listen())
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"argv": list(argv), "log": str(log)}).encode() + b"\n")
        birth = asyncio.create_task(self._forked.get())
        await asyncio.wait({birth, self._listening}, return_when=asyncio.FIRST_COMPLETED)
        if not birth.done():
            birth.cancel()
            raise RuntimeError("the fork server has ended")
        return birth.result()

    async def _listen(self) -> None:
        assert self._process
        assert self._process.stdout
        async for line in self._process.stdout:
            news = json.loads(line)
            if pid := news.get("born"):
                self._children[pid] = ForkedProcess(pid)
                self._forked.put_nowait(self._children[pid])
            else:
                self._children.pop(news["dead"]).end(news["code"])

    async def close(self) -> None:
        if self._process is not None:
            assert self._process.stdin
            self._process.stdin.close()
            await self._process.wait()
            await self._listening


# ---- the forking side ----


def serve() -> None:
    """Fork on request until the input ends; then kill the remaining children."""
    for name in MODULES:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    gc.freeze()
    running_pids: set[int] = set()
    requests = open(sys.stdin.fileno(), "rb", buffering=0)  # noqa: SIM115, PTH123 - unbuffered, so that select knows all
    while True:
        ready, _, _ = select.select([sys.stdin], [], [], 0.01)
        while running_pids and (ended := os.waitpid(-1, os.WNOHANG))[0]:
            running_pids.discard(ended[0])
            send_message(dead=ended[0], code=os.waitstatus_to_exitcode(ended[1]))
        if not ready:
            continue
        line = requests.readline()
        if not line:
            break
        pid = os.fork()
        if pid == 0:
            run_program(**json.loads(line))
        running_pids.add(pid)
        send_message(born=pid)
    for pid in running_pids:
        os.kill(pid, signal.SIGKILL)


def send_message(**news: int) -> None:
    sys.stdout.write(json.dumps(news) + "\n")
    sys.stdout.flush()


def run_program(argv: Sequence[str], log: str) -> NoReturn:
    """Become the program."""
    nothing = os.open(os.devnull, os.O_RDWR)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for target, source in ((0, nothing), (1, nothing), (2, out)):
        os.dup2(source, target)
    sys.argv = ["notifier", *argv]
    code: Any = 1
    try:
        from notifier.cli import main  # noqa: PLC0415 - imported already, and patched perhaps

        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - whatever it is, it ends this process and is shown
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        from chaos import mistakes

        mistakes.apply_mistake(sys.argv[1])
    serve()
