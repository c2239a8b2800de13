"""Celery on Redis: `python -m celery -A systems.celery_redis worker` works, running this module submits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import urllib3
import work
from celery import Celery

place = work.place()
app = Celery("fanout", broker=place.store)
app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=64,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    task_serializer="json",
)
http = urllib3.PoolManager(maxsize=work.CONCURRENCY, retries=False, timeout=work.TIMEOUT)


@app.task(name="send")  # by default it is named after its module, which is another in the process that submits
def send(url: str, body: str) -> None:
    http.request("POST", url, body=body, headers={"content-type": "application/json"})


async def accept(numbers: Sequence[int]) -> None:
    with app.producer_pool.acquire(block=True) as producer:
        for number in numbers:
            for url in place.urls:
                send.apply_async((url, work.body(number).decode()), producer=producer)


if __name__ == "__main__":
    asyncio.run(work.serve(accept, at_once=1))
