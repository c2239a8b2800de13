"""Sample events, to try out routes, templates and channels with. Each is made from its row in `EVENT_ROWS`."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

from notifier.channels.settings import ChannelSettings
from notifier.channels.templates import DIGEST
from notifier.core.alarms import AlarmFacts, AlarmFeed, AlarmLevel
from notifier.core.delivery import delivery_id
from notifier.core.diff import happened_at
from notifier.core.events import EventType
from notifier.core.failures import failure_id
from notifier.core.foreseen import Expectation, OverdueLimit
from notifier.core.maintenance_values import RESTART_NODE, MaintenanceNotice, MaintenanceStatus
from notifier.core.model import Event, FollowUp, MuteWindow, Task, TaskStatus, event_id
from notifier.core.report_values import (
    HandedOver,
    ListedTask,
    OperationCount,
    OverdueBackup,
    Report,
    ReportBar,
    ReportCounts,
    SlowTask,
)
from notifier.core.routing import DeliveryRouting
from notifier.core.usual import Usual, UsualBasis
from notifier.ports import RenderRequest
from notifier.wording.states import EVENT_ROWS

SAMPLE = "sample"
"""Name of the source, the job and the project of a sample event."""

_PREVIOUS = {EventType.TASK_STARTED: None, EventType.TASK_RESTARTED: "failed"}
_RAW = {TaskStatus.UNKNOWN: "Paused"}


def sample_event(kind: EventType, now: datetime, *, marked: str | None = None) -> Event:
    """Return an event of this type, as it could have happened just now.

    `marked` is a sentence that says that nothing happened: it becomes the reason, and the instance is called TEST.
    """
    status = EVENT_ROWS[kind].state.status
    task = _task(status, now, marked) if status else None
    about_source = kind.about_source
    return Event(
        id=event_id(SAMPLE, SAMPLE, f"{kind}@{now.isoformat()}"),
        type=kind,
        source=SAMPLE if about_source else "",
        region="cn-north-4" if about_source else "",
        project_id=SAMPLE if about_source else "",
        occurrence=f"{kind}@{now.isoformat()}",
        observed_at=now,
        occurred_at=happened_at(kind, task) if task else None,
        task=task,
        previous_status=_PREVIOUS.get(kind, "running") if task and not task.alarm else None,
        detail=_detail(kind, now),
        channel=SAMPLE if kind.startswith("channel.") else "",
        since=_since(kind, now),
        count=3 if kind is EventType.CHANNEL_GAVE_UP else None,
        counts=EVENT_ROWS[kind].sample_counts,
        follow_up=_follow_up(now) if kind.traits.follows_up else None,
        usual=_USUAL if kind in _WITH_USUAL else None,
        overdue=OverdueLimit(seconds=600.0) if kind is EventType.TASK_OVERDUE else None,
        expectation=_expectation(now) if kind is EventType.TASK_MISSING else None,
        mute=_mute(kind, now) if kind.startswith("mute.") else None,
        report=_report(now) if kind is EventType.REPORT_DUE else None,
        handed_over=_handed_over(now) if kind is EventType.ROTA_HANDED_OVER else None,
        maintenance=_maintenance(kind, now) if kind.about_maintenance else None,
    )


_USUAL = Usual(low=180.0, middle=216.0, high=240.0, runs=14, basis=UsualBasis.INSTANCE)
_WITH_USUAL = (EventType.TASK_OVERDUE, EventType.TASK_STALLED)


def _expectation(now: datetime) -> Expectation:
    last = now - timedelta(hours=27, minutes=30)
    return Expectation(
        name="BackupSnapshotGaussDBV5InInstance",
        every=timedelta(days=1).total_seconds(),
        overdue_at=now,
        instance_id="0123456789abcdef0123456789abcdefin14",
        instance_name="gauss-sample",
        last=last,
        last_job=SAMPLE,
        expected_at=last + timedelta(days=1),
        intervals=12,
    )


def _maintenance(kind: EventType, now: datetime) -> MaintenanceNotice:
    status = EVENT_ROWS[kind].sample_status or MaintenanceStatus.SCHEDULED
    ahead = timedelta(hours=1 if kind is EventType.MAINTENANCE_REMINDED else 40)
    ahead = timedelta() if status in _BEGUN else ahead
    start, changed = now.replace(microsecond=0) + ahead, kind is EventType.MAINTENANCE_CHANGED
    return MaintenanceNotice(
        id="0123abcd-75aa-4d81-941e-02621ccd4d07",
        name=RESTART_NODE,
        status=status,
        raw_status=status.upper(),
        level="major",
        instance_id="0123456789abcdef0123456789abcdefin14",
        instance_name="gauss-sample",
        impact="Instance Intermittent Disconnection",
        reason="ECS_RESTART",
        starts_at=start,
        ends_at=start + timedelta(hours=2),
        latest_at=start + timedelta(days=3),
        created_at=now - timedelta(days=1),
        updated_at=now,
        former_starts_at=start - timedelta(days=1) if changed else None,
        former_ends_at=start - timedelta(hours=22) if changed else None,
    )


_BEGUN = (MaintenanceStatus.EXECUTING, MaintenanceStatus.COMPLETED, MaintenanceStatus.FAILED)


def sample_requests(
    channel: ChannelSettings, kinds: Iterable[EventType], now: datetime, *, template: str | None = None
) -> dict[str, RenderRequest]:
    """Return a request for each type of event, and one for a digest of all where the channel sends digests.

    `template` is the name of the templates that a route chose.
    """
    events = [sample_event(kind, now) for kind in kinds]
    requests = {event.type.value: render_request(channel.name, event) for event in events}
    if channel.digest_above is not None and events:
        requests[DIGEST] = render_request(channel.name, *events, digest=True)
    routing = DeliveryRouting(template=template)
    return {kind: replace(request, routing=routing) for kind, request in requests.items()}


def render_request(channel: str, *events: Event, digest: bool = False) -> RenderRequest:
    """Return the request to render made-up events for a channel."""
    id_ = delivery_id(channel, *(event.id for event in events))
    return RenderRequest(delivery_id=id_, events=events, digest=digest)


def _since(kind: EventType, now: datetime) -> datetime | None:
    if kind is EventType.TASK_STALLED:
        return now - timedelta(minutes=10)
    if kind.traits.follows_up:
        return now - timedelta(hours=1)
    if kind.startswith("mute."):
        return _mute(kind, now).since
    lasts = kind.traits.alert and kind is not EventType.SOURCE_MONITORED
    return now - timedelta(minutes=6) if lasts else None


def _follow_up(now: datetime) -> FollowUp:
    failed = sample_event(EventType.TASK_FAILED, now)
    return FollowUp(
        failure_id=failure_id(failed.id),
        type=failed.type,
        event_id=failed.id,
        failures=3,
        number=1,
        told=(SAMPLE,),
    )


def _mute(kind: EventType, now: datetime) -> MuteWindow:
    ended = kind is EventType.MUTE_ENDED
    return MuteWindow(
        id=SAMPLE,
        covers=SAMPLE,
        since=now - timedelta(hours=2) if ended else now,
        until=now if ended else now + timedelta(hours=2),
        name=SAMPLE,
        reason=SAMPLE,
        held=(("task.completed", 3), ("task.failed", 1)) if ended else (),
        named=(("CreateGaussDBV5Instance", "gauss-sample"),) if ended else (),
    )


def _report(now: datetime) -> Report:
    """Return the report of a day with some of everything."""
    since = now - timedelta(days=7)
    days = [since, *(since + timedelta(days=n) for n in range(1, 7)), now]
    failed = (0, 2, 1, 0, 0, 5, 1)
    resize, backup = "ResizeGaussDBV5Flavor", "BackupSnapshotGaussDBV5InInstance"
    open_ = ListedTask(
        source=SAMPLE,
        job_id=SAMPLE,
        name=resize,
        instance="gauss-sample",
        since=now - timedelta(hours=30),
        failures=3,
    )
    slow = SlowTask(
        source=SAMPLE, job_id=SAMPLE, name=resize, instance="gauss-sample", seconds=5_400, usual_seconds=1_260
    )
    return Report(
        name=SAMPLE,
        since=since,
        until=now,
        timezone="UTC",
        counts=ReportCounts(completed=403, failed=9, unlisted=1),
        before=ReportCounts(completed=396, failed=4),
        operations=(
            OperationCount(name=resize, completed=11, failed=6),
            OperationCount(name=backup, completed=392, failed=3),
        ),
        bars=tuple(
            ReportBar(start=start, end=end, failed=n) for (start, end), n in zip(pairwise(days), failed, strict=True)
        ),
        slowest=(slow,),
        running=(replace(open_, name=backup, since=now - timedelta(minutes=40), failures=0),),
        running_total=1,
        open=(open_,),
        open_total=1,
        backups=(
            OverdueBackup(source=SAMPLE, instance="gauss-archive", last=None),
            OverdueBackup(source=SAMPLE, instance="gauss-sample", last=now - timedelta(hours=51)),
        ),
        backups_total=2,
        backup_seconds=26 * 3600,
        suppressed=14,
        dead=1,
    )


def _handed_over(now: datetime) -> HandedOver:
    return HandedOver(
        rota=SAMPLE,
        person="Li Wei",
        former="Ann Smith",
        until=now + timedelta(days=7),
        following="Ann Smith",
        open=_report(now).open,
        open_total=1,
    )


def _detail(kind: EventType, now: datetime) -> str | None:
    if kind is EventType.SOURCE_GAP:
        return f"{(now - timedelta(days=40)).isoformat()}/{now.isoformat()}"
    return EVENT_ROWS[kind].sample_detail


def _task(status: TaskStatus, now: datetime, marked: str | None) -> Task:
    if status.of_alarm:
        return _alarm(status, now, marked)
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


def _alarm(status: TaskStatus, now: datetime, marked: str | None) -> Task:
    return Task(
        source=SAMPLE,
        job_id=SAMPLE,
        name="GaussDBV5FaultyDBNode",
        status=status,
        raw_status="Major",
        instance_id="0123456789abcdef0123456789abcdefin14",
        instance_name="TEST" if marked else "gauss-sample",
        created_at=now - timedelta(minutes=12, seconds=4) if status.terminal else now,
        ended_at=now if status.terminal else None,
        fail_reason=marked or ("The host of the node has failed." if status is TaskStatus.RAISED else None),
        alarm=AlarmFacts(
            feed=AlarmFeed.CLOUD_EYE, level=AlarmLevel.MAJOR, node_id="fedcba9876543210fedcba9876543210no14"
        ),
    )
