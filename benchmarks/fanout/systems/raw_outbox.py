"""The least that is durable: a SQLite table, written before the acknowledgement and marked after sending."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import work

Row = tuple[int, str, bytes]


class Outbox:
    """One process, one connection, one transaction for many rows."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.execute(
            "CREATE TABLE outbox (id INTEGER PRIMARY KEY, url TEXT NOT NULL, body BLOB NOT NULL, sent INTEGER)"
        )
        self.db.execute("CREATE INDEX unsent ON outbox (id) WHERE sent IS NULL")

    def add(self, rows: Sequence[tuple[str, bytes]]) -> None:
        self.db.execute("BEGIN IMMEDIATE")
        self.db.executemany("INSERT INTO outbox (url, body) VALUES (?, ?)", rows)
        self.db.execute("COMMIT")

    def unsent(self, after: int, limit: int) -> list[Row]:
        statement = "SELECT id, url, body FROM outbox WHERE sent IS NULL AND id > ? ORDER BY id LIMIT ?"
        return self.db.execute(statement, (after, limit)).fetchall()

    def mark(self, ids: Sequence[int]) -> None:
        self.db.execute("BEGIN IMMEDIATE")
        self.db.executemany("UPDATE outbox SET sent = 1 WHERE id = ?", [(id_,) for id_ in ids])
        self.db.execute("COMMIT")


class Sender:
    """Workers that share one queue, filled from the table. Sent rows are marked many at a time."""

    def __init__(self, outbox: Outbox, session: aiohttp.ClientSession) -> None:
        self.outbox = outbox
        self.session = session
        self.woken = asyncio.Event()
        self.queue = asyncio.Queue[Row](work.CONCURRENCY * 4)
        self.sent: list[int] = []
        self.any_sent = asyncio.Event()

    async def fill(self) -> None:
        last = 0
        while True:
            await self.woken.wait()
            self.woken.clear()
            while rows := self.outbox.unsent(last, 500):
                last = rows[-1][0]
                for row in rows:
                    await self.queue.put(row)

    async def send(self) -> None:
        while True:
            id_, url, body = await self.queue.get()
            try:
                async with self.session.post(url, data=body) as reply:
                    await reply.read()
            except (aiohttp.ClientError, TimeoutError):
                continue  # it stays unsent, for a later run
            self.sent.append(id_)
            self.any_sent.set()

    async def mark(self) -> None:
        while True:
            await self.any_sent.wait()
            self.any_sent.clear()
            sent, self.sent = self.sent, []
            self.outbox.mark(sent)
            await asyncio.sleep(0.02)  # a few hundred rows a transaction under load


async def run(place: work.Place) -> None:
    outbox = Outbox(Path(place.folder) / "outbox.db")
    timeout = aiohttp.ClientTimeout(total=work.TIMEOUT)
    headers = {"content-type": "application/json"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:
        sender = Sender(outbox, session)
        coroutines = [sender.fill(), sender.mark(), *(sender.send() for _ in range(work.CONCURRENCY))]
        tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]

        async def accept(numbers: Sequence[int]) -> None:
            outbox.add([(url, work.body(number)) for number in numbers for url in place.urls])
            sender.woken.set()

        await work.serve(accept)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(run(work.place()))
