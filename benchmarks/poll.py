"""Polls of a task list, beside fetching and decoding alone on bare aiohttp and beside the official SDK's bare listing.

All of them read the same bytes from the same local server and take turns in each round, so the ratios count more than
the figures. The server is a process of its own that answers from memory. CPU seconds are those of the reading process
and its threads.

The first poll records every task, each time in a new database. Beside it somebody else uses the same event loop and
database: the longest wait for a transaction, and the longest delay of the loop, are columns too.

    python benchmarks/poll.py [--tasks 1000 10000 100000] [--rounds 3] [--delay-ms 0]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from email.utils import formatdate
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, urlsplit

import aiohttp
import msgspec
from figures import Measure, Report, Rows, add_arguments

from notifier.cli import event_loop
from notifier.clock import SystemClock
from notifier.core.polling import PollRules
from notifier.core.routing import ChannelPolicy, Route, RoutingConfig
from notifier.core.usual_memory import UsualMemory
from notifier.http import HttpClient
from notifier.poll import PollReport, poll_once
from notifier.sources.access import SourceAccess, SourceRuntime
from notifier.sources.gaussdb import GaussDBSource
from notifier.sources.gaussdb_settings import GaussDBSettings
from notifier.store.engine import SqlStore, open_store

PROJECT = "0611f1bd8b00d5d32f17c017f15b599f"
AK, SK = "QTWAOYTTINDUT2QVKYUC", "MFyfvK41ba2giqM7Uio6PznpdUKGpownRZlmVmHc"  # the dummy pair of the vendor's samples
PAGE = 100
UNLIMITED = 1_000_000_000
RULES = PollRules(poll_every=timedelta(seconds=30), lease=timedelta(hours=1), calls_per_minute=UNLIMITED)
BYSTANDER_PAUSE = 0.02
"""Time between two transactions of somebody else, in seconds."""
FETCHED, LISTED = "fetch and decode", "SDK's listing"
UNCHANGED, CHANGED_POLL, FIRST = "poll, 0 % changed", "poll, 1 % changed", "first poll"
ORDER = (FETCHED, LISTED, UNCHANGED, CHANGED_POLL, FIRST)
CHANGED = 0.01
"""Share of the tasks that change before a poll that is to find changes."""
ROUTING = RoutingConfig(
    routes=(Route(name="failures", channels=("dba",)),), policies={"dba": ChannelPolicy(name="dba")}
)


# ---- the server: pages rendered once, answered by a bare protocol ----


def row(number: int, version: int) -> dict[str, object]:
    """Return a finished task; another version of it ended at another time."""
    return {
        "instance_info": {
            "instance_id": f"{number:032x}in14",
            "instance_name": f"gauss-{number % 997:04d}",
            "instance_status": "normal",
        },
        "job_id": f"{number:08x}-135c-4245-8bd8-b0bc6d3350b3",
        "name": "BackupSnapshotGaussDBV5InInstance",
        "status": "Completed",
        "process": None,
        "fail_reason": None,
        "created_at": "2026-01-05T08:15:07+0800",
        "ended_at": f"2026-01-{6 + version % 20:02d}T03:06:52+0800",
    }


class Pages:
    """The list, its rows rendered once."""

    def __init__(self, tasks: int) -> None:
        self.date = formatdate(usegmt=True).encode()
        self.versions = [0] * tasks
        self.rows = [json.dumps(row(n, 0)).encode() for n in range(tasks)]

    def touch(self, share: float, seed: int) -> None:
        """Give another end to a share of the tasks."""
        for number in random.Random(seed).sample(range(len(self.rows)), round(len(self.rows) * share)):
            self.versions[number] += 1
            self.rows[number] = json.dumps(row(number, self.versions[number])).encode()

    def answer(self, offset: int) -> bytes:
        rows = b", ".join(self.rows[offset : offset + PAGE])
        body = b'{"tasks": [%b], "total_count": %d}' % (rows, len(self.rows))
        head = b"HTTP/1.1 200 OK\r\nDate: %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        return head % (self.date, len(body)) + body


class Server(asyncio.Protocol):
    """Answers GET requests that come one at a time on a connection."""

    def __init__(self, pages: Pages, delay: float) -> None:
        self.pages = pages
        self.delay = delay
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            request, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            target = urlsplit(request.split(b" ", 2)[1].decode())
            answer = self._answer(target.path, parse_qs(target.query))
            if self.delay:
                asyncio.get_running_loop().call_later(self.delay, self.transport.write, answer)
            else:
                self.transport.write(answer)

    def _answer(self, path: str, query: Mapping[str, list[str]]) -> bytes:
        if path.startswith("/touch/"):
            self.pages.touch(float(path.rpartition("/")[2]), seed=sum(self.pages.versions))
            return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        return self.pages.answer(int(query.get("offset", ["0"])[0]))


async def serve_pages(tasks: int, delay: float) -> None:
    pages = Pages(tasks)
    server = await asyncio.get_running_loop().create_server(lambda: Server(pages, delay), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until the parent closes the pipe
    server.close()


@contextmanager
def server_of(tasks: int, delay_ms: float) -> Iterator[str]:
    command = [sys.executable, __file__, "--serve", str(tasks), "--delay-ms", str(delay_ms)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.communicate()


# ---- what is measured ----


class _Instance(msgspec.Struct):
    instance_id: str | None = None
    instance_name: str | None = None
    instance_status: str | None = None


class _Task(msgspec.Struct):
    job_id: str
    name: str
    status: str
    process: str | None = None
    fail_reason: str | None = None
    created_at: str | None = None
    ended_at: str | None = None
    instance_info: _Instance | None = None


class _Page(msgspec.Struct):
    tasks: list[_Task]
    total_count: int


async def fetch_and_decode(session: aiohttp.ClientSession, url: str, tasks: int) -> int:
    """Read all pages, eight in flight, into plain structs: what no poll can do without."""
    decode = msgspec.json.Decoder(_Page).decode
    offsets = iter(range(0, tasks, PAGE))
    found: list[_Task] = []

    async def read() -> None:
        for offset in offsets:
            async with session.get(f"{url}/v3/{PROJECT}/tasks?limit={PAGE}&offset={offset}") as reply:
                found.extend(decode(await reply.read()).tasks)

    await asyncio.gather(*(read() for _ in range(8)))
    return len(found)


def sdk_listing(url: str, tasks: int) -> int:
    """Read all pages with the official SDK, one by one as its users do, and nothing else."""
    from huaweicloudsdkcore.auth.credentials import BasicCredentials  # noqa: PLC0415 - a third of a second to import
    from huaweicloudsdkgaussdbforopengauss.v3 import (  # noqa: PLC0415 - likewise
        GaussDBforopenGaussClient,
        ListTasksRequest,
    )

    credentials = BasicCredentials(AK, SK, PROJECT)
    client = GaussDBforopenGaussClient.new_builder().with_credentials(credentials).with_endpoint(url).build()
    found = 0
    for offset in range(0, tasks, PAGE):
        found += len(client.list_tasks(ListTasksRequest(offset=offset, limit=PAGE)).tasks)
    return found


def source_of(url: str, http: HttpClient) -> GaussDBSource:
    settings = GaussDBSettings.model_validate(
        {
            "kind": "gaussdb",
            "name": "prod",
            "region": "local",
            "endpoint": url,
            "project_id": PROJECT,
            "auth": {"kind": "aksk", "access_key": AK, "secret_key": SK},
            "paging": "record",
            "calls_per_minute": UNLIMITED,
        }
    )
    runtime = SourceRuntime(http=http, clock=SystemClock(), rng=random.Random(1))
    return GaussDBSource(settings, SourceAccess(settings, runtime))


async def poll(source: GaussDBSource, store: SqlStore, usual: UsualMemory) -> PollReport:
    report = await poll_once(source, store, owner="bench", rules=RULES, routing=ROUTING, force=True, usual=usual)
    assert report.complete, report
    return report


async def timed(work: Callable[[], Awaitable[object]]) -> dict[str, float]:
    started, cpu = time.perf_counter(), time.process_time()
    await work()
    return {"s": time.perf_counter() - started, "CPU s": time.process_time() - cpu}


@dataclass
class Bystander:
    """Somebody else who uses the database and the event loop. It records its longest waits, in seconds."""

    transaction: float = 0.0
    """The longest wait for a transaction."""
    loop: float = 0.0
    """The longest delay of a timer."""

    async def go_on(self, store: SqlStore) -> None:
        while True:
            started = time.perf_counter()
            await asyncio.sleep(BYSTANDER_PAUSE)
            woken = time.perf_counter()
            self.loop = max(self.loop, woken - started - BYSTANDER_PAUSE)
            await store.transact(lambda tx: tx.credentials.state("bystander"))
            self.transaction = max(self.transaction, time.perf_counter() - woken)


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Readers:
    """Everything that reads the list, with what it keeps between two polls."""

    def __init__(self, url: str, tasks: int, folder: Path) -> None:
        self._url, self._tasks, self._folder = url, tasks, folder
        self._http = HttpClient()
        self._session = aiohttp.ClientSession()
        self._store, self._source = self._new("kept.db")
        self._usual = UsualMemory()

    def _new(self, name: str) -> tuple[SqlStore, GaussDBSource]:
        store = open_store(f"sqlite:///{self._folder / name}", exclusive=True)
        return store, source_of(self._url, self._http)

    async def aclose(self) -> None:
        await self._store.aclose()
        await self._session.close()
        await self._http.aclose()

    async def first(self, number: int) -> dict[str, float]:
        """Poll into a new database, beside somebody else who uses it."""
        store, source = self._new(f"first-{number}.db")
        bystander = Bystander()
        going_on = asyncio.create_task(bystander.go_on(store))
        found = await timed(lambda: poll(source, store, UsualMemory()))
        going_on.cancel()
        await asyncio.wait({going_on})
        await store.aclose()
        waits = {"others wait ms": bystander.transaction * 1000, "loop late ms": bystander.loop * 1000}
        return found | waits | {"µs CPU a task": found["CPU s"] / self._tasks * 1e6}

    async def growth(self) -> float:
        """Poll for the first time and again, and return by how much the memory of this process grew, in MB."""
        before = resident_mb()
        await poll(self._source, self._store, self._usual)
        await self.unchanged()
        return resident_mb() - before

    async def fetched(self) -> None:
        await fetch_and_decode(self._session, self._url, self._tasks)

    async def listed(self) -> None:
        await asyncio.to_thread(sdk_listing, self._url, self._tasks)

    async def touch(self) -> None:
        await self._http.exchange("GET", f"{self._url}/touch/{CHANGED}", deadline=30, max_bytes=100)

    async def changed(self) -> None:
        assert (await poll(self._source, self._store, self._usual)).changed == round(self._tasks * CHANGED)

    async def unchanged(self) -> None:
        assert (await poll(self._source, self._store, self._usual)).changed == 0


async def measure(tasks: int, rounds: int, delay_ms: float) -> Rows:
    """Return what each reader cost. The round before the first is a warm-up."""
    rows: dict[str, dict[str, list[float]]] = {}
    with server_of(tasks, delay_ms) as url, tempfile.TemporaryDirectory() as folder:
        readers = Readers(url, tasks, Path(folder))
        rows[UNCHANGED] = {"MB grown": [await readers.growth()]}
        works: dict[str, Callable[[], Awaitable[object]]] = {
            FETCHED: readers.fetched,
            LISTED: readers.listed,
            UNCHANGED: readers.unchanged,
            CHANGED_POLL: readers.changed,
        }
        for number in range(rounds + 1):
            found: dict[str, dict[str, float]] = {}
            for name, work in works.items():
                await readers.touch() if work == readers.changed else None
                found[name] = await timed(work)
            found[FIRST] = await readers.first(number) if number else {}
            for name, values in found.items() if number else ():
                for measure, value in values.items():
                    rows.setdefault(name, {}).setdefault(measure, []).append(value)
        await readers.aclose()
    return rows


MEASURES = (
    Measure(name="s", digits=3, peers=(FETCHED, LISTED)),
    Measure(name="CPU s", digits=3, peers=(FETCHED, LISTED)),
    Measure(name="µs CPU a task", digits=1),
    Measure(name="others wait ms"),
    Measure(name="loop late ms"),
    Measure(name="MB grown"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--delay-ms", type=float, default=0.0, help="time that the server waits before it answers")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    add_arguments(parser)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        event_loop.run(serve_pages(arguments.serve, arguments.delay_ms / 1000))
        return
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "HOME"):  # the SDK reads them
        os.environ.pop(name, None)
    report = Report("poll", arguments.json)
    for tasks in arguments.tasks:
        rows = event_loop.run(measure(tasks, arguments.rounds, arguments.delay_ms))
        report.table(f"{tasks:,} tasks", {name: rows[name] for name in ORDER}, MEASURES)


if __name__ == "__main__":
    main()
