"""Servers of tickets that a test reads as people do, and requests to them in parts."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from servers.http import Request
from servers.tickets import ServedTicket, ServerReply, TicketServer

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request in parts."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any = field(default=None)

    @classmethod
    def of(cls, request: Request) -> Asked:
        """Take a request apart."""
        parts = urlsplit(request.target)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        body = json.loads(request.body) if request.body else None
        return cls(request.method, unquote(parts.path), query, request.headers, body)


class TrackerServer(TicketServer):
    """A service whose tickets have titles and texts; a subclass has its protocol."""

    kind: ClassVar[str]
    unauthorized = False
    """Whether the credential is refused."""

    @abstractmethod
    def settings(self) -> Json:
        """Return the settings of a channel to it, without its name and kind."""

    @abstractmethod
    def title(self, ticket: ServedTicket) -> str:
        """Return the title of a ticket."""

    @abstractmethod
    def text(self, ticket: ServedTicket) -> str:
        """Return what a reader sees of the description of a ticket."""

    @abstractmethod
    def respond(self, asked: Asked) -> ServerReply:
        """Apply a request and return the reply."""

    def handle(self, request: Request) -> ServerReply:
        return self.respond(Asked.of(request))
