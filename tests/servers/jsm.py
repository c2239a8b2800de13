"""The integration API of Jira Service Management Operations: alerts by alias, and requests that are done later."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from servers.http import Request
from servers.tickets import ServedTicket, ServerReply, TicketServer

API_KEY = "obviously-fake-integration-key"
API = "/jsm/ops/integration/v2/alerts"
MESSAGE_LIMIT, DESCRIPTION_LIMIT, NOTE_LIMIT = 130, 15_000, 25_000


@dataclass(kw_only=True)
class Accepted:
    """A request that was accepted, and what becomes of it."""

    success: bool
    status: str
    hidden: int
    """Number of look-ups that do not find it yet."""


class JsmServer(TicketServer):
    """Knows one integration key. `slow` is the number of look-ups before a request is done."""

    def __init__(self, now: Callable[[], datetime], slow: int = 1) -> None:
        super().__init__(now)
        self.slow = slow
        self.accepted: list[Accepted] = []
        self.refuses: str | None = None
        """Why the creation of alerts is refused, after it was accepted."""

    def plant(self, key: str) -> ServedTicket:
        return self.open(alias=key)

    def alert(self, alias: str) -> ServedTicket | None:
        """Return the open alert of an alias."""
        return next((one for one in self.tickets if one.fields["alias"] == alias and not one.closed), None)

    def handle(self, request: Request) -> ServerReply:
        parts = urlsplit(request.target)
        if request.headers.get("authorization") != f"GenieKey {API_KEY}":
            return ServerReply(status=401, value={"message": "Could not authenticate", "took": 0.1})
        if not parts.path.startswith(API):
            return ServerReply(status=404, value={"message": "no such path"})
        place = parts.path.removeprefix(API).strip("/").split("/")
        if request.method == "GET" and place[0] == "requests":
            return self._look_up(place[1])
        sent = json.loads(request.body)
        by_alias = parse_qs(parts.query).get("identifierType") == ["alias"]
        return self._changed(place, sent, by_alias=by_alias) if len(place) > 1 else self._created(sent)

    def _changed(self, place: list[str], sent: dict[str, Any], *, by_alias: bool) -> ServerReply:
        found = self.alert(unquote(place[0])) if by_alias else None
        if len(sent.get("note", "")) > NOTE_LIMIT:
            return ServerReply(status=422, value={"message": "note is too long"})
        if found is None:
            return self._accept(Accepted(success=False, status="Alert does not exist", hidden=self.slow))
        if place[1] == "notes":
            found.comments.append(sent["note"])
            return self._accept(Accepted(success=True, status="Added note", hidden=self.slow))
        found.closed = True
        found.fields["closing"] = sent["note"]
        return self._accept(Accepted(success=True, status="Closed alert", hidden=self.slow))

    def _created(self, sent: dict[str, Any]) -> ServerReply:
        if not 0 < len(sent.get("message", "")) <= MESSAGE_LIMIT or len(sent["description"]) > DESCRIPTION_LIMIT:
            return ServerReply(status=422, value={"message": "Request body is not processable", "errors": {}})
        if self.refuses:
            return self._accept(Accepted(success=False, status=self.refuses, hidden=self.slow))
        if found := self.alert(sent["alias"]):
            found.fields["count"] = found.fields.get("count", 1) + 1
        else:
            self.open(**sent)
        return self._accept(Accepted(success=True, status="Created alert", hidden=self.slow))

    def _accept(self, accepted: Accepted) -> ServerReply:
        self.accepted.append(accepted)
        number = f"{len(self.accepted):08d}-request"
        return ServerReply(status=202, value={"result": "Request will be processed", "took": 0.1, "requestId": number})

    def _look_up(self, number: str) -> ServerReply:
        known = number.partition("-")[0].isdecimal() and 0 < int(number.partition("-")[0]) <= len(self.accepted)
        found = self.accepted[int(number.partition("-")[0]) - 1] if known else None
        if found is None or found.hidden > 0:
            if found is not None:
                found.hidden -= 1
            return ServerReply(status=404, value={"message": "Request not found", "took": 0.0})
        data = {"isSuccess": found.success, "success": found.success, "status": found.status, "alias": "gtb"}
        return ServerReply(value={"data": data, "took": 0.1, "requestId": number})
