"""Events as messages: the words of `phrases`, put together. Channels decide how a message looks."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from notifier.core.causes import CauseCatalogue, Explanation
from notifier.core.events import EventType
from notifier.core.ids import shorten_id
from notifier.core.model import Event, Task
from notifier.core.routing import DeliveryRouting
from notifier.core.severity import is_production
from notifier.wording.causes import builtin_catalogue
from notifier.wording.columns import columns, shortened
from notifier.wording.links import LinkTemplates
from notifier.wording.localizer import Localizer
from notifier.wording.marks import dated, quoted, strong, without_marks
from notifier.wording.message import Fact, Headline, Message
from notifier.wording.operations import OPERATIONS
from notifier.wording.phrases import phrases
from notifier.wording.sanitize import DETAIL_LIMIT, ID_LIMIT, one_line, plain
from notifier.wording.states import STATES, EventState, by_severity, emoji_of, state_of

WHY_LIMIT = 60
"""Maximum length of a reason in short, in characters. A known cause has fewer words than a longer first sentence."""
_SAME_DAY = timedelta(hours=12)
"""Maximum distance of a time whose date can be left out: no other day has the same time of day so near."""
ENVIRONMENT_LIMIT = 40
"""Maximum length of the name of an environment, in characters."""
LOCK_SCREEN = 39
"""Width of the part of a title that a lock screen shows of a mail, in columns: 41 without the mark of the state."""
SHORT_NAME = 24
"""Width up to which a name stays whole there, in columns: to know where is worth more than the end of what."""


@dataclass(frozen=True, slots=True)
class EventFormatter:
    """Formats events as messages and as lines of digests."""

    localizer: Localizer
    causes: CauseCatalogue = field(default_factory=builtin_catalogue)
    links: LinkTemplates = field(default_factory=LinkTemplates)

    def describe(self, event: Event, routing: DeliveryRouting | None = None) -> Message:
        """Return the event in words. `routing` is what the routes want of the message."""
        return _Description(self, event, routing or DeliveryRouting()).message()

    def environment(self, name: str) -> str:
        """Return the name of an environment for people: `PROD`; one that is not well known as it is configured."""
        key = "production" if is_production(name) else name.strip().casefold()
        known = phrases(self.localizer.language).get(f"environment.{key}")
        return known or one_line(name, ENVIRONMENT_LIMIT)

    def dated(self, moment: datetime, seen: datetime) -> str:
        """Return a time as a mark, with its date where it is not near `seen`, when its reader learns of it."""
        return self.interval(moment, moment, seen)[0]

    def interval(self, start: datetime, end: datetime, seen: datetime) -> tuple[str, str]:
        """Return two times as marks, both with their dates where the start is not near `seen`."""
        day = abs(seen - start) >= _SAME_DAY
        words = self.localizer.day_and_time if day else self.localizer.clock
        return dated(start, words(start), day=day), dated(end, words(end), day=day)

    def counts(self, events: Sequence[Event]) -> str:
        """Return how many events there are in each state, the most urgent first: `37 tasks failed, 4 completed`."""
        counted = Counter(state_of(event) for event in events if event.task)
        others = Counter(event.type for event in by_severity(events) if not event.task)
        found = [(state, counted[state]) for state in STATES if counted[state]]
        parts = [self._count(state, n, lead=index == 0) for index, (state, n) in enumerate(found)]
        parts += [self.localizer.text(f"digest.{kind}", n=n) for kind, n in others.items()]
        return self.localizer.text("digest.separator").join(parts)

    def short_reason(self, reason: str, explanation: Explanation) -> str:
        """Return a reason in one short plain line with its error code: `VM not active in time (DBS.280277)`."""
        language, code = self.localizer.language, explanation.code
        written = _first_sentence(one_line(reason, DETAIL_LIMIT))
        readable = language == "en" or not written.isascii()
        why = written if readable and len(written) <= WHY_LIMIT else explanation.short(language) or written
        why = capitalised(one_line(why, WHY_LIMIT))
        return self.localizer.text("headline.code", why=why, code=code) if code and code not in why else why

    def _count(self, state: EventState, n: int, *, lead: bool) -> str:
        verb = self.localizer.text(f"verb.{state.name}")
        if lead:
            return self.localizer.text("digest.lead", tasks=self.localizer.counted("tasks", n), verb=verb)
        return self.localizer.text("digest.more", n=n, verb=verb)


@dataclass(frozen=True)
class _Description:
    """One event, put into words."""

    formatter: EventFormatter
    event: Event
    routing: DeliveryRouting

    @property
    def localizer(self) -> Localizer:
        return self.formatter.localizer

    def message(self) -> Message:
        event, localizer = self.event, self.localizer
        task, severity = event.task, self.routing.severity or event.severity
        return Message(
            state=state_of(event),
            severity=severity,
            emoji=emoji_of(state_of(event), severity),
            headline=self.headline,
            sentence=self.sentence,
            clause=self._marked_clause,
            detail=self._detail,
            verb=localizer.text(f"verb.{state_of(event).name}"),
            operation=self.operation,
            known=task is None or task.name in OPERATIONS,
            subject=self.subject,
            environment=self.environment,
            production=is_production(event.environment),
            moment=self.moment,
            clock=localizer.clock(self.moment),
            when=self._dated(self.moment),
            late=self.late,
            reason=self.reason,
            reason_note=localizer.text("message.no_reason") if self._lacks_reason else "",
            conditions=self.conditions,
            notes=tuple(self._notes()),
            explanation=self.explanation,
            meaning=self.meaning,
            advice=self.advice,
            percent=self._percent,
            console_url=self.formatter.links.console(event),
            runbook_url=self.formatter.links.runbook(event, self.explanation),
            origin=self.origin,
            job=one_line(shorten_id(task.job_id), ID_LIMIT) if task else "",
            history=self.history,
            facts=tuple(fact for fact in self._facts() if fact),
        )

    # -- what happened to what --

    @property
    def operation(self) -> str:
        return self.localizer.task_label(self.event.task.name) if self.event.task else ""

    @property
    def subject(self) -> str:
        task = self.event.task
        if task is None:
            return one_line(self.event.source or self.event.channel)
        return one_line(task.instance_name or "") or one_line(task.instance_id or "")

    @property
    def environment(self) -> str:
        return self.formatter.environment(self.event.environment)

    @property
    def moment(self) -> datetime:
        return self.event.occurred_at or self.event.observed_at

    def clause(self, operation: str) -> str:
        """Return what happened to an operation, or to a source, a channel or the store."""
        event, task = self.event, self.event.task
        if task is None:
            return self._own_sentence()
        key = f"clause.{event.type}"
        at = "" if task.progress is None else self.localizer.progress(task.progress)
        if at and f"{key}_at" in phrases(self.localizer.language):
            key = f"{key}_at"
        return self.localizer.text(key, operation=operation, progress=at, status=self._status(task.raw_status))

    @property
    def sentence(self) -> str:
        clause = self._marked_clause
        if not self.subject or self.event.task is None:
            return clause
        return self.localizer.text("sentence.on", clause=clause, subject=quoted(self.subject))

    @property
    def _marked_clause(self) -> str:
        known = self.event.task is None or self.event.task.name in OPERATIONS
        return self.clause(self.operation if known else quoted(self.operation))

    @property
    def _detail(self) -> str:
        task = self.event.task
        if task is None or not state_of(self.event).verb_suffices:
            return self._marked_clause
        return self.operation if task.name in OPERATIONS else quoted(self.operation)

    def _own_sentence(self) -> str:
        event = self.event
        since = event.since or event.observed_at
        values: dict[str, object] = {
            "name": quoted(self.subject),
            "since": self._dated(since),
            "length": self.localizer.duration(event.observed_at - since),
            "messages": self.localizer.counted("sentence.messages", event.count or 0),
            **dict.fromkeys(("running", "failed"), 0),
            **dict(event.counts),
            "listed": self.localizer.counted("tasks", dict(event.counts).get("listed", 0)),
        }
        bounds = _interval(event.detail) if event.type is EventType.SOURCE_GAP else (since, event.observed_at)
        if bounds:
            values |= dict(zip(("start", "end"), self.formatter.interval(*bounds, event.observed_at), strict=True))
        return self.localizer.text(f"sentence.{event.type}", **{"start": "?", "end": "?"} | values)

    def _dated(self, moment: datetime) -> str:
        return self.formatter.dated(moment, self.event.observed_at)

    def _status(self, status: str) -> str:
        label = self.localizer.status_label(status)
        return label if label != one_line(status) else quoted(label)

    @property
    def headline(self) -> Headline:
        localizer, event = self.localizer, self.event
        known = event.task is not None and event.task.name in OPERATIONS and bool(self.subject)
        clause = without_marks(self.clause(_within(self.operation, localizer) if known else self.operation))
        why = self._why
        head = clause
        if self.subject and event.task:
            head = localizer.text("headline.subject", subject=self.subject, clause=clause)
        push = localizer.text("headline.why", head=head, why=why) if why else head
        time = localizer.clock(self.moment, seconds=False)
        if event.task:
            push = localizer.text("headline.time", head=push, time=time)
        if self.environment:
            push = localizer.text("headline.environment", environment=self.environment, head=push)
        about = (self.subject, self.operation) if event.task else (clause,)
        return Headline(
            push=push,
            title=self._title(clause, self.subject),
            short_title=self._short_title(clause),
            line=" · ".join(filter(None, (*about, why))),
            why=why,
            preheader=self._preheader(why, time),
        )

    def _preheader(self, *parts: str) -> str:
        shown = [capitalised(without_marks(part)) for part in (*parts, *self.conditions, *self._notes()) if part]
        separator = self.localizer.text("headline.preheader_separator")
        return self.localizer.text("headline.preheader", parts=separator.join(part.rstrip(".。") for part in shown))

    def _title(self, clause: str, subject: str) -> str:
        title = self._bare_title(clause, subject)
        if self.environment:
            title = self.localizer.text("headline.title_environment", title=title, environment=self.environment)
        return title

    def _bare_title(self, clause: str, subject: str) -> str:
        if self.event.task is None or not subject:
            return clause
        verb = self.localizer.text(f"verb.{state_of(self.event).name}")
        values = {"subject": subject, "clause": clause, "verb": verb, "operation": self.operation}
        return self.localizer.text("headline.title", **values)

    def _short_title(self, clause: str) -> str:
        name = self.subject
        title = self._title(clause, name)
        over = columns(self._bare_title(clause, name)) - LOCK_SCREEN
        if self.event.task is None or over <= 0:
            return title
        short = shortened(name, max(columns(name) - over, SHORT_NAME))
        if short == name:
            return title
        return self.localizer.text("headline.short_title", title=self._title(clause, short), subject=name)

    # -- why --

    @cached_property
    def reason(self) -> str:
        event = self.event
        if event.task is None and not event.type.traits.bad_news:
            return ""
        if event.task and event.task.fail_reason:
            return plain(event.task.fail_reason)
        return capitalised(plain(self.localizer.reason(event.detail or "")))

    @cached_property
    def explanation(self) -> Explanation:
        return self.formatter.causes.explain(self.event.task.fail_reason if self.event.task else None)

    @property
    def _why(self) -> str:
        if not self.reason:
            return ""
        return self.formatter.short_reason(self.reason, self.explanation)

    @property
    def _lacks_reason(self) -> bool:
        return self.event.type is EventType.TASK_FAILED and not self.reason

    @property
    def meaning(self) -> str:
        text = self.explanation.means(self.localizer.language)
        if text and self.explanation.inferred:
            return self.localizer.text("message.usually", meaning=text)
        return text or ""

    @property
    def advice(self) -> str:
        if action := self.explanation.action(self.localizer.language):
            return action
        key = f"advice.{self.event.type}"
        if key not in phrases(self.localizer.language):
            return ""
        return self.localizer.text(key, channel=self.event.channel)

    # -- how bad, and since when --

    @property
    def late(self) -> str:
        event, localizer = self.event, self.localizer
        if not event.late:
            return ""
        if event.occurred_at is None:
            return localizer.text("message.late_unknown")
        length = strong(localizer.duration(event.observed_at - event.occurred_at))
        if event.away_since is None:
            return localizer.text("message.late", length=length)
        start, end = self.formatter.interval(event.away_since, event.observed_at, event.observed_at)
        return localizer.text("message.late_away", length=length, start=start, end=end)

    @cached_property
    def conditions(self) -> tuple[str, ...]:
        first, *others = [*filter(None, self._conditions()), ""] if self.event.task else [""]
        return tuple(filter(None, (capitalised(first), *others)))

    def _conditions(self) -> Iterator[str]:
        event, task, localizer = self.event, self.event.task, self.localizer
        if task is None:
            return
        if event.type is EventType.TASK_PROGRESSED and task.progress is not None:
            yield localizer.progress(task.progress)
            if left := self._left(task):
                yield localizer.text("condition.left", length=localizer.estimate(left))
        if event.type is EventType.TASK_STALLED and event.since:
            stalled = localizer.duration(event.observed_at - event.since)
            yield localizer.text("condition.stalled", length=strong(stalled))
        if event.type in (EventType.TASK_CHANGED, EventType.TASK_RESTARTED) and event.previous_status:
            yield localizer.text("condition.was", status=_within(self._status(event.previous_status), localizer))
        if task.instance_status and event.type is not EventType.TASK_PROGRESSED:
            yield localizer.text("condition.instance", status=self._instance_status(task.instance_status))
        yield localizer.text("condition.separator").join(filter(None, (self._length(task), self._stopped_at(task))))
        if usual := self._usual:
            yield localizer.text("condition.usual", length=localizer.estimate(usual))

    def _length(self, task: Task) -> str:
        length, label = self._took(task), state_of(self.event).length_label
        return self.localizer.text(f"condition.{label}", length=self.localizer.duration(length)) if length else ""

    def _took(self, task: Task) -> timedelta | None:
        """Return the time since the task was created, until its end or the event; None where that says nothing."""
        end = task.ended_at if task.status.terminal else self.event.observed_at
        if state_of(self.event).length_label is None or task.created_at is None or end is None:
            return None
        return end - task.created_at if end > task.created_at else None

    def _stopped_at(self, task: Task) -> str:
        if self.event.type is not EventType.TASK_FAILED or task.progress is None:
            return ""
        return self.localizer.text("condition.stopped_at", progress=self.localizer.progress(task.progress))

    def _left(self, task: Task) -> timedelta | None:
        """Return an estimate of the time left, at the pace so far. None unless the API gives the progress."""
        done = task.progress or 0.0
        if not 1 <= done < 100 or task.created_at is None:  # noqa: PLR2004 - percent
            return None
        elapsed = self.event.observed_at - task.created_at
        return elapsed * ((100 - done) / done) if elapsed > timedelta() else None

    def _instance_status(self, status: str) -> str:
        label = self.localizer.instance_status(status)
        return strong(label) if self.localizer.knows_instance_status(status) else quoted(label)

    @property
    def _percent(self) -> float | None:
        shows = self.event.type is EventType.TASK_PROGRESSED and self.event.task
        return shows.progress if shows else None

    def _notes(self) -> Iterator[str]:
        event = self.event
        kind: str = event.type
        if event.type is EventType.SOURCE_FAILING and not event.detail:
            kind = "source.silent"
        elif event.type is EventType.TASK_UNLISTED:
            kind = "unlisted"
        if f"note.{kind}" in phrases(self.localizer.language):
            yield self.localizer.text(f"note.{kind}")

    # -- where it is from --

    @property
    def origin(self) -> str:
        event = self.event
        place = " / ".join(quoted(part) for part in (one_line(event.source), one_line(event.region)) if part)
        if place:
            return place
        if event.channel:
            return self.localizer.counted("channel", 1, names=quoted(one_line(event.channel)))
        return self.localizer.text("origin.store")

    @property
    def history(self) -> str:
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

    def _facts(self) -> Iterator[Fact | None]:
        event, task = self.event, self.event.task
        if task is None:
            yield self._time("failing_since", event.since)
            yield self._time("observed_at", event.observed_at)
            yield self._fact("project", one_line(event.project_id, ID_LIMIT), is_quoted=True)
            return
        yield self._time("created_at", task.created_at)
        yield self._time("ended_at", task.ended_at if task.status.terminal else None)
        yield self._time("observed_at", event.observed_at if event.occurred_at is None or event.late else None)
        length = self._took(task)
        label = state_of(event).length_label
        yield self._fact(label, self.localizer.duration(length)) if length and label else None
        if task.progress is not None and event.type is not EventType.TASK_COMPLETED:
            name = state_of(event).progress_label
            shown = self.localizer.progress(task.progress)
            yield Fact(name=name, label=self.localizer.text(f"label.{name}"), value=shown, percent=task.progress)
        yield from self._circumstances(task)
        status = task.instance_status or ""
        unknown = not self.localizer.knows_instance_status(status)
        yield self._fact("instance_status", self.localizer.instance_status(status) if status else "", is_quoted=unknown)
        yield self._fact("job", one_line(task.job_id, ID_LIMIT), is_quoted=True)
        yield self._fact("instance_id", one_line(task.instance_id or "", ID_LIMIT), is_quoted=True)

    def _circumstances(self, task: Task) -> Iterator[Fact | None]:
        event, localizer = self.event, self.localizer
        if event.type is EventType.TASK_PROGRESSED and (left := self._left(task)):
            yield self._fact("time_left", localizer.estimate(left))
        if event.type in (EventType.TASK_CHANGED, EventType.TASK_RESTARTED) and event.previous_status:
            yield self._fact("previous_status", without_marks(self._status(event.previous_status)))
        if event.type is EventType.TASK_STALLED and event.since:
            yield self._fact("stalled", localizer.duration(event.observed_at - event.since))
        if usual := self._usual:
            yield self._fact("usual", localizer.estimate(usual))

    @property
    def _usual(self) -> timedelta | None:
        seconds = self.event.history and self.event.history.usual_seconds
        return timedelta(seconds=seconds) if seconds else None

    def _fact(self, label: str, value: str, *, is_quoted: bool = False) -> Fact | None:
        if not value:
            return None
        return Fact(name=label, label=self.localizer.text(f"label.{label}"), value=value, quoted=is_quoted)

    def _time(self, label: str, moment: datetime | None) -> Fact | None:
        if moment is None:
            return None
        shown = self.localizer.when(moment)
        return Fact(name=label, label=self.localizer.text(f"label.{label}"), value=shown, at=moment)


def _within(label: str, localizer: Localizer) -> str:
    """Return the name of a known operation as it is written within a sentence."""
    return label[:1].lower() + label[1:] if localizer.language == "en" else label


def capitalised(text: str) -> str:
    """Return text that begins a sentence. A first word that is a name or in another script stays as it is."""
    word = text.partition(" ")[0]
    plain_word = word.isascii() and word.isalpha() and word.islower()
    return text[:1].upper() + text[1:] if plain_word else text


def _first_sentence(text: str) -> str:
    """Return the first sentence without its end, so that another may follow."""
    for end in (". ", "。", "; ", "；"):
        text = text.split(end, 1)[0]
    return text.rstrip(".。;；:：")


def _interval(detail: str | None) -> tuple[datetime, datetime] | None:
    try:
        start, end = map(datetime.fromisoformat, (detail or "").split("/"))
    except ValueError:
        return None
    return (start, end) if start.tzinfo and end.tzinfo else None
