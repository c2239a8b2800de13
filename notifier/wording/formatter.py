"""What is said, in English and in Chinese. How it looks is up to each channel.

Text that came from outside leaves here without control characters and at a bounded length, but not escaped:
every channel escapes for its own markup.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Literal
from zoneinfo import ZoneInfo

from notifier.core.events import EventType
from notifier.core.model import Event, Task

Language = Literal["en", "zh"]
EventState = Literal[
    "failed",
    "failing",
    "gave_up",
    "gap",
    "unlisted",
    "stalled",
    "restarted",
    "changed",
    "completed",
    "recovered",
    "running",
    "progressed",
]

NAME_LIMIT = 120
"""Characters of an instance name or an unknown task name that are shown."""
ID_LIMIT = 100
"""Characters of an identifier that are shown; real ones have 32 to 36."""
DETAIL_LIMIT = 300
"""Characters of what is said of a source that are shown."""
REASON_LIMIT = 20_000
"""Characters of a reason that are kept; a channel may show fewer."""

# ---- text from outside ----

_ESCAPE_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b[\]PX^_]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
)
_LINE_BREAKS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def strip_controls(text: str) -> str:
    r"""Remove terminal sequences, controls, bidi overrides and lone surrogates; every line break becomes \n."""
    return _CONTROLS.sub("", _LINE_BREAKS.sub("\n", _ESCAPE_SEQUENCES.sub("", text)))


def plain(text: str, limit: int = REASON_LIMIT) -> str:
    """Return text that is safe to show on several lines, at most `limit` characters long."""
    return cut(strip_controls(text).strip(), limit)


def one_line(text: str, limit: int = NAME_LIMIT) -> str:
    """Return text that is safe to show within a line, at most `limit` characters long."""
    return cut(" ".join(strip_controls(text).split()), limit)


def cut(text: str, limit: int) -> str:
    """Return the text, or its beginning and an ellipsis when it is longer than `limit` characters."""
    return text if len(text) <= limit else text[: max(limit - 1, 0)].rstrip() + "…"


# ---- values ----


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One labelled line of a message."""

    label: str
    value: str
    at: datetime | None = None
    """The moment that `value` writes, for a channel that can show each reader their own time."""
    percent: float | None = None
    """The number that `value` writes, for a channel that can draw it."""
    quoted: bool = False
    """True where `value` holds text from the API: a channel with markup shows it as code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An event in words, before any markup."""

    state: EventState
    title: str
    """What happened: `Task failed`."""
    label: str | None
    """Which operation: `Create instance`. None for an event about a source or a channel."""
    known: bool
    """False where `label` is not ours but the API's name of an operation that we have no words for."""
    subject: str | None
    """Which instance, source or channel. None where the API does not say."""
    facts: tuple[Fact, ...]
    reason: str | None
    """Why, as the API or a receiver wrote it: untrusted, may have many lines, at most REASON_LIMIT characters."""
    reason_label: str
    """What the reason is: `Reason`, or `Not observed` for the bounds of a gap."""
    job: Fact | None
    """The job id. None for an event about a source or a channel."""
    origin: str
    """Source and region, or the channel, and whether it was found late."""

    @property
    def headline(self) -> str:
        """One line: what happened, to which operation, on which instance."""
        return " · ".join(part for part in (self.title, self.label, self.subject) if part)

    @property
    def footer(self) -> str:
        """One line: the job id, source and region, and whether it was found late."""
        return f"{self.job.label} {self.job.value} · {self.origin}" if self.job else self.origin


# ---- the catalogue ----

_ENGLISH = {
    "title.running": "Task started",
    "title.progressed": "Task progressed",
    "title.progressed_to": "Task at {progress}",
    "title.completed": "Task completed",
    "title.failed": "Task failed",
    "title.restarted": "Task restarted",
    "title.changed": "Task status changed",
    "title.unlisted": "Task no longer listed",
    "title.stalled": "Task stuck",
    "title.source.gap": "Gap in observation",
    "title.source.failing": "Source cannot be polled",
    "title.source.recovered": "Source is polled again",
    "title.channel.failing": "Channel does not deliver",
    "title.channel.recovered": "Channel delivers again",
    "title.channel.gave_up": "Channel gave up on messages",
    "title.store.replaced": "Database file lost",
    "verb.running": "started",
    "verb.progressed": "progressed",
    "verb.completed": "completed",
    "verb.failed": "failed",
    "verb.restarted": "restarted",
    "verb.changed": "changed status",
    "verb.unlisted": "no longer listed",
    "verb.stalled": "stuck",
    "verb.gap": "gap in observation",
    "verb.failing": "does not work",
    "verb.gave_up": "gave up on messages",
    "verb.recovered": "works again",
    "status.running": "Running",
    "status.completed": "Completed",
    "status.failed": "Failed",
    "status.unknown": "Unknown",
    "label.task": "Task",
    "label.state": "State",
    "label.status": "Status",
    "label.instance": "Instance",
    "label.instance_id": "Instance ID",
    "label.instance_status": "Instance status",
    "label.job": "Job",
    "label.project": "Project ID",
    "label.created_at": "Started",
    "label.ended_at": "Ended",
    "label.observed_at": "Seen",
    "label.took": "Took",
    "label.ran_for": "Ran for",
    "label.running_for": "Running for",
    "label.progress": "Progress",
    "label.left": "About left",
    "label.stalled": "No progress for",
    "label.stopped_at": "Stopped at",
    "label.last_progress": "Last progress",
    "label.reason": "Reason",
    "label.unobserved": "Not observed",
    "label.undelivered": "Did not deliver",
    "label.failing_since": "Since",
    "label.failing_for": "For",
    "label.messages": "Messages",
    "label.note": "Note",
    "note.first_seen_failed": "first seen already failed",
    "note.first_seen_completed": "first seen already completed",
    "note.unlisted": "it had not ended when last seen; that it left the list means neither success nor failure",
    "note.source.gap": "tasks that started and ended in this time may have been missed",
    "note.source.failing": "nobody watches its tasks now; what changes is told once it can be polled again",
    "note.source.silent": "no poll has ended, well or badly: is a poll stuck, or this machine overloaded?",
    "note.source.recovered": "what changed meanwhile and is still listed is told now",
    "note.channel.failing": "its messages wait, in order; see: notifier deliveries --channel {channel}",
    "note.channel.recovered": "the messages that waited go out now, in order",
    "note.channel.gave_up": "to send them again: notifier retry --all-dead --channel {channel}",
    "note.store.replaced": "what was pending is in the copy; put it in place before the next start",
    "note.acknowledged": "Acknowledged by {who} · {at}",
    "note.muted": "Muted until {until} by {who}",
    "button.acknowledge": "Acknowledge",
    "button.mute": "Mute instance",
    "button.mute_for": "for {length}",
    "button.unmute": "Unmute instance",
    "button.details": "Details",
    "button.console": "Open console",
    "origin.store": "the notifier's database",
    "origin.late": "late: found after the notifier had been away",
    "digest.lead": "{tasks} {verb}",
    "digest.more": "{n} {verb}",
    "digest.source.gap": "{n} × gap in observation",
    "digest.source.failing": "{n} × source cannot be polled",
    "digest.source.recovered": "{n} × source is polled again",
    "digest.channel.failing": "{n} × channel does not deliver",
    "digest.channel.recovered": "{n} × channel delivers again",
    "digest.channel.gave_up": "{n} × channel gave up on messages",
    "digest.store.replaced": "{n} × database file lost",
    "digest.late": "{counts} while the notifier was away",
    "digest.separator": ", ",
    "tasks.one": "{n} task",
    "tasks.other": "{n} tasks",
    "source.one": "source {names}",
    "source.other": "sources {names}",
    "channel.one": "channel {names}",
    "channel.other": "channels {names}",
    "test": "This is a test message; nothing happened.",
    "unnamed_task": "Unnamed task",
    "duration.d": "{n} d",
    "duration.h": "{n} h",
    "duration.m": "{n} min",
    "duration.s": "{n} s",
    "duration.moment": "under 1 s",
    "pattern.when": "d MMM HH:mm:ss",
}

_CHINESE = {
    "title.running": "任务开始",
    "title.progressed": "任务有进展",
    "title.progressed_to": "任务进度 {progress}",
    "title.completed": "任务完成",
    "title.failed": "任务失败",
    "title.restarted": "任务重新运行",
    "title.changed": "任务状态变化",
    "title.unlisted": "任务已不在列表中",
    "title.stalled": "任务卡住",
    "title.source.gap": "观察中断",
    "title.source.failing": "来源无法轮询",
    "title.source.recovered": "来源恢复轮询",
    "title.channel.failing": "渠道无法送达",
    "title.channel.recovered": "渠道恢复送达",
    "title.channel.gave_up": "渠道放弃了消息",
    "title.store.replaced": "数据库文件丢失",
    "verb.running": "开始",
    "verb.progressed": "有进展",
    "verb.completed": "完成",
    "verb.failed": "失败",
    "verb.restarted": "重新运行",
    "verb.changed": "状态变化",
    "verb.unlisted": "已不在列表中",
    "verb.stalled": "卡住",
    "verb.gap": "观察中断",
    "verb.failing": "发生故障",
    "verb.gave_up": "放弃了消息",
    "verb.recovered": "恢复正常",
    "status.running": "运行中",
    "status.completed": "完成",
    "status.failed": "失败",
    "status.unknown": "未知",
    "label.task": "任务",
    "label.state": "状态",
    "label.status": "状态",
    "label.instance": "实例",
    "label.instance_id": "实例 ID",
    "label.instance_status": "实例状态",
    "label.job": "任务 ID",
    "label.project": "项目 ID",
    "label.created_at": "开始时间",
    "label.ended_at": "结束时间",
    "label.observed_at": "发现时间",
    "label.took": "用时",
    "label.ran_for": "运行时长",
    "label.running_for": "已运行",
    "label.progress": "进度",
    "label.left": "预计剩余",
    "label.stalled": "无进展已",
    "label.stopped_at": "停止于",
    "label.last_progress": "最后进度",
    "label.reason": "原因",
    "label.unobserved": "未观察时段",
    "label.undelivered": "未送达时段",
    "label.failing_since": "开始时间",
    "label.failing_for": "已持续",
    "label.messages": "消息数",
    "label.note": "说明",
    "note.first_seen_failed": "首次发现时已失败",
    "note.first_seen_completed": "首次发现时已完成",
    "note.unlisted": "最后一次看到时尚未结束；从列表中消失不代表成功或失败",
    "note.source.gap": "此期间开始并结束的任务可能没有被发现",
    "note.source.failing": "目前无人监视其任务；恢复轮询后会通知期间的变化",
    "note.source.silent": "没有任何轮询结束，无论成功或失败：轮询是否卡住，或本机是否过载？",
    "note.source.recovered": "期间发生变化且仍在列表中的任务，现在会通知",
    "note.channel.failing": "其消息按顺序等待；请查看：notifier deliveries --channel {channel}",
    "note.channel.recovered": "等待中的消息现在按顺序发出",
    "note.channel.gave_up": "重新发送：notifier retry --all-dead --channel {channel}",
    "note.store.replaced": "待发送的消息在副本中；请在下次启动前将副本放回原处",
    "note.acknowledged": "{who} 已确认 · {at}",
    "note.muted": "{who} 已静音至 {until}",
    "button.acknowledge": "确认",
    "button.mute": "静音该实例",
    "button.mute_for": "{length}",
    "button.unmute": "取消静音",
    "button.details": "详情",
    "button.console": "打开控制台",
    "origin.store": "通知程序的数据库",
    "origin.late": "迟到：通知程序中断后补发现",
    "digest.lead": "{tasks}{verb}",
    "digest.more": "{n} 个{verb}",
    "digest.source.gap": "{n} 次观察中断",
    "digest.source.failing": "{n} 次来源无法轮询",
    "digest.source.recovered": "{n} 次来源恢复轮询",
    "digest.channel.failing": "{n} 次渠道无法送达",
    "digest.channel.recovered": "{n} 次渠道恢复送达",
    "digest.channel.gave_up": "{n} 次渠道放弃了消息",
    "digest.store.replaced": "{n} 次数据库文件丢失",
    "digest.late": "通知程序中断期间 {counts}",
    "digest.separator": "，",
    "tasks.one": "{n} 个任务",
    "tasks.other": "{n} 个任务",
    "source.one": "来源 {names}",
    "source.other": "来源 {names}",
    "channel.one": "渠道 {names}",
    "channel.other": "渠道 {names}",
    "test": "这是一条测试消息，没有发生任何事情。",
    "unnamed_task": "未命名任务",
    "duration.d": "{n} 天",
    "duration.h": "{n} 小时",
    "duration.m": "{n} 分",
    "duration.s": "{n} 秒",
    "duration.moment": "不到 1 秒",
    "pattern.when": "M月d日 HH:mm:ss",
}

PHRASES: Mapping[Language, Mapping[str, str]] = MappingProxyType({"en": _ENGLISH, "zh": _CHINESE})
"""Every phrase by language and key, with `str.format` placeholders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLabel:
    """What people call an operation."""

    en: str
    en_long: str
    """As the API's English documentation has it."""
    zh: str
    """As the API's Chinese documentation has it."""


TASK_LABELS: Mapping[str, TaskLabel] = MappingProxyType(
    {
        "CreateGaussDBV5Instance": TaskLabel(en="Create instance", en_long="Creating a DB instance", zh="创建实例"),
        "BackupSnapshotGaussDBV5InInstance": TaskLabel(
            en="Manual backup", en_long="Creating a manual backup", zh="手动创建备份"
        ),
        "CloneGaussDBV5NewInstance": TaskLabel(
            en="Restore to new instance", en_long="Restoring data to a new DB instance", zh="恢复到新实例"
        ),
        "RestoreGaussDBV5InInstance": TaskLabel(
            en="Restore to same instance", en_long="Restoring data to the original DB instance", zh="恢复到当前实例"
        ),
        "RestoreGaussDBV5InInstanceToExistedInst": TaskLabel(
            en="Restore to existing instance", en_long="Restoring data to an existing DB instance", zh="恢复到已有实例"
        ),
        "DeleteGaussDBV5Instance": TaskLabel(en="Delete instance", en_long="Deleting a DB instance", zh="删除实例"),
        "EnlargeGaussDBV5Volume": TaskLabel(en="Expand storage", en_long="Scaling up storage", zh="磁盘扩容"),
        "ResizeGaussDBV5Flavor": TaskLabel(en="Change flavor", en_long="Changing specifications", zh="规格变更"),
        "GaussDBV5ExpandClusterCN": TaskLabel(
            en="Add coordinator nodes", en_long="Adding coordinator nodes", zh="协调节点扩容"
        ),
        "GaussDBV5ExpandClusterDN": TaskLabel(en="Add shards", en_long="Adding shards", zh="分片扩容"),
    }
)
"""The ten documented operations. The set is open: any other name is shown as it is."""

_STATES: Mapping[EventType, EventState] = MappingProxyType(
    {
        EventType.TASK_STARTED: "running",
        EventType.TASK_PROGRESSED: "progressed",
        EventType.TASK_COMPLETED: "completed",
        EventType.TASK_FAILED: "failed",
        EventType.TASK_RESTARTED: "restarted",
        EventType.TASK_CHANGED: "changed",
        EventType.TASK_UNLISTED: "unlisted",
        EventType.TASK_STALLED: "stalled",
        EventType.SOURCE_GAP: "gap",
        EventType.SOURCE_FAILING: "failing",
        EventType.SOURCE_RECOVERED: "recovered",
        EventType.CHANNEL_FAILING: "failing",
        EventType.CHANNEL_RECOVERED: "recovered",
        EventType.CHANNEL_GAVE_UP: "gave_up",
        EventType.STORE_REPLACED: "failing",
    }
)
COLOURS: Mapping[EventState, str] = MappingProxyType(
    {
        "failed": "#E01E5A",
        "failing": "#E01E5A",
        "gave_up": "#E01E5A",
        "gap": "#ECB22E",
        "unlisted": "#ECB22E",
        "stalled": "#ECB22E",
        "restarted": "#36C5F0",
        "changed": "#8D8D8D",
        "completed": "#2EB67D",
        "recovered": "#2EB67D",
        "running": "#36C5F0",
        "progressed": "#36C5F0",
    }
)
"""What colour a message has, where a channel can show one."""
EMOJI: Mapping[EventState, str] = MappingProxyType(
    {
        "failed": "🔴",
        "failing": "🔴",
        "gave_up": "🔴",
        "gap": "🟠",
        "unlisted": "🟠",
        "stalled": "🟠",
        "restarted": "🔵",
        "changed": "⚪",
        "completed": "🟢",
        "recovered": "🟢",
        "running": "🔵",
        "progressed": "🔵",
    }
)
"""What stands for the colour: for who cannot tell colours apart, and where none can be shown."""
SEVERITY: tuple[EventState, ...] = (
    "failed",
    "failing",
    "gave_up",
    "gap",
    "unlisted",
    "stalled",
    "restarted",
    "changed",
    "completed",
    "recovered",
    "running",
    "progressed",
)
"""The states, the most urgent first."""

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_LENGTH_LABELS: Mapping[EventState, str] = MappingProxyType(
    {"completed": "took", "failed": "ran_for", "progressed": "running_for", "stalled": "running_for"}
)
_PROGRESS_LABELS: Mapping[EventState, str] = MappingProxyType({"failed": "stopped_at", "unlisted": "last_progress"})


def state_of(event: Event) -> EventState:
    """Return the state that colours and marks an event."""
    return _STATES[event.type]


def by_severity(events: Sequence[Event]) -> tuple[Event, ...]:
    """Return the events with the most urgent first, else in the order given."""
    return tuple(sorted(events, key=lambda event: SEVERITY.index(state_of(event))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Localizer:
    """Puts events into words, in one language and time zone."""

    language: Language
    timezone: ZoneInfo

    # -- events --

    def describe(self, event: Event) -> Message:
        """Return the event in words."""
        if event.task is None:
            return self._about_us(event)
        return self._about_task(event, event.task)

    def digest_headline(self, events: Sequence[Event]) -> str:
        """Return one line that counts the events: `37 tasks failed, 4 completed · source prod`."""
        counts = self._counts(events)
        if all(event.late for event in events):
            counts = self.text("digest.late", counts=counts)
        return " · ".join(filter(None, (counts, self._named("source", events), self._named("channel", events))))

    def digest_line(self, event: Event) -> str:
        """Return one line that names the operation, the instance and the job.

        Or else what happened to which source or channel, and what is said of it.
        """
        if event.task is None:
            said = self._about_us(event)
            parts = [said.title, said.subject or "", one_line(said.reason or "", DETAIL_LIMIT)]
        else:
            parts = [self.task_label(event.task.name), _subject(event.task) or "", one_line(event.job_id, ID_LIMIT)]
        return " · ".join(part for part in parts if part)

    # -- pieces --

    def task_label(self, name: str, *, long: bool = False) -> str:
        """Return what people call an operation, in a few words or as documented; an unknown name as it is."""
        known = TASK_LABELS.get(name)
        if known is None:
            return one_line(name) or self.text("unnamed_task")
        if self.language == "zh":
            return known.zh
        return known.en_long if long else known.en

    def status_label(self, status: str) -> str:
        """Return what people call a status; one that is not known as it is."""
        key = f"status.{status.lower()}"
        return PHRASES[self.language].get(key) or one_line(status)

    def when(self, moment: datetime) -> str:
        """Return a time of day with its date and zone: `14 Nov 09:22:05 CST`."""
        from babel.dates import format_datetime  # noqa: PLC0415 - its data takes longer to load than all the rest

        try:
            local = moment.astimezone(self.timezone)
        except OverflowError:  # the first or the last day of the calendar, which the zone would leave
            return moment.isoformat()
        written = format_datetime(local, self.text("pattern.when"), tzinfo=self.timezone, locale=self.language)
        return f"{written} {local.tzname()}"

    def interval(self, text: str) -> str:
        """Return an ISO 8601 interval as two times and its length; any other text as it is, made safe."""
        try:
            start, end = map(datetime.fromisoformat, text.split("/"))
            return f"{self.when(start)} – {self.when(end)} ({self.duration(end - start)})"
        except (ValueError, TypeError):  # not two times, or only one of them with a zone
            return plain(text)

    def duration(self, length: timedelta) -> str:
        """Return a length of time in its two largest units: `12 min 4 s`. A negative one counts as none."""
        left = int(length.total_seconds())
        if left < 1:
            return self.text("duration.moment")
        parts: list[tuple[str, int]] = []
        for unit, seconds in _UNITS:
            count, left = divmod(left, seconds)
            parts.append((unit, count))
        first = next(index for index, (_, count) in enumerate(parts) if count)
        return " ".join(self.text(f"duration.{unit}", n=count) for unit, count in parts[first : first + 2] if count)

    def progress(self, percent: float) -> str:
        """Return a percentage: `60%`."""
        return f"{percent:.1f}".removesuffix(".0") + "%"

    def text(self, key: str, **values: object) -> str:
        """Return a phrase of the catalogue with its placeholders filled. Raises KeyError for a key it does not have."""
        return PHRASES[self.language][key].format(**values)

    def counted(self, key: str, n: int, **values: object) -> str:
        """Return the phrase `key.one` or `key.other`, whichever goes with the number."""
        return self.text(f"{key}.{'one' if n == 1 else 'other'}", n=n, **values)

    # -- how a message is put together --

    def _about_us(self, event: Event) -> Message:
        """Say how we are: what cannot be seen, and where nothing can be said."""
        facts = (*self._episode(event), self._project(event), self._advice(event))
        unobserved = event.type is EventType.SOURCE_GAP
        return Message(
            state=state_of(event),
            title=self.text(f"title.{event.type}"),
            label=None,
            known=True,
            subject=one_line(event.source or event.channel),
            facts=_known(facts),
            reason=self.interval(event.detail or "") or None,
            reason_label=self.text("label.unobserved" if unobserved else "label.reason"),
            job=None,
            origin=self._origin(event),
        )

    def _episode(self, event: Event) -> tuple[Fact | None, ...]:
        """Say when: from when to when for what is over, else since when and for how long."""
        if event.since is None:
            return (self._time("observed_at", event.observed_at),)
        if state_of(event) == "recovered":
            label = "undelivered" if event.channel else "unobserved"
            return (self._fact(label, self.interval(f"{event.since.isoformat()}/{event.observed_at.isoformat()}")),)
        count = self._fact("messages", str(event.count or ""))
        if count:
            return count, self._time("failing_since", event.since)
        length = self.duration(event.observed_at - event.since)
        return self._time("failing_since", event.since), self._fact("failing_for", length)

    def _project(self, event: Event) -> Fact | None:
        return self._fact("project", one_line(event.project_id, ID_LIMIT))

    def _advice(self, event: Event) -> Fact | None:
        silent = event.type is EventType.SOURCE_FAILING and not event.detail
        kind = "source.silent" if silent else event.type
        return self._fact("note", self.text(f"note.{kind}", channel=one_line(event.channel)))

    def _about_task(self, event: Event, task: Task) -> Message:
        return Message(
            state=state_of(event),
            title=self._title(event, task),
            label=self.task_label(task.name),
            known=task.name in TASK_LABELS,
            subject=_subject(task),
            facts=_known(
                (self._status(event, task), *self._times(event, task), *self._instance(task), self._note(event))
            ),
            reason=plain(task.fail_reason or event.detail or "") or None,
            reason_label=self.text("label.reason"),
            job=self._fact("job", one_line(task.job_id, ID_LIMIT), quoted=True),
            origin=self._origin(event),
        )

    def _title(self, event: Event, task: Task) -> str:
        if event.type is EventType.TASK_PROGRESSED and task.progress is not None:
            return self.text("title.progressed_to", progress=self.progress(task.progress))
        return self.text(f"title.{state_of(event)}")

    def _status(self, event: Event, task: Task) -> Fact | None:
        if event.type not in (EventType.TASK_CHANGED, EventType.TASK_RESTARTED):
            return None
        steps = (event.previous_status, task.raw_status)
        return self._fact("status", " → ".join(self.status_label(step) for step in steps if step), quoted=True)

    def _times(self, event: Event, task: Task) -> tuple[Fact | None, ...]:
        unsaid = event.occurred_at is None or event.late
        return (
            self._time("created_at", task.created_at),
            self._time("ended_at", task.ended_at if task.status.terminal else None),
            self._time("observed_at", event.observed_at if unsaid else None),
            self._length(event, task),
            self._progress(event, task),
            self._left(event, task),
            self._fact("stalled", self.duration(event.observed_at - event.since)) if event.since else None,
        )

    def _length(self, event: Event, task: Task) -> Fact | None:
        label = _LENGTH_LABELS.get(state_of(event))
        end = task.ended_at if task.status.terminal else event.observed_at
        if label is None or task.created_at is None or end is None or end < task.created_at:
            return None
        return self._fact(label, self.duration(end - task.created_at))

    def _progress(self, event: Event, task: Task) -> Fact | None:
        if task.progress is None or event.type is EventType.TASK_COMPLETED:
            return None
        label = _PROGRESS_LABELS.get(state_of(event), "progress")
        return Fact(label=self.text(f"label.{label}"), value=self.progress(task.progress), percent=task.progress)

    def _left(self, event: Event, task: Task) -> Fact | None:
        """Say how long it may still take, if the rest goes like what is done: only where the API tells how much is."""
        done = task.progress or 0.0
        if event.type is not EventType.TASK_PROGRESSED or not 1 <= done < 100 or task.created_at is None:  # noqa: PLR2004 - percent
            return None
        elapsed = event.observed_at - task.created_at
        if elapsed <= timedelta():
            return None
        return self._fact("left", self.duration(elapsed * ((100 - done) / done)))

    def _instance(self, task: Task) -> tuple[Fact | None, ...]:
        return (
            self._fact("instance_status", one_line(task.instance_status or ""), quoted=True),
            self._fact("instance_id", one_line(task.instance_id or "", ID_LIMIT), quoted=True),
        )

    def _note(self, event: Event) -> Fact | None:
        if event.type is EventType.TASK_UNLISTED:
            return self._fact("note", self.text("note.unlisted"))
        if event.previous_status is None and state_of(event) in ("failed", "completed"):
            return self._fact("note", self.text(f"note.first_seen_{state_of(event)}"))
        return None

    def _origin(self, event: Event) -> str:
        place = " / ".join(part for part in (one_line(event.source), one_line(event.region)) if part)
        place = place or self._named("channel", [event]) or self.text("origin.store")
        return f"{place} · {self.text('origin.late')}" if event.late else place

    def _fact(self, label: str, value: str, *, quoted: bool = False) -> Fact | None:
        return Fact(label=self.text(f"label.{label}"), value=value, quoted=quoted) if value else None

    def _time(self, label: str, moment: datetime | None) -> Fact | None:
        if moment is None:
            return None
        return Fact(label=self.text(f"label.{label}"), value=self.when(moment), at=moment)

    def _counts(self, events: Sequence[Event]) -> str:
        counted = Counter(state_of(event) for event in events if event.task)
        others = Counter(event.type for event in by_severity(events) if not event.task)
        found = [(state, counted[state]) for state in SEVERITY if counted[state]]
        parts = [self._count(state, n, lead=index == 0) for index, (state, n) in enumerate(found)]
        parts += [self.text(f"digest.{kind}", n=n) for kind, n in others.items()]
        return self.text("digest.separator").join(parts)

    def _named(self, what: Literal["source", "channel"], events: Sequence[Event]) -> str:
        names = sorted({one_line(getattr(event, what)) for event in events} - {""})
        return self.counted(what, len(names), names=cut(", ".join(names), NAME_LIMIT)) if names else ""

    def _count(self, state: EventState, n: int, *, lead: bool) -> str:
        verb = self.text(f"verb.{state}")
        if lead:
            return self.text("digest.lead", tasks=self.counted("tasks", n), verb=verb)
        return self.text("digest.more", n=n, verb=verb)


def _subject(task: Task) -> str | None:
    return one_line(task.instance_name or "") or one_line(task.instance_id or "") or None


def _known(facts: Sequence[Fact | None]) -> tuple[Fact, ...]:
    return tuple(fact for fact in facts if fact)
