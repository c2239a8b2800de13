"""Events as messages: the words of `phrases`, put together. Channels decide how a message looks."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from notifier.core.events import EventType
from notifier.core.model import Event, Task
from notifier.wording.localizer import Localizer
from notifier.wording.operations import OPERATIONS
from notifier.wording.sanitize import DETAIL_LIMIT, ID_LIMIT, NAME_LIMIT, cut, one_line, plain
from notifier.wording.states import STATES, EventState, by_severity, state_of


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


@dataclass(frozen=True, slots=True)
class MessageFormatter:
    """Formats events as messages and as lines of digests."""

    localizer: Localizer

    def describe(self, event: Event) -> Message:
        """Return the event in words."""
        if event.task is None:
            return self._without_task(event)
        return self._with_task(event, event.task)

    def digest_headline(self, events: Sequence[Event]) -> str:
        """Return one line that counts the events: `37 tasks failed, 4 completed · source prod`."""
        counts = self._counts(events)
        if all(event.late for event in events):
            counts = self.localizer.text("digest.late", counts=counts)
        return " · ".join(filter(None, (counts, self._named("source", events), self._named("channel", events))))

    def digest_line(self, event: Event) -> str:
        """Return one line: operation, instance and job; without a task what happened, to which subject, and why."""
        if event.task is None:
            message = self._without_task(event)
            parts = [message.title, message.subject or "", one_line(message.reason or "", DETAIL_LIMIT)]
        else:
            label = self.localizer.task_label(event.task.name)
            parts = [label, _subject(event.task) or "", one_line(event.job_id, ID_LIMIT)]
        return " · ".join(part for part in parts if part)

    def _without_task(self, event: Event) -> Message:
        """Return an event about a source, a channel or the store in words."""
        project = self._fact("project", one_line(event.project_id, ID_LIMIT))
        facts = (*self._episode(event), project, self._own_note(event))
        unobserved = event.type is EventType.SOURCE_GAP
        return Message(
            state=state_of(event),
            title=self.localizer.text(f"title.{event.type}"),
            label=None,
            known=True,
            subject=one_line(event.source or event.channel),
            facts=_present(facts),
            reason=self.localizer.interval(event.detail or "") or None,
            reason_label=self.localizer.text("label.unobserved" if unobserved else "label.reason"),
            job=None,
            origin=self._origin(event),
        )

    def _episode(self, event: Event) -> tuple[Fact | None, ...]:
        """Return the bounds of an episode that is over, else its begin and how long it has lasted."""
        if event.since is None:
            return (self._time("observed_at", event.observed_at),)
        if event.type in (EventType.SOURCE_RECOVERED, EventType.CHANNEL_RECOVERED):
            label = "undelivered" if event.channel else "unobserved"
            bounds = f"{event.since.isoformat()}/{event.observed_at.isoformat()}"
            return (self._fact(label, self.localizer.interval(bounds)),)
        count = self._fact("messages", str(event.count or ""))
        if count:
            return count, self._time("failing_since", event.since)
        length = self.localizer.duration(event.observed_at - event.since)
        return self._time("failing_since", event.since), self._fact("failing_for", length)

    def _own_note(self, event: Event) -> Fact | None:
        silent = event.type is EventType.SOURCE_FAILING and not event.detail
        kind = "source.silent" if silent else event.type
        return self._fact("note", self.localizer.text(f"note.{kind}", channel=one_line(event.channel)))

    def _with_task(self, event: Event, task: Task) -> Message:
        return Message(
            state=state_of(event),
            title=self._title(event, task),
            label=self.localizer.task_label(task.name),
            known=task.name in OPERATIONS,
            subject=_subject(task),
            facts=_present(
                (self._status(event, task), *self._times(event, task), *self._instance(task), self._task_note(event))
            ),
            reason=plain(task.fail_reason or event.detail or "") or None,
            reason_label=self.localizer.text("label.reason"),
            job=self._fact("job", one_line(task.job_id, ID_LIMIT), quoted=True),
            origin=self._origin(event),
        )

    def _title(self, event: Event, task: Task) -> str:
        if event.type is EventType.TASK_PROGRESSED and task.progress is not None:
            return self.localizer.text("title.task.progressed_to", progress=self.localizer.progress(task.progress))
        return self.localizer.text(f"title.{event.type}")

    def _status(self, event: Event, task: Task) -> Fact | None:
        if event.type not in (EventType.TASK_CHANGED, EventType.TASK_RESTARTED):
            return None
        steps = (event.previous_status, task.raw_status)
        labels = (self.localizer.status_label(step) for step in steps if step)
        return self._fact("status", " → ".join(labels), quoted=True)

    def _times(self, event: Event, task: Task) -> tuple[Fact | None, ...]:
        undated = event.occurred_at is None or event.late
        return (
            self._time("created_at", task.created_at),
            self._time("ended_at", task.ended_at if task.status.terminal else None),
            self._time("observed_at", event.observed_at if undated else None),
            self._length(event, task),
            self._progress(event, task),
            self._left(event, task),
            self._fact("stalled", self.localizer.duration(event.observed_at - event.since)) if event.since else None,
        )

    def _length(self, event: Event, task: Task) -> Fact | None:
        label = state_of(event).length_label
        end = task.ended_at if task.status.terminal else event.observed_at
        if label is None or task.created_at is None or end is None or end < task.created_at:
            return None
        return self._fact(label, self.localizer.duration(end - task.created_at))

    def _progress(self, event: Event, task: Task) -> Fact | None:
        if task.progress is None or event.type is EventType.TASK_COMPLETED:
            return None
        label = self.localizer.text(f"label.{state_of(event).progress_label}")
        return Fact(label=label, value=self.localizer.progress(task.progress), percent=task.progress)

    def _left(self, event: Event, task: Task) -> Fact | None:
        """Return an estimate of the time left, at the pace so far. None unless the API gives the progress."""
        done = task.progress or 0.0
        if event.type is not EventType.TASK_PROGRESSED or not 1 <= done < 100 or task.created_at is None:  # noqa: PLR2004 - percent
            return None
        elapsed = event.observed_at - task.created_at
        if elapsed <= timedelta():
            return None
        return self._fact("left", self.localizer.duration(elapsed * ((100 - done) / done)))

    def _instance(self, task: Task) -> tuple[Fact | None, ...]:
        return (
            self._fact("instance_status", one_line(task.instance_status or ""), quoted=True),
            self._fact("instance_id", one_line(task.instance_id or "", ID_LIMIT), quoted=True),
        )

    def _task_note(self, event: Event) -> Fact | None:
        if event.type is EventType.TASK_UNLISTED:
            return self._fact("note", self.localizer.text("note.unlisted"))
        if event.previous_status is None and event.type.traits.ends_task:
            return self._fact("note", self.localizer.text(f"note.first_seen_{state_of(event).name}"))
        return None

    def _origin(self, event: Event) -> str:
        place = " / ".join(part for part in (one_line(event.source), one_line(event.region)) if part)
        place = place or self._named("channel", [event]) or self.localizer.text("origin.store")
        return f"{place} · {self.localizer.text('origin.late')}" if event.late else place

    def _fact(self, label: str, value: str, *, quoted: bool = False) -> Fact | None:
        return Fact(label=self.localizer.text(f"label.{label}"), value=value, quoted=quoted) if value else None

    def _time(self, label: str, moment: datetime | None) -> Fact | None:
        if moment is None:
            return None
        return Fact(label=self.localizer.text(f"label.{label}"), value=self.localizer.when(moment), at=moment)

    def _counts(self, events: Sequence[Event]) -> str:
        counted = Counter(state_of(event) for event in events if event.task)
        others = Counter(event.type for event in by_severity(events) if not event.task)
        found = [(state, counted[state]) for state in STATES if counted[state]]
        parts = [self._count(state, n, lead=index == 0) for index, (state, n) in enumerate(found)]
        parts += [self.localizer.text(f"digest.{kind}", n=n) for kind, n in others.items()]
        return self.localizer.text("digest.separator").join(parts)

    def _named(self, what: Literal["source", "channel"], events: Sequence[Event]) -> str:
        names = sorted({one_line(getattr(event, what)) for event in events} - {""})
        return self.localizer.counted(what, len(names), names=cut(", ".join(names), NAME_LIMIT)) if names else ""

    def _count(self, state: EventState, n: int, *, lead: bool) -> str:
        verb = self.localizer.text(f"verb.{state.name}")
        if lead:
            return self.localizer.text("digest.lead", tasks=self.localizer.counted("tasks", n), verb=verb)
        return self.localizer.text("digest.more", n=n, verb=verb)


def _subject(task: Task) -> str | None:
    return one_line(task.instance_name or "") or one_line(task.instance_id or "") or None


def _present(facts: Sequence[Fact | None]) -> tuple[Fact, ...]:
    return tuple(fact for fact in facts if fact)
