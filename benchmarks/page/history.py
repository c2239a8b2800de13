"""A large history: tasks with their events, deliveries and attempts, written as polls and workers leave them.

Rows are inserted in bulk, because recording a million attempts one message after the other would take an hour. They
go through the same encoders as those of the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from random import Random
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from notifier.core.delivery import Attempt, Body, Delivery, DeliveryState, delivery_id
from notifier.core.diff import RecordedTask, TaskWrite, happened_at, occurrence_of
from notifier.core.events import EventType
from notifier.core.failures import FailureState, OpenFailure, failure_id
from notifier.core.model import Event, Task, TaskStatus, event_id
from notifier.core.routing import RoutedEvent
from notifier.core.tickets import operation_of
from notifier.store import rows, schema
from notifier.wording.operations import OPERATIONS

CHANNELS = ("dba", "mail", "tickets")
SOURCES = ("prod", "staging", "drill")
INSTANCES = 400
DAYS = 90
BATCH = 2_000
REASONS = (
    "The storage quota is exceeded. Error code: EVS.1042. Requested: 4000 GB, available: 2560 GB.",
    "The KMS key is disabled or pending deletion. Error code: KMS.0405.",
    "Failed to create the ECS. Error code: Ecs.0319. The flavor is sold out in the availability zone.",
    "Object storage did not answer. Error code: OBS.0503.",
)
SEEN_AFTER = timedelta(seconds=9)
OPEN_FAILURES = 25
"""Of the newest failures, those that nobody has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """One task with everything that followed from it."""

    task: Task
    events: Sequence[RoutedEvent]
    deliveries: Sequence[Delivery]
    attempts: Sequence[Attempt]


def chapters(count: int, rng: Random, now: datetime) -> Iterator[Chapter]:
    """Yield tasks of the last ninety days, the oldest first, with ten attempts each on the average."""
    names = sorted(OPERATIONS)
    for number in range(count):
        created = now - timedelta(days=DAYS) * (1 - (number + rng.random()) / count)
        instance, source = rng.randrange(INSTANCES), rng.choices(SOURCES, [6, 3, 1])[0]
        seconds = rng.lognormvariate(6.2, 0.7)
        ended = created + timedelta(seconds=seconds)
        status = (
            TaskStatus.RUNNING if ended > now else rng.choices([TaskStatus.COMPLETED, TaskStatus.FAILED], [95, 5])[0]
        )
        started = Task(
            source=source,
            job_id=f"{number:08x}-52d4-4f60-9a1e-0c3b8e6f2d17",
            name=rng.choice(names),
            status=TaskStatus.RUNNING,
            raw_status="Running",
            progress=40.0,
            instance_id=f"{instance:030x}in14",
            instance_name=f"{source}-{instance:03}",
            instance_status="normal",
            created_at=created,
            ended_at=None,
            fail_reason=None,
        )
        yield _chapter(started, status, ended, rng)


def _chapter(started: Task, status: TaskStatus, ended: datetime, rng: Random) -> Chapter:
    states = [started]
    if status.terminal:
        reason = rng.choice(REASONS) if status is TaskStatus.FAILED else None
        over = replace(started, status=status, raw_status=str(status).capitalize(), progress=None)
        states.append(replace(over, ended_at=ended, fail_reason=reason))
    events = [_event(task, number) for number, task in enumerate(states)]
    deliveries = [_delivery(routed.event, channel, rng) for routed in events for channel in CHANNELS]
    attempts = [attempt for one in deliveries for attempt in _attempts(one, rng)]
    return Chapter(task=states[-1], events=events, deliveries=deliveries, attempts=attempts)


def _event(task: Task, number: int) -> RoutedEvent:
    types = {TaskStatus.RUNNING: EventType.TASK_STARTED, TaskStatus.FAILED: EventType.TASK_FAILED}
    kind = types.get(task.status, EventType.TASK_COMPLETED)
    occurrence = occurrence_of(task, "new" if number == 0 else "running")
    happened = happened_at(kind, task)
    observed = (happened or task.created_at or datetime.now(UTC)) + SEEN_AFTER
    event = Event(
        id=event_id(task.source, task.job_id, occurrence),
        type=kind,
        source=task.source,
        region="cn-north-4",
        project_id="0611f1bd8b00d5d32f17c017f15b599f",
        occurrence=occurrence,
        observed_at=observed,
        occurred_at=happened,
        task=task,
    )
    return RoutedEvent(event=event, routes=("all",), channels=CHANNELS)


def _delivery(event: Event, channel: str, rng: Random) -> Delivery:
    chance = rng.random()
    state = DeliveryState.DELIVERED
    if chance < 0.02:
        state = DeliveryState.SUPPRESSED
    elif chance < 0.03:
        state = DeliveryState.SUPERSEDED
    elif chance < 0.0305:
        state = DeliveryState.DEAD
    sent = state in (DeliveryState.DELIVERED, DeliveryState.DEAD)
    return Delivery(
        id=delivery_id(channel, event.id),
        channel=channel,
        subject=event.subject,
        state=state,
        available_at=event.observed_at,
        created_at=event.observed_at,
        events=(event,),
        body=Body(content=b'{"text": "A message of the size of most."}' * 6, content_type="application/json")
        if sent
        else None,
        ref="1795860904.000100" if state is DeliveryState.DELIVERED else None,
        reason="HTTP 503" if state is DeliveryState.DEAD else "the instance is muted" if not sent else None,
        rule="mute:4abc" if state is DeliveryState.SUPPRESSED else None,
        settled_at=event.observed_at + timedelta(seconds=rng.expovariate(0.6)),
        attempt=rng.choice((1, 1, 2, 3)) if sent else 0,
    )


def _attempts(one: Delivery, rng: Random) -> Iterator[Attempt]:
    at = one.created_at
    for number in range(1, one.attempt + 1):
        ended = at + timedelta(seconds=rng.expovariate(1.0))
        good = number == one.attempt and one.state is DeliveryState.DELIVERED
        yield Attempt(one.id, number, at, ended, "delivered" if good else "retry", None if good else "HTTP 503")
        at = ended + timedelta(seconds=5)


def fill(connection: Connection, count: int, now: datetime, *, seed: int = 1) -> Mapping[str, int]:
    """Write a history of this many tasks into an empty database; return the number of rows of each table."""
    found, total = chapters(count, Random(seed), now), 0
    failed: list[Event] = []
    _sources(connection, now)
    while some := list(islice(found, BATCH)):
        _insert(connection, schema.tasks, [_task_row(one, now) for one in some])
        routed = [event for one in some for event in one.events]
        failed = [*failed, *(one.event for one in routed if one.event.type is EventType.TASK_FAILED)][-OPEN_FAILURES:]
        _insert(connection, schema.events, _rows(rows.event_columns(routed)))
        deliveries = [one for chapter in some for one in chapter.deliveries]
        _insert(connection, schema.deliveries, _delivery_rows(deliveries))
        _insert(connection, schema.delivery_events, _rows(rows.delivered_event_columns(deliveries)))
        attempts = [one for chapter in some for one in chapter.attempts]
        _insert(connection, schema.attempts, _rows(rows.attempt_columns(attempts)))
        total += len(some)
    latest = {operation_of(event): event for event in failed}.values()
    _insert(connection, schema.failures, _rows(rows.failure_columns([_failure(event) for event in latest])))
    counted = (schema.tasks, schema.events, schema.deliveries, schema.attempts)
    return {
        table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() for table in counted
    }


def _task_row(one: Chapter, now: datetime) -> Mapping[str, object]:
    event = one.events[-1].event
    recorded = RecordedTask(task=one.task, occurrence=event.occurrence)
    values = rows.written_values(TaskWrite(recorded=recorded, fingerprint=b"1"), now)
    return values | {"first_seen_at": one.events[0].event.observed_at}


def _delivery_rows(deliveries: Sequence[Delivery]) -> list[Mapping[str, object]]:
    """Return the rows of settled deliveries: the encoder is for new ones."""
    planned = _rows(rows.delivery_columns(deliveries))
    return [
        dict(values)
        | {"body": one.body and one.body.content, "content_type": one.body and one.body.content_type}
        | {"ref": one.ref, "settled_at": one.settled_at, "attempt": one.attempt, "reason": one.reason, "rule": one.rule}
        for values, one in zip(planned, deliveries, strict=True)
    ]


def _failure(event: Event) -> OpenFailure:
    return OpenFailure(
        id=failure_id(event.id),
        operation=operation_of(event) or "",
        state=FailureState.OPEN,
        first_event_id=event.id,
        latest=event,
        opened_at=event.occurred_at or event.observed_at,
        severity=event.severity,
        told=CHANNELS,
        changed_at=event.observed_at,
    )


def _sources(connection: Connection, now: datetime) -> None:
    polled = {"last_poll_at": now, "last_full_at": now, "next_poll_at": now, "baseline_at": now - timedelta(days=DAYS)}
    found = [{"name": name, "region": "cn-north-4", "project_id": f"{name:0>32}", **polled} for name in SOURCES]
    _insert(connection, schema.sources, found)
    _insert(connection, schema.channels, [{"name": name, "good_at": now} for name in CHANNELS])


def _rows(columns: Mapping[str, Sequence[Any]]) -> list[Mapping[str, object]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _insert(connection: Connection, table: sa.Table, found: Sequence[Mapping[str, object]]) -> None:
    if found:
        connection.execute(sa.insert(table), [dict(one) for one in found])
