"""The trial of a ticket channel: a ticket that is marked as a test, opened and closed again."""

from dataclasses import dataclass, replace

from notifier.core.delivery import Delivered, Delivery, Outcome
from notifier.core.model import Event
from notifier.core.tickets import Ticket, TicketState
from notifier.ports import Channel


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketTrial:
    """What became of a test ticket."""

    outcome: Outcome
    """Of its closing; of its opening where that failed."""
    ticket: Ticket | None = None
    """As it was left; None where none was opened."""

    @property
    def closed(self) -> bool:
        """Whether it was closed again."""
        return self.ticket is not None and self.ticket.state is TicketState.CLOSED


async def try_ticket(channel: Channel, failed: Delivery, solved: Delivery) -> TicketTrial:
    """Open a ticket with the delivery of a failure, and close it with that of a success.

    The ticket belongs to no operation: its key is new each time, and no real ticket is found or changed.
    """
    event: Event = failed.events[0]
    wanted = Ticket(
        channel=channel.name, operation=f"trial {failed.id}", wanted_by=failed.id, failed_at=event.occurred_at
    )
    opened = await channel.send(replace(failed, ticket=wanted))
    ticket = opened.ticket
    if not isinstance(opened, Delivered) or ticket is None or ticket.ref is None:
        return TicketTrial(outcome=opened, ticket=ticket if ticket and ticket.ref else None)
    closed = await channel.send(replace(solved, ticket=ticket))
    return TicketTrial(outcome=closed, ticket=closed.ticket or ticket)
