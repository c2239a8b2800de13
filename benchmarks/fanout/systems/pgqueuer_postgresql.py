"""pgqueuer on PostgreSQL: `install` creates its tables, `worker` runs its worker, no argument submits."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import aiohttp
import asyncpg
import uvloop
import work
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

BATCH = 250


async def worker(place: work.Place) -> None:
    pgq = PgQueuer.from_asyncpg_connection(await asyncpg.connect(place.store))
    timeout = aiohttp.ClientTimeout(total=work.TIMEOUT)
    connector = aiohttp.TCPConnector(limit=0, limit_per_host=work.CONCURRENCY)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        @pgq.entrypoint("send")
        async def send(job: Job) -> None:
            url, body = json.loads(job.payload or b"[]")
            async with session.post(url, data=body, headers={"content-type": "application/json"}) as reply:
                await reply.read()

        await pgq.run(batch_size=BATCH)


async def submitter(place: work.Place) -> None:
    connection = await asyncpg.connect(place.store)
    queries = Queries(AsyncpgDriver(connection))

    async def accept(numbers: Sequence[int]) -> None:
        jobs = [json.dumps([url, work.body(n).decode()]).encode() for n in numbers for url in place.urls]
        await queries.enqueue(["send"] * len(jobs), list(jobs), [0] * len(jobs))

    await work.serve(accept)


async def install(place: work.Place) -> None:
    connection = await asyncpg.connect(place.store)
    await Queries(AsyncpgDriver(connection)).install()


if __name__ == "__main__":
    part = {"install": install, "worker": worker}.get(sys.argv[-1], submitter)
    uvloop.run(part(work.place()))
