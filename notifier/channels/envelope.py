"""The facts of a message as plain data: the standard body of a webhook, and what templates see. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from notifier.channels.templates import DIGEST
from notifier.wording.marks import without_marks
from notifier.wording.sanitize import one_line
from notifier.wording.summary import SummaryFormatter

if TYPE_CHECKING:
    from notifier.channels.base import ChannelContext
    from notifier.core.foreseen import Expectation
    from notifier.core.maintenance_values import MaintenanceNotice
    from notifier.core.model import Event, MuteWindow, Task
    from notifier.core.started_by import StartedBy
    from notifier.core.storms import Storm
    from notifier.ports import RenderRequest
    from notifier.wording.events import EventFormatter
    from notifier.wording.message import Message, SummaryMessage


def message_type(request: RenderRequest) -> str:
    """Return the `type` of a message: that of its event, or `digest`."""
    return DIGEST if request.digest else request.events[0].type


def facts(request: RenderRequest, context: ChannelContext) -> dict[str, Any]:
    """Return what templates see: the envelope, and `headline`, one line for people that says what, where and why."""
    import msgspec  # noqa: PLC0415 - reading settings must not load it

    formatter = context.formatter
    if request.digest:
        headline = SummaryFormatter(formatter).describe(request).push
    else:
        headline = formatter.describe(request.events[0], request.routing).headline.push
    plain: dict[str, Any] = msgspec.to_builtins(envelope(request, context))
    return plain | {"headline": headline}


def envelope(request: RenderRequest, context: ChannelContext) -> dict[str, Any]:
    """Return the standard body for an encoder of msgspec. Its shape is a contract with receivers.

    A time is a datetime in UTC of a whole second, which the encoder writes as RFC 3339 does; a member of an enumeration
    is written as its value.
    """
    more: dict[str, Any] = {}
    if request.storm:
        more["storm"] = _storm(request.storm)
    if mention := request.mention:
        more["mention"] = [*mention]
    formatter = context.formatter
    if request.digest:
        return _digest(request, formatter, more)
    return _event(formatter.describe(request.events[0], request.routing), more)


def _digest(request: RenderRequest, formatter: EventFormatter, more: Mapping[str, Any]) -> dict[str, Any]:
    summary = SummaryFormatter(formatter).describe(request)
    events = [_event(formatter.describe(event, request.routing), {}) for event in request.events]
    head = {"summary": without_marks(summary.sentence), "severity": request.severity}
    data = {**head, **_page(summary), **more, "events": events}
    latest = max(event.observed_at for event in request.events)
    return {"type": DIGEST, "timestamp": _second(latest), "data": data}


def _event(message: Message, more: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event and what we know beyond the API. A key of that is always there, with null for what is unknown."""
    event, reason = message.event, message.explained
    cause = reason.explanation.cause
    data = {
        "event_id": event.id,
        "source": event.source,
        "region": event.region,
        "project_id": event.project_id,
        "late": event.late,
        "previous_status": event.previous_status,
        "task": _task(event.task, message.operation) if event.task else None,
        **_circumstances(event),
        "summary": message.summary,
        "severity": message.severity,
        "environment": event.environment or None,
        "labels": dict(event.labels),
        "error_code": reason.explanation.code,
        "cause": cause.id if cause else None,
        "means": reason.meaning or None,
        "action": message.advice or None,
        "duration_seconds": _duration(event),
        "console_url": message.console_url or None,
        "runbook_url": message.runbook_url or None,
        **_page(message),
        "dedup_key": event.subject,
        **more,
    }
    return {"type": event.type, "timestamp": _second(message.moment), "data": data}


def _page(message: Message | SummaryMessage) -> dict[str, str]:
    """Return the link to our page. The key is only there where one is configured."""
    return {"page_url": message.page.url} if message.page.url else {}


def _circumstances(event: Event) -> dict[str, Any]:
    """Return what few events have. Such a key is there only where there is something to say."""
    found: dict[str, Any] = {}
    if event.detail is not None:
        found["detail"] = event.detail
    if event.channel:
        found["channel"] = event.channel
    if event.since is not None:
        found["since"] = _second(event.since)
    if event.count is not None:
        found["count"] = event.count
    found |= {name: _plain(value) for name in ("report", "handed_over") if (value := getattr(event, name))}
    if event.counts:
        found["counts"] = dict(event.counts)
    if closed := event.closes:
        found["closes"] = {
            "type": closed.type,
            "since": _second(closed.since),
            "failures": closed.failures,
            "acknowledged_by": closed.acknowledged_by or None,
        }
    if repeats := event.repeats:
        found["repeats"] = {"since": _second(repeats.since), "failures": repeats.failures}
    if about := event.follow_up:
        found["open_failure"] = {
            "id": about.failure_id,
            "type": about.type,
            "event_id": about.event_id,
            "failures": about.failures,
            "number": about.number,
            "told": [*about.told],
            "together": about.together,
            "last": about.last,
        }
    if event.mute:
        found["mute"] = _mute(event.mute)
    return found | _known_beyond(event)


def _started_by(value: StartedBy) -> dict[str, Any]:
    return {
        "name": value.name or None,
        "via": value.via,
        "agency": value.agency or None,
        "address": value.address or None,
    }


def _known_beyond(event: Event) -> dict[str, Any]:
    """Return what is known beyond the list: who started the task, how long such tasks take, what should have happened.

    Such a key is there only where there is something to say.
    """
    found: dict[str, Any] = {}
    if event.started_by:
        found["started_by"] = _started_by(event.started_by)
    if usual := event.usual:
        found["usual"] = {
            "low_seconds": round(usual.low),
            "high_seconds": round(usual.high),
            "runs": usual.runs,
            "basis": usual.basis,
        }
    if limit := event.overdue:
        found["overdue"] = {"after_seconds": round(limit.seconds), "matcher": limit.matcher or None}
    if missing := event.expectation:
        found["expectation"] = _expectation(missing)
    if planned := event.maintenance:
        found["maintenance"] = _maintenance(planned)
    return found


def _expectation(missing: Expectation) -> dict[str, Any]:
    return {
        "name": missing.name,
        "instance": {"id": missing.instance_id, "name": missing.instance_name},
        "every_seconds": round(missing.every),
        "last_run_at": _second(missing.last),
        "expected_at": _second(missing.expected_at),
        "overdue_at": _second(missing.overdue_at),
        "intervals": missing.intervals or None,
        "rule": missing.rule or None,
    }


def _maintenance(planned: MaintenanceNotice) -> dict[str, Any]:
    return {
        "id": planned.id,
        "name": planned.name or None,
        "status": planned.status.value,
        "level": planned.level or None,
        "instance": {"id": planned.instance_id, "name": planned.instance_name},
        "impact": planned.impact,
        "reason": planned.reason,
        "starts_at": _second(planned.starts_at),
        "ends_at": _second(planned.ends_at),
        "planned_at": _second(planned.planned_at),
        "latest_at": _second(planned.latest_at),
        "executed_at": _second(planned.executed_at),
        "job_id": planned.job_id or None,
        "vanished": planned.vanished,
    }


def _mute(window: MuteWindow) -> dict[str, Any]:
    return {
        "id": window.id,
        "covers": window.covers,
        "since": _second(window.since),
        "until": _second(window.until),
        "by": window.name or None,
        "reason": window.reason or None,
        "except_failures": window.except_failures,
        "ended_by": window.ended_by or None,
        "next": _second(window.next_at),
        "held": dict(window.held),
        "named": [{"name": name, "instance": instance or None} for name, instance in window.named],
    }


def _plain(value: Any) -> Any:  # noqa: ANN401 - a value of any shape
    """Return a value of the core as data: of a dataclass its fields by name, of a time its whole second."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return _second(value) if isinstance(value, datetime) else value


def _duration(event: Event) -> int | None:
    """Return the seconds from the creation of a task to its end, or to the event where it has not ended."""
    task = event.task
    if task is None or task.created_at is None:
        return None
    end = task.ended_at if task.status.terminal else event.observed_at
    seconds = (end - task.created_at).total_seconds() if end else -1
    return int(seconds) if seconds >= 0 else None


def _storm(storm: Storm) -> dict[str, Any]:
    return {
        "id": storm.id,
        "started_at": _second(storm.started_at),
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


def _task(task: Task, operation: str) -> dict[str, Any]:
    return {
        "job_id": task.job_id,
        "name": task.name,
        "label": operation,
        "status": task.status,
        "raw_status": task.raw_status,
        "progress": _number(task.progress),
        "instance": {"id": task.instance_id, "name": task.instance_name, "status": task.instance_status},
        "created_at": _second(task.created_at),
        "ended_at": _second(task.ended_at),
        "fail_reason": task.fail_reason,
        **({"alarm": _plain(task.alarm)} if task.alarm else {}),
    }


def _number(value: float | None) -> float | None:
    return int(value) if value is not None and value.is_integer() else value


def _second(moment: datetime | None) -> datetime | None:
    """Return a time in UTC without its fraction of a second."""
    if moment is None:
        return None
    moment = moment.astimezone(UTC)
    return moment.replace(microsecond=0) if moment.microsecond else moment
