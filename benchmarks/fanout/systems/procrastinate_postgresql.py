"""procrastinate on PostgreSQL: `install` creates its tables, `worker` runs its worker, no argument submits."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

import aiohttp
import procrastinate
import work

place = work.place()
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=place.store, min_size=4, max_size=16))
sessions: list[aiohttp.ClientSession] = []


@app.task(name="send")
async def send(url: str, body: str) -> None:
    async with sessions[0].post(url, data=body, headers={"content-type": "application/json"}) as reply:
        await reply.read()


async def accept(numbers: Sequence[int]) -> None:
    jobs = [{"url": url, "body": work.body(number).decode()} for number in numbers for url in place.urls]
    await send.batch_defer_async(*jobs)


async def main() -> None:
    async with app.open_async():
        if "worker" not in sys.argv:
            await work.serve(accept)
            return
        timeout = aiohttp.ClientTimeout(total=work.TIMEOUT)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
            sessions.append(session)
            await app.run_worker_async(concurrency=work.CONCURRENCY, delete_jobs="always")


async def install() -> None:
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


if __name__ == "__main__":
    asyncio.run(install() if "install" in sys.argv else main())
