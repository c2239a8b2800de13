"""The values that everything else passes around.

Frozen and keyword-only. Times are timezone-aware; whoever builds a value passes the time in.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from notifier.core.events import EventType
from notifier.core.pacing import ChannelHealth

NAMESPACE = uuid.UUID("6d0c2a52-7f0b-5d43-9d1c-0f5c7f2f8a11")
"""The uuid5 namespace of event and delivery ids. Changing it would change every id."""


class TaskStatus(StrEnum):
    """What the status of a task means to us; what the API wrote is kept beside it as `raw_status`."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    UNKNOWN = "unknown"

    @property
    def terminal(self) -> bool:
        """True for the two statuses in which a task has ended."""
        return self in (TaskStatus.COMPLETED, TaskStatus.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One row of a task list, sanitised: no NUL, no lone surrogate in any text."""

    source: str
    job_id: str
    """Opaque. A UUID with or without dashes in practice; never parsed."""
    name: str
    """The API's name of the operation, an open set: `CreateGaussDBV5Instance`."""
    status: TaskStatus
    raw_status: str
    """As the API wrote it; the empty string where the row has none."""
    progress: float | None = None
    """Percent, 0 to 100."""
    instance_id: str | None = None
    instance_name: str | None = None
    instance_status: str | None = None
    created_at: datetime | None = None
    ended_at: datetime | None = None
    fail_reason: str | None = None
    """Localised by the API. Shown to people, never compared to find a change of state."""


class Scope(StrEnum):
    """How much of the task list a snapshot was asked to cover."""

    FULL = "full"
    """Everything the API lists: the last month."""
    ACTIVE = "active"
    """Only the running and the failed tasks: a cheap look between two full ones."""


def _unparsed(job_id: str) -> Task:
    raise KeyError(job_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a task list showed at one poll.

    The rows are kept unparsed: `fingerprints` says whether a row differs from what is recorded,
    `task` parses the one that does. That is what makes a poll of 100,000 unchanged rows cheap.
    """

    source: str
    taken_at: datetime
    fingerprints: Mapping[str, bytes]
    """job_id to a digest of the row as it came; equal digests mean an unchanged row."""
    parse: Callable[[str], Task] = _unparsed
    """job_id to its parsed task. Never fails on content: what cannot be read becomes None or unknown."""
    complete: bool
    """True only when the distinct ids reached the total that the API stated for the whole list."""
    scope: Scope = Scope.FULL
    calls: int = 1
    """API calls it took, retries included."""
    total_count: int | None = None
    unreadable: int = 0
    """Rows left out because they carry no usable job_id."""
    skew: timedelta | None = None
    """How far `taken_at` is ahead of the service's time; None where that is not known."""
    earlier: tuple[Snapshot, ...] = ()
    """What the same poll showed before, in that order: only the rows that are another here, or are not here."""

    def after(self, before: Snapshot) -> Snapshot:
        """Return this snapshot as the later one of two that were taken in one poll."""
        rows = {id_: row for id_, row in before.fingerprints.items() if self.fingerprints.get(id_) != row}
        shown = replace(before, fingerprints=rows, complete=False, unreadable=0, earlier=())
        return replace(self, earlier=(*before.earlier, *([shown] if rows else []), *self.earlier))

    def joined_to(self, first: Snapshot) -> Snapshot:
        """Return the rows of both, of which this one was taken after the first; where they differ it counts."""

        def parse(job_id: str) -> Task:
            return (self if job_id in self.fingerprints else first).parse(job_id)

        both = replace(
            self,
            taken_at=first.taken_at,
            fingerprints={**first.fingerprints, **self.fingerprints},
            parse=parse,
            calls=first.calls + self.calls,
            unreadable=first.unreadable + self.unreadable,
        )
        return both.after(first)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A change of one task between two polls: a decision of the diff, before it gets an id."""

    type: EventType
    before: Task | None
    """None when the task is seen for the first time."""
    after: Task
    occurrence: str
    """Canonical upstream facts: what makes this change this one and no other."""
    observed_at: datetime
    late: bool
    since: datetime | None = None
    """Since when a task has made no progress."""
    recurs: bool = False
    """True where the task was in another state before: the same facts are then news again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A stored fact. The task is frozen as it was: delivery never looks at the present state."""

    id: str
    """uuid5 of (source, job_id, occurrence): the same facts give the same id on any machine, at any time."""
    type: EventType
    source: str
    """The empty string for an event about a channel; likewise the next two."""
    region: str
    project_id: str
    occurrence: str
    observed_at: datetime
    occurred_at: datetime | None
    """When upstream says it happened; None where it does not say."""
    late: bool = False
    """True when it was found after the poller had been away."""
    task: Task | None = None
    """None for an event about a source or a channel."""
    previous_status: str | None = None
    detail: str | None = None
    """What to say of an event that no task explains: the bounds of a gap, the error of what is failing."""
    channel: str = ""
    """The channel that it is about, which it is never sent to; the empty string for all other events."""
    since: datetime | None = None
    """Since when a source or a channel has been failing, or had been until it recovered; or a task made no progress."""
    count: int | None = None
    """How many deliveries a channel gave up on."""

    @property
    def job_id(self) -> str:
        """The task's id, or the empty string for an event about a source or a channel."""
        return self.task.job_id if self.task else ""

    @property
    def subject(self) -> str:
        """What the event is about; deliveries about one subject keep their order on each channel."""
        return f"{CHANNEL_SUBJECT}{self.channel}" if self.channel else f"{self.source}/{self.job_id}"


CHANNEL_SUBJECT = "channel:"
"""How the subject of an event about a channel begins; no source's name has a colon."""


def event_id(source: str, job_id: str, occurrence: str) -> str:
    """Return the id of the event that these upstream facts make.

    Never derived from a local counter: after restoring a backup, a counter would give an old id to a new event
    and receivers would drop it as a repeat.
    """
    return str(uuid.uuid5(NAMESPACE, f"{source}\x1f{job_id}\x1f{occurrence}"))


def delivery_id(channel: str, *event_ids: str) -> str:
    """Return the id of the delivery of these events to this channel; it is also the idempotency key."""
    return str(uuid.uuid5(NAMESPACE, "\x1f".join((channel, *event_ids))))


class DeliveryState(StrEnum):
    """The account of a delivery (promise P3: each has exactly one)."""

    PENDING = "pending"
    """Due now or later; also while one is being sent. Set when planned, retried or released."""
    DELIVERED = "delivered"
    """The receiver said so."""
    PARKED = "parked"
    """Its channel is misconfigured; goes out, in order, once that is mended."""
    SUPPRESSED = "suppressed"
    """A rule said not to; `reason` names the rule."""
    SUPERSEDED = "superseded"
    """A later event took its place; `reason` names it."""
    DEAD = "dead"
    """Given up on; `reason` says why. `notifier retry` sends it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What is sent, byte for byte. Rendered once, stored, and the same at every attempt."""

    content: bytes
    content_type: str


class RecipientState(StrEnum):
    """What is known of one addressee of a delivery that has several."""

    WAITING = "waiting"
    """Does not have it; the next attempt is for it."""
    DELIVERED = "delivered"
    """Has it; no attempt is for it again."""
    REFUSED = "refused"
    """Will not take it; only `notifier retry` sends it there again."""
    UNKNOWN = "unknown"
    """May have it: the answer was lost. The channel's `on_unknown` decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """One addressee of a delivery, recorded while not all of them are in the same state."""

    address: str
    """As the channel calls it: a mail address."""
    state: RecipientState
    reason: str | None = None
    """Why the last attempt did not deliver; None for one that has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Event(s) on their way to one channel."""

    id: str
    channel: str
    lane: str
    """The subject; among the unsettled deliveries of one channel that share a subject only the oldest is due."""
    state: DeliveryState
    available_at: datetime
    """Not before. A claim pushes it forward by the lease."""
    created_at: datetime
    events: tuple[Event, ...]
    """One, or all those that a digest names, in the order they happened."""
    digest: bool = False
    attempt: int = 0
    """Number of its latest claim, which fences what is recorded under it."""
    earlier_attempts: int = 0
    """Claims that the schedule does not count: those before it was last sent again by hand, and those that never began.
    One that begins counts before it is rendered or sent, so that a message that kills its sender is given up on."""
    reason: str | None = None
    body: Body | None = None
    """None until its first claim."""
    ref: str | None = None
    """What the receiver called it: a Slack channel and ts, a Message-ID."""
    settled_at: datetime | None = None
    dismissed_at: datetime | None = None
    """Time a person accepted that it was not delivered. Set by `notifier dismiss`; `notifier retry` clears it."""
    outcome_unknown: bool = False
    """True when an earlier attempt may have arrived: its answer was lost, or whoever made it never reported back."""
    thread: str | None = None
    """The reference of the message under which the channel has spoken of the same subject before, as known when it
    was claimed; None where there is none, and on a channel that keeps none."""
    reply: str | None = None
    """What the receiver replied to the last attempt. Set where deliveries are looked up, not where they are claimed."""
    recipients: tuple[Recipient, ...] = ()
    """Those who are in different states after the latest attempt. Empty before it, and while all share one fate."""
    withheld: frozenset[str] = frozenset()
    """Recipients to whom an older delivery about the same subject is still on its way, as known when it was claimed."""


def with_reply(reason: str | None, reply: str | None) -> str:
    """Return why something was not delivered, with the receiver's own words. Both may begin with one status."""
    reason, reply = reason or "", reply or ""
    if not reply:
        return reason
    status = reply.partition(": ")[0]
    return reason.removesuffix(status) + reply if reason.endswith(status) else f"{reason}; replied {reply}"


class Resolution(StrEnum):
    """What was done about an earlier attempt that may have arrived."""

    ARRIVED = "arrived"
    """The service was asked, and has it: nothing was sent again."""
    ABSENT = "absent"
    """The service was asked and does not have it: sent again."""
    REPEATED = "repeated"
    """Sent again: the receiver knows a repeat by its id."""
    RISKED = "risked"
    """Sent again, although it may arrive twice: there is no way to ask."""
    HELD = "held"
    """Not sent again: the channel's `on_unknown` is `hold`, and a person has to decide."""


class ResendPolicy(StrEnum):
    """What a channel can do about an attempt whose outcome is unknown."""

    IDEMPOTENT = "safe"
    """Send it again: the receiver knows a repeat by its id."""
    RECONCILABLE = "look-up"
    """Ask the service whether it arrived."""
    UNSAFE = "risky"
    """Nothing: a repeat may be seen twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to send one delivery."""

    delivery_id: str
    number: int
    started_at: datetime
    finished_at: datetime
    outcome: str
    """delivered, retry, gave-up, parked or unknown."""
    reason: str | None = None
    resolution: Resolution | None = None
    """What was done about the attempt before it, where that may have arrived."""
    reply: str | None = None
    """What the receiver replied: its status and the first 300 characters of its text, sanitised and redacted."""


# ---- outcomes: what a channel says of one attempt. A decision returned; `outbox.settle` acts on it. ----


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver took it."""

    ref: str | None = None
    """What it called the message."""
    thread: str | None = None
    """The reference under which more of the same subject is to be said from now on; None changes nothing."""
    reason: str | None = field(default=None, kw_only=True)
    """What was not as it should be, though the receiver took it."""
    reply: str | None = field(default=None, kw_only=True)
    """See `Attempt.reply`."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The receiver did not take it and may later. `after` is what it asked for, if it did."""

    reason: str
    after: timedelta | None = None
    reply: str | None = field(default=None, kw_only=True)
    """See `Attempt.reply`."""
    recipients: tuple[Recipient, ...] | None = field(default=None, kw_only=True)
    """What `Delivery.recipients` is from now on; None leaves it as it is."""


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The receiver will never take this one: another try would end the same."""

    reason: str
    reply: str | None = field(default=None, kw_only=True)
    """See `Attempt.reply`."""
    recipients: tuple[Recipient, ...] | None = field(default=None, kw_only=True)
    """What `Delivery.recipients` is from now on; None leaves it as it is."""


@dataclass(frozen=True, slots=True)
class Parked:
    """The channel itself is broken (wrong token, gone): nothing of it is sent until that is mended.

    `probe_after` says when to try again unasked; None waits for a changed configuration or an operator.
    """

    reason: str
    probe_after: timedelta | None = None
    reply: str | None = field(default=None, kw_only=True)
    """See `Attempt.reply`."""
    recipients: tuple[Recipient, ...] | None = field(default=None, kw_only=True)
    """What `Delivery.recipients` is from now on; None leaves it as it is."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The request went out and no answer came back: it may have been taken."""

    reason: str
    reply: str | None = field(default=None, kw_only=True)
    """See `Attempt.reply`."""
    recipients: tuple[Recipient, ...] | None = field(default=None, kw_only=True)
    """What `Delivery.recipients` is from now on; None leaves it as it is."""


Outcome = Delivered | Retry | GaveUp | Parked | Unknown


# ---- what people do ----


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who acts."""

    id: str
    """As the chat identifies them; `cli:name` for a user of the command line."""
    name: str
    """For people to read; from outside, so that it is shown with care."""


class Verb(StrEnum):
    """What a person did. Stable: `notifier audit log` lists it."""

    ACKNOWLEDGE = "acknowledge"
    MUTE = "mute"
    UNMUTE = "unmute"
    SUBSCRIBE = "watch"
    RETRY = "retry"
    DISMISS = "dismiss"
    MOVE = "move"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing that a person did, as `notifier audit log` shows it."""

    at: datetime
    by: str
    name: str
    """Who, as `Person`."""
    verb: Verb
    target: str
    """Task, instance, channel or delivery that it was done to."""
    detail: str | None = None
    """How much, until when, or why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """Somebody has seen what an event says and takes care of it."""

    event_id: str
    by: str
    """Who, as the chat identifies them: a Slack user id; `cli:name` for a user of the command line."""
    name: str
    """Who, for people to read."""
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Mute:
    """A maintenance window: nobody is told of the tasks of an instance until it ends."""

    instance: str
    """The id or the whole name of the instance. There is one mute of each: a new one takes the place of the old."""
    until: datetime
    by: str
    name: str
    """Who muted it, as for an acknowledgement."""
    created_at: datetime
    reason: str | None = None
    label: str | None = None
    """Name of the instance for people to read. None in rows of older versions: `instance` is shown then."""

    @property
    def shown(self) -> str:
        """Name of the instance, or its id where no name is recorded."""
        return self.label or self.instance

    def covers(self, task: Task | None, now: datetime) -> bool:
        """Tell whether it is in force and about the instance of this task."""
        return task is not None and self.instance in (task.instance_id, task.instance_name) and now < self.until


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """Somebody wants a direct message when a task ends."""

    source: str
    job_id: str
    person: str
    """A Slack user id."""
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """The message of a channel that speaks of one task for as long as it lives, and what it is to show."""

    channel: str
    subject: str
    ref: str
    """What the service calls the message: a Slack channel and ts."""
    event: Event
    """The latest event about the subject that the channel was told of, or that it was to be spared."""
    revision: int
    """Grows whenever the message is to look different: with each event, acknowledgement and mute."""
    acknowledged: Acknowledgement | None = None
    """Of this event."""
    mute: Mute | None = None
    """That of the instance, where one is in force."""


DIRECT = "dm:"
"""How the name of a channel begins that is one person: `dm:U0123`. No configured channel has a colon in its name."""


# ---- routing ----


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """`field op value`, with op one of = != =~ !~. A regular expression must match the whole value."""

    field: str
    op: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Events that fit all its matchers go to all its channels. Every matching route applies, until one says stop."""

    name: str
    match: tuple[Matcher, ...] = ()
    channels: tuple[str, ...] = ()
    stop: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPolicy:
    """What planning needs to know about a channel."""

    name: str
    digest_above: int | None = 20
    """More events than this for one channel in one poll become digests; None never does."""
    digest_size: int = 100
    """Events a digest names at most."""
    coalesces: bool = False
    """True where a progress that has not been told yet gives way to what happened after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """What is recorded about a source."""

    name: str
    region: str | None = None
    """What it reads, with the next one. None before its first poll."""
    project_id: str | None = None
    baseline_at: datetime | None = None
    """When its first complete poll was recorded; until then new tasks are noted quietly."""
    last_poll_at: datetime | None = None
    """Its last recorded poll, of any scope."""
    last_full_at: datetime | None = None
    """Its last complete full poll."""
    forgotten_to: datetime | None = None
    """Tasks that were over by then may have been recorded once and pruned since."""
    last_full_calls: int = 1
    last_error: str | None = None
    """None while the last poll succeeded."""
    failing_since: datetime | None = None
    failures: int = 0
    """Polls in a row that failed."""
    next_poll_at: datetime | None = None
    announced_since: datetime | None = None
    """Since when it has been failing, as was told; None when nothing was, or that it has recovered."""
    refused_since: datetime | None = None
    """Time of the first of the latest polls in a row of which the database refused rows; None after a poll without."""
    refused_rows: int = 0
    """Rows of the last poll that the database refused to store."""
    empty_since: datetime | None = None
    """Time of the first of the latest complete full polls in a row that found no task at all; None after any other."""
    retired_at: datetime | None = None
    """Time a service started whose configuration did not name it any more. None again from its next poll on."""
    clock_skew: float | None = None
    """Seconds that the time of the last good poll was ahead of the cloud's. None where the cloud did not tell its."""
    tasks: int = 0
    running: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelState:
    """What is recorded about a channel."""

    name: str
    parked_since: datetime | None = None
    reason: str | None = None
    probe_at: datetime | None = None
    settings_digest: str | None = None
    announced_since: datetime | None = None
    """Since when it has been failing, as was told; None when nothing was, or that it has recovered."""
    given_up_until: datetime | None = None
    """When the latest of the dead deliveries that were told of had died."""
    health: ChannelHealth = field(default_factory=ChannelHealth)
