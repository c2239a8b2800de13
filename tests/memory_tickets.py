"""A tracker of tickets in memory, and the channel to it: what a service does, and every way in which a call can end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

from factories import T0, make_delivery, make_render_request
from fakes import FakeClock

from notifier.channels.ticket_settings import TicketSettings
from notifier.channels.tickets import Draft, KeyedTicketChannel, TicketChannel, TicketRefused
from notifier.core.delivery import Delivery, GaveUp, Outcome, Retry, Unknown
from notifier.core.model import Event
from notifier.core.tickets import RemoteTicket, Ticket, TicketState, operation_of


class Killed(BaseException):
    """The process dies at this point."""


@dataclass
class Record:
    """A ticket as the tracker has it."""

    draft: Draft
    ticket: RemoteTicket
    comments: list[tuple[str, str]] = field(default_factory=list)
    """Text and mark."""


@dataclass
class Tracker:
    """A service. `fault` names a call by its number, and how it ends: before it is applied, or after."""

    records: dict[str, Record] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    fault: tuple[int, str] | None = None
    hidden: int = 0
    """Number of searches that find nothing: the index lags."""
    left_out: str = ""
    """What it leaves out of what it is asked to open."""

    def call(self, name: str) -> str:
        """Count a call, and return how it ends."""
        self.calls.append(name)
        return self.fault[1] if self.fault and self.fault[0] == len(self.calls) else ""

    @property
    def changes(self) -> list[str]:
        """The calls that change something, in order."""
        return [name for name in self.calls if name not in ("find", "read", "has_comment")]

    def set_state(self, label: str, status: str, *, closed: bool, at: datetime | None = None) -> None:
        """Change a ticket as a person does."""
        record = self.records[label]
        record.ticket = replace(record.ticket, status=status, closed=closed, closed_at=at if closed else None)


class MemorySettings(TicketSettings):
    """Settings of a tracker in memory."""

    kind: Literal["memory"] = "memory"


class MemoryTickets(TicketChannel[MemorySettings]):
    """Keeps tickets in a tracker."""

    kind = "memory"
    index_lag: ClassVar[timedelta] = timedelta(seconds=60)
    tracker: Tracker

    async def create(self, draft: Draft, key: str) -> RemoteTicket:
        self._begin("create")
        label = f"T-{len(self.tracker.records) + 1}"
        ticket = RemoteTicket(ref=label, label=label, url=f"https://t/{label}", status="new", key=key)
        ticket = replace(ticket, left_out=self.tracker.left_out)
        self.tracker.records[label] = Record(draft, ticket)
        self._end()
        return ticket

    async def find(self, key: str, project: str | None) -> Sequence[RemoteTicket]:
        assert project is None
        self._begin("find")
        self._end()
        if self.tracker.hidden:
            self.tracker.hidden -= 1
            return []
        every = [record.ticket for record in self.tracker.records.values()]
        return [*(replace(one, key=f"{one.key}x") for one in every), *(one for one in every if key in one.key)]

    async def read(self, ref: str) -> RemoteTicket | None:
        self._begin("read")
        self._end()
        record = self.tracker.records.get(ref)
        return record.ticket if record else None

    async def comment(self, ref: str, text: str, mark: str) -> None:
        self._begin("comment")
        self.tracker.records[ref].comments.append((text, mark))
        self._end()

    async def has_comment(self, ref: str, mark: str) -> bool | None:
        self._begin("has_comment")
        self._end()
        return any(known == mark for _, known in self.tracker.records[ref].comments)

    async def close(self, ref: str, resolution: str) -> RemoteTicket:
        assert resolution
        return self._moved("close", ref, "done", closed=True)

    async def reopen(self, ref: str) -> RemoteTicket:
        return self._moved("reopen", ref, "again", closed=False)

    def _moved(self, name: str, ref: str, status: str, *, closed: bool) -> RemoteTicket:
        self._begin(name)
        record = self.tracker.records[ref]
        record.ticket = replace(record.ticket, status=status, closed=closed)
        self._end()
        return record.ticket

    def _begin(self, name: str) -> None:
        self._ending = self.tracker.call(name)
        if self._ending == "refused":
            raise TicketRefused(GaveUp("HTTP 400"), applied=False)
        if self._ending == "busy":
            raise TicketRefused(Retry("HTTP 429", timedelta(seconds=7)), applied=False)
        if self._ending == "killed before":
            raise Killed

    def _end(self) -> None:
        if self._ending == "killed after":
            raise Killed
        if self._ending == "lost":
            raise TicketRefused(Unknown("no answer"), applied=True)


class MemoryAlerts(KeyedTicketChannel[MemorySettings]):
    """Keeps alerts by key, of which nothing can be read."""

    kind = "memory"
    tracker: Tracker

    async def create(self, draft: Draft, key: str) -> RemoteTicket:
        self.tracker.calls.append(f"create {key}")
        ticket = RemoteTicket(ref=key, label=key, status="triggered", key=key)
        self.tracker.records.setdefault(key, Record(draft, ticket))
        return ticket

    async def comment(self, ref: str, text: str, mark: str) -> None:
        assert text
        assert mark
        assert ref in self.tracker.records
        self.tracker.calls.append("comment")

    async def close(self, ref: str, resolution: str) -> RemoteTicket:
        assert resolution
        self.tracker.calls.append("close")
        return replace(self.tracker.records[ref].ticket, status="resolved", closed=True)


@dataclass
class Shop:
    """A channel with the database's part of it: the recorded ticket, claims, and settlements."""

    channel: TicketChannel[Any]
    clock: FakeClock
    ticket: Ticket | None = None
    attempts: dict[str, int] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)

    def claim(self, event: Event) -> Delivery:
        """Return a delivery as it is claimed; the claim of a failure is recorded with its ticket."""
        name, operation = self.channel.name, operation_of(event)
        assert operation is not None
        body = self.channel.render(make_render_request(event, channel=name))
        delivery = make_delivery(event, channel=name, body=body)
        delivery.attempt = self.attempts[delivery.id] = self.attempts.get(delivery.id, 0) + 1
        delivery.outcome_unknown = delivery.id in self.unknown
        failing = event.type.traits.needs_care
        if self.ticket is None and failing:
            self.ticket = Ticket(channel=name, operation=operation, wanted_by=delivery.id)
        if self.ticket and failing:
            at = max(filter(None, (self.ticket.failed_at, event.occurred_at)))
            self.ticket = replace(self.ticket, failed_at=at)
        delivery.ticket = self.ticket
        if self.ticket and failing:
            self.ticket = replace(self.ticket, attempted_at=self.clock.now())
        return delivery

    async def attempt(self, event: Event) -> Outcome:
        """Claim, look where the outcome is unknown, send, and settle."""
        delivery = self.claim(event)
        self.unknown.add(delivery.id)  # until it is settled
        found = await self.channel.find_sent(delivery) if delivery.outcome_unknown else None
        if isinstance(found, Unknown) and self.channel.on_unknown == "resend":
            found = None
        outcome = found if found is not None else await self.channel.send(delivery)
        if not isinstance(outcome, Unknown):
            self.unknown.discard(delivery.id)
        if outcome.ticket is not None:
            self.ticket = outcome.ticket
        return outcome


def wait(clock: FakeClock, seconds: float) -> None:
    clock.time += timedelta(seconds=seconds)


def opened_at(state: TicketState, **changes: object) -> Ticket:
    """Return a recorded ticket."""
    values: dict[str, object] = {"channel": "dba", "operation": "o", "state": state, "failed_at": T0}
    if state is not TicketState.WANTED:
        values |= {"ref": "7", "label": "T-7", "status": "new"}
    return Ticket(**(values | changes))  # type: ignore[arg-type] # the values of fields by name
