"""Repeats of the same failure while it is open: they are counted instead of notified again. Pure.

A failure repeats an earlier one where the same operation fails again for the same reason, and the earlier one is still
open. See `notifier.core.failures`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from notifier.core.causes import CauseCatalogue, error_code
from notifier.core.events import EventType
from notifier.core.failures import FailureKey, OpenFailures, key_opened_by, keys_closed_by, succeeds
from notifier.core.model import Event, RepeatedFailure
from notifier.core.routing import RoutedEvent, RoutingConfig
from notifier.core.rulings import Rule, Ruling, Suppress
from notifier.core.storms import fold_reason
from notifier.core.tickets import happened

REPEAT_RULE = "repeat"
"""Name of the rule."""

_FIRST_MILESTONE = 10
_COUNTED = (EventType.TASK_FAILED, EventType.ALARM_RAISED)
"""Events whose repeats are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """An event that repeats an open failure."""

    first_event_id: str
    since: datetime
    """When the first of the failures happened."""
    count: int
    """Number of the failures, this one included."""
    before: Event
    """The failure before it."""
    told: Collection[str]
    """Channels that were notified of the failure."""


def repeats_of(routed: Sequence[RoutedEvent], known: OpenFailures) -> Mapping[str, Repeat]:
    """Return which events fail again what is open, by event id.

    Args:
        routed: the events of one batch, in the order in which they happened.
        known: what is recorded of the open failures of their operations.
    """
    latest: dict[FailureKey, Repeat] = {
        key: Repeat(
            first_event_id=one.first_event_id,
            since=one.opened_at,
            count=one.count,
            before=one.latest,
            told=one.told,
        )
        for key, one in known.items()
    }
    found: dict[str, Repeat] = {}
    for item in routed:
        event = item.event
        for key in keys_closed_by(event):
            if key in latest and not (succeeds(event) and happened(event) < happened(latest[key].before)):
                del latest[key]
        if (opened := key_opened_by(event)) is None:
            continue
        if before := latest.get(opened):
            found[event.id] = again = replace(before, count=before.count + 1)
            latest[opened] = replace(again, before=event, told={*before.told, *item.channels})
        else:
            latest[opened] = Repeat(
                first_event_id=event.id, since=happened(event), count=1, before=event, told=item.channels
            )
    return found


def with_repeats(routed: Sequence[RoutedEvent], known: OpenFailures) -> tuple[RoutedEvent, ...]:
    """Add to each failed task or alarm that repeats what is open, since when and how often that has happened."""
    found = repeats_of(routed, known)
    return tuple(
        replace(item, event=replace(item.event, repeats=counted(found[item.event.id])))
        if item.event.id in found and item.event.type in _COUNTED
        else item
        for item in routed
    )


def counted(repeat: Repeat, last: datetime | None = None) -> RepeatedFailure:
    """Return what messages say of failures. `last` is when the last of them happened, for the message of an earlier."""
    return RepeatedFailure(since=repeat.since, failures=repeat.count, last=last)


def is_same_failure(one: Event, other: Event, catalogue: CauseCatalogue | None) -> bool:
    """Return whether two failures of an operation have one reason.

    The error code decides, else the known cause, else the words, in which numbers and ids do not count.
    """
    reasons = [(event.task and event.task.fail_reason) or "" for event in (one, other)]
    codes = [error_code(reason) for reason in reasons]
    if all(codes):
        return codes[0] == codes[1]
    causes = [catalogue.explain(reason).cause if catalogue else None for reason in reasons]
    if causes[0] is not None and causes[1] is not None:
        return causes[0].id == causes[1].id
    return fold_reason(reasons[0]) == fold_reason(reasons[1])


def repeat_rule(found: Mapping[str, Repeat], routing: RoutingConfig, now: datetime) -> Rule:
    """Return the rule that counts failures instead of sending them.

    A channel is notified again once in each period of the route's `repeats`, counted from the first failure; of another
    reason; and, where it cannot edit its messages, of the tenth, hundredth … failure. Tickets get every failure.
    """

    def rule(item: RoutedEvent, channel: str) -> Ruling | None:
        repeat = found.get(item.event.id)
        if repeat is None or item.event.type not in _COUNTED or channel not in repeat.told:
            return None
        within = _counting_period(item, channel, routing)
        policy = routing.policies.get(channel)
        if within is None or (policy is not None and policy.tickets):
            return None
        edits = policy is not None and policy.threads
        if not edits and is_milestone(repeat.count):
            return None
        if (now - repeat.since) // within != (repeat.before.observed_at - repeat.since) // within:
            return None
        if not is_same_failure(item.event, repeat.before, routing.catalogue):
            return None
        since = repeat.since.isoformat(timespec="minutes")
        first = repeat.first_event_id[:8]
        reason = f"number {repeat.count} of the failures that began with event {first} at {since}"
        return Suppress(rule=REPEAT_RULE, reason=reason)

    return rule


def _counting_period(item: RoutedEvent, channel: str, routing: RoutingConfig) -> timedelta | None:
    """Return the time of the routes that lead an event to a channel; None where one of them wants every failure."""
    taking = (route for route in routing.routes if route.name in item.routes)
    leading = [route.repeats for route in taking if channel in route.channels and not route.withholds]
    given = [within for within in leading if within is not None]
    return min(given) if given and len(given) == len(leading) else None


def is_milestone(count: int) -> bool:
    """Return whether a number is 10, 100, 1000 …."""
    while count > _FIRST_MILESTONE and count % 10 == 0:
        count //= 10
    return count == _FIRST_MILESTONE
