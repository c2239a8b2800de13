"""What reports are computed from: one suite for both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from factories import T0, make_delivery, make_event, make_task

from notifier.core.delivery import DeliveryState
from notifier.core.diff import RecordedTask, TaskWrite
from notifier.core.events import EventType
from notifier.core.model import Event, Task
from notifier.core.reports import COUNTED_TYPES, LastSuccess
from notifier.core.routing import RoutedEvent
from notifier.store.engine import SqlStore
from notifier.store.transaction import Transaction

HOUR = timedelta(hours=1)
BACKUP, RESIZE = "BackupSnapshotGaussDBV5InInstance", "ResizeGaussDBV5Flavor"


def event(number: int, kind: EventType, at: datetime) -> Event:
    return make_event(make_task(f"job-{number}"), type=kind, observed_at=at, occurrence=str(number))


async def record(store: SqlStore, *events: Event) -> None:
    routed = [RoutedEvent(event=one, routes=(), channels=("dba",)) for one in events]
    await store.transact(lambda tx: tx.events.record(routed))


async def test_events_are_those_of_the_types_and_of_the_time(store: SqlStore) -> None:
    assert await store.read(lambda q: q.first_event_at()) is None
    before = event(1, EventType.TASK_FAILED, T0 - timedelta(microseconds=1))
    first = event(2, EventType.TASK_FAILED, T0)
    other = event(3, EventType.TASK_STARTED, T0)
    last = event(4, EventType.TASK_UNLISTED, T0 + HOUR - timedelta(microseconds=1))
    after = event(5, EventType.TASK_COMPLETED, T0 + HOUR)
    await record(store, after, last, other, first, before)
    assert await store.read(lambda q: q.events_of_types(COUNTED_TYPES, T0, T0 + HOUR)) == [first, last]
    assert await store.read(lambda q: q.first_event_at()) == before.observed_at


async def test_unsent_messages_are_those_that_were_kept_back_or_died(store: SqlStore) -> None:
    states = (DeliveryState.SUPPRESSED, DeliveryState.DEAD, DeliveryState.DELIVERED, DeliveryState.PENDING)
    events = [event(n, EventType.TASK_FAILED, T0) for n, _ in enumerate(states)]
    await record(store, *events)
    planned = [
        replace(make_delivery(one, channel="dba", subject=one.subject), id=f"d{n}", state=state)
        for n, (one, state) in enumerate(zip(events, states, strict=True))
    ]
    await store.transact(lambda tx: tx.deliveries.record(planned))
    found = await store.read(lambda q: q.unsent(T0, T0 + HOUR))
    assert sorted((one.job_id, state) for one, state in found) == [
        ("job-0", DeliveryState.SUPPRESSED),
        ("job-1", DeliveryState.DEAD),
    ]
    assert await store.read(lambda q: q.unsent(T0 + HOUR, T0 + 2 * HOUR)) == []


def task(job: str, name: str, status: str, hours: int, instance: str | None = "in-1") -> Task:
    return make_task(job, name=name, status=status, instance_id=instance, instance_name="a", ended_at=T0 + hours * HOUR)


async def test_last_successes_are_by_instance_and_name(store: SqlStore) -> None:
    tasks = [
        task("1", BACKUP, "completed", 1),
        task("2", BACKUP, "completed", 3),
        task("3", BACKUP, "failed", 9),
        task("4", RESIZE, "failed", 2),
        task("5", BACKUP, "completed", 2, "in-2"),
    ]

    def write(tx: Transaction) -> None:
        claim = tx.polls.claim("prod", "me", T0, HOUR, force=True)
        assert claim
        tx.polls.fingerprints(claim)
        updates = [TaskWrite(recorded=RecordedTask(task=one, occurrence="o"), fingerprint=b"1") for one in tasks]
        tx.polls.record_tasks(claim, updates, T0)

    await store.transact(write)
    found = await store.read(lambda q: q.last_successes())
    assert sorted(found, key=lambda one: (one.instance_id or "", one.name)) == [
        LastSuccess(source="prod", instance_id="in-1", instance_name="a", name=BACKUP, at=T0 + 3 * HOUR),
        LastSuccess(source="prod", instance_id="in-1", instance_name="a", name=RESIZE, at=None),
        LastSuccess(source="prod", instance_id="in-2", instance_name="a", name=BACKUP, at=T0 + 2 * HOUR),
    ]
