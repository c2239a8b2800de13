"""Which events go to channels that keep tickets, and the tickets that they ask for. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from notifier.core.delivery import Delivery
from notifier.core.events import EventType
from notifier.core.identity import Subject
from notifier.core.model import Event
from notifier.core.routing import RoutedEvent
from notifier.core.tickets import happened, opens_ticket, operation_of, solves_ticket

Unsolved = Mapping[tuple[str, str], datetime]
"""By channel and operation: when an operation last failed that has not succeeded since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedTicket:
    """A ticket that a planned delivery asks for."""

    channel: str
    operation: str
    delivery_id: str
    failed_at: datetime


def operations_solved_by(routed: Iterable[RoutedEvent]) -> Collection[str]:
    """Return the operations that have succeeded with these events."""
    return {operation for item in routed if solves_ticket(item.event) and (operation := operation_of(item.event))}


def with_tickets(
    routed: Sequence[RoutedEvent], channels: Collection[str], unsolved: Unsolved
) -> tuple[RoutedEvent, ...]:
    """Send each success to the channels that keep a ticket for its operation, whatever the routes say.

    Args:
        routed: the events of one batch, whose failures may be among the reasons for a ticket.
        channels: those that keep tickets.
        unsolved: what is recorded of the operations that have succeeded.
    """
    open_on = {**unsolved, **_failures_among(routed, channels, unsolved)}
    return tuple(_with_tickets(item, channels, open_on) if solves_ticket(item.event) else item for item in routed)


def _failures_among(
    routed: Iterable[RoutedEvent], channels: Collection[str], unsolved: Unsolved
) -> dict[tuple[str, str], datetime]:
    """Return when operations failed for the first time since their last success, with the failures of a batch."""
    found: dict[tuple[str, str], datetime] = {}
    for item in routed:
        operation = operation_of(item.event)
        if operation is None or not opens_ticket(item.event):
            continue
        for channel in item.channels:
            if channel in channels and (channel, operation) not in unsolved:
                known = found.get((channel, operation))
                found[channel, operation] = min(known or happened(item.event), happened(item.event))
    return found


def _with_tickets(item: RoutedEvent, channels: Iterable[str], open_on: Unsolved) -> RoutedEvent:
    operation = operation_of(item.event) or ""
    at = happened(item.event)
    solves = tuple(
        channel for channel in channels if (since := open_on.get((channel, operation))) is not None and since <= at
    )
    if not solves:
        return item
    return replace(item, channels=tuple(dict.fromkeys((*item.channels, *solves))), solves=solves)


def refusal(item: RoutedEvent, channel: str) -> str | None:
    """Return why an event is not sent to a channel that keeps tickets; None where it is."""
    if item.event.type is EventType.ALARM_RAISED and item.event.task and item.event.task.ended_at:
        return "the alarm was over before it was found"
    if opens_ticket(item.event) or channel in item.solves:
        return None
    if solves_ticket(item.event):
        return "the operation has no open ticket"
    return "only failures and successes of tasks change tickets"


def ticket_subject(event: Event) -> str:
    """Return the subject of deliveries about the operation of an event: they go out one after the other."""
    return str(Subject(operation=operation_of(event) or ""))


def wanted_tickets(planned: Iterable[Delivery]) -> Sequence[WantedTicket]:
    """Return the tickets that deliveries ask for: those of failures, on channels that keep tickets."""
    return [
        WantedTicket(
            channel=one.channel,
            operation=operation,
            delivery_id=one.id,
            failed_at=happened(one.events[0]),
        )
        for one in planned
        if (operation := Subject.parse(one.subject).operation) and opens_ticket(one.events[0])
    ]
