"""An event in words, before any markup. Channels decide how a message looks, not what stands in it.

A message answers six questions, in this order: what happened and where, why, how bad it is, and what to do now. Then
follow links and identifiers. Sentences may have marks (`notifier.wording.marks`): quoted text from outside, the words
that matter most, and times that a chat can show in each reader's time zone. Texts called plain have none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from notifier.core.alarms import AlarmFacts, AlarmLevel
from notifier.core.causes import Explanation
from notifier.core.events import EventType
from notifier.core.foreseen import Expectation
from notifier.core.ids import shorten_id
from notifier.core.maintenance_values import MaintenanceNotice, Phase
from notifier.core.model import Event, MuteWindow, RepeatedFailure, Task, TaskStatus
from notifier.core.mutes import unnamed
from notifier.core.routing import DeliveryRouting
from notifier.core.severity import Severity, is_production
from notifier.core.usual import Usual, remaining
from notifier.wording.columns import columns, shortened
from notifier.wording.explained import NO_REASON, ExplainedReason, own_reason
from notifier.wording.links import PageLink
from notifier.wording.localizer import Localizer, capitalised
from notifier.wording.maintenance import (
    impact_words,
    is_known,
    level_words,
    maintenance_conditions,
    maintenance_label,
    maintenance_notes,
    maintenance_reason,
    shown_time,
)
from notifier.wording.marks import quoted, strong, without_marks
from notifier.wording.operations import KNOWN_NAMES
from notifier.wording.phrases import Language, phrases, text
from notifier.wording.reports import MessageSection, ReportFormatter, hand_over_sections, hand_over_sentence
from notifier.wording.sanitize import ID_LIMIT, one_line
from notifier.wording.starters import started_by_condition, starter
from notifier.wording.states import EventState, emoji_of, state_of

if TYPE_CHECKING:
    from notifier.wording.events import EventFormatter

LOCK_SCREEN = 39
"""Width of the part of a title that a lock screen shows of a mail, in columns: 41 without the mark of the state."""
SHORT_NAME = 24
"""Width up to which a name stays whole there, in columns: to know where is worth more than the end of what."""
_CACHED_KINDS = 512
"""Number of kinds of messages whose words are cached: an outage repeats the same ones hundreds of times."""
_SUBJECT = "\0"
"""Stands for the subject in the words of a kind. No text has it: controls are removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One labelled line of a message."""

    name: str
    """Name of what it states, by which a channel chooses: `ended_at`, `ran_for`, `job`."""
    label: str
    value: str
    at: datetime | None = None
    """The time that `value` writes, for a channel that can show each reader their own time."""
    percent: float | None = None
    """The number that `value` writes, for a channel that can draw it."""
    quoted: bool = False
    """True where `value` holds text from outside: a channel with markup shows it as code."""


class Message:
    """An event in words, before any markup. What few channels show is put into words when they read it."""

    operation: str
    """Plain name of the operation: `Flavor change`. Empty for an event about a source, a channel or the store; each
    other event is about a task, or about a run that did not appear."""
    subject: str
    """Plain name of the instance, the source or the channel. Empty where the API gives none."""
    explained: ExplainedReason
    """Why, and what is known about that."""

    def __init__(self, formatter: EventFormatter, event: Event, routing: DeliveryRouting, job: str = "") -> None:
        """`job` stands for the job id where the usual short one would not do."""
        self.event = event
        self.localizer: Localizer = formatter.localizer
        self.state: EventState = state_of(event)
        self.severity: Severity = routing.severity or event.severity
        self._formatter = formatter
        self._job = job
        if about := event.matter:
            has_words = event.task is not None and (event.task.fail_reason or event.task.alarm)
            self.operation = self._label(about.name)
            self.subject = one_line(about.instance_name or "") or one_line(about.instance_id or "")
            self.explained = formatter.explained_task(event.task) if event.task and has_words else self._own_reason()
        else:
            self.operation = ""
            name = event.mute.covers if event.mute else event.about.partition(":")[2]
            self.subject = one_line(event.source or event.channel or name)
            self.explained = self._own_reason() if event.type.traits.bad_news else NO_REASON

    def _label(self, name: str) -> str:
        planned = self.event.maintenance
        return maintenance_label(planned, self.localizer) if planned else self.localizer.task_label(name)

    def _own_reason(self) -> ExplainedReason:
        """Return a reason that the notifier wrote, or why a maintenance is planned."""
        if planned := self.event.maintenance:
            why = maintenance_reason(planned, self.localizer)
            return ExplainedReason(text=why, why=why)
        detail = self.event.detail
        return own_reason(detail, self.localizer.language) if detail else NO_REASON

    @property
    def emoji(self) -> str:
        """Stands for the state; hollow for a failure that disturbs nobody."""
        return emoji_of(self.state, self.severity)

    # -- what happened to what --

    @property
    def headline(self) -> Headline:
        """What happened, to what, where, why and when, in one line."""
        return Headline(self)

    @property
    def sentence(self) -> str:
        """What happened to what, with marks: `Flavor change failed on ‹prod-orders-01›`."""
        if not self.subject or not self.operation:
            return self.clause
        return self.localizer.text("sentence.on", clause=self.clause, subject=quoted(self.subject))

    @property
    def summary(self) -> str:
        """`sentence` without marks, and why: `Flavor change failed on prod-orders-01: VM not active in time`."""
        clause = without_marks(self.clause_about(self.operation))
        subject = self.subject if self.operation else ""
        before, behind = _around_subject(self.localizer.language, clause, self.why, named=bool(subject))
        return f"{before}{subject}{behind}"

    @property
    def clause(self) -> str:
        """`sentence` without the instance, with marks: `Flavor change failed`."""
        return self.clause_about(self._shown_operation)

    @property
    def detail(self) -> str:
        """What happened, for a place that shows the verb already, with marks: `Flavor change`.

        The whole clause where that says more.
        """
        return self._shown_operation if self.operation and self.state.verb_suffices else self.clause

    @property
    def verb(self) -> str:
        """The state in one plain word, for a badge: `failed`."""
        return self.localizer.text(f"verb.{self.state.name}")

    @property
    def known(self) -> bool:
        """False where `operation` is not ours but the API's name of an operation without a phrase."""
        about = self.event.matter
        if self.event.maintenance:
            return is_known(self.event.maintenance)
        return about is None or about.name in KNOWN_NAMES

    @cached_property
    def environment(self) -> str:
        """Plain name of the environment for people: `PROD`, `staging`. Empty for none."""
        return self._formatter.environment(self.event.environment)

    @property
    def production(self) -> bool:
        """True for the production environment, whose name channels emphasise."""
        return is_production(self.event.environment)

    @property
    def moment(self) -> datetime:
        """When it happened, or was detected where the API does not say."""
        return self.event.occurred_at or self.event.observed_at

    @property
    def clock(self) -> str:
        """`moment` as plain time of day, in the configured zone: `04:54:48`."""
        return self.localizer.clock(self.moment)

    @property
    def when(self) -> str:
        """`moment` as a mark; with its date only where that is not the day on which the event was detected."""
        return self._dated(self.moment)

    def clause_about(self, operation: str) -> str:
        """Return what happened to an operation, or to a source, a channel or the store."""
        event, task = self.event, self.event.task
        if not self.operation:
            return self._own_sentence()
        at = "" if task is None or task.progress is None else self.localizer.progress(task.progress)
        if event.maintenance:
            at = self._dated(moment) if (moment := shown_time(event.maintenance)) else ""
        status = self._status(task.raw_status) if task and event.type is EventType.TASK_CHANGED else ""
        if not event.type.traits.follows_up:
            return _clause(self.localizer.language, self._clause_key, operation, at, status)
        named = _within(operation, self.localizer) if self.known else operation
        what = _clause(self.localizer.language, self._clause_key, named, at, status)
        clause = self.localizer.text(f"clause.{event.type}", what=what, length=self._open_for)
        within = self.known and operation != self.operation  # behind the name of the instance
        return clause if within else capitalised(clause)

    @property
    def _kind(self) -> EventType:
        """The type of the event, or of what a reminder or an escalation is about."""
        if not self.event.type.traits.follows_up:
            return self.event.type
        return self.event.follow_up.type if self.event.follow_up else EventType.TASK_FAILED

    @property
    def _clause_key(self) -> str:
        planned = self.event.maintenance
        if planned and planned.vanished:
            return "maintenance.vanished"
        asking = planned is not None and planned.phase is Phase.ASKING
        return EventType.MAINTENANCE_AWAITING if asking and self._kind is EventType.MAINTENANCE_REMINDED else self._kind

    @property
    def _open_for(self) -> str:
        """How long a failure has been open."""
        return self.localizer.duration(self.event.observed_at - (self.event.since or self.event.observed_at))

    @property
    def _shown_operation(self) -> str:
        return self.operation if self.known else quoted(self.operation)

    def _own_sentence(self) -> str:
        event = self.event
        if event.mute:
            return self._mute_sentence(event.mute)
        if event.handed_over:
            return hand_over_sentence(self.localizer, event.handed_over)
        since = event.since or event.observed_at
        values: dict[str, object] = {
            "name": quoted(self.subject),
            "since": self._dated(since),
            "length": self.localizer.duration(event.observed_at - since),
            "messages": self.localizer.counted("sentence.messages", event.count or 0),
            **dict.fromkeys(("running", "failed"), 0),
            **dict(event.counts),
            "counts": ReportFormatter(self._formatter, event.report).counts() if event.report else "",
            "listed": self.localizer.counted("tasks", dict(event.counts).get("listed", 0)),
        }
        if "alarms" in values:
            alarms = self.localizer.counted("digest.raised", dict(event.counts)["alarms"])
            return self.localizer.text(f"sentence.{event.type}_alarms", **values | {"alarms": alarms})
        bounds = gap_bounds(event.detail) if event.type is EventType.SOURCE_GAP else (since, event.observed_at)
        if bounds:
            values |= dict(zip(("start", "end"), self._formatter.interval(*bounds, event.observed_at), strict=True))
        return self.localizer.text(f"sentence.{event.type}", **{"start": "?", "end": "?"} | values)

    def _mute_sentence(self, window: MuteWindow) -> str:
        held = self._formatter.held(window.held)
        values = {"name": quoted(self.subject), "until": self._dated(window.until), "held": held}
        key = f"sentence.{self.event.type}"
        return self.localizer.text(f"{key}_held" if held else key, **values)

    def _planned_notes(self, window: MuteWindow | None, planned: MaintenanceNotice | None) -> Iterator[str]:
        if window:
            yield from self._mute_notes(window)
        if planned:
            yield from maintenance_notes(planned, self._formatter, self.event.observed_at)

    def _mute_notes(self, window: MuteWindow) -> Iterator[str]:
        text, reason = self.localizer.text, one_line(window.reason)
        if self.event.type is EventType.MUTE_STARTED:
            who = quoted(one_line(window.name)) if window.name else text("note.mute.configured")
            made = text("note.mute.by", who=who)
            yield (
                text("note.mute.because", note=made, reason=quoted(reason))
                if reason
                else text("note.mute.plain", note=made)
            )
            yield text("note.mute.excepts" if window.except_failures else "note.mute.all")
            return
        if window.named:
            names = text("note.mute.separator").join(self._named(*task) for task in window.named)
            more = unnamed(window.held, window.named)
            yield text("note.mute.named_more" if more else "note.mute.named", names=names, n=more)
        if window.ended_by:
            yield text("note.mute.ended_by", who=quoted(one_line(window.ended_by)))
        if window.next_at:
            yield text("note.mute.next", at=self._dated(window.next_at))

    def _named(self, operation: str, instance: str) -> str:
        label = self.localizer.task_label(operation)
        label = label if operation in KNOWN_NAMES else quoted(label)
        subject = one_line(instance)
        return self.localizer.text("sentence.on", clause=label, subject=quoted(subject)) if subject else label

    def _dated(self, moment: datetime) -> str:
        return self._formatter.dated(moment, self.event.observed_at)

    def _status(self, status: str) -> str:
        label = self.localizer.status_label(status)
        return label if label != one_line(status) else quoted(label)

    # -- why --

    @property
    def reason(self) -> str:
        """Why, as the API or a receiver wrote it: untrusted plain text of several lines. Empty where none was given.

        It has at most REASON_LIMIT characters.
        """
        return self.explained.text

    @property
    def why(self) -> str:
        """The reason in short, with its error code: `VM not active in time (DBS.280277)`. Empty where none is known."""
        return self.explained.why

    @property
    def explanation(self) -> Explanation:
        """What is known about the reason that the API gave."""
        return self.explained.explanation

    @property
    def reason_note(self) -> str:
        """Sentence that stands in for the missing reason of a failure. Empty otherwise."""
        lacks_reason = self._kind is EventType.TASK_FAILED and not self.reason
        return self.localizer.text("message.no_reason") if lacks_reason else ""

    @property
    def meaning(self) -> str:
        """What the reason means, one plain sentence. Empty where that is not known."""
        return self.explained.meaning

    @property
    def advice(self) -> str:
        """What to do now, plain sentences, may have commands in backticks. Empty where that is not known."""
        if action := self.explained.action:
            return action
        key, window = f"advice.{self._kind}", self.event.mute
        if key not in phrases(self.localizer.language) or (window and not self._has_more(window)):
            return ""
        event = self.event
        about = shorten_id(event.follow_up.event_id if event.follow_up else event.id)
        return self.localizer.text(
            key, channel=event.channel, job=self.job, event=about, mute=window.id if window else ""
        )

    def _has_more(self, window: MuteWindow) -> bool:
        """Return whether there is something to do about a window of a mute: to end it, or to list what it held back."""
        return self.event.type is EventType.MUTE_STARTED or bool(window.held)

    # -- how bad, and since when --

    @property
    def late(self) -> str:
        """How late it was reported, with marks; empty where it was not."""
        event, localizer = self.event, self.localizer
        if not event.late:
            return ""
        if event.occurred_at is None:
            return localizer.text("message.late_unknown")
        length = strong(localizer.duration(event.observed_at - event.occurred_at))
        if event.away_since is None:
            return localizer.text("message.late", length=length)
        start, end = self._formatter.interval(event.away_since, event.observed_at, event.observed_at)
        return localizer.text("message.late_away", length=length, start=start, end=end)

    @cached_property
    def conditions(self) -> tuple[str, ...]:
        """How bad it is, in short parts with marks: `Instance is normal`, `ran 10 min 22 s, stopped at 96%`."""
        first, *others = [*filter(None, self._conditions()), ""] if self.operation else [""]
        return tuple(filter(None, (capitalised(first), *others)))

    @property
    def notes(self) -> tuple[str, ...]:
        """What follows from the event, in sentences with marks: `Its tasks are not being monitored.`."""
        event = self.event
        if event.follow_up or event.closes:
            return tuple(self._open_failure())
        if event.mute or event.maintenance:
            return tuple(self._planned_notes(event.mute, event.maintenance))
        kind: str = event.type
        if event.type is EventType.SOURCE_FAILING and not event.detail:
            kind = "source.silent"
        elif event.type is EventType.TASK_UNLISTED:
            kind = "unlisted"
        elif event.overdue or event.expectation:
            return (self._based_on(),)
        elif event.flapping and event.flapping.began:
            within = self.localizer.duration(timedelta(seconds=event.flapping.within_seconds))
            return (self.localizer.text("note.flapping", n=event.flapping.changes, within=within),)
        elif event.repeats:
            return (self._repeated(event.repeats),)
        key = f"note.{kind}"
        return (self.localizer.text(key),) if key in phrases(self.localizer.language) else ()

    def _repeated(self, repeats: RepeatedFailure) -> str:
        """Return since when and how often the operation has failed."""
        since, localizer = self._dated(repeats.since), self.localizer
        if repeats.last is None:
            return localizer.counted(self._open_key("since", self._kind), repeats.failures, since=since)
        key = "repeated_alarm" if self._kind is EventType.ALARM_RAISED else "repeated"
        return localizer.text(f"open_failure.{key}", n=repeats.failures, since=since, last=self._dated(repeats.last))

    def _open_failure(self) -> Iterator[str]:
        """Yield how often and since when it fails, who was notified, and who has reacted; or what a success closes."""
        event, localizer = self.event, self.localizer
        if closed := event.closes:
            since = self._dated(closed.since)
            yield localizer.counted(self._open_key("closes", closed.type), closed.failures, since=since)
            if closed.acknowledged_by:
                yield localizer.text("open_failure.taken_by", who=quoted(one_line(closed.acknowledged_by)))
            return
        about = event.follow_up
        if about is None or event.since is None:
            return
        since = self._dated(event.since)
        yield localizer.counted(self._open_key("since", about.type), about.failures, since=since)
        if event.type is EventType.TASK_ESCALATED and about.told:
            names = localizer.text("list.separator").join(quoted(one_line(channel)) for channel in about.told)
            yield localizer.text("open_failure.told", channels=names)
        yield localizer.text("open_failure.unclaimed")
        if about.together > 1:
            yield localizer.counted("open_failure.others", about.together - 1)
        if about.delay_seconds:
            length = localizer.duration(timedelta(seconds=about.delay_seconds))
            yield localizer.text("open_failure.delayed", length=length)
        if about.last:
            yield localizer.text("open_failure.last")

    def _open_key(self, what: str, kind: EventType) -> str:
        key = f"open_failure.{what}.{kind}"
        return key if f"{key}.one" in phrases(self.localizer.language) else f"open_failure.{what}.any"

    @property
    def sections(self) -> tuple[MessageSection, ...]:
        """What a report or a hand-over says below its title. Empty for all other events."""
        if self.event.report:
            return tuple(ReportFormatter(self._formatter, self.event.report).sections())
        if self.event.handed_over:
            return tuple(hand_over_sections(self._formatter, self.event.handed_over, self.event.observed_at))
        return ()

    @property
    def percent(self) -> float | None:
        """Progress that `conditions` begin with, for a channel that can draw it."""
        shows = self.event.type is EventType.TASK_PROGRESSED and self.event.task
        return shows.progress if shows else None

    def _conditions(self) -> Iterator[str]:
        event, task, localizer = self.event, self.event.task, self.localizer
        if missing := event.expectation:
            yield self._last_run(missing)
        if event.maintenance:
            yield from maintenance_conditions(event.maintenance, self._formatter, event.observed_at)
        if task is None:
            return
        if event.type is EventType.TASK_PROGRESSED:
            yield localizer.progress(task.progress) if task.progress is not None else ""
            yield self._left()
        if self._kind is EventType.TASK_STALLED and event.since:
            stalled = localizer.duration(event.observed_at - event.since)
            yield localizer.text("condition.stalled", length=strong(stalled))
        if task.alarm:
            yield from self._alarm_conditions(task, task.alarm)
        if event.type in (EventType.TASK_CHANGED, EventType.TASK_RESTARTED) and event.previous_status:
            yield localizer.text("condition.was", status=_within(self._status(event.previous_status), localizer))
        if task.instance_status and event.type is not EventType.TASK_PROGRESSED:
            yield localizer.text("condition.instance", status=self._instance_status(task.instance_status))
        yield localizer.text("condition.separator").join(filter(None, (self._length(task), self._stopped_at(task))))
        yield from self._known_beyond()

    def _known_beyond(self) -> Iterator[str]:
        """Yield what is known beyond the list: how long such tasks take, and who started this one."""
        if usual := self._usual:
            yield usual_phrase(usual, self.localizer)
        if by := self.event.started_by:
            yield started_by_condition(by, self.localizer, marked=True)

    def _alarm_conditions(self, task: Task, alarm: AlarmFacts) -> Iterator[str]:
        localizer = self.localizer
        if task.status is TaskStatus.RAISED:
            if alarm.level:
                yield localizer.text("condition.level", level=self._level(alarm.level))
            if task.ended_at:
                yield localizer.text("condition.raised_over", at=self._dated(task.ended_at))
        if alarm.node_id:
            yield localizer.text("condition.node", node=quoted(shorten_id(one_line(alarm.node_id, ID_LIMIT))))

    def _level(self, level: AlarmLevel) -> str:
        return self.localizer.text(f"alarm.level.{level}")

    def _last_run(self, missing: Expectation) -> str:
        """Return when the last run was, as a part of a message."""
        if missing.last is None:
            return self.localizer.text("condition.no_run")
        key = "condition.last_success" if missing.succeeded else "condition.last_run"
        return self.localizer.text(key, at=self._dated(missing.last))

    def _based_on(self) -> str:
        """Return what the judgement of an overdue task or of a missing run is based on, one sentence with marks."""
        localizer, limit, missing = self.localizer, self.event.overdue, self.event.expectation
        if limit and limit.matcher:
            return localizer.text("note.limit_set", limit=localizer.duration(limit.length), rule=quoted(limit.matcher))
        if limit:
            return localizer.text("note.limit_usual", limit=localizer.span(limit.length, limit.length))
        if missing and missing.rule:
            return localizer.text("note.expected_set", rule=quoted(one_line(missing.rule)))
        if missing and missing.expected_at:
            every, at = localizer.period(missing.period), self._dated(missing.expected_at)
            return localizer.counted("note.expected_usual", missing.intervals, every=every, at=at)
        return ""

    def _length(self, task: Task) -> str:
        length, label = self._took(task), self._length_label
        return self.localizer.text(f"condition.{label}", length=self.localizer.duration(length)) if length else ""

    @property
    def _length_label(self) -> str | None:
        """Label of the time since a task was created, or an alarm raised; None where that says nothing."""
        task = self.event.task
        return None if task and task.status is TaskStatus.RAISED else self.state.length_label

    def _took(self, task: Task) -> timedelta | None:
        """Return the time since the task was created, until its end or the event; None where that says nothing."""
        end = task.ended_at if task.status.terminal else self.event.observed_at
        if self._length_label is None or task.created_at is None or end is None:
            return None
        return end - task.created_at if end > task.created_at else None

    def _stopped_at(self, task: Task) -> str:
        if self._kind is not EventType.TASK_FAILED or task.progress is None:
            return ""
        return self.localizer.text("condition.stopped_at", progress=self.localizer.progress(task.progress))

    def _left(self, *, labelled: bool = False) -> str:
        """Return how much longer the task takes; see `time_left`."""
        event, task = self.event, self.event.task
        if task is None or task.created_at is None:
            return ""
        elapsed = event.observed_at - task.created_at
        return time_left(event.usual, elapsed, task.progress, self.localizer, labelled=labelled)

    def _instance_status(self, status: str) -> str:
        label = self.localizer.instance_status(status)
        return strong(label) if self.localizer.knows_instance_status(status) else quoted(label)

    # -- where it is from --

    @property
    def console_url(self) -> str:
        """Link to the instance in the cloud's console. Empty for none."""
        return self._formatter.links.console(self.event)

    @property
    def runbook_url(self) -> str:
        """Link to what to do about the event. Empty for none."""
        return self._formatter.links.runbook(self.event, self.explanation)

    @property
    def page(self) -> PageLink:
        """Link to the page about the event; its URL is empty where no page is configured."""
        return self._formatter.links.page(self.event)

    @property
    def page_label(self) -> str:
        """What a button with that link says: `Open task page`. Empty for none."""
        return self._formatter.page_label(self.page)

    @property
    def origin(self) -> str:
        """Source and region, with marks: `‹prod› / ‹cn-north-4›`; or the channel."""
        event = self.event
        place = " / ".join(quoted(part) for part in (one_line(event.source), one_line(event.region)) if part)
        if place:
            return place
        if event.channel:
            return self.localizer.counted("channel", 1, names=quoted(one_line(event.channel)))
        if event.mute:
            return self.localizer.text("origin.mute", id=quoted(one_line(event.mute.id)))
        if event.about:
            return self.localizer.text("origin.schedule")
        return self.localizer.text("origin.store")

    @property
    def job(self) -> str:
        """Job id as shown: short where it can be. Empty for an event without a task."""
        return self._job or one_line(shorten_id(self.event.job_id), ID_LIMIT)

    def named_job(self, shown: str) -> str:
        """Return `job ‹def160ec›`, or `alarm ‹…›`, for a job id as a channel shows it. Empty for none."""
        if not self.job:
            return ""
        task = self.event.task
        return self.localizer.text("message.alarm" if task and task.alarm else "message.job", job=shown)

    @property
    def history(self) -> str:
        """How often the instance has failed, and how the last failure ended. Empty where that is not known."""
        known, localizer = self.event.history, self.localizer
        if known is None:
            return ""
        parts = []
        if known.failures > 1:
            parts.append(localizer.counted("message.failures", known.failures))
        if known.recovered_after is not None:
            length = localizer.duration(timedelta(seconds=known.recovered_after))
            parts.append(localizer.text("message.recovered", length=length))
        return "  ·  ".join(parts)

    # -- everything, in a table --

    @cached_property
    def facts(self) -> tuple[Fact, ...]:
        """Everything known in a table, for mails and for details."""
        return tuple(fact for fact in self._facts() if fact)

    def _facts(self) -> Iterator[Fact | None]:
        event, task = self.event, self.event.task
        if task is None:
            yield from self._expected()
            yield from self._planned()
            yield self._time("failing_since", event.since)
            yield self._time("until", event.mute.until if event.mute else None)
            yield self._time("observed_at", event.observed_at)
            yield self._fact("project", one_line(event.project_id, ID_LIMIT), is_quoted=True)
            return
        began, ended = ("raised_at", "cleared_at") if task.alarm else ("created_at", "ended_at")
        yield self._time(began, task.created_at)
        yield self._time(ended, task.ended_at if task.status.terminal or task.alarm else None)
        yield self._time("observed_at", event.observed_at if event.occurred_at is None or event.late else None)
        length, label = self._took(task), self._length_label
        yield self._fact(label, self.localizer.duration(length)) if length and label else None
        if task.progress is not None and event.type is not EventType.TASK_COMPLETED:
            name = self.state.progress_label
            shown = self.localizer.progress(task.progress)
            yield Fact(name=name, label=self.localizer.text(f"label.{name}"), value=shown, percent=task.progress)
        if event.started_by:
            yield self._fact("started_by", starter(event.started_by, self.localizer, address=True), is_quoted=True)
        yield from self._circumstances()
        status = task.instance_status or ""
        unknown = not self.localizer.knows_instance_status(status)
        yield self._fact("instance_status", self.localizer.instance_status(status) if status else "", is_quoted=unknown)
        if task.alarm:
            yield from self._alarm_facts(task.alarm)
        label = self.localizer.text("label.alarm" if task.alarm else "label.job")
        yield Fact(name="job", label=label, value=one_line(task.job_id, ID_LIMIT), quoted=True)
        yield self._fact("instance_id", one_line(task.instance_id or "", ID_LIMIT), is_quoted=True)

    def _alarm_facts(self, alarm: AlarmFacts) -> Iterator[Fact | None]:
        yield self._fact("level", self._level(alarm.level) if alarm.level else "")
        yield self._fact("node_id", one_line(alarm.node_id or "", ID_LIMIT), is_quoted=True)

    def _circumstances(self) -> Iterator[Fact | None]:
        event, localizer = self.event, self.localizer
        if event.type is EventType.TASK_PROGRESSED:
            yield self._fact("time_left", self._left(labelled=True))
        if event.type in (EventType.TASK_CHANGED, EventType.TASK_RESTARTED) and event.previous_status:
            yield self._fact("previous_status", without_marks(self._status(event.previous_status)))
        if self._kind is EventType.TASK_STALLED and event.since:
            yield self._fact("stalled", localizer.duration(event.observed_at - event.since))
        if limit := event.overdue:
            yield self._fact("limit", localizer.span(limit.length, limit.length))
        if usual := self._usual:
            yield self._fact("usual", localizer.counted(f"usual.{usual.basis}", usual.runs, length=self._usual_span))

    def _expected(self) -> Iterator[Fact | None]:
        """Yield what is known of a run that did not appear."""
        missing, localizer = self.event.expectation, self.localizer
        if missing is None:
            return
        yield self._time("last_run", missing.last)
        yield self._time("expected_at", missing.expected_at)
        yield self._time("overdue_at", missing.overdue_at)
        yield self._fact("every", localizer.period(missing.period))
        yield self._fact("instance_id", one_line(missing.instance_id or "", ID_LIMIT), is_quoted=True)

    def _planned(self) -> Iterator[Fact | None]:
        """Yield what is known of a maintenance."""
        planned = self.event.maintenance
        if planned is None:
            return
        if planned.begins_at and planned.ends_at:
            start, end = self.localizer.when(planned.begins_at), self.localizer.when(planned.ends_at)
            yield self._fact("window", f"{start} – {end}")
        yield self._time("planned_at", planned.planned_at)
        yield self._time("latest_at", planned.latest_at)
        yield self._time("executed_at", planned.executed_at)
        yield self._fact("level", level_words(planned, self.localizer))
        yield self._fact("impact", without_marks(impact_words(planned, self.localizer)))
        yield self._fact("instance_id", one_line(planned.instance_id or "", ID_LIMIT), is_quoted=True)
        yield self._fact("maintenance", one_line(planned.id, ID_LIMIT), is_quoted=True)

    @property
    def _usual(self) -> Usual | None:
        """How long such tasks take, where that says something: of those that completed it does if it took longer."""
        event = self.event
        if event.usual is None or event.type is not EventType.TASK_COMPLETED or event.task is None:
            return event.usual
        took = self._took(event.task)
        return event.usual if took and event.usual.exceeded_by(took.total_seconds()) else None

    @property
    def _usual_span(self) -> str:
        return usual_span(self.event.usual, self.localizer) if self.event.usual else ""

    def _fact(self, label: str, value: str, *, is_quoted: bool = False) -> Fact | None:
        if not value:
            return None
        return Fact(name=label, label=self.localizer.text(f"label.{label}"), value=value, quoted=is_quoted)

    def _time(self, label: str, moment: datetime | None) -> Fact | None:
        if moment is None:
            return None
        shown = self.localizer.when(moment)
        return Fact(name=label, label=self.localizer.text(f"label.{label}"), value=shown, at=moment)


class Headline:
    """What happened, to what, where, why and when, in one line of plain text.

    The parts are joined for push texts, mail subjects, titles of tickets and lines of lists. Names come first.
    """

    def __init__(self, message: Message) -> None:
        self._message = message
        self._localizer = message.localizer

    @property
    def push(self) -> str:
        """`PROD prod-orders-01: flavor change failed. VM not active in time (DBS.280277), 04:54`."""
        message, localizer = self._message, self._localizer
        push = self._clause
        if message.subject and message.operation:
            push = localizer.text("headline.subject", subject=message.subject, clause=push)
        if message.why:
            push = localizer.text("headline.why", head=push, why=message.why)
        if message.event.closes:
            push = localizer.text("headline.why", head=push, why=without_marks(message.notes[0]).rstrip(".。"))
        if message.operation:
            push = localizer.text("headline.time", head=push, time=self._time)
        if message.environment:
            push = localizer.text("headline.environment", environment=message.environment, head=push)
        return push

    @property
    def title(self) -> str:
        """Fits a mail subject or a ticket: `prod-orders-01: flavor change failed (PROD)`."""
        return self._titled(self._message.subject)

    @property
    def short_title(self) -> str:
        """`title` with a long name shortened and repeated whole at the end.

        What happened is then within LOCK_SCREEN columns too, or begins there.
        """
        name, title = self._message.subject, self.title
        over = columns(self._bare_title(name)) - LOCK_SCREEN
        if not self._message.operation or over <= 0:
            return title
        short = shortened(name, max(columns(name) - over, SHORT_NAME))
        if short == name:
            return title
        return self._localizer.text("headline.short_title", title=self._titled(short), subject=name)

    @property
    def line(self) -> str:
        """Fits a list that shows the state by itself: `prod-orders-01 · Flavor change · VM not active in time (…)`."""
        message = self._message
        about = (message.subject, message.operation) if message.operation else (self._clause,)
        if message.event.follow_up:
            about = (message.subject, without_marks(message.detail))
        by = message.event.started_by
        who = started_by_condition(by, self._localizer) if by else ""
        return " · ".join(filter(None, (*about, message.why, who)))

    @property
    def preheader(self) -> str:
        """Continues `title`: why, when and how bad."""
        message = self._message
        parts = (message.why, self._time, *message.conditions, *message.notes)
        shown = [capitalised(without_marks(part)) for part in parts if part]
        separator = self._localizer.text("headline.preheader_separator")
        return self._localizer.text("headline.preheader", parts=separator.join(part.rstrip(".。") for part in shown))

    @property
    def _clause(self) -> str:
        message = self._message
        within = bool(message.operation) and message.known and bool(message.subject)
        operation = _within(message.operation, self._localizer) if within else message.operation
        return without_marks(message.clause_about(operation))

    @property
    def _time(self) -> str:
        return self._localizer.clock(self._message.moment, seconds=False)

    def _titled(self, subject: str) -> str:
        title, environment = self._bare_title(subject), self._message.environment
        if environment:
            title = self._localizer.text("headline.title_environment", title=title, environment=environment)
        return title

    def _bare_title(self, subject: str) -> str:
        message = self._message
        if not message.operation or not subject:
            return self._clause
        values = {"subject": subject, "clause": self._clause, "verb": message.verb, "operation": message.operation}
        return self._localizer.text("headline.title", **values)


@lru_cache(maxsize=_CACHED_KINDS)
def _clause(language: Language, kind: str, operation: str, progress: str, status: str) -> str:
    """Return what happened to an operation."""
    key = f"clause.{kind}"
    if progress and f"{key}_at" in phrases(language):
        key = f"{key}_at"
    return text(language, key, operation=operation, progress=progress, status=status)


@lru_cache(maxsize=_CACHED_KINDS)
def _around_subject(language: Language, clause: str, why: str, *, named: bool) -> tuple[str, str]:
    """Return what stands before and behind the subject in a summary. `named` is False where it has no subject."""
    sentence = text(language, "sentence.on", clause=clause, subject=_SUBJECT) if named else clause
    whole = text(language, "headline.title_why", title=sentence, why=why) if why else sentence
    before, _, behind = whole.partition(_SUBJECT)
    return before, behind


def usual_span(usual: Usual, localizer: Localizer) -> str:
    """Return how long tasks usually take: `8 to 12 min`."""
    return localizer.span(timedelta(seconds=usual.low), timedelta(seconds=usual.high))


def usual_phrase(usual: Usual, localizer: Localizer) -> str:
    """Return how long tasks usually take, and on which runs that was measured: `usually 8 to 12 min, from 14 runs`."""
    return localizer.counted(f"condition.usual_{usual.basis}", usual.runs, length=usual_span(usual, localizer))


def foretold(task: Task, usual: Usual | None, now: datetime, localizer: Localizer) -> Iterator[str]:
    """Yield how much longer a running task takes, and how long such tasks usually take, as far as that is known."""
    if task.created_at and (left := time_left(usual, now - task.created_at, task.progress, localizer)):
        yield left
    if usual:
        yield usual_phrase(usual, localizer)


def time_left(
    usual: Usual | None, elapsed: timedelta, progress: float | None, localizer: Localizer, *, labelled: bool = False
) -> str:
    """Return how much longer a running task takes: `about 4 to 8 min left`, `longer than usual`. Empty if not known.

    `labelled` is True where a label says already that it is left.
    """
    found = remaining(usual, elapsed.total_seconds(), progress)
    if found is not None:
        length = localizer.left(timedelta(seconds=found.low), timedelta(seconds=found.high))
        return length if labelled else localizer.text("condition.left", length=length)
    longer = usual is not None and usual.exceeded_by(elapsed.total_seconds())
    return localizer.text("condition.longer") if longer else ""


def _within(label: str, localizer: Localizer) -> str:
    """Return the name of a known operation as it is written within a sentence."""
    return label[:1].lower() + label[1:] if localizer.language == "en" else label


def gap_bounds(detail: str | None) -> tuple[datetime, datetime] | None:
    """Return the beginning and the end of a gap, as its event has them; None where they cannot be read."""
    try:
        start, end = map(datetime.fromisoformat, (detail or "").split("/"))
    except ValueError:
        return None
    return (start, end) if start.tzinfo and end.tzinfo else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedInstance:
    """The tasks of one instance in a list: names first, ids last and short."""

    name: str
    """Plain name of the instance or its id; a phrase for tasks without one."""
    tasks: tuple[str, ...]
    """Job ids, as short as they can be told apart within the list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonCount:
    """Failures of a storm or a digest that have one reason and one operation."""

    count: str
    """`239 ×` or `239 个`."""
    code: str
    """Plain error code; empty for none."""
    operation: str
    known: bool
    """See `Message.known`."""
    reason: str
    """Plain text of one line, in short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryMessage:
    """A digest or a storm in words, before any markup."""

    state: EventState
    """The worst state of the events."""
    emoji: str
    glyph: str
    severity: Severity
    push: str
    """`PROD: 300 tasks failed in 1 min. 239 × OBS.0503, 40 × KMS.0405. 40 instances`."""
    title: str
    """Fits a mail subject: `300 tasks failed (PROD): 239 × OBS.0503`."""
    sentence: str
    """`300 tasks failed within 1 min`, with marks."""
    environment: str
    production: bool
    since: str
    """Since when, as a phrase with a mark: `since ‹05:00:42›`. Empty as `reasons` is."""
    progress: str
    """`still rising`, or how it ended. Empty for a digest and on channels whose messages cannot be edited."""
    reasons: tuple[ReasonCount, ...]
    """The most frequent first. Empty for a digest, and for a message that continues a storm."""
    more_reasons: str
    """`and 12 more reasons`; empty where all are listed."""
    instances: str
    """`40 instances, most: ‹prod-ledger-102› 8, … and 37 more`, with marks. Empty as `reasons` is."""
    tasks: tuple[ListedInstance, ...]
    """The failed tasks of this message by instance. Empty for a digest. In a message that is edited, the failures that
    no message below it lists."""
    events: tuple[Message, ...]
    """The events of a digest, the most urgent first. Empty for a storm."""
    console_url: str
    page: PageLink
    """Link to the tasks that it is about; its URL is empty where no page is configured."""
    page_label: str
    """What a button with that link says: `Open task list`. Empty for none."""
    origin: str
    command: str
    """The chat command that lists the tasks: `failed 1h`."""
