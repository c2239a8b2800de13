"""What rules make of one event on one channel: it is sent at once, held for a while, or suppressed. Pure.

Every feature that keeps messages back is a rule: mutes, the windows of routes, grouping, budgets. A plan asks the rules
in order, and the first ruling wins.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from notifier.core.causes import CauseCatalogue
from notifier.core.identity import DirectChannel
from notifier.core.maintenance_mutes import MaintenanceMute, mute_sentence, open_maintenance
from notifier.core.maintenance_values import MaintenanceRecord
from notifier.core.mutes import Mute, MutesInForce
from notifier.core.routing import Otherwise, Route, RoutedEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """The event waits on the channel. What one rule holds there goes out together when the hold ends."""

    rule: str
    """Name of the rule: `route:night`, `group:backups:1f3a`, `budget:20/h`, `flapping:1f3a`. It is recorded."""
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

    Nothing keeps an event from a person who asked for it, nor a success from a channel that it closes something on, nor
    a report or a hand-over: it is due at its time, and a digest would show its title alone.
    """
    direct = DirectChannel.parse(channel)
    if channel in item.solves or (direct and direct.personal) or item.event.type.traits.scheduled:
        return None
    return next((ruling for rule in rules if (ruling := rule(item, channel))), None)


def mute_rule(mutes: Sequence[Mute], now: datetime, catalogue: CauseCatalogue | None = None) -> Rule:
    """Return the rule of the mutes that are in force; the catalogue explains reasons to those that ask for a cause."""
    in_force = MutesInForce(mutes, now, catalogue)
    known: dict[str, Suppress | None] = {}
    """By event id: an event goes to many channels."""

    def rule(item: RoutedEvent, channel: str) -> Ruling | None:  # noqa: ARG001 - a mute concerns every channel
        if item.event.id not in known:
            mute = in_force.covering(item.event)
            known[item.event.id] = Suppress(rule=mute.rule, reason=_mute_reason(mute)) if mute else None
        return known[item.event.id]

    return rule


def maintenance_rule(
    mutes: Sequence[MaintenanceMute],
    open_now: Sequence[MaintenanceRecord],
    catalogue: CauseCatalogue | None = None,
) -> Rule:
    """Return the rule of the mutes that are in force while a maintenance of an instance is open."""

    def rule(item: RoutedEvent, channel: str) -> Ruling | None:  # noqa: ARG001 - a mute concerns every channel
        one = open_maintenance(item.event, open_now)
        mute = next((each for each in mutes if each.covers(item.event, catalogue)), None) if one else None
        return Suppress(rule=mute.rule, reason=mute_sentence(mute, one)) if mute and one else None

    return rule


def window_rule(routes: Sequence[Route], now: datetime) -> Rule | None:
    """Return the rule of the windows of routes, which are judged at a time by `Route.at`; None where all are open.

    It concerns an event on a channel that only routes with a closed window lead to; see `window_ruling`.
    """
    if not any(route.withholds for route in routes):
        return None
    by_name = {route.name: route for route in routes}
    known: dict[tuple[tuple[str, ...], str], Ruling | None] = {}

    def rule(item: RoutedEvent, channel: str) -> Ruling | None:
        key = (item.routes, channel)
        if key not in known:
            taking = [by_name[name] for name in item.routes if name in by_name]
            known[key] = window_ruling([route for route in taking if channel in route.channels], now)
        return known[key]

    return rule


def window_ruling(leading: Sequence[Route], now: datetime) -> Ruling | None:
    """Return what becomes of an event on a channel that these routes lead to, judged at this time by `Route.at`.

    It is sent where the window of one of them is open. Where one of them holds, the event waits until the first window
    opens; a window that never opens again holds nothing.
    """
    routes = [route for route in leading if route.withholds]
    if not routes or len(routes) < len(leading):
        return None
    holding = [route for route in routes if route.withholds is Otherwise.HOLD]
    openings = [(route.active.next_opening(now), route.name) for route in holding if route.active]
    opening = [(until, name) for until, name in openings if until]
    if len(opening) < len(openings):
        return None
    if opening:
        until, name = min(opening)
        when = until.isoformat(timespec="minutes")
        return Hold(rule=f"route:{name}", until=until, reason=f"route {name} is active from {when} on")
    (dropping, *_) = routes
    return Suppress(rule=f"route:{dropping.name}", reason=f"route {dropping.name} is active only at {dropping.active}")


def _mute_reason(mute: Mute) -> str:
    reason = f"{mute.shown} is muted until {mute.until.isoformat(timespec='minutes')} by {mute.name}"
    return f"{reason}: {mute.reason}" if mute.reason else reason
