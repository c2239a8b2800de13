"""Tickets: one for each failing operation, opened once, closed by the success that follows. Pure.

An operation is what fails and is repeated: a task name on an instance of a source. The ticket of an operation has
generations: a new one begins where the old one must stay closed. Its key is computed from these, so that every process
looks for the same ticket.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b32encode
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import reduce
from typing import Literal
from urllib.parse import urlsplit

from notifier.core.events import EventType
from notifier.core.model import Event, Task, id_of

_KEY_LENGTH = 20
_MARK_LENGTH = 12
_KEY = re.compile("gtb-[a-z2-7]{20}")


def operation_of(event: Event) -> str | None:
    """Return the id of the operation that an event is about; None for an event about a source or a channel."""
    if missing := event.expectation:
        return _operation(event.source, missing.instance_id or missing.instance_name or "", missing.name)
    if planned := event.maintenance:
        return _operation(event.source, planned.instance_id or planned.instance_name or "", f"maintenance:{planned.id}")
    return None if event.task is None else operation_of_task(event.task)


def operation_of_task(task: Task) -> str:
    """Return the id of the operation that a task is of; of an alarm about a node, the node is a part of it."""
    node = task.alarm.node_id if task.alarm else None
    return _operation(task.source, task.instance_id or task.instance_name or "", task.name, node or "")


def _operation(source: str, instance: str, name: str, node: str = "") -> str:
    parts = "\x1f".join(("operation", source, instance, name, *((node,) if node else ())))
    return id_of(parts.encode(errors="replace").decode())  # no database holds a lone surrogate


def ticket_key(channel: str, operation: str, generation: int) -> str:
    """Return the key by which a service is asked for a ticket: `gtb-` and 20 characters of [a-z2-7]."""
    return f"gtb-{_digest(channel, operation, str(generation))[:_KEY_LENGTH]}"


def is_ticket_key(text: object) -> bool:
    """Return whether a text is one that `ticket_key` may return."""
    return isinstance(text, str) and _KEY.fullmatch(text) is not None


def comment_mark(delivery_id: str) -> str:
    """Return the mark by which the comment of a delivery is recognised: `gtc-` and 12 characters of [a-z2-7]."""
    return f"gtc-{_digest('comment', delivery_id)[:_MARK_LENGTH]}"


def _digest(*parts: str) -> str:
    return b32encode(hashlib.sha256("\x1f".join(parts).encode()).digest()).decode().lower()


def web_address(url: str | None) -> str | None:
    """Return an address that a service gave if it may become a link: one of http or https. None for any other."""
    return url if url and url.startswith(("https://", "http://")) else None


class TicketState(StrEnum):
    """What we know of a ticket. The values are stored."""

    WANTED = "wanted"
    """A failure asked for it; it has not been opened, or we do not know that it was."""
    OPEN = "open"
    CLOSED = "closed"


class ClosedBy(StrEnum):
    """Who closed a ticket. The values are stored."""

    US = "us"
    PERSON = "person"
    """Somebody or something else than this program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """The ticket of an operation on a channel, as recorded."""

    channel: str
    operation: str
    generation: int = 1
    state: TicketState = TicketState.WANTED
    ref: str | None = None
    """What the service calls it in its interface: `10042`, a sys_id. None until we know that it was opened."""
    label: str | None = None
    """What people call it: `OPS-12`. Set with `ref`."""
    url: str | None = None
    """Where people read it; None where the service does not say."""
    status: str | None = None
    """The service's word for its state as we left it: when we opened, reopened or closed it. Empty where it was not
    learned then; the first one that is read counts."""
    closed_at: datetime | None = None
    """When it was closed, or when we found it closed."""
    closed_by: ClosedBy | None = None
    previous: str | None = None
    """Label of the ticket before it; None for the first one."""
    wanted_by: str | None = None
    """Id of the delivery that asked for this generation."""
    failed_at: datetime | None = None
    """When the operation last failed."""
    solved_at: datetime | None = None
    """When it succeeded, of the last success that the ticket knows."""
    attempted_at: datetime | None = None
    """Time of the latest claim under which it may have been opened without our knowing. None where that cannot be."""

    @property
    def key(self) -> str:
        """The key by which the service is asked for it."""
        return ticket_key(self.channel, self.operation, self.generation)

    @property
    def solved(self) -> bool:
        """Whether the operation has succeeded since it last failed."""
        return self.solved_at is not None and (self.failed_at is None or self.solved_at >= self.failed_at)

    @property
    def link(self) -> TicketLink | None:
        """What messages show of it; None before it is opened."""
        if self.label is None:
            return None
        return TicketLink(channel=self.channel, label=self.label, url=self.url, open=self.state is TicketState.OPEN)

    def next_generation(self, wanted_by: str) -> Ticket:
        """Return the ticket that follows this one, which stays as it is."""
        return Ticket(
            channel=self.channel,
            operation=self.operation,
            generation=self.generation + 1,
            previous=self.label,
            wanted_by=wanted_by,
            failed_at=self.failed_at,
            solved_at=self.solved_at,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketLink:
    """What messages on other channels show of a ticket."""

    channel: str
    """The channel that keeps it."""
    label: str
    url: str | None = None
    open: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketFields:
    """What a route wants of the tickets that it opens. None, or nothing, leaves what the channel has configured."""

    priority: str | None = None
    assignee: str | None = None
    project: str | None = None
    labels: tuple[str, ...] = ()
    """Added to those of the channel."""
    fields: tuple[tuple[str, str], ...] = ()
    """Names and values, sorted by name. Each replaces the channel's value of that name."""

    def joined(self, other: TicketFields) -> TicketFields:
        """Return what both want; where they differ, what this one wants."""
        return TicketFields(
            priority=self.priority or other.priority,
            assignee=self.assignee or other.assignee,
            project=self.project or other.project,
            labels=tuple(dict.fromkeys((*self.labels, *other.labels))),
            fields=tuple(sorted((dict(other.fields) | dict(self.fields)).items())),
        )


def joined_fields(wanted: Iterable[TicketFields | None]) -> TicketFields | None:
    """Return what all of them want; where they differ, what the first one wants."""
    given = [one for one in wanted if one is not None]
    return reduce(TicketFields.joined, given) if given else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteTicket:
    """A ticket as its service has it now."""

    ref: str
    """See `Ticket.ref`."""
    label: str
    """See `Ticket.label`."""
    url: str | None = None
    status: str = ""
    """The service's own word or id of its state. Compared, and shown in reasons. Empty where it is not known."""
    closed: bool = False
    """Whether its state counts as done: resolved, closed, cancelled."""
    final: bool = False
    """Whether it can never be opened again nor get a comment, whatever our rights."""
    closed_at: datetime | None = None
    """When it was closed, where the service says that."""
    key: str = ""
    """The key that the record holds, read back from where `create` wrote it. Compared with ours before anything is
    written to a ticket that was found."""
    left_out: str = ""
    """What the service left out without an error when the ticket was opened, as a reason; nothing where it took all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketRules:
    """When tickets are closed, and what follows a failure after they were."""

    close: Literal["always", "untouched", "never"] = "untouched"
    """Whether a success closes the ticket: always, unless a person has moved it to another state, or never."""
    closed_by_hand: Literal["new", "reopen", "comment"] = "new"
    """What a failure does where a person has closed the ticket."""
    reopen_within: timedelta = timedelta(days=7)
    """Age of a closure up to which a failure opens the same ticket again."""


class Step(StrEnum):
    """One thing to do with a ticket."""

    OPEN = "open"
    """Open the ticket; one of the next generation where the present one was opened before."""
    REOPEN = "reopen"
    COMMENT = "comment"
    CLOSE = "close"


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketDecision:
    """What to do with a ticket, in order, and why."""

    steps: tuple[Step, ...]
    """Nothing, or steps that are each safe to repeat after the state was read again."""
    reason: str
    outdated: bool = False
    """True for a success before the last failure, and for a failure before the last success."""


def opens_ticket(event: Event) -> bool:
    """Return whether an event is trouble with an operation: it asks for a ticket. An escalation does; no reminder."""
    trouble = event.type.traits.needs_care or event.type is EventType.TASK_ESCALATED
    return trouble and event.matter is not None


def solves_ticket(event: Event) -> bool:
    """Return whether an event is the success of an operation, or settles a maintenance."""
    if event.maintenance:
        return event.type.traits.settles
    return event.task is not None and event.type.traits.ends_task and not event.type.traits.needs_care


def happened(event: Event) -> datetime:
    """Return when an event happened, as far as that is known.

    For trouble with a task that has not ended that is when it began: an end that the cloud dates back solves it.
    """
    if event.task is not None and opens_ticket(event) and not event.type.traits.ends_task:
        return event.since or event.task.created_at or event.observed_at
    return event.occurred_at or event.observed_at


def succeeded_since(ticket: Ticket, event: Event) -> bool:
    """Return whether the operation has succeeded after the failure of an event: it may be sent late, or again by hand.

    Trouble with a task that has not ended is still there, whatever another task of the operation did. A run that was
    missing is no longer missing, a maintenance that is settled needs nobody, and an alarm that was cleared later is
    over.
    """
    planned = event.expectation or event.maintenance
    ended = planned is not None or (event.task is not None and event.type.traits.ends_task)
    ended = ended or event.type is EventType.ALARM_RAISED
    return ended and ticket.solved_at is not None and happened(event) <= ticket.solved_at


def next_steps(
    ticket: Ticket, remote: RemoteTicket | None, event: Event, now: datetime, rules: TicketRules
) -> TicketDecision:
    """Decide what an event does with the ticket of its operation.

    Args:
        ticket: the latest generation, as recorded.
        remote: the ticket of that generation as the service has it; None where there is none, or none any more.
        event: a failure or a success of the operation.
        now: the present time.
        rules: of the channel.
    """
    if opens_ticket(event):
        if succeeded_since(ticket, event):
            return TicketDecision(steps=(), reason="the operation has succeeded since", outdated=True)
        return _after_failure(ticket, remote, now, rules)
    if solves_ticket(event):
        return _after_success(ticket, remote, event, rules)
    return TicketDecision(steps=(), reason="only failures and successes of tasks change tickets")


def _after_failure(ticket: Ticket, remote: RemoteTicket | None, now: datetime, rules: TicketRules) -> TicketDecision:
    if remote is None:
        gone = f"{ticket.label} is gone" if ticket.ref else "there is no ticket yet"
        return TicketDecision(steps=(Step.OPEN,), reason=gone)
    if not remote.closed:
        return TicketDecision(steps=(Step.COMMENT,), reason=f"{remote.label} is open")
    if closed_by(ticket) is ClosedBy.PERSON and rules.closed_by_hand != "reopen":
        steps = (Step.COMMENT,) if rules.closed_by_hand == "comment" and not remote.final else (Step.OPEN,)
        return TicketDecision(steps=steps, reason=f"{remote.label} was closed by hand")
    if remote.final:
        return TicketDecision(steps=(Step.OPEN,), reason=f"{remote.label} cannot be opened again")
    if now - closing_time(ticket, remote, now) > rules.reopen_within:
        return TicketDecision(steps=(Step.OPEN,), reason=f"{remote.label} was closed too long ago")
    return TicketDecision(steps=(Step.REOPEN, Step.COMMENT), reason=f"{remote.label} was closed not long ago")


def _after_success(ticket: Ticket, remote: RemoteTicket | None, event: Event, rules: TicketRules) -> TicketDecision:
    if ticket.failed_at is not None and happened(event) < ticket.failed_at:
        return TicketDecision(steps=(), reason="the operation has failed since", outdated=True)
    if remote is None:
        return TicketDecision(steps=(), reason=f"{ticket.label} is gone" if ticket.ref else "no ticket was opened")
    if remote.closed or ticket.solved:
        known = f"{remote.label} is closed" if remote.closed else f"an earlier success is in {remote.label}"
        return TicketDecision(steps=(), reason=f"{known} already")
    if rules.close == "never":
        return TicketDecision(steps=(Step.COMMENT,), reason="the channel never closes tickets")
    if rules.close == "untouched" and ticket.status and remote.status != ticket.status:
        return TicketDecision(steps=(Step.COMMENT,), reason=f"somebody has moved {remote.label} to {remote.status}")
    return TicketDecision(steps=(Step.COMMENT, Step.CLOSE), reason=f"{remote.label} is solved")


def closed_by(ticket: Ticket) -> ClosedBy:
    """Return who closed a ticket that its service has as closed: a person, unless we know that we did."""
    ours = ticket.state is TicketState.CLOSED and ticket.closed_by is ClosedBy.US
    return ClosedBy.US if ours else ClosedBy.PERSON


def closing_time(ticket: Ticket, remote: RemoteTicket, now: datetime) -> datetime:
    """Return when a closed ticket was closed, as far as that is known: else `now`."""
    known = ticket.closed_at if ticket.state is TicketState.CLOSED else None
    return remote.closed_at or known or now


def is_strangers(ticket: Ticket, remote: RemoteTicket) -> bool:
    """Return whether a ticket that was read by its `ref` is another one.

    Where a channel is pointed at another server, numbers begin anew: what has the number there is not ours unless it
    has our key. On the same server somebody may have removed the key, or written something else in its place.
    """
    if remote.key == ticket.key:
        return False
    servers = {urlsplit(url).netloc for url in (ticket.url, remote.url) if url}
    return is_ticket_key(remote.key) or len(servers) > 1


def after_opening(ticket: Ticket, remote: RemoteTicket) -> Ticket:
    """Return what is recorded of a ticket that was opened, or opened again."""
    return replace(
        ticket,
        state=TicketState.OPEN,
        ref=remote.ref,
        label=remote.label,
        url=remote.url,
        status=remote.status,
        closed_at=None,
        closed_by=None,
        attempted_at=None,
    )


def unsolved(ticket: Ticket) -> Ticket:
    """Return what is recorded of a ticket that has got a failure: a success from now on solves it."""
    return replace(ticket, solved_at=None) if ticket.solved else ticket


def after_closing(ticket: Ticket, remote: RemoteTicket, now: datetime) -> Ticket:
    """Return what is recorded of a ticket that we closed."""
    return replace(
        ticket, state=TicketState.CLOSED, status=remote.status, closed_at=now, closed_by=ClosedBy.US, url=remote.url
    )


def as_found(ticket: Ticket, remote: RemoteTicket, now: datetime) -> Ticket:
    """Return what is recorded of a ticket that was read: somebody may have closed it, opened it again, or moved it."""
    if remote.closed:
        by, at = closed_by(ticket), closing_time(ticket, remote, now)
        return replace(
            ticket,
            state=TicketState.CLOSED,
            label=remote.label,
            url=remote.url or ticket.url,
            closed_by=by,
            closed_at=at,
        )
    return replace(
        ticket,
        state=TicketState.OPEN,
        label=remote.label,
        status=ticket.status or remote.status,
        closed_at=None,
        closed_by=None,
        url=remote.url or ticket.url,
    )


def imagined_visit(
    ticket: Ticket, event: Event, delivery_id: str, now: datetime, rules: TicketRules
) -> tuple[Ticket, TicketDecision]:
    """Return what a ticket would be after an event, where its service does all that it is asked for and no more."""
    remote = _imagined(ticket) if ticket.ref is not None else None
    decision = next_steps(ticket, remote, event, now, rules)
    if decision.outdated:
        return ticket, decision
    for step in decision.steps:
        match step:
            case Step.OPEN:
                ticket = ticket.next_generation(delivery_id) if ticket.ref is not None else ticket
                ticket = after_opening(ticket, _imagined(ticket))
            case Step.REOPEN:
                ticket = after_opening(ticket, _imagined(ticket))
            case Step.CLOSE:
                ticket = after_closing(ticket, _imagined(ticket), now)
    return (replace(ticket, solved_at=happened(event)) if solves_ticket(event) else unsolved(ticket)), decision


def _imagined(ticket: Ticket) -> RemoteTicket:
    closed = ticket.state is TicketState.CLOSED
    return RemoteTicket(ref=ticket.ref or ticket.key, label=ticket.label or ticket.key, closed=closed, key=ticket.key)
