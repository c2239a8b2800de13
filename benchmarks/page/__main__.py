"""How long each page takes over 100,000 tasks and a million attempts, and how large it is.

The page is served by a process of its own as the service serves it, over HTTP, while a poll that changes fifty tasks
is recorded each second. Every page is asked for by a browser that has not seen it, one request after the other, in
English and in Chinese. "unchanged" is the same request by a browser that has the page: it says so by its tag.

    python benchmarks/page [--tasks 100000] [--times 200] [--database FILE | --postgres URL] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parent.parent))
from figures import Measure, Report, add_arguments

from notifier.store.engine import admin_engine, open_store
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
    "timeline, 31 days": "/timeline?days=31",
    "statistics": "/statistics?days=30",
    "statistics, 90 days": "/statistics?days=90",
    "deliveries": "/deliveries",
    "deliveries, delivered": "/deliveries?state=delivered",
    "mutes": "/mutes",
    "mutes, preview": "/mutes?instance=prod-017",
    "configuration": "/configuration",
}
"""What is asked for, by name. The empty ones are links that an earlier page contains."""
MEASURES = (
    Measure(name="p50 ms", digits=1),
    Measure(name="p99 ms", digits=1),
    Measure(name="unchanged p50 ms", digits=1),
    Measure(name="kB", digits=1),
    Measure(name="kB gzip", digits=1),
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
            "unchanged p50 ms": 1000 * statistics.median(self.unchanged),
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
        tags[language] = got.headers["ETag"]
    for number in range(times // 4):
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
    return {"task": task, "tasks, page 2": second.replace("&amp;", "&")}


async def round_of(url: str, times: int) -> dict[str, Timed]:
    """Measure every page once."""
    async with serving(url) as address, httpx.AsyncClient(base_url=address, timeout=60) as client:
        found = PAGES | await links(client)
        for path in found.values():  # what is compiled and remembered once is not what is measured
            await client.get(path)
        return {name: await measure(client, path, times) for name, path in found.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--database", type=Path, help="a SQLite file, filled unless it exists")
    parser.add_argument("--postgres", help="the URL of an empty PostgreSQL database")
    add_arguments(parser)
    arguments = parser.parse_args()
    with database(arguments) as url:
        rounds: Sequence[dict[str, Timed]] = [
            asyncio.run(round_of(url, arguments.times)) for _ in range(arguments.rounds)
        ]
    table = {
        name: {measure.name: [one[name].values()[measure.name] for one in rounds] for measure in MEASURES}
        for name in PAGES
    }
    Report("page", arguments.json).table(f"{arguments.tasks:,} tasks", table, MEASURES)


if __name__ == "__main__":
    main()
