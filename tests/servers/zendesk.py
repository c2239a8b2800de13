"""A Zendesk account, in the form of version 2 of its ticketing API.

It has the traps of the service: for two hours an idempotency key answers with the same ticket and refuses another
body, a closed ticket takes no change and can only be followed up, `external_id` is not unique, wrong credentials make
an anonymous user, and a public comment is mailed.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from servers.http import Request
from servers.tickets import ServedTicket, ServerReply, TicketServer
from servers.tracker import Asked

USER = "bot@example.com"
TOKEN = "zd-obviously-fake-token"
BASIC = "Basic " + b64encode(f"{USER}/token:{TOKEN}".encode()).decode()
KEY_LIFETIME = timedelta(hours=2)
CLOSED_REFUSAL = "Status: closed prevents ticket update"


def refused(number: int, error: str, description: str, **details: Any) -> ServerReply:
    value = {"error": error, "description": description}
    return ServerReply(status=number, value=value | ({"details": details} if details else {}))


def invalid(field: str, description: str) -> ServerReply:
    return refused(422, "RecordInvalid", "Record validation errors", **{field: [{"description": description}]})


class ZendeskServer(TicketServer):
    """Knows one API token, and the same as an OAuth token with the scopes for tickets alone."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__(now)
        self.user: dict[str, Any] = {"id": 5, "role": "agent", "suspended": False, "ticket_restriction": None}
        self.required_to_solve: str | None = None
        self.mailed: list[str] = []
        """Public comments, which the requester gets as mails."""
        self._answered: dict[str, tuple[datetime, bytes, ServedTicket]] = {}

    def plant(self, key: str) -> ServedTicket:
        return self.open(subject="theirs", external_id=key, status="open")

    def open(self, **fields: Any) -> ServedTicket:
        ticket = super().open(**{"status": "new", "external_id": None, **fields})
        ticket.fields.pop("comment", None)
        return ticket

    def handle(self, request: Request) -> ServerReply:
        asked = Asked.of(request)
        path = asked.path.removeprefix("/api/v2")
        oauth = asked.headers.get("authorization") == f"Bearer {TOKEN}"
        known = oauth or asked.headers.get("authorization") == BASIC
        if path == "/users/me.json":
            return self._me(known=known, oauth=oauth)
        if not known:
            return ServerReply(status=401, value={"error": "Couldn't authenticate you"})
        if path == "/tickets.json":
            return self._create(asked, request.body) if asked.method == "POST" else self._listed(asked)
        return self._about(asked, *path.removeprefix("/tickets/").removesuffix(".json").partition("/")[::2])

    def _me(self, *, known: bool, oauth: bool) -> ServerReply:
        if oauth:
            return ServerReply(status=403, value={"error": {"title": "Forbidden", "message": "missing scope"}})
        return ServerReply(value={"user": self.user if known else {"id": None, "role": "end-user"}})

    def _about(self, asked: Asked, number: str, rest: str) -> ServerReply:
        ticket = self.ticket(number)
        if ticket is None:
            return refused(404, "RecordNotFound", "Not found")
        if rest == "comments":
            return self._comments(ticket, asked)
        return self._update(ticket, asked.body["ticket"]) if asked.method == "PUT" else self._one(ticket)

    def _create(self, asked: Asked, body: bytes) -> ServerReply:
        key, sent = asked.headers.get("idempotency-key", ""), asked.body["ticket"]
        at, before, ticket = self._answered.get(key, (None, b"", None))
        if ticket is not None and at is not None and self._now() - at < KEY_LIFETIME:
            if body != before:
                text = "The parameters of this request differ from those of the first one with this key"
                return refused(400, "IdempotentRequestError", text)
            return self._one(ticket, 201, {"X-Idempotency-Lookup": "hit"})
        if followed := sent.get("via_followup_source_id"):
            source = self.ticket(followed)
            if source is None or self.status(source) != "closed":
                return invalid("via_followup_source_id", "The source of a follow-up must be closed")
        if sent.get("assignee_email") == "nobody@example.com":
            return invalid("assignee", "Assignee: is not an agent")
        self._comment(sent["comment"], None)
        ticket = self.open(**{**sent, "text": sent["comment"]["body"]})
        self._answered[key] = (self._now(), body, ticket)
        return self._one(ticket, 201, {"X-Idempotency-Lookup": "miss", "Location": f"/tickets/{ticket.number}.json"})

    def _comment(self, comment: dict[str, Any], ticket: ServedTicket | None) -> None:
        if comment["public"]:
            self.mailed.append(comment["body"])
        if ticket is not None:
            ticket.comments.append(comment["body"])

    def _update(self, ticket: ServedTicket, changes: dict[str, Any]) -> ServerReply:
        if self.status(ticket) == "closed":
            return invalid("status", CLOSED_REFUSAL)
        if changes.get("status") == "solved" and self.required_to_solve and self.required_to_solve not in changes:
            return invalid("base", f"{self.required_to_solve}: is required when solving a ticket")
        if comment := changes.get("comment"):
            self._comment(comment, ticket)
        if status := changes.get("status"):
            ticket.closed = status == "solved"
            ticket.fields["status"] = status
        return self._one(ticket)

    def _listed(self, asked: Asked) -> ServerReply:
        wanted = asked.query.get("external_id")
        found = [self.shown(one) for one in self.found if wanted in (None, one.fields["external_id"])]
        return ServerReply(value={"tickets": found, "next_page": None, "count": len(found)})

    def _comments(self, ticket: ServedTicket, asked: Asked) -> ServerReply:
        assert asked.query["sort_order"] == "desc"
        comments = [{"id": n, "body": body, "public": False} for n, body in enumerate(ticket.comments)]
        return ServerReply(value={"comments": comments[::-1][: int(asked.query.get("per_page", 100))]})

    def _one(self, ticket: ServedTicket, status: int = 200, headers: dict[str, str] | None = None) -> ServerReply:
        return ServerReply(status=status, value={"ticket": self.shown(ticket)}, headers=headers or {})

    def status(self, ticket: ServedTicket) -> str:
        """Return the status of a ticket; one that a person closed by setting `closed` is solved."""
        status: str = ticket.fields["status"]
        return "solved" if ticket.closed and status not in ("solved", "closed") else status

    def shown(self, ticket: ServedTicket) -> dict[str, Any]:
        """Return a ticket as the API writes it."""
        return {
            "id": ticket.number,
            "external_id": ticket.fields["external_id"],
            "status": self.status(ticket),
            "subject": ticket.fields["subject"],
            **({"custom_status_id": one} if (one := ticket.fields.get("custom_status_id")) else {}),
        }
