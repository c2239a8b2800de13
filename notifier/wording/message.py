"""An event in words, before any markup. Channels decide how a message looks, not what stands in it.

A message answers six questions, in this order: what happened and where, why, how bad it is, and what to do now. Then
follow links and identifiers. Sentences may have marks (`notifier.wording.marks`): quoted text from outside, the words
that matter most, and times that a chat can show in each reader's time zone. Texts called plain have none.
"""

from dataclasses import dataclass
from datetime import datetime

from notifier.core.causes import Explanation
from notifier.core.severity import Severity
from notifier.wording.states import EventState


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """What happened, to what, where, why and when, in one line of plain text.

    The parts are joined for push texts, mail subjects, titles of tickets and lines of lists. Names come first.
    """

    push: str
    """`PROD prod-orders-01: flavor change failed. VM not active in time (DBS.280277), 04:54`."""
    title: str
    """Fits a mail subject or a ticket: `prod-orders-01: flavor change failed (PROD)`."""
    line: str
    """Fits a list that shows the state by itself: `prod-orders-01 · Flavor change · VM not active in time (…)`."""
    why: str
    """The reason in short, with its error code: `VM not active in time (DBS.280277)`. Empty where none is known."""
    short_title: str
    """`title` with a long name shortened, so that what happened is within LOCK_SCREEN columns too or begins there; the
    whole name follows at the end."""
    preheader: str
    """Continues `title`: why, when and how bad."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An event in words, before any markup."""

    state: EventState
    severity: Severity
    emoji: str
    """Stands for the state; hollow for a failure that disturbs nobody."""
    headline: Headline
    sentence: str
    """What happened to what, with marks: `Flavor change failed on ‹prod-orders-01›`."""
    clause: str
    """`sentence` without the instance, with marks: `Flavor change failed`."""
    detail: str
    """What happened, for a place that shows the verb already: `Flavor change`, or the whole clause where that says
    more. With marks."""
    verb: str
    """The state in one plain word, for a badge: `failed`."""
    operation: str
    """Plain name of the operation: `Flavor change`. Empty for an event about a source, a channel or the store."""
    known: bool
    """False where `operation` is not ours but the API's name of an operation without a phrase."""
    subject: str
    """Plain name of the instance, the source or the channel. Empty where the API gives none."""
    environment: str
    """Plain name of the environment for people: `PROD`, `staging`. Empty for none."""
    production: bool
    """True for the production environment, whose name channels emphasise."""
    moment: datetime
    """When it happened, or was detected where the API does not say."""
    clock: str
    """`moment` as plain time of day, in the configured zone: `04:54:48`."""
    when: str
    """`moment` as a mark; with its date only where that is not the day on which the event was detected."""
    late: str
    """How late it was reported, with marks; empty where it was not."""
    reason: str
    """Why, as the API or a receiver wrote it: untrusted plain text of several lines, at most REASON_LIMIT characters.
    Empty where none was given."""
    reason_note: str
    """Sentence that stands in for the missing reason of a failure. Empty otherwise."""
    conditions: tuple[str, ...]
    """How bad it is: short parts with marks, `Instance is normal`, `ran 10 min 22 s, stopped at 96%`."""
    notes: tuple[str, ...]
    """Sentences with marks about what follows from the event: `Its tasks are not being monitored.`"""
    explanation: Explanation
    meaning: str
    """What the reason means, one plain sentence. Empty where that is not known."""
    advice: str
    """What to do now, plain sentences, may have commands in backticks. Empty where that is not known."""
    percent: float | None
    """Progress that `conditions` begin with, for a channel that can draw it."""
    console_url: str
    """Link to the instance in the cloud's console. Empty for none."""
    runbook_url: str
    origin: str
    """Source and region, with marks: `‹prod› / ‹cn-north-4›`; or the channel."""
    job: str
    """Job id as shown: short where it can be. Empty for an event without a task."""
    history: str
    """How often the instance has failed, and how the last failure ended. Empty where that is not known."""
    facts: tuple[Fact, ...]
    """Everything known in a table, for mails and for details."""


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
    origin: str
    command: str
    """The chat command that lists the tasks: `failed 1h`."""
