"""When messages may be sent on a channel: its rate budget, the pauses it asked for, and its circuit breaker.

All of it is a value that the database keeps, so that it survives a restart and is shared by all replicas.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

GOOD_AT_PRECISION = timedelta(seconds=1)
"""Precision of the recorded time of a healthy channel's last good attempt: each record costs a write."""


class AttemptSignal(StrEnum):
    """What an attempt proves about its channel, whatever it means for the message."""

    GOOD = "good"
    """The receiver took a message."""
    BUSY = "busy"
    """The receiver asked for a pause."""
    BAD = "bad"
    """No answer, or one that reports a fault of the receiver."""
    NONE = "none"
    """Nothing: the receiver refused this one message, or was not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Limits of a channel: its rate, and when its circuit breaker opens and probes."""

    per_second: float | None = None
    """Messages per second in the long run; None for no limit."""
    burst: int = 1
    """Messages at once after a pause."""
    opens_after: int = 5
    """Number of failures in a row that open the circuit breaker."""
    probes: tuple[timedelta, ...] = (timedelta(seconds=10), timedelta(seconds=30), timedelta(seconds=60))
    """Waits before the first, second … probe of an open breaker; the last one repeats."""

    @property
    def interval(self) -> timedelta:
        """The time from one message to the next at the full rate; at least the shortest that can be written."""
        return max(timedelta(seconds=1 / self.per_second), timedelta.resolution) if self.per_second else timedelta()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelHealth:
    """Recorded health of a channel. The times are those of the database's clock."""

    failures: int = 0
    """Number of bad attempts in a row."""
    good_at: datetime | None = None
    """Time of the last attempt that the receiver accepted."""
    failing_since: datetime | None = None
    """Time of the first attempt after the last good one that was not good; None while all is well."""
    open_until: datetime | None = None
    """The circuit breaker is open: nothing is sent before this time, and then one message as a probe."""
    paused_until: datetime | None = None
    """What the receiver asked for with Retry-After."""
    rate_at: datetime | None = None
    """When the next message would be on time if there were no bursts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """Number of messages that may be sent now, and when to ask again where that is fewer than wanted."""

    count: int
    retry_in: timedelta | None = None


def allowance(health: ChannelHealth, pace: Pace, now: datetime, wanted: int) -> Allowance:
    """Return how many of the messages that are wanted may go out now."""
    held = max((until for until in (health.open_until, health.paused_until) if until), default=now)
    if held > now:
        return Allowance(count=0, retry_in=held - now)
    if health.open_until:
        wanted = min(wanted, 1)
    if not pace.per_second:
        return Allowance(count=wanted)
    ahead = max((health.rate_at or now) - now, timedelta())
    room = pace.interval * pace.burst - ahead
    count = max(0, min(wanted, room // pace.interval))
    if count == wanted:
        return Allowance(count=count)
    return Allowance(count=count, retry_in=pace.interval * (count + 1) - room)


def charge(health: ChannelHealth, pace: Pace, now: datetime, count: int) -> ChannelHealth:
    """Return the health after `count` messages were let out.

    A probe of an open breaker postpones the next one, so that no other replica sends a second probe meanwhile.
    """
    if count and pace.per_second:
        health = replace(health, rate_at=max(health.rate_at or now, now) + pace.interval * count)
    if count and health.open_until:
        health = replace(health, open_until=now + _probe_wait(health.failures, pace))
    return health


def after(
    health: ChannelHealth, signals: Iterable[tuple[AttemptSignal, timedelta | None]], now: datetime, pace: Pace
) -> ChannelHealth:
    """Return the health after attempts that ended with these signs and the pauses that were asked for."""
    for signal, pause in signals:
        health = _after(health, signal, pause, now, pace)
    return health


def _after(
    health: ChannelHealth, signal: AttemptSignal, pause: timedelta | None, now: datetime, pace: Pace
) -> ChannelHealth:
    match signal:
        case AttemptSignal.GOOD:
            fresh = health.good_at is not None and not health.failing_since and now - health.good_at < GOOD_AT_PRECISION
            if fresh and not health.failures and not health.open_until:
                return health
            good_at = health.good_at if fresh else now
            return ChannelHealth(rate_at=health.rate_at, paused_until=health.paused_until, good_at=good_at)
        case AttemptSignal.BUSY:
            until = max(health.paused_until or now, now + (pause or timedelta()))
            return replace(health, paused_until=until, failing_since=health.failing_since or now)
        case AttemptSignal.BAD:
            failures = health.failures + 1
            opened = now + _probe_wait(failures, pace) if failures >= pace.opens_after else health.open_until
            return replace(health, failures=failures, failing_since=health.failing_since or now, open_until=opened)
    return health


def _probe_wait(failures: int, pace: Pace) -> timedelta:
    position = max(failures - pace.opens_after, 0)
    return pace.probes[min(position, len(pace.probes) - 1)]
