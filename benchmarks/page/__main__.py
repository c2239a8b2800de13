"""How long each page takes over 100,000 tasks and a million attempts, and how large it is.

The page is served by a process of its own as the service serves it, over HTTP, while a poll that changes fifty tasks
is recorded each second. Every page is asked for by a browser that has not seen it, one request after the other, in
English and in Chinese. "unchanged" is the same request by a browser that has the page: it says so by its tag.

The peer is what somebody would otherwise put before the same SQLite file, Datasette, for the pages that it has as well
(where `make bench-peers` has installed it): it formats rows and knows nothing of tasks, and no poll runs beside it.

With --profile it measures what a page costs its process instead, whatever else the machine does: see `costs`.

    python benchmarks/page [--tasks 100000] [--times 200] [--database FILE | --postgres URL] [--rounds 3] [--profile]
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parent.parent))
from figures import Measure, Report, Rows, add_arguments, ratios

from notifier.store.engine import admin_engine, open_store
from page import costs
from page.history import SOURCES, fill

HERE = Path(__file__).parent
PAGES = {
    "now": "/",
    "tasks": "/tasks",
    "tasks, failed": "/tasks?status=failed&since=30d",
    "tasks, search": "/tasks?q=prod-017",
    "tasks, page 2": "",
    "task": "",
    "timeline": "/timeline?days=7",
    "timeline, by type": "/timeline?days=7&by=type",
    "timeline, 31 days": "/timeline?days=31",
    "timeline, 90 days": "/timeline?days=90&by=type",
    "statistics, 7 days": "/statistics?days=7",
    "statistics": "/statistics?days=30",
    "statistics, 90 days": "/statistics?days=90",
    "deliveries": "/deliveries",
    "deliveries, delivered": "/deliveries?state=delivered",
    "delivery": "",
    "mutes": "/mutes",
    "mutes, preview": "/mutes?instance=prod-017",
    "reports": "/reports",
    "configuration": "/configuration",
}
"""What is asked for, by name. The empty ones are links that an earlier page contains."""
DATASETTE = HERE.parent.parent / ".venv-peers/bin/datasette"
PEER_PAGES = {
    "tasks": "tasks?_sort_desc=changed_at&_size=50",
    "tasks, failed": "tasks?status=failed&_sort_desc=changed_at&_size=50",
    "deliveries": "deliveries?state=dead&_sort_desc=seq&_size=50",
}
"""The pages that the peer has too, by the name of ours."""
MEASURES = (
    Measure(name="p50 ms", digits=1),
    Measure(name="p99 ms", digits=1),
    Measure(name="unchanged p50 ms", digits=1),
    Measure(name="kB", digits=1),
    Measure(name="kB gzip", digits=1),
)
PEER_MEASURES = (
    Measure(name="ours p50 ms", digits=1),
    Measure(name="Datasette p50 ms", digits=1),
    Measure(name="ratio", digits=2),
)


@dataclass
class Timed:
    """What one page took in one round."""

    fresh: list[float] = field(default_factory=list)
    unchanged: list[float] = field(default_factory=list)
    content: bytes = b""

    def values(self) -> dict[str, float]:
        """Return the measures."""
        return {
            "p50 ms": 1000 * statistics.median(self.fresh),
            "p99 ms": 1000 * statistics.quantiles(self.fresh, n=100)[98],
            **({"unchanged p50 ms": 1000 * statistics.median(self.unchanged)} if self.unchanged else {}),
            "kB": len(self.content) / 1000,
            "kB gzip": len(gzip.compress(self.content)) / 1000,
        }


@contextmanager
def database(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield the URL of a filled database. A file that exists is used as it is."""
    with tempfile.TemporaryDirectory() as folder:
        file = arguments.database or Path(folder) / "notifier.db"
        url = arguments.postgres or f"sqlite:///{file}"
        is_filled = arguments.database is not None and file.exists()
        open_store(url, migrate=True).close()
        if not is_filled:
            with admin_engine(url) as engine, engine.begin() as connection:
                print("written:", fill(connection, arguments.tasks, datetime.now(UTC)), flush=True)
        yield url


@asynccontextmanager
async def serving(url: str) -> AsyncIterator[str]:
    """Start the server; yield its address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, HERE / "serve.py", url, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("no pipes")
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.stdin.close()
        await process.wait()


@asynccontextmanager
async def serving_peer(file: Path) -> AsyncIterator[str]:
    """Start Datasette on a file; yield the address of the database's pages."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ("--port", str(port), "--setting", "sql_time_limit_ms", "20000")
    process = await asyncio.create_subprocess_exec(
        DATASETTE, "serve", file, *options, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await _until_open(port)
        yield f"http://127.0.0.1:{port}/{file.stem}/"
    finally:
        process.terminate()
        await process.wait()


async def _until_open(port: int) -> None:
    for _ in range(300):
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.1)
    raise RuntimeError("the peer does not listen")


async def measure(client: httpx.AsyncClient, path: str, times: int) -> Timed:
    """Ask for a page this many times."""
    timed, tags = Timed(), dict[str, str]()
    for number in range(times):
        language = ("en", "zh")[number % 2]
        started = time.perf_counter()
        got = await client.get(path, headers={"Accept-Language": language})
        timed.fresh.append(time.perf_counter() - started)
        got.raise_for_status()
        timed.content = got.content
        tags[language] = got.headers.get("ETag", "")
    for number in range(times // 4 if all(tags.values()) else 0):
        language = ("en", "zh")[number % 2]
        started = time.perf_counter()
        again = await client.get(path, headers={"Accept-Language": language, "If-None-Match": tags[language]})
        timed.unchanged.append(time.perf_counter() - started)
        tags[language] = again.headers["ETag"]
    return timed


async def links(client: httpx.AsyncClient) -> dict[str, str]:
    """Return the addresses that pages lead to: the newest task's, and that of the second page."""
    listed = (await client.get("/tasks")).text
    task = next(
        f"/tasks/{part.split(chr(34))[0]}"
        for source in SOURCES
        for part in listed.split('href="/tasks/')
        if part.startswith(f"{source}/")
    )
    second = next((part.split('"')[0] for part in listed.split('href="') if "after=" in part.split('"')[0]), "/tasks")
    delivered = (await client.get("/deliveries?state=delivered")).text
    delivery = next(f"/deliveries/{part.split(chr(34))[0]}" for part in delivered.split('href="/deliveries/')[1:])
    return {"task": task, "tasks, page 2": second.replace("&amp;", "&"), "delivery": delivery}


async def addresses(client: httpx.AsyncClient) -> dict[str, str]:
    """Return the address of every page by its name."""
    return PAGES | await links(client)


async def round_of(url: str, times: int) -> dict[str, Timed]:
    """Measure every page once."""
    async with serving(url) as address, httpx.AsyncClient(base_url=address, timeout=60) as client:
        found = await addresses(client)
        for path in found.values():  # what is compiled and remembered once is not what is measured
            await client.get(path)
        return {name: await measure(client, path, times) for name, path in found.items()}


async def peer_round_of(file: Path, times: int) -> dict[str, float]:
    """Return the median of the peer's pages in milliseconds, by the name of ours."""
    async with serving_peer(file) as address, httpx.AsyncClient(base_url=address, timeout=60) as client:
        for path in PEER_PAGES.values():
            await client.get(path)
        timed = {name: await measure(client, path, times) for name, path in PEER_PAGES.items()}
    return {name: one.values()["p50 ms"] for name, one in timed.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--database", type=Path, help="a SQLite file, filled unless it exists")
    parser.add_argument("--postgres", help="the URL of an empty PostgreSQL database")
    parser.add_argument("--profile", action="store_true", help="CPU time of reads and HTML, in this process")
    add_arguments(parser)
    arguments = parser.parse_args()
    if arguments.profile:
        profile(arguments)
        return
    rounds, peers = list[dict[str, Timed]](), list[dict[str, float]]()
    with database(arguments) as url:
        for _ in range(arguments.rounds):
            rounds.append(asyncio.run(round_of(url, arguments.times)))
            if DATASETTE.exists() and url.startswith("sqlite"):
                peers.append(asyncio.run(peer_round_of(Path(url.removeprefix("sqlite:///")), arguments.times // 4)))
    table = {
        name: {measure.name: [one[name].values()[measure.name] for one in rounds] for measure in MEASURES}
        for name in PAGES
    }
    report = Report("page", arguments.json)
    report.table(f"pages: {arguments.tasks:,} tasks", table, MEASURES)
    if peers:
        report.table("lists: beside Datasette on the same file", _compared(rounds, peers), PEER_MEASURES)


def profile(arguments: argparse.Namespace) -> None:
    """Measure what pages cost, and print it."""
    with database(arguments) as url:
        spent = [asyncio.run(costs.costs(url, addresses, arguments.times)) for _ in range(arguments.rounds)]
    report = Report("page", arguments.json)
    report.table(f"CPU time: {arguments.tasks:,} tasks", costs.table(spent), costs.COSTS)


def _compared(rounds: Sequence[dict[str, Timed]], peers: Sequence[dict[str, float]]) -> Rows:
    table: dict[str, dict[str, list[float]]] = {}
    for name in PEER_PAGES:
        ours, theirs = [one[name].values()["p50 ms"] for one in rounds], [one[name] for one in peers]
        table[name] = {"ours p50 ms": ours, "Datasette p50 ms": theirs, "ratio": list(ratios(ours, theirs))}
    return table


if __name__ == "__main__":
    main()
