"""Made-up events, to try out routes, templates and channels with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

from notifier.core.events import EventType
from notifier.core.model import Event, Task, TaskStatus, event_id

SAMPLE = "sample"
"""What stands for a source, a job and a project in a made-up event."""

STATUS_OF: Mapping[EventType, TaskStatus] = MappingProxyType(
    {
        EventType.TASK_STARTED: TaskStatus.RUNNING,
        EventType.TASK_PROGRESSED: TaskStatus.RUNNING,
        EventType.TASK_COMPLETED: TaskStatus.COMPLETED,
        EventType.TASK_FAILED: TaskStatus.FAILED,
        EventType.TASK_RESTARTED: TaskStatus.RUNNING,
        EventType.TASK_CHANGED: TaskStatus.UNKNOWN,
        EventType.TASK_UNLISTED: TaskStatus.RUNNING,
        EventType.TASK_STALLED: TaskStatus.RUNNING,
    }
)
"""The status of a task after an event of this type."""

_DETAILS = {
    EventType.SOURCE_FAILING: "no answer from gaussdb.example.com within 20 s",
    EventType.CHANNEL_FAILING: "connection refused by hooks.example.com",
    EventType.CHANNEL_GAVE_UP: "gave up after 9 attempts, last: HTTP 503",
    EventType.STORE_REPLACED: "the database file notifier.db was deleted; saved as notifier.db.rescued",
}
_PREVIOUS = {EventType.TASK_STARTED: None, EventType.TASK_RESTARTED: "failed"}
_RAW = {TaskStatus.UNKNOWN: "Paused"}


def sample_event(kind: EventType, now: datetime, *, marked: str | None = None) -> Event:
    """Return an event of this type, as it could have happened just now.

    `marked` is a sentence that says that nothing happened: it becomes the reason, and the instance is called TEST.
    """
    task = _task(kind, now, marked) if kind in STATUS_OF else None
    channel, own = kind.startswith("channel."), kind.startswith(("channel.", "store."))
    return Event(
        id=event_id(SAMPLE, SAMPLE, f"{kind}@{now.isoformat()}"),
        type=kind,
        source="" if own else SAMPLE,
        region="" if own else "cn-north-4",
        project_id="" if own else SAMPLE,
        occurrence=f"{kind}@{now.isoformat()}",
        observed_at=now,
        occurred_at=task.ended_at or task.created_at if task else None,
        task=task,
        previous_status=_PREVIOUS.get(kind, "running") if task else None,
        detail=_detail(kind, now),
        channel=SAMPLE if channel else "",
        since=_since(kind, now),
        count=3 if kind is EventType.CHANNEL_GAVE_UP else None,
    )


def _since(kind: EventType, now: datetime) -> datetime | None:
    if kind is EventType.TASK_STALLED:
        return now - timedelta(minutes=10)
    return None if kind in STATUS_OF or kind is EventType.SOURCE_GAP else now - timedelta(minutes=6)


def _detail(kind: EventType, now: datetime) -> str | None:
    if kind is EventType.SOURCE_GAP:
        return f"{(now - timedelta(days=40)).isoformat()}/{now.isoformat()}"
    return _DETAILS.get(kind)


def _task(kind: EventType, now: datetime, marked: str | None) -> Task:
    status = STATUS_OF[kind]
    failed = status is TaskStatus.FAILED
    return Task(
        source=SAMPLE,
        job_id=SAMPLE,
        name="CreateGaussDBV5Instance",
        status=status,
        raw_status=_RAW.get(status, status.value.capitalize()),
        progress=None if status.terminal else 60.0,
        instance_id="0123456789abcdef0123456789abcdefin14",
        instance_name="TEST" if marked else "gauss-sample",
        instance_status="creating",
        created_at=now - timedelta(minutes=12, seconds=4),
        ended_at=now if status.terminal else None,
        fail_reason=marked or ("The quota of vCPUs is not sufficient." if failed else None),
    )
