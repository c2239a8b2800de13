"""The tickets of operations, on the channels that keep them. Rows are locked after deliveries and before threads."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Executable, delete, exists

from notifier.core.delivery import Delivery
from notifier.core.outbox import Settlement
from notifier.core.ticket_plan import Unsolved, WantedTicket
from notifier.core.tickets import Ticket, TicketLink, TicketState, happened, opens_ticket, operation_of
from notifier.store import rows, statements
from notifier.store.schema import tickets
from notifier.store.session import Session, chunks


class Tickets:
    """Reads and writes of tickets."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def unsolved(self, operations: Collection[str]) -> Unsolved:
        """Return which of the operations have a ticket for a failure that no success has followed."""
        return {
            (one.channel, one.operation): one.failed_at
            for one in self._latest(operations)
            if one.failed_at is not None and not one.solved
        }

    def links(self, operations: Collection[str], *, held: bool = False) -> Mapping[str, Sequence[TicketLink]]:
        """Return what messages show of the latest tickets of operations, by operation.

        Nobody changes those that are `held` until the transaction ends.
        """
        found: dict[str, list[TicketLink]] = {}
        statement = statements.HOLD_TICKETS if held else statements.TICKETS
        for one in sorted(self._latest(operations, statement), key=lambda one: one.channel):
            if link := one.link:
                found.setdefault(one.operation, []).append(link)
        return found

    def _latest(self, operations: Collection[str], statement: Executable = statements.TICKETS) -> Iterable[Ticket]:
        """Return the latest generations of the tickets of operations, of all channels."""
        found = (
            rows.ticket_of(row)
            for some in chunks(operations)
            for row in self._session.execute(statement, {"operations": sorted(some)})
        )
        return {(one.channel, one.operation): one for one in found}.values()

    def want(self, wanted: Sequence[WantedTicket], now: datetime) -> None:
        """Record that operations have failed, and a ticket to open for those that have none."""
        by_channel: dict[str, list[WantedTicket]] = {}
        for one in wanted:
            by_channel.setdefault(one.channel, []).append(one)
        for channel, some in sorted(by_channel.items()):
            self._want(channel, some, now)

    def _want(self, channel: str, wanted: Iterable[WantedTicket], now: datetime) -> Mapping[str, Ticket]:
        """Record failures on one channel; return the latest tickets of their operations, by operation."""
        ordered = sorted(wanted, key=lambda one: (one.operation, one.failed_at))
        known = dict(self._lock(channel, {one.operation for one in ordered}))
        for one in ordered:
            ticket = known.get(one.operation)
            if ticket is None:
                ticket = Ticket(
                    channel=channel, operation=one.operation, wanted_by=one.delivery_id, failed_at=one.failed_at
                )
                self._session.execute(statements.WANT_TICKET, rows.ticket_values(ticket) | {"changed_at": now})
            elif ticket.failed_at is None or ticket.failed_at < one.failed_at:
                ticket = replace(ticket, failed_at=one.failed_at)
                self._session.execute(statements.TICKET_FAILED, _place_of(ticket) | {"new_failed_at": one.failed_at})
            known[one.operation] = ticket
        return known

    def _lock(self, channel: str, operations: Collection[str]) -> Mapping[str, Ticket]:
        """Return the latest tickets of operations on one channel; nobody else changes them until the end."""
        return {
            row.operation: rows.ticket_of(row)
            for some in chunks(sorted(operations))
            for row in self._session.execute(statements.LOCK_TICKETS, {"channel": channel, "operations": some})
        }

    def claim(self, claimed: Sequence[Delivery], now: datetime) -> Sequence[Delivery]:
        """Return claimed deliveries with their tickets, and record that those of failures may be opened from now on.

        The ticket of a delivery is as it was before that.
        """
        operations = {one.id: operation_of(one.events[0]) for one in claimed if not one.digest}
        failing = [
            WantedTicket(
                channel=one.channel, operation=operation, delivery_id=one.id, failed_at=happened(one.events[0])
            )
            for one in claimed
            if (operation := operations.get(one.id)) and opens_ticket(one.events[0])
        ]
        channel = claimed[0].channel
        # A delivery that was moved here has asked for none yet.
        wanted = self._want(channel, failing, now) if failing else {}
        others = {operation for operation in operations.values() if operation} - wanted.keys()
        known = {**wanted, **(self._lock(channel, others) if others else {})}
        for one in failing:
            self._session.execute(statements.TICKET_ATTEMPTED, _place_of(known[one.operation]) | {"now": now})
        return [replace(one, ticket=known.get(operations.get(one.id) or "")) for one in claimed]

    def current(self, settlements: Sequence[Settlement]) -> Sequence[Settlement]:
        """Return the settlements that change a ticket and are those of the latest attempts, before they are applied."""
        ticketed = {one.delivery_id: one for one in settlements if one.ticket is not None}
        if not ticketed:
            return ()
        held = {row.id: row.attempt for row in self._session.execute(statements.HELD_ATTEMPTS, {"ids": ticketed})}
        return [one for id_, one in ticketed.items() if held.get(id_) == one.attempt.number]

    def record(self, settlements: Sequence[Settlement], now: datetime) -> Collection[str]:
        """Record what attempts did with tickets.

        Return the ids of the deliveries whose tickets other messages show from now on.
        """
        changed = ((one.delivery_id, one.ticket) for one in settlements if one.ticket is not None)
        return [id_ for id_, ticket in sorted(changed, key=_by_operation) if self._record(ticket, now)]

    def _record(self, ticket: Ticket, now: datetime) -> bool:
        """Record a ticket; return whether it is shown from now on, or with another label."""
        known = self._lock(ticket.channel, {ticket.operation}).get(ticket.operation)
        if known is None and ticket.state is TicketState.WANTED and ticket.attempted_at is None:
            return False  # a success that found no ticket
        if known is not None and known.failed_at is not None:
            ticket = replace(ticket, failed_at=max(known.failed_at, ticket.failed_at or known.failed_at))
        self._session.execute(statements.RECORD_TICKET, rows.ticket_values(ticket) | {"changed_at": now})
        return ticket.label is not None and (known is None or known.label != ticket.label)

    def prune(self, before: datetime) -> int:
        """Delete tickets that were followed by another one, and have not changed since before a time; return how many.

        The latest ticket of an operation stays: its number is in the key by which the next one is looked for.
        """
        later = tickets.alias("later")
        followed = exists().where(
            later.c.channel == tickets.c.channel,
            later.c.operation == tickets.c.operation,
            later.c.generation > tickets.c.generation,
        )
        return self._session.execute(delete(tickets).where(tickets.c.changed_at < before, followed)).rowcount


def _place_of(ticket: Ticket) -> dict[str, object]:
    return {"of_channel": ticket.channel, "of_operation": ticket.operation, "of_generation": ticket.generation}


def _by_operation(one: tuple[str, Ticket]) -> str:
    return one[1].operation
