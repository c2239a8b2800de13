"""dramatiq on Redis: `python -m dramatiq systems.dramatiq_redis` works, running this module submits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import dramatiq
import urllib3
import work
from dramatiq.brokers.redis import RedisBroker

place = work.place()
dramatiq.set_broker(RedisBroker(url=place.store))
http = urllib3.PoolManager(maxsize=work.CONCURRENCY, retries=False, timeout=work.TIMEOUT)


@dramatiq.actor(max_retries=0)
def send(url: str, body: str) -> None:
    http.request("POST", url, body=body, headers={"content-type": "application/json"})


async def accept(numbers: Sequence[int]) -> None:
    for number in numbers:
        for url in place.urls:
            send.send(url, work.body(number).decode())


if __name__ == "__main__":
    asyncio.run(work.serve(accept, at_once=1))
