"""What people do: acknowledge, mute, subscribe, and decide what becomes of messages that did not arrive.

Each function is one act inside the caller's transaction, and records who did it. The chat, the command line and any
page call these and nothing else, so that an act is the same wherever it comes from.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

from notifier.core.model import Event, Task
from notifier.core.people import Acknowledgement, Action, Mute, Person, Subscription, Verb
from notifier.ports import Transaction

MOVE_BATCH = 500
"""Deliveries that one transaction moves at most."""


def acknowledge(tx: Transaction, event: Event, by: Person) -> Acknowledgement:
    """Record that somebody takes care of what an event says, unless somebody does already; return who does."""
    mine = Acknowledgement(event_id=event.id, by=by.id, name=by.name, at=tx.now())
    existing = tx.people.acknowledge(mine)
    if existing == mine:
        _record(tx, by, Verb.ACKNOWLEDGE, event.subject, str(event.type))
    return existing


def mute(
    tx: Transaction, instance: str, label: str, length: timedelta, by: Person, *, reason: str | None = None
) -> Mute:
    """Suppress notifications about an instance for a while. `label` is its name for people to read."""
    now = tx.now()
    muted = Mute(
        instance=instance, label=label, until=now + length, by=by.id, name=by.name, created_at=now, reason=reason
    )
    tx.people.mute(muted)
    until = f"until {muted.until.isoformat(timespec='minutes')}"
    _record(tx, by, Verb.MUTE, label, f"{until}: {reason}" if reason else until)
    return muted


def unmute(tx: Transaction, instances: Collection[str], by: Person) -> Sequence[Mute]:
    """End the mutes that are in force under any of these ids or names; return them."""
    ended = [mute for instance in sorted(set(instances)) if (mute := tx.people.unmute(instance, tx.now()))]
    for muted in ended:
        _record(tx, by, Verb.UNMUTE, muted.shown)
    return ended


def subscribe(tx: Transaction, task: Task, by: Person) -> bool:
    """Send somebody a direct message when a task ends; return False where that was asked for already."""
    wish = Subscription(source=task.source, job_id=task.job_id, person=by.id, created_at=tx.now())
    new = tx.people.subscribe(wish)
    if new:
        _record(tx, by, Verb.SUBSCRIBE, task.subject)
    return new


def retry(tx: Transaction, delivery_ids: Collection[str], target: str, by: Person) -> int:
    """Send dead and parked deliveries again; return how many. `target` names them in the record."""
    return _counted(tx, by, Verb.RETRY, target, tx.deliveries.retry(delivery_ids, tx.now()))


def release(tx: Transaction, channel: str, by: Person) -> int:
    """Send what is parked on a channel; return how much."""
    return _counted(tx, by, Verb.RETRY, channel, tx.channels.unpark(channel, tx.now()))


def dismiss(tx: Transaction, delivery_ids: Collection[str], target: str, by: Person) -> int:
    """Accept that deliveries will not arrive; return how many. Dead ones no longer count against health.

    Those that still wait die with this reason, so that no one sends them and retention can delete them.
    """
    reason = f"dismissed by {by.name}"
    return _counted(tx, by, Verb.DISMISS, target, tx.deliveries.dismiss(delivery_ids, tx.now(), reason))


def move(tx: Transaction, channel: str, to: str, by: Person) -> int:
    """Let another channel deliver what waits on a channel, the oldest first; return how many were moved.

    At most `MOVED_AT_ONCE`: call it again until it returns 0.
    """
    return _counted(tx, by, Verb.MOVE, f"{channel} → {to}", tx.deliveries.move(channel, to, tx.now(), MOVE_BATCH))


def _counted(tx: Transaction, by: Person, verb: Verb, target: str, count: int) -> int:
    if count:
        _record(tx, by, verb, target, f"{count} {'delivery' if count == 1 else 'deliveries'}")
    return count


def _record(tx: Transaction, by: Person, verb: Verb, target: str, detail: str | None = None) -> None:
    tx.people.record_action(Action(at=tx.now(), by=by.id, name=by.name, verb=verb, target=target, detail=detail))
