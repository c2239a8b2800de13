"""Tasks and events as they are in a database, written without a poll."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from factories import make_delivery, make_event, make_task, rows_of

from notifier.core.delivery import DeliveryState
from notifier.core.events import EventType
from notifier.core.failures import OpenFailure, failure_id
from notifier.core.model import Event, Task, TaskStatus
from notifier.core.routing import RoutedEvent
from notifier.core.severity import Severity
from notifier.core.task_lists import TaskGroup
from notifier.core.tickets import operation_of_task
from notifier.store import rows, schema
from notifier.store.engine import SqlStore

T0 = datetime(2026, 11, 28, 1, 42, 16, tzinfo=UTC)
SOURCES, NAMES = ("prod", "staging"), ("CreateGaussDBV5Instance", "BackupSnapshotGaussDBV5InInstance", "Odd")
INSTANCES = ("prod-orders", "prod_orders", "PROD-ledger", "staging%", None)
REASONS = ("The quota is exceeded. EVS.1042", "OBS.0503: upload failed", "配额不足 EVS.1042", None)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A task as it is in the database."""

    task: Task
    changed_at: datetime
    group: TaskGroup
    unlisted: bool = False

    @property
    def key(self) -> tuple[str, str]:
        return self.task.source, self.task.job_id


def of_kind(group: TaskGroup, number: int, **changes: Any) -> Stored:
    status = {
        TaskGroup.FAILED: TaskStatus.FAILED,
        TaskGroup.COMPLETED: TaskStatus.COMPLETED,
        TaskGroup.RAISED: TaskStatus.RAISED,
        TaskGroup.CLEARED: TaskStatus.CLEARED,
        TaskGroup.OTHER: TaskStatus.UNKNOWN if number % 2 else TaskStatus.RUNNING,
    }.get(group, TaskStatus.RUNNING)
    values: dict[str, Any] = {"status": status, "raw_status": status.capitalize(), "fail_reason": None} | changes
    changed_at = values.pop("changed_at", T0 - timedelta(minutes=number))
    unlisted = group is TaskGroup.OTHER and status is TaskStatus.RUNNING
    task = make_task(values.pop("job_id", f"job-{number:03}"), **values)
    return Stored(task=task, changed_at=changed_at, group=group, unlisted=unlisted)


def many(seed: int, number: int = 120) -> list[Stored]:
    """Return tasks of all kinds, many of which changed at the same time."""
    rng = random.Random(seed)
    found = []
    for n in range(number):
        group = rng.choice(list(TaskGroup))
        instance = rng.choice(INSTANCES)
        found.append(
            of_kind(
                group,
                n,
                source=rng.choice(SOURCES),
                name=rng.choice(NAMES),
                instance_name=instance,
                instance_id=None if instance is None else f"in-{INSTANCES.index(instance)}",
                fail_reason=rng.choice(REASONS) if group is TaskGroup.FAILED else None,
                changed_at=T0 - timedelta(hours=rng.randrange(9)),
            )
        )
    return found


def write(store: SqlStore, stored: Iterable[Stored]) -> None:
    with store.writer.begin() as connection:
        for one in stored:
            more = {"fingerprint": b"x", "occurrence": "o", "missing": 0, "unlisted": one.unlisted}
            times = {"first_seen_at": one.changed_at, "changed_at": one.changed_at, "events_pruned": False}
            connection.execute(sa.insert(schema.tasks), [{**rows.task_values(one.task), **more, **times}])
        stuck = [stuck_failure(one.task) for one in stored if one.group is TaskGroup.STUCK]
        if stuck:
            connection.execute(sa.insert(schema.failures), rows_of(rows.failure_columns(stuck)))


def stuck_failure(task: Task, **changes: Any) -> OpenFailure:
    event = make_event(task, type=EventType.TASK_STALLED, since=T0 - timedelta(hours=1))
    values: dict[str, Any] = {"operation": operation_of_task(task), "job_id": task.job_id, "latest": event}
    values |= {"severity": Severity.ERROR, "opened_at": T0, "changed_at": T0, "first_event_id": event.id}
    values["id"] = failure_id(f"{task.source}/{event.id}")
    return OpenFailure(**values | changes)


def add_event(store: SqlStore, event: Event, channels: Mapping[str, tuple[DeliveryState, str | None]]) -> None:
    routed = RoutedEvent(event=event, routes=("r",), channels=tuple(channels))
    with store.writer.begin() as connection:
        connection.execute(sa.insert(schema.events), rows_of(rows.event_columns([routed])))
        for channel, (state, rule) in channels.items():
            delivery = make_delivery(event, channel=channel, rule=rule)
            [values] = rows_of(rows.delivery_columns([delivery]))
            connection.execute(sa.insert(schema.deliveries), [{**values, "state": state.value}])
            connection.execute(sa.insert(schema.delivery_events), rows_of(rows.delivered_event_columns([delivery])))


def add_failure(store: SqlStore, failure: OpenFailure) -> None:
    with store.writer.begin() as connection:
        connection.execute(sa.insert(schema.failures), rows_of(rows.failure_columns([failure])))
