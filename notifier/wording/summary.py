"""Digests and storms in words: how many events there are, of what reason, on which instances."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import ceil

from notifier.core import holds
from notifier.core.events import EventType
from notifier.core.ids import shorten_ids
from notifier.core.model import Event
from notifier.core.routing import DeliveryRouting, HeldEvents
from notifier.core.severity import Severity, is_production
from notifier.core.storms import Storm, instance_of
from notifier.ports import RenderRequest
from notifier.wording.events import EventFormatter
from notifier.wording.localizer import Localizer, capitalised
from notifier.wording.marks import quoted, strong, without_marks
from notifier.wording.message import ListedInstance, Message, ReasonCount, SummaryMessage
from notifier.wording.operations import KNOWN_NAMES
from notifier.wording.sanitize import DETAIL_LIMIT, ID_LIMIT, one_line
from notifier.wording.states import EVENT_ROWS, EventState, by_severity, emoji_of, state_of

MAX_REASONS = 8
"""Maximum number of reasons that a summary lists."""
MAX_NAMED = 3
"""Maximum number of instances that a summary names."""
PUSH_REASONS = 3
"""Maximum number of reasons in a push text."""

_HOLDING_KINDS = frozenset({"route", "group", "budget", "flapping"})
"""Kinds of rules that hold events, with a phrase of their own."""

_FAILED = EVENT_ROWS[EventType.TASK_FAILED].state
_SHORTEST = timedelta(minutes=1)
"""Shorter storms count as one of this length: they were found by polls."""


@dataclass(frozen=True, slots=True)
class SummaryFormatter:
    """Formats digests and storms."""

    formatter: EventFormatter

    def describe(self, request: RenderRequest) -> SummaryMessage:
        """Return the message of several events: a digest, or a part of a storm."""
        if request.storm is None:
            return self._digest(request)
        if request.opens_storm:
            return self._opening(request.storm, request.severity, request.events)
        return self._continuation(request.storm, request.severity, request.events)

    def live(self, storm: Storm, severity: Severity, unlisted: Sequence[Event] = ()) -> SummaryMessage:
        """Return what the message of a storm shows now, on a channel that edits it and lists the tasks below it.

        `unlisted` are the failures that no message below it lists.
        """
        progress = self._text("storm.rising")
        if storm.ended_at:
            progress = self._text("storm.over", at=self.formatter.dated(storm.ended_at, storm.started_at))
        return self._opening(storm, severity, unlisted, progress)

    # -- storms --

    def _opening(self, storm: Storm, severity: Severity, events: Sequence[Event], progress: str = "") -> SummaryMessage:
        """Return the message that sums up a storm. `events` are the failures that it names, the first among them."""
        sentence = self._text("storm.sentence", tasks=self._tasks(storm.total), length=self._length(storm))
        late = bool(events) and all(event.late and event.observed_at == storm.updated_at for event in events)
        if late:
            sentence = self._text("digest.late", counts=sentence)
        title = self._text("storm.late_title" if late else "storm.title", tasks=self._tasks(storm.total))
        tasks = self._by_instance(events)
        return self._storm(storm, severity, sentence=sentence, title=title, progress=progress, tasks=tasks)

    def _continuation(self, storm: Storm, severity: Severity, events: Sequence[Event]) -> SummaryMessage:
        n, since = len(events), self.formatter.dated(storm.started_at, storm.updated_at)
        newest = all(event.observed_at == storm.updated_at for event in events)
        whole = newest and n == storm.latest
        which = "more" if whole else "part"
        return self._storm(
            storm,
            severity,
            sentence=self._text(f"storm.{which}", n=n, total=storm.total, since=since),
            title=self._text(f"storm.{which}_title", n=n, total=storm.total),
            tasks=self._by_instance(events),
            continues=True,
            says_why=whole,
        )

    def _length(self, storm: Storm) -> str:
        minutes = ceil(max(_lasted(storm), _SHORTEST) / timedelta(minutes=1))
        return self._localizer.duration(timedelta(minutes=minutes))

    def _storm(
        self,
        storm: Storm,
        severity: Severity,
        *,
        sentence: str,
        title: str,
        tasks: tuple[ListedInstance, ...],
        progress: str = "",
        continues: bool = False,
        says_why: bool = True,
    ) -> SummaryMessage:
        """Return a message about a storm; one that continues others does not repeat since when it lasts.

        `says_why` is False for a mere list: it has no reasons.
        """
        environment = self.formatter.environment(storm.environment)
        reasons = tuple(
            self._reason(group.count, group.code, group.operation, group.reason) for group in storm.groups[:MAX_REASONS]
        )
        # The reasons of a group may differ in detail: where the cause is known, the words for it fit all of them.
        counted = [
            self._reason_count(group.count, group.code or self._known_cause(group.reason), group.reason)
            for group in storm.groups[:PUSH_REASONS]
        ]
        return SummaryMessage(
            state=_FAILED,
            emoji=_digest_emoji(_FAILED, severity),
            glyph=_FAILED.glyph,
            severity=severity,
            push=self._push(without_marks(sentence), environment, counted, self._instance_count(storm)),
            title=self._title(title, environment, counted),
            sentence=sentence,
            environment=environment,
            production=is_production(storm.environment),
            since=""
            if continues
            else self._text("storm.since", since=self.formatter.dated(storm.started_at, storm.updated_at)),
            progress=progress,
            reasons=reasons if says_why else (),
            more_reasons=self._more_reasons(len(storm.groups) - MAX_REASONS) if says_why else "",
            instances=self._instances(storm) if says_why else "",
            tasks=tasks,
            events=(),
            console_url=self.formatter.links.region_console(storm.region),
            page=(page := self.formatter.links.storm_page(storm.id)),
            page_label=self.formatter.page_label(page),
            origin=" / ".join(quoted(one_line(part)) for part in (storm.source, storm.region) if part),
            command=f"failed {ceil(_lasted(storm) / timedelta(hours=1)) + 1}h",
        )

    def _instances(self, storm: Storm) -> str:
        named = [
            self._text("storm.instance", name=quoted(one_line(name)), n=n) for name, n in storm.instances[:MAX_NAMED]
        ]
        counted = self._instance_count(storm)
        if not named:
            return counted
        values = {"instances": strong(counted), "names": self._text("storm.names_separator").join(named)}
        more = len(storm.instances) - len(named)
        return self._text("storm.most_more", more=more, **values) if more else self._text("storm.most", **values)

    def _instance_count(self, storm: Storm) -> str:
        return self._localizer.counted("storm.instances", len(storm.instances))

    # -- digests --

    def _digest(self, request: RenderRequest) -> SummaryMessage:
        events = by_severity(request.events)
        worst, severity = state_of(events[0]), request.severity
        counts = self.formatter.counts(events)
        late = all(event.late for event in events)
        head = self._text("digest.late", counts=counts) if late else counts
        more = any(event.follow_up and event.follow_up.together > len(events) for event in events)
        sentence = self._text("digest.named", counts=head, n=len(events)) if more else head
        configured = sorted({event.environment for event in events})
        environment = ", ".join(filter(None, map(self.formatter.environment, configured)))
        # Where it names the first of many alone, their reasons and instances are not those of all.
        counted = [] if more else list(self._reason_counts(events))
        failed = [event for event in events if event.type is EventType.TASK_FAILED or (event.follow_up and not more)]
        count = self._localizer.counted("storm.instances", len({self._name(event) for event in failed}))
        sources = sorted({event.source for event in events} - {""})
        return SummaryMessage(
            state=worst,
            emoji=_digest_emoji(worst, severity),
            glyph=worst.glyph,
            severity=severity,
            push=self._push(head, environment, counted, count if failed else ""),
            title=self._title(head, environment, counted),
            sentence=sentence,
            environment=environment,
            production=bool(configured) and all(map(is_production, configured)),
            since=self._held(request.routing.held, events),
            progress="",
            reasons=(),
            more_reasons="",
            instances="",
            tasks=(),
            events=tuple(self._described(events, request.routing)),
            console_url="",
            page=(page := self.formatter.links.digest_page(events)),
            page_label=self.formatter.page_label(page),
            origin=", ".join(quoted(one_line(source)) for source in sources),
            command="open" if any(event.follow_up for event in events) else "recent",
        )

    def _held(self, held: HeldEvents | None, events: Sequence[Event]) -> str:
        """Return what has held the events of a digest, and since when; the empty string where nothing has."""
        if held is None:
            return ""
        kind = holds.kind_of(held.rule)
        since = self.formatter.dated(held.since, max(event.observed_at for event in events))
        key = f"held.{kind}" if kind in _HOLDING_KINDS else "held.other"
        return self._text(key, name=quoted(one_line(holds.name_in(held.rule))), since=since)

    def _described(self, events: Sequence[Event], routing: DeliveryRouting) -> Iterator[Message]:
        """Yield the messages of events, with job ids that can be told apart."""
        short = _shown_ids(events)
        for event in events:
            yield self.formatter.describe(event, routing, job=short[event.job_id])

    def _reason_counts(self, events: Iterable[Event]) -> Iterator[str]:
        """Yield the reasons of failures with their number, the most frequent first."""
        reasons = [event.task.fail_reason or "" for event in events if event.task and event.task.fail_reason]
        found = Counter((self.formatter.causes.explain(reason).code or "", reason) for reason in reasons)
        by_code: dict[str, tuple[int, str]] = {}
        for (code, reason), n in found.items():
            counted, _ = by_code.get(code or reason, (0, ""))
            by_code[code or reason] = (counted + n, reason)
        for key, (n, reason) in sorted(by_code.items(), key=lambda item: -item[1][0]):
            yield self._reason_count(n, "" if key == reason else key, reason)

    # -- parts --

    def _reason(self, count: int, code: str, operation: str, reason: str) -> ReasonCount:
        known = self._known_cause(reason)
        return ReasonCount(
            count=self._text("storm.reason", n=count),
            code=code,
            operation=self._localizer.task_label(operation) if operation else "",
            known=operation in KNOWN_NAMES,
            reason=capitalised(known or one_line(reason, DETAIL_LIMIT) or self._text("storm.no_reason")),
        )

    def _known_cause(self, reason: str) -> str:
        """Return the cause of a reason in a few words; the empty string where it is not known."""
        short = self.formatter.causes.explain(reason).short(self._localizer.language)
        return capitalised(short) if short else ""

    def _reason_count(self, count: int, code: str, reason: str) -> str:
        named = code or self.formatter.explained(reason).why or self._text("storm.no_reason")
        return self._text("storm.reason_code", n=count, code=named)

    def _more_reasons(self, n: int) -> str:
        return self._localizer.counted("storm.more_reasons", n) if n > 0 else ""

    def _by_instance(self, events: Sequence[Event]) -> tuple[ListedInstance, ...]:
        """Return the tasks of events by instance, in the order of names."""
        short = _shown_ids(events)
        by_name: dict[str, list[str]] = {}
        for event in sorted(events, key=lambda event: (self._name(event), event.job_id)):
            by_name.setdefault(self._name(event), []).append(short[event.job_id])
        return tuple(ListedInstance(name=name, tasks=tuple(ids)) for name, ids in by_name.items())

    def _name(self, event: Event) -> str:
        return one_line(instance_of(event)) or self._text("storm.no_instance")

    def _push(self, head: str, environment: str, counted: Sequence[str], instances: str) -> str:
        parts = self._text("digest.separator").join(counted[:PUSH_REASONS])
        body = self._text("storm.push", head=head, reasons=parts, instances=instances) if parts else head
        return self._text("storm.environment", environment=environment, push=body) if environment else body

    def _title(self, head: str, environment: str, counted: Sequence[str]) -> str:
        title = self._text("headline.title_environment", title=head, environment=environment) if environment else head
        return self._text("headline.title_why", title=title, why=counted[0]) if counted else title

    def _tasks(self, n: int) -> str:
        return self._localizer.counted("tasks", n)

    def _text(self, key: str, **values: object) -> str:
        return self._localizer.text(key, **values)

    @property
    def _localizer(self) -> Localizer:
        return self.formatter.localizer


def _lasted(storm: Storm) -> timedelta:
    """Return how long a storm has lasted: nothing where the cloud's clock is ahead of ours."""
    return max(storm.updated_at - storm.started_at, timedelta())


def _digest_emoji(state: EventState, severity: Severity) -> str:
    return state.digest_emoji if severity.loud or state is not _FAILED else emoji_of(state, severity)


def _shown_ids(events: Iterable[Event]) -> Mapping[str, str]:
    return {whole: one_line(short, ID_LIMIT) for whole, short in shorten_ids({one.job_id for one in events}).items()}
