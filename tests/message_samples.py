"""Samples of every message and reply in Slack. `python tests/message_samples.py` writes docs/messages.md."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from rich.console import Console

from notifier.chat import reports
from notifier.chat.reports import Page, ReplyFormatter
from notifier.chat.requests import ChatReply
from notifier.cli.samples import sample_event
from notifier.cli.slack_preview import BlockJson, draw_message
from notifier.core.delivery import Thread, delivery_id
from notifier.core.events import EventType
from notifier.core.health import HealthReport, judge
from notifier.core.health_facts import Backlog, ConfiguredSource, Expected, HealthFacts
from notifier.core.model import ChannelState, Event, SourceState, Task, TaskStatus
from notifier.core.people import Acknowledgement, Mute
from notifier.integrations.slack import replies as blocks
from notifier.integrations.slack.messages import event_message, live_message, thread_reply
from notifier.lookup import InstanceAnswer
from notifier.ports import RenderRequest, StoredTask, TaskStatistics
from notifier.wording.localizer import Localizer
from notifier.wording.phrases import Language

T0 = datetime(2026, 1, 15, 8, 30, tzinfo=UTC)

PAGE = Path(__file__).parent.parent / "docs" / "messages.md"
CONSOLE = "https://console.huaweicloud.com/gaussdb/?region={region}#/gaussdb/management/list"
TIMEZONE = ZoneInfo("Asia/Shanghai")
LOCALIZERS: dict[Language, Localizer] = {
    "en": Localizer(language="en", timezone=TIMEZONE),
    "zh": Localizer(language="zh", timezone=TIMEZONE),
}

Sample = tuple[str, BlockJson]


def samples() -> Iterator[tuple[str, Iterator[Sample]]]:
    """Yield chapters with their messages."""
    yield "One message for each event type", _events("en")
    yield "The same in Chinese", _events("zh")
    yield "Digests", _digests()
    yield "Acknowledged and muted messages, and threads", _annotated()
    yield "Replies to commands", _replies("en")
    yield "Replies to commands, in Chinese", _replies("zh")


def _notice(*events: Event) -> RenderRequest:
    return RenderRequest(delivery_id=delivery_id("dba", events[0].id), events=events, digest=len(events) > 1)


def _events(language: Language) -> Iterator[Sample]:
    for kind in EventType:
        yield kind, event_message(_notice(sample_event(kind, T0)), LOCALIZERS[language], CONSOLE)


def _digests() -> Iterator[Sample]:
    for language in ("en", "zh"):
        many = [
            _numbered(kind, n) for n, kind in enumerate([EventType.TASK_FAILED] * 3 + [EventType.TASK_COMPLETED] * 2)
        ]
        yield f"digest, {language}", event_message(_notice(*many), LOCALIZERS[language], CONSOLE)


def _numbered(kind: EventType, number: int) -> Event:
    event = sample_event(kind, T0)
    assert event.task
    task = replace(event.task, job_id=f"sample-{number}", instance_name=f"gauss-sample-{number % 3}")
    return replace(event, task=task, id=f"{event.id}-{number}")


def _annotated() -> Iterator[Sample]:
    failed, progressed = sample_event(EventType.TASK_FAILED, T0), sample_event(EventType.TASK_PROGRESSED, T0)
    thread = Thread(channel="dba", subject=failed.subject, ref="C0:1", event=failed, revision=1)
    acknowledged = Acknowledgement(event_id=failed.id, by="U0", name="alice", at=T0 + timedelta(minutes=6))
    mute = Mute(
        instance="gauss-sample", until=T0 + timedelta(hours=2), by="U0", name="bob", created_at=T0, reason="resizing"
    )
    for language, localizer in LOCALIZERS.items():
        yield f"acknowledged, {language}", live_message(replace(thread, acknowledged=acknowledged), localizer, CONSOLE)
        yield f"muted, {language}", live_message(replace(thread, mute=mute), localizer, CONSOLE)
        yield (
            f"a step in the thread, {language}",
            thread_reply(event_message(_notice(progressed), localizer), whole=False),
        )
        yield (
            f"a failure in the thread and the channel, {language}",
            thread_reply(event_message(_notice(failed), localizer), whole=True),
        )


def _replies(language: Language) -> Iterator[Sample]:
    fmt = ReplyFormatter(localizer=LOCALIZERS[language], command="/gaussdb")
    for words, reply in _answers(fmt):
        yield f"/gaussdb {words}", blocks.reply_message(reply, language)


def _answers(fmt: ReplyFormatter) -> Iterator[tuple[str, ChatReply]]:
    failed = _stored(EventType.TASK_FAILED)
    fresh = reports.freshness([SourceState(name="prod", last_poll_at=T0 - timedelta(seconds=12))], ["prod"], T0, fmt)
    page = Page(rows=(failed,) * 3, offset=0, total=3)
    long = Page(rows=(failed,) * 10, offset=10, total=37)
    day = {"length": fmt.localizer.window(timedelta(days=1)), "within": "1d"}
    running = Page(rows=(_stored(EventType.TASK_PROGRESSED),), offset=0, total=1)
    yield "failed", reports.tasks(page, "failed", fresh, fmt, **day)
    yield "failed 1d (second page)", reports.tasks(long, "failed", fresh, fmt, **day)
    yield "failed (none)", reports.tasks(Page(rows=(), offset=0, total=0), "failed", fresh, fmt, **day)
    yield "running", reports.tasks(running, "running", fresh, fmt)
    yield "task sample", reports.task(failed, [sample_event(EventType.TASK_FAILED, T0)], None, fmt)
    yield "task zzz", reports.no_task((), "zzz", fmt)
    near = InstanceAnswer(similar_names=("gauss-sample", "gauss-example"))
    yield "instance gauss-sampel", reports.no_instance("instance", "gauss-sampel", near, fmt)
    fared = TaskStatistics(
        name="CreateGaussDBV5Instance",
        running=1,
        completed=12,
        failed=2,
        other=0,
        mean=timedelta(minutes=12),
        longest=timedelta(minutes=34),
    )
    yield "stats", reports.statistics([fared], timedelta(days=7), fmt)
    mute = Mute(instance="gauss-sample", until=T0 + timedelta(hours=2), by="U0", name="bob", created_at=T0)
    yield "mute gauss-sample 2h", reports.muted(mute, fmt)
    yield "mutes", reports.mutes([mute], fmt)
    yield "status", reports.status(_health(ok=True), fmt)
    yield "status (bad)", reports.status(_health(ok=False), fmt)
    yield "help", reports.help_text(fmt)
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


INTRODUCTION = """\
Every message in Slack, as `notifier preview CHANNEL` shows it: `▌` is the bar in the colour of the
state, and brackets mark a button. `python tests/message_samples.py` writes this page, and a test
keeps it up to date."""


def page() -> str:
    """Return the page."""
    parts = ["# Messages in Slack", INTRODUCTION]
    for title, found in samples():
        parts.append(f"## {title}")
        parts += [f"{name}:\n\n```text\n{drawn(message)}\n```" for name, message in found]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
