"""A delivery of events to one channel: its state, its attempts, their outcomes, and the message that shows a task."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from notifier.core.model import Event, id_of
from notifier.core.mutes import Mute
from notifier.core.people import Acknowledgement
from notifier.core.routing import DeliveryRouting
from notifier.core.storms import Storm
from notifier.core.tickets import Ticket, TicketLink


def delivery_id(channel: str, *event_ids: str) -> str:
    """Return the id of the delivery of these events to this channel; it is also the idempotency key."""
    return id_of("\x1f".join((channel, *event_ids)))


FAILURE_RANK, USUAL_RANK = 0, 1
"""Ranks of deliveries: see `Delivery.rank`. The values are stored."""


class DeliveryState(StrEnum):
    """The state of a delivery (promise P3: each is in exactly one)."""

    PENDING = "pending"
    """Due now or later; also while one is being sent. Set when planned, retried or released."""
    DELIVERED = "delivered"
    """The receiver confirmed it."""
    PARKED = "parked"
    """Its channel is misconfigured; goes out, in order, once that is fixed."""
    SUPPRESSED = "suppressed"
    """A rule prevents it from being sent; `reason` names the rule."""
    SUPERSEDED = "superseded"
    """A later event took its place; `reason` names it."""
    DEAD = "dead"
    """Failed permanently; `reason` has the cause. `notifier retry` sends it again."""


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


@dataclass(slots=True, kw_only=True)
class Delivery:
    """Event(s) on their way to one channel.

    Only `body` is set later than the others. The class is not frozen: each event makes two of these, and the
    constructor of a frozen class of this size takes three times as long, a twentieth of the time of a whole delivery.
    """

    id: str
    channel: str
    subject: str
    """The subject; among the unsettled deliveries of one channel that share a subject only the oldest is due."""
    state: DeliveryState
    available_at: datetime
    """Earliest time the delivery may be claimed. Each claim advances it by the lease."""
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
    """None until it is rendered, after its first claim."""
    ref: str | None = None
    """What the receiver called it: a Slack channel and ts, a Message-ID."""
    settled_at: datetime | None = None
    dismissed_at: datetime | None = None
    """Time a person accepted that it was not delivered. Set by `notifier dismiss`; `notifier retry` clears it."""
    outcome_unknown: bool = False
    """True when an earlier attempt may have arrived: its answer was lost, or its process never settled it."""
    thread: str | None = None
    """Reference of the message in whose thread the channel has sent others about the same subject, as known when it
    was claimed; None where there is none, and on a channel that keeps none."""
    ends_trouble: bool = False
    """Whether it reports the end of something bad that a loud message in the channel reported, as known when it was
    claimed. See `Thread`."""
    reply: str | None = None
    """What the receiver replied to the last attempt. Set by queries of deliveries, not by claims."""
    recipients: tuple[Recipient, ...] = ()
    """Those who are in different states after the latest attempt. Empty before it, and while all share one fate."""
    rank: int = USUAL_RANK
    """Order among the deliveries of a channel that are due, the smallest first: 0 for failures, 1 for all others."""
    routing: DeliveryRouting = field(default_factory=DeliveryRouting)
    """What the routes want of the message."""
    rule: str | None = None
    """Name of the rule that holds it until `available_at`, or that suppresses it; see `notifier.core.rulings`."""
    storm: Storm | None = None
    """The storm that its subject names, as known when it was claimed."""
    withheld: frozenset[str] = frozenset()
    """Recipients to whom an older delivery about the same subject is still on its way, as known when it was claimed."""
    ticket: Ticket | None = None
    """On a channel that keeps tickets: the latest of its operation, as known when it was claimed."""
    tickets: tuple[TicketLink, ...] = ()
    """On any other channel: the latest tickets of its operation, as known when it was claimed. None for a digest."""


def is_held(delivery: Delivery) -> bool:
    """Return whether a rule holds a delivery until `available_at`."""
    return delivery.rule is not None and delivery.state is DeliveryState.PENDING


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


class Attempt(NamedTuple):
    """One try to send one delivery."""

    delivery_id: str
    number: int
    started_at: datetime
    finished_at: datetime
    outcome: str
    """delivered, retry, gave-up, parked, unknown or skipped."""
    reason: str | None = None
    resolution: Resolution | None = None
    """What was done about the attempt before it, where that may have arrived."""
    reply: str | None = None
    """What the receiver replied: its status and the first 300 characters of its text, sanitised and redacted."""


# ---- outcomes: what a channel reports of one attempt; `outbox.settle` decides what follows ----


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver took it."""

    ref: str | None = None
    """What it called the message."""
    thread: str | None = None
    """Reference of the message under which later ones about the same subject are posted; None changes nothing."""
    copy: str | None = field(default=None, kw_only=True)
    """Reference of a message in a thread that the channel shows too, and that changes with the thread's first one."""
    reason: str | None = field(default=None, kw_only=True)
    """What was not as it should be, though the receiver took it."""
    reply: str | None = field(default=None, kw_only=True)
    """See `Attempt.reply`."""
    ticket: Ticket | None = field(default=None, kw_only=True)
    """What is recorded of the ticket of its operation from now on; None leaves it as it is."""


@dataclass(frozen=True, slots=True)
class _Undelivered:
    """What all outcomes but `Delivered` have."""

    reason: str
    reply: str | None = field(default=None, kw_only=True)
    """See `Attempt.reply`."""
    recipients: tuple[Recipient, ...] | None = field(default=None, kw_only=True)
    """What `Delivery.recipients` is from now on; None leaves it as it is."""
    ticket: Ticket | None = field(default=None, kw_only=True)
    """See `Delivered.ticket`."""


@dataclass(frozen=True, slots=True)
class Retry(_Undelivered):
    """The receiver did not take it and may later. `after` is what it asked for, if it did."""

    after: timedelta | None = None
    neutral: bool = field(default=False, kw_only=True)
    """True where the wait concerns this message alone, and proves nothing about the channel."""


@dataclass(frozen=True, slots=True)
class GaveUp(_Undelivered):
    """The receiver will never take this one: another try would end the same."""

    receiver_gone: bool = field(default=False, kw_only=True)
    """True where it will take no other one either, as a person who has left does. Its subscriptions end."""


@dataclass(frozen=True, slots=True)
class Parked(_Undelivered):
    """The channel itself is broken (wrong token, gone): nothing is sent on it until that is fixed.

    `probe_after` is the time until a retry without being asked; None waits for a changed configuration or an operator.
    """

    probe_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Unknown(_Undelivered):
    """The request went out and no answer came back: it may have been taken."""


@dataclass(frozen=True, slots=True)
class Skipped(_Undelivered):
    """There is nothing to do at the receiver: the delivery is suppressed, with this reason."""


Outcome = Delivered | Retry | GaveUp | Parked | Unknown | Skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """The message of a channel that shows one task from its first event to its last, and what it should show."""

    channel: str
    subject: str
    ref: str
    """What the service calls the message: a Slack channel and ts."""
    event: Event
    """Latest event about the subject to display, whether or not it was delivered to the channel."""
    revision: int
    """Increases whenever the message should change: with each event, acknowledgement and mute."""
    acknowledged: Acknowledgement | None = None
    """Of this event."""
    mute: Mute | None = None
    """That of the instance, where one is in force."""
    copies: tuple[str, ...] = ()
    """References of the messages of the thread that the channel shows too and that are edited with the first one: the
    latest MAX_COPIES; none where nothing but progress is new."""
    routing: DeliveryRouting = field(default_factory=DeliveryRouting)
    """As of the latest delivery about the subject."""
    storm: Storm | None = None
    """The storm that the message shows instead of a task."""
    tickets: tuple[TicketLink, ...] = ()
    """The latest tickets of the operation of the task."""

    @property
    def edits(self) -> int:
        """Number of messages to edit."""
        return 1 + len(self.copies)


MAX_COPIES = 3
"""Maximum number of messages of a thread that are edited with the first one; an older one stays as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadUpdate:
    """An event that a channel's message about a task shows from now on."""

    subject: str
    event_id: str
    thread: str | None = None
    """The reference of a new message; None leaves the one that is there, if any."""
    copy: str | None = None
    """See `Delivered.copy`."""
    routing: DeliveryRouting = field(default_factory=DeliveryRouting)
    """As of the delivery."""
    loud: bool | None = None
    """True where a loud message reported something bad of the task, False where it has ended well; None changes
    nothing."""
    follows_up: bool = False
    """True for a reminder or an escalation: the event is the failure that it is about, shown as it was sent itself."""
