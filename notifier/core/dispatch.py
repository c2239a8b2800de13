"""What delivery workers and message editors decide: how much to claim, what is late, and what is repeated."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Literal

from notifier.core import pacing, recipients
from notifier.core.delivery import (
    MAX_COPIES,
    Delivered,
    Delivery,
    DeliveryState,
    GaveUp,
    Outcome,
    Parked,
    ResendPolicy,
    Resolution,
    Retry,
    ThreadUpdate,
    Unknown,
)
from notifier.core.identity import Subject
from notifier.core.model import Event
from notifier.core.outbox import Settlement
from notifier.core.pacing import Allowance, ChannelHealth, Pace
from notifier.core.retry import MAX_RETRY_AFTER
from notifier.core.started_by import StartedBy

SENT_WITHIN = 0.8
"""Share of a lease within which a message must be answered; then its outcome is unknown."""

BEGUN_WITHIN = 0.2
"""Share of a lease within which a message may always begin; later only if the channel's deadline still fits in."""

PREFETCH = 4
"""Messages claimed ahead for each one in flight, where a repeat does no harm: a kill while they are rendered leaves
the outcome of all of them unknown."""

MAX_CLAIMED = 256
"""Maximum number of deliveries that one step claims: the event loop may wait for its transaction."""

BATCH = 128
"""Number of finished attempts that are settled at once; half of what may be in flight suffices too."""

EDIT_RETRY_AFTER = timedelta(seconds=15)
"""Wait after a failed edit, where the service asked for no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """What one step of a worker does on its channel."""

    health: ChannelHealth
    """The channel's health after the attempts that are settled, before anything is claimed."""
    closed: bool
    """False while the circuit breaker is open: nothing but its probe is sent."""
    breaker_closes: bool
    """True when these settlements close the breaker."""
    allowed: Allowance
    """How many deliveries may be claimed."""


def plan_step(
    health: ChannelHealth, settlements: Iterable[Settlement], pace: Pace, now: datetime, wanted: int
) -> StepPlan:
    """Decide a step: settle these attempts and claim up to `wanted` deliveries, as far as the channel allows."""
    after = pacing.after(health, [(one.signal, one.pause) for one in settlements], now, pace)
    return StepPlan(
        health=after,
        closed=not after.open_until,
        breaker_closes=bool(health.open_until and not after.open_until),
        allowed=pacing.allowance(after, pace, now, wanted),
    )


def demand(concurrency: int, policy: ResendPolicy, busy: int) -> int:
    """Return how many deliveries to claim, where `busy` are in flight or queued.

    What is claimed ahead is claimed in batches, of half of it at least: each batch costs a commit for its bodies.
    """
    ahead = concurrency * PREFETCH if policy is ResendPolicy.IDEMPOTENT else 0
    wanted = min(max(concurrency + ahead - busy, 0), MAX_CLAIMED)
    return wanted if wanted >= min(ahead, MAX_CLAIMED) // 2 else 0


def start_within(lease: timedelta, deadline: float) -> float:
    """Return for how long after its claim a message may begin, in seconds. `deadline` is that of its channel."""
    seconds = lease.total_seconds()
    return max(seconds * SENT_WITHIN - deadline, seconds * BEGUN_WITHIN)


def settles_at_once(finished: int, queued: int, concurrency: int) -> bool:
    """Return whether finished attempts are settled now: they are many, or the next step has to claim more."""
    return finished >= min(BATCH, concurrency / 2) or queued < concurrency


def attempts_exhausted(delivery: Delivery, schedule: Sequence[timedelta]) -> bool:
    """Return whether a delivery has had more attempts than scheduled: earlier ones ended their sender unreported."""
    return delivery.attempt - delivery.earlier_attempts > len(schedule) + 1


def is_first_attempt(delivery: Delivery) -> bool:
    """Return whether this is the first attempt of a schedule."""
    return delivery.attempt == delivery.earlier_attempts + 1


def refuse(delivery: Delivery, schedule: Sequence[timedelta], kind: str) -> GaveUp | None:
    """Return why a claimed delivery is not sent at all; None where it is. `kind` is that of its channel."""
    if attempts_exhausted(delivery, schedule):
        return GaveUp("no attempt ever reported back: sending it may be what stops the program")
    if delivery.body is None:
        return GaveUp(f"the {kind} channel cannot put this event into words")
    return None


def resolve(
    delivery: Delivery, found: Outcome | None, on_unknown: Literal["resend", "hold"]
) -> tuple[Outcome | None, Resolution | None]:
    """Decide about an earlier attempt that may have arrived. An outcome of None means that it is sent again.

    `found` is what the service says: Delivered, None where it lacks the message, Retry where it could not be asked
    now, and else why it cannot be asked.
    """
    match found:
        case None:
            return None, Resolution.ABSENT
        case Delivered():
            return found, Resolution.ARRIVED
        case Retry():
            return found, None
    return (_hold(delivery, found.reason), Resolution.HELD) if on_unknown == "hold" else (None, Resolution.RISKED)


def _hold(delivery: Delivery, why: str) -> GaveUp | None:
    """Leave the decision to a person; None where some recipients certainly lack the message."""
    if recipients.anyone_waits(delivery):
        return None
    last = f"{delivery.reason}; " if delivery.recipients and delivery.reason else ""
    return GaveUp(f"{last}it may have arrived ({why}); `notifier retry` sends it again")


def thread_subject(delivery: Delivery) -> str:
    """Return the task or the storm whose thread a message belongs to; the empty string where it belongs to none.

    That is so for digests and for events of our own.
    """
    if Subject.parse(delivery.subject).storm:
        return delivery.subject
    return delivery.events[0].subject if not delivery.digest and delivery.events[0].task else ""


def ends_well(event: Event) -> bool:
    """Return whether a task has ended and needs nobody's care any more."""
    return event.type.traits.ends_task and not event.type.traits.needs_care


def is_loud_trouble(delivery: Delivery) -> bool:
    """Return whether a message is shown in the channel itself because somebody has to act."""
    return any(_is_loud_trouble(delivery, event) for event in delivery.events)


def _is_loud_trouble(delivery: Delivery, event: Event) -> bool:
    return event.type.traits.acknowledgeable and delivery.routing.severity_of([event]).loud


def is_broadcast(delivery: Delivery) -> bool:
    """Return whether a message in a thread is shown in the channel too: trouble that is loud, and the end of it.

    An edit notifies nobody: whoever was called by the channel learns there that it is over. The first message of a
    storm calls for all that follow it.
    """
    loud = is_loud_trouble(delivery) or delivery.ends_trouble or any(map(_closes_loud_trouble, delivery.events))
    return delivery.storm is None and loud


def _closes_loud_trouble(event: Event) -> bool:
    """Return whether a success ends a failure that called somebody, in a thread of another task."""
    return event.closes is not None and event.closes.type.traits.severity_in(event.environment).loud


def with_copy(copies: Sequence[str], ref: str) -> tuple[str, ...]:
    """Return the references of the copies that are edited, once there is one more."""
    return (*(copy for copy in copies if copy != ref), ref)[-MAX_COPIES:]


def affordable(edits: Iterable[int], budget: int) -> int:
    """Return how many threads, the first ones, take at most `budget` edits together; the first is always taken."""
    total = list(accumulate(edits))
    return max(sum(so_far <= budget for so_far in total), min(1, len(total)))


def thread_updates(delivery: Delivery, settlement: Settlement) -> Iterator[ThreadUpdate]:
    """Return what live messages show after a settlement: dead deliveries too, where there is a message."""
    if settlement.state in (DeliveryState.DELIVERED, DeliveryState.DEAD):
        subject = thread_subject(delivery)
        if settlement.thread and Subject.parse(subject).storm:
            yield ThreadUpdate(
                subject=subject, event_id=delivery.events[0].id, thread=settlement.thread, routing=delivery.routing
            )
        yield from (
            ThreadUpdate(
                subject=event.subject,
                event_id=event.care_id,
                follows_up=event.follow_up is not None,
                thread=settlement.thread if event.subject == subject else None,
                copy=settlement.copy if event.subject == subject else None,
                routing=delivery.routing,
                loud=_loud(delivery, event) if settlement.state is DeliveryState.DELIVERED else None,
            )
            for event in delivery.events
            if event.task
        )


def _loud(delivery: Delivery, event: Event) -> bool | None:
    if _is_loud_trouble(delivery, event):
        return True
    return False if ends_well(event) else None


def opening_storm(delivery: Delivery) -> Delivery:
    """Return a delivery that is to report its storm first, where no message of a channel with threads has done so.

    The one that was planned for that is dead. What was rendered before stays as it is.
    """
    if delivery.storm is None or delivery.thread is not None or delivery.body is not None:
        return delivery
    return replace(delivery, storm=replace(delivery.storm, opened_by=delivery.id))


def edit_wait(outcome: Outcome) -> timedelta | None:
    """Return the wait before an edit is repeated; None where it is done, or refused and would be refused again."""
    match outcome:
        case Parked(probe_after=after) | Retry(after=after):
            return min(after or EDIT_RETRY_AFTER, MAX_RETRY_AFTER)
        case Unknown():
            return EDIT_RETRY_AFTER
    return None


def unexplained(events: Iterable[Event]) -> Collection[tuple[str, str]]:
    """Return the tasks of these events, by source and job id, of which it was not known who started them."""
    return {(event.source, event.job_id) for event in events if event.task and event.started_by is None}


def explained(event: Event, known: Mapping[tuple[str, str], StartedBy]) -> Event:
    """Return an event with who started its task, where that has become known since it was detected."""
    found = known.get((event.source, event.job_id)) if event.started_by is None else None
    return replace(event, started_by=found) if found else event
