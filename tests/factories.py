"""Values for tests. Every field has a sensible default; a test names only the fields that it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from notifier.channels.kinds import channel_class, settings_class
from notifier.cli.samples import sample_event
from notifier.core.delivery import Body, Delivery, DeliveryState, Outcome, delivery_id
from notifier.core.diff import TYPES_BY_STATUS
from notifier.core.events import EventType
from notifier.core.failures import failure_id
from notifier.core.foreseen import Expectation
from notifier.core.maintenance_values import RESTART_NODE, MaintenanceStatus, PlannedMaintenance
from notifier.core.matchers import parse_matchers
from notifier.core.model import Event, FollowUp, Task, TaskStatus, event_id
from notifier.core.mutes import HeldBack, Mute, MuteScope, MuteTimes, window_event
from notifier.core.storms import Storm, StormGroup
from notifier.core.usual import Usual, UsualBasis
from notifier.mutes import MuteRequest
from notifier.ports import RenderRequest
from notifier.wording.states import EVENT_ROWS

if TYPE_CHECKING:
    from notifier.channels.base import BaseChannel, ChannelContext

T0 = datetime(2026, 1, 15, 8, 30, tzinfo=UTC)
USUAL = Usual(low=420.0, middle=480.0, high=600.0, runs=14, basis=UsualBasis.INSTANCE)
"""What is usual in tests: 7 to 10 minutes."""
REGION = "cn-north-4"
PROJECT_ID = "0611f1bd8b00d5d32f17c017f15b599f"


def make_task(job_id: str = "31b8ae23-c687-4d80-b7b4-42a66c9bb886", **changes: Any) -> Task:
    """Return a failed creation of an instance, with `changes`."""
    status = TaskStatus(changes.pop("status", TaskStatus.FAILED))
    values: dict[str, Any] = {
        "source": "prod",
        "job_id": job_id,
        "name": "CreateGaussDBV5Instance",
        "status": status,
        "raw_status": status.capitalize(),
        "progress": 60.0 if status is TaskStatus.RUNNING else None,
        "instance_id": "fe2bd7a6d5e34ec8a2d0f0ae3b4d3bcain14",
        "instance_name": "gauss-6568-zzh",
        "instance_status": "creating",
        "created_at": T0 - timedelta(minutes=13),
        "ended_at": T0 - timedelta(seconds=40) if status.terminal else None,
        "fail_reason": "The quota of vCPUs is not enough." if status is TaskStatus.FAILED else None,
    }
    return Task(**values | changes)


def make_event(task: Task | None = None, **changes: Any) -> Event:
    """Return the event that `task` (by default a failed creation) makes when it is found in its status."""
    task = task or make_task()
    occurrence = changes.pop("occurrence", f"{task.status}|{task.ended_at or task.progress}")
    values: dict[str, Any] = {
        "id": event_id(task.source, task.job_id, occurrence),
        "type": TYPES_BY_STATUS[task.status],
        "source": task.source,
        "region": REGION,
        "project_id": PROJECT_ID,
        "occurrence": occurrence,
        "observed_at": T0,
        "occurred_at": task.ended_at or task.created_at,
        "task": task,
        "previous_status": "running" if task.status.terminal else None,
    }
    return Event(**values | changes)


def make_gap(**changes: Any) -> Event:
    """Return an event about a source, with no task: an observation gap."""
    occurrence = "gap|2025-12-01T00:00:00Z|2026-01-15T08:30:00Z"
    values: dict[str, Any] = {
        "id": event_id("prod", "", occurrence),
        "type": EventType.SOURCE_GAP,
        "source": "prod",
        "region": REGION,
        "project_id": PROJECT_ID,
        "occurrence": occurrence,
        "observed_at": T0,
        "occurred_at": None,
        "late": True,
        "detail": "Not observed from 2025-12-01 00:00 to 2026-01-15 08:30 UTC; the API keeps a month.",
    }
    return Event(**values | changes)


TASK_TYPES = tuple(kind for kind in EventType if kind.about_task)
"""The types of the events that are about a task."""
OWN_TYPES = tuple(kind for kind in EventType if not kind.startswith(("task.", "alarm.")))
"""The types of the events that are about a source or a channel."""


def make_alert(kind: EventType = EventType.CHANNEL_FAILING, **changes: Any) -> Event:
    """Return an event about a source that cannot be polled, or about a channel that does not deliver."""
    about_channel = kind.startswith("channel.")
    about_source = kind.startswith("source.")
    since = T0 - timedelta(minutes=6)
    occurrence = f"{kind}@{since.isoformat()}"
    values: dict[str, Any] = {
        "id": event_id("prod" if about_source else "", "", occurrence),
        "type": kind,
        "source": "prod" if about_source else "",
        "region": REGION if about_source else "",
        "project_id": PROJECT_ID if about_source else "",
        "occurrence": occurrence,
        "observed_at": T0,
        "occurred_at": None,
        "detail": None if kind.endswith(("recovered", "monitored")) else "HTTP 503 from example.com",
        "channel": "dba" if about_channel else "",
        "since": None if kind is EventType.SOURCE_MONITORED else since,
        "count": 3 if kind is EventType.CHANNEL_GAVE_UP else None,
        "counts": EVENT_ROWS[kind].sample_counts,
    }
    return Event(**values | changes)


def make_missing(**changes: Any) -> Event:
    """Return an event about a nightly backup that did not appear."""
    expectation = Expectation(
        name="BackupSnapshotGaussDBV5InInstance",
        every=86_400.0,
        overdue_at=T0,
        instance_id="fe2bd7a6d5e34ec8a2d0f0ae3b4d3bcain14",
        instance_name="gauss-6568-zzh",
        last=T0 - timedelta(hours=27),
        last_job="31b8ae23",
        expected_at=T0 - timedelta(hours=3),
        intervals=12,
    )
    values: dict[str, Any] = {
        "id": event_id("prod", "", "missing"),
        "type": EventType.TASK_MISSING,
        "source": "prod",
        "region": REGION,
        "project_id": PROJECT_ID,
        "occurrence": "missing",
        "observed_at": T0,
        "occurred_at": None,
        "expectation": expectation,
    }
    return Event(**values | changes)


def make_event_of(kind: EventType) -> Event:
    """Return an event of this type."""
    if kind.traits.follows_up:
        return make_follow_up(kind)
    if kind in TASK_TYPES:
        return make_event(type=kind)
    if kind is EventType.TASK_MISSING:
        return make_missing()
    if kind.startswith("mute."):
        return make_mute_event(kind)
    if kind.traits.scheduled or kind.about_maintenance:
        return sample_event(kind, T0)
    return make_gap() if kind is EventType.SOURCE_GAP else make_alert(kind)


def make_maintenance(status: MaintenanceStatus = MaintenanceStatus.SCHEDULED, **changes: Any) -> PlannedMaintenance:
    """Return the restart of a node of `orders-prod` in two days, with `changes`."""
    values: dict[str, Any] = {
        "id": "m-1",
        "name": RESTART_NODE,
        "raw_status": status.upper(),
        "level": "major",
        "instance_id": "in14",
        "instance_name": "orders-prod",
        "starts_at": T0 + timedelta(days=2),
        "ends_at": T0 + timedelta(days=2, hours=4),
        "latest_at": T0 + timedelta(days=5),
        "updated_at": T0 - timedelta(hours=1),
    }
    return PlannedMaintenance(status=status, **values | changes)


def make_mute_event(kind: EventType = EventType.MUTE_ENDED, **changes: Any) -> Event:
    """Return the event that begins or ends a window of a mute of two hours."""
    mute = Mute(
        id="7k2m",
        match=parse_matchers("prod-*"),
        since=T0,
        until=T0 + timedelta(hours=2),
        by="U1",
        name="bob",
        created_at=T0,
        reason="patching",
    )
    held = HeldBack(
        counts=((EventType.TASK_COMPLETED, 3), (EventType.TASK_FAILED, 1)),
        named=(("CreateGaussDBV5Instance", "prod-1"),),
    )
    ended = kind is EventType.MUTE_ENDED
    event = window_event(mute, kind, mute.until if ended else T0, held=held if ended else None)
    return replace(event, **changes)


def make_follow_up(kind: EventType = EventType.TASK_REMINDED, event: Event | None = None, **changes: Any) -> Event:
    """Return a reminder or an escalation of the failure that `event` has opened an hour ago."""
    event = event or make_event()
    values: dict[str, Any] = {
        "failure_id": failure_id(event.id),
        "type": event.type,
        "event_id": event.id,
        "failures": 3,
        "number": 1,
    }
    occurrence = f"{kind}:{values['failure_id']}:1"
    return replace(
        event,
        id=event_id(event.source, "", occurrence),
        type=kind,
        occurrence=occurrence,
        occurred_at=None,
        since=event.observed_at - timedelta(hours=1),
        follow_up=FollowUp(**values | changes),
    )


def make_events(count: int, **changes: Any) -> tuple[Event, ...]:
    """Return events of as many tasks, failed and completed in turn, in the order they happened."""
    statuses = (TaskStatus.FAILED, TaskStatus.COMPLETED)
    tasks = (
        make_task(f"job-{n:05d}", status=statuses[n % 2], instance_name=f"gauss-{n:05d}", **changes)
        for n in range(count)
    )
    return tuple(make_event(task, observed_at=T0 + timedelta(seconds=n)) for n, task in enumerate(tasks))


def make_render_request(*events: Event, channel: str = "dba", digest: bool | None = None) -> RenderRequest:
    """Return what a channel is asked to put into words; more than one event make a digest."""
    events = events or (make_event(),)
    return RenderRequest(
        delivery_id=delivery_id(channel, *(event.id for event in events)),
        events=events,
        digest=len(events) > 1 if digest is None else digest,
    )


def make_delivery(*events: Event, channel: str = "dba", body: Body | None = None, **changes: Any) -> Delivery:
    """Return a pending delivery of `events` (by default one failed creation) to `channel`."""
    request = make_render_request(*events, channel=channel)
    values: dict[str, Any] = {
        "id": request.delivery_id,
        "channel": channel,
        "subject": request.events[0].subject if not request.digest else "digest",
        "state": DeliveryState.PENDING,
        "available_at": T0,
        "created_at": T0,
        "events": request.events,
        "digest": request.digest,
        "attempt": 1,
        "body": body,
    }
    return Delivery(**values | changes)


def rows_of(columns: Mapping[str, Sequence[Any]]) -> list[Mapping[str, Any]]:
    """Return the rows that have these columns."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def make_storm(**changes: Any) -> Storm:
    """Return a storm of 300 failures in production, most of them of one reason."""
    obs = StormGroup(code="OBS.0503", operation="BackupSnapshotGaussDBV5InInstance", count=239, reason="down")
    values: dict[str, Any] = {
        "id": "s",
        "channel": "dba",
        "source": "prod",
        "region": REGION,
        "environment": "production",
        "started_at": T0,
        "updated_at": T0 + timedelta(seconds=30),
        "total": 300,
        "latest": 300,
        "groups": (obs, StormGroup(code="", operation="CreateGaussDBV5Instance", count=61)),
        "instances": (("ledger-0", 8), ("ledger-1", 8)),
        "opened_by": "d",
    }
    return Storm(**values | changes)


HOSTILE: Sequence[str] = (
    "<!channel> <!here|now> <@U123> <#C123>",
    "@here @channel @everyone",
    "<https://evil.example/?q=1|click me>",
    "first\r\nBcc: victim@example.com\r\n\r\nbody",
    "first\nsecond\rthird\u2028fourth\u2029fifth\x0bsixth\x85seventh",
    "before\x00after",
    "lone surrogates \ufffd replaced at the edge",
    "invoice\u202egpj.exe \u2066isolated\u2069 \u200fmark",
    "\u0645\u062b\u0627\u0644 \u05d3\u05d5\u05d2\u05de\u05d4 mixed with latin",
    "x" * 20_000,
    "\u4e2d\u6587" * 10_000,
    "``` closes a fence ``` `code` ~~~",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "\"><svg/onload=alert('x')>&amp;&lt;&#x3c;",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J\x9b31m",
    "\U0001f525\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466\U0001f1e8\U0001f1f3 e\u0301",
    '=HYPERLINK("http://evil.example","x")',
    "+1-1 -2+3 @SUM(A1:A9)",
    "{{ 7*7 }} {% for x in range(10**9) %}{% endfor %} ${jndi:ldap://x} #{7*7}",
    "%s %d %n {} {0} {event.__class__}",
    "[markup]bold[/markup] [link=http://evil.example]x[/link]",
    "'; DROP TABLE tasks; --",
    "=?utf-8?q?encoded_word?= =?us-ascii?b?AAAA?=",
    "\ufeffbom \u00ad soft \u200b zero width \u2060 joiner",
    "   ",
    "",
)
"""Texts that anybody who can name an instance, or make a task fail, could inject."""


def mute_request(instance: str, length: timedelta) -> MuteRequest:
    """Return the request to mute an instance, by its name or id, from now on."""
    return MuteRequest(scope=MuteScope(instance=instance), times=MuteTimes(length=length))


def open_channel(kind: str, settings: dict[str, Any], context: ChannelContext) -> BaseChannel[Any]:
    """Return a channel of a kind, made of settings as a configuration has them."""
    return channel_class(kind).open(settings_class(kind).model_validate(settings), context)


def hostile_event(text: str) -> Event:
    """Return an event with `text` in every field that comes from outside."""
    task = make_task(
        f"job-{text}",
        name=text,
        raw_status=text,
        instance_id=text,
        instance_name=text,
        instance_status=text,
        fail_reason=text,
    )
    return make_event(task, previous_status=text, detail=text)


def decision(outcome: Outcome | None) -> Outcome | None:
    """Return an outcome without the receiver's reply, which decides nothing."""
    return outcome and replace(outcome, reply=None)
