"""Lists and counts of deliveries, as people ask for them: by state, in pages."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, Self

from notifier.core.delivery import DeliveryState
from notifier.core.model import Event
from notifier.core.storms import Storm

COUNTED_NOT_THROUGH = 1_000
"""Deliveries of a channel in a state that waits that are counted at most; one more stands for all further ones."""
COUNTED_ENDED = 10_000
"""The same of a state that has ended. A count reads an index, and a thousand rows of it in 50 µs."""
COUNTED_EVENTS = 1_000
"""Events, the newest ones, whose deliveries are compared with what was planned."""
SAMPLED = 100
"""Delivered messages of a channel, the newest ones, whose times are measured."""
SEARCHED = 1_000
"""Deliveries that one search compares with a text."""


class ListedState(StrEnum):
    """The states by which people list deliveries: those of a delivery, with what is held and what was dismissed."""

    PARKED = "parked"
    DEAD = "dead"
    """Nobody has dismissed it."""
    PENDING = "pending"
    """No rule holds it."""
    HELD = "held"
    """A rule holds it, or held it until it is sent."""
    DELIVERED = "delivered"
    SUPPRESSED = "suppressed"
    SUPERSEDED = "superseded"
    DISMISSED = "dismissed"

    @property
    def state(self) -> DeliveryState:
        """The recorded state."""
        return _RECORDED.get(self) or DeliveryState(self)

    @property
    def waits(self) -> bool:
        """Whether something is still to happen: such deliveries are listed with the oldest first."""
        return self in WAITING


WAITING = (ListedState.PARKED, ListedState.DEAD, ListedState.PENDING, ListedState.HELD)
"""What is not through, in the order of a list."""
NOT_THROUGH = (ListedState.PARKED, ListedState.DEAD)
"""What somebody has to do something about."""
ENDED = (ListedState.DELIVERED, ListedState.SUPPRESSED, ListedState.SUPERSEDED)
"""What is over, and is counted for a time only."""
_RECORDED: Mapping[ListedState, DeliveryState] = {
    ListedState.HELD: DeliveryState.PENDING,
    ListedState.DISMISSED: DeliveryState.DEAD,
}


class DeliveryCursor(NamedTuple):
    """The last delivery of a page of a list."""

    state: ListedState
    seq: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read `dead.4711`; None for anything else."""
        state, _, seq = text.partition(".")
        if state not in tuple(ListedState) or not (seq.isascii() and seq.isdecimal()) or len(seq) > len(str(2**62)):
            return None
        return cls(ListedState(state), int(seq))

    def __str__(self) -> str:
        return f"{self.state}.{self.seq}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryListing:
    """The deliveries that a list shows."""

    states: tuple[ListedState, ...] = NOT_THROUGH
    channel: str | None = None
    rule: str | None = None
    """Name of the rule that holds or suppressed them."""
    text: str = ""
    """What the beginning of the id, the reason or the name of an instance has to contain, whatever its case."""
    since: datetime | None = None
    """Time since which those that are over were planned; None for any. What waits is listed whatever its age."""
    after: DeliveryCursor | None = None
    limit: int = 50

    @property
    def oldest_first(self) -> bool:
        """Whether all of its states wait: those are listed by state, and the oldest first."""
        return all(state.waits for state in self.states)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedDelivery:
    """A delivery as a list shows it, without its body and all but the first of its events."""

    id: str
    seq: int
    state: ListedState
    channel: str
    attempt: int
    """Number of its attempts so far."""
    created_at: datetime
    available_at: datetime
    settled_at: datetime | None
    retried_at: datetime | None
    reason: str | None
    reply: str | None
    """What the receiver replied to the last attempt."""
    rule: str | None
    digest: bool
    storm: Storm | None
    event: Event
    """The first one."""
    events: int

    @property
    def cursor(self) -> DeliveryCursor:
        """Its position in a list."""
        return DeliveryCursor(self.state, self.seq)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySlice:
    """One page of a list."""

    rows: tuple[ListedDelivery, ...]
    after: DeliveryCursor | None = None
    """Where the next page begins; None where there is none."""
    cut: bool = False
    """Whether a search was ended before the page was full; the next page goes on."""


class Latencies(NamedTuple):
    """How long the latest delivered messages of a channel took from their plan."""

    half: timedelta
    """Half of them took no longer."""
    nearly_all: timedelta
    """Nor 95 of 100 than this."""
    messages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelCounts:
    """The deliveries of one channel by state. Counts have a limit: see `COUNTED_NOT_THROUGH`."""

    channel: str
    counts: Mapping[ListedState, int] = field(default_factory=dict)
    latencies: Latencies | None = None
    """None where fewer than MIN_MEASURED messages were delivered."""


class PlannedPairs(NamedTuple):
    """How many pairs of event and channel were planned lately, and how many have their delivery."""

    events: int
    planned: int
    accounted: int
    unequal: int
    """Number of events of which both numbers differ. There must be none."""
    since: datetime | None
    """Time of the first of these events; None without any."""
    whole: bool
    """False where there were more events since the time that was asked for."""


MIN_MEASURED = 5
"""Number of delivered messages below which nothing is said of their times."""
_NEARLY_ALL = 0.95


def latencies_of(times: list[timedelta]) -> Latencies | None:
    """Return the times of which half, and nearly all, of some messages took no longer; None for too few."""
    if len(times) < MIN_MEASURED:
        return None
    ordered = sorted(times)
    middle = ordered[(len(ordered) - 1) // 2]
    nearly_all = ordered[min(int(len(ordered) * _NEARLY_ALL), len(ordered) - 1)]
    return Latencies(half=middle, nearly_all=nearly_all, messages=len(ordered))
