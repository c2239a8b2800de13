"""Samples of every message and reply, and how they look in Slack. `messages_page.py` writes docs/messages.md."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console

from notifier.chat import replies
from notifier.chat.replies import ReplyFormatter, ReplyPage
from notifier.chat.requests import ChatReply
from notifier.cli.samples import sample_event
from notifier.cli.slack_preview import BlockJson, draw_message
from notifier.core.commands import Mistake, TaskSelection, parse_command
from notifier.core.delivery import Thread, delivery_id
from notifier.core.distribution import spread_of
from notifier.core.events import EventType
from notifier.core.health import HealthReport, judge
from notifier.core.health_facts import Backlog, ConfiguredSource, Expected, HealthFacts
from notifier.core.maintenance_mutes import MaintenanceMute, MaintenanceMuteNow
from notifier.core.matchers import parse_matchers
from notifier.core.model import ChannelState, ClosedFailure, Event, FollowUp, SourceState, Task, TaskHistory, TaskStatus
from notifier.core.mutes import HeldBack, Mute
from notifier.core.people import Acknowledgement, EventSubscription
from notifier.core.routing import DeliveryRouting
from notifier.core.started_by import StartedBy, StartedVia
from notifier.core.storms import Storm, begin
from notifier.core.usual import Usual, UsualBasis
from notifier.integrations.slack import replies as blocks
from notifier.integrations.slack.messages import event_message, live_message, thread_reply
from notifier.lookup import InstanceAnswer
from notifier.mutes import EndedMute, EndedMutes
from notifier.people import MadeSubscription
from notifier.ports import RenderRequest, StoredTask, TaskStatistics
from notifier.wording.events import EventFormatter
from notifier.wording.links import LinkTemplates
from notifier.wording.localizer import Localizer
from notifier.wording.phrases import Language

USUAL = Usual(low=420.0, middle=480.0, high=600.0, runs=14, basis=UsualBasis.INSTANCE)
T0 = datetime(2026, 1, 15, 8, 30, tzinfo=UTC)
LATER = T0 + timedelta(minutes=5)

LINKS = LinkTemplates(
    console_url="https://console.huaweicloud.com/gaussdb/?region={region}#/gaussdb/management/list",
    runbook_url="https://wiki.example.com/gaussdb/{error_code}",
)
TIMEZONE = ZoneInfo("Asia/Shanghai")
LOCALIZERS: dict[Language, Localizer] = {
    "en": Localizer(language="en", timezone=TIMEZONE),
    "zh": Localizer(language="zh", timezone=TIMEZONE),
}

FORMATTERS: dict[Language, EventFormatter] = {
    language: EventFormatter(localizer, links=LINKS) for language, localizer in LOCALIZERS.items()
}

PAGE_LINKS = replace(LINKS, page_url="https://notifier.example.com")
LINKED: dict[Language, EventFormatter] = {
    language: EventFormatter(localizer, links=PAGE_LINKS) for language, localizer in LOCALIZERS.items()
}
"""With the address of the page."""

Sample = tuple[str, BlockJson]


def samples() -> Iterator[tuple[str, Iterator[Sample]]]:
    """Yield chapters with their messages."""
    additions: dict[Language, str] = {"en": "", "zh": ", in Chinese"}
    for language, addition in additions.items():
        yield f"A failure{addition}", _failures(language)
        yield f"Every type of event{addition}", _events(language)
        yield f"A storm{addition}", _storms(language)
        yield f"Digests and steps in threads{addition}", _others(language)
        yield f"Replies to commands{addition}", _replies(language)
        yield f"With links to the page{addition}", _linked(language)


def requests(language: Language) -> Iterator[tuple[str, RenderRequest]]:
    """Yield what every kind of channel is asked to send: failures, each type of event, a storm and a digest."""
    failed = _with(_failed(), fail_reason=REASONS[language])
    yield "a failure in production", _request(failed)
    yield "a failure in staging", _request(_staging(failed))
    yield "reported late", _request(_late(failed))
    yield "without a reason", _request(_with(failed, fail_reason=None))
    for kind in EventType:
        if kind is not EventType.TASK_FAILED:
            yield kind, _request(_typical(kind), routing=DeliveryRouting())
    events, storm = _storm()
    opened = replace(storm, opened_by=delivery_id("dba", events[0].id))
    yield "a storm", _request(*events[:60], storm=opened, digest=True, opens_storm=True)
    more = replace(opened, total=330, latest=30, updated_at=T0 + timedelta(minutes=3))
    yield "the next poll of the storm", _request(*events[60:90], storm=more, digest=True)
    yield "a digest", _request(*_many())
    yield "a success that closes a failure", _request(_closing(failed), routing=DeliveryRouting())
    yield "reminders of many failures", _request(*_reminders(events[:20]))


def _closing(failed: Event) -> Event:
    """Return the success that follows failures of a flavor change."""
    closes = ClosedFailure(
        type=EventType.TASK_FAILED, since=T0 - timedelta(hours=4), failures=3, acknowledged_by="Li Wei"
    )
    done = _with(failed, status=TaskStatus.COMPLETED, raw_status="Completed", progress=None, fail_reason=None)
    return replace(done, type=EventType.TASK_COMPLETED, history=None, closes=closes)


def _reminders(failed: Sequence[Event]) -> tuple[Event, ...]:
    """Return reminders of these failures, the first of three hundred."""
    return tuple(
        replace(
            event,
            id=f"reminder of {event.id}",
            type=EventType.TASK_REMINDED,
            observed_at=T0 + timedelta(hours=1),
            since=T0,
            follow_up=FollowUp(
                failure_id=event.id, type=event.type, event_id=event.id, failures=1, number=1, together=300
            ),
        )
        for event in failed
    )


UPKEEP = MaintenanceMuteNow(
    mute=MaintenanceMute(name="upkeep", match=parse_matchers("environment=production"), except_failures=True),
    instances=("gauss-orders",),
)
TIMED_OUT = "Timed out while waiting for the VM to become active. Error code: DBS.111205."
REASONS: dict[Language, str] = {"en": TIMED_OUT, "zh": "等待虚拟机就绪超时。错误码：DBS.111205。"}
JOB = "def160ec-c3ad-4647-8520-de0a8f84474c"
ROUTING = DeliveryRouting(routes=("failures",), mention=("S0DBAS",))


def _request(*events: Event, routing: DeliveryRouting = ROUTING, **changes: Any) -> RenderRequest:
    values: dict[str, Any] = {
        "delivery_id": delivery_id("dba", events[0].id),
        "digest": len(events) > 1,
        "routing": routing,
    }
    return RenderRequest(events=events, **values | changes)


def _failed(**changes: Any) -> Event:
    """Return the failure of a flavor change in production."""
    event = sample_event(EventType.TASK_FAILED, T0)
    assert event.task
    task = replace(
        event.task,
        source="prod",
        job_id=JOB,
        name="ResizeGaussDBV5Flavor",
        progress=96.0,
        instance_name="prod-orders-01",
        instance_status="normal",
        fail_reason=TIMED_OUT,
    )
    history = TaskHistory(failures=3)
    facts: dict[str, Any] = {
        "source": "prod",
        "environment": "production",
        "task": task,
        "history": history,
        "usual": USUAL,
        "started_by": StartedBy(name="li.wei", via=StartedVia.CONSOLE),
    }
    return replace(event, **facts | changes)


def _with(event: Event, **changes: Any) -> Event:
    assert event.task
    return replace(event, task=replace(event.task, **changes))


def _staging(event: Event) -> Event:
    here = _with(event, instance_name="staging-orders-77", source="staging")
    return replace(here, environment="staging", source="staging", history=None)


def _late(event: Event) -> Event:
    return replace(event, late=True, observed_at=T0 + timedelta(minutes=30), away_since=T0 - timedelta(minutes=12))


def _typical(kind: EventType) -> Event:
    return replace(sample_event(kind, T0), environment="production" if kind.about_source else "")


def _thread(event: Event, **changes: Any) -> Thread:
    values: dict[str, Any] = {
        "channel": "dba",
        "subject": event.subject,
        "ref": "C0:1",
        "revision": 1,
        "routing": ROUTING,
    }
    return Thread(event=event, **values | changes)


def _failures(language: Language) -> Iterator[Sample]:
    formatter, reason = FORMATTERS[language], REASONS[language]
    failed = _with(_failed(), fail_reason=reason)
    staging, late = _staging(failed), _late(failed)
    acknowledged = Acknowledgement(event_id=failed.id, by="U0", name="Alice", at=T0 + timedelta(minutes=6))
    mute = Mute(
        id="7k2m",
        since=T0,
        instance="prod-orders-01",
        until=T0 + timedelta(hours=2),
        by="U0",
        name="bob",
        created_at=T0,
        reason="resizing",
    )
    trace = "\n".join(f"{n}: at step {n} of the workflow" for n in range(2, 60))
    yield "in production", event_message(_request(failed), formatter)
    yield "in staging", event_message(_request(staging), formatter)
    yield "acknowledged", live_message(_thread(failed, acknowledged=acknowledged), formatter)
    yield "acknowledgement taken back", live_message(_thread(failed), formatter)
    yield "muted", live_message(_thread(failed, mute=mute), formatter)
    yield "reported late", event_message(_request(late), formatter)
    yield "without a reason", event_message(_request(_with(failed, fail_reason=None)), formatter)
    yield "with a long reason", event_message(_request(_with(failed, fail_reason=f"{reason}\n{trace}")), formatter)
    yield (
        "of an operation without a name of ours",
        event_message(_request(_with(failed, name="HotfixUpgrade")), formatter),
    )


def _events(language: Language) -> Iterator[Sample]:
    for kind in EventType:
        yield kind, event_message(_request(_typical(kind), routing=DeliveryRouting()), FORMATTERS[language])


def _storm() -> tuple[list[Event], Storm]:
    events = [
        replace(_with(_failed(), job_id=f"{n:08x}-c3ad-4647-8520-de0a8f84474c", instance_name=name), id=f"{n}")
        for n, name in enumerate(f"prod-{'ledger' if n % 5 else 'catalog'}-{100 + n % 40}" for n in range(300))
    ]
    return events, begin("dba", [_of_storm(n, event) for n, event in enumerate(events)])


def _storms(language: Language) -> Iterator[Sample]:
    formatter = FORMATTERS[language]
    events, storm = _storm()
    first = replace(storm, opened_by=delivery_id("dba", events[0].id))
    ack = Acknowledgement(event_id=events[0].id, by="U0", name="Alice", at=T0 + timedelta(minutes=6))
    growing = replace(first, total=330, latest=30, updated_at=T0 + timedelta(minutes=3))
    over = replace(growing, ended_at=T0 + timedelta(minutes=4))
    thread = _thread(events[0], storm=first)
    together: dict[str, Any] = {"storm": first, "digest": True}
    opening = together | {"opens_storm": True}
    yield "first", event_message(_request(events[0], **opening), formatter)
    yield "growing", live_message(replace(thread, storm=growing), formatter)
    yield "acknowledged", live_message(replace(thread, storm=growing, acknowledged=ack), formatter)
    yield "over", live_message(replace(thread, storm=over), formatter)
    yield "part in its thread", event_message(_request(*events[1:36], **together), formatter)
    yield "first, through a webhook", event_message(_request(*events[:24], **opening), formatter)


def _of_storm(n: int, event: Event) -> Event:
    kinds = (
        ("BackupSnapshotGaussDBV5InInstance", "Failed to upload the backup to OBS. Service unavailable. OBS.0503"),
        ("BackupSnapshotGaussDBV5InInstance", "The KMS key is disabled or pending deletion. KMS.0405"),
        ("CreateGaussDBV5Instance", TIMED_OUT),
    )
    name, reason = kinds[0 if n % 5 else 1 + n % 2]
    return _with(event, name=name, fail_reason=reason)


def _others(language: Language) -> Iterator[Sample]:
    formatter = FORMATTERS[language]
    many = _many()
    yield "a digest", event_message(_request(*many), formatter)
    late = [replace(event, late=True) for event in many[:-1]]
    yield "a digest of what happened while the notifier was down", event_message(_request(*late), formatter)
    progressed, failed = sample_event(EventType.TASK_PROGRESSED, T0), _failed(environment="staging")
    step = event_message(_request(progressed), formatter)
    yield "a step in the thread", thread_reply(step, whole=False)
    yield (
        "a failure that is not loud, in the thread",
        thread_reply(event_message(_request(failed), formatter), whole=True),
    )


def _linked(language: Language) -> Iterator[Sample]:
    """Yield messages of a notifier whose page has an address."""
    formatter = LINKED[language]
    yield "a failure", event_message(_request(_with(_failed(), fail_reason=REASONS[language])), formatter)
    for kind in (EventType.TASK_MISSING, EventType.CHANNEL_FAILING, EventType.SOURCE_FAILING):
        yield kind, event_message(_request(_typical(kind), routing=DeliveryRouting()), formatter)
    events, storm = _storm()
    first = replace(storm, opened_by=delivery_id("dba", events[0].id))
    yield "a storm", event_message(_request(events[0], storm=first, digest=True, opens_storm=True), formatter)
    yield "a digest", event_message(_request(*_many()), formatter)
    fmt = ReplyFormatter(localizer=LOCALIZERS[language], command="/gaussdb", links=PAGE_LINKS)
    failed = _stored(EventType.TASK_FAILED)
    day = {"length": fmt.localizer.window(timedelta(days=1)), "within": "1d"}
    listed = replies.tasks(ReplyPage(rows=(failed,), offset=0, total=1, now=LATER), "failed", "", fmt, **day)
    yield "/gaussdb failed", blocks.reply_message(listed, language)
    shown = replies.task(failed, [sample_event(EventType.TASK_FAILED, T0)], None, fmt)
    yield "/gaussdb task sample", blocks.reply_message(shown, language)


def _many() -> list[Event]:
    kinds = [EventType.TASK_FAILED] * 3 + [EventType.TASK_COMPLETED] * 2
    gap = replace(sample_event(EventType.SOURCE_GAP, T0), source="prod", environment="production")
    return [*(_numbered(kind, n) for n, kind in enumerate(kinds)), gap]


def _numbered(kind: EventType, number: int) -> Event:
    event = sample_event(kind, T0)
    job = f"{number:08x}-c3ad-4647-8520-de0a8f84474c"
    named = _with(event, job_id=job, instance_name=f"prod-orders-{number:02}", source="prod")
    return replace(named, id=f"{event.id}-{number}", source="prod", environment="production")


def _replies(language: Language) -> Iterator[Sample]:
    fmt = ReplyFormatter(
        localizer=LOCALIZERS[language],
        command="/gaussdb",
        links=LINKS,
        environments={"prod": "production", "lab": "staging"},
    )
    for words, reply in _answers(fmt):
        yield f"/gaussdb {words}", blocks.reply_message(reply, language)


def _answers(fmt: ReplyFormatter) -> Iterator[tuple[str, ChatReply]]:
    failed = _stored(EventType.TASK_FAILED)
    fresh = replies.freshness([SourceState(name="prod", last_poll_at=T0 - timedelta(seconds=12))], ["prod"], T0, fmt)
    staged = replace(failed, task=replace(failed.task, source="lab"))
    reasons = [failed.task.fail_reason or ""] * 2
    counts = {"prod": 2, "lab": 1}
    page = ReplyPage(rows=(failed, failed, staged), offset=0, total=3, by_source=counts, reasons=reasons, now=LATER)
    long = ReplyPage(rows=(failed,) * 10, offset=10, total=37, now=LATER)
    day = {"length": fmt.localizer.window(timedelta(days=1)), "within": "1d"}
    progressed = _stored(EventType.TASK_PROGRESSED)
    stuck, vanished = replace(progressed, newest=EventType.TASK_STALLED), replace(progressed, listed=False)
    running = ReplyPage(rows=(progressed, stuck, vanished), offset=0, total=3, now=LATER)
    yield "failed", replies.tasks(page, "failed", fresh, fmt, **day)
    yield "failed 1d (second page)", replies.tasks(long, "failed", fresh, fmt, **day)
    narrowed = TaskSelection(match=parse_matchers("gauss-* operation=create"), text="gauss-* operation=create")
    one = replies.tasks(running, "running", fresh, fmt)
    yield "running gauss-* operation=create", replies.narrowed(narrowed, one, fmt)
    mine, here = (
        EventSubscription(id="1a2b3c", channel=who, matchers=matchers, by="U0", name="alice", created_at=T0)
        for who, matchers in (("dm:U0", "prod-* failed"), ("dm:C0", "source=prod operation=backup duration>30m"))
    )
    made = MadeSubscription(subscription=here, new=True)
    yield f"subscribe here {here.matchers}", replies.subscribed(made, fmt, here=True, doubtful=True)
    yield "subscriptions", replies.subscriptions([mine], [here], fmt)
    yield f"unsubscribe {mine.matchers}", replies.unsubscribed([mine], [], mine.matchers, fmt)
    wrong = parse_command("subscribe enviroment=prod")
    assert isinstance(wrong, Mistake)
    yield "subscribe enviroment=prod", fmt.mistake(wrong.key, wrong.given, wrong.meant)
    yield "failed (none)", replies.tasks(ReplyPage(rows=(), offset=0, total=0, now=LATER), "failed", fresh, fmt, **day)
    yield "running", replies.tasks(running, "running", fresh, fmt)
    yield "task sample", replies.task(failed, [sample_event(EventType.TASK_FAILED, T0)], None, fmt)
    alice = Acknowledgement(event_id="", by="U0", name="alice", at=T0)
    muted = replace(
        failed, muted=Mute(id="7k2m", since=T0, instance="x", until=LATER, by="U0", name="bob", created_at=T0)
    )
    yield "task sample (acknowledged)", replies.task(muted, [sample_event(EventType.TASK_FAILED, T0)], alice, fmt)
    yield "task zzz", replies.no_task((), "zzz", LATER, fmt)
    near = InstanceAnswer(similar_names=("gauss-sample", "gauss-example"))
    yield "instance gauss-sampel", replies.no_instance("instance", "gauss-sampel", near, fmt)
    fared = TaskStatistics(
        name="CreateGaussDBV5Instance",
        running=1,
        completed=12,
        failed=2,
        other=0,
        durations=spread_of([480, 540, 570, 600, 600, 610, 630, 660, 660, 720, 900, 2_040]),
    )
    yield "stats", replies.statistics([fared], timedelta(days=7), fmt)
    mute = Mute(
        id="7k2m", since=T0, instance="gauss-sample", until=T0 + timedelta(hours=2), by="U0", name="bob", created_at=T0
    )
    weekly = replace(
        mute,
        id="weekly",
        instance=None,
        match=parse_matchers("source=staging"),
        except_failures=True,
        reason="patch day",
        configured=True,
        since=LATER,
        until=LATER + timedelta(hours=4),
        cron="0 22 * * 6",
        timezone="Asia/Shanghai",
    )
    held = HeldBack(counts=((EventType.TASK_COMPLETED, 3), (EventType.TASK_FAILED, 1)))
    over = EndedMutes(ended=(EndedMute(mute=mute, held=held, next_at=None),))
    yield "mute gauss-sample 2h", replies.muted(mute, T0, fmt)
    yield "mute source=staging every sat 22:00 4h but failures", replies.muted(weekly, T0, fmt)
    yield "unmute gauss-sample", replies.unmuted(over, "gauss-sample", fmt)
    yield "mutes", replies.mutes([mute, weekly], [UPKEEP], T0, fmt)
    yield "status", replies.status(_health(ok=True), fmt)
    yield "status (bad)", replies.status(_health(ok=False), fmt)
    yield "help", replies.help_text(fmt)
    yield "faild 24h", fmt.mistake("mistake.meant", "faild", "failed 24h")
    yield "watch sample", fmt.reply("watch.done", note="")


def _stored(kind: EventType) -> StoredTask:
    task = sample_event(kind, T0).task
    assert task
    long_ago = T0 - timedelta(minutes=12)
    return StoredTask(task=_named(task), first_seen_at=long_ago, changed_at=T0, listed=True)


def _named(task: Task) -> Task:
    return replace(task, source="prod", fail_reason=task.fail_reason if task.status is TaskStatus.FAILED else None)


def _health(*, ok: bool) -> HealthReport:
    age = timedelta(seconds=12) if ok else timedelta(minutes=9)
    error = None if ok else "no answer from gaussdb.example.com within 20 s"
    source = ConfiguredSource(name="prod", region="cn-north-4", project_id="p", poll_every=timedelta(seconds=30))
    state = SourceState(name="prod", last_poll_at=T0 - age, last_full_at=T0 - age, last_error=error)
    parked = ChannelState(name="dba", parked_since=T0 - age, reason="Slack: not_in_channel")
    dead = Backlog(channel="mail", dead=3, dead_since=T0 - age, dead_reason="SMTP 554")
    facts = HealthFacts(at=T0, sources=[state], channels=[] if ok else [parked], backlogs=[] if ok else [dead])
    return judge(Expected(sources=[source], channels=["dba", "mail"]), facts)


def drawn(message: BlockJson) -> str:
    """Return a message as a terminal shows it."""
    console = Console(file=io.StringIO(), width=100, color_system=None, markup=False, highlight=False, emoji=False)
    console.print(draw_message(message))
    shown = console.file.getvalue()  # type: ignore[attr-defined]  # the file given above
    return "\n".join(line.rstrip() for line in shown.rstrip().splitlines())
