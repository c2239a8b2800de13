"""The Table API of ServiceNow on loopback: dropped filters, fields that are not kept, and policies of closing."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from servers.http import Request
from servers.tickets import ServedTicket, ServerReply
from servers.tracker import Asked, Json, TrackerServer

USER, PASSWORD = "gaussdb.bot", "obviously-fake-password"
CLIENT_ID, CLIENT_SECRET, TOKEN = "gaussdb-client", "obviously-fake-secret", "obviously-fake-token"
NAMES = {"1": "New", "2": "In Progress", "3": "On Hold", "6": "Resolved", "7": "Closed", "8": "Canceled"}
CLOSED = ("6", "7", "8")
LENGTHS = {"short_description": 160, "description": 4_000, "correlation_id": 100}
"""Longer values are cut without an error."""
COLUMNS = {
    *LENGTHS,
    *("state", "impact", "urgency", "assignment_group", "assigned_to", "correlation_display", "category"),
    *("close_code", "close_notes", "resolved_at", "closed_at"),
}
"""Other fields are ignored."""


@dataclass(kw_only=True)
class Incident(ServedTicket):
    """An incident as ServiceNow has it."""

    value: str = "1"
    notes: list[str] = field(default_factory=list)
    """The journals, each entry with what is before it."""

    @property
    def sys_id(self) -> str:
        return f"{self.number:032x}"

    @property
    def state(self) -> str:
        """The state: what the API set, unless a person has moved it since."""
        if self.closed != (self.value in CLOSED):
            return "6" if self.closed else "1"
        return "2" if self.touched and not self.closed else self.value

    def move(self, state: str) -> None:
        self.value, self.closed = state, state in CLOSED


class ServiceNowServer(TrackerServer):
    """An instance."""

    kind = "servicenow"

    def __init__(self, now: Callable[[], datetime], lag: timedelta = timedelta(), *, oauth: bool = False) -> None:
        super().__init__(now, lag)
        self.oauth = oauth
        """Whether the instance wants tokens that it has issued."""
        self.token = f"{TOKEN}-1"
        self.hidden: set[str] = set()
        """Fields that the user may not read. A filter on one of them is dropped."""
        self.readonly: set[str] = set()
        """Fields that the user may not write: what is sent there is dropped."""
        self.strict_queries = False
        """Whether a filter that is dropped matches nothing: the property glide.invalid_query.returns_no_rows."""
        self.journal: str | None = None
        """The journal field that the last comment went to."""

    # -- for tests --

    def settings(self) -> Json:
        common = {"url": self.url(""), "close_code": "Solution provided"}
        if self.oauth:
            return common | {"auth": {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}}
        return common | {"user": USER, "password": PASSWORD}

    def title(self, ticket: ServedTicket) -> str:
        found: str = ticket.fields["short_description"]
        return found

    def text(self, ticket: ServedTicket) -> str:
        found: str = ticket.fields["description"]
        return found

    def plant(self, key: str) -> ServedTicket:
        return self.opened({"short_description": "of somebody else", "correlation_id": key})

    def opened(self, fields: Json) -> Incident:
        """Keep a new incident and return it."""
        number = 1 + max((one.number for one in self.tickets), default=0)
        incident = Incident(number=number, fields=fields, created_at=self._now())
        self.tickets.append(incident)
        return incident

    def incident(self, number: int = 0) -> Incident:
        """Return one of the incidents, in the order of their creation."""
        found = self.tickets[number]
        assert isinstance(found, Incident)
        return found

    # -- the protocol --

    def handle(self, request: Request) -> ServerReply:
        return self._issue_token(request) if request.target == "/oauth_token.do" else super().handle(request)

    def _issue_token(self, request: Request) -> ServerReply:
        sent = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        client = (sent["grant_type"], sent["client_id"], sent["client_secret"])
        if self.unauthorized or client != ("client_credentials", CLIENT_ID, CLIENT_SECRET):
            return ServerReply(status=401, value={"error": "invalid_client", "error_description": "access_denied"})
        return ServerReply(value={"access_token": self.token, "token_type": "Bearer", "expires_in": 1799})

    def respond(self, asked: Asked) -> ServerReply:
        expected = f"Basic {b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
        expected = f"Bearer {self.token}" if self.oauth else expected
        if self.unauthorized or asked.headers.get("authorization") != expected:
            return refused(401, "User Not Authenticated", "Required to provide Auth information")
        ref = asked.path.removeprefix("/api/now/table/incident").strip("/")
        if not ref:
            return self._create(asked) if asked.method == "POST" else self._search(asked)
        incident = next((one for one in self.tickets if isinstance(one, Incident) and one.sys_id == ref), None)
        if incident is None:
            return refused(404, "No Record found", "Record doesn't exist or ACL restricts the record retrieval")
        if asked.method == "PATCH" and (problem := self._change(incident, asked.body)):
            return problem
        return ServerReply(value={"result": self._shown(incident, asked)})

    def _create(self, asked: Asked) -> ServerReply:
        incident = self.opened(self._kept(asked.body))
        return ServerReply(status=201, value={"result": self._shown(incident, asked)})

    def _kept(self, sent: Json) -> Json:
        """Return what the instance keeps of what is sent."""
        written = {name: str(value) for name, value in sent.items() if name in COLUMNS - self.readonly}
        return {name: value[: LENGTHS.get(name, 8_000)] for name, value in written.items()}

    def _search(self, asked: Asked) -> ServerReply:
        filters = [part.split("=", 1) for part in asked.query.get("sysparm_query", "").split("^") if "=" in part]
        usable = [(name, value) for name, value in filters if name in COLUMNS - self.hidden]
        matching = [one for one in self.found if all(one.fields.get(name) == value for name, value in usable)]
        matching = [] if self.strict_queries and len(usable) < len(filters) else matching
        if "ORDERBYsys_created_on" not in asked.query.get("sysparm_query", "").split("^"):
            matching.reverse()
        page = matching[: int(asked.query["sysparm_limit"])]
        return ServerReply(value={"result": [self._shown(one, asked) for one in page]})

    def _change(self, incident: Incident, sent: Json) -> ServerReply | None:
        if incident.state == "7":
            return refused(403, "Operation Failed", "Closed incidents are read-only")
        for journal in {"work_notes", "comments"} & sent.keys():
            incident.comments.append(sent[journal])
            self.journal = journal
        kept = self._kept(sent)
        if kept.get("state") == "6" and not (kept.get("close_code") and kept.get("close_notes")):
            what = "Data Policy Exception:\nThe following fields are mandatory: Resolution code, Resolution notes"
            return refused(403, "Operation Failed", what)
        if "state" in kept:
            incident.move(kept["state"])
        incident.fields |= kept
        return None

    def _shown(self, ticket: ServedTicket, asked: Asked) -> Json:
        assert isinstance(ticket, Incident)
        every: dict[str, Any] = {
            **{name: (value, value) for name, value in ticket.fields.items()},
            "sys_id": (ticket.sys_id, ticket.sys_id),
            "number": (f"INC{ticket.number:07}", f"INC{ticket.number:07}"),
            "state": (ticket.state, NAMES.get(ticket.state, ticket.state)),
            "work_notes": ("", self._entries(ticket)),
            "comments": ("", self._entries(ticket)),
        }
        wanted = asked.query["sysparm_fields"].split(",")
        fields = {name: every.get(name, ("", "")) for name in wanted if name not in self.hidden}
        if asked.query.get("sysparm_display_value") != "all":
            return {name: value for name, (value, _) in fields.items()}
        return {name: {"value": value, "display_value": display} for name, (value, display) in fields.items()}

    def _entries(self, ticket: ServedTicket) -> str:
        """Return the journal as people see it, the newest entry first."""
        entries = (f"2026-01-15 08:30:00 - Bot (Work notes)\n{text}\n\n" for text in reversed(ticket.comments))
        return "".join(entries)


def refused(status: int, message: str, detail: str) -> ServerReply:
    """Return an error as ServiceNow writes it."""
    value = {"error": {"message": message, "detail": detail}, "status": "failure"}
    return ServerReply(status=status, value=value)
