"""The base of servers that keep tickets as a service does: a kind's server speaks the protocol, this has the rest.

It loses answers on request, and hides new tickets from searches for a time, as services with an index do.
"""

from __future__ import annotations

import asyncio
import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from servers.http import Answer, HttpServer, Request, reply, reset

Fault = Literal["lost", "not applied", "busy", "broken"]
"""What becomes of a request: applied and not answered, neither, refused with 429, applied and answered with 502."""


@dataclass(kw_only=True)
class ServedTicket:
    """A ticket as the service keeps it."""

    number: int
    fields: dict[str, Any]
    """What it was opened with, in the service's own form."""
    created_at: datetime
    closed: bool = False
    touched: bool = False
    """Whether a person has moved it to another open state."""
    comments: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class ServerReply:
    """A complete reply of a service."""

    status: int = 200
    value: Any = None
    """JSON; None for a reply without a body."""
    headers: Mapping[str, str] = field(default_factory=dict)


class TicketServer(HttpServer):
    """A service of tickets. A kind's server has `handle` and `plant`."""

    def __init__(self, now: Callable[[], datetime], lag: timedelta = timedelta()) -> None:
        super().__init__(self._serve)
        self.tickets: list[ServedTicket] = []
        self.faults: dict[int, Fault] = {}
        """By the number of the request, from 1 on."""
        self.instead: dict[int, Answer] = {}
        """Answers to requests that are not applied, by their numbers."""
        self._now = now
        self._lag = lag

    @abstractmethod
    def handle(self, request: Request) -> ServerReply:
        """Do what a request asks for, and return the reply to it."""

    @abstractmethod
    def plant(self, key: str) -> ServedTicket:
        """Keep a ticket of somebody else that holds this text where a search looks for our key."""

    def open(self, **fields: Any) -> ServedTicket:
        """Keep a new ticket and return it."""
        ticket = ServedTicket(number=len(self.tickets) + 1, fields=fields, created_at=self._now())
        self.tickets.append(ticket)
        return ticket

    def ticket(self, number: str | int) -> ServedTicket | None:
        """Return the ticket with a number; None where there is none."""
        return next((one for one in self.tickets if str(one.number) == str(number)), None)

    @property
    def found(self) -> Sequence[ServedTicket]:
        """The tickets that searches find now."""
        return [one for one in self.tickets if one.created_at + self._lag <= self._now()]

    async def _serve(self, writer: asyncio.StreamWriter) -> None:
        if answer := self.instead.pop(len(self.requests), None):
            await answer(writer)
            return
        fault = self.faults.pop(len(self.requests), None)
        if fault == "not applied":
            await reset()(writer)
            return
        if fault == "busy":
            await reply(429, b"slow down")(writer)
            return
        served = self.handle(self.requests[-1])
        if fault == "lost":
            await reset()(writer)
        elif fault == "broken":
            await reply(502, b"bad gateway")(writer)
        else:
            body = b"" if served.value is None else json.dumps(served.value).encode()
            headers = {"Content-Type": "application/json", **served.headers} if body else served.headers
            await reply(served.status, body, headers)(writer)
