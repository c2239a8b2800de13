"""The facts of a message as plain data: the standard body of a webhook, and what templates see. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from notifier.channels.templates import DIGEST
from notifier.wording.marks import without_marks
from notifier.wording.sanitize import one_line
from notifier.wording.summary import SummaryFormatter

if TYPE_CHECKING:
    from notifier.channels.base import ChannelContext
    from notifier.core.model import Event, Task
    from notifier.core.storms import Storm
    from notifier.ports import RenderRequest
    from notifier.wording.localizer import Localizer
    from notifier.wording.message import Message


def message_type(request: RenderRequest) -> str:
    """Return the `type` of a message: that of its event, or `digest`."""
    return DIGEST if request.digest else request.events[0].type.value


def facts(request: RenderRequest, context: ChannelContext) -> dict[str, Any]:
    """Return what templates see: the envelope, and `headline`, one line for people that says what, where and why."""
    body, headline = _described(request, context)
    return body | {"headline": headline}


def envelope(request: RenderRequest, context: ChannelContext) -> dict[str, Any]:
    """Return the standard body as plain data. Its shape is a contract with receivers."""
    return _described(request, context)[0]


def _described(request: RenderRequest, context: ChannelContext) -> tuple[dict[str, Any], str]:
    """Return the standard body, and one line for people."""
    formatter = context.formatter
    messages = [formatter.describe(event, request.routing) for event in request.events]
    events = [_event(*one, formatter.localizer) for one in zip(request.events, messages, strict=True)]
    storm = {"storm": _storm(request.storm)} if request.storm else {}
    mention = {"mention": [*request.mention]} if request.mention else {}
    if not request.digest:
        events[0]["data"] |= storm | mention
        return events[0], messages[0].headline.push
    latest = max(event.observed_at for event in request.events)
    summary = SummaryFormatter(formatter).describe(request)
    about = {"summary": without_marks(summary.sentence), "severity": request.severity.value}
    data = about | storm | mention | {"events": events}
    return {"type": DIGEST, "timestamp": _rfc3339(latest), "data": data}, summary.push


def _event(event: Event, message: Message, localizer: Localizer) -> dict[str, Any]:
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
        "counts": dict(event.counts) or None,
    }
    data |= {name: value for name, value in seldom.items() if value is not None}
    data |= _explained(event, message, localizer)
    return {"type": event.type.value, "timestamp": _rfc3339(event.occurred_at or event.observed_at), "data": data}


def _explained(event: Event, message: Message, localizer: Localizer) -> dict[str, Any]:
    """Return what we know beyond the API. Every key is always there; its value is null where nothing is known."""
    sentence, cause = without_marks(message.sentence), message.explanation.cause
    why = message.headline.why
    return {
        "summary": localizer.text("headline.title_why", title=sentence, why=why) if why else sentence,
        "severity": message.severity.value,
        "environment": event.environment or None,
        "labels": dict(event.labels),
        "error_code": message.explanation.code,
        "cause": cause.id if cause else None,
        "means": message.meaning or None,
        "action": message.advice or None,
        "duration_seconds": _duration(event),
        "console_url": message.console_url or None,
        "runbook_url": message.runbook_url or None,
        "dedup_key": event.subject,
    }


def _duration(event: Event) -> int | None:
    """Return the seconds from the creation of a task to its end, or to the event where it has not ended."""
    task = event.task
    if task is None or task.created_at is None:
        return None
    end = task.ended_at if task.status.terminal else event.observed_at
    return int((end - task.created_at).total_seconds()) if end and end >= task.created_at else None


def _storm(storm: Storm) -> dict[str, Any]:
    return {
        "id": storm.id,
        "started_at": _rfc3339(storm.started_at),
        "total": storm.total,
        "instances": len(storm.instances),
        "reasons": [
            {
                "error_code": group.code or None,
                "operation": group.operation,
                "count": group.count,
                "reason": one_line(group.reason) or None,
            }
            for group in storm.groups
        ],
    }


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
