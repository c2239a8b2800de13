"""The doorbell: a request that proves who sends it means "poll these sources now", and nothing else.

Nothing in a request becomes data. A ring changes the time at which the next poll of a source is due; whichever process
has the role poll finds it by its query for due sources, and polls within the call budget as always.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from notifier.core.doorbell import Ring, RingEffect, time_problem
from notifier.core.errors import NotifierError
from notifier.ports import Store

SHORT_RING = 20
"""Number of sources that are rung for in a few milliseconds at most."""


class Refusal(StrEnum):
    """Why a request rings nothing. The values are stable: metrics count them."""

    UNPROVEN = "unproven"
    """It does not prove who sends it."""
    FORBIDDEN = "forbidden"
    """It is of a topic, or names an address, that the configuration does not have."""
    EXPIRED = "expired"
    """It is signed, and too old or from the future."""
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    MEDIA_TYPE = "media_type"
    UNKNOWN_SOURCE = "unknown_source"
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"
    """Something that the answer depends on did not work: the sender may repeat the request."""


class RingRefused(NotifierError):
    """A request rings nothing. The message is a sentence for its sender."""

    def __init__(self, refusal: Refusal, why: str, *, retry_in: float | None = None) -> None:
        """`retry_in` is the number of seconds after which to try again."""
        super().__init__(why)
        self.refusal = refusal
        self.retry_in = retry_in


class CallerKind(StrEnum):
    """How a request proves who sends it. The values are stable: metrics count them."""

    TOKEN = "token"  # noqa: S105 - a word
    WEBHOOK = "webhook"
    SMN = "smn"


class KnockKind(StrEnum):
    """What a request is about."""

    RING = "ring"
    CONFIRM = "confirm"
    """The subscription to a topic is to be confirmed."""
    END = "end"
    """The subscription to a topic was ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knock:
    """A request that has proved who sends it."""

    caller: CallerKind
    identity: str
    """Which of the configured tokens, secrets or topics proved it. Each may ring only so often."""
    kind: KnockKind = KnockKind.RING
    at: datetime | None = None
    """The time that its signature covers; None where it has none."""
    replay_key: str | None = None
    """Unique key for replay protection; None for callers that cannot replay."""
    topic: str | None = None
    """URN of the topic that it is a message of."""
    region: str | None = None
    """Region of the topic, followed by its project: the sources that it rings unless its address names others."""
    project_id: str | None = None
    subscribe_url: str = ""
    """Address that confirms the subscription."""


class Caller(Protocol):
    """One way to prove who sends a request."""

    kind: CallerKind

    def claims(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request is of this kind, by its headers, whose names are in lower case."""

    async def prove(self, headers: Mapping[str, str], body: bytes) -> Knock:
        """Return what a request is about once it has proved who sends it. Raises RingRefused."""

    async def confirm(self, knock: Knock) -> None:
        """Confirm the subscription that a request is about. Raises RingRefused."""


class DoorbellRecords(Protocol):
    """What the doorbell records."""

    def ring(self, names: Collection[str], now: datetime, min_interval: timedelta) -> Sequence[Ring]:
        """Make sources due."""

    def heard(self, topic: str, at: datetime) -> None:
        """Record that the subscription to a topic was in force at a time: a message of it came."""

    def subscribed(self, topic: str, now: datetime) -> None:
        """Record that the subscription to a topic was confirmed."""

    def not_subscribed(self, topic: str, now: datetime, error: str) -> None:
        """Record why a subscription could not be confirmed."""

    def ended(self, topic: str, at: datetime) -> None:
        """Record that the subscription to a topic was ended."""


class RequestRecords(Protocol):
    """Requests that must not count twice."""

    def record_request(self, key: str, now: datetime) -> bool:
        """Record a request; return False when it was recorded within the last ten minutes."""


class DoorbellTx(Protocol):
    """What the doorbell needs of a transaction."""

    def now(self) -> datetime:
        """Return the time of the database."""

    @property
    def doorbell(self) -> DoorbellRecords:
        """What the doorbell records."""

    @property
    def people(self) -> RequestRecords:
        """Requests that must not count twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RingReport:
    """What a request did. The shell logs and counts it."""

    rings: Sequence[Ring] = ()
    """By source; empty for a request that is a repeat."""
    repeated: bool = False
    """Whether the same request was recorded within the last ten minutes."""

    def count(self, effect: RingEffect) -> int:
        """Return for how many sources this was the effect."""
        return sum(ring.effect is effect for ring in self.rings)


async def ring(
    store: Store[DoorbellTx, object], knock: Knock, sources: Collection[str], min_interval: timedelta
) -> RingReport:
    """Make sources due. Raises RingRefused for a request that is too old, and StoreError.

    All of it is one transaction: a kill before its commit leaves nothing, so that the repeated request rings.
    """

    def change(tx: DoorbellTx) -> RingReport | RingRefused:
        now = tx.now()
        if late := _lateness(knock, now):
            return late
        if knock.replay_key and not tx.people.record_request(knock.replay_key, now):
            return RingReport(repeated=True)
        if knock.topic and knock.at:
            tx.doorbell.heard(knock.topic, knock.at)
        return RingReport(rings=tx.doorbell.ring(sources, now, min_interval))

    done = await store.transact(change, short=len(sources) <= SHORT_RING)
    if isinstance(done, RingRefused):
        raise done
    return done


async def confirm(store: Store[DoorbellTx, object], knock: Knock, caller: Caller) -> None:
    """Confirm the subscription to a topic and record what came of it. Raises RingRefused and StoreError.

    A repeated request confirms again, which changes nothing: the one before it may have failed.
    """
    topic = knock.topic or ""
    if late := await store.transact(lambda tx: _lateness(knock, tx.now()), short=True):
        raise late
    try:
        await caller.confirm(knock)
    except RingRefused as error:
        why = str(error)
        await store.transact(lambda tx: tx.doorbell.not_subscribed(topic, tx.now(), why), short=True)
        raise
    await store.transact(lambda tx: tx.doorbell.subscribed(topic, tx.now()), short=True)


async def end(store: Store[DoorbellTx, object], knock: Knock) -> None:
    """Record that the subscription to a topic was ended. Raises RingRefused for a request that is too old."""

    def change(tx: DoorbellTx) -> RingRefused | None:
        now = tx.now()
        late = _lateness(knock, now)
        if late is None:
            tx.doorbell.ended(knock.topic or "", knock.at or now)
        return late

    if late := await store.transact(change, short=True):
        raise late


def _lateness(knock: Knock, now: datetime) -> RingRefused | None:
    problem = time_problem(knock.at, now) if knock.at else None
    return RingRefused(Refusal.EXPIRED, f"the time that the request is signed with is {problem}") if problem else None
