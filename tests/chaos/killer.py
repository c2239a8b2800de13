"""Start the processes; kill them at random and at chosen instants, pause them, and ask them to stop."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from servers.fork_server import ForkedProcess, ForkServer
from timeouts import HANG_TIMEOUT

from chaos.cloud import Cloud
from chaos.ledger import Disturbance
from chaos.receiver import Receiver
from chaos.wire import Wakeup

COMMAND = (sys.executable, "-c", "from notifier.cli import main; main()")
"""Command of the program; `ForkServer` starts it faster."""
KEPT = ("PATH", "HOME", "LANG", "PYTHONPATH")
TERM_WITHIN = HANG_TIMEOUT
"""Time limit of a graceful stop, in seconds."""
UP_WITHIN = HANG_TIMEOUT
"""Time within which a started program must request a page, in seconds."""


@dataclass(slots=True, kw_only=True)
class Program:
    """One `notifier run` through all its restarts, with one log file."""

    index: int
    config: Path
    log: Path
    fork_server: ForkServer | None = None
    """Server that forks it; None starts a new interpreter."""
    env: Mapping[str, str] = field(default_factory=dict)
    process: Process | ForkedProcess | None = None

    async def start(self) -> None:
        arguments = ["run", "-c", str(self.config)]
        if self.fork_server:
            self.process = await asyncio.to_thread(self._fork, self.fork_server, arguments)
        else:
            self.process = await self._execute(arguments)

    def _fork(self, server: ForkServer, arguments: Sequence[str]) -> ForkedProcess:
        with self.log.open("ab") as log:
            return server.start(arguments, stderr=log.fileno())

    async def _execute(self, arguments: Sequence[str]) -> Process:
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *COMMAND,
                *arguments,
                env={name: os.environ[name] for name in KEPT if name in os.environ} | dict(self.env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=log,
            )

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def send(self, number: signal.Signals) -> None:
        if self.process is not None and self.running:
            self.process.send_signal(number)

    async def kill(self) -> None:
        self.send(signal.SIGCONT)
        self.send(signal.SIGKILL)
        if self.process:
            await self.process.wait()

    async def end(self) -> int | None:
        """Ask it to stop; return its exit code, or None when it took too long and was killed."""
        assert self.process
        self.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(TERM_WITHIN):
                return await self.process.wait()
        except TimeoutError:
            await self.kill()
            return None

    @property
    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Killer:
    """Kills and restarts programs, and records the disturbances that explain repeats."""

    def __init__(
        self, cloud: Cloud, receiver: Receiver, wakeup: Wakeup, programs: Sequence[Program], seed: int
    ) -> None:
        self.cloud = cloud
        self.receiver = receiver
        self.wakeup = wakeup
        self.programs = programs
        self.disturbances: list[Disturbance] = []
        self.kills = self.pauses = self.terms = 0
        self.misconduct: list[str] = []
        self._rng = random.Random(f"killer {seed}")

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def record_disturbance(
        self, kind: str, start: float, index: int | None, *, life_ends: bool = False, late: bool = False
    ) -> None:
        """Record an incident after which a program (None: all) may not know the outcome of its latest work."""
        self.cloud.disturb(index, life_ends=life_ends)
        self.receiver.forget_waits()
        self.disturbances.append(Disturbance(kind=kind, start=start, end=self.now(), late=late))

    async def wait_until_up(self, program: Program) -> None:
        """Wait until a program has requested a page, and restart it if it ended by itself.

        One of several may have to wait for the lease of a killed one: the wait for it is short.
        """
        alone = len(self.programs) == 1
        deadline = self.now() + (UP_WITHIN if alone else 1.5)
        while not self.cloud.endpoints[program.index].requests_seen:
            self.cloud.oracle.exempt(self.now())
            await self.wakeup.wait_for(f"asked {program.index}", 0.5)
            if not program.running:
                assert program.process is not None
                self.misconduct.append(f"program {program.index} ended by itself with {program.process.returncode}")
                await program.start()
            if self.now() > deadline and not alone:
                return
            if self.now() > deadline:
                self.misconduct.append(
                    f"program {program.index} asked for nothing within {UP_WITHIN:.0f} s of its start"
                )
                return

    async def kill_one(self, *, life: float, terms: float) -> None:
        """Let one program run for a while, then end it at some instant, and restart it."""
        program = self._rng.choice(self.programs)
        await self.wait_until_up(program)
        await asyncio.sleep(self._rng.uniform(0, life))
        if self._rng.random() < terms:
            await self._term(program)
        else:
            await self._wait_for_moment(life)
            await self._kill(program)
        await program.start()

    async def _wait_for_moment(self, life: float) -> None:
        """Wait for an instant: a random one, just after a message arrived, or just after a list was read completely."""
        match self._rng.choice(("uniform", "uniform", "request", "whole")):
            case "request":
                await self.wakeup.wait_for("request", 1.0)
                await asyncio.sleep(self._rng.uniform(0, 0.01))
            case "whole":
                await self.wakeup.wait_for("whole", 1.0)
                await asyncio.sleep(self._rng.uniform(0, 0.02))
            case _:
                await asyncio.sleep(self._rng.uniform(0, life))

    async def _kill(self, program: Program) -> None:
        self.kills += 1
        start = self.now()
        await program.kill()
        self.record_disturbance("kill", start, program.index, life_ends=True)

    async def _term(self, program: Program) -> None:
        self.terms += 1
        code = await program.end()
        self.cloud.disturb(program.index, life_ends=True)
        self.receiver.forget_waits()
        if code != 0:
            self.misconduct.append(f"program {program.index} ended with {code} after SIGTERM")

    async def pause(self, seconds: float) -> None:
        """Suspend a program in the middle of its work for longer than its leases, then resume it."""
        program = self._rng.choice(self.programs)
        await self.wait_until_up(program)
        await self.wakeup.wait_for("request", 1.0)
        self.pauses += 1
        program.send(signal.SIGSTOP)
        self.record_disturbance("stop", self.now(), program.index)
        await asyncio.sleep(seconds)
        start = self.now()
        program.send(signal.SIGCONT)
        await asyncio.sleep(2)  # it now finishes the deliveries that it had claimed
        self.record_disturbance("stop's end", start, program.index, late=True)
