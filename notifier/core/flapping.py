"""Operations whose result keeps changing: one message says so, and further ones wait until it is calm. Pure.

An operation flaps where its result, success or failure, has changed as often as a `FlappingLimit` says. Only
operations on instances with an id are judged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from notifier.core.durations import format_duration
from notifier.core.events import EventType
from notifier.core.holds import LastingHold
from notifier.core.model import Event, FlappingOperation
from notifier.core.routing import FlappingLimit, RoutedEvent
from notifier.core.rulings import Hold, Rule, Ruling
from notifier.core.tickets import happened, operation_of

FLAPPING_RULE = "flapping"
"""How the names of rules begin: `flapping:HASH`, with a hash of the operation."""
LONGEST_HOLD = 6
"""Maximum time that events of an operation are held, in multiples of `FlappingLimit.within`: it may never be calm."""

_HASH_LENGTH = 8
_RESULTS = {EventType.TASK_COMPLETED: False, EventType.TASK_FAILED: True}

ResultKey: TypeAlias = "tuple[str, str, str]"
"""Source, id of the instance, and name of the operation."""


class TaskResult(NamedTuple):
    """How one task of an operation ended."""

    at: datetime
    job_id: str
    failed: bool


def result_key(event: Event) -> ResultKey | None:
    """Return the operation of an event; None where it is not judged."""
    task = event.task
    return (event.source, task.instance_id, task.name) if task and task.instance_id else None


def instances_of(routed: Iterable[RoutedEvent]) -> Collection[str]:
    """Return the ids of the instances whose results must be known."""
    return {key[1] for item in routed if (key := result_key(item.event))}


def changes_in(results: Iterable[TaskResult]) -> int:
    """Return how often the result has changed."""
    return sum(one.failed != other.failed for one, other in pairwise(sorted(results)))


def with_flapping(
    routed: Sequence[RoutedEvent],
    recorded: Mapping[ResultKey, Sequence[TaskResult]],
    limit: FlappingLimit,
    now: datetime,
) -> tuple[RoutedEvent, ...]:
    """Add to each event of an operation that flaps how often its result has changed.

    Args:
        routed: the events of one batch, in the order in which they happened.
        recorded: results of their operations, with those of the tasks of the batch or without them.
        limit: from when on an operation flaps.
        now: the present time.
    """
    fresh = {item.event.job_id for item in routed}
    known = {key: [one for one in results if one.job_id not in fresh] for key, results in recorded.items()}
    return tuple(_judged(item, known, limit, now) for item in routed)


def _judged(
    item: RoutedEvent, known: dict[ResultKey, list[TaskResult]], limit: FlappingLimit, now: datetime
) -> RoutedEvent:
    event = item.event
    if (key := result_key(event)) is None:
        return item
    recent = [one for one in known.get(key, ()) if now - one.at < limit.within]
    before = changes_in(recent)
    if event.type in _RESULTS:
        recent.append(TaskResult(at=happened(event), job_id=event.job_id, failed=_RESULTS[event.type]))
        known[key] = recent
    changes = changes_in(recent)
    if changes < limit.changes and before < limit.changes:
        return item
    found = FlappingOperation(
        changes=max(changes, before), within_seconds=limit.within.total_seconds(), began=before < limit.changes
    )
    return replace(item, event=replace(event, flapping=found))


def flapping_rule_name(event: Event) -> str:
    """Return the name of the rule that holds the events of an operation that flaps."""
    return f"{FLAPPING_RULE}:{(operation_of(event) or '')[:_HASH_LENGTH]}"


def held_rules(new: Iterable[RoutedEvent]) -> Collection[str]:
    """Return the names of the rules that hold any of these events."""
    return {flapping_rule_name(item.event) for item in new if item.event.flapping and not item.event.flapping.began}


def flapping_rule(lasting: Sequence[LastingHold], keeping: Collection[str], now: datetime) -> Rule:
    """Return the rule that holds the events of operations that flap, until their result has stayed the same for long.

    The event that shows that an operation flaps is sent: it says so. Channels that keep tickets get every event.

    Args:
        lasting: what is held already.
        keeping: the channels that keep tickets.
        now: the present time.
    """
    since = {(hold.channel, hold.rule): hold.since for hold in lasting}

    def rule(item: RoutedEvent, channel: str) -> Ruling | None:
        found = item.event.flapping
        if found is None or found.began or channel in keeping:
            return None
        name, within = flapping_rule_name(item.event), timedelta(seconds=found.within_seconds)
        latest = since.get((channel, name), now) + LONGEST_HOLD * within
        reason = f"the result of this operation has changed {found.changes} times within {format_duration(within)}"
        return Hold(rule=name, until=max(min(now + within, latest), now), reason=reason)

    return rule
