"""What rules hold on a channel, and what becomes of it when a hold ends. Pure.

A held delivery is pending, has the name of a `rule` and becomes available when the hold ends. It has one event, so that
each can be released by itself. What one rule holds on a channel is released together: as one digest, or as several of
them where there are many. Nothing that has been attempted is held, so no message is sent twice in different forms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from typing import NamedTuple

from notifier.core import outbox
from notifier.core.delivery import FAILURE_RANK, Delivery, DeliveryState
from notifier.core.routing import DeliveryRouting, HeldEvents
from notifier.core.severity import worst

RELEASED_TOGETHER = 500
"""Maximum number of held deliveries that one step releases, so that its transaction stays short."""


class LastingHold(NamedTuple):
    """What a rule holds on a channel now."""

    channel: str
    rule: str
    since: datetime
    """When the first of it was held."""
    until: datetime
    """When the hold ends for the first of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What becomes of held deliveries when their hold ends."""

    digests: Sequence[Delivery] = ()
    """New deliveries. Each takes the events of several held ones, which end with that."""
    singles: Sequence[Delivery] = ()
    """Held deliveries that go out as they are."""


def plan_release(held: Sequence[Delivery], rule: str, size: int | None, state: DeliveryState, now: datetime) -> Release:
    """Decide what becomes of what a rule has held on a channel.

    Args:
        held: one event each, in the order in which they were planned. Some may be held by other rules.
        rule: the one whose hold has ended.
        size: maximum number of events in a digest; None where the channel takes each event by itself.
        state: pending, or parked where the channel is.
        now: the present time.
    """
    failing = {one.subject for one in held if one.rank == FAILURE_RANK}
    # What is older about a task that has failed would hold the failure back.
    ranked = [replace(one, rank=FAILURE_RANK) if one.subject in failing else one for one in held]
    if size is None or len(held) == 1:
        return Release(singles=ranked)
    # One that is left over is the oldest: it keeps its place, and digests get later ones.
    alone = 1 if len(held) % size == 1 else 0
    rest = ranked[alone:]
    parts = [rest[start : start + size] for start in range(0, len(rest), size)]
    # All of one rank: a digest may wait for another one about the same task, and must not hold back failures for that.
    rank = min(one.rank for one in rest)
    digests = [replace(_digest(part, rule, state, now), rank=rank) for part in parts]
    return Release(digests=digests, singles=ranked[:alone])


def _digest(held: Sequence[Delivery], rule: str, state: DeliveryState, now: datetime) -> Delivery:
    events = [event for one in held for event in one.events]
    together = reduce(DeliveryRouting.joined, (one.routing for one in held))
    # As for any digest: an event whose severity no route sets counts with its own.
    own = [one.routing.severity or event.severity for one in held for event in one.events]
    routing = replace(
        together,
        severity=worst(own) if together.severity else None,
        held=HeldEvents(rule=rule, since=min(one.created_at for one in held)),
    )
    return outbox.new_delivery(held[0].channel, events, state, now, routing=routing)


def kind_of(rule: str) -> str:
    """Return the kind of a rule: `group` of `group:backups:1f3a`."""
    return rule.partition(":")[0]


def name_in(rule: str) -> str:
    """Return what a rule is named after: `backups` of `group:backups:1f3a`, `20/h` of `budget:20/h`."""
    return rule.partition(":")[2].partition(":")[0]
