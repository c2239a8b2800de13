"""What a ring of the doorbell does to the time of a source's next poll, and when it is refused. Pure.

A ring means "poll this source now" and nothing else. Each ring is followed by a poll that begins after it: rings that
wait for the same poll are one, and a ring during a poll makes one more poll follow it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

MIN_INTERVAL = timedelta(seconds=2)
"""Time from the end of a poll to the next one that a ring may cause, unless `doorbell.min_interval` sets another."""

MAX_AGE = timedelta(minutes=9)
"""Age of a signed request from which it is refused. With `MAX_LEAD` it is no longer than requests are remembered, so
that none is accepted twice."""
MAX_LEAD = timedelta(minutes=1)
"""Time by which the time of a signed request may be ahead of ours."""


class RingEffect(StrEnum):
    """What follows from a ring. The values are stable: callers read them, and metrics count them."""

    DUE = "due"
    """The source is polled sooner than it would have been."""
    JOINED = "joined"
    """A poll that begins later was to come by then already, because of an earlier ring or by itself."""
    AFTER = "after"
    """The source is being polled; one more poll follows."""
    WAITS = "waits"
    """Polls of the source fail. The next attempt comes at its time: a ring does not shorten a pause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RungSource:
    """What is recorded of a source when the doorbell is rung for it."""

    name: str
    last_poll_at: datetime | None = None
    next_poll_at: datetime | None = None
    """None for one that is due at once."""
    failures: int = 0
    claimed: bool = False
    """Whether it is being polled."""
    rung: bool = False
    """Whether it was rung for since its latest poll began, so that one is to come that the ring asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """The effect of a ring on one source."""

    source: str
    effect: RingEffect
    next_poll_at: datetime | None
    """When the source is due. None for one that is due at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSubscription:
    """What is recorded of the subscription of the doorbell to a topic of SMN."""

    urn: str
    confirmed_at: datetime | None = None
    """When it was confirmed; the time of a message where another notifier, or a person, did that."""
    ended_at: datetime | None = None
    """When it was ended; None while it is in force, and before it is."""
    failed_at: datetime | None = None
    """When it could not be confirmed; None once it was."""
    error: str | None = None
    """Why it could not be confirmed."""


def answer_ring(source: RungSource, now: datetime, min_interval: timedelta) -> Ring:
    """Decide what a ring does.

    A poll that a ring causes begins no sooner than `min_interval` after the one before ended.
    """
    planned = source.next_poll_at
    if source.failures and not source.claimed:
        return Ring(source=source.name, effect=RingEffect.WAITS, next_poll_at=planned)
    # A poll that is recorded in the future was so by a clock that has been set back since.
    wanted = now if source.last_poll_at is None else max(now, min(source.last_poll_at, now) + min_interval)
    due = min(planned, wanted) if planned else None
    effect = RingEffect.DUE if planned and wanted < planned else RingEffect.JOINED
    if source.claimed:
        effect = RingEffect.AFTER
    if source.rung:  # what the ring before asked for may wait for its turn in the call budget
        effect, due = RingEffect.JOINED, planned
    return Ring(source=source.name, effect=effect, next_poll_at=due)


def time_problem(at: datetime, now: datetime) -> str | None:
    """Return why a signed request of this time is refused; None where it is not."""
    if now - at > MAX_AGE:
        return "too old"
    return "from the future" if at - now > MAX_LEAD else None
