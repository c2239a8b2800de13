"""From what the store knows to an answer in words. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from notifier.chat.findings import HealthFormatter
from notifier.chat.phrases import text
from notifier.chat.requests import Answer, Language, Row, quoted
from notifier.core.commands import USAGE
from notifier.core.health import Health, HealthFinding
from notifier.core.model import Acknowledgement, Event, Mute, SourceState, Task, TaskStatus
from notifier.lookup import InstanceAnswer
from notifier.ports import StoredTask, TaskStatistics
from notifier.wording.formatter import NAME_LIMIT, REASON_LIMIT, TASK_LABELS, EventState, Localizer, one_line, plain

PAGE = 10
"""Rows of a list that are shown at once."""
SHORT_REASON = 160
"""Characters of a reason in a list."""
STEPS = 10
"""Events of a task that its answer lists, the latest ones."""
KINDS = 20
"""Kinds of tasks that statistics list, the most frequent ones."""
FINDINGS = 10
"""Findings that a status lists, the gravest ones."""
LONGEST_STATUS = 30
"""Lines of a status."""


_QUOTED = frozenset({"given", "instance", "job", "meant", "names", "usage", "who", "why"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """Speaks one language."""

    language: Language
    localizer: Localizer
    command: str

    def say(self, key: str, **values: object) -> str:
        """Return a phrase. Values that may come from outside, or that are to be typed, are quoted in it."""
        shown = {name: quoted(one_line(str(value))) if name in _QUOTED else value for name, value in values.items()}
        return text(self.language, key, **{"command": self.command} | shown)

    def answer(self, key: str, note: str = "", **values: object) -> Answer:
        """Return an answer of one sentence."""
        return Answer(title=self.say(key, **values), note=note)

    def mistake(self, key: str, given: str, meant: str) -> Answer:
        """Return an answer that says what was wrong with a command, and what would be right."""
        return self.refusal(key, given=given, meant=f"{self.command} {meant}" if meant else f"{self.command} help")

    def refusal(self, key: str, **values: object) -> Answer:
        """Return an answer that says why something was not done."""
        return Answer(title=self.say(key, **values), good=False)

    def when(self, moment: datetime) -> str:
        """Return a time of day."""
        return self.localizer.when(moment)

    def tasks(self, n: int) -> str:
        """Return how many tasks."""
        return self.localizer.counted("tasks", n)

    def typed(self, name: str) -> str:
        """Return a name as it is typed."""
        return f'"{name}"' if " " in name else name


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some of the tasks that fit."""

    rows: tuple[StoredTask, ...]
    offset: int
    total: int


def help_(voice: Voice) -> Answer:
    """Say what can be asked."""
    lines = [
        voice.say("help.line", usage=f"{voice.command} {usage}", what=voice.say(f"help.{name}"))
        for name, usage in USAGE.items()
    ]
    return Answer(title=voice.say("help.title"), lines=lines)


def tasks(page: Page, key: str, fresh: str, voice: Voice, **said: str) -> Answer:
    """List tasks, and say how fresh the list is: an empty one means little without that."""
    found = "some" if page.total else "none"
    title = voice.say(f"{key}.{found}", tasks=voice.tasks(page.total), **said)
    last = page.offset + len(page.rows)
    return Answer(
        title=title,
        rows=[_row(stored, voice) for stored in page.rows],
        note=" · ".join(filter(None, (_place(page, last, voice), fresh))),
        command=_COMMANDS.get(key, "").format(**said).strip(),
        before=max(page.offset - PAGE, 0) if page.offset else None,
        after=last if last < page.total else None,
    )


def about(name: str, listed: Answer, voice: Voice) -> Answer:
    """Say what a list was narrowed to, also in the words that give it again."""
    if not name:
        return listed
    title = voice.say("list.about", title=listed.title, instance=name)
    return replace(listed, title=title, command=f"{listed.command} {voice.typed(name)}")


def without(ignored: str, answer: Answer, voice: Voice) -> Answer:
    """Say which words of a command meant nothing."""
    if not ignored:
        return answer
    return replace(answer, note=" · ".join(filter(None, (answer.note, voice.say("note.ignored", given=ignored)))))


_COMMANDS: Mapping[str, str] = {"failed": "failed {within}", "running": "running", "recent": "recent"}


def _place(page: Page, last: int, voice: Voice) -> str:
    if page.total <= PAGE:
        return ""
    return voice.say("note.page", first=page.offset + 1, last=last, total=page.total)


def freshness(states: Sequence[SourceState], configured: Collection[str], now: datetime, voice: Voice) -> str:
    """Say when it is and when each source was last polled."""
    known = {state.name: state for state in states}
    said = (_polled(name, known.get(name), now, voice) for name in configured)
    return " · ".join([voice.say("note.as_of", at=voice.when(now)), *said])


def _polled(name: str, state: SourceState | None, now: datetime, voice: Voice) -> str:
    if state is None or state.last_poll_at is None:
        return voice.say("note.never", name=name)
    return voice.say("note.polled", name=name, age=voice.localizer.duration(now - state.last_poll_at))


def name_of(task: Task, voice: Voice) -> str:
    """Return which operation on which instance."""
    label = voice.localizer.task_label(task.name)
    instance = one_line(task.instance_name or task.instance_id or "")
    return " · ".join(filter(None, (label if task.name in TASK_LABELS else quoted(label), quoted(instance))))


_STATES: Mapping[TaskStatus, EventState] = {
    TaskStatus.RUNNING: "running",
    TaskStatus.COMPLETED: "completed",
    TaskStatus.FAILED: "failed",
    TaskStatus.UNKNOWN: "changed",
}


def _row(stored: StoredTask, voice: Voice) -> Row:
    task = stored.task
    return Row(
        state=_STATES[task.status],
        label=voice.localizer.task_label(task.name),
        known=task.name in TASK_LABELS,
        instance=one_line(task.instance_name or task.instance_id or "") or None,
        said=" · ".join(filter(None, _said(stored, voice))),
        subject=f"{task.source}/{task.job_id}",
    )


def _said(stored: StoredTask, voice: Voice) -> Iterator[str]:
    task = stored.task
    if task.status is TaskStatus.RUNNING:
        yield voice.say("row.since", at=voice.when(task.created_at or stored.first_seen_at))
        yield voice.localizer.progress(task.progress) if task.progress is not None else ""
    elif task.created_at and task.ended_at and task.ended_at >= task.created_at:
        length = voice.localizer.duration(task.ended_at - task.created_at)
        yield voice.say("row.took", at=voice.when(task.ended_at), length=length)
    else:
        yield voice.say("row.at", at=voice.when(task.ended_at or stored.changed_at))
    if task.status is TaskStatus.UNKNOWN:
        yield quoted(one_line(task.raw_status))
    yield quoted(one_line(task.fail_reason or "", SHORT_REASON))


def task(stored: StoredTask, history: Sequence[Event], acknowledged: Acknowledgement | None, voice: Voice) -> Answer:
    """Say all that is known of one task."""
    found = stored.task
    title = voice.say("task.title", label=name_of(found, voice), status=_status(found, voice))
    lines = [
        voice.say("task.history", at=voice.when(event.observed_at), what=voice.localizer.describe(event).title)
        for event in history[-STEPS:]
    ]
    if acknowledged:
        lines.append(voice.say("task.acknowledged", who=acknowledged.name, at=voice.when(acknowledged.at)))
    return Answer(
        title=title,
        lines=lines,
        facts=list(_facts(stored, voice)),
        quote=plain(found.fail_reason or "", REASON_LIMIT) or None,
        command=f"task {found.job_id}" if len(found.job_id) <= NAME_LIMIT and " " not in found.job_id else "",
    )


def _status(task: Task, voice: Voice) -> str:
    if task.status is TaskStatus.UNKNOWN:
        return quoted(one_line(task.raw_status))
    return voice.localizer.status_label(task.status)


def _facts(stored: StoredTask, voice: Voice) -> Iterator[tuple[str, str, bool]]:
    found, word = stored.task, voice.localizer
    took = found.ended_at - found.created_at if found.created_at and found.ended_at else None
    times = {"created_at": found.created_at, "ended_at": found.ended_at}
    for label, moment in times.items():
        if moment:
            yield word.text(f"label.{label}"), word.when(moment), False
    if took is not None and took >= timedelta():
        yield word.text("label.took"), word.duration(took), False
    if found.progress is not None and not found.status.terminal:
        yield word.text("label.progress"), word.progress(found.progress), False
    outside = {
        "instance": found.instance_name,
        "instance_id": found.instance_id,
        "instance_status": found.instance_status,
        "job": found.job_id,
    }
    for label, value in outside.items():
        if shown := one_line(value or ""):
            yield word.text(f"label.{label}"), shown, True
    yield voice.say("label.source"), found.source, True


def no_task(candidates: Sequence[StoredTask], wanted: str, voice: Voice) -> Answer:
    """Say that no task, or more than one, begins like this."""
    if candidates:
        title = voice.say("task.several", job=wanted, tasks=voice.tasks(len(candidates)))
        return Answer(title=title, rows=[_row(stored, voice) for stored in candidates[:PAGE]], good=False)
    return Answer(title=voice.say("task.unknown", job=wanted), lines=[voice.say("task.hint")], good=False)


def no_instance(about: str, wanted: str, found: InstanceAnswer, voice: Voice) -> Answer:
    """Say that there is no such instance, or more than one, and which are meant perhaps."""
    names = found.namesakes or found.resembling
    near = [voice.say("instance.near", names=", ".join(map(one_line, names)))] if names else []
    why = "several" if found.namesakes else "unknown"
    return Answer(title=voice.say(f"{about}.{why}", instance=wanted), lines=near, good=False)


def muted(mute: Mute, voice: Voice) -> Answer:
    """Say that an instance is muted, and how to end that."""
    return Answer(
        title=voice.say("mute.done", instance=mute.shown, until=voice.when(mute.until)),
        lines=[voice.say("mute.how", instance=voice.typed(mute.shown))],
    )


def mutes(found: Sequence[Mute], voice: Voice) -> Answer:
    """List what is muted."""
    if not found:
        return voice.answer("mutes.none")
    return Answer(title=voice.say("mutes.some", n=len(found)), lines=[_mute_line(mute, voice) for mute in found[:PAGE]])


def _mute_line(mute: Mute, voice: Voice) -> str:
    line = voice.say("mutes.line", instance=mute.shown, until=voice.when(mute.until), who=mute.name)
    return f"{line}: {quoted(one_line(mute.reason))}" if mute.reason else line


def statistics(found: Sequence[TaskStatistics], within: timedelta, voice: Voice) -> Answer:
    """Say how the tasks of each kind fared."""
    length = voice.localizer.duration(within)
    if not found:
        return voice.answer("stats.none", length=length)
    total = sum(one.count for one in found)
    return Answer(
        title=voice.say("stats.title", tasks=voice.tasks(total), length=length),
        lines=[_statistics_line(one, voice) for one in found[:KINDS]],
    )


def _statistics_line(one: TaskStatistics, voice: Voice) -> str:
    ended = one.completed + one.failed
    rate = f"{100 * one.failed / ended:.0f} %" if ended else "–"
    label = voice.localizer.task_label(one.name)
    label = label if one.name in TASK_LABELS else quoted(label)
    line = voice.say("stats.line", label=label, completed=one.completed, failed=one.failed, rate=rate)
    if one.running:
        line += voice.say("stats.running", running=one.running)
    if one.mean is not None and one.longest is not None:
        word = voice.localizer
        line += voice.say("stats.took", mean=word.duration(one.mean), longest=word.duration(one.longest))
    return line


def status(health: Health, voice: Voice) -> Answer:
    """Say what is wrong and which command helps, then how everything else is."""
    format_ = HealthFormatter(health=health, language=voice.language, localizer=voice.localizer)
    good_sources = (format_.source(source) for source in health.sources if source.ok)
    good_channels = (
        "; ".join([format_.channel(channel), *format_.held(channel)]) for channel in health.channels if channel.ok
    )
    red = [finding for finding in health.findings if finding.red]
    remarks = [finding for finding in health.findings if not finding.red]
    return Answer(
        title=format_.title(),
        lines=[
            *(_finding_line(finding, format_, voice) for finding in red[:FINDINGS]),
            *(f"✓ {line}" for line in (*good_sources, *good_channels)),
            *(f"– {format_.finding(finding)}" for finding in remarks),
        ][:LONGEST_STATUS],
        note=voice.say("note.as_of", at=voice.when(health.at)),
        command="status",
        good=health.ok,
    )


def _finding_line(found: HealthFinding, format_: HealthFormatter, voice: Voice) -> str:
    reason = voice.say("health.reason", why=one_line(found.reason, REASON_LIMIT)) if found.reason else ""
    commands = ", ".join(quoted(command) for command in found.commands)
    return "✗ " + " → ".join(filter(None, (format_.finding(found) + reason, commands)))
