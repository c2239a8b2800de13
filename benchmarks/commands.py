"""What people wait for after slash commands over 100,000 tasks: one after the other, and 2,000 of them at once.

Requests are signed and go over HTTP to processes of their own: our chat as the service runs it, while polls are
recorded, and an app of Slack's Bolt that lists failures by SQL out of the same database, as somebody would write it
(where `make bench-peers` has installed it). The 2,000 come over 100 connections, and each waits from the beginning.
Seconds of CPU are those of the server, threads included. Answers that come too late for Slack are counted apart.

    python benchmarks/commands.py [--tasks 100000] [--times 200] [--crowd 2000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random

import aiohttp
from chat import signing, work
from figures import Measure, Report, add_arguments

from notifier.cli import event_loop
from notifier.store.engine import open_store
from notifier.wording.phrases import text

CONNECTIONS = 100
SLACK_WAITS = 3.0
"""Seconds after which Slack tells the person that the command failed."""
HERE = Path(__file__).parent
SYSTEMS = {"ours": Path(sys.executable), "bolt": HERE.parent / ".venv-peers/bin/python"}
MEASURES = (
    Measure(name="p50 ms", digits=1, peers=("bolt",)),
    Measure(name="p99 ms", digits=1, peers=("bolt",)),
    Measure(name="commands/s", peers=("bolt",)),
    Measure(name="CPU ms each", digits=2, peers=("bolt",)),
    Measure(name="late"),
)


@dataclass(frozen=True)
class Server:
    """A system that answers."""

    url: str
    pid: int

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Answers:
    """How long commands waited, in seconds."""

    took: list[float] = field(default_factory=list)
    late: int = 0


@asynccontextmanager
async def serving(name: str, database: Path) -> AsyncIterator[Server]:
    """Run a system."""
    process = await asyncio.create_subprocess_exec(
        SYSTEMS[name],
        HERE / "chat" / f"{name}.py",
        database,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    url = (await process.stdout.readline()).decode().strip()
    if not url:
        raise RuntimeError(f"{name} has not started")
    try:
        yield Server(url, process.pid)
    finally:
        process.stdin.close()
        await process.wait()


async def ask(server: Server, commands: Sequence[str], together: int) -> Answers:
    """Send commands over as many connections, and wait for the answers to all of them."""
    answers, late = Answers(), text("en", "late.lost").encode()
    begun = time.perf_counter()

    async def send(number: int, command: str) -> None:
        body, headers = signing.request(command, number)
        start = begun if together > 1 else time.perf_counter()
        async with http.post("/slack/commands", data=body, headers=headers) as reply:
            content = await reply.read()
        if reply.status != 200 or b'"blocks"' not in content:
            raise RuntimeError(f"{command}: HTTP {reply.status} {content[:200]!r}")
        answers.took.append(time.perf_counter() - start)
        answers.late += late in content or answers.took[-1] > SLACK_WAITS

    async with aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(limit=together)) as http:
        if together == 1:
            for number, command in enumerate(commands):
                await send(number, command)
        else:
            async with asyncio.TaskGroup() as group:
                for number, command in enumerate(commands):
                    group.create_task(send(number, command))
    return answers


async def measure(
    rows: dict[str, dict[str, list[float]]], server: Server, name: str, commands: Sequence[str], together: int
) -> None:
    """Add what a system did to its row of a table."""
    before, begun = server.cpu(), time.perf_counter()
    answers = await ask(server, commands, together)
    lasted, cpu = time.perf_counter() - begun, server.cpu() - before
    took = sorted(answers.took)
    found = {
        "p50 ms": statistics.median(took) * 1000,
        "p99 ms": took[int(len(took) * 0.99)] * 1000,
        "commands/s": len(took) / lasted,
        "CPU ms each": cpu / len(took) * 1000,
        "late": float(answers.late),
    }
    for measured, value in found.items():
        rows.setdefault(name, {}).setdefault(measured, []).append(value)


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=200, help="commands one after the other")
    parser.add_argument("--crowd", type=int, default=2_000, help="commands at once")
    add_arguments(parser)
    asked = parser.parse_args()
    report = Report("commands", asked.json)
    systems = [name for name, python in SYSTEMS.items() if python.exists()]
    lists = [f"failed 24h {work.instance_name(n % work.INSTANCES)}" for n in range(max(asked.times, asked.crowd))]
    mixed = list(islice(work.commands(Random(3)), asked.crowd))
    single: dict[str, dict[str, list[float]]] = {}
    crowd: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "notifier.db"
        async with aclosing(open_store(f"sqlite:///{path}")) as store:
            await work.fill(store, asked.tasks)
        for _ in range(asked.rounds):
            for name in systems:
                async with serving(name, path) as server:
                    await ask(server, lists[:20], 1)
                    await measure(single, server, name, lists[: asked.times], 1)
                    await measure(crowd, server, name, lists[: asked.crowd], CONNECTIONS)
                    if name == "ours":
                        await measure(single, server, "ours, every kind of command", mixed[: asked.times], 1)
                        await measure(crowd, server, "ours, every kind of command", mixed, CONNECTIONS)
    report.table(f"one after the other: failures of an instance among {asked.tasks:,} tasks", single, MEASURES)
    report.table(f"{asked.crowd:,} at once", crowd, MEASURES)


if __name__ == "__main__":
    event_loop.run(main())
