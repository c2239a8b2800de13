"""The facts of a message as plain data: the standard body of a webhook, and what templates see. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from notifier.channels.base import headline
from notifier.channels.templates import DIGEST

if TYPE_CHECKING:
    from notifier.channels.base import ChannelContext
    from notifier.core.model import Event, Task
    from notifier.ports import RenderRequest
    from notifier.wording.localizer import Localizer


def message_type(request: RenderRequest) -> str:
    """Return the `type` of a message: that of its event, or `digest`."""
    return DIGEST if request.digest else request.events[0].type.value


def facts(request: RenderRequest, context: ChannelContext) -> dict[str, Any]:
    """Return what templates see: the envelope, and `headline`, one line for people."""
    return envelope(request, context) | {"headline": headline(request, context.localizer)}


def envelope(request: RenderRequest, context: ChannelContext) -> dict[str, Any]:
    """Return the standard body as plain data. Its shape is a contract with receivers."""
    events = [_event(event, context.localizer) for event in request.events]
    if not request.digest:
        return events[0]
    latest = max(event.observed_at for event in request.events)
    return {"type": DIGEST, "timestamp": _rfc3339(latest), "data": {"events": events}}


def _event(event: Event, localizer: Localizer) -> dict[str, Any]:
    data: dict[str, Any] = {
        "event_id": event.id,
        "source": event.source,
        "region": event.region,
        "project_id": event.project_id,
        "late": event.late,
        "previous_status": event.previous_status,
        "task": _task(event.task, localizer) if event.task else None,
    }
    seldom = {
        "detail": event.detail,
        "channel": event.channel or None,
        "since": _rfc3339(event.since),
        "count": event.count,
    }
    data |= {name: value for name, value in seldom.items() if value is not None}
    return {"type": event.type.value, "timestamp": _rfc3339(event.occurred_at or event.observed_at), "data": data}


def _task(task: Task, localizer: Localizer) -> dict[str, Any]:
    return {
        "job_id": task.job_id,
        "name": task.name,
        "label": localizer.task_label(task.name),
        "status": task.status.value,
        "raw_status": task.raw_status,
        "progress": _number(task.progress),
        "instance": {"id": task.instance_id, "name": task.instance_name, "status": task.instance_status},
        "created_at": _rfc3339(task.created_at),
        "ended_at": _rfc3339(task.ended_at),
        "fail_reason": task.fail_reason,
    }


def _number(value: float | None) -> float | None:
    return int(value) if value is not None and value.is_integer() else value


def _rfc3339(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat(timespec="seconds").removesuffix("+00:00") + "Z" if moment else None
