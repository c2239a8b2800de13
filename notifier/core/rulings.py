"""What rules make of one event on one channel: it is sent at once, held for a while, or suppressed. Pure.

Every feature that keeps messages back is a rule: mutes, the windows of routes, grouping, budgets. A plan asks the rules
in order, and the first ruling wins.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from notifier.core.identity import DirectChannel
from notifier.core.model import Event
from notifier.core.people import Mute
from notifier.core.routing import RoutedEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """The event waits on the channel. What one rule holds there goes out together when the hold ends."""

    rule: str
    """Name of the rule: `route:night`, `group:backups:1f3a`, `budget`. Recorded with the delivery."""
    until: datetime
    reason: str
    """Why, in words that people read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppress:
    """The event is not sent to the channel."""

    rule: str
    """As `Hold.rule`: `mute:k7m2`, `route:night`, `repeat`."""
    reason: str


Ruling: TypeAlias = Hold | Suppress
Rule: TypeAlias = Callable[[RoutedEvent, str], Ruling | None]
"""Returns what becomes of an event on the channel of this name; None where the rule does not concern it."""


def ruling_on(item: RoutedEvent, channel: str, rules: Sequence[Rule]) -> Ruling | None:
    """Return what becomes of an event on a channel; None where it is sent at once.

    Nothing keeps an event from those who asked for its task in person, nor a success from a channel that it closes
    something on.
    """
    if channel in item.solves or DirectChannel.parse(channel):
        return None
    return next((ruling for rule in rules if (ruling := rule(item, channel))), None)


def muted_by(event: Event, mutes: Sequence[Mute], now: datetime) -> Mute | None:
    """Return the mute that suppresses an event."""
    return next((mute for mute in mutes if mute.covers(event.task, now)), None)


def mute_rule(mutes: Sequence[Mute], now: datetime) -> Rule:
    """Return the rule of the mutes that are in force."""
    known: dict[str, Suppress | None] = {}
    """By event id: an event goes to many channels."""

    def rule(item: RoutedEvent, channel: str) -> Ruling | None:  # noqa: ARG001 - a mute concerns every channel
        if item.event.id not in known:
            mute = muted_by(item.event, mutes, now)
            known[item.event.id] = Suppress(rule=f"mute:{mute.instance}", reason=_mute_reason(mute)) if mute else None
        return known[item.event.id]

    return rule


def _mute_reason(mute: Mute) -> str:
    reason = f"{mute.instance} is muted until {mute.until.isoformat(timespec='minutes')} by {mute.name}"
    return f"{reason}: {mute.reason}" if mute.reason else reason
