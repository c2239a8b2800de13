"""taskiq on Redis: `python -m taskiq worker systems.taskiq_redis:broker` works, running this module submits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aiohttp
import work
from taskiq import TaskiqEvents, TaskiqState
from taskiq_redis import ListQueueBroker

place = work.place()
broker = ListQueueBroker(place.store)
sessions: list[aiohttp.ClientSession] = []


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def open_session(_state: TaskiqState) -> None:
    timeout = aiohttp.ClientTimeout(total=work.TIMEOUT)
    sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout))


@broker.task(task_name="send")  # by default named after its module, which is another in the process that submits
async def send(url: str, body: str) -> None:
    async with sessions[0].post(url, data=body, headers={"content-type": "application/json"}) as reply:
        await reply.read()


async def accept(numbers: Sequence[int]) -> None:
    await asyncio.gather(*(send.kiq(url, work.body(n).decode()) for n in numbers for url in place.urls))


async def main() -> None:
    await broker.startup()
    await work.serve(accept, at_once=work.CONCURRENCY)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
