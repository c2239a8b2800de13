"""The JSON documents of the command line, the API and the MCP server: one function for each value.

Keys are a contract; times are RFC 3339 in UTC.
"""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from notifier.core.access import ApiToken
from notifier.core.causes import Explanation
from notifier.core.delivery import Attempt, Delivery
from notifier.core.expectations import Judged
from notifier.core.failures import OpenFailure
from notifier.core.foreseen import Expectation
from notifier.core.health import LIST_OPEN, ChannelStatus, HealthFinding, HealthReport, SourceStatus
from notifier.core.health_facts import Expected, serves
from notifier.core.identity import DirectChannel
from notifier.core.maintenance_mutes import MaintenanceMuteNow
from notifier.core.maintenance_values import MaintenanceNotice, MaintenanceRecord, PlannedMaintenance
from notifier.core.model import ChannelState, Event, SourceState, Task
from notifier.core.mutes import Mute
from notifier.core.origins import OriginFigures
from notifier.core.people import Acknowledgement, Action, EventSubscription
from notifier.core.routing import Otherwise, RoutedEvent, RouteVerdict
from notifier.core.started_by import StartedBy
from notifier.core.subscriptions import is_readable
from notifier.core.tickets import Ticket, TicketFields
from notifier.core.usual import Usual
from notifier.lookup import Audit, ChannelRecord, EventRecord, TaskExplanation
from notifier.mutes import EndedMute, MutePreview
from notifier.ports import CheckResult, StoredTask, TaskStatistics

JsonDocument = dict[str, Any]


def time(value: datetime | None) -> str | None:
    """Return `2026-01-15T08:30:00Z`, with microseconds unless they are 0."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value else None


def task(value: Task) -> JsonDocument:
    """Return a task as the API listed it."""
    return {
        "source": value.source,
        "job_id": value.job_id,
        "name": value.name,
        "status": value.status.value,
        "raw_status": value.raw_status,
        "progress": value.progress,
        "instance": {"id": value.instance_id, "name": value.instance_name, "status": value.instance_status},
        "created_at": time(value.created_at),
        "ended_at": time(value.ended_at),
        "fail_reason": value.fail_reason,
        "alarm": asdict(value.alarm) if value.alarm else None,
    }


def stored_task(value: StoredTask, explained: Explanation, language: str) -> JsonDocument:
    """Return a task with what the store recorded about it, what is known about its reason, and what people did."""
    return task(value.task) | {
        **known_cause(explained, language),
        "first_seen_at": time(value.first_seen_at),
        "changed_at": time(value.changed_at),
        "listed": value.listed,
        "usual": usual(value.usual) if value.usual else None,
        "started_by": value.started_by and started_by(value.started_by),
        "acknowledged": value.acknowledged and acknowledgement(value.acknowledged),
        "muted": value.muted and mute(value.muted),
    }


def known_cause(value: Explanation, language: str) -> JsonDocument:
    """Return what a reason means, in one language; `inferred` says that the meaning is a usual one and not certain."""
    return {
        "error_code": value.code,
        "cause": value.cause.id if value.cause else None,
        "means": value.means(language),
        "action": value.action(language),
        "retry": value.retry.value if value.retry else None,
        "inferred": value.inferred,
        "runbook_url": value.runbook_url,
    }


def acknowledgement(value: Acknowledgement) -> JsonDocument:
    """Return who acknowledged an event, and when."""
    return {"by": value.by, "name": value.name, "at": time(value.at)}


def mute(value: Mute) -> JsonDocument:
    """Return a mute. Its id, instance and the time of its end are what older versions had."""
    return {
        "id": value.id,
        "covers": value.shown,
        "instance": value.instance,
        "label": value.shown,
        "match": [str(matcher) for matcher in value.match],
        "except_failures": value.except_failures,
        "since": time(value.since),
        "until": time(value.until),
        "by": value.name,
        "reason": value.reason,
        "cron": value.cron,
        "timezone": value.timezone,
        "last": time(value.last),
        "configured": value.configured,
    }


def ended_mute(value: EndedMute) -> JsonDocument:
    """Return a mute whose window was ended."""
    return {"mute": mute(value.mute), "held": dict(value.held.counts), "next": time(value.next_at)}


def mute_preview(value: MutePreview) -> JsonDocument:
    """Return what a mute would have held back."""
    return {
        "since": time(value.since),
        "counts": dict(value.counts),
        "named": [{"name": name, "instance": instance or None} for name, instance in value.named],
        "windows": [{"since": time(window.since), "until": time(window.until)} for window in value.windows],
        "whole": value.whole,
    }


def open_failure(value: OpenFailure, error_code: str | None) -> JsonDocument:
    """Return an open failure, or one that was resolved, with its history."""
    event_, task_, about = value.latest, value.latest.task, value.latest.matter
    return {
        "id": value.id,
        "state": value.state.value,
        "source": event_.source,
        "environment": event_.environment or None,
        "severity": value.severity.value,
        "type": event_.type.value,
        "job_id": event_.job_id,
        "name": (about and about.name) or None,
        "instance": about
        and {"id": about.instance_id, "name": about.instance_name, "status": task_ and task_.instance_status},
        "maintenance": event_.maintenance and maintenance_notice(event_.maintenance),
        "fail_reason": task_ and task_.fail_reason,
        "error_code": error_code,
        "since": time(value.opened_at),
        "failures": value.count,
        "told": [*value.told],
        "acknowledged": value.acknowledged and acknowledgement(value.acknowledged),
        "next": time(value.next_at),
        "history": [
            {
                "at": time(entry.at),
                "kind": entry.kind.value,
                "name": entry.name or None,
                "number": entry.number or None,
                "event_id": entry.event_id or None,
                "channels": [*entry.channels],
                "together": entry.together,
                "reason": entry.reason or None,
            }
            for entry in value.history
        ],
    }


def subscription(value: EventSubscription) -> JsonDocument:
    """Return a subscription to events. Its receiver is the id in the chat of a person or a channel."""
    direct = DirectChannel.parse(value.channel)
    return {
        "id": value.id,
        "receiver": direct.id if direct else value.channel,
        "channel": value.channel,
        "matchers": value.matchers,
        "readable": is_readable(value),
        "by": value.by,
        "name": value.name,
        "created_at": time(value.created_at),
    }


def event(value: Event) -> JsonDocument:
    """Return an event, with the task as it was then."""
    return {
        "event_id": value.id,
        "type": value.type.value,
        "source": value.source,
        "region": value.region,
        "project_id": value.project_id,
        "environment": value.environment,
        "labels": dict(value.labels),
        "severity": value.severity.value,
        "channel": value.channel,
        "since": time(value.since),
        "occurred_at": time(value.occurred_at),
        "observed_at": time(value.observed_at),
        "late": value.late,
        "quiet": value.quiet,
        "previous_status": value.previous_status,
        "detail": value.detail,
        "count": value.count,
        "counts": dict(value.counts),
        "task": task(value.task) if value.task else None,
        "usual": usual(value.usual) if value.usual else None,
        "overdue": asdict(value.overdue) if value.overdue else None,
        "expectation": expectation(value.expectation) if value.expectation else None,
        "maintenance": maintenance_notice(value.maintenance) if value.maintenance else None,
        "started_by": value.started_by and started_by(value.started_by),
    }


def started_by(value: StartedBy) -> JsonDocument:
    """Return who started a task; null for what is not known or not kept."""
    return {
        "name": value.name or None,
        "via": value.via.value,
        "agency": value.agency or None,
        "address": value.address or None,
    }


def maintenance_notice(value: MaintenanceNotice) -> JsonDocument:
    """Return a maintenance as it was when an event about it was recorded."""
    return _planned(value) | {"vanished": value.vanished}


def maintenance(value: MaintenanceRecord, now: datetime) -> JsonDocument:
    """Return a maintenance that the cloud plans, or that is over, as it was last listed."""
    return {
        "source": value.source,
        **_planned(value.planned),
        "vanished": value.vanished,
        "open": value.is_open(now),
        "over": value.over,
        "first_seen_at": time(value.first_seen_at),
        "changed_at": time(value.changed_at),
        "reminder_at": time(value.due_at),
    }


def maintenance_mute(value: MaintenanceMuteNow) -> JsonDocument:
    """Return a mute that is in force while a maintenance is open."""
    one = value.mute
    return {
        "name": one.name,
        "match": [str(matcher) for matcher in one.match],
        "except_failures": one.except_failures,
        "reason": one.reason,
        "instances": [*value.instances],
    }


def _planned(value: PlannedMaintenance) -> JsonDocument:
    return {
        "id": value.id,
        "name": value.name,
        "status": value.status.value,
        "raw_status": value.raw_status,
        "level": value.level,
        "instance_id": value.instance_id,
        "instance_name": value.instance_name,
        "impact": value.impact,
        "reason": value.reason,
        "starts_at": time(value.starts_at),
        "ends_at": time(value.ends_at),
        "planned_at": time(value.planned_at),
        "latest_at": time(value.latest_at),
        "executed_at": time(value.executed_at),
        "created_at": time(value.created_at),
        "updated_at": time(value.updated_at),
        "job_id": value.job_id,
    }


def usual(value: Usual) -> JsonDocument:
    """Return how long tasks usually take, in seconds."""
    return asdict(value) | {"basis": value.basis.value}


def task_statistics(value: TaskStatistics, label: str) -> JsonDocument:
    """Return how the tasks of one operation ended, and how long they took."""
    ended = value.completed + value.failed
    return {
        "name": value.name,
        "label": label,
        "running": value.running,
        "completed": value.completed,
        "failed": value.failed,
        "other": value.other,
        "failure_rate": value.failed / ended if ended else None,
        "durations": asdict(value.durations) if value.durations else None,
    }


def origin_figures(value: OriginFigures) -> JsonDocument:
    """Return how many starts of tasks were explained, and how long rows of the log take to appear, in seconds."""
    return asdict(value)


def expectation(value: Expectation) -> JsonDocument:
    """Return a run that did not appear."""
    times = {name: time(getattr(value, name)) for name in ("last", "expected_at", "overdue_at")}
    return asdict(value) | times


def routed_event(value: RoutedEvent) -> JsonDocument:
    """Return an event with the routes that matched it and the channels that it was planned for."""
    return event(value.event) | {"routes": list(value.routes), "channels": list(value.channels)}


def delivery(value: Delivery) -> JsonDocument:
    """Return a delivery, with its recipients where their states differ."""
    return {
        "delivery_id": value.id,
        "channel": value.channel,
        "subject": value.subject,
        "state": value.state.value,
        "attempt": value.attempt,
        "reason": value.reason,
        "rule": value.rule,
        "reply": value.reply,
        "doubtful": value.outcome_unknown,
        "ref": value.ref,
        "digest": value.digest,
        "storm": {"id": value.storm.id, "failures": value.storm.total} if value.storm else None,
        "created_at": time(value.created_at),
        "available_at": time(value.available_at),
        "settled_at": time(value.settled_at),
        "dismissed_at": time(value.dismissed_at),
        "events": [{"event_id": e.id, "type": e.type.value, "job_id": e.job_id} for e in value.events],
        "recipients": [
            {"address": one.address, "state": one.state.value, "reason": one.reason} for one in value.recipients
        ],
    }


def attempt(value: Attempt) -> JsonDocument:
    """Return an attempt; `doubt` is how the unknown outcome of an earlier attempt was resolved."""
    return {
        "number": value.number,
        "started_at": time(value.started_at),
        "finished_at": time(value.finished_at),
        "outcome": value.outcome,
        "reason": value.reason,
        "reply": value.reply,
        "doubt": value.resolution.value if value.resolution else None,
    }


def source_state(value: SourceState) -> JsonDocument:
    """Return a source with its last polls and its number of tasks."""
    return {
        "name": value.name,
        "last_poll_at": time(value.last_poll_at),
        "last_full_at": time(value.last_full_at),
        "baseline_at": time(value.baseline_at),
        "failing_since": time(value.failing_since),
        "last_error": value.last_error,
        "tasks": value.tasks,
        "running": value.running,
    }


def verdict(value: RouteVerdict) -> JsonDocument:
    """Return the verdict of a route; where it did not match, the failed matcher or the route with `stop`."""
    failed = value.failed_matcher
    return {
        "route": value.route.name,
        "matched": value.matched,
        "channels": list(value.route.channels),
        "severity": value.route.severity,
        "mention": list(value.route.mention),
        "stop": value.route.stop,
        "template": value.route.template,
        "wait": value.route.wait.total_seconds() if value.route.wait else None,
        "group_by": list(value.route.group_by),
        "repeats": value.route.repeats.total_seconds() if value.route.repeats else None,
        "remind": [wait.total_seconds() for wait in value.route.remind],
        "escalate": value.route.escalate,
        "ticket": _wanted_ticket(value.route.ticket) if value.route.ticket else None,
        "window": _window(value) if value.route.active else None,
        "failed_matcher": str(failed) if failed else None,
        "actual": value.actual,
        "skipped_by": value.skipped_by,
    }


def _wanted_ticket(value: TicketFields) -> JsonDocument:
    known = {"priority": value.priority, "assignee": value.assignee, "project": value.project}
    return known | {"labels": list(value.labels), "fields": dict(value.fields)}


def _window(value: RouteVerdict) -> JsonDocument:
    route = value.route
    return {
        "active": str(route.active),
        "open": route.is_open,
        "otherwise": str(route.otherwise) if isinstance(route.otherwise, Otherwise) else list(route.otherwise),
        "opens_at": time(value.opens_at),
    }


def explanation(value: TaskExplanation, explained: Explanation, language: str) -> JsonDocument:
    """Return a task and its events, each with the routes' verdicts and the delivery record of every channel."""
    return {
        "task": stored_task(value.task, explained, language),
        "events_pruned": value.task.events_pruned,
        "events": [_event_account(account) for account in value.events],
        "tickets": [_ticket(one) for one in value.tickets],
        "failures": [open_failure(one, explained.code) for one in value.failures],
    }


def _ticket(value: Ticket) -> JsonDocument:
    return {
        "channel": value.channel,
        "label": value.label,
        "url": value.url,
        "state": value.state,
        "closed_at": time(value.closed_at),
        "closed_by": value.closed_by,
        "follows": value.previous,
    }


def expected_run(value: Judged, now: datetime) -> JsonDocument:
    """Return a run that is expected, and whether it is overdue."""
    return expectation(value.expected) | {"source": value.event.source, "overdue": value.overdue_at <= now}


def event_explanation(value: EventRecord) -> JsonDocument:
    """Return an event with the routes' verdicts and the delivery record of every channel."""
    return {"events": [_event_account(value)]}


def _event_account(value: EventRecord) -> JsonDocument:
    return {
        "event": routed_event(value.routed),
        "routes_now": [verdict(v) for v in value.verdicts],
        "channels": [_channel_account(account) for account in value.channels],
    }


def _channel_account(value: ChannelRecord) -> JsonDocument:
    return {
        "channel": value.channel,
        "planned": value.planned,
        "delivery": delivery(value.delivery) if value.delivery else None,
        "attempts": [attempt(a) for a in value.attempts],
    }


def audit(value: Audit, parked: Iterable[ChannelState]) -> JsonDocument:
    """Return the ledger and the parked channels."""
    ledger = value.ledger
    return {
        "ok": value.ok,
        "at": time(value.at),
        "events": ledger.events,
        "unrouted": ledger.unrouted,
        "pairs": ledger.pairs,
        "by_state": {state.value: count for state, count in ledger.by_state.items()},
        "unaccounted": [{"event_id": event_id, "channel": channel} for event_id, channel in ledger.unaccounted],
        "dead": [delivery(d) for d in ledger.dead],
        "oldest_pending": time(ledger.oldest_pending),
        "parked": [
            {"channel": channel.name, "since": time(channel.stopped_since), "reason": channel.reason}
            for channel in parked
        ],
    }


def health(value: HealthReport) -> JsonDocument:
    """Return the verdict on health, its findings, and the state of every source and channel."""
    return {
        "ok": value.ok,
        "at": time(value.at),
        "findings": [health_finding(finding) for finding in value.findings],
        "sources": [_source_health(source) for source in value.sources],
        "channels": [_channel_health(channel) for channel in value.channels],
        "open_failures": {"unacknowledged": value.unacknowledged, "commands": [LIST_OPEN]},
    }


def health_finding(value: HealthFinding) -> JsonDocument:
    """Return one finding."""
    return {
        "kind": value.kind.value,
        "about": value.about,
        "red": value.red,
        "since": time(value.since),
        "count": value.count,
        "reason": value.reason,
        "commands": list(value.commands),
    }


def channel(value: ChannelStatus, expected: Expected) -> JsonDocument:
    """Return a channel with its health and its backlog."""
    backlog = value.backlog
    return _channel_health(value) | {
        "configured": serves(expected, value.name),
        "pending": backlog.pending,
        "pending_since": time(backlog.pending_since),
        "parked": backlog.parked,
        "dead_since": time(backlog.dead_since),
        "dead_until": time(backlog.dead_until),
        "dead_reason": backlog.dead_reason,
    }


def _channel_health(value: ChannelStatus) -> JsonDocument:
    return {
        "name": value.name,
        "ok": value.ok,
        "parked_since": time(value.parked_since),
        "waiting_since": time(value.waiting_since),
        "failing_since": time(value.failing_since),
        "open_until": time(value.open_until),
        "paused_until": time(value.paused_until),
        "waiting": value.backlog.waiting,
        "dead": value.backlog.dead,
        "reason": value.reason,
    }


def _source_health(value: SourceStatus) -> JsonDocument:
    return {
        "name": value.name,
        "ok": value.ok,
        "last_poll_at": time(value.last_poll_at),
        "failing_since": time(value.failing_since),
        "limit_seconds": value.limit.total_seconds(),
        "error": value.error,
    }


def action(value: Action) -> JsonDocument:
    """Return one recorded action of a person."""
    return {
        "at": time(value.at),
        "by": value.by,
        "name": value.name,
        "verb": value.verb.value,
        "target": value.target,
        "detail": value.detail,
    }


def token(value: ApiToken) -> JsonDocument:
    """Return one token of the API, without what recognises it."""
    return {
        "id": value.id,
        "name": value.name,
        "scopes": sorted(value.scopes),
        "by": value.by,
        "by_name": value.by_name,
        "created_at": time(value.created_at),
        "expires_at": time(value.expires_at),
        "used_at": time(value.used_at),
    }


def finding(value: CheckResult) -> JsonDocument:
    """Return the result of one check."""
    return {"ok": value.ok, "proven": value.proven, "what": value.what, "detail": value.detail, "remedy": value.remedy}
