"""Redmine on loopback: ignored filters, a workflow that refuses in silence, and an API that is off by default."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from servers.tickets import ServedTicket, ServerReply
from servers.tracker import Asked, Json, TrackerServer

API_KEY = "obviously-fake-api-key"
STATUSES = {1: ("New", False), 2: ("In Progress", False), 5: ("Closed", True), 6: ("Rejected", True)}
RIGHTS = ["view_issues", "add_issues", "edit_issues", "add_issue_notes"]


@dataclass(kw_only=True)
class Issue(ServedTicket):
    """An issue as Redmine has it."""

    number_of_status: int = 1
    custom: dict[int, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The id of the status: what the API set, unless a person has moved it since."""
        if self.closed != STATUSES[self.number_of_status][1]:
            return 6 if self.closed else 1
        return 2 if self.touched and not self.closed else self.number_of_status

    def move(self, status: int) -> None:
        self.number_of_status, self.closed = status, STATUSES[status][1]


class RedmineServer(TrackerServer):
    """A server with the project ops, whose id is 3."""

    kind = "redmine"

    def __init__(
        self, now: Callable[[], datetime], lag: timedelta = timedelta(), *, key_field: int | None = None
    ) -> None:
        super().__init__(now, lag)
        self.key_field = key_field
        self.fields = {7, 8}
        """The custom fields of the project."""
        self.filters = {7, 8}
        """Those that are used as filters, and for all projects."""
        self.workflow: dict[int, set[int]] = {1: {2, 5, 6}, 2: {1, 5, 6}, 5: {1, 2}, 6: {1, 2}}
        """The statuses that the user's role may set, by the present one."""
        self.lists_allowed = True
        """Whether the version lists what the workflow allows, and whether a status is closed."""
        self.rights = list(RIGHTS)
        self.required: list[str] = []

    # -- for tests --

    def settings(self) -> Json:
        found: Json = {"url": self.url("/redmine"), "api_key": API_KEY, "project": "ops"}
        return found | ({"key_field": self.key_field} if self.key_field else {})

    def title(self, ticket: ServedTicket) -> str:
        found: str = ticket.fields["subject"]
        return found

    def text(self, ticket: ServedTicket) -> str:
        found: str = ticket.fields["description"]
        return found

    def plant(self, key: str) -> ServedTicket:
        issue = self.opened({"subject": f"of somebody else [{key}]", "description": ""})
        issue.custom[8] = key
        return issue

    def opened(self, fields: Json) -> Issue:
        """Keep a new issue and return it."""
        number = 1 + max((one.number for one in self.tickets), default=0)
        issue = Issue(number=number, fields=fields, created_at=self._now())
        self.tickets.append(issue)
        return issue

    def issue(self, number: int = 0) -> Issue:
        """Return one of the issues, in the order of their creation."""
        found = self.tickets[number]
        assert isinstance(found, Issue)
        return found

    # -- the protocol --

    def respond(self, asked: Asked) -> ServerReply:
        if self.unauthorized or asked.headers.get("x-redmine-api-key") != API_KEY:
            return ServerReply(status=401)
        path = asked.path.removeprefix("/redmine/").removesuffix(".json")
        match asked.method, path.split("/"):
            case "POST", ["issues"]:
                return self._create(asked.body["issue"])
            case "GET", ["issues"]:
                return self._list(asked)
            case method, ["issues", ref] if isinstance(issue := self.ticket(ref), Issue):
                return self._about(method, issue, asked)
            case "GET", _:
                return self._read(path)
        return ServerReply(status=404)

    def _create(self, sent: Json) -> ServerReply:
        if sent["project_id"] != "ops":
            return ServerReply(status=404)
        errors = [f"{name} cannot be blank" for name in self.required if name not in sent]
        errors += [] if 0 < len(sent["subject"]) <= 255 else ["Subject is too long (maximum is 255 characters)"]
        errors += [] if len(sent["description"].encode()) <= 65_535 else ["Description is too long"]
        if errors:
            return ServerReply(status=422, value={"errors": errors})
        issue = self.opened(sent)
        for one in sent.get("custom_fields", ()):  # those that the project does not have are dropped
            issue.custom |= {one["id"]: one["value"]} if one["id"] in self.fields else {}
        return ServerReply(status=201, value={"issue": self._shown(issue)})

    def _list(self, asked: Asked) -> ServerReply:
        query = asked.query
        found = [one for one in self.found if isinstance(one, Issue)]
        if query.get("status_id") != "*":
            found = [one for one in found if not one.closed]
        if "subject" in query:
            assert query["subject"].startswith("~")
            found = [one for one in found if query["subject"][1:] in one.fields["subject"]]
        for name, value in query.items():
            field_id = int(name[3:]) if re.fullmatch(r"cf_\d+", name) else None
            if field_id in self.filters:  # other filters are ignored
                found = [one for one in found if one.custom.get(field_id or 0) == value]
        page = found[: min(int(query.get("limit", 25)), 100)]
        return ServerReply(value={"issues": [self._shown(one) for one in page], "total_count": len(found)})

    def _about(self, method: str, issue: Issue, asked: Asked) -> ServerReply:
        if method == "GET":
            return ServerReply(value={"issue": self._shown(issue, asked.query.get("include", ""))})
        sent = asked.body["issue"]
        if "notes" in sent:
            issue.comments.append(sent["notes"])
        if sent.get("status_id") in self.workflow[issue.status]:  # any other is ignored
            issue.move(sent["status_id"])
        issue.fields |= sent
        return ServerReply(status=204)

    def _shown(self, issue: Issue, include: str = "") -> Json:
        name, closed = STATUSES[issue.status]
        status = {"id": issue.status, "name": name} | ({"is_closed": closed} if self.lists_allowed else {})
        found: Json = {
            "id": issue.number,
            "status": status,
            "subject": issue.fields["subject"],
            "description": issue.fields["description"],
            "custom_fields": [{"id": one, "name": "Key", "value": value} for one, value in issue.custom.items()],
            "closed_on": "2026-01-15T08:30:00Z" if closed else None,
        }
        if include == "journals":
            found["journals"] = [{"id": 1, "notes": ""}, *({"id": 2, "notes": text} for text in issue.comments)]
        if include == "allowed_statuses" and self.lists_allowed:
            found["allowed_statuses"] = [_status(one) for one in sorted(self.workflow[issue.status])]
        return found

    def _read(self, path: str) -> ServerReply:
        roles = [{"id": 4, "name": "Bot"}]
        memberships = [{"project": {"id": 3, "name": "Ops"}, "roles": roles}]
        project = {"id": 3, "identifier": "ops", "trackers": [{"id": 1, "name": "Bug"}, {"id": 2, "name": "Task"}]}
        values: dict[str, Any] = {
            "users/current": {"user": {"id": 9, "login": "gaussdb", "api_key": API_KEY, "memberships": memberships}},
            "issue_statuses": {"issue_statuses": [_status(one) for one in STATUSES]},
            "projects/ops": {"project": project},
            "roles/4": {"role": {"id": 4, "permissions": self.rights}},
        }
        return ServerReply(value=values[path]) if path in values else ServerReply(status=404)


def _status(number: int) -> Json:
    name, closed = STATUSES[number]
    return {"id": number, "name": name, "is_closed": closed}
