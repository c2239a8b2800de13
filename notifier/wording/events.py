"""Events as messages: the words of `phrases`, put together. Channels decide how a message looks."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from notifier.core.causes import CauseCatalogue
from notifier.core.events import EventType
from notifier.core.model import Event, Task
from notifier.core.mutes import Mute
from notifier.core.routing import DeliveryRouting
from notifier.core.severity import is_production
from notifier.wording.causes import builtin_catalogue
from notifier.wording.explained import NO_REASON, ExplainedReason, alarm_explained, explained
from notifier.wording.links import LinkTemplates, PageLink
from notifier.wording.localizer import Localizer
from notifier.wording.marks import dated, quoted
from notifier.wording.message import Message
from notifier.wording.phrases import phrases
from notifier.wording.sanitize import one_line
from notifier.wording.states import EVENT_ROWS, STATES, EventState, by_severity, state_of

_SAME_DAY = timedelta(hours=12)
"""Maximum distance of a time whose date can be left out: no other day has the same time of day so near."""
ENVIRONMENT_LIMIT = 40
"""Maximum length of the name of an environment, in characters."""
_NO_ROUTING = DeliveryRouting()


@dataclass(frozen=True, slots=True)
class EventFormatter:
    """Formats events as messages and as lines of digests."""

    localizer: Localizer
    causes: CauseCatalogue = field(default_factory=builtin_catalogue)
    links: LinkTemplates = field(default_factory=LinkTemplates)

    def describe(self, event: Event, routing: DeliveryRouting | None = None, *, job: str = "") -> Message:
        """Return the event in words.

        `routing` is what the routes want of the message. `job` stands for the job id where the usual short one would
        not do.
        """
        return Message(self, event, routing or _NO_ROUTING, job)

    def page_label(self, link: PageLink) -> str:
        """Return what a button with a link to one of our pages says. Empty where it leads nowhere."""
        return self.localizer.text(f"page.{link.place}") if link.url else ""

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
        counted = Counter(state_of(event) for event in events if _counts_as_task(event))
        for event in events:  # only the first of many open failures are named
            if event.follow_up:
                counted[state_of(event)] = max(counted[state_of(event)], event.follow_up.together)
        others = Counter(event.type for event in by_severity(events) if not _counts_as_task(event))
        parts = [*self._counts(counted), *(self.localizer.text(f"digest.{kind}", n=n) for kind, n in others.items())]
        return self.localizer.text("digest.separator").join(parts)

    def held(self, counts: Iterable[tuple[str, int]]) -> str:
        """Return how many events of each type there are, in the same words. Empty for none."""
        counted: Counter[EventState] = Counter()
        for kind, n in counts:
            counted[EVENT_ROWS[EventType(kind)].state] += n
        return self.localizer.text("digest.separator").join(self._counts(counted))

    def muted(self, mute: Mute, seen: datetime) -> str:
        """Return until when a mute suppresses, who made it and why, as a sentence with marks."""
        text = self.localizer.text
        who = text("note.mute.configured") if mute.configured else quoted(one_line(mute.name))
        values = {"until": self.dated(mute.until, seen), "who": who, "covers": quoted(one_line(mute.shown))}
        note = text("note.muted" if mute.instance is not None else "note.muted_as", **values)
        return text("note.because", note=note, reason=quoted(one_line(mute.reason))) if mute.reason else note

    def explained(self, reason: str) -> ExplainedReason:
        """Return a reason of the API in words."""
        return explained(reason, self.localizer.language, self.causes)

    def explained_task(self, task: Task) -> ExplainedReason:
        """Return why a task failed, or what an alarm says, in words. Known names of alarms are explained."""
        if task.alarm is None:
            return self.explained(task.fail_reason) if task.fail_reason else NO_REASON
        return alarm_explained(task, self.localizer.language)

    def _counts(self, counted: Mapping[EventState, int]) -> Iterator[str]:
        """Yield the number of events in each state; the first that counts tasks says that it does."""
        leads = True
        for state in STATES:
            if not (n := counted.get(state)):
                continue
            verb = self.localizer.text(f"verb.{state.name}")
            if state.status and state.status.of_alarm:
                yield self.localizer.counted(f"digest.{state.name}", n)
            elif leads:
                leads = False
                yield self.localizer.text("digest.lead", tasks=self.localizer.counted("tasks", n), verb=verb)
            else:
                yield self.localizer.text("digest.more", n=n, verb=verb)


def _counts_as_task(event: Event) -> bool:
    return bool(event.task or event.expectation or event.follow_up)
