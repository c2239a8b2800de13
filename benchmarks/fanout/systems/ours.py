"""The notifier itself: its configuration, its wiring, its service; events are accepted as a poll accepts them."""

from __future__ import annotations

import asyncio
import cProfile
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import work

from notifier import logs
from notifier.cli import event_loop, garbage
from notifier.config import loading as configuration
from notifier.config.config import Config
from notifier.core import outbox
from notifier.core.events import EventType
from notifier.core.model import Event, Task, TaskStatus, event_id
from notifier.core.routing import route_events
from notifier.ports import Store
from notifier.service.service import Service
from notifier.store.transaction import Transaction
from notifier.wiring.app import open_app

PROJECT = "0611f1bd8b00d5d32f17c017f15b599f"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - of the specification's example
FEW = 20
"""Events that a short transaction accepts."""
CREATED, ENDED = datetime(2026, 1, 15, 8, 17, tzinfo=UTC), datetime(2026, 1, 15, 8, 29, 20, tzinfo=UTC)
OCCURRENCE = f"failed|{ENDED.isoformat()}"


def webhooks(place: work.Place) -> Sequence[Mapping[str, object]]:
    """Return a signed webhook to every receiver."""
    hook = {"kind": "webhook", "secret": SECRET, "concurrency": work.CONCURRENCY, "timeout": f"{work.TIMEOUT}s"}
    return [hook | {"name": f"receiver-{n}", "url": url} for n, url in enumerate(place.urls)]


def config_of(place: work.Place, channels: Sequence[Mapping[str, object]]) -> Config:
    """Return a configuration in which every event goes to each of the channels; its one source is never there."""
    auth = {"kind": "aksk", "access_key": "unused", "secret_key": "unused"}
    source = {"name": "prod", "kind": "gaussdb", "region": "local", "endpoint": "http://127.0.0.1:9", "auth": auth}
    document = {
        "store": {"url": place.store or f"sqlite:///{place.folder}/notifier.db", "migrate": True},
        "sources": [source | {"project_id": PROJECT, "poll_every": "1h"}],
        "channels": channels,
        "routes": [{"name": "everything", "channels": [channel["name"] for channel in channels]}],
    }
    return configuration.loads(json.dumps(document), {}, origin="benchmark")


def event_of(number: int, now: datetime) -> Event:
    task = Task(
        source="prod",
        job_id=work.job_id(number),
        name="CreateGaussDBV5Instance",
        status=TaskStatus.FAILED,
        raw_status="Failed",
        instance_id=f"{number:032x}in14",
        instance_name=f"gauss-{number:08d}",
        instance_status="creating",
        created_at=CREATED,
        ended_at=ENDED,
        fail_reason=work.FAIL_REASON,
    )
    return Event(
        id=event_id(task.source, task.job_id, OCCURRENCE),
        type=EventType.TASK_FAILED,
        source=task.source,
        region="cn-north-4",
        project_id=PROJECT,
        occurrence=OCCURRENCE,
        observed_at=now,
        occurred_at=task.ended_at,
        task=task,
        previous_status="running",
    )


async def accept(service: Service, numbers: Sequence[int]) -> None:
    """Record the events of these numbers and plan their deliveries, as a poll does."""
    app = service.app
    routing, now = app.routing, app.clock.now()
    routed = route_events([event_of(number, now) for number in numbers], routing.routes)

    def record(tx: Transaction) -> None:
        recorded = tx.events.record(routed)
        tx.deliveries.record(outbox.plan(recorded.new, routing, tx.channels.parked(), now))

    await service.delivering.plan(record, short=len(numbers) < FEW)


async def run(place: work.Place) -> None:
    logs.configure("warning", "json", sys.stderr)
    async with open_app(config_of(place, webhooks(place)), exclusive=not place.store) as app:
        garbage.leave_out_what_lasts()
        service, stop = Service(app), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(service.run(stop))
            async with profiled(app.store, place.profile):
                await work.serve(partial(accept, service))
            stop.set()


@asynccontextmanager
async def profiled(store: Store[object, object], folder: str) -> AsyncIterator[None]:
    """Profile the CPU time of the event loop's thread and of the writer's. Without a folder, neither."""
    if not folder:
        yield
        return
    profiles = {"loop": cProfile.Profile(time.thread_time), "writer": cProfile.Profile(time.thread_time)}
    if sys.version_info < (3, 12):  # later ones have room for one profiler only
        await store.transact(lambda _: profiles["writer"].enable())
    profiles["loop"].enable()
    try:
        yield
    finally:
        profiles["loop"].disable()
        await store.transact(lambda _: profiles["writer"].disable())
        for name, profile in profiles.items():
            profile.dump_stats(Path(folder) / f"{name}.prof")


if __name__ == "__main__":
    event_loop.run(run(work.place()))
